//! Devices: which burn backend a command runs on. The only place that names a concrete backend.

use std::{fmt, net::TcpListener, panic, str::FromStr};

use anyhow::{Result, bail};
use burn::backend::Autodiff;
use burn::tensor::{
    Tensor,
    backend::{AutodiffBackend, Backend},
};

#[cfg(feature = "remote")]
use crate::remote;
use crate::report::Report;

/// Port of a served device.
pub const DEFAULT_PORT: u16 = 3000;

/// What `--device` can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The best device that answers: CUDA, then a GPU by wgpu, then the CPU.
    Auto,
    /// The CPU, by burn-flex.
    Flex,
    /// An NVIDIA GPU, by its index.
    Cuda(usize),
    /// A GPU by Vulkan, Metal or DirectX, by its index.
    Wgpu(usize),
    /// A device that `serve-device` serves, mostly on another machine, by its url `ws://host:port`.
    Remote(String),
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains("://") {
            let url = text.strip_prefix("ws://").and_then(remote_url);
            return url.map(Self::Remote).ok_or_else(|| {
                format!("`{text}` is no url of a device; expected ws://HOST or ws://HOST:PORT")
            });
        }
        let (name, index) = match text.split_once(':') {
            None => (text, Ok(0)),
            Some((name, index)) => (name, index.parse()),
        };
        match (name, index) {
            ("auto", Ok(0)) => Ok(Self::Auto),
            ("flex" | "cpu", Ok(0)) => Ok(Self::Flex),
            ("cuda", Ok(index)) => Ok(Self::Cuda(index)),
            ("wgpu", Ok(index)) => Ok(Self::Wgpu(index)),
            _ => Err(format!(
                "unknown device `{text}`; expected auto, flex, cuda[:N], wgpu[:N] or ws://HOST[:PORT]"
            )),
        }
    }
}

/// `ws://host:port` of what stands behind `ws://`.
fn remote_url(authority: &str) -> Option<String> {
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (authority, DEFAULT_PORT),
    };
    let is_v6 = host.starts_with('[') && host.ends_with(']');
    let is_plain =
        |c: char| c.is_alphanumeric() || ".-_".contains(c) || (is_v6 && "[:]".contains(c));
    (!host.is_empty() && port != 0 && host.chars().all(is_plain))
        .then(|| format!("ws://{host}:{port}"))
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Flex => f.write_str("flex"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
            Self::Wgpu(index) => write!(f, "wgpu:{index}"),
            Self::Remote(url) => f.write_str(url),
        }
    }
}

/// Work that can be done on any backend.
pub trait Job {
    /// What comes out of it.
    type Output;

    /// Does the work; `name` is the device's, for the report.
    fn run<A: AutodiffBackend>(self, device: A::Device, name: &str) -> Result<Self::Output>;
}

/// Does a job on the chosen device.
///
/// # Errors
/// - If the device is not in this build, or does not answer; and whatever the job says.
pub fn run<J: Job>(choice: DeviceChoice, job: J) -> Result<J::Output> {
    run_on(&resolve(choice)?, job)
}

/// The device that is meant, once it has answered.
fn resolve(choice: DeviceChoice) -> Result<DeviceChoice> {
    if choice == DeviceChoice::Auto {
        let gpus = [DeviceChoice::Cuda(0), DeviceChoice::Wgpu(0)];
        let gpu = gpus
            .into_iter()
            .find(|choice| is_built(choice) && is_hardware(choice) && answers(choice));
        return Ok(gpu.unwrap_or(DeviceChoice::Flex));
    }
    if !is_built(&choice) {
        bail!(
            "this build has no `{feature}` device; build with `--features {feature}`, or use --device {}",
            alternatives(&choice),
            feature = feature(&choice)
        );
    }
    #[cfg(feature = "remote")]
    if let DeviceChoice::Remote(url) = &choice {
        remote::connect(url)?;
    }
    if !answers(&choice) {
        let reason = match choice {
            DeviceChoice::Remote(_) => "it computes a sum wrongly",
            _ => "no such GPU, or no driver",
        };
        bail!(
            "device `{choice}` does not answer ({reason}); use --device {}",
            alternatives(&choice)
        );
    }
    Ok(choice)
}

/// Serves a device of this machine until Ctrl-C; `announce` gets its name once it has answered.
///
/// # Errors
/// - If the device is not in this build, or does not answer, or is itself served by another machine.
/// - When interrupted.
#[cfg(feature = "remote")]
pub fn serve(
    choice: DeviceChoice,
    listener: TcpListener,
    announce: impl FnOnce(&str) -> Report,
) -> Result<()> {
    if let DeviceChoice::Remote(url) = &choice {
        bail!("cannot serve `{url}`, which is no device of this machine");
    }
    let choice = resolve(choice)?;
    let report = announce(&choice.to_string());
    match choice {
        #[cfg(feature = "flex")]
        DeviceChoice::Flex => {
            remote::serve::<burn_flex::Flex>(Default::default(), listener, report)
        }
        #[cfg(feature = "cuda")]
        DeviceChoice::Cuda(index) => {
            remote::serve::<burn_cuda::Cuda>(burn_cuda::CudaDevice::new(index), listener, report)
        }
        #[cfg(feature = "wgpu")]
        DeviceChoice::Wgpu(index) => {
            remote::serve::<burn_wgpu::Wgpu>(wgpu_device(index), listener, report)
        }
        choice => {
            drop((listener, report));
            bail!("this build has no device `{choice}`")
        }
    }
}

/// Says which feature a build needs to serve a device.
///
/// # Errors
/// - Always.
#[cfg(not(feature = "remote"))]
pub fn serve(_: DeviceChoice, _: TcpListener, _: impl FnOnce(&str) -> Report) -> Result<()> {
    bail!("this build cannot serve a device; build with `--features remote`")
}

#[cfg(feature = "wgpu")]
fn wgpu_device(index: usize) -> burn_wgpu::WgpuDevice {
    match index {
        0 => burn_wgpu::WgpuDevice::DefaultDevice,
        index => burn_wgpu::WgpuDevice::DiscreteGpu(index),
    }
}

/// The feature of this crate that a device needs.
fn feature(choice: &DeviceChoice) -> &'static str {
    match choice {
        DeviceChoice::Auto => "default",
        DeviceChoice::Flex => "flex",
        DeviceChoice::Cuda(_) => "cuda",
        DeviceChoice::Wgpu(_) => "wgpu",
        DeviceChoice::Remote(_) => "remote",
    }
}

fn is_built(choice: &DeviceChoice) -> bool {
    match choice {
        DeviceChoice::Auto => true,
        DeviceChoice::Flex => cfg!(feature = "flex"),
        DeviceChoice::Cuda(_) => cfg!(feature = "cuda"),
        DeviceChoice::Wgpu(_) => cfg!(feature = "wgpu"),
        DeviceChoice::Remote(_) => cfg!(feature = "remote"),
    }
}

fn alternatives(choice: &DeviceChoice) -> String {
    let others = [
        DeviceChoice::Flex,
        DeviceChoice::Cuda(0),
        DeviceChoice::Wgpu(0),
    ];
    let others: Vec<String> = others
        .into_iter()
        .filter(|other| {
            is_built(other) && std::mem::discriminant(other) != std::mem::discriminant(choice)
        })
        .map(|other| other.to_string().trim_end_matches(":0").to_owned())
        .collect();
    if others.is_empty() {
        "auto".to_owned()
    } else {
        others.join(" or ")
    }
}

/// True if a small sum on the device gives the right number.
fn answers(choice: &DeviceChoice) -> bool {
    survives(|| run_on(choice, Probe))
}

/// False for a software adapter, which is slower than the CPU backend: `--device auto` passes it by.
fn is_hardware(choice: &DeviceChoice) -> bool {
    match choice {
        #[cfg(feature = "wgpu")]
        DeviceChoice::Wgpu(_) => {
            use burn_wgpu::{Wgpu, WgpuDevice};
            [WgpuDevice::DiscreteGpu(0), WgpuDevice::IntegratedGpu(0)]
                .into_iter()
                .any(|device| survives(|| Probe.run::<Autodiff<Wgpu>>(device.clone(), "probe")))
        }
        _ => true,
    }
}

/// A small sum, and whether it is right.
struct Probe;

impl Job for Probe {
    type Output = bool;

    fn run<A: AutodiffBackend>(self, device: A::Device, _: &str) -> Result<bool> {
        let sum = Tensor::<A::InnerBackend, 1>::from_data([1.0f32, 2.0, 3.0], &device).sum();
        Ok(sum
            .into_data()
            .to_vec::<f32>()
            .is_ok_and(|sum| sum == [6.0]))
    }
}

/// Runs a probe. Backends panic deep inside where there is no driver or adapter: that is caught here, once, and its message
/// kept from the screen.
fn survives(probe: impl FnOnce() -> Result<bool> + panic::UnwindSafe) -> bool {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let answer = panic::catch_unwind(probe);
    panic::set_hook(hook);
    matches!(answer, Ok(Ok(true)))
}

fn run_on<J: Job>(choice: &DeviceChoice, job: J) -> Result<J::Output> {
    #[cfg_attr(
        not(any(
            feature = "flex",
            feature = "cuda",
            feature = "wgpu",
            feature = "remote"
        )),
        expect(unused, reason = "no backend")
    )]
    fn on<B: Backend, J: Job>(device: B::Device, name: String, job: J) -> Result<J::Output>
    where
        Autodiff<B>: AutodiffBackend<Device = B::Device>,
    {
        job.run::<Autodiff<B>>(device, &name)
    }
    match *choice {
        #[cfg(feature = "flex")]
        DeviceChoice::Flex => on::<burn_flex::Flex, J>(Default::default(), choice.to_string(), job),
        #[cfg(feature = "cuda")]
        DeviceChoice::Cuda(index) => {
            on::<burn_cuda::Cuda, J>(burn_cuda::CudaDevice::new(index), choice.to_string(), job)
        }
        #[cfg(feature = "wgpu")]
        DeviceChoice::Wgpu(index) => {
            on::<burn_wgpu::Wgpu, J>(wgpu_device(index), choice.to_string(), job)
        }
        #[cfg(feature = "remote")]
        DeviceChoice::Remote(ref url) => {
            let device = remote::connect(url)?;
            let name = choice.to_string();
            remote::guard(&device.clone(), || {
                on::<remote::RemoteBackend, J>(device, name, job)
            })
        }
        _ => {
            drop(job);
            bail!("this build has no device `{choice}`")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_parses(text: &str, expected: DeviceChoice, shown: &str) {
        let choice: DeviceChoice = text.parse().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(choice, expected);
        assert_eq!(choice.to_string(), shown);
    }

    #[test]
    fn devices_parse_and_are_shown() {
        let remote = |url: &str| DeviceChoice::Remote(url.to_owned());
        check_parses("auto", DeviceChoice::Auto, "auto");
        check_parses("cpu", DeviceChoice::Flex, "flex");
        check_parses("cuda", DeviceChoice::Cuda(0), "cuda:0");
        check_parses("wgpu:1", DeviceChoice::Wgpu(1), "wgpu:1");
        for (text, url) in [
            ("ws://gpu-box", "ws://gpu-box:3000"),
            ("ws://10.0.0.7:3001/", "ws://10.0.0.7:3001"),
            ("ws://[::1]", "ws://[::1]:3000"),
            ("ws://[::1]:80", "ws://[::1]:80"),
        ] {
            check_parses(text, remote(url), url);
        }
    }

    #[test]
    fn what_is_no_device_is_refused() {
        for text in ["gpu", "flex:1", "cuda:x", ""] {
            let error = text.parse::<DeviceChoice>().err().unwrap_or_default();
            assert!(error.starts_with("unknown device"), "{text}: {error}");
        }
        for text in [
            "ws://",
            "ws://:3000",
            "ws://host:port",
            "ws://host:0",
            "ws://host:70000",
            "ws://host/path",
            "ws://me@host",
            "ws://::1",
            "wss://host",
            "http://host",
        ] {
            let error = text.parse::<DeviceChoice>().err().unwrap_or_default();
            assert!(error.contains("expected ws://HOST"), "{text}: {error}");
        }
    }
}

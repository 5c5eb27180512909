//! Devices: which burn backend a command runs on. The only place that names a concrete backend.

use std::{fmt, panic, str::FromStr};

use anyhow::{Result, bail};
use burn::backend::Autodiff;
use burn::tensor::{
    Tensor,
    backend::{AutodiffBackend, Backend},
};
use swivel_core::kernel::Kernels;

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
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
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
                "unknown device `{text}`; expected auto, flex, cuda[:N] or wgpu[:N]"
            )),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Flex => f.write_str("flex"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
            Self::Wgpu(index) => write!(f, "wgpu:{index}"),
        }
    }
}

/// True where the processor computes, on the device of this name.
pub fn is_software(name: &str) -> bool {
    name == "flex"
}

/// What models compute with on a backend: the CPU has faster forms of some operations.
pub fn kernels<B: Backend>() -> Kernels<B> {
    #[cfg(feature = "flex")]
    {
        let native: &dyn std::any::Any = &swivel_kernels::NATIVE;
        if let Some(kernels) = native.downcast_ref() {
            return *kernels;
        }
    }
    Kernels::default()
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
    if !answers(&choice) {
        bail!(
            "device `{choice}` does not answer (no such GPU, or no driver); use --device {}",
            alternatives(&choice)
        );
    }
    Ok(choice)
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
    }
}

fn is_built(choice: &DeviceChoice) -> bool {
    match choice {
        DeviceChoice::Auto => true,
        DeviceChoice::Flex => cfg!(feature = "flex"),
        DeviceChoice::Cuda(_) => cfg!(feature = "cuda"),
        DeviceChoice::Wgpu(_) => cfg!(feature = "wgpu"),
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
        not(any(feature = "flex", feature = "cuda", feature = "wgpu")),
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
        check_parses("auto", DeviceChoice::Auto, "auto");
        check_parses("cpu", DeviceChoice::Flex, "flex");
        check_parses("cuda", DeviceChoice::Cuda(0), "cuda:0");
        check_parses("wgpu:1", DeviceChoice::Wgpu(1), "wgpu:1");
    }

    #[test]
    fn what_is_no_device_is_refused() {
        for text in ["gpu", "flex:1", "cuda:x", "ws://host:3000", ""] {
            let error = text.parse::<DeviceChoice>().err().unwrap_or_default();
            assert!(error.starts_with("unknown device"), "{text}: {error}");
        }
    }
}

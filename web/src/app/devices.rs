//! Which device computes: WebGPU is tested and timed beside the CPU, and a person may wish for one.

use std::rc::Rc;

use leptos::prelude::*;
use swivel_engine::protocol::{Answer, Request, Response};
use wasm_bindgen_futures::spawn_local;
use web_sys::Blob;

use super::App;
use crate::{
    browser::{
        client::{self, Client, Loaded, LoadedInTab, Problem},
        files::model::Source,
        window,
    },
    device::{Device, DeviceState},
    session::{prompt::rotated, recorded},
};

/// A graphics device must agree with the reference to this, nats.
const GPU_TOLERANCE: f32 = 1e-3;

impl App {
    /// Tests WebGPU beside the running CPU and changes over if it is right and faster, or wished for.
    pub(super) async fn try_web_gpu(self, generation: u32) {
        if !window::has_webgpu() {
            let text = "this browser has no WebGPU (Chrome and Edge 113, Safari 26 and Firefox 141 or later have it)";
            self.devices
                .update(|devices| devices.web_gpu = DeviceState::Unavailable(text.to_owned()));
            return;
        }
        self.devices
            .update(|devices| devices.web_gpu = DeviceState::Testing);
        let result = self.test_web_gpu().await;
        if self.generation.get_value() != generation {
            return;
        }
        match result {
            Err(cause) => {
                if self.devices.with_untracked(|devices| devices.wish) == Some(Device::WebGpu) {
                    self.complain_of_device(format!(
                        "WebGPU cannot be used: {cause}. The CPU goes on."
                    ));
                }
                self.devices
                    .update(|devices| devices.web_gpu = DeviceState::Unavailable(cause));
            }
            Ok((client, state, [cpu_ms, gpu_ms])) => {
                self.devices.update(|devices| {
                    devices.web_gpu = state;
                    if let DeviceState::Ready { ms, .. } = &mut devices.cpu {
                        *ms = Some(cpu_ms);
                    }
                    let is_faster = gpu_ms < cpu_ms;
                    if devices.wish == Some(Device::WebGpu) || devices.wish.is_none() && is_faster {
                        devices.current = Device::WebGpu;
                        self.engine.set_value(Some(Rc::new(client)));
                    }
                });
                self.pump();
                if let Ok(addresses) = client::program_addresses(Device::WebGpu) {
                    spawn_local(window::keep_for_offline(addresses.into()));
                }
            }
        }
        window::mark("swivel-tested");
    }

    /// Loads the model on WebGPU, compares an answer with the reference, and measures both devices. Weights are held in f16 where
    /// they are stored in 16 bits, unless that answers wrong.
    async fn test_web_gpu(self) -> Result<(Client, DeviceState, [f64; 2]), String> {
        let text = |problem: Problem| problem.to_string();
        let (question, recorded) = self.question();
        let cpu = self.engine.get_value().ok_or("the CPU engine is gone")?;
        let mut reference = recorded;
        let mut in_half = true;
        let (client, loaded, error) = loop {
            let (client, loaded) = match self.on_web_gpu(in_half).await {
                Ok(loaded) => loaded,
                // A number may be too large for f16.
                Err(Problem::Refused(_)) if in_half => {
                    in_half = false;
                    continue;
                }
                Err(problem) => return Err(text(problem)),
            };
            let expected = match reference.take() {
                Some(answer) => answer,
                None => self.ask(&cpu, question.clone()).await.map_err(text)?.0,
            };
            let (found, _) = self.ask(&client, question.clone()).await.map_err(text)?;
            let error = recorded::largest_error(&expected, &found);
            if error <= GPU_TOLERANCE {
                break (client, loaded, error);
            }
            if !loaded.is_half {
                return Err(format!(
                    "{} computes wrong numbers (off by {error:.1e} nats; {GPU_TOLERANCE:.0e} is allowed)",
                    loaded.loaded.adapter
                ));
            }
            (reference, in_half) = (Some(expected), false);
        };
        // New prompts of the same length: nothing is cached from before, and all kernels are compiled.
        let fresh = |turn: usize| rotated(&question, turn);
        let mut fastest = [f64::INFINITY; 2];
        for turn in 1..=2 {
            for (engine, fastest) in [&*cpu, &client].into_iter().zip(&mut fastest) {
                let (_, ms) = self.ask(engine, fresh(turn)).await.map_err(text)?;
                *fastest = fastest.min(ms);
            }
        }
        let Loaded {
            mut adapter,
            is_software,
            ..
        } = loaded.loaded;
        if is_software {
            adapter += " (software)";
        }
        if loaded.is_half {
            adapter += ", weights in f16";
        }
        let state = DeviceState::Ready {
            adapter,
            error: Some(error),
            ms: Some(fastest[1]),
        };
        Ok((client, state, fastest))
    }

    /// Loads the model on WebGPU. What the worker on the CPU has read is not fetched or hashed again.
    async fn on_web_gpu(self, in_half: bool) -> Result<(Client, LoadedInTab), Problem> {
        let client = Client::start(Device::WebGpu).await?;
        let files = self.files.get_value();
        let (source, blobs) = match files.is_empty() {
            true => self.source.get_value().for_worker(),
            false => {
                let (names, blobs): (_, Vec<Blob>) = files.into_iter().unzip();
                (Source::Blobs(names), blobs)
            }
        };
        client.open(source, &blobs, |_| ()).await?;
        let sha256 = self.session.with_untracked(|session| {
            let model = session.model.as_ref();
            model.map(|model| model.sha256.clone())
        });
        let loaded = client.load(sha256, in_half).await?;
        Ok((client, loaded))
    }

    async fn ask(self, engine: &Client, request: Request) -> Result<(Answer, f64), Problem> {
        let file = |name: &str| self.direction_file(name);
        match engine.ask(request, file).await? {
            (Response::Answer(answer), cost) => Ok((answer, cost.ms)),
            _ => Err(Problem::Died("an answer to another question".to_owned())),
        }
    }

    /// What a device is tested with, and the native answer where it was recorded for these weights.
    fn question(self) -> (Request, Option<Answer>) {
        self.session.with_untracked(|session| {
            let sha256 = session.model.as_ref().map(|model| model.sha256.as_str());
            let example = sha256.and_then(recorded::of_model);
            let request = example.and_then(|(question, example)| {
                Some((session.recorded_request(question, example)?, example))
            });
            if let Some((request, example)) = request {
                return (request, Some(example.answer.clone()));
            }
            (session.test_request(), None)
        })
    }

    /// Takes the person's wish for a device.
    pub(super) fn wish(self, device: Option<Device>) {
        self.devices.update(|devices| devices.wish = device);
        window::store("device", device.map_or("auto", Device::name));
        self.notice.set(None);
        self.load_model();
    }
}

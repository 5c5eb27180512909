//! The side of the engine: a Web Worker in which the same program answers requests one after the other.
//!
//! A message to the worker is an array of a number, JSON, and buffers; one back is a number and JSON. A number alone takes that
//! message back: nobody waits for its answer.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    panic,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use burn::tensor::backend::Backend;
use burn_flex::{Flex, FlexDevice};
use burn_wgpu::{RuntimeOptions, Wgpu, WgpuDevice, graphics::WebGpu, init_setup_async};
use futures_channel::mpsc;
use js_sys::{Array, Reflect, Uint8Array};
use serde::{Deserialize, Serialize};
use swivel_core::{Config, Weights, kernel::Kernels};
use swivel_engine::{
    Engine, Failure,
    protocol::{Cost, FromEngine, Response, ToEngine},
};
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{DedicatedWorkerGlobalScope, MessageEvent};

use super::{error_text, window};
use crate::device::Device;

/// What the page sends to a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ToWorker {
    /// Put a model on a device; its weight files are the message's buffers.
    Load {
        /// Where.
        device: Device,
        /// `config.json`.
        config: String,
    },
    /// What every host of an engine understands.
    Engine(ToEngine),
}

thread_local! {
    /// The message that is being answered.
    static CURRENT: Cell<u32> = const { Cell::new(0) };
    /// Messages that were taken back.
    static TAKEN_BACK: RefCell<BTreeSet<u32>> = const { RefCell::new(BTreeSet::new()) };
}

/// The worker's own scope, where this program runs in one.
pub fn scope() -> Option<DedicatedWorkerGlobalScope> {
    js_sys::global().dyn_into().ok()
}

fn send(number: u32, message: &FromEngine) {
    let (Some(scope), Ok(json)) = (scope(), serde_json::to_string(message)) else {
        return;
    };
    // There is nobody to tell if the page cannot be reached.
    let _ = scope.post_message(&Array::of2(&number.into(), &json.into()));
}

/// Answers messages until the page ends the worker.
pub fn serve(scope: &DedicatedWorkerGlobalScope) {
    panic::set_hook(Box::new(|info| {
        // What happened, without the place in the source: people read it.
        let cause = info.payload_as_str().unwrap_or("a fault of the engine");
        send(CURRENT.get(), &FromEngine::Died(cause.to_owned()));
    }));
    let (sender, receiver) = mpsc::unbounded::<Array>();
    let listener = Closure::<dyn Fn(MessageEvent)>::new(move |event: MessageEvent| {
        let Ok(message) = event.data().dyn_into::<Array>() else {
            return;
        };
        if message.length() == 1 {
            TAKEN_BACK.with_borrow_mut(|numbers| numbers.insert(number_of(&message)));
        } else {
            // Fails only after the loop below has ended, with the worker.
            let _ = sender.unbounded_send(message);
        }
    });
    scope.set_onmessage(Some(listener.as_ref().unchecked_ref()));
    listener.forget();
    spawn_local(answer_all(receiver));
    send(0, &FromEngine::Ready);
}

fn number_of(message: &Array) -> u32 {
    message.get(0).as_f64().unwrap_or(0.0) as u32
}

/// True unless the message that is being answered was taken back, for which the browser is given a turn to say so.
async fn is_wanted() -> bool {
    // A worker that cannot be given a turn is never told.
    let _ = window::turn().await;
    is_current_wanted()
}

fn is_current_wanted() -> bool {
    TAKEN_BACK.with_borrow(|numbers| !numbers.contains(&CURRENT.get()))
}

/// An engine on the device that was asked for.
enum AnyEngine {
    Cpu(Box<Engine<Flex>>),
    WebGpu(Box<Engine<Wgpu>>),
}

async fn answer_all(mut messages: mpsc::UnboundedReceiver<Array>) {
    let mut engine = None;
    while let Ok(message) = messages.recv().await {
        let number = number_of(&message);
        CURRENT.set(number);
        if !is_current_wanted() {
            continue;
        }
        let json = message.get(1).as_string().unwrap_or_default();
        let answer = match serde_json::from_str(&json) {
            Err(error) => FromEngine::Refused(error.to_string()),
            Ok(ToWorker::Load { device, config }) => {
                // The old model goes before the new one comes.
                engine = None;
                let files: Vec<Vec<u8>> = (2..message.length())
                    .map(|idx| Uint8Array::new(&message.get(idx)).to_vec())
                    .collect();
                drop(message);
                match load(device, &config, files).await {
                    Ok((loaded, answer)) => {
                        engine = Some(loaded);
                        answer
                    }
                    Err(error) => FromEngine::Refused(error),
                }
            }
            Ok(ToWorker::Engine(message)) => match &mut engine {
                None => FromEngine::Refused("no model is loaded".to_owned()),
                Some(AnyEngine::Cpu(engine)) => answer(engine, message).await,
                Some(AnyEngine::WebGpu(engine)) => answer(engine, message).await,
            },
        };
        send(number, &answer);
        // Those before it are answered, or were skipped.
        TAKEN_BACK.with_borrow_mut(|numbers| numbers.retain(|own| *own > number));
    }
}

async fn answer<B: Backend>(engine: &mut Engine<B>, message: ToEngine) -> FromEngine {
    let start = now();
    let answered = |response: Response| {
        let cost = Cost {
            ms: now() - start,
            bytes: window::memory_bytes(),
        };
        FromEngine::Answered(response, cost)
    };
    let result = match message {
        ToEngine::Direction(file) => match BASE64_STANDARD.decode(file) {
            Ok(bytes) => engine.take_direction(&bytes).map(|_| FromEngine::Taken),
            Err(error) => return FromEngine::Refused(error.to_string()),
        },
        // All of a worker is for one page.
        ToEngine::Ask(request) => engine.handle(0, &request, &is_wanted).await.map(answered),
    };
    match result {
        Ok(message) => message,
        Err(Failure::Device(error)) => FromEngine::Died(error),
        Err(failure) => FromEngine::Refused(failure.to_string()),
    }
}

async fn load(
    device: Device,
    config: &str,
    files: Vec<Vec<u8>>,
) -> Result<(AnyEngine, FromEngine), String> {
    let config = Config::from_json(config.as_bytes()).map_err(|error| error.to_string())?;
    let views: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
    let weights = Weights::new(&views).map_err(|error| error.to_string())?;
    let sha256 = weights.sha256().to_owned();
    let failed = |failure: Failure| failure.to_string();
    let (engine, adapter, is_software) = match device {
        Device::Machine => return Err("a worker runs in the tab".to_owned()),
        Device::Cpu => {
            let mut engine = Engine::load(&config, &weights, FlexDevice).map_err(failed)?;
            engine.set_kernels(swivel_kernels::CPU);
            (AnyEngine::Cpu(Box::new(engine)), "CPU".to_owned(), true)
        }
        Device::WebGpu => {
            let (adapter, is_software) = adapter().await?;
            let device = WgpuDevice::default();
            let setup = init_setup_async::<WebGpu>(&device, RuntimeOptions::default()).await;
            setup.device.set_device_lost_callback(|reason, message| {
                let text = format!("the graphics device was lost ({reason:?}) {message}");
                send(CURRENT.get(), &FromEngine::Died(text));
            });
            let mut engine = Engine::load(&config, &weights, device).map_err(failed)?;
            choose_kernels(&mut engine, is_software)
                .await
                .map_err(failed)?;
            (AnyEngine::WebGpu(Box::new(engine)), adapter, is_software)
        }
    };
    let loaded = FromEngine::Loaded {
        sha256,
        adapter,
        is_software,
    };
    Ok((engine, loaded))
}

/// Takes the faster of burn's kernels and ours. A software adapter is known to want ours, and takes seconds to measure.
async fn choose_kernels(engine: &mut Engine<Wgpu>, is_software: bool) -> Result<(), Failure> {
    engine.set_kernels(swivel_kernels::GPU);
    if is_software {
        return Ok(());
    }
    let ours = fastest(engine).await?;
    engine.set_kernels(Kernels::default());
    if ours < fastest(engine).await? {
        engine.set_kernels(swivel_kernels::GPU);
    }
    Ok(())
}

/// Milliseconds of a run of a usual length, the first one left out: it compiles the kernels.
async fn fastest(engine: &Engine<Wgpu>) -> Result<f64, Failure> {
    const N_TOKENS: usize = 64;
    let mut fastest = f64::INFINITY;
    for turn in 0..4 {
        let start = now();
        engine.rehearse(N_TOKENS).await?;
        if turn > 0 {
            fastest = fastest.min(now() - start);
        }
    }
    Ok(fastest)
}

/// What the WebGPU adapter calls itself, and whether a processor plays it. Asked for before burn does, which cannot say no.
async fn adapter() -> Result<(String, bool), String> {
    let get = |from: &JsValue, name: &str| {
        Reflect::get(from, &JsValue::from_str(name)).unwrap_or(JsValue::UNDEFINED)
    };
    let gpu = get(&get(&js_sys::global(), "navigator"), "gpu");
    if !gpu.is_object() {
        return Err("this browser has no WebGPU".to_owned());
    }
    let request: js_sys::Function = get(&gpu, "requestAdapter")
        .dyn_into()
        .map_err(|_| "this browser has no WebGPU")?;
    let promise = request.call0(&gpu).map_err(|error| error_text(&error))?;
    let adapter = JsFuture::from(js_sys::Promise::from(promise))
        .await
        .map_err(|error| error_text(&error))?;
    if !adapter.is_object() {
        return Err("WebGPU is there, but no graphics adapter".to_owned());
    }
    let info = get(&adapter, "info");
    let text = |name: &str| get(&info, name).as_string().unwrap_or_default();
    let parts: Vec<String> = ["vendor", "architecture", "description"]
        .map(text)
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect();
    let name = parts.join(" ");
    let is_fallback = [&info, &adapter]
        .iter()
        .any(|object| get(object, "isFallbackAdapter").as_bool() == Some(true));
    let is_software = is_fallback || name.to_lowercase().contains("swiftshader");
    Ok((name, is_software))
}

/// Milliseconds.
fn now() -> f64 {
    scope()
        .and_then(|scope| scope.performance())
        .map_or(0.0, |performance| performance.now())
}

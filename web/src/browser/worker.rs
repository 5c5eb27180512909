//! The side of the engine: a Web Worker in which the same program answers requests one after the other.
//!
//! A message to the worker is an array of a number, JSON, and buffers; one back is a number and JSON. A number alone takes that
//! message back: nobody waits for its answer.
//!
//! What computes is said by the program that the worker runs: the page's own has the CPU in it ([`cpu`]), a second one WebGPU
//! ([`webgpu`]), so that nobody waits for a device that is not used.

pub mod cpu;
pub mod webgpu;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    panic,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use burn::tensor::backend::Backend;
use futures_channel::mpsc;
use js_sys::{Array, Uint8Array};
use serde::{Deserialize, Serialize};
use swivel_core::{Config, Weights};
use swivel_engine::{
    Engine, Failure,
    protocol::{Cost, FromEngine, Response, ToEngine},
};
use wasm_bindgen::{JsCast, closure::Closure};
use wasm_bindgen_futures::spawn_local;
use web_sys::{DedicatedWorkerGlobalScope, MessageEvent};

use super::window;

/// What the page sends to a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ToWorker {
    /// Put a model on the device; its weight files are the message's buffers.
    Load {
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

/// A device that a worker's program computes on.
pub trait Processor: Backend {
    /// Finds the device.
    ///
    /// # Errors
    /// - if there is none
    fn find() -> impl Future<Output = Result<Found<Self>, String>>;

    /// Has the model compute with the kernels that are fastest on this device.
    ///
    /// # Errors
    /// - if the device fails
    fn choose_kernels(
        engine: &mut Engine<Self>,
        is_software: bool,
    ) -> impl Future<Output = Result<(), Failure>>;
}

/// A device that was found.
pub struct Found<B: Backend> {
    /// The device.
    pub device: B::Device,
    /// What it calls itself.
    pub adapter: String,
    /// True where a processor plays the graphics processor.
    pub is_software: bool,
}

/// Answers messages until the page ends the worker.
pub fn serve<B: Processor>(scope: &DedicatedWorkerGlobalScope) {
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
    spawn_local(answer_all::<B>(receiver));
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

async fn answer_all<B: Processor>(mut messages: mpsc::UnboundedReceiver<Array>) {
    let mut engine: Option<Engine<B>> = None;
    while let Ok(message) = messages.recv().await {
        let number = number_of(&message);
        CURRENT.set(number);
        if !is_current_wanted() {
            continue;
        }
        let json = message.get(1).as_string().unwrap_or_default();
        let answer = match serde_json::from_str(&json) {
            Err(error) => FromEngine::Refused(error.to_string()),
            Ok(ToWorker::Load { config }) => {
                // The old model goes before the new one comes.
                engine = None;
                let files: Vec<Vec<u8>> = (2..message.length())
                    .map(|idx| Uint8Array::new(&message.get(idx)).to_vec())
                    .collect();
                drop(message);
                match load(&config, files).await {
                    Ok((loaded, answer)) => {
                        engine = Some(loaded);
                        answer
                    }
                    Err(error) => FromEngine::Refused(error),
                }
            }
            Ok(ToWorker::Engine(message)) => match &mut engine {
                None => FromEngine::Refused("no model is loaded".to_owned()),
                Some(engine) => answer(engine, message).await,
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

async fn load<B: Processor>(
    config: &str,
    files: Vec<Vec<u8>>,
) -> Result<(Engine<B>, FromEngine), String> {
    let config = Config::from_json(config.as_bytes()).map_err(|error| error.to_string())?;
    let views: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
    let weights = Weights::new(&views).map_err(|error| error.to_string())?;
    let sha256 = weights.sha256();
    let failed = |failure: Failure| failure.to_string();
    let Found {
        device,
        adapter,
        is_software,
    } = B::find().await?;
    let mut engine = Engine::load(&config, &weights, device).map_err(failed)?;
    B::choose_kernels(&mut engine, is_software)
        .await
        .map_err(failed)?;
    let loaded = FromEngine::Loaded {
        sha256,
        adapter,
        is_software,
    };
    Ok((engine, loaded))
}

/// Milliseconds.
fn now() -> f64 {
    scope()
        .and_then(|scope| scope.performance())
        .map_or(0.0, |performance| performance.now())
}

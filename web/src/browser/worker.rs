//! The side of the engine: a Web Worker in which the same program answers requests one after the other.
//!
//! A message to the worker is an array of a number, JSON, and blobs; one back is a number, JSON, and what belongs to it. A number
//! alone takes that message back: nobody waits for its answer.
//!
//! What computes is said by the program that the worker runs: the page's own has the CPU in it ([`cpu`]), a second one WebGPU
//! ([`webgpu`]), so that nobody waits for a device that is not used.

pub mod cpu;
pub mod webgpu;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    panic,
    rc::Rc,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use burn::tensor::backend::Backend;
use futures_channel::mpsc;
use js_sys::{Array, Uint8Array};
use serde::{Deserialize, Serialize};
use swivel_core::{Loader, Precision, TensorError};
use swivel_engine::{
    Engine, Failure, Limits,
    protocol::{Cost, FromEngine, Response, ToEngine},
};
use wasm_bindgen::{JsCast, closure::Closure};
use wasm_bindgen_futures::spawn_local;
use web_sys::{Blob, DedicatedWorkerGlobalScope, MessageEvent};

use super::{
    files::model::{ModelFiles, Source},
    window,
};

/// What the page sends to a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ToWorker {
    /// Find the files of a model; those of [`Source::Blobs`] come with the message.
    Open(Source),
    /// Put the model that was opened last on the device.
    Load {
        /// SHA-256 of its weights, where another worker has read them before.
        sha256: Option<String>,
        /// Hold matrices in f16 if they are stored in 16 bits.
        in_half: bool,
    },
    /// What every host of an engine understands.
    Engine(ToEngine),
}

/// What a worker sends to the page.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum FromWorker {
    /// The files are found. What the page needs of them comes with the message, by these names.
    Opened {
        /// The start of a GGUF file, or `config.json` and the tokenizer's files.
        names: Vec<String>,
        /// Bytes of the weights.
        n_bytes: u64,
    },
    /// How much of a file is there; an answer is still to come.
    Fetching(Fetching),
    /// The model is on the device. Its files come with the message as blobs, by these names, for another worker to read.
    Loaded {
        /// What an engine says of it.
        loaded: FromEngine,
        /// Names of the files; none if they cannot be had a second time.
        names: Vec<String>,
        /// Why the browser did not keep them for the next visit, where it was to.
        not_kept: Option<String>,
        /// Bytes of memory that the worker holds.
        memory: f64,
        /// Matrices are held in f16.
        is_half: bool,
    },
    /// What every host of an engine says.
    Engine(FromEngine),
}

/// A file on its way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fetching {
    /// Its name.
    pub name: String,
    /// Bytes that are there.
    pub done: u64,
    /// Bytes in all, where that is known.
    pub total: Option<u64>,
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

fn send(number: u32, message: FromEngine) {
    post(number, &FromWorker::Engine(message), &Array::new());
}

fn post(number: u32, message: &FromWorker, with: &Array) {
    let (Some(scope), Ok(json)) = (scope(), serde_json::to_string(message)) else {
        return;
    };
    let parts = Array::of2(&number.into(), &json.into()).concat(with);
    // There is nobody to tell if the page cannot be reached.
    let _ = scope.post_message(&parts);
}

/// A device that a worker's program computes on.
pub trait Processor: Backend {
    /// Finds the device.
    ///
    /// # Errors
    /// - if there is none
    fn find() -> impl Future<Output = Result<Found<Self>, String>>;

    /// Says whether the device has room for a model of so many bytes.
    ///
    /// # Errors
    /// - if it has not, and why
    fn check_room(n_bytes: u64) -> Result<(), String>;

    /// Has the model compute with the kernels that are fastest on this device, and read weights as they are held.
    ///
    /// # Errors
    /// - if the device fails
    fn choose_kernels(
        engine: &mut Engine<Self>,
        found: &Found<Self>,
        held: Precision,
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
    /// Most bytes of a matrix in one piece.
    pub largest: u64,
}

/// Answers messages until the page ends the worker.
pub fn serve<B: Processor>(scope: &DedicatedWorkerGlobalScope) {
    panic::set_hook(Box::new(|info| {
        // What happened, without the place in the source: people read it.
        let cause = info.payload_as_str().unwrap_or("a fault of the engine");
        send(CURRENT.get(), FromEngine::Died(cause.to_owned()));
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
    send(0, FromEngine::Ready);
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
    let mut opened = None;
    while let Ok(message) = messages.recv().await {
        let number = number_of(&message);
        CURRENT.set(number);
        if !is_current_wanted() {
            continue;
        }
        let json = message.get(1).as_string().unwrap_or_default();
        match serde_json::from_str(&json) {
            Err(error) => send(number, FromEngine::Refused(error.to_string())),
            Ok(ToWorker::Open(source)) => {
                // The old model goes before the new one comes.
                (engine, opened) = (None, None);
                let blobs = message.iter().skip(2).map(JsCast::unchecked_into).collect();
                match open(number, &source, blobs).await {
                    Ok(files) => opened = Some(files),
                    Err(error) => send(number, FromEngine::Refused(error)),
                }
            }
            Ok(ToWorker::Load { sha256, in_half }) => match opened.take() {
                None => send(number, FromEngine::Refused("no model is open".to_owned())),
                Some(files) => match load(number, files, sha256, in_half).await {
                    Ok(loaded) => engine = Some(loaded),
                    Err(error) => send(number, FromEngine::Refused(error)),
                },
            },
            Ok(ToWorker::Engine(message)) => {
                let answer = match &mut engine {
                    None => FromEngine::Refused("no model is loaded".to_owned()),
                    Some(engine) => answer(engine, message).await,
                };
                send(number, answer);
            }
        }
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

/// Finds the files of a model, and tells the page what it needs of them.
async fn open(number: u32, source: &Source, blobs: Vec<Blob>) -> Result<ModelFiles, String> {
    /// Milliseconds between two words about a file.
    const PAUSE: f64 = 50.0;
    let last = Cell::new(f64::NEG_INFINITY);
    let progress = move |name: &str, done: u64, total: Option<u64>| {
        let is_end = done == 0 || total == Some(done);
        if !is_end && now() - last.get() < PAUSE {
            return;
        }
        last.set(now());
        let name = name.to_owned();
        let fetching = FromWorker::Fetching(Fetching { name, done, total });
        post(number, &fetching, &Array::new());
    };
    let mut files = ModelFiles::open(source, blobs, Rc::new(progress)).await?;
    let (mut names, with) = (Vec::new(), Array::new());
    for (name, bytes) in files.described_by.drain(..) {
        names.push(name);
        with.push(&Uint8Array::from(bytes.as_slice()));
    }
    let n_bytes = files.stored.iter().map(|file| file.n_bytes).sum();
    post(number, &FromWorker::Opened { names, n_bytes }, &with);
    Ok(files)
}

/// Puts a model on the device, range by range, and tells the page.
async fn load<B: Processor>(
    number: u32,
    mut files: ModelFiles,
    sha256: Option<String>,
    in_half: bool,
) -> Result<Engine<B>, String> {
    let failed = |failure: Failure| failure.to_string();
    let wrong = |error: TensorError| match error {
        TensorError::Large { .. } => {
            format!("{error}: that is its limit maxStorageBufferBindingSize")
        }
        error => error.to_string(),
    };
    let found = B::find().await?;
    let loader = Loader::<B>::new(&files.config, &files.stored, &found.device);
    let mut loader = loader.map_err(wrong)?;
    if in_half {
        loader = loader.in_half_if_stored();
    }
    let held = loader.precision();
    loader = loader.in_parts_of(found.largest).map_err(wrong)?;
    B::check_room(loader.held_bytes())?;
    if let Some(sha256) = sha256 {
        loader = loader.known_as(sha256);
    }
    files.weights.iter_mut().for_each(|(_, bytes)| bytes.pass());
    let mut part = Vec::new();
    while let Some(wanted) = loader.wants() {
        let (_, bytes) = &mut files.weights[wanted.file];
        bytes.read(&wanted.bytes, &mut part).await?;
        if let Err(error) = loader.give(&part) {
            if held == Precision::F32 {
                files.forget().await;
            }
            return Err(wrong(error));
        }
    }
    drop(part);
    let (model, sha256) = loader.finish().map_err(wrong)?;
    let not_kept = files.keep(&sha256).await?;
    let mut engine = Engine::new(files.config.sizes.clone(), model, Limits::PAGE);
    B::choose_kernels(&mut engine, &found, held)
        .await
        .map_err(failed)?;
    // Without them the other device fetches the files once more.
    let (names, blobs) = files.blobs().await.unwrap_or_default();
    let loaded = FromEngine::Loaded {
        sha256,
        adapter: found.adapter,
        is_software: found.is_software,
    };
    let message = FromWorker::Loaded {
        loaded,
        names,
        not_kept,
        memory: window::memory_bytes(),
        is_half: held == Precision::F16,
    };
    post(number, &message, &blobs);
    Ok(engine)
}

/// Milliseconds.
fn now() -> f64 {
    scope()
        .and_then(|scope| scope.performance())
        .map_or(0.0, |performance| performance.now())
}

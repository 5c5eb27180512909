//! The side of the page: reaches the host of an engine, numbers requests and hands out answers.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    fmt,
    rc::Rc,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures_channel::oneshot;
use js_sys::{Array, Object, Reflect, Uint8Array};
use swivel_engine::protocol::{Cost, FromEngine, Request, Response, ToEngine};
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use web_sys::{Blob, Event, MessageEvent, WebSocket, Worker, WorkerOptions, WorkerType};

use super::{
    error_text,
    files::model::Source,
    worker::{Fetching, FromWorker, ToWorker},
};
use crate::{device::Device, waiting::Waiting};

/// Why a request has no answer.
#[derive(Clone, Debug)]
pub enum Problem {
    /// What was asked for is impossible; the engine goes on.
    Refused(String),
    /// The engine is gone.
    Died(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(text) | Self::Died(text) => f.write_str(text),
        }
    }
}

/// What a device said when the model was put on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// SHA-256 of the weight files.
    pub sha256: String,
    /// What the device calls itself.
    pub adapter: String,
    /// True where a processor plays the graphics processor.
    pub is_software: bool,
}

impl Loaded {
    fn of(message: FromEngine) -> Result<Self, Problem> {
        match message {
            FromEngine::Loaded {
                sha256,
                adapter,
                is_software,
            } => Ok(Self {
                sha256,
                adapter,
                is_software,
            }),
            other => Err(unexpected(other)),
        }
    }
}

/// What the page needs of a model's files before it is loaded.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The start of a GGUF file, or `config.json` and the tokenizer's files, by name.
    pub described_by: Vec<(String, Vec<u8>)>,
    /// Bytes of the weights.
    pub n_bytes: u64,
}

/// A model that a worker of this tab has.
#[derive(Clone, Debug)]
pub struct LoadedInTab {
    /// What the device said.
    pub loaded: Loaded,
    /// Its files, for another worker to read; none if they cannot be had a second time.
    pub files: Vec<(String, Blob)>,
    /// Why the browser did not keep them for the next visit, where it was to.
    pub not_kept: Option<String>,
    /// Bytes of memory that the worker holds.
    pub memory: f64,
    /// Matrices are held in f16.
    pub is_half: bool,
}

/// A message of the host, and what came with it.
type Answer = (FromWorker, Vec<JsValue>);

/// Shared with what listens to the host.
type Askers = Rc<RefCell<Waiting<oneshot::Sender<Answer>>>>;

/// Hears how much of a file is there.
type OnFetching = Rc<RefCell<Option<Box<dyn Fn(Fetching)>>>>;

/// Tells everybody who waits that it is in vain.
fn die(askers: &Askers, cause: &str) {
    let waiting = askers.borrow_mut().die(cause);
    for sender in waiting {
        // Who does not listen any more need not know.
        let _ = sender.send((
            FromWorker::Engine(FromEngine::Died(cause.to_owned())),
            Vec::new(),
        ));
    }
}

/// Hands an answer to who waits for it.
fn deliver(askers: &Askers, number: u32, answer: Answer) {
    match answer {
        (FromWorker::Engine(FromEngine::Died(cause)), _) => die(askers, &cause),
        answer => {
            let asker = askers.borrow_mut().take(number);
            if let Some(sender) = asker {
                // Nobody waits for an answer that was given up.
                let _ = sender.send(answer);
            }
        }
    }
}

/// Where the engine is.
enum Host {
    /// In a worker of this tab.
    Worker(Worker),
    /// In the program that serves the page.
    Socket(WebSocket),
}

/// An engine in a worker or behind a socket; dropping it ends that.
pub struct Client {
    host: Host,
    askers: Askers,
    next: Cell<u32>,
    /// Directions that the engine was given, by the names that plans have for them.
    given: RefCell<BTreeSet<String>>,
    on_fetching: OnFetching,
    _listeners: Vec<Closure<dyn Fn(Event)>>,
}

impl Drop for Client {
    fn drop(&mut self) {
        match &self.host {
            Host::Worker(worker) => worker.terminate(),
            Host::Socket(socket) => {
                for set in [
                    WebSocket::set_onmessage,
                    WebSocket::set_onerror,
                    WebSocket::set_onclose,
                ] {
                    set(socket, None);
                }
                // One that is closed already is what is wished.
                let _ = socket.close();
            }
        }
    }
}

impl Client {
    fn new(host: Host, askers: Askers, listeners: Vec<Closure<dyn Fn(Event)>>) -> Self {
        Self {
            host,
            askers,
            next: Cell::new(1),
            given: RefCell::default(),
            on_fetching: OnFetching::default(),
            _listeners: listeners,
        }
    }

    /// Starts a worker with the program for this device.
    ///
    /// # Errors
    /// - if the browser does not start it
    pub async fn start(device: Device) -> Result<Self, Problem> {
        let died = |error: JsValue| Problem::Died(error_text(&error));
        let options = WorkerOptions::new();
        options.set_type(WorkerType::Module);
        let worker = Worker::new_with_options("worker.js", &options).map_err(died)?;

        let askers = Askers::default();
        let (sender, ready) = oneshot::channel();
        askers.borrow_mut().wait(0, sender).map_err(Problem::Died)?;
        let listening = Rc::clone(&askers);
        let on_fetching = OnFetching::default();
        let hearing = Rc::clone(&on_fetching);
        let on_message = Closure::<dyn Fn(Event)>::new(move |event: Event| {
            let Ok(event) = event.dyn_into::<MessageEvent>() else {
                return;
            };
            let message: Array = event.data().unchecked_into();
            let number = message.get(0).as_f64().unwrap_or(0.0) as u32;
            let json = message.get(1).as_string().unwrap_or_default();
            match serde_json::from_str(&json) {
                Ok(FromWorker::Fetching(fetching)) => {
                    if let Some(hears) = &*hearing.borrow() {
                        hears(fetching);
                    }
                }
                Ok(answer) => {
                    let with = message.iter().skip(2).collect();
                    deliver(&listening, number, (answer, with));
                }
                Err(error) => {
                    let refused = FromWorker::Engine(FromEngine::Refused(error.to_string()));
                    deliver(&listening, number, (refused, Vec::new()));
                }
            }
        });
        let listening = Rc::clone(&askers);
        let on_error = Closure::<dyn Fn(Event)>::new(move |event: Event| {
            die(&listening, &error_text(&event));
        });
        worker.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        worker.set_onerror(Some(on_error.as_ref().unchecked_ref()));

        let start = Object::new();
        let [script, module] = program_addresses(device).map_err(died)?;
        let module = match device {
            Device::WebGpu => module.into(),
            Device::Cpu | Device::Machine => wasm_bindgen::module(), // it is compiled already
        };
        for (name, value) in [("script", script.into()), ("module", module)] {
            Reflect::set(&start, &name.into(), &value).map_err(died)?;
        }
        worker.post_message(&start).map_err(died)?;
        let listeners = vec![on_message, on_error];
        let mut client = Self::new(Host::Worker(worker), askers, listeners);
        client.on_fetching = on_fetching;
        match ready.await {
            Ok((FromWorker::Engine(FromEngine::Ready), _)) => Ok(client),
            Ok((FromWorker::Engine(FromEngine::Died(error)), _)) => Err(Problem::Died(error)),
            _ => Err(Problem::Died("the worker did not start".to_owned())),
        }
    }

    /// Reaches the engine of a model in the program that serves the page; the model is there when this ends.
    ///
    /// # Errors
    /// - if it cannot be reached, or has no such model
    pub async fn connect(address: &str) -> Result<(Self, Loaded), Problem> {
        let died = |error: JsValue| Problem::Died(error_text(&error));
        let socket = WebSocket::new(address).map_err(died)?;
        let askers = Askers::default();
        let (sender, loaded) = oneshot::channel();
        askers.borrow_mut().wait(0, sender).map_err(Problem::Died)?;
        let listening = Rc::clone(&askers);
        let on_message = Closure::<dyn Fn(Event)>::new(move |event: Event| {
            let data = event.dyn_ref::<MessageEvent>().map(MessageEvent::data);
            let json = data.and_then(|data| data.as_string()).unwrap_or_default();
            match serde_json::from_str(&json) {
                Ok((number, answer)) => {
                    let answer = FromWorker::Engine(answer);
                    deliver(&listening, number, (answer, Vec::new()));
                }
                Err(error) => die(&listening, &format!("an answer of another form: {error}")),
            }
        });
        let listening = Rc::clone(&askers);
        // A browser keeps to itself why a socket failed.
        let on_end = Closure::<dyn Fn(Event)>::new(move |_: Event| {
            die(
                &listening,
                "the program that serves this page is not reached",
            );
        });
        socket.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        socket.set_onerror(Some(on_end.as_ref().unchecked_ref()));
        socket.set_onclose(Some(on_end.as_ref().unchecked_ref()));
        let client = Self::new(Host::Socket(socket), askers, vec![on_message, on_end]);
        let loaded = loaded.await;
        let loaded = loaded.map_err(|_| Problem::Died("the socket was closed".to_owned()))?;
        Ok((client, Loaded::of(engines(loaded)?)?))
    }

    /// Has the worker find a model's files; `blobs` are those of [`Source::Blobs`], and `on_fetching` hears how much of a file
    /// is there, also while it is loaded.
    ///
    /// # Errors
    /// - [`Problem::Refused`] if a file is missing, cannot be had, or is not what its name says.
    pub async fn open(
        &self,
        source: Source,
        blobs: &[Blob],
        on_fetching: impl Fn(Fetching) + 'static,
    ) -> Result<Opened, Problem> {
        *self.on_fetching.borrow_mut() = Some(Box::new(on_fetching));
        match self.send(ToWorker::Open(source), blobs).await? {
            (FromWorker::Opened { names, n_bytes }, with) => {
                let bytes = with.iter().map(|bytes| Uint8Array::new(bytes).to_vec());
                Ok(Opened {
                    described_by: names.into_iter().zip(bytes).collect(),
                    n_bytes,
                })
            }
            other => Err(unexpected(engines(other)?)),
        }
    }

    /// Puts the model that was opened on the worker's device; `sha256` is that of its weights, where it is known. `in_half`
    /// holds matrices in f16 if they are stored in 16 bits.
    ///
    /// # Errors
    /// - [`Problem::Refused`] if the files hold no such model, or the device is not there or has no room.
    pub async fn load(
        &self,
        sha256: Option<String>,
        in_half: bool,
    ) -> Result<LoadedInTab, Problem> {
        let message = ToWorker::Load { sha256, in_half };
        let answer = self.send(message, &[]).await;
        *self.on_fetching.borrow_mut() = None;
        match answer? {
            (
                FromWorker::Loaded {
                    loaded,
                    names,
                    not_kept,
                    memory,
                    is_half,
                },
                with,
            ) => {
                let blobs = with.into_iter().map(JsCast::unchecked_into);
                Ok(LoadedInTab {
                    loaded: Loaded::of(loaded)?,
                    files: names.into_iter().zip(blobs).collect(),
                    not_kept,
                    memory,
                    is_half,
                })
            }
            other => Err(unexpected(engines(other)?)),
        }
    }

    /// The answer and what it cost. Directions that the plan names are given to the engine before, once; `file` has them. Who
    /// drops the future gives the answer up: the engine stops at its next step.
    ///
    /// # Errors
    /// - [`Problem::Refused`] if what was asked for is impossible.
    /// - [`Problem::Died`] if the engine is gone.
    pub async fn ask(
        &self,
        request: Request,
        file: impl Fn(&str) -> Option<Vec<u8>>,
    ) -> Result<(Response, Cost), Problem> {
        let planned = request.plan.interventions.iter();
        let names = planned.filter_map(|planned| planned.op.direction.as_deref());
        for name in names {
            let is_given = self.given.borrow().contains(name);
            let Some(file) = file(name).filter(|_| !is_given) else {
                continue;
            };
            let message = ToEngine::Direction(BASE64_STANDARD.encode(file));
            match engines(self.send(ToWorker::Engine(message), &[]).await?)? {
                FromEngine::Taken => self.given.borrow_mut().insert(name.to_owned()),
                other => return Err(unexpected(other)),
            };
        }
        let message = ToWorker::Engine(ToEngine::Ask(request));
        match engines(self.send(message, &[]).await?)? {
            FromEngine::Answered(response, cost) => Ok((response, cost)),
            other => Err(unexpected(other)),
        }
    }

    async fn send(&self, message: ToWorker, blobs: &[Blob]) -> Result<Answer, Problem> {
        let number = self.next.get();
        self.next.set(number.wrapping_add(1).max(1));
        let (sender, answer) = oneshot::channel();
        self.askers
            .borrow_mut()
            .wait(number, sender)
            .map_err(Problem::Died)?;
        let _asked = Asked {
            client: self,
            number,
        };
        self.post(number, &message, blobs)?;
        answer
            .await
            .map_err(|_| Problem::Died("the engine ended".to_owned()))
    }

    fn post(&self, number: u32, message: &ToWorker, blobs: &[Blob]) -> Result<(), Problem> {
        let died = |error: JsValue| Problem::Died(error_text(&error));
        let refused = |error: serde_json::Error| Problem::Refused(error.to_string());
        match (&self.host, message) {
            (Host::Worker(worker), message) => {
                let json = serde_json::to_string(message).map_err(refused)?;
                let parts = Array::of2(&number.into(), &json.into());
                for blob in blobs {
                    parts.push(blob);
                }
                worker.post_message(&parts).map_err(died)
            }
            (Host::Socket(socket), ToWorker::Engine(message)) => {
                let json = serde_json::to_string(&(number, message)).map_err(refused)?;
                socket.send_with_str(&json).map_err(died)
            }
            (Host::Socket(_), ToWorker::Open(_) | ToWorker::Load { .. }) => {
                let text = "the machine has its models itself";
                Err(Problem::Refused(text.to_owned()))
            }
        }
    }
}

/// A question that was sent; dropped before the answer is there, it is taken back.
struct Asked<'a> {
    client: &'a Client,
    number: u32,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if self.client.askers.borrow_mut().take(self.number).is_some() {
            // Nothing is lost if the engine cannot be reached: nobody waits for it.
            let _ = match &self.client.host {
                Host::Worker(worker) => worker.post_message(&Array::of1(&self.number.into())),
                Host::Socket(socket) => socket.send_with_str(&format!("[{}]", self.number)),
            };
        }
    }
}

/// The message where every host of an engine could have sent it.
fn engines((message, _): Answer) -> Result<FromEngine, Problem> {
    match message {
        FromWorker::Engine(message) => Ok(message),
        other => Err(Problem::Died(format!(
            "an answer to another question: {other:?}"
        ))),
    }
}

fn unexpected(message: FromEngine) -> Problem {
    match message {
        FromEngine::Refused(text) => Problem::Refused(text),
        FromEngine::Died(text) => Problem::Died(text),
        other => Problem::Died(format!("an answer to another question: {other:?}")),
    }
}

/// Addresses of a worker's program, which the page's head names: its JavaScript and its module.
///
/// # Errors
/// - if it names none
pub fn program_addresses(device: Device) -> Result<[String; 2], JsValue> {
    let document = super::window::document().ok_or("no document")?;
    let (element, attribute) = match device {
        Device::WebGpu => ("meta[name=webgpu]", "content"),
        Device::Cpu | Device::Machine => ("link[rel=modulepreload]", "href"),
    };
    let element = document.query_selector(element)?;
    let name = element.and_then(|element| element.get_attribute(attribute));
    let name = name.ok_or("index.html names no script")?;
    let base = document.base_uri()?.unwrap_or_default();
    let script = web_sys::Url::new_with_base(&name, &base)?.href();
    let module = script.replace(".js", "_bg.wasm");
    Ok([script, module])
}

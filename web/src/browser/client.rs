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
use web_sys::{Event, MessageEvent, WebSocket, Worker, WorkerOptions, WorkerType};

use super::{error_text, worker::ToWorker};
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

/// Shared with what listens to the host.
type Askers = Rc<RefCell<Waiting<oneshot::Sender<FromEngine>>>>;

/// Tells everybody who waits that it is in vain.
fn die(askers: &Askers, cause: &str) {
    let waiting = askers.borrow_mut().die(cause);
    for sender in waiting {
        // Who does not listen any more need not know.
        let _ = sender.send(FromEngine::Died(cause.to_owned()));
    }
}

/// Hands an answer to who waits for it.
fn deliver(askers: &Askers, number: u32, answer: FromEngine) {
    match answer {
        FromEngine::Died(cause) => die(askers, &cause),
        answer => {
            let asker = askers.borrow_mut().take(number);
            // Nobody waits for an answer that was given up.
            let _ = asker.map(|sender| sender.send(answer));
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
        let on_message = Closure::<dyn Fn(Event)>::new(move |event: Event| {
            let Ok(event) = event.dyn_into::<MessageEvent>() else {
                return;
            };
            let message: Array = event.data().unchecked_into();
            let number = message.get(0).as_f64().unwrap_or(0.0) as u32;
            let json = message.get(1).as_string().unwrap_or_default();
            let answer = serde_json::from_str(&json)
                .unwrap_or_else(|error| FromEngine::Refused(error.to_string()));
            deliver(&listening, number, answer);
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
        let client = Self::new(Host::Worker(worker), askers, vec![on_message, on_error]);
        match ready.await {
            Ok(FromEngine::Ready) => Ok(client),
            Ok(FromEngine::Died(error)) => Err(Problem::Died(error)),
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
                Ok((number, answer)) => deliver(&listening, number, answer),
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
        Ok((client, Loaded::of(loaded)?))
    }

    /// Puts a model on the worker's device; `files` are handed over, not copied.
    ///
    /// # Errors
    /// - [`Problem::Refused`] if the files hold no such model, or the device is not there.
    pub async fn load(&self, config: String, files: Vec<Uint8Array>) -> Result<Loaded, Problem> {
        let message = ToWorker::Load { config };
        Loaded::of(self.send(message, &files).await?)
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
            match self.send(ToWorker::Engine(message), &[]).await? {
                FromEngine::Taken => self.given.borrow_mut().insert(name.to_owned()),
                other => return Err(unexpected(other)),
            };
        }
        let message = ToWorker::Engine(ToEngine::Ask(request));
        match self.send(message, &[]).await? {
            FromEngine::Answered(response, cost) => Ok((response, cost)),
            other => Err(unexpected(other)),
        }
    }

    async fn send(&self, message: ToWorker, files: &[Uint8Array]) -> Result<FromEngine, Problem> {
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
        self.post(number, &message, files)?;
        answer
            .await
            .map_err(|_| Problem::Died("the engine ended".to_owned()))
    }

    fn post(&self, number: u32, message: &ToWorker, files: &[Uint8Array]) -> Result<(), Problem> {
        let died = |error: JsValue| Problem::Died(error_text(&error));
        let refused = |error: serde_json::Error| Problem::Refused(error.to_string());
        match (&self.host, message) {
            (Host::Worker(worker), message) => {
                let json = serde_json::to_string(message).map_err(refused)?;
                let parts = Array::of2(&number.into(), &json.into());
                let buffers = Array::new();
                for file in files {
                    parts.push(file);
                    buffers.push(&file.buffer());
                }
                let sent = worker.post_message_with_transfer(&parts, &buffers);
                sent.map_err(died)
            }
            (Host::Socket(socket), ToWorker::Engine(message)) => {
                let json = serde_json::to_string(&(number, message)).map_err(refused)?;
                socket.send_with_str(&json).map_err(died)
            }
            (Host::Socket(_), ToWorker::Load { .. }) => {
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
    let document = web_sys::window()
        .and_then(|window| window.document())
        .ok_or("no document")?;
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

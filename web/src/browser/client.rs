//! The side of the page: starts a worker, numbers requests and hands out answers.

use std::{
    cell::{Cell, RefCell},
    fmt,
    rc::Rc,
};

use futures_channel::oneshot;
use js_sys::{Array, Object, Reflect, Uint8Array};
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use web_sys::{Event, MessageEvent, Worker, WorkerOptions, WorkerType};

use super::{
    error_text,
    worker::{Cost, Device, FromWorker, ToWorker},
};
use crate::{
    protocol::{Request, Response},
    waiting::Waiting,
};

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

/// Shared with what listens to the worker.
type Askers = Rc<RefCell<Waiting<oneshot::Sender<FromWorker>>>>;

/// Tells everybody who waits that it is in vain.
fn die(askers: &Askers, cause: &str) {
    let waiting = askers.borrow_mut().die(cause);
    for sender in waiting {
        // Who does not listen any more need not know.
        let _ = sender.send(FromWorker::Died(cause.to_owned()));
    }
}

/// An engine in a worker; dropping it ends the worker.
pub struct Client {
    worker: Worker,
    askers: Askers,
    next: Cell<u32>,
    _listeners: [Closure<dyn Fn(Event)>; 2],
}

impl Drop for Client {
    fn drop(&mut self) {
        self.worker.terminate();
    }
}

impl Client {
    /// Starts a worker with this program.
    ///
    /// # Errors
    /// - if the browser does not start it
    pub async fn start() -> Result<Self, Problem> {
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
                .unwrap_or_else(|error| FromWorker::Refused(error.to_string()));
            match answer {
                FromWorker::Died(cause) => die(&listening, &cause),
                answer => {
                    let asker = listening.borrow_mut().take(number);
                    // Nobody waits for an answer that was given up.
                    let _ = asker.map(|sender| sender.send(answer));
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
        for (name, value) in [
            ("script", script_address().map_err(died)?.into()),
            ("module", wasm_bindgen::module()),
        ] {
            Reflect::set(&start, &name.into(), &value).map_err(died)?;
        }
        worker.post_message(&start).map_err(died)?;
        let client = Self {
            worker,
            askers,
            next: Cell::new(1),
            _listeners: [on_message, on_error],
        };
        match ready.await {
            Ok(FromWorker::Ready) => Ok(client),
            Ok(FromWorker::Died(error)) => Err(Problem::Died(error)),
            _ => Err(Problem::Died("the worker did not start".to_owned())),
        }
    }

    /// Puts a model on a device; `files` are handed over, not copied.
    ///
    /// # Errors
    /// - [`Problem::Refused`] if the files hold no such model, or the device is not there.
    pub async fn load(
        &self,
        device: Device,
        config: String,
        files: Vec<Uint8Array>,
    ) -> Result<Loaded, Problem> {
        match self
            .send(&ToWorker::Load { device, config }, &files)
            .await?
        {
            FromWorker::Loaded {
                sha256,
                adapter,
                is_software,
            } => Ok(Loaded {
                sha256,
                adapter,
                is_software,
            }),
            other => Err(unexpected(other)),
        }
    }

    /// The answer and what it cost. Who drops the future gives the answer up: the engine stops at its next step.
    ///
    /// # Errors
    /// - [`Problem::Refused`] if what was asked for is impossible.
    /// - [`Problem::Died`] if the engine is gone.
    pub async fn ask(&self, request: Request) -> Result<(Response, Cost), Problem> {
        match self.send(&ToWorker::Ask(request), &[]).await? {
            FromWorker::Answered(response, cost) => Ok((response, cost)),
            other => Err(unexpected(other)),
        }
    }

    async fn send(&self, message: &ToWorker, files: &[Uint8Array]) -> Result<FromWorker, Problem> {
        let number = self.next.get();
        self.next.set(number.wrapping_add(1).max(1));
        let json =
            serde_json::to_string(message).map_err(|error| Problem::Refused(error.to_string()))?;
        let parts = Array::of2(&number.into(), &json.into());
        let buffers = Array::new();
        for file in files {
            parts.push(file);
            buffers.push(&file.buffer());
        }
        let (sender, answer) = oneshot::channel();
        self.askers
            .borrow_mut()
            .wait(number, sender)
            .map_err(Problem::Died)?;
        let _asked = Asked {
            client: self,
            number,
        };
        self.worker
            .post_message_with_transfer(&parts, &buffers)
            .map_err(|error| Problem::Died(error_text(&error)))?;
        answer
            .await
            .map_err(|_| Problem::Died("the worker ended".to_owned()))
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
            let number = Array::of1(&self.number.into());
            // Nothing is lost if the worker cannot be reached: nobody waits for it.
            let _ = self.client.worker.post_message(&number);
        }
    }
}

fn unexpected(message: FromWorker) -> Problem {
    match message {
        FromWorker::Refused(text) => Problem::Refused(text),
        FromWorker::Died(text) => Problem::Died(text),
        other => Problem::Died(format!("an answer to another question: {other:?}")),
    }
}

/// Address of this program's JavaScript, which the page's head names.
fn script_address() -> Result<String, JsValue> {
    let document = web_sys::window()
        .and_then(|window| window.document())
        .ok_or("no document")?;
    let link = document
        .query_selector("link[rel=modulepreload]")?
        .ok_or("index.html names no module")?;
    let href = link.get_attribute("href").unwrap_or_default();
    let base = document.base_uri()?.unwrap_or_default();
    Ok(web_sys::Url::new_with_base(&href, &base)?.href())
}

//! Native engines for the page: `/engines.json` says which models have one, `/engine?model=NAME` is a WebSocket to it.
//!
//! Frames are JSON text: `[number, message]` each way ([`swivel_engine::protocol`]), or `[number]` from the page, which takes that
//! message back. The first frame to the page is number 0: what was loaded, or why nothing was.
//!
//! A model has one engine, which its tabs share, in a thread of its own; it is made when a tab first asks for it.

mod host;
mod on_device;
mod queue;
mod socket;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use anyhow::{Error, Result};
use axum::{
    Router,
    extract::{Query, State, WebSocketUpgrade},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use burn::tensor::backend::AutodiffBackend;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{Semaphore, mpsc};

use super::list;
use crate::device::{self, DeviceChoice, Job, is_software};
use on_device::Make;
use queue::{Queue, Seat};

/// Sockets that are open at once.
const MOST_TABS: usize = 64;

/// The engines of a server.
#[derive(Clone)]
pub struct Engines(Arc<Shared>);

struct Shared {
    device: DeviceChoice,
    device_name: String,
    /// What `/engines.json` says.
    list: String,
    /// What is opened, by the model's name.
    models: BTreeMap<String, String>,
    /// What waits for the engines that were made.
    queues: Mutex<BTreeMap<String, Arc<Queue>>>,
    tabs: Arc<Semaphore>,
}

/// The name of the device that is meant, once it has answered.
struct Name;

impl Job for Name {
    type Output = String;

    fn run<A: AutodiffBackend>(self, _: A::Device, name: &str) -> Result<String> {
        Ok(name.to_owned())
    }
}

impl Engines {
    /// Engines for models, which are opened when they are asked for.
    ///
    /// # Errors
    /// - If the device does not answer.
    pub fn new(choice: DeviceChoice, models: BTreeMap<String, String>) -> Result<Self> {
        let device = device::run(choice, Name)?;
        Ok(Self(Arc::new(Shared {
            list: json!({
                "device": device,
                "is_software": is_software(&device),
                "models": models.keys().collect::<Vec<_>>(),
            })
            .to_string(),
            device: device.parse().map_err(Error::msg)?,
            device_name: device,
            models,
            queues: Mutex::default(),
            tabs: Arc::new(Semaphore::new(MOST_TABS)),
        })))
    }

    /// What the device calls itself.
    pub fn device(&self) -> &str {
        &self.0.device_name
    }

    /// The paths that are answered.
    pub fn router(self) -> Router {
        Router::new()
            .route("/engine", get(open))
            .route("/engines.json", get(names))
            .with_state(self)
    }

    /// A place at the engine of a model.
    ///
    /// # Errors
    /// - Why there is none.
    fn seat(&self, model: &str, out: mpsc::UnboundedSender<String>) -> Result<Seat, String> {
        let Some(place) = self.0.models.get(model) else {
            return Err(format!("there is no engine for a model `{model}` here"));
        };
        let mut queues = self.0.queues.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seat) = queues.get(model).and_then(|queue| queue.open(&out)) {
            return Ok(seat);
        }
        let queue = Arc::new(Queue::default());
        let make = Make {
            model: place.clone(),
            device: self.0.device.clone(),
        };
        let shared = Arc::clone(&queue);
        thread::Builder::new()
            .name(format!("engine {model}"))
            .spawn(move || host::run(&shared, || make.engine()))
            .map_err(|error| format!("starting the engine: {error}"))?;
        queues.insert(model.to_owned(), Arc::clone(&queue));
        queue.open(&out).ok_or("the engine ended".to_owned())
    }
}

async fn names(State(engines): State<Engines>) -> Response {
    list::answer(engines.0.list.clone())
}

#[derive(Deserialize)]
struct Asked {
    model: String,
}

async fn open(
    State(engines): State<Engines>,
    Query(Asked { model }): Query<Asked>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let Ok(tab) = Arc::clone(&engines.0.tabs).try_acquire_owned() else {
        let why = format!("{MOST_TABS} tabs are open at this server; close one of them\n");
        return (StatusCode::SERVICE_UNAVAILABLE, why).into_response();
    };
    upgrade
        .read_buffer_size(socket::BUFFER_BYTES)
        .max_message_size(socket::MOST_BYTES)
        .max_frame_size(socket::MOST_BYTES)
        .on_upgrade(async move |socket| {
            let (out, answers) = mpsc::unbounded_channel();
            let seat = engines.seat(&model, out);
            socket::serve(socket, seat, answers, tab).await;
        })
}

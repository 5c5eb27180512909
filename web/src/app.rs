//! The page: its state, what happens when something is done to it, and where its parts stand.

use std::{collections::BTreeSet, pin::pin, rc::Rc, time::Duration};

use futures_channel::oneshot;
use futures_util::future::{Either, select};
use js_sys::Uint8Array;
use leptos::prelude::*;
use swivel_core::{Component, Gpt2Config, Tokenizer, plan::Operation, task::programs::Lexicon};
use swivel_engine::protocol::{Answer, Request, Response};
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::spawn_local;
use web_sys::{File, HashChangeEvent, KeyboardEvent, RequestCache};

use crate::{
    browser::{
        client::{Client, Problem},
        fetch::{self, fetch, read_file},
        model::{MODELS, ModelFiles, ModelSource},
        window,
        worker::Device,
    },
    session::{
        Job, Model, Picture, Prompts, Session, learned::OpenedFile, map::Metric, prompt::rotated,
        recorded,
    },
    view,
};

/// The one of them that comes with the page.
pub const BUILT_IN: &str = "solver";
/// Folder of directions and maps that were learned where the page comes from.
const LEARNED: &str = "directions";
/// How often a host is asked what is new in that folder, while the page can be seen.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Turns that are left out after a host did not answer, at most.
const MOST_TURNS_LEFT_OUT: u32 = 15;
/// A graphics device must agree with the reference to this, nats.
const GPU_TOLERANCE: f32 = 1e-3;

/// How far the model is.
#[derive(Clone, Debug, PartialEq)]
pub enum Loading {
    /// A file is on its way.
    Fetching {
        /// Its name.
        name: String,
        /// Bytes that have come.
        done: f64,
        /// Bytes in all.
        total: Option<f64>,
        /// Seconds left at the pace so far.
        seconds_left: Option<f64>,
    },
    /// The files are there, the device takes them.
    Preparing,
    /// It runs.
    Live,
    /// It does not, and why.
    Failed(String),
}

/// What is known of a device.
#[derive(Clone, Debug, PartialEq)]
pub enum DeviceState {
    /// Nothing yet.
    Untried,
    /// It is being tested.
    Testing,
    /// It cannot be used, and why.
    Unavailable(String),
    /// It computes; largest error against the reference in nats where there is one, milliseconds for a new pair of prompts.
    Ready {
        /// What it calls itself.
        adapter: String,
        /// Nats.
        error: Option<f32>,
        /// Milliseconds.
        ms: Option<f64>,
    },
}

/// Devices, the one in use, and the person's wish.
#[derive(Clone, Debug, PartialEq)]
pub struct Devices {
    /// The one in use.
    pub current: Device,
    /// The person's wish; `None` leaves it to the measurement.
    pub wish: Option<Device>,
    /// CPU.
    pub cpu: DeviceState,
    /// WebGPU.
    pub web_gpu: DeviceState,
    /// The program that serves the page, where it offers to compute the model of the page.
    pub machine: Option<DeviceState>,
}

impl Devices {
    /// What is known of the one in use.
    pub fn state(&self) -> Option<&DeviceState> {
        match self.current {
            Device::Cpu => Some(&self.cpu),
            Device::WebGpu => Some(&self.web_gpu),
            Device::Machine => self.machine.as_ref(),
        }
    }
}

/// Everything that views read and call.
#[derive(Clone, Copy)]
pub struct App {
    /// What the person chose and what came back.
    pub session: RwSignal<Session>,
    /// How far the model is.
    pub loading: RwSignal<Loading>,
    /// Where it runs.
    pub devices: RwSignal<Devices>,
    /// A sentence for everybody: what just happened, or went wrong.
    pub notice: RwSignal<Option<Notice>>,
    /// Bytes of the engine's memory.
    pub memory: RwSignal<f64>,
    /// What cells of the map say.
    pub metric: RwSignal<Metric>,
    /// What is done at a cell, and scanned.
    pub operation: RwSignal<&'static Operation>,
    /// To which value.
    pub component: RwSignal<Component>,
    /// In which head; `None` in all.
    pub head: RwSignal<Option<usize>>,
    engine: StoredValue<Option<Rc<Client>>, LocalStorage>,
    source: StoredValue<ModelSource, LocalStorage>,
    /// True while the loop of [`App::pump`] runs.
    is_pumping: StoredValue<bool>,
    /// What the loop has asked the engine; dropping it gives that up.
    asked: StoredValue<Option<Asked>, LocalStorage>,
    /// Counts models and devices that were asked for; what an older request brings is dropped.
    generation: StoredValue<u32>,
    /// What was seen of the host's folder of directions.
    folder: StoredValue<Folder>,
}

/// What was seen of the host's folder of directions.
#[derive(Clone, Debug, Default)]
struct Folder {
    /// Files that were opened.
    opened: BTreeSet<String>,
    /// Files that do not fit the model of the page.
    refused: BTreeSet<String>,
    /// True if the host can be asked what is new.
    is_live: bool,
    /// True while it is asked.
    is_asked: bool,
    /// Turns to leave out, and how many after the next failure.
    rest: [u32; 2],
}

impl Folder {
    fn is_known(&self, name: &str) -> bool {
        self.opened.contains(name) || self.refused.contains(name)
    }
}

/// A job that the engine is at.
struct Asked {
    job: Job,
    /// Who waits for the answer waits as long as this is there.
    _still_wanted: oneshot::Sender<()>,
}

/// A sentence in the notice line.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// True if something went wrong.
    pub is_problem: bool,
    /// What.
    pub text: String,
}

impl App {
    fn new(session: Session) -> Self {
        let wish = window::query("device").or_else(|| window::stored("device"));
        let wish = match wish.as_deref() {
            Some("cpu") => Some(Device::Cpu),
            Some("webgpu") => Some(Device::WebGpu),
            Some("machine") => Some(Device::Machine),
            _ => None,
        };
        let folder = window::query("model").unwrap_or_else(|| fetch::address_in(MODELS, BUILT_IN));
        Self {
            session: RwSignal::new(session),
            loading: RwSignal::new(Loading::Preparing),
            devices: RwSignal::new(Devices {
                current: Device::Cpu,
                wish,
                cpu: DeviceState::Untried,
                web_gpu: DeviceState::Untried,
                machine: None,
            }),
            notice: RwSignal::new(None),
            memory: RwSignal::new(0.0),
            metric: RwSignal::new(Metric::default()),
            operation: RwSignal::new(Operation::INTERCHANGE),
            component: RwSignal::new(Component::BlockOutput),
            head: RwSignal::new(None),
            engine: StoredValue::new_local(None),
            source: StoredValue::new_local(ModelSource::Folder(folder)),
            is_pumping: StoredValue::new(false),
            asked: StoredValue::new_local(None),
            generation: StoredValue::new(0),
            folder: StoredValue::new(Folder::default()),
        }
    }

    /// Does something to the session and asks the engine for what is out of date then.
    pub fn edit<T>(&self, change: impl FnOnce(&mut Session) -> T) -> T {
        let (result, has_history) = self
            .session
            .try_update(|session| (change(session), session.has_history()[0]))
            .unwrap_or_else(|| unreachable!("the page's state lives as long as the page"));
        if has_history {
            window::set_fragment(&self.session.with_untracked(Session::fragment));
        }
        self.pump();
        result
    }

    /// The same, where it can fail: the cause becomes the notice.
    pub fn try_edit<E: std::fmt::Display>(
        &self,
        change: impl FnOnce(&mut Session) -> Result<(), E>,
    ) {
        match self.edit(change) {
            Ok(()) => self.notice.set(None),
            Err(error) => self.complain(error.to_string()),
        }
    }

    /// Says that something went wrong.
    pub fn complain(&self, text: impl Into<String>) {
        self.notice.set(Some(Notice {
            is_problem: true,
            text: text.into(),
        }));
    }

    /// Says what happened.
    pub fn tell(&self, text: impl Into<String>) {
        self.notice.set(Some(Notice {
            is_problem: false,
            text: text.into(),
        }));
    }

    /// Asks the engine for what is out of date, one thing after the other, until nothing is; what it is at is given up if
    /// something else is wanted more by now.
    fn pump(self) {
        if self.is_pumping.get_value() {
            let is_wanted = |job: &Job| self.session.with_untracked(|session| session.wants(job));
            let asked =
                |asked: &Option<Asked>| asked.as_ref().is_none_or(|own| is_wanted(&own.job));
            if !self.asked.with_value(asked) {
                self.asked.set_value(None);
            }
            return;
        }
        self.is_pumping.set_value(true);
        spawn_local(async move {
            loop {
                let Some(engine) = self.engine.get_value() else {
                    break;
                };
                let Some(job) = self.session.with_untracked(Session::next_job) else {
                    break;
                };
                let (still_wanted, given_up) = oneshot::channel();
                self.asked.set_value(Some(Asked {
                    job: job.clone(),
                    _still_wanted: still_wanted,
                }));
                let file = |name: &str| self.direction_file(name);
                let answer = pin!(engine.ask(job.request.clone(), file));
                let result = match select(answer, given_up).await {
                    Either::Left((result, _)) => result,
                    Either::Right(_) => continue,
                };
                let is_same = self
                    .engine
                    .with_value(|own| own.as_ref().is_some_and(|own| Rc::ptr_eq(own, &engine)));
                match result {
                    Ok((response, cost)) => {
                        self.session
                            .update(|session| session.take(&job, response, cost.ms));
                        // The page's own memory is read with it.
                        self.memory.set(cost.bytes);
                    }
                    Err(Problem::Refused(cause)) => {
                        self.session.update(|session| session.refuse(&job, &cause));
                    }
                    // An engine that was replaced while it was asked is no loss.
                    Err(Problem::Died(_)) if !is_same => {}
                    Err(Problem::Died(cause)) => {
                        self.engine_died(&cause);
                        break;
                    }
                }
            }
            self.asked.set_value(None);
            self.is_pumping.set_value(false);
        });
    }

    /// The file of a direction that a plan names.
    fn direction_file(self, name: &str) -> Option<Vec<u8>> {
        self.session
            .with_untracked(|session| session.direction_file(name).map(<[u8]>::to_vec))
    }

    /// Goes on on the CPU, where that is another device; else says so and waits for the person.
    fn engine_died(self, cause: &str) {
        self.engine.set_value(None);
        match self.devices.with_untracked(|devices| devices.current) {
            Device::WebGpu => {
                self.devices.update(|devices| {
                    devices.web_gpu = DeviceState::Unavailable(cause.to_owned());
                    devices.current = Device::Cpu;
                    devices.wish = Some(Device::Cpu);
                });
                self.complain(format!(
                    "The graphics device failed: {cause}. Nothing is lost: the page goes on on the CPU."
                ));
                self.load_model();
            }
            Device::Machine => {
                self.devices.update(|devices| {
                    devices.machine = Some(DeviceState::Unavailable(cause.to_owned()));
                    devices.current = Device::Cpu;
                    devices.wish = Some(Device::Cpu);
                });
                self.complain(format!(
                    "The machine stopped answering: {cause}. Nothing is lost: the page goes on in this tab."
                ));
                self.load_model();
            }
            Device::Cpu => {
                let text = format!("The engine stopped: {cause}");
                self.loading.set(Loading::Failed(text));
            }
        }
    }

    /// Opens another model.
    pub fn open_model(self, source: ModelSource) {
        self.source.set_value(source);
        self.load_model();
    }

    /// Opens a model that the host of the page lists.
    pub fn open_listed(self, name: &str) {
        self.open_model(ModelSource::Folder(fetch::address_in(MODELS, name)));
    }

    /// Opens the model that comes with the page.
    pub fn open_solver(self) {
        self.open_listed(BUILT_IN);
    }

    /// Fetches the model and puts it on a device.
    pub fn load_model(self) {
        let generation = self.next_generation();
        let source = self.source.get_value();
        spawn_local(async move {
            let result = self.load(&source, generation).await;
            if self.generation.get_value() != generation {
                return;
            }
            match result {
                Ok(()) => {
                    self.loading.set(Loading::Live);
                    window::mark("swivel-model");
                    self.open_address();
                    self.pump();
                    self.retry_refused();
                    spawn_local(window::keep_for_offline());
                    let devices = self.devices.get_untracked();
                    if devices.wish != Some(Device::Cpu) && devices.current == Device::Cpu {
                        self.try_web_gpu(generation).await;
                    }
                }
                Err(cause) => self.loading.set(Loading::Failed(cause)),
            }
        });
    }

    fn next_generation(self) -> u32 {
        self.generation.update_value(|generation| *generation += 1);
        self.generation.get_value()
    }

    /// Puts the model where it is wished; in the tab the first answers come from the CPU, which is there at once.
    async fn load(self, source: &ModelSource, generation: u32) -> Result<(), String> {
        let is_wished = self.devices.with_untracked(|d| d.wish) == Some(Device::Machine);
        let name = source.listed_name();
        let offer = async move {
            let offer = machine_offer(name).await;
            let is_offered = offer.is_some();
            self.devices.update(|devices| devices.machine = offer);
            is_offered
        };
        if !is_wished {
            spawn_local(async move {
                offer.await;
            });
        } else if offer.await {
            match self.load_on_machine(source, generation).await {
                Ok(()) => return Ok(()),
                Err(cause) => {
                    self.devices.update(|devices| {
                        devices.machine = Some(DeviceState::Unavailable(cause.clone()));
                    });
                    self.complain(format!(
                        "The machine cannot be used: {cause}. The page goes on in this tab."
                    ));
                }
            }
        }
        self.load_in_tab(source, generation).await
    }

    /// Reads tokenizer and config, and reaches the engine of the program that serves the page.
    async fn load_on_machine(self, source: &ModelSource, generation: u32) -> Result<(), String> {
        let text = |problem: Problem| problem.to_string();
        let name = source.name();
        let address = fetch::socket_address(&name)?;
        let (texts, client) =
            futures_util::join!(source.texts(&|_, _, _| ()), Client::connect(&address));
        let ((config, tokenizer), (client, loaded)) = (texts?, client.map_err(text)?);
        self.take_model(name, &config, tokenizer, &loaded.sha256, generation)?;
        if self.generation.get_value() != generation {
            return Ok(());
        }
        self.devices.update(|devices| {
            devices.current = Device::Machine;
            devices.machine = Some(DeviceState::Ready {
                adapter: loaded.adapter,
                error: None,
                ms: None,
            });
        });
        self.engine.set_value(Some(Rc::new(client)));
        Ok(())
    }

    /// Reads the files while a worker starts.
    async fn load_in_tab(self, source: &ModelSource, generation: u32) -> Result<(), String> {
        let files = async {
            let files = self.read(source, generation).await?;
            if self.generation.get_value() == generation {
                self.loading.set(Loading::Preparing);
            }
            Ok::<ModelFiles, String>(files)
        };
        let (files, client) = futures_util::join!(files, Client::start());
        let (files, client) = (files?, client.map_err(|problem| problem.to_string())?);
        let ModelFiles {
            name,
            config,
            tokenizer,
            weights,
        } = files;
        let loaded = client.load(Device::Cpu, config.clone(), weights).await;
        let loaded = loaded.map_err(|problem| problem.to_string())?;
        self.take_model(name, &config, tokenizer, &loaded.sha256, generation)?;
        if self.generation.get_value() != generation {
            return Ok(());
        }
        self.devices.update(|devices| {
            devices.current = Device::Cpu;
            devices.cpu = DeviceState::Ready {
                adapter: loaded.adapter,
                error: None,
                ms: None,
            };
        });
        self.engine.set_value(Some(Rc::new(client)));
        Ok(())
    }

    /// Gives the session a model that is on a device, unless another was asked for meanwhile.
    fn take_model(
        self,
        name: String,
        config: &str,
        tokenizer: Tokenizer,
        sha256: &str,
        generation: u32,
    ) -> Result<(), String> {
        let config = Gpt2Config::from_json(config.as_bytes()).map_err(|error| error.to_string())?;
        tokenizer
            .check(&config)
            .map_err(|error| error.to_string())?;
        if self.generation.get_value() != generation {
            return Ok(());
        }
        let is_same = self.session.with_untracked(|session| {
            let model = session.model.as_ref();
            model.is_some_and(|model| model.sha256 == sha256)
        });
        if is_same {
            self.session.update(|session| session.rename_model(name));
            return Ok(());
        }
        let model = Model {
            name,
            config,
            sha256: sha256.to_owned(),
            lexicon: Lexicon::embedded(&tokenizer).ok().map(Into::into),
            tokenizer,
        };
        self.session.update(|session| session.set_model(model));
        Ok(())
    }

    async fn read(self, source: &ModelSource, generation: u32) -> Result<ModelFiles, String> {
        let start = window::now();
        let progress = |name: &str, done: f64, total: Option<f64>| {
            if self.generation.get_value() != generation {
                return;
            }
            let secs = (window::now() - start) / 1000.0;
            let seconds_left = total
                .filter(|_| done > 0.0)
                .map(|total| secs / done * (total - done));
            self.loading.set(Loading::Fetching {
                name: name.to_owned(),
                done,
                total,
                seconds_left,
            });
        };
        source.read(&progress).await
    }

    /// Tests WebGPU beside the running CPU and changes over if it is right and faster, or wished for.
    async fn try_web_gpu(self, generation: u32) {
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
                    self.complain(format!("WebGPU cannot be used: {cause}. The CPU goes on."));
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
            }
        }
        window::mark("swivel-tested");
    }

    /// Loads the model on WebGPU, compares an answer with the reference, and measures both devices.
    async fn test_web_gpu(self) -> Result<(Client, DeviceState, [f64; 2]), String> {
        let text = |problem: Problem| problem.to_string();
        let client = Client::start().await.map_err(text)?;
        let source = self.source.get_value();
        let config = source.config(&|_, _, _| ()).await?;
        let weights = source.weights(&|_, _, _| ()).await?;
        let loaded = client
            .load(Device::WebGpu, config, weights)
            .await
            .map_err(text)?;
        let (question, recorded) = self.question();
        let cpu = self.engine.get_value().ok_or("the CPU engine is gone")?;
        let reference = match recorded {
            Some(answer) => answer,
            None => self.ask(&cpu, question.clone()).await.map_err(text)?.0,
        };
        let (found, _) = self.ask(&client, question.clone()).await.map_err(text)?;
        let error = recorded::largest_error(&reference, &found);
        if error.is_nan() || error > GPU_TOLERANCE {
            return Err(format!(
                "{} computes wrong numbers (off by {error:.1e} nats; {GPU_TOLERANCE:.0e} is allowed)",
                loaded.adapter
            ));
        }
        // New prompts of the same length: nothing is kept from before, and all kernels are compiled.
        let fresh = |turn: usize| rotated(&question, turn);
        let mut fastest = [f64::INFINITY; 2];
        for turn in 1..=2 {
            for (engine, fastest) in [&*cpu, &client].into_iter().zip(&mut fastest) {
                let (_, ms) = self.ask(engine, fresh(turn)).await.map_err(text)?;
                *fastest = fastest.min(ms);
            }
        }
        let adapter = match loaded.is_software {
            true => format!("{} (software)", loaded.adapter),
            false => loaded.adapter,
        };
        let state = DeviceState::Ready {
            adapter,
            error: Some(error),
            ms: Some(fastest[1]),
        };
        Ok((client, state, fastest))
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
            let example = recorded::example().ok();
            let example = example.filter(|example| Some(example.model_sha256.as_str()) == sha256);
            let own = (session.directions.iter()).position(|opened| opened.is_embedded);
            if let (Some(example), Some(idx)) = (example, own) {
                let prompts = Prompts {
                    base: example.base.ids,
                    source: example.source.ids,
                };
                return (session.learned_request(idx, &prompts), Some(example.answer));
            }
            (session.test_request(), None)
        })
    }

    /// Takes the person's wish for a device.
    pub fn wish(self, device: Option<Device>) {
        self.devices.update(|devices| devices.wish = device);
        let name = match device {
            Some(Device::Cpu) => "cpu",
            Some(Device::WebGpu) => "webgpu",
            Some(Device::Machine) => "machine",
            None => "auto",
        };
        window::store("device", name);
        self.notice.set(None);
        self.load_model();
    }

    /// Opens what the address' fragment holds, if it holds something.
    fn open_address(self) {
        let fragment = window::fragment();
        if fragment.is_empty() || self.session.with_untracked(Session::fragment) == fragment {
            return;
        }
        let opened = self
            .session
            .try_update(|session| session.open_fragment(&fragment));
        if let Some(Err(cause)) = opened {
            self.complain(format!("This link cannot be opened: {cause}."));
        }
        self.pump();
    }

    /// Puts a link to the view on the clipboard and in the address.
    pub fn share(self) {
        let fragment = self.session.with_untracked(Session::fragment);
        window::set_fragment(&fragment);
        let link = format!("{}#{fragment}", window::address());
        spawn_local(async move {
            let kb = link.len() as f64 / 1000.0;
            match window::copy(&link).await {
                Ok(()) => self.tell(format!(
                    "Link copied ({kb:.1} KB). It holds the prompts, what is switched on, and the view."
                )),
                Err(_) => self.tell("The link is in the address bar: copy it from there."),
            }
        });
    }

    /// Puts pyvene code that does the same on the clipboard.
    pub fn copy_code(self) {
        let code = self.session.with_untracked(Session::as_code);
        spawn_local(async move {
            match window::copy(&code).await {
                Ok(()) => self.tell("Copied: a Python script that does the same with pyvene."),
                Err(cause) => self.complain(format!("The code could not be copied: {cause}")),
            }
        });
    }

    /// Opens files that were dropped or chosen: a model folder, or direction files and bundles.
    pub fn open_files(self, files: Vec<File>) {
        if files.iter().any(|file| file.name() == "config.json") {
            self.open_model(ModelSource::Files(files));
            return;
        }
        spawn_local(async move {
            for file in files {
                match read_file(&file).await {
                    Ok(bytes) => self.open_file(&file.name(), &bytes),
                    Err(cause) => self.complain(cause),
                }
            }
        });
    }

    fn open_file(self, name: &str, bytes: &Uint8Array) {
        let bytes = bytes.to_vec();
        let opened = self.edit(|session| {
            let opened = session.open_file(name, &bytes);
            if let Ok(OpenedFile::Map(idx)) = opened {
                session.picture = Picture::Learned(idx);
            }
            opened
        });
        match opened {
            Ok(opened) => self.tell(format!("Opened {name}: {}.", self.describe(opened))),
            Err(error) => self.complain(format!(
                "{name} was not opened: {error}. A model needs its config.json beside the weights."
            )),
        }
    }

    /// What a file turned out to hold.
    fn describe(self, opened: OpenedFile) -> String {
        self.session.with_untracked(|session| match opened {
            OpenedFile::Direction(idx) => session.directions[idx].title(),
            OpenedFile::Map(idx) => session.maps[idx].summary(),
        })
    }

    /// Opens an address: a direction file, a bundle, or a model folder.
    pub fn open_url(self, address: String) {
        let address = address.trim().to_owned();
        if !address.ends_with(".safetensors") {
            self.open_model(ModelSource::Folder(address));
            return;
        }
        spawn_local(async move {
            match fetch(&address, &|_, _| ()).await {
                Ok(Some(bytes)) => {
                    let name = address.rsplit('/').next().unwrap_or(&address).to_owned();
                    self.open_file(&name, &bytes);
                }
                Ok(None) => self.complain(format!("{address}: there is no such file")),
                Err(cause) => self.complain(cause),
            }
        });
    }

    /// Opens the directions and maps of the host's folder, where it lists them; where it is `swivel serve`, also those that come
    /// while the page is open. What was opened stays, whatever becomes of the file.
    fn open_learned(self, cache: RequestCache) {
        let is_asked = self
            .folder
            .try_update_value(|folder| std::mem::replace(&mut folder.is_asked, true));
        if is_asked != Some(false) {
            return;
        }
        spawn_local(async move {
            let result = self.read_folder(cache).await;
            self.folder.update_value(|folder| {
                folder.is_asked = false;
                folder.rest = match result {
                    Ok(()) => [0; 2],
                    Err(_) => [
                        folder.rest[1],
                        (2 * folder.rest[1] + 1).min(MOST_TURNS_LEFT_OUT),
                    ],
                };
            });
        });
    }

    /// What did not fit the model before may fit this one; a direction of a head needs one to be there.
    fn retry_refused(self) {
        let refused = self
            .folder
            .try_update_value(|folder| std::mem::take(&mut folder.refused));
        if refused.is_some_and(|refused| !refused.is_empty()) {
            self.open_learned(RequestCache::Default);
        }
    }

    async fn read_folder(self, cache: RequestCache) -> Result<(), String> {
        let Some(list) = fetch::list(LEARNED, cache).await? else {
            return Ok(());
        };
        self.folder
            .update_value(|folder| folder.is_live = list.is_live);
        for name in list.names {
            if self.folder.with_value(|folder| folder.is_known(&name)) {
                continue;
            }
            let address = fetch::address_in(LEARNED, &name);
            // One that is gone already is no loss.
            let Some(bytes) = fetch(&address, &|_, _| ()).await? else {
                continue;
            };
            let size = |session: &Session| (session.directions.len(), session.maps.len());
            let before = self.session.with_untracked(size);
            let opened = self.edit(|session| session.open_file(&name, &bytes.to_vec()));
            if let Ok(opened) = &opened
                && cache == RequestCache::NoStore
                && self.session.with_untracked(size) != before
            {
                self.tell(format!("New: {name}, {}.", self.describe(*opened)));
            }
            self.folder.update_value(|folder| {
                let names = match opened {
                    Ok(_) => &mut folder.opened,
                    Err(_) => &mut folder.refused,
                };
                names.insert(name);
            });
        }
        Ok(())
    }

    /// Asks a host that can say so what is new in its folder.
    fn look_into_folder(self) {
        let is_due = self.folder.try_update_value(|folder| {
            let is_due = folder.is_live && folder.rest[0] == 0;
            folder.rest[0] = folder.rest[0].saturating_sub(1);
            is_due
        });
        if is_due == Some(true) && window::is_visible() {
            self.open_learned(RequestCache::NoStore);
        }
    }
}

/// What the program that serves the page says of a model, where it is one of its own.
async fn machine_offer(model: Option<String>) -> Option<DeviceState> {
    let (model, engines) = (model?, fetch::engines().await?);
    let is_offered = engines.models.contains(&model);
    is_offered.then_some(DeviceState::Ready {
        adapter: engines.device,
        error: None,
        ms: None,
    })
}

/// Shows the page and starts everything.
pub fn mount() {
    let session = match Session::recorded() {
        Ok(session) => session,
        Err(error) => wasm_bindgen::throw_str(&error.to_string()),
    };
    let Some(root) = window::window()
        .and_then(|window| window.document()?.get_element_by_id("app"))
        .and_then(|root| root.dyn_into::<web_sys::HtmlElement>().ok())
    else {
        wasm_bindgen::throw_str("index.html has no element `app`");
    };
    root.set_text_content(None);
    std::panic::set_hook(Box::new(|info| window::stopped(&info.to_string())));
    let app = App::new(session);
    mount_to(root, move || view::page::page(app)).forget();
    window::mark("swivel-painted");
    window::listen("hashchange", move |event| {
        if event.is_instance_of::<HashChangeEvent>() {
            app.open_address();
        }
    });
    window::listen("keydown", move |event| {
        if let Some(event) = event.dyn_ref::<KeyboardEvent>() {
            undo_by_key(app, event);
        }
    });
    app.load_model();
    app.open_learned(RequestCache::Default);
    window::listen("visibilitychange", move |_| {
        app.folder.update_value(|folder| folder.rest = [0; 2]);
        app.look_into_folder();
    });
    set_interval(move || app.look_into_folder(), LOOK_EVERY);
}

/// Ctrl-Z and Ctrl-Shift-Z or Ctrl-Y, outside of text fields, which have their own.
fn undo_by_key(app: App, event: &KeyboardEvent) {
    let is_typing = event
        .target()
        .and_then(|target| target.dyn_into::<web_sys::Element>().ok())
        .is_some_and(|element| {
            let is_text = element.matches("textarea, input[type=text], input[type=url]");
            is_text.unwrap_or(false)
        });
    if is_typing || !(event.ctrl_key() || event.meta_key()) {
        return;
    }
    match (event.key().to_lowercase().as_str(), event.shift_key()) {
        ("z", false) => {
            event.prevent_default();
            app.edit(Session::undo);
        }
        ("z", true) | ("y", _) => {
            event.prevent_default();
            app.edit(Session::redo);
        }
        _ => {}
    }
}

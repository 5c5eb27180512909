//! A model is fetched and put where it is wished: in the tab, or on the machine that serves the page.

use std::{cell::RefCell, rc::Rc};

use futures_channel::oneshot;
use futures_util::future::{Either, select};
use leptos::prelude::*;
use swivel_core::question::programs::AskedProgram;
use wasm_bindgen_futures::spawn_local;
use web_sys::RequestCache;

use super::{App, SOLVER};
use crate::{
    browser::{
        client::{Client, LoadedInTab, Problem},
        fetch,
        files::{
            SMALL,
            store::{self, Folder},
        },
        model::{Description, MODELS, ModelSource},
        window,
        worker::Fetching,
    },
    device::{Device, DeviceState},
    offered::BUILT_IN,
    page_state::{KeptModel, Loading},
    session::{Model, recorded::QUESTIONS, task::choices},
};

impl App {
    /// Opens another model.
    pub(super) fn open_model(self, source: ModelSource) {
        self.source.set_value(source);
        self.load_model();
    }

    /// Opens a model that the host of the page lists.
    pub(super) fn open_listed(self, name: &str) {
        self.open_model(ModelSource::at(&fetch::address_in(MODELS, name)));
    }

    /// Shows a question of the gallery. Its model goes on if it is there, and comes by itself if nothing has to be fetched for it;
    /// else a person says so.
    pub(super) fn open_question(self, question: usize) {
        self.try_edit(|session| session.open_question(question));
        if self
            .session
            .with_untracked(|session| session.model.is_some())
        {
            return;
        }
        self.next_generation();
        self.still_loading.set_value(None);
        self.engine.set_value(None);
        self.load_model_of_question(question);
    }

    /// Opens the model of a question if nothing has to be fetched for it; else waits until a person wants it.
    pub(super) fn load_model_of_question(self, question: usize) {
        self.loading.set(Loading::Waiting);
        let model = QUESTIONS[question].model;
        if model == BUILT_IN {
            return self.open_model(ModelSource::at(model));
        }
        let generation = self.generation.get_value();
        spawn_local(async move {
            self.list_kept().await;
            let is_kept = self.kept.with_untracked(|kept| {
                let mut whole = kept.iter().filter(|kept| kept.is_whole);
                whole.any(|kept| kept.name == model)
            });
            if is_kept && self.generation.get_value() == generation {
                self.open_model(ModelSource::at(model));
            }
        });
    }

    /// Looks which models the browser keeps, and which the host of the page has beside the built-in one; a host without a list
    /// is asked once.
    pub(super) fn list_models(self) {
        spawn_local(self.list_kept());
        if self.has_no_list.get_value() {
            return;
        }
        spawn_local(async move {
            match fetch::list(MODELS, RequestCache::NoStore).await {
                Ok(Some(list)) => {
                    let is_other = |name: &String| name != SOLVER;
                    let others = list.names.into_iter().filter(is_other);
                    self.models.set(others.collect());
                }
                _ => self.has_no_list.set_value(true),
            }
        });
    }

    async fn list_kept(self) {
        let kept = store::all().await.into_iter().map(|manifest| KeptModel {
            n_bytes: manifest.n_bytes() as f64,
            is_whole: manifest.sha256.is_some(),
            name: manifest.name,
            address: manifest.address,
        });
        self.kept.set(kept.collect());
    }

    /// Throws away what the browser keeps of a model; one that is loaded goes on.
    pub(super) fn forget_kept(self, address: String) {
        spawn_local(async move {
            if let Some(folder) = Folder::of(&address).await {
                folder.remove().await;
            }
            self.list_kept().await;
        });
    }

    /// Fetches the model and puts it on a device.
    pub(super) fn load_model(self) {
        let generation = self.next_generation();
        let source = self.source.get_value();
        let (still_wanted, given_up) = oneshot::channel();
        // What was being loaded before is given up: its worker ends, and with it all that is on its way.
        self.still_loading.set_value(Some(still_wanted));
        self.loading.set(Loading::Preparing);
        spawn_local(async move {
            let load = std::pin::pin!(self.load(&source, generation));
            let Either::Left((result, _)) = select(load, given_up).await else {
                return;
            };
            if self.generation.get_value() != generation {
                return;
            }
            match result {
                Ok(()) => {
                    self.loading.set(Loading::Live);
                    let text = source.text().filter(|text| text != BUILT_IN);
                    window::set_query("model", text.as_deref());
                    window::mark("swivel-model");
                    self.open_fragment();
                    self.pump();
                    self.retry_refused();
                    let fetched = self.small_files_of(&source);
                    spawn_local(window::keep_for_offline(fetched));
                    let devices = self.devices.get_untracked();
                    if devices.wish != Some(Device::Cpu) && devices.current == Device::Cpu {
                        self.try_web_gpu(generation).await;
                    }
                }
                Err(cause) => self.loading.set(Loading::Failed(cause)),
            }
        });
    }

    /// Addresses of the files that a worker fetched in one piece from the page's own host, for the page's offline copy.
    fn small_files_of(self, source: &ModelSource) -> Vec<String> {
        let ModelSource::Folder(folder) = source else {
            return Vec::new();
        };
        let is_own = source.listed_name().is_some();
        self.files.with_value(|files| {
            let small = files
                .iter()
                .filter(|(_, blob)| is_own && blob.size() <= SMALL as f64);
            small.map(|(name, _)| format!("{folder}/{name}")).collect()
        })
    }

    /// Gives up the model that is being loaded, and goes on with the one before.
    pub(super) fn cancel_loading(self) {
        self.next_generation();
        self.still_loading.set_value(None);
        self.loading
            .set(match self.engine.with_value(Option::is_some) {
                true => Loading::Live,
                false => Loading::Failed("it was cancelled; what came of it is kept".to_owned()),
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
                    self.complain_of_device(format!(
                        "The machine cannot be used: {cause}. The page fetches the model, to go on in this tab."
                    ));
                }
            }
        }
        self.load_in_tab(source, generation).await
    }

    /// Reads tokenizer and config, and reaches the engine of the program that serves the page.
    async fn load_on_machine(self, source: &ModelSource, generation: u32) -> Result<(), String> {
        let name = source.name();
        let address = fetch::socket_address(&name)?;
        let described = async {
            match source {
                ModelSource::Gguf(file) => Description::in_file(file).await,
                _ => Description::in_folder(&fetch::address_in(MODELS, &name)).await,
            }
        };
        let (described, client) = futures_util::join!(described, Client::connect(&address));
        let (client, loaded) = client.map_err(|problem| problem.to_string())?;
        self.take_model(name, described?, &loaded.sha256, generation)?;
        if self.generation.get_value() != generation {
            return Ok(());
        }
        self.devices.update(|devices| {
            devices.current = Device::Machine;
            devices.machine = Some(DeviceState::ready(loaded.adapter));
        });
        self.files.set_value(Vec::new());
        self.engine.set_value(Some(Rc::new(client)));
        Ok(())
    }

    /// Has a worker read the files and put the model on the CPU.
    async fn load_in_tab(self, source: &ModelSource, generation: u32) -> Result<(), String> {
        let text = |problem: Problem| problem.to_string();
        let client = Client::start(Device::Cpu).await.map_err(text)?;
        let (for_worker, blobs) = source.for_worker();
        let opened = client.open(for_worker, &blobs, self.hears_fetching(generation));
        let opened = opened.await.map_err(text)?;
        // A file that does not fit is said before its weights are fetched.
        let described = Description::of(&opened)?;
        let sizes = &described.config.sizes;
        let checked = described.tokenizer.check(sizes);
        checked.map_err(|error| error.to_string())?;
        let LoadedInTab {
            loaded,
            files,
            not_kept,
            memory,
            is_half: _,
        } = client.load(None, false).await.map_err(text)?;
        self.take_model(source.name(), described, &loaded.sha256, generation)?;
        if self.generation.get_value() != generation {
            return Ok(());
        }
        self.devices.update(|devices| {
            devices.current = Device::Cpu;
            devices.cpu = DeviceState::ready(loaded.adapter);
        });
        self.memory.update(|own| own.engine = memory);
        self.files.set_value(files);
        self.engine.set_value(Some(Rc::new(client)));
        if let Some(cause) = not_kept {
            self.tell(format!(
                "The model works, but this browser does not keep it for the next visit: {cause}."
            ));
        }
        Ok(())
    }

    /// Gives the session a model that is on a device, unless another was asked for meanwhile.
    fn take_model(
        self,
        name: String,
        described: Description,
        sha256: &str,
        generation: u32,
    ) -> Result<(), String> {
        let Description { config, tokenizer } = described;
        let (family, sizes, end_tokens) =
            (config.family.model_type, config.sizes, config.end_tokens);
        tokenizer.check(&sizes).map_err(|error| error.to_string())?;
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
            family,
            sizes,
            sha256: sha256.to_owned(),
            choices: choices(&tokenizer),
            program: AskedProgram::new(None, None, None, &tokenizer)
                .ok()
                .map(Into::into),
            tokenizer,
            end_tokens,
        };
        self.session.update(|session| session.set_model(model));
        Ok(())
    }

    /// Shows how much of a file is there; its speed is that of this time alone, since a part may have been kept.
    fn hears_fetching(self, generation: u32) -> impl Fn(Fetching) + 'static {
        let started: RefCell<Option<(String, f64, f64)>> = RefCell::default();
        move |Fetching { name, done, total }| {
            if self.generation.get_value() != generation {
                return;
            }
            let (now, done) = (window::now(), done as f64);
            let mut started = started.borrow_mut();
            let (_, from, since) = match &*started {
                Some(own) if own.0 == name => own.clone(),
                _ => started.insert((name.clone(), done, now)).clone(),
            };
            let total = total.map(|total| total as f64);
            let speed = (done - from) / (now - since).max(1.0) * 1000.0;
            let is_known = now - since > 500.0 && speed > 0.0;
            let speed = is_known.then_some(speed);
            let is_whole = total == Some(done);
            self.loading.set(match is_whole {
                true => Loading::Preparing,
                false => Loading::Fetching {
                    name,
                    done,
                    total,
                    speed,
                },
            });
        }
    }
}

/// What the program that serves the page says of a model, where it is one of its own.
async fn machine_offer(model: Option<String>) -> Option<DeviceState> {
    let (model, engines) = (model?, fetch::engines().await?);
    let is_offered = engines.models.contains(&model);
    is_offered.then(|| DeviceState::ready(engines.device))
}

//! A model is fetched and put where it is wished: in the tab, or on the machine that serves the page.

use std::rc::Rc;

use leptos::prelude::*;
use swivel_core::{Config, Tokenizer, question::programs::AskedProgram};
use wasm_bindgen_futures::spawn_local;
use web_sys::RequestCache;

use super::{App, BUILT_IN};
use crate::{
    browser::{
        client::{Client, Problem},
        fetch,
        model::{MODELS, ModelFiles, ModelSource},
        window,
    },
    device::{Device, DeviceState},
    page_state::Loading,
    session::Model,
};

impl App {
    /// Opens another model.
    pub(super) fn open_model(self, source: ModelSource) {
        self.source.set_value(source);
        self.load_model();
    }

    /// Opens a model that the host of the page lists.
    pub(super) fn open_listed(self, name: &str) {
        self.open_model(ModelSource::Folder(fetch::address_in(MODELS, name)));
    }

    /// Looks which models the host of the page has beside the built-in one; a host without a list is asked once.
    pub(super) fn list_models(self) {
        if self.has_no_list.get_value() {
            return;
        }
        spawn_local(async move {
            match fetch::list(MODELS, RequestCache::NoStore).await {
                Ok(Some(list)) => {
                    let is_other = |name: &String| name != BUILT_IN;
                    let others = list.names.into_iter().filter(is_other);
                    self.models.set(others.collect());
                }
                _ => self.has_no_list.set_value(true),
            }
        });
    }

    /// Fetches the model and puts it on a device.
    pub(super) fn load_model(self) {
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
                    self.open_fragment();
                    self.pump();
                    self.retry_refused();
                    spawn_local(window::keep_for_offline(Vec::new()));
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
            devices.machine = Some(DeviceState::ready(loaded.adapter));
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
        let (files, client) = futures_util::join!(files, Client::start(Device::Cpu));
        let (files, client) = (files?, client.map_err(|problem| problem.to_string())?);
        let ModelFiles {
            name,
            config,
            tokenizer,
            weights,
        } = files;
        let loaded = client.load(config.clone(), weights).await;
        let loaded = loaded.map_err(|problem| problem.to_string())?;
        self.take_model(name, &config, tokenizer, &loaded.sha256, generation)?;
        if self.generation.get_value() != generation {
            return Ok(());
        }
        self.devices.update(|devices| {
            devices.current = Device::Cpu;
            devices.cpu = DeviceState::ready(loaded.adapter);
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
        let config = Config::from_json(config.as_bytes()).map_err(|error| error.to_string())?;
        let (family, sizes) = (config.family.model_type, config.sizes);
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
            program: AskedProgram::new(None, None, None, &tokenizer)
                .ok()
                .map(Into::into),
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
}

/// What the program that serves the page says of a model, where it is one of its own.
async fn machine_offer(model: Option<String>) -> Option<DeviceState> {
    let (model, engines) = (model?, fetch::engines().await?);
    let is_offered = engines.models.contains(&model);
    is_offered.then(|| DeviceState::ready(engines.device))
}

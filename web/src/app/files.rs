//! Files and addresses that a person opens: models, directions and sweep results.

use js_sys::Uint8Array;
use leptos::prelude::*;
use wasm_bindgen_futures::spawn_local;
use web_sys::File;

use super::App;
use crate::{
    browser::{
        fetch::{fetch, read_file},
        files::model::is_gguf,
        model::ModelSource,
    },
    session::{Picture, learned::OpenedFile},
};

impl App {
    /// Opens files that were dropped or chosen: a model folder, or direction files and sweep results.
    pub(super) fn open_files(self, files: Vec<File>) {
        let is_of_model = |name: String| name == "config.json" || is_gguf(&name);
        if files.iter().any(|file| is_of_model(file.name())) {
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
    pub(super) fn describe(self, opened: OpenedFile) -> String {
        self.session.with_untracked(|session| match opened {
            OpenedFile::Direction(idx) => session.directions[idx].title(),
            OpenedFile::Map(idx) => session.sweeps[idx].summary(),
        })
    }

    /// Opens an address: a direction file, a sweep result, or a model folder.
    pub(super) fn open_address(self, address: String) {
        let address = address.trim().to_owned();
        if !address.ends_with(".safetensors") {
            self.open_model(ModelSource::at(&address));
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
}

//! The files of a model: which they are, what is small read, and the weights ready to be read by ranges.

use js_sys::Array;
use serde::{Deserialize, Serialize};
use swivel_core::{
    Config, FileFormat, StoredFile,
    hub::{HubId, best_gguf},
};
use web_sys::Blob;

use super::{
    bytes::Bytes,
    place::{Place, Progress, Server, files_on_hub},
};

/// Where the files of a model are, as a worker is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// In a folder of a server, in Hugging Face's layout.
    Folder(String),
    /// In one GGUF file on a server.
    Gguf(String),
    /// On the Hugging Face Hub.
    Hub {
        /// The Hub's address.
        endpoint: String,
        /// `owner/name`, with `@revision` and `:file` where they are named.
        id: String,
    },
    /// In blobs that come with the message, by these names.
    Blobs(Vec<String>),
}

/// A model whose weights can be read.
pub struct ModelFiles {
    /// What it computes.
    pub config: Config,
    /// What the page needs of it: the start of a GGUF file, or `config.json` and the tokenizer's files, by name.
    pub described_by: Vec<(String, Vec<u8>)>,
    /// What weight files hold, in the order in which they are read.
    pub stored: Vec<StoredFile>,
    /// Their names and bytes.
    pub weights: Vec<(String, Bytes)>,
    others: Vec<(String, Bytes)>,
    place: Place,
}

impl ModelFiles {
    /// Finds the files of a model.
    ///
    /// # Errors
    /// - if a file is missing, cannot be had, or is not what its name says
    pub async fn open(
        source: &Source,
        blobs: Vec<Blob>,
        progress: Progress,
    ) -> Result<Self, String> {
        match source {
            Source::Folder(address) => {
                let folder = address.trim_end_matches('/');
                let server = Server::of(folder, address, address, progress).await;
                Self::in_folder(Place::Server(server)).await
            }
            Source::Gguf(address) => {
                let path = address.split(['?', '#']).next().unwrap_or_default();
                let (folder, name) = path.rsplit_once('/').unwrap_or((".", path));
                let mut server = Server::of(folder, address, address, progress).await;
                server.is_file_at(address.clone());
                let decoded = js_sys::decode_uri_component(name).ok();
                let name = decoded.map_or_else(|| name.to_owned(), String::from);
                Self::gguf(Place::Server(server), &name).await
            }
            Source::Hub { endpoint, id } => Self::on_hub(endpoint, id, progress).await,
            Source::Blobs(names) => {
                let place = Place::Blobs(names.iter().cloned().zip(blobs).collect());
                match names.iter().find(|name| is_gguf(name)) {
                    Some(name) => Self::gguf(place, name).await,
                    None => Self::in_folder(place).await,
                }
            }
        }
    }

    async fn on_hub(endpoint: &str, id: &str, progress: Progress) -> Result<Self, String> {
        let hub = HubId::parse(id).ok_or_else(|| format!("{id} is no name of the Hub"))?;
        let folder = hub.folder(endpoint);
        let address = match &hub.file {
            Some(file) => format!("{folder}/{file}"),
            None => folder.clone(),
        };
        let server = Server::of(&folder, &address, id, progress).await;
        let file = match (&hub.file, server.kept_files()) {
            (Some(file), _) => Some(file.clone()),
            (None, Some(kept)) => kept.into_iter().find(|name| is_gguf(name)),
            (None, None) => {
                let files = files_on_hub(&hub, endpoint).await?;
                best_gguf(files.iter().map(String::as_str)).map(str::to_owned)
            }
        };
        match file {
            Some(file) => Self::gguf(Place::Server(server), &file).await,
            None => Self::in_folder(Place::Server(server)).await,
        }
    }

    async fn gguf(place: Place, name: &str) -> Result<Self, String> {
        let mut bytes = place.needed(name).await?;
        let (stored, start) = place.header(name, &mut bytes).await?;
        if stored.format != FileFormat::Gguf {
            let format = stored.format.name();
            return Err(format!("{name} is no GGUF file but one of {format}"));
        }
        let config = Config::from_gguf(&stored).map_err(|error| format!("{name}: {error}"))?;
        Ok(Self {
            config,
            described_by: vec![(name.to_owned(), start)],
            stored: vec![stored],
            weights: vec![(name.to_owned(), bytes)],
            others: Vec::new(),
            place,
        })
    }

    async fn in_folder(place: Place) -> Result<Self, String> {
        let mut bytes = place.needed("config.json").await?;
        let json = bytes.all().await?;
        let config = Config::from_json(&json).map_err(|error| error.to_string())?;
        let mut described_by = vec![("config.json".to_owned(), json)];
        let config_file = ("config.json".to_owned(), bytes);
        let mut others = Vec::new();
        match place.find("tokenizer.json").await? {
            Some(bytes) => others.push(("tokenizer.json".to_owned(), bytes)),
            None => {
                let vocab = place.find("vocab.json").await?;
                let vocab = vocab.ok_or_else(|| place.missing("tokenizer.json"))?;
                others.push(("vocab.json".to_owned(), vocab));
                others.push(("merges.txt".to_owned(), place.needed("merges.txt").await?));
            }
        }
        for (name, bytes) in &mut others {
            let all = bytes
                .all()
                .await
                .map_err(|error| format!("{name}: {error}"))?;
            described_by.push((name.clone(), all));
        }
        others.push(config_file);
        let mut weights = place.weights(&mut others).await?;
        let mut stored = Vec::new();
        for (name, bytes) in &mut weights {
            stored.push(place.header(name, bytes).await?.0);
        }
        Ok(Self {
            config,
            described_by,
            stored,
            weights,
            others,
            place,
        })
    }

    /// Throws away what is kept of it: it is not what it says.
    pub async fn forget(&self) {
        self.place.forget().await;
    }

    /// All files as the browser keeps them, so that another worker reads them without fetching them; everything was read.
    ///
    /// # Errors
    /// - if the browser has thrown a part of one away
    pub async fn blobs(&self) -> Result<(Vec<String>, Array), String> {
        let (mut names, blobs) = (Vec::new(), Array::new());
        for (name, bytes) in self.others.iter().chain(&self.weights) {
            names.push(name.clone());
            blobs.push(&bytes.blob().await?.into());
        }
        Ok((names, blobs))
    }

    /// Marks what is kept of it as whole; says why it is not kept, where the browser would not.
    ///
    /// # Errors
    /// - if what was kept before was another model: it is damaged, and thrown away
    pub async fn keep(&self, sha256: &str) -> Result<Option<String>, String> {
        let files = self.others.iter().chain(&self.weights);
        let trouble = files.filter_map(|(_, bytes)| bytes.trouble()).next();
        match &self.place {
            Place::Blobs(_) => Ok(None),
            Place::Server(server) => server.keep(sha256, trouble).await,
        }
    }
}

/// True if a file of this name has a whole model in it.
pub fn is_gguf(name: &str) -> bool {
    let path = name.split(['?', '#']).next().unwrap_or_default();
    path.to_ascii_lowercase().ends_with(".gguf")
}

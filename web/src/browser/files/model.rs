//! The files of a model: which they are, what is small read, and the weights ready to be read by ranges.

use std::{cell::RefCell, collections::BTreeSet, rc::Rc};

use js_sys::Array;
use serde::{Deserialize, Serialize};
use swivel_core::{
    Config, FileFormat, HeaderReader, StoredFile,
    hub::{HubId, best_gguf},
};
use wasm_bindgen::JsCast;
use web_sys::Blob;

use super::{
    bytes::{Bytes, Origin},
    download::{self, Download, Facts},
    store::{self, Folder, KeptFile, Manifest},
};
use crate::ranges::CHUNK;

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

/// Bytes of files that are fetched in one piece where they are the page's own, so that the page's offline copy has them.
pub const SMALL: u64 = 2 * CHUNK;

/// Hears which file is read, how many of its bytes are there, and how many it has.
pub type Progress = Rc<dyn Fn(&str, u64, Option<u64>)>;

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

/// Where files are looked for.
enum Place {
    Blobs(Vec<(String, Blob)>),
    Server(Server),
}

/// A folder on a server, and what the browser keeps of it.
struct Server {
    folder: String,
    /// The address of the one file that is meant, where it is that.
    file: Option<String>,
    /// True if it is the page's own.
    is_own: bool,
    kept: Option<Folder>,
    manifest: RefCell<Manifest>,
    progress: Progress,
}

/// The list of shards.
#[derive(Deserialize)]
struct Index {
    weight_map: std::collections::BTreeMap<String, String>,
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
                server.file = Some(address.clone());
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
        let Place::Server(server) = &self.place else {
            return Ok(None);
        };
        let Some(folder) = &server.kept else {
            return Ok(None);
        };
        let mut manifest = server.manifest.borrow().clone();
        if manifest.files.is_empty() {
            return Ok(None); // all of it is small, and the page's own
        }
        if manifest.sha256.as_ref().is_some_and(|own| own != sha256) {
            folder.remove().await;
            let text = "what this browser kept of the model is damaged, and was thrown away; try again to fetch it";
            return Err(text.to_owned());
        }
        let files = self.others.iter().chain(&self.weights);
        if let Some(cause) = files.filter_map(|(_, bytes)| bytes.trouble()).next() {
            return Ok(Some(cause));
        }
        manifest.sha256 = Some(sha256.to_owned());
        let is_kept = folder.set_manifest(&manifest).await;
        store::persist().await;
        Ok(is_kept.err())
    }
}

/// True if a file of this name has a whole model in it.
pub fn is_gguf(name: &str) -> bool {
    let path = name.split(['?', '#']).next().unwrap_or_default();
    path.to_ascii_lowercase().ends_with(".gguf")
}

impl Place {
    /// What a weight file holds, and its start as far as that needed it. A file that is none is not kept.
    async fn header(&self, name: &str, bytes: &mut Bytes) -> Result<(StoredFile, Vec<u8>), String> {
        let mut reader = HeaderReader::new(bytes.n_bytes());
        let (mut part, mut end) = (Vec::new(), 0);
        let mut wrong = None;
        while let Some(range) = reader.wants() {
            bytes.read(&range, &mut part).await?;
            end = range.end;
            if let Err(error) = reader.give(&part) {
                wrong = Some(error);
                break;
            }
        }
        let stored = match wrong {
            None => reader.finish(),
            Some(error) => Err(error),
        };
        let stored = match stored {
            Ok(stored) => stored,
            Err(error) => {
                self.forget().await;
                return Err(format!("{name}: {error}"));
            }
        };
        if stored.format == FileFormat::Gguf {
            bytes.read(&(0..end), &mut part).await?;
        }
        Ok((stored, part))
    }

    /// Throws away what is kept of the model.
    async fn forget(&self) {
        if let Self::Server(Server {
            kept: Some(folder), ..
        }) = self
        {
            folder.remove().await;
        }
    }

    /// A file; `None` where there is none.
    async fn find(&self, name: &str) -> Result<Option<Bytes>, String> {
        match self {
            Self::Blobs(blobs) => {
                let blob = blobs.iter().find(|(own, _)| own == name);
                Ok(blob.map(|(_, blob)| Bytes::new(Origin::Blob(blob.clone()))))
            }
            Self::Server(server) => server.find(name).await,
        }
    }

    async fn needed(&self, name: &str) -> Result<Bytes, String> {
        self.find(name).await?.ok_or_else(|| self.missing(name))
    }

    fn missing(&self, name: &str) -> String {
        match self {
            Self::Server(server) => format!("{} has no {name}", server.folder),
            Self::Blobs(_) => format!(
                "{name} is missing: a model needs config.json, tokenizer.json and model.safetensors together, or is one GGUF file"
            ),
        }
    }

    /// The weight files in the order of their names; the list of shards goes to the other files.
    async fn weights(
        &self,
        others: &mut Vec<(String, Bytes)>,
    ) -> Result<Vec<(String, Bytes)>, String> {
        // In the order in which transformers looks for them.
        for name in ["model.safetensors", "pytorch_model.bin"] {
            if let Some(bytes) = self.find(name).await? {
                return Ok(vec![(name.to_owned(), bytes)]);
            }
            let list = format!("{name}.index.json");
            let Some(mut bytes) = self.find(&list).await? else {
                continue;
            };
            let json = bytes.all().await?;
            let index: Index =
                serde_json::from_slice(&json).map_err(|error| format!("{list}: {error}"))?;
            others.push((list, bytes));
            let shards: BTreeSet<String> = index.weight_map.into_values().collect();
            let mut weights = Vec::new();
            for shard in shards {
                let bytes = self.needed(&shard).await?;
                weights.push((shard, bytes));
            }
            return Ok(weights);
        }
        Err(self.missing("model.safetensors"))
    }
}

impl Server {
    /// A folder of a server; what is kept of it goes by `address`, which is the model's, and people open it by `name`.
    async fn of(folder: &str, address: &str, name: &str, progress: Progress) -> Self {
        let kept = Folder::of(address).await;
        let manifest = match &kept {
            Some(folder) => folder.manifest().await,
            None => None,
        };
        Self {
            folder: folder.to_owned(),
            file: None,
            is_own: is_own(folder),
            kept,
            manifest: RefCell::new(manifest.unwrap_or_else(|| Manifest {
                address: address.to_owned(),
                name: name.to_owned(),
                ..Manifest::default()
            })),
            progress,
        }
    }

    /// Names of the files that are kept, if that is the whole model.
    fn kept_files(&self) -> Option<Vec<String>> {
        let manifest = self.manifest.borrow();
        let names = manifest.files.iter().map(|file| file.name.clone());
        manifest.sha256.as_ref().map(|_| names.collect())
    }

    async fn find(&self, name: &str) -> Result<Option<Bytes>, String> {
        let address = match &self.file {
            Some(address) => address.clone(),
            None => format!("{}/{}", self.folder, js_sys::encode_uri(name)),
        };
        let progress: download::Progress = {
            let (progress, name) = (Rc::clone(&self.progress), name.to_owned());
            Rc::new(move |done, total| progress(&name, done, total))
        };
        progress(0, None);
        // What the page's own host has may be another file today.
        let facts = match self.is_own {
            true => match download::facts(&address).await {
                Ok(None) => return Ok(None),
                Ok(facts) => facts,
                Err(_) => None, // it is not reached: what is kept will do
            },
            false => None,
        };
        let is_small = self.is_own
            && match &facts {
                Some(facts) => facts.n_bytes.is_none_or(|n_bytes| n_bytes <= SMALL),
                None => self.entry(name).is_none(),
            };
        if !is_small && let (Some(folder), Some((idx, file))) = (&self.kept, self.entry(name)) {
            let is_same = |facts: &Facts| {
                let has_length = facts.n_bytes.is_none_or(|n_bytes| n_bytes == file.n_bytes);
                has_length && facts.tag == file.tag
            };
            if facts.as_ref().is_none_or(is_same) {
                let whole = folder.file(idx, file.n_bytes).await;
                return Ok(Some(Bytes::new(match whole {
                    Some(blob) => Origin::Blob(blob),
                    None => Origin::Download(Download::resumed(
                        &address,
                        file.n_bytes,
                        file.tag,
                        (folder.clone(), idx),
                        progress,
                    )),
                })));
            }
            folder.remove().await;
            let mut manifest = self.manifest.borrow_mut();
            (manifest.files, manifest.sha256) = (Vec::new(), None);
        }
        if !self.is_own && self.kept_files().is_some() {
            return Ok(None); // the model is whole without it
        }
        let n_files = self.manifest.borrow().files.len();
        let folder = self.kept.clone().filter(|_| !is_small);
        let folder = folder.map(|folder| (folder, n_files));
        let download = Download::start(&address, is_small, folder, progress).await?;
        let Some(download) = download else {
            return Ok(None);
        };
        if let Some(folder) = self.kept.as_ref().filter(|_| !is_small) {
            self.manifest.borrow_mut().files.push(KeptFile {
                name: name.to_owned(),
                n_bytes: download.n_bytes(),
                tag: download.tag().map(str::to_owned),
            });
            let manifest = self.manifest.borrow().clone();
            // A full disk shows at the chunks.
            let _ = folder.set_manifest(&manifest).await;
        }
        Ok(Some(Bytes::new(Origin::Download(download))))
    }

    /// What the manifest says of a file, and its number.
    fn entry(&self, name: &str) -> Option<(usize, KeptFile)> {
        let manifest = self.manifest.borrow();
        let idx = manifest.files.iter().position(|file| file.name == name)?;
        Some((idx, manifest.files[idx].clone()))
    }
}

/// Names of the files of a repository of the Hub.
async fn files_on_hub(hub: &HubId, endpoint: &str) -> Result<Vec<String>, String> {
    #[derive(Deserialize)]
    struct Repository {
        siblings: Vec<Sibling>,
        /// `false`, or who lets people in.
        #[serde(default)]
        gated: serde_json::Value,
    }
    #[derive(Deserialize)]
    struct Sibling {
        rfilename: String,
    }
    let address = hub.listing(endpoint);
    let missing = || {
        format!(
            "the Hub has no model {hub} that everybody may read: it does not exist, or it is private"
        )
    };
    let download = Download::start(&address, true, None, Rc::new(|_, _| ())).await;
    let download = match download {
        // A model that is not there is said to be forbidden, so that nobody learns which private ones are.
        Err(error) if error.contains(": 401: ") => return Err(missing()),
        download => download?.ok_or_else(missing)?,
    };
    let json = Bytes::new(Origin::Download(download)).all().await?;
    let repository: Repository = serde_json::from_slice(&json)
        .map_err(|error| format!("{address} answers as no Hub does: {error}"))?;
    if !matches!(
        repository.gated,
        serde_json::Value::Bool(false) | serde_json::Value::Null
    ) {
        return Err(format!(
            "{hub} is gated: accept its terms at {endpoint}/{}, and then either download the model and drop its files here, or open it with `swivel serve --model {hub}` and a token",
            hub.repository
        ));
    }
    Ok(repository
        .siblings
        .into_iter()
        .map(|file| file.rfilename)
        .collect())
}

/// True if a folder is on the page's own server.
fn is_own(folder: &str) -> bool {
    let Ok(scope) = js_sys::global().dyn_into::<web_sys::WorkerGlobalScope>() else {
        return false;
    };
    let location = scope.location();
    let url = web_sys::Url::new_with_base(folder, &location.href());
    url.is_ok_and(|url| url.origin() == location.origin())
}

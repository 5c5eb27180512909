//! Where a worker looks for the files of a model: among blobs, or in a folder of a server, of which the browser may keep some.

use std::{cell::RefCell, rc::Rc};

use serde::Deserialize;
use swivel_core::{
    FileFormat, HeaderReader, StoredFile, WEIGHT_FILES, hub::HubId, shard_list, shards,
};
use wasm_bindgen::JsCast;
use web_sys::Blob;

use super::{
    body,
    bytes::{Bytes, Origin},
    download::{self, Download, Facts},
    store::{self, Folder, KeptFile, Manifest},
};
use crate::ranges::CHUNK;

/// Bytes of files that are fetched in one piece where they are the page's own, so that the page's offline copy has them.
pub const SMALL: u64 = 2 * CHUNK;

/// Hears which file is read, how many of its bytes are there, and how many it has.
pub type Progress = Rc<dyn Fn(&str, u64, Option<u64>)>;

/// Where files are looked for.
pub enum Place {
    /// Blobs, by name.
    Blobs(Vec<(String, Blob)>),
    /// A server.
    Server(Server),
}

/// A folder on a server, and what the browser keeps of it.
pub struct Server {
    folder: String,
    /// The address of the one file that is meant, where it is that.
    file: Option<String>,
    /// True if it is the page's own.
    is_own: bool,
    kept: Option<Folder>,
    manifest: RefCell<Manifest>,
    progress: Progress,
}

impl Place {
    /// What a weight file holds, and its start as far as that needed it. A file that is none is not kept.
    ///
    /// # Errors
    /// - if it is none, or cannot be had
    pub async fn header(
        &self,
        name: &str,
        bytes: &mut Bytes,
    ) -> Result<(StoredFile, Vec<u8>), String> {
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
    pub async fn forget(&self) {
        if let Self::Server(Server {
            kept: Some(folder), ..
        }) = self
        {
            folder.remove().await;
        }
    }

    /// A file; `None` where there is none.
    ///
    /// # Errors
    /// - if it cannot be had
    pub async fn find(&self, name: &str) -> Result<Option<Bytes>, String> {
        match self {
            Self::Blobs(blobs) => {
                let blob = blobs.iter().find(|(own, _)| own == name);
                Ok(blob.map(|(_, blob)| Bytes::new(Origin::Blob(blob.clone()))))
            }
            Self::Server(server) => server.find(name).await,
        }
    }

    /// A file that has to be there.
    ///
    /// # Errors
    /// - if it is not, or cannot be had
    pub async fn needed(&self, name: &str) -> Result<Bytes, String> {
        self.find(name).await?.ok_or_else(|| self.missing(name))
    }

    /// That a file is missing, and where.
    pub fn missing(&self, name: &str) -> String {
        match self {
            Self::Server(server) => format!("{} has no {name}", server.folder),
            Self::Blobs(_) => format!(
                "{name} is missing: a model needs config.json, tokenizer.json and model.safetensors together, or is one GGUF file"
            ),
        }
    }

    /// The weight files in the order of their names; the list of shards goes to the other files.
    ///
    /// # Errors
    /// - if one is missing or cannot be had
    pub async fn weights(
        &self,
        others: &mut Vec<(String, Bytes)>,
    ) -> Result<Vec<(String, Bytes)>, String> {
        for name in WEIGHT_FILES {
            if let Some(bytes) = self.find(name).await? {
                return Ok(vec![(name.to_owned(), bytes)]);
            }
            let list = shard_list(name);
            let Some(mut bytes) = self.find(&list).await? else {
                continue;
            };
            let json = bytes.all().await?;
            let shards = shards(&list, &json).map_err(|error| error.to_string())?;
            others.push((list, bytes));
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
    pub async fn of(folder: &str, address: &str, name: &str, progress: Progress) -> Self {
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

    /// Looks for the one file at this address, whatever it is called.
    pub fn is_file_at(&mut self, address: String) {
        self.file = Some(address);
    }

    /// Marks what is kept as whole; says why it is not kept: `trouble`, where there was some before, or the browser's.
    ///
    /// # Errors
    /// - if what was kept before was another model: it is damaged, and thrown away
    pub async fn keep(
        &self,
        sha256: &str,
        trouble: Option<String>,
    ) -> Result<Option<String>, String> {
        let Some(folder) = &self.kept else {
            return Ok(None);
        };
        let mut manifest = self.manifest.borrow().clone();
        if manifest.files.is_empty() {
            return Ok(None); // all of it is small, and the page's own
        }
        if manifest.sha256.as_ref().is_some_and(|own| own != sha256) {
            folder.remove().await;
            let text = "what this browser kept of the model is damaged, and was thrown away; try again to fetch it";
            return Err(text.to_owned());
        }
        if trouble.is_some() {
            return Ok(trouble);
        }
        manifest.sha256 = Some(sha256.to_owned());
        let is_kept = folder.set_manifest(&manifest).await;
        store::persist().await;
        Ok(is_kept.err())
    }

    /// Names of the files that are kept, if that is the whole model.
    pub fn kept_files(&self) -> Option<Vec<String>> {
        let manifest = self.manifest.borrow();
        let names = manifest.files.iter().map(|file| file.name.clone());
        manifest.sha256.as_ref().map(|_| names.collect())
    }

    async fn find(&self, name: &str) -> Result<Option<Bytes>, String> {
        let address = match &self.file {
            Some(address) => address.clone(),
            None => format!("{}/{}", self.folder, js_sys::encode_uri(name)),
        };
        let progress: body::Progress = {
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
///
/// # Errors
/// - if there is no such repository, or not everybody may read it
pub async fn files_on_hub(hub: &HubId, endpoint: &str) -> Result<Vec<String>, String> {
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

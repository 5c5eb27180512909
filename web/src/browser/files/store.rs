//! What the browser keeps of models between visits: in the origin's private file system, else in Cache Storage.
//!
//! A model has a folder, named by the address that it came from. In it are chunks of its files, each written once and whole,
//! and `manifest.json`, which says what they are. A chunk of another length than the manifest's file has there was being written
//! when the page was closed; it is fetched again.

use js_sys::{Array, AsyncIterator, IteratorNext, Uint8Array};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use swivel_core::hex;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    Blob, Cache, CacheStorage, DedicatedWorkerGlobalScope, FileSystemDirectoryHandle,
    FileSystemFileHandle, FileSystemGetDirectoryOptions, FileSystemGetFileOptions,
    FileSystemRemoveOptions, FileSystemSyncAccessHandle, Request, Response, StorageManager,
};

use crate::{
    browser::error_text,
    ranges::{CHUNK, Chunks},
};

/// Name of the folder of all models, and of the cache.
const MODELS: &str = "swivel-models";
const MANIFEST: &str = "manifest.json";

/// A place for files.
#[derive(Clone)]
enum Place {
    /// The folder of all models.
    Folder(FileSystemDirectoryHandle),
    /// Cache Storage.
    Cache(Cache),
}

/// What is kept of a model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The address that it came from.
    pub address: String,
    /// What people call it.
    pub name: String,
    /// Its files, as far as they are known.
    pub files: Vec<KeptFile>,
    /// SHA-256 of its weights, once all of them are there.
    pub sha256: Option<String>,
}

/// A file of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeptFile {
    /// Its name in the model's folder.
    pub name: String,
    /// Its bytes.
    pub n_bytes: u64,
    /// What the server says to tell its versions apart.
    pub tag: Option<String>,
}

impl Manifest {
    /// Bytes of all files.
    pub fn n_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.n_bytes).sum()
    }
}

/// A model's folder.
#[derive(Clone)]
pub struct Folder {
    place: Place,
    key: String,
}

impl Folder {
    /// The folder of what came from an address; `None` where the browser keeps nothing: in private windows of some, and where the
    /// page came over an open network.
    pub async fn of(address: &str) -> Option<Self> {
        let digest = Sha256::digest(address.as_bytes());
        Some(Self {
            place: place().await?,
            key: hex(&digest[..16]),
        })
    }

    /// What it says of itself.
    pub async fn manifest(&self) -> Option<Manifest> {
        let blob = self.place.read(&self.key, MANIFEST).await?;
        let text = JsFuture::from(blob.text()).await.ok()?.as_string()?;
        serde_json::from_str(&text).ok()
    }

    /// Says something else of itself.
    ///
    /// # Errors
    /// - if the browser does not keep it, as when the disk is full
    pub async fn set_manifest(&self, manifest: &Manifest) -> Result<(), String> {
        let json = serde_json::to_vec(manifest).map_err(|error| error.to_string())?;
        let bytes = Uint8Array::from(json.as_slice());
        self.place.write(&self.key, MANIFEST, &bytes).await
    }

    /// A chunk of the file with this number, if it is there and whole.
    pub async fn chunk(&self, file: usize, chunks: Chunks, idx: usize) -> Option<Blob> {
        let blob = self.place.read(&self.key, &chunk_name(file, idx)).await?;
        let range = chunks.range(idx);
        (blob.size() == (range.end - range.start) as f64).then_some(blob)
    }

    /// Keeps a chunk.
    ///
    /// # Errors
    /// - if the browser does not keep it, as when the disk is full
    pub async fn set_chunk(
        &self,
        file: usize,
        idx: usize,
        bytes: &Uint8Array,
    ) -> Result<(), String> {
        let name = chunk_name(file, idx);
        self.place.write(&self.key, &name, bytes).await
    }

    /// The file with this number, if all of it is there.
    pub async fn file(&self, file: usize, n_bytes: u64) -> Option<Blob> {
        let chunks = Chunks { n_bytes };
        let parts = Array::new();
        for idx in 0..chunks.count() {
            parts.push(&self.chunk(file, chunks, idx).await?.into());
        }
        Blob::new_with_blob_sequence(&parts).ok()
    }

    /// Throws it away.
    pub async fn remove(&self) {
        self.place.remove(&self.key).await;
    }
}

/// All bytes of a blob.
///
/// # Errors
/// - if the browser cannot read it any more
pub async fn bytes_of(blob: &Blob) -> Result<Uint8Array, String> {
    let buffer = JsFuture::from(blob.array_buffer()).await;
    let buffer = buffer.map_err(|error| error_text(&error))?;
    Ok(Uint8Array::new(&buffer))
}

/// All models that are kept, whole and in parts.
pub async fn all() -> Vec<Manifest> {
    let Some(place) = place().await else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for key in place.keys().await.unwrap_or_default() {
        let place = place.clone();
        if let Some(manifest) = (Folder { place, key }).manifest().await {
            all.push(manifest);
        }
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// Asks the browser not to throw away what is kept when the disk becomes full; it may say no.
pub async fn persist() {
    if let Some(manager) = manager()
        && let Ok(promise) = manager.persist()
    {
        // Without it the copy is only less sure.
        let _ = JsFuture::from(promise).await;
    }
}

fn chunk_name(file: usize, idx: usize) -> String {
    format!("{file}.{idx}")
}

fn scope() -> Option<DedicatedWorkerGlobalScope> {
    js_sys::global().dyn_into().ok()
}

/// In a worker and in a window; not there where the page came over an open network.
fn manager() -> Option<StorageManager> {
    let manager = match scope() {
        Some(scope) => scope.navigator().storage(),
        None => web_sys::window()?.navigator().storage(),
    };
    (!manager.is_undefined()).then_some(manager)
}

fn caches() -> Option<CacheStorage> {
    match scope() {
        Some(scope) => scope.caches().ok(),
        None => web_sys::window()?.caches().ok(),
    }
}

async fn place() -> Option<Place> {
    if let Some(folder) = private_folder().await {
        return Some(Place::Folder(folder));
    }
    let cache = JsFuture::from(caches()?.open(MODELS)).await.ok()?;
    Some(Place::Cache(cache.dyn_into().ok()?))
}

async fn private_folder() -> Option<FileSystemDirectoryHandle> {
    let manager = manager()?;
    let get = js_sys::Reflect::get(&manager, &"getDirectory".into());
    if !get.is_ok_and(|get| get.is_function()) {
        return None;
    }
    let root = JsFuture::from(manager.get_directory()).await.ok()?;
    folder_in(&root.dyn_into().ok()?, MODELS, true).await
}

async fn folder_in(
    folder: &FileSystemDirectoryHandle,
    name: &str,
    is_made: bool,
) -> Option<FileSystemDirectoryHandle> {
    let options = FileSystemGetDirectoryOptions::new();
    options.set_create(is_made);
    let promise = folder.get_directory_handle_with_options(name, &options);
    JsFuture::from(promise).await.ok()?.dyn_into().ok()
}

impl Place {
    async fn read(&self, key: &str, name: &str) -> Option<Blob> {
        match self {
            Self::Folder(all) => {
                let folder = folder_in(all, key, false).await?;
                let handle = JsFuture::from(folder.get_file_handle(name)).await.ok()?;
                let handle: FileSystemFileHandle = handle.dyn_into().ok()?;
                let file = JsFuture::from(handle.get_file()).await.ok()?;
                file.dyn_into().ok()
            }
            Self::Cache(cache) => {
                let found = cache.match_with_str(&cache_address(key, name));
                let found: Response = JsFuture::from(found).await.ok()?.dyn_into().ok()?;
                let blob = JsFuture::from(found.blob().ok()?).await.ok()?;
                blob.dyn_into().ok()
            }
        }
    }

    async fn write(&self, key: &str, name: &str, bytes: &Uint8Array) -> Result<(), String> {
        let failed = |error: JsValue| error_text(&error);
        match self {
            Self::Folder(all) => {
                let refused = || "the browser keeps no folder".to_owned();
                let folder = folder_in(all, key, true).await.ok_or_else(refused)?;
                let options = FileSystemGetFileOptions::new();
                options.set_create(true);
                let handle = folder.get_file_handle_with_options(name, &options);
                let handle: FileSystemFileHandle = JsFuture::from(handle)
                    .await
                    .map_err(failed)?
                    .unchecked_into();
                let access = JsFuture::from(handle.create_sync_access_handle())
                    .await
                    .map_err(failed)?;
                let access: FileSystemSyncAccessHandle = access.unchecked_into();
                let written = (|| {
                    access.truncate_with_u32(0)?;
                    let n_written = access.write_with_js_u8_array(bytes)?;
                    access.flush()?;
                    Ok(n_written)
                })();
                access.close();
                match written.map_err(failed)? {
                    n_written if n_written == f64::from(bytes.length()) => Ok(()),
                    _ => Err("the disk is full".to_owned()),
                }
            }
            Self::Cache(cache) => {
                let copy = Response::new_with_opt_js_u8_array(Some(bytes)).map_err(failed)?;
                let kept = cache.put_with_str(&cache_address(key, name), &copy);
                JsFuture::from(kept).await.map(drop).map_err(failed)
            }
        }
    }

    async fn keys(&self) -> Result<Vec<String>, JsValue> {
        let mut keys = Vec::new();
        match self {
            Self::Folder(all) => {
                let names: AsyncIterator = all.keys();
                loop {
                    let next: IteratorNext = JsFuture::from(names.next()?).await?.unchecked_into();
                    if next.done() {
                        break;
                    }
                    keys.extend(next.value().as_string());
                }
            }
            Self::Cache(cache) => {
                let requests: Array = JsFuture::from(cache.keys()).await?.unchecked_into();
                for request in requests.iter() {
                    let address = request.unchecked_into::<Request>().url();
                    let mut parts = address.rsplit('/');
                    if parts.next() == Some(MANIFEST) {
                        keys.extend(parts.next().map(str::to_owned));
                    }
                }
            }
        }
        Ok(keys)
    }

    async fn remove(&self, key: &str) {
        // What is not there need not go.
        let _ = match self {
            Self::Folder(all) => {
                let options = FileSystemRemoveOptions::new();
                options.set_recursive(true);
                JsFuture::from(all.remove_entry_with_options(key, &options))
                    .await
                    .map(drop)
            }
            Self::Cache(cache) => remove_from_cache(cache, key).await,
        };
    }
}

async fn remove_from_cache(cache: &Cache, key: &str) -> Result<(), JsValue> {
    let requests: Array = JsFuture::from(cache.keys()).await?.unchecked_into();
    for request in requests.iter() {
        let request: Request = request.unchecked_into();
        if request.url().contains(key) {
            JsFuture::from(cache.delete_with_request(&request)).await?;
        }
    }
    Ok(())
}

/// Cache Storage has addresses for names; nothing is at this one.
fn cache_address(key: &str, name: &str) -> String {
    format!("/{MODELS}/{key}/{name}")
}

/// Chunks are as long as the largest that is written at once.
const _: () = assert!(CHUNK <= u32::MAX as u64);

//! Models of the Hugging Face Hub: their files in the Hub's cache, fetched where they are not there.

use std::{
    collections::BTreeMap,
    env, fs, io,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context, Error, Result, anyhow, bail};
use hf_hub::{
    Cache, CacheRepo, Repo, RepoType,
    api::{
        Progress,
        sync::{Api, ApiBuilder, ApiError, ApiRepo},
    },
};
use indicatif::ProgressBar;
use swivel_core::{
    hub::{ENDPOINT, HubId},
    shards,
};

use super::{Layout, Weights};
use crate::{input::read, report};

/// Environment variable that forbids the network.
const OFFLINE: &str = "HF_HUB_OFFLINE";
/// Broken connections after which the Hub is given up; a download goes on where it stopped each time.
const RETRIES: usize = 5;

/// What was fetched.
pub enum Fetched {
    /// A folder in Hugging Face's layout.
    Folder(PathBuf),
    /// A file of weights that has all else in it.
    File(PathBuf),
}

/// The files of the model: from the cache where they are there, else downloaded into it. What is there is not asked for again, so
/// that a second time needs no network; with `HF_HUB_OFFLINE` set, none is used at all.
///
/// # Errors
/// - If there is no such model, it may not be read, the Hub cannot be reached, or the disk is full: each in its own words.
pub fn fetch(id: &HubId) -> Result<Fetched> {
    if let Some(cached) = cached(id) {
        return Ok(cached);
    }
    let is_offline = env::var(OFFLINE).is_ok_and(|is| !["", "0", "false"].contains(&&*is));
    if is_offline {
        bail!("it is not in the cache, and {OFFLINE} is set");
    }
    let hub = Hub::of(id)?;
    match &id.file {
        Some(file) => hub.get(file).map(Fetched::File),
        None => hub.folder().map(Fetched::Folder),
    }
}

/// What is in the cache, if nothing of it is missing.
fn cached(id: &HubId) -> Option<Fetched> {
    let cache = in_cache(id);
    if let Some(file) = &id.file {
        return cache.get(file).map(Fetched::File);
    }
    let folder = cache.get("config.json")?.parent()?.to_owned();
    let is_there = |file: &str| folder.join(file).is_file();
    let is_whole = match Layout::of(is_there).weights? {
        Weights::File(_) => true,
        Weights::Shards(index) => {
            let list = read(&folder.join(&index)).ok()?;
            let mut shards = shards(&index, &list).ok()?.into_iter();
            shards.all(|shard| is_there(&shard))
        }
    };
    is_whole.then_some(Fetched::Folder(folder))
}

/// Its folder of the cache.
fn in_cache(id: &HubId) -> CacheRepo {
    cache().repo(repo(id))
}

fn repo(id: &HubId) -> Repo {
    let (repository, revision) = (id.repository.clone(), id.revision.clone());
    Repo::with_revision(repository, RepoType::Model, revision)
}

/// The models in the cache of which nothing is missing, by name, and where they lie.
pub fn in_cache_now() -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    for repository in entries(cache().path()) {
        let Some(repository) = repository.strip_prefix("models--") else {
            continue;
        };
        // A repository's name has no `--` where its owner's ends, nearly always.
        let repository = repository.replacen("--", "/", 1);
        let Some(id) = HubId::parse(&repository) else {
            continue;
        };
        if let Some(Fetched::Folder(folder)) = cached(&id) {
            found.insert(id.to_string(), folder);
            continue;
        }
        let Some(folder) = snapshot(&id) else {
            continue;
        };
        for file in entries(&folder) {
            let path = folder.join(&file);
            if let Some(id) = HubId::parse(&format!("{repository}:{file}"))
                && file.ends_with(".gguf")
                && path.is_file()
            {
                found.insert(id.to_string(), path);
            }
        }
    }
    found
}

/// The folder of a revision in the cache.
fn snapshot(id: &HubId) -> Option<PathBuf> {
    let name = format!("models--{}", id.repository.replace('/', "--"));
    let repository = cache().path().join(name);
    let commit = fs::read_to_string(repository.join("refs").join(&id.revision)).ok()?;
    let folder = repository.join("snapshots").join(commit.trim());
    folder.is_dir().then_some(folder)
}

/// Names in a folder, none where there is no folder.
fn entries(folder: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}

/// Where files of the Hub are kept, as `huggingface_hub` has it: `HF_HUB_CACHE`, else `hub` in `HF_HOME`.
fn cache() -> Cache {
    let own = env::var_os("HF_HUB_CACHE").filter(|path| !path.is_empty());
    own.map_or_else(Cache::from_env, |path| Cache::new(path.into()))
}

/// A repository of the Hub.
struct Hub<'a> {
    id: &'a HubId,
    endpoint: String,
    api: Api,
    repository: ApiRepo,
}

impl<'a> Hub<'a> {
    fn of(id: &'a HubId) -> Result<Self> {
        let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let endpoint = set("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        let token = set("HF_TOKEN").or_else(|| Cache::from_env().token());
        let api = ApiBuilder::from_cache(cache())
            .with_endpoint(endpoint.trim_end_matches('/').to_owned())
            .with_token(token)
            .with_retries(RETRIES)
            .build()?;
        Ok(Self {
            id,
            endpoint,
            repository: api.repo(repo(id)),
            api,
        })
    }

    /// Downloads what belongs to a model in Hugging Face's layout; returns its folder.
    fn folder(&self) -> Result<PathBuf> {
        let files = self.files()?;
        let has = |file: &str| files.iter().any(|own| own == file);
        if !has("config.json") {
            let gguf = files.iter().filter(|file| file.ends_with(".gguf"));
            let gguf: Vec<String> = gguf.map(|file| format!("{self}:{file}")).collect();
            match gguf.is_empty() {
                true => bail!("{self} has no config.json: it is no model in Hugging Face's layout"),
                false => bail!(
                    "{self} has no config.json, but GGUF files; name one of them: {}",
                    gguf.join(", ")
                ),
            }
        }
        let config = self.get("config.json")?;
        let layout = Layout::of(has);
        for file in layout.tokenizer {
            self.get(file)?;
        }
        match layout.weights {
            Some(Weights::File(file)) => drop(self.get(file)?),
            Some(Weights::Shards(index)) => {
                for shard in shards(&index, &read(&self.get(&index)?)?)? {
                    self.get(&shard)?;
                }
            }
            None => (),
        }
        let folder = config.parent().context("the cache has no folder for it")?;
        Ok(folder.to_owned())
    }

    /// Names of the repository's files.
    fn files(&self) -> Result<Vec<String>> {
        let info = again(|| self.repository.info()).map_err(|error| self.said(error))?;
        Ok(info
            .siblings
            .into_iter()
            .map(|file| file.rfilename)
            .collect())
    }

    /// One file, from the cache or downloaded into it; a download that was broken off goes on where it stopped.
    fn get(&self, file: &str) -> Result<PathBuf> {
        if let Some(path) = in_cache(self.id).get(file) {
            return Ok(path);
        }
        let of_file = || format!("downloading {file}");
        let failed = |error: ApiError| self.said(error).context(of_file());
        let found = again(|| self.api.metadata(&self.repository.url(file)));
        let found = found.map_err(failed)?;
        let blob = in_cache(self.id).blob_path(found.etag());
        // The rest of a file that is all there cannot be asked for.
        let part = blob.with_extension("part");
        if fs::metadata(&part).is_ok_and(|part| part.len() >= found.size() as u64) {
            fs::remove_file(&part).with_context(|| part.display().to_string())?;
        }
        let download = || self.repository.download_with_progress(file, Bar::default());
        let path = again(download);
        let path = path.map_err(failed)?;
        let n_bytes = fs::metadata(&path).with_context(of_file)?.len();
        if n_bytes != found.size() as u64 {
            for left in [&path, &blob] {
                drop(fs::remove_file(left));
            }
            return Err(anyhow!(
                "the server said {} bytes, and {n_bytes} came; it may not know how to go on with a download: try again",
                found.size()
            ))
            .with_context(of_file);
        }
        Ok(path)
    }

    /// An error of the library in words that say what to do.
    fn said(&self, error: ApiError) -> Error {
        let error = match error {
            ApiError::TooManyRetries(error) => *error,
            error => error,
        };
        let status = match &error {
            ApiError::RequestError(error) => match **error {
                ureq::Error::StatusCode(status) => Some(status),
                _ => None,
            },
            _ => None,
        };
        let page = format!("{}/{}", self.endpoint, self.id.repository);
        match status {
            // Nobody may know of a private model: one that is missing is refused, too. What is gated says so to everybody.
            Some(401 | 403) if self.repository.info().is_ok() => anyhow!(
                "the model is gated: ask for access at {page}, then set HF_TOKEN to a token of yours, or run `hf auth login`"
            ),
            Some(401 | 403) => anyhow!(
                "there is no such model, or it is private: look at {page}; for a private one set HF_TOKEN, or run `hf auth login`"
            ),
            Some(404) => anyhow!("{page} has no such file or revision ({})", self.id.revision),
            Some(429) => anyhow!(
                "the Hub has had too many requests from here (429): wait some minutes, or set HF_TOKEN, with which it allows more"
            ),
            Some(status) => {
                anyhow!("the Hub answers {status}: try again later; what has come is kept")
            }
            None => self.said_without_status(error),
        }
    }

    fn said_without_status(&self, error: ApiError) -> Error {
        let io_error = match &error {
            ApiError::IoError(error) => Some(error),
            ApiError::RequestError(error) => match &**error {
                ureq::Error::Io(error) => Some(error),
                _ => None,
            },
            _ => None,
        };
        match io_error.map(io::Error::kind) {
            Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => anyhow!(
                "the disk is full at {}: make room, or set HF_HOME to a folder that has some; what has come is kept",
                cache().path().display()
            ),
            Some(io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) => anyhow!(
                "{} cannot be written: set HF_HOME to a folder that can",
                cache().path().display()
            ),
            _ => match error {
                ApiError::RequestError(_) | ApiError::IoError(_) => anyhow!(
                    "cannot connect to {}, or the connection broke: {error}; the next try goes on where this one stopped, and {OFFLINE}=1 uses the cache alone",
                    self.endpoint
                ),
                error => anyhow!("{} answers as no Hub does: {error}", self.endpoint),
            },
        }
    }
}

/// Asks again where the connection broke before there was an answer, as the library does only once a download has begun.
fn again<T>(ask: impl Fn() -> Result<T, ApiError>) -> Result<T, ApiError> {
    let mut pause = Duration::from_millis(100);
    for _ in 0..RETRIES {
        match ask() {
            Err(ApiError::RequestError(error)) if is_of_connection(&error) => {
                thread::sleep(pause);
                pause *= 2;
            }
            answer => return answer,
        }
    }
    ask()
}

/// True where another try may reach who does not answer now.
fn is_of_connection(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Io(error) => error.kind() != io::ErrorKind::ConnectionRefused,
        ureq::Error::Timeout(_) | ureq::Error::Protocol(_) => true,
        _ => false,
    }
}

impl std::fmt::Display for Hub<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.id.repository)
    }
}

/// A bar for what takes a while.
#[derive(Default)]
struct Bar(Option<ProgressBar>);

impl Progress for Bar {
    fn init(&mut self, size: usize, _: &str) {
        /// Files that are here before a bar is drawn have none.
        const SMALL: usize = 8 << 20;
        if let Some(bar) = &self.0 {
            bar.set_position(0);
        } else if size > SMALL {
            self.0 = Some(report::progress("downloading", size));
        }
    }

    fn update(&mut self, size: usize) {
        if let Some(bar) = &self.0 {
            bar.inc(size as u64);
        }
    }

    fn finish(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

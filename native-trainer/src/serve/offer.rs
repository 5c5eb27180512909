//! What is offered: the page, models, and the folder of directions, by the path that a browser asks for.
//!
//! `/models/NAME/…` are the files of which a model consists, and no others of its folder; `/models/NAME` is a model that is one
//! GGUF file. They are found once, when the model is checked; so one of the Hub's cache, whose files are links, is served too.
//! A model of the Hub is called as it is there, so that its NAME has a slash in it.
//! `/directions/…` are the direction files and sweep results that the folder has at that moment.
//! Everything else is the page's. No link leads out of the page or of the directions, and hidden files are not there.

use std::{
    collections::BTreeMap,
    io,
    path::{Component, Path, PathBuf},
    pin::Pin,
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use tower_http::services::fs as served;

use super::{
    found::{Facts, Found, names_in},
    page::Page,
};
use swivel_core::hub::HubId;

use crate::model_files::{
    ModelFiles, ModelFolder, SOLVER,
    hub::{self, Fetched},
};

/// What is served, and where it lies.
#[derive(Clone)]
pub struct Offer(Arc<Folders>);

struct Folders {
    page: Page,
    models: Vec<Model>,
    directions: PathBuf,
}

/// A model beside those of the page.
struct Model {
    name: String,
    place: PathBuf,
    files: Files,
}

/// What a model consists of.
enum Files {
    /// Files of a folder, by name.
    Folder(BTreeMap<String, PathBuf>),
    /// One file.
    Gguf(PathBuf),
}

impl Offer {
    /// Checks the models, folders, GGUF files or names of the Hub; those of the Hub's cache come behind them.
    ///
    /// # Errors
    /// - If one is no model, or two models have one name.
    /// - If `directions` is there and no folder.
    pub fn new(page: Page, models: &[String], directions: PathBuf) -> Result<Self> {
        if directions.exists() && !directions.is_dir() {
            bail!("--directions {}: it is no folder", directions.display());
        }
        let mut places: BTreeMap<String, String> = page
            .models()
            .into_iter()
            .map(|name| (name, "the page's own".to_owned()))
            .collect();
        let mut offered = Vec::new();
        for text in models {
            let model =
                Model::named(text).with_context(|| format!("--model {text}: it is no model"))?;
            if let Some(other) = places.insert(model.name.clone(), text.clone()) {
                bail!(
                    "two models are called `{}`: {other} and {text}; give one another name",
                    model.name
                );
            }
            offered.push(model);
        }
        for (name, place) in hub::in_cache_now() {
            // What is of no family that is computed, or damaged, is not offered.
            if !places.contains_key(&name)
                && let Ok(model) = Model::open(name, &place)
            {
                offered.push(model);
            }
        }
        Ok(Self(Arc::new(Folders {
            page,
            models: offered,
            directions,
        })))
    }

    /// Names of the models, the page's own first.
    pub fn models(&self) -> Vec<String> {
        let mut names = self.0.page.models();
        names.extend(self.0.models.iter().map(|model| model.name.clone()));
        names
    }

    /// The models that this program can compute with: their names, and what is opened. The embedded one is there in any case.
    pub fn computable(&self) -> BTreeMap<String, String> {
        let models = self.0.models.iter();
        let folders = models.filter_map(|Model { name, place, .. }| {
            Some((name.clone(), place.to_str()?.to_owned()))
        });
        let mut models = BTreeMap::from([(SOLVER.to_owned(), SOLVER.to_owned())]);
        models.extend(folders);
        models
    }

    /// Names of the direction files and sweep results that are there now, sorted.
    pub fn directions(&self) -> Vec<String> {
        let folder = &self.0.directions;
        let mut names: Vec<String> = names_in(folder)
            .filter(|name| is_direction(name) && Found::inside(folder, name).is_some())
            .collect();
        names.sort();
        names
    }

    fn find(&self, path: &Path) -> Option<Found> {
        let parts: Vec<&str> = path
            .components()
            .filter(|part| matches!(part, Component::Normal(_)))
            .map(|part| part.as_os_str().to_str())
            .collect::<Option<_>>()?;
        let Folders {
            page,
            models,
            directions,
        } = &*self.0;
        // Of a model that is offered, what is asked for; nothing of the page's is below one.
        let model = |path: &str| {
            models.iter().find_map(|model| {
                let rest = path.strip_prefix(&model.name)?;
                match (&model.files, rest.strip_prefix('/')) {
                    (Files::Gguf(file), None) if rest.is_empty() => Some(Found::at(file)),
                    (Files::Folder(files), Some(name)) => {
                        Some(files.get(name).and_then(|path| Found::at(path)))
                    }
                    (_, None) if !rest.is_empty() => None, // another name that begins so
                    _ => Some(None),
                }
            })
        };
        match *parts.as_slice() {
            [] => Some(Found::folder()),
            ["directions", name] if is_direction(name) => Found::inside(directions, name),
            ["directions", ..] => None,
            ["models", ref rest @ ..] if let Some(found) = model(&rest.join("/")) => found,
            _ if parts.iter().any(|part| part.starts_with('.')) => None,
            _ => page.file(&parts.join("/")),
        }
    }
}

impl Model {
    /// A folder, a GGUF file, or a model of the Hub, which is fetched where the cache does not have it.
    fn named(text: &str) -> Result<Self> {
        let path = Path::new(text);
        if !path.exists()
            && let Some(id) = HubId::parse(text)
        {
            let fetched = hub::fetch(&id).context("fetching it from the Hugging Face Hub")?;
            return match fetched {
                Fetched::Folder(place) | Fetched::File(place) => Self::open(id.to_string(), &place),
            };
        }
        // `.` has a name only in full.
        let whole = path
            .canonicalize()
            .context("there is no such folder or file, and it is no name of the Hub")?;
        let name = path.file_name().or(whole.file_name());
        let name = name.and_then(|name| name.to_str());
        let name = name.context("a browser cannot ask for a folder of this name")?;
        Self::open(name.to_owned(), &whole)
    }

    fn open(name: String, place: &Path) -> Result<Self> {
        let files = if place.is_file() {
            ModelFiles::check_gguf(place)?;
            Files::Gguf(place.canonicalize()?)
        } else {
            let model = ModelFolder::open(place)?;
            model.check()?;
            let mut files = BTreeMap::new();
            for path in model.files() {
                if let Some(name) = path.file_name().and_then(|name| name.to_str()) {
                    files.insert(name.to_owned(), path.canonicalize()?);
                }
            }
            Files::Folder(files)
        };
        let place = place.to_owned();
        Ok(Self { name, place, files })
    }
}

/// Whether a file of this name is a direction or a sweep result, and whole: what is being written is hidden.
fn is_direction(name: &str) -> bool {
    name.ends_with(".safetensors") && !name.starts_with('.')
}

type Later<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

impl served::Backend for Offer {
    type File = Found;
    type Metadata = Facts;
    type OpenFuture = Later<Found>;
    type MetadataFuture = Later<Facts>;

    fn open(&self, path: PathBuf) -> Later<Found> {
        let offer = self.clone();
        Box::pin(async move {
            let found = tokio::task::spawn_blocking(move || offer.find(&path)).await?;
            found.ok_or_else(|| io::ErrorKind::NotFound.into())
        })
    }

    fn metadata(&self, path: PathBuf) -> Later<Facts> {
        let found = self.open(path);
        Box::pin(async move { Ok(found.await?.facts()) })
    }
}

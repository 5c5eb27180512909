//! What is offered: the page, models, and the folder of directions, by the path that a browser asks for.
//!
//! `/models/NAME/…` are the files of which a model consists, and no others of its folder.
//! They are found once, when the folder is checked; so a model of the Hub's cache, whose files are links, is served too.
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
use crate::model_files::{ModelFolder, SOLVER};

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
    folder: PathBuf,
    files: BTreeMap<String, PathBuf>,
}

impl Offer {
    /// Checks the folders.
    ///
    /// # Errors
    /// - If a folder is no model, or two models have one name.
    /// - If `directions` is there and no folder.
    pub fn new(page: Page, models: &[PathBuf], directions: PathBuf) -> Result<Self> {
        if directions.exists() && !directions.is_dir() {
            bail!("--directions {}: it is no folder", directions.display());
        }
        let mut places: BTreeMap<String, String> = page
            .models()
            .into_iter()
            .map(|name| (name, "the page's own".to_owned()))
            .collect();
        let mut offered = Vec::new();
        for folder in models {
            let model = Model::open(folder)
                .with_context(|| format!("--model {}: it is no model", folder.display()))?;
            let place = folder.display().to_string();
            if let Some(other) = places.insert(model.name.clone(), place.clone()) {
                bail!(
                    "two models are called `{}`: {other} and {place}; give one folder another name",
                    model.name
                );
            }
            offered.push(model);
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
        let folders = models.filter_map(|Model { name, folder, .. }| {
            Some((name.clone(), folder.to_str()?.to_owned()))
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
        let model = |name: &str| models.iter().find(|model| model.name == name);
        match *parts.as_slice() {
            [] => Some(Found::folder()),
            ["directions", name] if is_direction(name) => Found::inside(directions, name),
            ["directions", ..] => None,
            ["models", name, ref rest @ ..] if model(name).is_some() => match *rest {
                [file] => Found::at(model(name)?.files.get(file)?),
                _ => None,
            },
            _ if parts.iter().any(|part| part.starts_with('.')) => None,
            _ => page.file(&parts.join("/")),
        }
    }
}

impl Model {
    fn open(folder: &Path) -> Result<Self> {
        // `.` has a name only in full.
        let whole = folder.canonicalize().context("there is no such folder")?;
        let name = folder.file_name().or(whole.file_name());
        let name = name.and_then(|name| name.to_str());
        let name = name
            .context("a browser cannot ask for a folder of this name")?
            .to_owned();
        let model = ModelFolder::open(folder)?;
        model.check()?;
        let mut files = BTreeMap::new();
        for path in model.files() {
            if let Some(name) = path.file_name().and_then(|name| name.to_str()) {
                files.insert(name.to_owned(), path.canonicalize()?);
            }
        }
        Ok(Self {
            name,
            folder: whole,
            files,
        })
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

//! The page: inside this program (feature `page`), or a folder that `cargo xtask page` built.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};

use super::found::{Found, names_in};

/// Where the page is looked for without `--page`, in the working folder.
const DIST: &str = "dist";

/// What a folder must have to be the page.
const INDEX: &str = "index.html";

/// Where the page comes from.
#[derive(Clone, Debug)]
pub enum Page {
    /// This program.
    Embedded,
    /// A folder.
    Folder(PathBuf),
}

impl Page {
    /// The folder that was asked for, else the page in this program, else `dist`.
    ///
    /// # Errors
    /// - If there is no page, or the folder has none.
    pub fn find(folder: Option<PathBuf>) -> Result<Self> {
        match folder {
            Some(folder) if folder.join(INDEX).is_file() => Ok(Self::Folder(folder)),
            Some(folder) => bail!(
                "{} has no {INDEX}; `cargo xtask page` builds the page into {DIST}",
                folder.display()
            ),
            None if embedded::file(INDEX).is_some() => Ok(Self::Embedded),
            None if Path::new(DIST).join(INDEX).is_file() => Ok(Self::Folder(DIST.into())),
            None => bail!(
                "there is no page to serve: build it with `cargo xtask page`, which writes the folder {DIST}, or say with --page DIR where it is"
            ),
        }
    }

    /// A file of the page.
    pub fn file(&self, path: &str) -> Option<Found> {
        match self {
            Self::Embedded => embedded::file(path).map(Found::embedded),
            Self::Folder(folder) => Found::inside(folder, path),
        }
    }

    /// Names of the models that come with the page.
    pub fn models(&self) -> Vec<String> {
        let mut names: Vec<String> = match self {
            Self::Embedded => embedded::paths()
                .filter_map(|path| {
                    let name = path.strip_prefix("models/")?.strip_suffix("/config.json")?;
                    Some(name.to_owned())
                })
                .collect(),
            Self::Folder(folder) => names_in(&folder.join("models"))
                .filter(|name| {
                    Found::inside(folder, &format!("models/{name}/config.json")).is_some()
                })
                .collect(),
        };
        names.sort();
        names
    }
}

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded => f.write_str("in this program"),
            Self::Folder(folder) => folder.display().fmt(f),
        }
    }
}

/// What the feature `page` put into this program.
#[cfg(feature = "page")]
mod embedded {
    use std::{
        borrow::Cow,
        time::{Duration, SystemTime},
    };

    use crate::serve::found::EmbeddedFile;

    #[derive(rust_embed::Embed)]
    #[folder = "../dist"]
    struct Dist;

    pub fn file(path: &str) -> Option<EmbeddedFile> {
        let file = Dist::get(path)?;
        let secs = file.metadata.last_modified().unwrap_or_default();
        Some(EmbeddedFile {
            bytes: file.data,
            modified: SystemTime::UNIX_EPOCH + Duration::from_secs(secs),
        })
    }

    pub fn paths() -> impl Iterator<Item = Cow<'static, str>> {
        Dist::iter()
    }
}

/// Without the feature there is nothing.
#[cfg(not(feature = "page"))]
mod embedded {
    use std::{borrow::Cow, iter};

    use crate::serve::found::EmbeddedFile;

    pub fn file(_path: &str) -> Option<EmbeddedFile> {
        None
    }

    pub fn paths() -> impl Iterator<Item = Cow<'static, str>> {
        iter::empty()
    }
}

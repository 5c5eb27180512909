//! Files are written under a temporary name and renamed: a reader never sees half of one. A file that is there already is
//! kept, unless it is said that it may be replaced.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use tempfile::NamedTempFile;

/// What becomes of a file that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It is kept, and the work whose result would replace it is refused before it begins.
    Keep,
    /// It is replaced.
    Replace,
}

impl Existing {
    /// What `--force` asks for.
    pub fn of(force: bool) -> Self {
        match force {
            true => Self::Replace,
            false => Self::Keep,
        }
    }

    /// Refuses a path where a file is that is to be kept.
    pub fn check(self, path: &Path) -> Result<()> {
        if self == Self::Keep && path.exists() {
            bail!(
                "{} is there already; choose another place with --out, or replace it with --force",
                path.display()
            );
        }
        Ok(())
    }
}

/// A file that appears under its name only when it is complete.
///
/// It is created before the work whose result it will hold, so that a folder that cannot be written is known at once.
pub struct Output {
    path: PathBuf,
    existing: Existing,
    file: NamedTempFile,
}

impl Output {
    /// Prepares `path`; its folder is created if needed.
    ///
    /// # Errors
    /// - If there is a file already that is to be kept, or it cannot be written there.
    pub fn create(path: &Path, existing: Existing) -> Result<Self> {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let cannot = || {
            format!(
                "cannot write {}; choose another place with --out",
                path.display()
            )
        };
        if path.is_dir() {
            bail!("cannot write {}: it is a folder", path.display());
        }
        existing.check(path)?;
        std::fs::create_dir_all(folder).with_context(cannot)?;
        let file = tempfile::Builder::new()
            .prefix(".swivel-")
            .suffix(".part")
            .tempfile_in(folder)
            .with_context(cannot)?;
        Ok(Self {
            path: path.to_owned(),
            existing,
            file,
        })
    }

    /// Writes the next bytes of a file that is not in memory as a whole.
    ///
    /// # Errors
    /// - If they cannot be written.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let cannot = || format!("writing {}", self.path.display());
        self.file.write_all(bytes).with_context(cannot)
    }

    /// Writes the last bytes, or all of them.
    pub fn finish(mut self, bytes: &[u8]) -> Result<PathBuf> {
        self.existing.check(&self.path)?; // it may have come since
        self.append(bytes)?;
        let cannot = || format!("writing {}", self.path.display());
        // A temporary file is private to its owner; what people share is not.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let permissions = std::fs::Permissions::from_mode(0o644);
            self.file
                .as_file()
                .set_permissions(permissions)
                .with_context(cannot)?;
        }
        self.file
            .persist(&self.path)
            .map_err(|error| error.error)
            .with_context(cannot)?;
        Ok(self.path)
    }
}

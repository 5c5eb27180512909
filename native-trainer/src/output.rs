//! Files are written under a temporary name and renamed: a reader never sees half of one.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use tempfile::NamedTempFile;

/// Refuses to write over a file unless that is wished.
pub fn keep_existing(path: &Path, force: bool) -> Result<()> {
    if path.exists() && !force {
        anyhow::bail!(
            "{} is there already; choose another name with --out, or replace it with --force",
            path.display()
        );
    }
    Ok(())
}

/// A file that appears under its name only when it is complete.
///
/// It is created before the work whose result it will hold, so that a folder that cannot be written is known at once.
pub struct Output {
    path: PathBuf,
    file: NamedTempFile,
}

impl Output {
    /// Prepares `path`; its folder is created if needed.
    pub fn create(path: &Path) -> Result<Self> {
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
            anyhow::bail!("cannot write {}: it is a folder", path.display());
        }
        std::fs::create_dir_all(folder).with_context(cannot)?;
        let file = tempfile::Builder::new()
            .prefix(".swivel-")
            .suffix(".part")
            .tempfile_in(folder)
            .with_context(cannot)?;
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    /// Writes the file whole.
    pub fn finish(mut self, bytes: &[u8]) -> Result<PathBuf> {
        let cannot = || format!("writing {}", self.path.display());
        self.file.write_all(bytes).with_context(cannot)?;
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

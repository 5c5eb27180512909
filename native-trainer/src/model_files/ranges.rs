//! Bytes of a model's weight files in the order in which somebody wants them, with a bar that shows how far it is.

use anyhow::{Context, Result};
use indicatif::ProgressBar;
use swivel_core::Wanted;

use super::ModelFiles;
use crate::{report, weight_file::Reader};

/// Reads ranges of a model's weight files; one file is open at a time.
pub struct Ranges<'a> {
    files: &'a ModelFiles,
    open: Option<(usize, Reader)>,
    bar: Option<ProgressBar>,
}

impl<'a> Ranges<'a> {
    /// Of these files; `what` is done with them.
    pub fn new(files: &'a ModelFiles, what: &'static str) -> Self {
        /// Files that are read faster than a bar is drawn have none.
        const SMALL: u64 = 100 << 20;
        let n_bytes = files.n_bytes();
        Self {
            files,
            open: None,
            bar: (n_bytes > SMALL).then(|| report::progress(what, n_bytes as usize)),
        }
    }

    /// The bytes that are wanted.
    ///
    /// # Errors
    /// - If the file cannot be read, or became shorter.
    pub fn read(&mut self, Wanted { file, bytes }: Wanted) -> Result<&[u8]> {
        let weights = &self.files.weights[file];
        let (_, reader) = match self.open.take() {
            Some((same, reader)) if same == file => self.open.insert((same, reader)),
            _ => self.open.insert((file, weights.open()?)),
        };
        if let Some(bar) = &self.bar {
            bar.inc(bytes.end - bytes.start);
        }
        reader.read(bytes).with_context(|| weights.reading())
    }
}

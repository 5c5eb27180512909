//! Weight files: what they hold, read as far as their headers go.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::Path,
};

use anyhow::{Context, Result};
use swivel_core::{HeaderReader, StoredFile};

/// What a file holds, and the file's bytes in all; the tensors' values are not read.
///
/// # Errors
/// - If the file cannot be read, or is no safetensors, GGUF or torch file.
pub fn header(path: &Path) -> Result<(StoredFile, u64)> {
    let read = || -> Result<(StoredFile, u64)> {
        let mut file = File::open(path)?;
        let n_bytes = file.seek(SeekFrom::End(0))?;
        let mut reader = HeaderReader::new(n_bytes);
        let mut bytes = Vec::new();
        while let Some(range) = reader.wants() {
            file.seek(SeekFrom::Start(range.start))?;
            bytes.clear();
            let n_wanted = range.end - range.start;
            file.by_ref().take(n_wanted).read_to_end(&mut bytes)?;
            reader.give(&bytes)?;
        }
        Ok((reader.finish()?, n_bytes))
    };
    read().with_context(|| format!("reading {}", path.display()))
}

//! GGUF files: their headers, read as far as they go.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::Path,
};

use anyhow::{Context, Result};
use swivel_core::gguf::{Gguf, Header};

/// True if the file begins as a GGUF file does.
pub fn is_one(path: &Path) -> bool {
    let mut magic = [0; 4];
    File::open(path).is_ok_and(|mut file| file.read_exact(&mut magic).is_ok() && &magic == b"GGUF")
}

/// The header of a file, and the file's bytes in all; the tensors' values are not read.
///
/// # Errors
/// - If the file cannot be read, or is no GGUF file.
pub fn header(path: &Path) -> Result<(Gguf, u64)> {
    let read = || -> Result<(Gguf, u64)> {
        let mut file = File::open(path)?;
        let n_bytes = file.seek(SeekFrom::End(0))?;
        file.rewind()?;
        let mut start = Vec::new();
        loop {
            match Gguf::read(&start, n_bytes)? {
                Header::Ready(gguf) => return Ok((*gguf, n_bytes)),
                Header::Needs(needed) => {
                    let rest = needed.saturating_sub(start.len() as u64);
                    let found = file.by_ref().take(rest).read_to_end(&mut start)?;
                    anyhow::ensure!(found > 0, "the file became shorter");
                }
            }
        }
    };
    read().with_context(|| format!("reading {}", path.display()))
}

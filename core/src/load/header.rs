//! Headers of weight files: what tensors they hold, and where.
//!
//! The reader has no input of its own: it says which bytes it wants next, and takes them, from a file, a server or a browser.
//! The format is told from the first bytes. Nothing is allocated for what a file says of itself before the bytes are there:
//! a header of any format needs a bounded number of bytes ([`MAX_HEADER_BYTES`](super::gguf::MAX_HEADER_BYTES) at most), and
//! memory in proportion to them.

use std::ops::Range;

use super::{
    TensorError,
    gguf::{Gguf, Header},
    safetensors,
    stored::{FileFormat, Step, StoredFile},
    torch::{self, Torch},
};

/// Bytes that tell the format.
const N_FIRST: u64 = 8;

/// Finds what a weight file holds, range by range.
///
/// ```
/// use swivel_core::{HeaderReader, StoredFile, TensorError};
///
/// fn header(file: &[u8]) -> Result<StoredFile, TensorError> {
///     let mut reader = HeaderReader::new(file.len() as u64);
///     while let Some(range) = reader.wants() {
///         reader.give(&file[range.start as usize..range.end as usize])?;
///     }
///     reader.finish()
/// }
/// # assert!(header(b"<html></html>").is_err());
/// ```
#[derive(Debug)]
pub struct HeaderReader {
    n_bytes: u64,
    step: Step,
    stage: Stage,
}

/// What the bytes that are wanted are for.
#[derive(Debug)]
enum Stage {
    First,
    /// The first bytes, as far as they were given.
    Gguf(Vec<u8>),
    Safetensors,
    Torch(Torch),
}

impl HeaderReader {
    /// For a file of `n_bytes` bytes.
    pub fn new(n_bytes: u64) -> Self {
        Self {
            n_bytes,
            step: Step::Wants(0..n_bytes.min(N_FIRST)),
            stage: Stage::First,
        }
    }

    /// What a file holds that is all in memory.
    ///
    /// # Errors
    /// - Those of [`HeaderReader::give`] and [`HeaderReader::finish`].
    pub fn read(file: &[u8]) -> Result<StoredFile, TensorError> {
        Self::of(file)?.finish()
    }

    /// A reader that was given all that it wanted of a file in memory.
    ///
    /// # Errors
    /// - Those of [`HeaderReader::give`].
    pub fn of(file: &[u8]) -> Result<Self, TensorError> {
        let mut reader = Self::new(file.len() as u64);
        while let Some(range) = reader.wants() {
            reader.give(&file[range.start as usize..range.end as usize])?;
        }
        Ok(reader)
    }

    /// The bytes to give next, inside the file, at least one unless the file is empty; `None` when nothing is wanted any more.
    pub fn wants(&self) -> Option<Range<u64>> {
        match &self.step {
            Step::Wants(range) => Some(range.clone()),
            Step::Ready(_) => None,
        }
    }

    /// Takes the bytes that were wanted.
    ///
    /// # Errors
    /// - [`TensorError::Bytes`] if they are not as many as were wanted.
    /// - [`TensorError::Text`] if the file is a text.
    /// - [`TensorError::Safetensors`], [`TensorError::Length`], [`TensorError::Gguf`], [`TensorError::Torch`] if the file is
    ///   none of the three formats, cut off, or says what cannot be.
    /// - [`TensorError::OldTorch`], [`TensorError::Global`], [`TensorError::Nested`] if a torch file is not a plain state dict.
    /// - [`TensorError::Twice`] if a tensor is there twice.
    /// - [`TensorError::Dtype`] if a GGUF file has a tensor in a format that is not read.
    pub fn give(&mut self, bytes: &[u8]) -> Result<(), TensorError> {
        let expected = self.wants().unwrap_or_default();
        if bytes.len() as u64 != expected.end - expected.start {
            let found = bytes.len() as u64;
            return Err(TensorError::Bytes { expected, found });
        }
        self.step = match &mut self.stage {
            Stage::First => self.first(bytes)?,
            Stage::Gguf(start) => {
                start.extend_from_slice(bytes);
                gguf(start, self.n_bytes)?
            }
            Stage::Safetensors => Step::Ready(safetensors::read(bytes, self.n_bytes)?),
            Stage::Torch(torch) => torch.give(bytes)?,
        };
        Ok(())
    }

    /// What the file holds.
    ///
    /// # Errors
    /// - [`TensorError::Bytes`] if more bytes are wanted.
    /// - [`TensorError::Torch`] if the values of a tensor do not lie row by row.
    pub fn finish(self) -> Result<StoredFile, TensorError> {
        let file = self.finish_in_any_order()?;
        match file.by_column.first() {
            Some(name) => Err(torch::refused_by_column(name)),
            None => Ok(file),
        }
    }

    /// The same, of a file of which matrices may lie column by column.
    ///
    /// # Errors
    /// - [`TensorError::Bytes`] if more bytes are wanted.
    pub fn finish_in_any_order(self) -> Result<StoredFile, TensorError> {
        match self.step {
            Step::Ready(file) => Ok(file),
            Step::Wants(expected) => Err(TensorError::Bytes { expected, found: 0 }),
        }
    }

    fn first(&mut self, bytes: &[u8]) -> Result<Step, TensorError> {
        if torch::is_old(bytes) {
            return Err(TensorError::OldTorch);
        }
        if let Some(what) = text(bytes) {
            return Err(TensorError::Text { what });
        }
        let (stage, step) = if bytes.starts_with(b"GGUF") {
            let step = gguf(bytes, self.n_bytes)?;
            (Stage::Gguf(bytes.to_vec()), step)
        } else if torch::is_zip(bytes) {
            let (torch, range) = Torch::new(self.n_bytes);
            (Stage::Torch(torch), Step::Wants(range))
        } else {
            let range = safetensors::header(bytes, self.n_bytes)?;
            (Stage::Safetensors, Step::Wants(range))
        };
        self.stage = stage;
        Ok(step)
    }
}

/// What kind of text begins with these bytes, if it is one: as a number, they would be the length of a header that no file has.
fn text(bytes: &[u8]) -> Option<&'static str> {
    let is_text = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    let is_whole = bytes.len() as u64 == N_FIRST && bytes.iter().all(is_text);
    let start = bytes.trim_ascii_start();
    if !is_whole || start.starts_with(b"GGUF") {
        None
    } else if start.starts_with(b"<") {
        Some("a web page or another text in HTML or XML")
    } else if start.starts_with(b"version") {
        Some("a pointer of Git LFS to the file, which `git lfs pull` fetches")
    } else {
        Some("a text")
    }
}

/// What comes of the first bytes of a GGUF file.
fn gguf(start: &[u8], n_bytes: u64) -> Result<Step, TensorError> {
    Ok(match Gguf::read(start, n_bytes)? {
        Header::Needs(end) => Step::Wants(start.len() as u64..end),
        Header::Ready(gguf) => Step::Ready(StoredFile {
            format: FileFormat::Gguf,
            n_bytes,
            tensors: gguf.tensors,
            unread: Vec::new(),
            by_column: Vec::new(),
            metadata: gguf.metadata,
        }),
    })
}

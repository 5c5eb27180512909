//! What a weight file holds.

use std::{collections::BTreeMap, ops::Range};

use super::{StoredTensor, TensorError, metadata::Value};

/// Formats of weight files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// Hugging Face's.
    Safetensors,
    /// llama.cpp's.
    Gguf,
    /// What `torch.save` writes.
    Torch,
}

impl FileFormat {
    /// The format's usual name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Safetensors => "safetensors",
            Self::Gguf => "GGUF",
            Self::Torch => "torch",
        }
    }
}

/// A tensor in a number format that is not read: masks of old checkpoints, for example, which no model needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadTensor {
    /// Its name in the file.
    pub name: String,
    /// The name of its number format.
    pub dtype: String,
}

impl UnreadTensor {
    /// The error where it is needed.
    pub(super) fn refused(&self) -> TensorError {
        TensorError::Dtype {
            name: self.name.clone(),
            expected: "f32, f16 or bf16".to_owned(),
            found: self.dtype.clone(),
        }
    }
}

/// What a weight file holds; no name is there twice, and all bytes lie inside the file.
#[derive(Clone, Debug)]
pub struct StoredFile {
    /// How it is written.
    pub format: FileFormat,
    /// Its bytes in all.
    pub n_bytes: u64,
    /// The tensors that can be read.
    pub tensors: Vec<StoredTensor>,
    /// The tensors that cannot.
    pub unread: Vec<UnreadTensor>,
    /// Names of the matrices whose values lie column by column; none but in a torch file that was read so.
    pub by_column: Vec<String>,
    /// What else the file says, by key.
    pub metadata: BTreeMap<String, Value>,
}

impl StoredFile {
    /// The tensor with this name, if the file has it.
    ///
    /// # Errors
    /// - [`TensorError::Dtype`] if its number format is not read.
    pub fn tensor(&self, name: &str) -> Result<Option<&StoredTensor>, TensorError> {
        match self.unread.iter().find(|tensor| tensor.name == name) {
            Some(tensor) => Err(tensor.refused()),
            None => Ok(self.tensors.iter().find(|tensor| tensor.name == name)),
        }
    }
}

/// What comes of some bytes of a file.
#[derive(Debug)]
pub(super) enum Step {
    /// More are needed.
    Wants(Range<u64>),
    /// They were enough.
    Ready(StoredFile),
}

//! Weights: what files hold, and a [`Decoder`] from it, with every name, shape and value checked.

mod bytes;
mod converter;
mod decoder;
mod dtype;
mod expected;
pub mod gguf;
mod header;
mod loader;
mod matrix;
mod metadata;
mod names;
mod pieces;
mod precision;
mod safetensors;
mod shards;
mod stored;
mod torch;

use std::ops::Range;

use ::safetensors::tensor::TensorView;
use burn::tensor::backend::Backend;
use sha2::{Digest, Sha256};

use crate::{Config, Decoder, hex, one_line::one_line};

pub use converter::Converter;
pub use dtype::Dtype;
pub use header::HeaderReader;
pub use loader::Loader;
pub use pieces::Wanted;
pub use precision::Precision;
pub use shards::{WEIGHT_FILES, shard_list, shards};
pub use stored::{FileFormat, StoredFile, UnreadTensor};

/// A tensor of a file: what it is, and where its bytes lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredTensor {
    /// Its name in the file.
    pub name: String,
    /// Its shape, from the outermost dimension on.
    pub shape: Vec<usize>,
    /// How its values are stored.
    pub dtype: Dtype,
    /// Where they lie in the file.
    pub bytes: Range<u64>,
}

/// Safetensors files of one model in memory, shards in the order of their names.
pub struct Weights<'a> {
    files: Vec<&'a [u8]>,
    stored: Vec<StoredFile>,
}

impl<'a> Weights<'a> {
    /// Reads the headers of `files`.
    ///
    /// # Errors
    /// - [`TensorError::Safetensors`], [`TensorError::Length`], [`TensorError::Twice`] if a file is none, or damaged.
    pub fn new(files: &[&'a [u8]]) -> Result<Self, TensorError> {
        let stored = files.iter().map(|file| safetensors::whole(file));
        Ok(Self {
            stored: stored.collect::<Result<_, _>>()?,
            files: files.to_vec(),
        })
    }

    /// The same of files whose headers are read already, of any format.
    pub fn with_headers(files: &[&'a [u8]], stored: Vec<StoredFile>) -> Self {
        Self {
            files: files.to_vec(),
            stored,
        }
    }

    /// What the files hold.
    pub fn stored(&self) -> &[StoredFile] {
        &self.stored
    }

    /// Builds a model by a loader of these files.
    ///
    /// # Errors
    /// - Those of [`Loader::give`] and [`Loader::finish`].
    pub fn load<B: Backend>(&self, mut loader: Loader<B>) -> Result<Decoder<B>, TensorError> {
        while let Some(Wanted { file, bytes }) = loader.wants() {
            loader.give(within(self.files[file], bytes))?;
        }
        Ok(loader.finish()?.0)
    }

    /// SHA-256 of the files' bytes, hexadecimal: the identity that direction files carry.
    pub fn sha256(&self) -> String {
        let mut hasher = Sha256::new();
        self.files.iter().for_each(|file| hasher.update(file));
        hex(&hasher.finalize())
    }
}

fn within(file: &[u8], bytes: Range<u64>) -> &[u8] {
    &file[bytes.start as usize..bytes.end as usize]
}

fn dtype_of(name: &str, view: &TensorView<'_>) -> Result<Dtype, TensorError> {
    match view.dtype() {
        ::safetensors::Dtype::F32 => Ok(Dtype::F32),
        ::safetensors::Dtype::F16 => Ok(Dtype::F16),
        ::safetensors::Dtype::BF16 => Ok(Dtype::BF16),
        other => Err(TensorError::Dtype {
            name: name.to_owned(),
            found: format!("{other:?}"),
            expected: "f32, f16 or bf16".to_owned(),
        }),
    }
}

impl<B: Backend> Decoder<B> {
    /// Builds the model from weights in memory; names with and without the family's prefix are read. Returns it with the names
    /// of tensors that are not part of it.
    ///
    /// # Errors
    /// - [`TensorError::Missing`], [`TensorError::Twice`], [`TensorError::Shape`], [`TensorError::Value`] if a tensor does
    ///   not fit the config.
    pub fn load(
        config: &Config,
        weights: &Weights<'_>,
        device: &B::Device,
    ) -> Result<Self, TensorError> {
        weights.load(Loader::new(config, &weights.stored, device)?)
    }
}

/// Values of a tensor as f32, its shape and its values checked.
///
/// # Errors
/// - [`TensorError::Shape`] if the shape differs from `shape`.
/// - [`TensorError::Dtype`] if it is none of f32, f16 and bf16.
/// - [`TensorError::Value`] if a value is not finite.
pub(crate) fn floats(
    name: &str,
    shape: &[usize],
    view: &TensorView<'_>,
) -> Result<Vec<f32>, TensorError> {
    if view.shape() != shape {
        return Err(TensorError::Shape {
            name: name.to_owned(),
            expected: shape.to_vec(),
            found: view.shape().to_vec(),
        });
    }
    let values = dtype_of(name, view)?.to_f32(view.data());
    match values.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(TensorError::Value {
            name: name.to_owned(),
            index,
            found: values[index],
        }),
        None => Ok(values),
    }
}

/// Why a file of tensors was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TensorError {
    /// A safetensors file is truncated, longer than its header says, or no safetensors file at all.
    #[error("not a valid safetensors file: {}", one_line(cause))]
    Safetensors {
        /// What the parser says.
        cause: ::safetensors::SafeTensorError,
    },
    /// A text has the place of a weight file.
    #[error("it is {what}, and no weight file")]
    Text {
        /// What kind of text.
        what: &'static str,
    },
    /// A GGUF file is truncated, damaged, or no GGUF file at all.
    #[error("GGUF: {what}: expected {expected}, found {found}")]
    Gguf {
        /// What of it.
        what: String,
        /// What would be valid.
        expected: String,
        /// What the file has.
        found: String,
    },
    /// A weight that the config calls for is in none of the files.
    #[error("tensor `{name}` is missing from the weights; are they a checkpoint of {family}?")]
    Missing {
        /// Its name, without what the family puts before it.
        name: String,
        /// The family by the config.
        family: &'static str,
    },
    /// A tensor has another shape than expected.
    #[error("tensor `{name}`: expected shape {expected:?}, found {found:?}")]
    Shape {
        /// Name of the tensor.
        name: String,
        /// Shape by the config.
        expected: Vec<usize>,
        /// Shape in the file.
        found: Vec<usize>,
    },
    /// A tensor is stored in a number format that is not read.
    #[error("tensor `{name}`: expected {expected}, found {found}")]
    Dtype {
        /// Name of the tensor.
        name: String,
        /// The formats that are read.
        expected: String,
        /// Number format in the file.
        found: String,
    },
    /// A tensor holds a NaN or an infinity.
    #[error(
        "tensor `{name}` holds {found} at index {index}; the file is damaged or training diverged"
    )]
    Value {
        /// Name of the tensor.
        name: String,
        /// First offending index, row-major.
        index: usize,
        /// The value.
        found: f32,
    },
    /// A number format that the device does not have.
    #[error("this device has no numbers in {}; f32 it has", precision.name())]
    Held {
        /// The format.
        precision: Precision,
    },
    /// A value is too large for the number format that is asked for.
    #[error(
        "tensor `{name}` holds {found} at index {index}, and the largest value of the number format is {largest}; choose bf16 or f32"
    )]
    Range {
        /// Name of the tensor.
        name: String,
        /// First offending index, row-major.
        index: usize,
        /// The value.
        found: f32,
        /// The largest that can be written.
        largest: f32,
    },
    /// A matrix is larger than what a device takes in one piece.
    #[error("tensor `{name}` has {found} bytes, and the device takes {largest} in one piece")]
    Large {
        /// Name of the tensor.
        name: String,
        /// Its bytes on the device.
        found: u64,
        /// Most bytes of one.
        largest: u64,
    },
    /// A safetensors file is shorter or longer than its header says.
    #[error(
        "not a valid safetensors file: by its header it has {expected} bytes, but there are {found}; was it cut?"
    )]
    Length {
        /// Bytes of the file by its header.
        expected: u64,
        /// Bytes of the file.
        found: u64,
    },
    /// A file became shorter while it was read.
    #[error("expected bytes {} to {} of the file, found {found}", expected.start, expected.end)]
    Bytes {
        /// The bytes that were wanted.
        expected: Range<u64>,
        /// How many there were.
        found: u64,
    },
    /// A list of weight files cannot be read.
    #[error("{name}: {cause}")]
    ShardList {
        /// Its name.
        name: String,
        /// What the parser says.
        cause: String,
    },
    /// A list of weight files names one that is not beside it.
    #[error("{name} names a file outside its folder: {shard}")]
    ShardOutside {
        /// Its name.
        name: String,
        /// What it names.
        shard: String,
    },
    /// A tensor is there twice, in one file or in two.
    #[error("tensor `{}` is there twice", one_line(name))]
    Twice {
        /// Name of the tensor.
        name: String,
    },
    /// A file of `torch.save` is damaged, or written in a way that is not read.
    #[error(
        "torch file: {}: expected {}, found {}",
        one_line(what),
        one_line(expected),
        one_line(found)
    )]
    Torch {
        /// What of it.
        what: String,
        /// What would be valid.
        expected: String,
        /// What the file has.
        found: String,
    },
    /// A file of `torch.save` in the format of before torch 1.6.
    #[error(
        "a torch file of before version 1.6; save it again with a newer torch, or as safetensors"
    )]
    OldTorch,
    /// A pickle names something of Python that is no part of a state dict; nothing of it was run.
    #[error(
        "torch file: its pickle asks for `{}`, which is no part of a state dict; nothing of it was run. Save the state dict alone, or as safetensors",
        one_line(name)
    )]
    Global {
        /// Its module and its name.
        name: String,
    },
    /// A file of `torch.save` holds a table where a tensor is expected.
    #[error(
        "torch file: `{}` is a table of its own; save only the state dict, or as safetensors",
        one_line(name)
    )]
    Nested {
        /// Its name.
        name: String,
    },
}

//! Weights: what files hold, and a [`Decoder`] from it, with every name, shape and value checked.

mod decoder;
mod dtype;
mod expected;
pub mod gguf;
mod loader;

use std::ops::Range;

use burn::tensor::backend::Backend;
use safetensors::{SafeTensors, tensor::TensorView};
use sha2::{Digest, Sha256};

use crate::{Config, Decoder, hex};

pub use dtype::Dtype;
pub(crate) use expected::Names;
pub use loader::{Loader, Wanted, WeightFile};

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
    headers: Vec<WeightFile>,
}

impl<'a> Weights<'a> {
    /// Parses the headers of `files`.
    ///
    /// # Errors
    /// - [`TensorError::Safetensors`] if a file is truncated, longer than its header says or of another format.
    pub fn new(files: &[&'a [u8]]) -> Result<Self, TensorError> {
        let headers = files.iter().map(|file| header(file));
        Ok(Self {
            files: files.to_vec(),
            headers: headers.collect::<Result<_, _>>()?,
        })
    }

    /// SHA-256 of the files' bytes, hexadecimal: the identity that direction files carry.
    pub fn sha256(&self) -> String {
        let mut hasher = Sha256::new();
        self.files.iter().for_each(|file| hasher.update(file));
        hex(&hasher.finalize())
    }
}

fn header(file: &[u8]) -> Result<WeightFile, TensorError> {
    let bad = |cause| TensorError::Safetensors { cause };
    let tensors = SafeTensors::deserialize(file).map_err(bad)?;
    let stored = tensors.iter().map(|(name, view)| {
        let start = view.data().as_ptr() as usize - file.as_ptr() as usize;
        Ok(StoredTensor {
            name: name.to_owned(),
            shape: view.shape().to_vec(),
            dtype: dtype_of(name, &view)?,
            bytes: start as u64..(start + view.data().len()) as u64,
        })
    });
    Ok(WeightFile {
        n_bytes: file.len() as u64,
        tensors: stored.collect::<Result<_, TensorError>>()?,
    })
}

fn dtype_of(name: &str, view: &TensorView<'_>) -> Result<Dtype, TensorError> {
    match view.dtype() {
        safetensors::Dtype::F32 => Ok(Dtype::F32),
        safetensors::Dtype::F16 => Ok(Dtype::F16),
        safetensors::Dtype::BF16 => Ok(Dtype::BF16),
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
        let mut loader = Loader::new(config, Names::Family, &weights.headers, device)?;
        while let Some(Wanted { file, bytes }) = loader.wants() {
            loader.give(&weights.files[file][bytes.start as usize..bytes.end as usize])?;
        }
        Ok(loader.finish()?.0)
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
    #[error("not a valid safetensors file: {cause}")]
    Safetensors {
        /// What the parser says.
        cause: safetensors::SafeTensorError,
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
    /// A tensor is there more than once.
    #[error("tensor `{name}` is in the weights twice")]
    Twice {
        /// Its name.
        name: String,
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
}

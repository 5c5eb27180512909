//! Weights: safetensors bytes to a [`Gpt2`], with every name, shape and value checked.
//!
//! Linear weights stay as they are: burn's `[d_input, d_output]` is the layout of GPT-2's `Conv1D`.

mod bytes;
mod dtype;
pub mod gguf;
mod header;
mod names;
mod safetensors;
mod stored;
mod torch;

use std::ops::Range;

use ::safetensors::{SafeTensors, tensor::TensorView};
use burn::{
    module::Param,
    nn::{Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear},
    tensor::{Tensor, TensorData, backend::Backend},
};
use sha2::{Digest, Sha256};

use crate::{
    Gpt2Config, hex,
    kernel::Kernels,
    model::{Attention, Block, Gpt2, Mlp},
    one_line::one_line,
};

pub use dtype::Dtype;
pub use header::HeaderReader;
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

/// Weight files of one model: one safetensors file, or its shards in the order of their names.
pub struct Weights<'a> {
    shards: Vec<SafeTensors<'a>>,
    sha256: String,
}

impl<'a> Weights<'a> {
    /// Parses the headers of `files`.
    ///
    /// # Errors
    /// - [`TensorError::Safetensors`] if a file is truncated, longer than its header says or of another format.
    pub fn new(files: &[&'a [u8]]) -> Result<Self, TensorError> {
        let mut hasher = Sha256::new();
        let mut shards = Vec::with_capacity(files.len());
        for file in files {
            hasher.update(file);
            shards.push(
                SafeTensors::deserialize(file)
                    .map_err(|cause| TensorError::Safetensors { cause })?,
            );
        }
        let sha256 = hex(&hasher.finalize());
        Ok(Self { shards, sha256 })
    }

    /// SHA-256 of the files' bytes, hexadecimal: the identity that direction files carry.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Names of the tensors that a model of this config does not use, buffers of old checkpoints left out.
    pub fn unused(&self, config: &Gpt2Config) -> Vec<String> {
        let layer = |name: &str| name.split('.').nth(1).and_then(|l| l.parse::<usize>().ok());
        let is_used = |name: &str| {
            let name = name.strip_prefix("transformer.").unwrap_or(name);
            let is_model = ["wte.", "wpe.", "ln_f.", "lm_head."]
                .iter()
                .any(|prefix| name.starts_with(prefix));
            is_model || (name.starts_with("h.") && layer(name).is_some_and(|l| l < config.n_layers))
        };
        let mut names: Vec<String> = self
            .shards
            .iter()
            .flat_map(|shard| shard.names())
            .filter(|name| !is_used(name))
            .map(String::from)
            .collect();
        names.sort();
        names
    }

    fn find(&self, name: &str) -> Option<TensorView<'_>> {
        let prefixed = format!("transformer.{name}");
        self.shards
            .iter()
            .find_map(|shard| shard.tensor(name).or_else(|_| shard.tensor(&prefixed)).ok())
    }

    fn tensor<B: Backend, const D: usize>(
        &self,
        name: &str,
        shape: [usize; D],
        device: &B::Device,
    ) -> Result<Param<Tensor<B, D>>, TensorError> {
        let view = self.find(name).ok_or_else(|| TensorError::Missing {
            name: name.to_owned(),
        })?;
        let values = floats(name, &shape, &view)?;
        Ok(Param::from_tensor(Tensor::from_data(
            TensorData::new(values, shape),
            device,
        )))
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
    let dtype = match view.dtype() {
        ::safetensors::Dtype::F32 => Dtype::F32,
        ::safetensors::Dtype::F16 => Dtype::F16,
        ::safetensors::Dtype::BF16 => Dtype::BF16,
        other => {
            return Err(TensorError::Dtype {
                name: name.to_owned(),
                found: format!("{other:?}"),
                expected: "f32, f16 or bf16".to_owned(),
            });
        }
    };
    let values = dtype.to_f32(view.data());
    match values.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(TensorError::Value {
            name: name.to_owned(),
            index,
            found: values[index],
        }),
        None => Ok(values),
    }
}

impl<B: Backend> Gpt2<B> {
    /// Builds the model from its weights; names with and without `transformer.` are read.
    ///
    /// # Errors
    /// - [`TensorError::Missing`], [`TensorError::Shape`], [`TensorError::Dtype`], [`TensorError::Value`] if a tensor
    ///   does not fit the config.
    pub fn load(
        config: &Gpt2Config,
        weights: &Weights<'_>,
        device: &B::Device,
    ) -> Result<Self, TensorError> {
        let (d_model, d_mlp, d_vocab) = (config.d_model, config.d_mlp(), config.d_vocab);
        let linear = |name: String,
                      [d_input, d_output]: [usize; 2]|
         -> Result<Linear<B>, TensorError> {
            Ok(Linear {
                weight: weights.tensor(&format!("{name}.weight"), [d_input, d_output], device)?,
                bias: Some(weights.tensor(&format!("{name}.bias"), [d_output], device)?),
            })
        };
        let norm = |name: String| -> Result<LayerNorm<B>, TensorError> {
            let mut norm = LayerNormConfig::new(d_model)
                .with_epsilon(config.layer_norm_epsilon)
                .init(device);
            norm.gamma = weights.tensor(&format!("{name}.weight"), [d_model], device)?;
            norm.beta = Some(weights.tensor(&format!("{name}.bias"), [d_model], device)?);
            Ok(norm)
        };
        let embedding = |name: &str, n: usize| -> Result<Embedding<B>, TensorError> {
            let mut embedding = EmbeddingConfig::new(1, 1).init(device);
            embedding.weight = weights.tensor(&format!("{name}.weight"), [n, d_model], device)?;
            Ok(embedding)
        };
        let block = |l: usize| -> Result<Block<B>, TensorError> {
            Ok(Block {
                ln_1: norm(format!("h.{l}.ln_1"))?,
                attn: Attention {
                    c_attn: linear(format!("h.{l}.attn.c_attn"), [d_model, 3 * d_model])?,
                    c_proj: linear(format!("h.{l}.attn.c_proj"), [d_model, d_model])?,
                    n_heads: config.n_heads,
                    kernels: Kernels::default(),
                },
                ln_2: norm(format!("h.{l}.ln_2"))?,
                mlp: Mlp {
                    c_fc: linear(format!("h.{l}.mlp.c_fc"), [d_model, d_mlp])?,
                    c_proj: linear(format!("h.{l}.mlp.c_proj"), [d_mlp, d_model])?,
                    kernels: Kernels::default(),
                },
            })
        };
        let lm_head = match weights.find("lm_head.weight") {
            None => None,
            Some(view) => {
                let values = floats("lm_head.weight", &[d_vocab, d_model], &view)?;
                let head =
                    Tensor::<B, 2>::from_data(TensorData::new(values, [d_vocab, d_model]), device);
                Some(Linear {
                    weight: Param::from_tensor(head.transpose()),
                    bias: None,
                })
            }
        };
        Ok(Self {
            wte: embedding("wte", d_vocab)?,
            wpe: embedding("wpe", config.n_ctx)?,
            h: (0..config.n_layers).map(block).collect::<Result<_, _>>()?,
            ln_f: norm("ln_f".to_owned())?,
            kernels: Kernels::default(),
            lm_head,
        })
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
    #[error("tensor `{name}` is missing from the weights; is this a GPT-2 checkpoint?")]
    Missing {
        /// Name without the `transformer.` prefix.
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
    /// A tensor is in a file twice.
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

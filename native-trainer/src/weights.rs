//! Weights as files: named values to safetensors bytes in Hugging Face's layout.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result};
use burn::{
    module::{Module, ModuleVisitor, Param},
    tensor::{Tensor, backend::Backend},
};
use safetensors::{Dtype, tensor::TensorView};
use swivel_core::{Decoder, Precision};

use crate::tensors::read_floats;

/// Shape and values, row-major, by name; of a model's parameters Hugging Face's, without `transformer.`.
pub type NamedTensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Parts of a decoder's paths, and what GPT-2's checkpoints call them; burn's norms have other names for their two.
const GPT2: [(&str, &str); 14] = [
    ("embed_tokens.parts.0", "wte"),
    ("lm_head.parts.0", "lm_head"),
    ("embed_positions", "wpe"),
    ("layers.", "h."),
    ("input_norm", "ln_1"),
    ("self_attn.qkv_proj", "attn.c_attn"),
    ("self_attn.o_proj", "attn.c_proj"),
    ("mlp_norm", "ln_2"),
    ("up_proj", "c_fc"),
    ("down_proj", "c_proj"),
    ("norm.", "ln_f."),
    (".Layer", ""),
    (".gamma", ".weight"),
    (".beta", ".bias"),
];

/// Reads the parameters of a GPT-2 back from its device.
pub fn parameters<B: Backend>(model: &Decoder<B>) -> Result<NamedTensors> {
    struct Visitor {
        path: Vec<String>,
        tensors: Result<NamedTensors>,
    }
    impl<B: Backend> ModuleVisitor<B> for Visitor {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.to_owned());
        }

        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
            let Ok(tensors) = &mut self.tensors else {
                return;
            };
            let path = self.path.join(".");
            let name = GPT2
                .iter()
                .fold(path, |name, (ours, theirs)| name.replace(ours, theirs));
            let shape = param.val().dims().to_vec();
            match read_floats(param.val()) {
                Ok(values) => drop(tensors.insert(name, (shape, values))),
                Err(error) => self.tensors = Err(error),
            }
        }
    }
    let mut visitor = Visitor {
        path: Vec::new(),
        tensors: Ok(NamedTensors::new()),
    };
    model.visit(&mut visitor);
    visitor.tensors
}

/// A checkpoint as `transformers` writes it; the same tensors give the same bytes.
pub fn to_checkpoint(tensors: &NamedTensors, precision: Precision) -> Result<Vec<u8>> {
    to_safetensors("transformer.", tensors, precision)
}

/// A safetensors file with a prefix before every name; the same tensors give the same bytes.
pub fn to_safetensors(
    prefix: &str,
    tensors: &NamedTensors,
    precision: Precision,
) -> Result<Vec<u8>> {
    let bytes: Vec<(String, &[usize], Vec<u8>)> = tensors
        .iter()
        .map(|(name, (shape, values))| {
            let bytes = precision.to_bytes(values);
            (format!("{prefix}{name}"), shape.as_slice(), bytes)
        })
        .collect();
    let dtype = match precision {
        Precision::F32 => Dtype::F32,
        Precision::F16 => Dtype::F16,
        Precision::BF16 => Dtype::BF16,
    };
    let views = bytes
        .iter()
        .map(|(name, shape, bytes)| {
            Ok((
                name.as_str(),
                TensorView::new(dtype, shape.to_vec(), bytes)?,
            ))
        })
        .collect::<Result<Vec<_>>>()?;
    // transformers refuses a file that does not say which framework's layout it has.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize(views, Some(metadata)).context("writing safetensors")
}

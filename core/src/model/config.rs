//! What a model computes, as far as it differs from others: read from Hugging Face's `config.json`, or from what a GGUF file says
//! in its stead.

use std::fmt;

use serde_json::{Map, Value};

use super::{
    fields::{ConfigError, Fields},
    part::{Layout, Part},
    rotary::Rotary,
};
use crate::Sizes;

/// What a model computes. Everything that a family does its own way is one of these fields; the decoder asks for no family.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it is from, which says how its tensors are called.
    pub family: &'static Family,
    /// Sizes, and which parts a block has.
    pub sizes: Sizes,
    /// Norm of the residual stream.
    pub norm: NormKind,
    /// Added to the variance, or to the mean square, in norms.
    pub norm_epsilon: f64,
    /// What token embeddings are multiplied by.
    pub embedding_scale: f64,
    /// Each position has a vector of its own, added to the token's.
    pub has_position_embedding: bool,
    /// How queries and keys are rotated; `None` where they are not.
    pub rotary: Option<Rotary>,
    /// How they are rotated in layers with a window, where that differs.
    pub local_rotary: Option<Rotary>,
    /// For each layer: how many positions a query sees, its own included; `None` for all.
    pub windows: Vec<Option<usize>>,
    /// What the products of queries and keys are multiplied by.
    pub score_scale: f64,
    /// Attention scores are kept between this and its negative.
    pub score_cap: Option<f64>,
    /// Logits are kept between this and its negative.
    pub logit_cap: Option<f64>,
    /// Each head's query and key have a norm, before they are rotated.
    pub has_query_key_norm: bool,
    /// Projections to queries, keys and values add a bias.
    pub has_query_bias: bool,
    /// The projection behind the heads adds a bias.
    pub has_output_bias: bool,
    /// Projections of the MLP add a bias.
    pub has_mlp_bias: bool,
    /// Activation function of the MLP.
    pub activation: Activation,
    /// The head is the token embedding.
    pub is_tied: bool,
    /// Tokens behind which a text has ended.
    pub end_tokens: Vec<u32>,
}

/// Which norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// Mean and variance, weight and bias (Ba et al. 2016, <https://arxiv.org/abs/1607.06450>).
    Layer,
    /// Root of the mean square, and a weight (Zhang & Sennrich 2019, <https://arxiv.org/abs/1910.07467>).
    Rms,
}

/// Which activation function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// GELU in the tanh approximation.
    GeluTanh,
    /// GELU by the error function.
    Gelu,
    /// `x * sigmoid(x)`.
    Silu,
}

impl Activation {
    /// The function that a field names.
    pub(super) fn of(
        fields: &Fields,
        name: &'static str,
        default: &str,
    ) -> Result<Self, ConfigError> {
        match fields.text_or(name, default)?.as_str() {
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Ok(Self::GeluTanh),
            "gelu" => Ok(Self::Gelu),
            "silu" | "swish" => Ok(Self::Silu),
            other => Err(fields.wrong(name, "gelu_new, gelu_pytorch_tanh, gelu or silu", other)),
        }
    }
}

/// A family of models.
pub struct Family {
    /// `model_type` in `config.json`.
    pub model_type: &'static str,
    /// The class of transformers that computes it.
    pub(crate) class: &'static str,
    /// Reads the other fields.
    pub(super) config: fn(&Fields) -> Result<Config, ConfigError>,
    /// What stands before names of tensors, unless a checkpoint is of the model without its head.
    pub(crate) prefix: &'static str,
    /// Names of tensors, without prefix and without `.weight` and `.bias`; `{}` is the layer.
    pub(crate) tensors: &'static [(&'static str, Part, Layout)],
    /// How GGUF files have it; `None` where they are not read.
    pub(crate) gguf: Option<GgufNames>,
}

impl fmt::Debug for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.model_type)
    }
}

/// A family in GGUF files. How its tensors are called there is the same for all.
pub(crate) struct GgufNames {
    /// `general.architecture`.
    pub(crate) architecture: &'static str,
    /// Keys without the architecture, and the fields of `config.json` that they are.
    pub(crate) fields: &'static [(&'static str, &'static str)],
    /// How rows of queries and keys are stored.
    pub(crate) query_key: Layout,
    /// Adds fields that follow from others.
    pub(crate) complete: fn(&mut Map<String, Value>),
}

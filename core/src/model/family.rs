//! Families: what a config's fields say, and how the tensors of a checkpoint are called. A file a family, and nothing else in it;
//! a family that needs no new variant of the decoder is one more file and one more line in [`ALL`].

use std::fmt;

use serde_json::{Map, Value};

use super::{Config, ConfigError, Fields};

mod gemma;
mod gemma2;
mod gemma3;
mod gpt2;
mod gpt_neox;
mod llama;
mod mistral;
mod qwen2;
mod qwen3;

/// Every family.
pub static ALL: [&Family; 9] = [
    &gpt2::FAMILY,
    &llama::FAMILY,
    &mistral::FAMILY,
    &qwen2::FAMILY,
    &qwen3::FAMILY,
    &gpt_neox::FAMILY,
    &gemma::FAMILY,
    &gemma2::FAMILY,
    &gemma3::FAMILY,
];

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

/// A part of the decoder that has weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Token embedding.
    TokenEmbedding,
    /// Position embedding.
    PositionEmbedding,
    /// Norm before the attention.
    InputNorm,
    /// Projection to queries.
    Query,
    /// Projection to keys.
    Key,
    /// Projection to values.
    Value,
    /// Projection to queries, keys and values.
    QueryKeyValue,
    /// Norm of each query.
    QueryNorm,
    /// Norm of each key.
    KeyNorm,
    /// Projection behind the heads.
    AttentionOutput,
    /// Norm behind the attention.
    AttentionUpdateNorm,
    /// Norm before the MLP.
    MlpNorm,
    /// Projection whose values pass the activation function, in a gated MLP.
    Gate,
    /// Projection to the MLP's width.
    Up,
    /// Projection from the MLP's width.
    Down,
    /// Norm behind the MLP.
    MlpUpdateNorm,
    /// Norm before the head.
    FinalNorm,
    /// The head, where it is not tied.
    Head,
}

/// How a matrix is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// A row an output, as torch's linear layers; vectors as they are.
    Rows,
    /// A row an input, as GPT-2's `Conv1D`.
    Columns,
    /// A row an output; query, key and value of a head one after the other.
    PerHead,
    /// A row an output; the two values of a head that are rotated together are neighbours (GGUF files of Llama).
    Pairs,
    /// A norm's weight less 1.
    LessOne,
}

use Layout::*;
use Part::*;

/// Tensors of Llama, and of all families that are called as it is.
const LLAMA: &[(&str, Part, Layout)] = &[
    ("embed_tokens", TokenEmbedding, Rows),
    ("layers.{}.input_layernorm", InputNorm, Rows),
    ("layers.{}.self_attn.q_proj", Query, Rows),
    ("layers.{}.self_attn.k_proj", Key, Rows),
    ("layers.{}.self_attn.v_proj", Value, Rows),
    ("layers.{}.self_attn.q_norm", QueryNorm, Rows),
    ("layers.{}.self_attn.k_norm", KeyNorm, Rows),
    ("layers.{}.self_attn.o_proj", AttentionOutput, Rows),
    ("layers.{}.post_attention_layernorm", MlpNorm, Rows),
    ("layers.{}.mlp.gate_proj", Gate, Rows),
    ("layers.{}.mlp.up_proj", Up, Rows),
    ("layers.{}.mlp.down_proj", Down, Rows),
    ("norm", FinalNorm, Rows),
    ("lm_head", Head, Rows),
];

/// Tensors of Gemma 2 and 3: norms are less 1, and stand behind attention and MLP, too.
const GEMMA: &[(&str, Part, Layout)] = &[
    ("embed_tokens", TokenEmbedding, Rows),
    ("layers.{}.input_layernorm", InputNorm, LessOne),
    ("layers.{}.self_attn.q_proj", Query, Rows),
    ("layers.{}.self_attn.k_proj", Key, Rows),
    ("layers.{}.self_attn.v_proj", Value, Rows),
    ("layers.{}.self_attn.q_norm", QueryNorm, LessOne),
    ("layers.{}.self_attn.k_norm", KeyNorm, LessOne),
    ("layers.{}.self_attn.o_proj", AttentionOutput, Rows),
    (
        "layers.{}.post_attention_layernorm",
        AttentionUpdateNorm,
        LessOne,
    ),
    ("layers.{}.pre_feedforward_layernorm", MlpNorm, LessOne),
    ("layers.{}.mlp.gate_proj", Gate, Rows),
    ("layers.{}.mlp.up_proj", Up, Rows),
    ("layers.{}.mlp.down_proj", Down, Rows),
    (
        "layers.{}.post_feedforward_layernorm",
        MlpUpdateNorm,
        LessOne,
    ),
    ("norm", FinalNorm, LessOne),
    ("lm_head", Head, Rows),
];

/// Tensors of GGUF files; each is stored as torch's, a row an output, and norms are whole.
/// <https://github.com/ggml-org/llama.cpp/blob/master/gguf-py/gguf/constants.py>
pub(crate) const GGUF: &[(&str, Part, Layout)] = &[
    ("token_embd", TokenEmbedding, Rows),
    ("position_embd", PositionEmbedding, Rows),
    ("blk.{}.attn_norm", InputNorm, Rows),
    ("blk.{}.attn_q", Query, Rows),
    ("blk.{}.attn_k", Key, Rows),
    ("blk.{}.attn_v", Value, Rows),
    ("blk.{}.attn_qkv", QueryKeyValue, Rows),
    ("blk.{}.attn_q_norm", QueryNorm, Rows),
    ("blk.{}.attn_k_norm", KeyNorm, Rows),
    ("blk.{}.attn_output", AttentionOutput, Rows),
    ("blk.{}.post_attention_norm", AttentionUpdateNorm, Rows),
    ("blk.{}.ffn_norm", MlpNorm, Rows),
    ("blk.{}.ffn_gate", Gate, Rows),
    ("blk.{}.ffn_up", Up, Rows),
    ("blk.{}.ffn_down", Down, Rows),
    ("blk.{}.post_ffw_norm", MlpUpdateNorm, Rows),
    ("output_norm", FinalNorm, Rows),
    ("output", Head, Rows),
];

/// Fields of GGUF files that most families share.
const GGUF_FIELDS: &[(&str, &str)] = &[
    ("embedding_length", "hidden_size"),
    ("block_count", "num_hidden_layers"),
    ("feed_forward_length", "intermediate_size"),
    ("attention.head_count", "num_attention_heads"),
    ("attention.head_count_kv", "num_key_value_heads"),
    ("attention.key_length", "head_dim"),
    ("attention.layer_norm_rms_epsilon", "rms_norm_eps"),
    ("attention.sliding_window", "sliding_window"),
    ("context_length", "max_position_embeddings"),
    ("rope.freq_base", "rope_theta"),
    ("attn_logit_softcapping", "attn_logit_softcapping"),
    ("final_logit_softcapping", "final_logit_softcapping"),
];

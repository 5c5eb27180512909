//! Families: what a config's fields say, and how the tensors of a checkpoint are called. A file a family, and nothing else in it;
//! a family that needs no new variant of the decoder is one more file and one more line in [`ALL`].

use serde_json::{Map, Value};

use super::{
    Config, ConfigError, Family, Fields,
    config::GgufNames,
    part::{Layout, Part},
};

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

impl Config {
    /// Reads and checks `config.json`.
    ///
    /// # Errors
    /// - [`ConfigError::Json`] if it is not JSON.
    /// - [`ConfigError::Missing`] if a size is missing.
    /// - [`ConfigError::Value`] if the family is not known, a size is impossible, or the model computes something that is not
    ///   implemented.
    pub fn from_json(bytes: &[u8]) -> Result<Self, ConfigError> {
        let values: Map<String, Value> =
            serde_json::from_slice(bytes).map_err(|cause| ConfigError::Json { cause })?;
        let fields = Fields {
            origin: "config.json",
            values,
        };
        let model_type = fields.text_or("model_type", "gpt2")?;
        let family = ALL.iter().find(|family| family.model_type == model_type);
        let family = family.ok_or_else(|| {
            let known: Vec<_> = ALL.iter().map(|family| family.model_type).collect();
            fields.wrong(
                "model_type",
                format!("one of {}", known.join(", ")),
                model_type,
            )
        })?;
        Self::of_fields(family, &fields)
    }

    /// Reads and checks the fields of a family.
    pub(crate) fn of_fields(family: &'static Family, fields: &Fields) -> Result<Self, ConfigError> {
        let mut config = (family.config)(fields)?;
        config.family = family;
        Ok(config)
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sizes;

    fn gpt2(field: &str) -> String {
        format!(r#"{{"n_embd":24,"n_head":3,"n_layer":2,"n_positions":32,"vocab_size":61{field}}}"#)
    }

    #[test]
    fn config_reads_hugging_face_names() {
        let config = Config::from_json(gpt2(r#","model_type":"gpt2""#).as_bytes()).unwrap();
        let Sizes { d_head, d_mlp, .. } = config.sizes;
        assert_eq!((d_head, d_mlp), (8, 96));
    }

    #[test]
    fn config_refuses_what_it_cannot_compute() {
        for (field, name) in [
            (r#""activation_function":"relu""#, "activation_function"),
            (r#""model_type":"mamba""#, "model_type"),
            (
                r#""scale_attn_by_inverse_layer_idx":true"#,
                "scale_attn_by_inverse_layer_idx",
            ),
            (r#""n_inner":0"#, "n_inner"),
            (r#""n_inner":-1"#, "n_inner"),
            (r#""layer_norm_epsilon":"small""#, "layer_norm_epsilon"),
        ] {
            let error = Config::from_json(gpt2(&format!(",{field}")).as_bytes()).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
        let error = Config::from_json(br#"{"n_embd":24}"#).unwrap_err();
        assert!(error.to_string().contains("n_layer"), "{error}");
    }
}

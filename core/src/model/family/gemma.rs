//! Gemma (Gemma Team 2024, <https://arxiv.org/abs/2403.08295>): Llama with scaled embeddings and GELU; `modeling_gemma.py`.

use super::{
    Config, ConfigError, Family, Fields, GGUF_FIELDS, GgufNames, Layout::*, Part::*, llama,
};
use crate::model::Activation;

pub(super) static FAMILY: Family = Family {
    model_type: "gemma",
    class: "GemmaForCausalLM",
    config: |fields| config(fields, "hidden_act"),
    prefix: "model.",
    tensors: &[
        ("embed_tokens", TokenEmbedding, Rows),
        ("layers.{}.input_layernorm", InputNorm, LessOne),
        ("layers.{}.self_attn.q_proj", Query, Rows),
        ("layers.{}.self_attn.k_proj", Key, Rows),
        ("layers.{}.self_attn.v_proj", Value, Rows),
        ("layers.{}.self_attn.o_proj", AttentionOutput, Rows),
        ("layers.{}.post_attention_layernorm", MlpNorm, LessOne),
        ("layers.{}.mlp.gate_proj", Gate, Rows),
        ("layers.{}.mlp.up_proj", Up, Rows),
        ("layers.{}.mlp.down_proj", Down, Rows),
        ("norm", FinalNorm, LessOne),
        ("lm_head", Head, Rows),
    ],
    gguf: Some(GgufNames {
        architecture: "gemma",
        fields: GGUF_FIELDS,
        query_key: Rows,
        complete: |_| (),
    }),
};

/// What Gemma 2 and 3 change; `activation` is the name of the activation function's field.
pub(super) fn config(fields: &Fields, activation: &'static str) -> Result<Config, ConfigError> {
    fields.size("head_dim")?;
    let config = llama::config(fields)?;
    Ok(Config {
        embedding_scale: (config.sizes.d_model as f64).sqrt(),
        activation: Activation::of(fields, activation, "gelu_pytorch_tanh")?,
        is_tied: fields.flag_or("tie_word_embeddings", true)?,
        end_tokens: fields.ids("eos_token_id"),
        ..config
    })
}

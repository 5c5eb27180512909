//! Llama (Touvron et al. 2023, <https://arxiv.org/abs/2302.13971>), as SmolLM2 and TinyLlama are; `modeling_llama.py`.

use super::{Config, ConfigError, Family, Fields, GGUF_FIELDS, GgufNames, LLAMA, Layout};
use crate::{
    Sizes,
    model::{Activation, NormKind, Rotary},
};

pub(super) static FAMILY: Family = Family {
    model_type: "llama",
    class: "LlamaForCausalLM",
    config,
    prefix: "model.",
    tensors: LLAMA,
    gguf: Some(GgufNames {
        architecture: "llama",
        fields: GGUF_FIELDS,
        query_key: Layout::Pairs,
        complete: |_| (),
    }),
};

/// What families that came after it change.
pub(super) fn config(fields: &Fields) -> Result<Config, ConfigError> {
    let n_layers = fields.size("num_hidden_layers")?;
    let [d_model, n_heads] = [
        fields.size("hidden_size")?,
        fields.size("num_attention_heads")?,
    ];
    let n_kv_heads = fields
        .optional_size("num_key_value_heads")?
        .unwrap_or(n_heads);
    if !n_heads.is_multiple_of(n_kv_heads) {
        let expected = format!("a divisor of num_attention_heads, {n_heads}");
        return Err(fields.wrong("num_key_value_heads", expected, n_kv_heads));
    }
    let d_head = match fields.optional_size("head_dim")? {
        Some(d_head) => d_head,
        None if d_model.is_multiple_of(n_heads) => d_model / n_heads,
        None => {
            let expected = format!("a multiple of num_attention_heads, {n_heads}");
            return Err(fields.wrong("hidden_size", expected, d_model));
        }
    };
    let base = fields.number_or("rope_theta", 10_000.0)?;
    let has_bias = fields.flag_or("attention_bias", false)?;
    Ok(Config {
        family: &FAMILY,
        sizes: Sizes {
            n_layers,
            d_model,
            n_heads,
            n_kv_heads,
            d_head,
            d_mlp: fields.size("intermediate_size")?,
            d_vocab: fields.size("vocab_size")?,
            n_ctx: fields.size("max_position_embeddings")?,
            is_parallel: false,
            is_gated: true,
            has_update_norms: false,
        },
        norm: NormKind::Rms,
        norm_epsilon: fields.number_or("rms_norm_eps", 1e-6)?,
        embedding_scale: 1.0,
        has_position_embedding: false,
        rotary: Some(Rotary::of(fields, base, d_head)?),
        local_rotary: None,
        windows: vec![None; n_layers],
        score_scale: (d_head as f64).powf(-0.5),
        score_cap: None,
        logit_cap: None,
        has_query_key_norm: false,
        has_query_bias: has_bias,
        has_output_bias: has_bias,
        has_mlp_bias: fields.flag_or("mlp_bias", false)?,
        activation: Activation::of(fields, "hidden_act", "silu")?,
        is_tied: fields.flag_or("tie_word_embeddings", false)?,
        end_tokens: fields.ids("eos_token_id"),
    })
}

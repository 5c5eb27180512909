//! GPT-NeoX (Black et al. 2022, <https://arxiv.org/abs/2204.06745>), as Pythia is; `modeling_gpt_neox.py`.

use super::{Config, ConfigError, Family, Fields, Layout::*, Part::*};
use crate::{
    Sizes,
    model::{Activation, NormKind, Rotary},
};

pub(super) static FAMILY: Family = Family {
    model_type: "gpt_neox",
    class: "GPTNeoXForCausalLM",
    config,
    prefix: "gpt_neox.",
    tensors: &[
        ("embed_in", TokenEmbedding, Rows),
        ("layers.{}.input_layernorm", InputNorm, Rows),
        (
            "layers.{}.attention.query_key_value",
            QueryKeyValue,
            PerHead,
        ),
        ("layers.{}.attention.dense", AttentionOutput, Rows),
        ("layers.{}.post_attention_layernorm", MlpNorm, Rows),
        ("layers.{}.mlp.dense_h_to_4h", Up, Rows),
        ("layers.{}.mlp.dense_4h_to_h", Down, Rows),
        ("final_layer_norm", FinalNorm, Rows),
        ("embed_out", Head, Rows),
    ],
    gguf: None,
};

fn config(fields: &Fields) -> Result<Config, ConfigError> {
    let n_layers = fields.size("num_hidden_layers")?;
    let [d_model, n_heads] = [
        fields.size("hidden_size")?,
        fields.size("num_attention_heads")?,
    ];
    if !d_model.is_multiple_of(n_heads) {
        let expected = format!("a multiple of num_attention_heads, {n_heads}");
        return Err(fields.wrong("hidden_size", expected, d_model));
    }
    let d_head = d_model / n_heads;
    let n_rotated = (d_head as f64 * fields.number_or("rotary_pct", 0.25)?) as usize;
    if n_rotated > d_head {
        return Err(fields.wrong("rotary_pct", "at most 1", n_rotated as f64 / d_head as f64));
    }
    let base = fields.number_or("rotary_emb_base", 10_000.0)?;
    let base = fields.number_or("rope_theta", base)?;
    let has_bias = fields.flag_or("attention_bias", true)?;
    Ok(Config {
        family: &FAMILY,
        sizes: Sizes {
            n_layers,
            d_model,
            n_heads,
            n_kv_heads: n_heads,
            d_head,
            d_mlp: fields.size("intermediate_size")?,
            d_vocab: fields.size("vocab_size")?,
            n_ctx: fields.size("max_position_embeddings")?,
            is_parallel: fields.flag_or("use_parallel_residual", true)?,
            is_gated: false,
            has_update_norms: false,
        },
        norm: NormKind::Layer,
        norm_epsilon: fields.number_or("layer_norm_eps", 1e-5)?,
        embedding_scale: 1.0,
        has_position_embedding: false,
        rotary: Some(Rotary::of(fields, base, n_rotated)?),
        local_rotary: None,
        windows: vec![None; n_layers],
        score_scale: (d_head as f64).powf(-0.5),
        score_cap: None,
        logit_cap: None,
        has_query_key_norm: false,
        has_query_bias: has_bias,
        has_output_bias: has_bias,
        has_mlp_bias: true,
        activation: Activation::of(fields, "hidden_act", "gelu")?,
        is_tied: fields.flag_or("tie_word_embeddings", false)?,
        end_tokens: fields.ids("eos_token_id"),
    })
}

//! GPT-2 (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners"); `modeling_gpt2.py`.

use super::{Config, ConfigError, Family, Fields, GgufNames, Layout::*, Part::*};
use crate::{
    Sizes,
    model::{Activation, NormKind},
};

pub(super) static FAMILY: Family = Family {
    model_type: "gpt2",
    class: "GPT2LMHeadModel",
    config,
    prefix: "transformer.",
    tensors: &[
        ("wte", TokenEmbedding, Rows),
        ("wpe", PositionEmbedding, Rows),
        ("h.{}.ln_1", InputNorm, Rows),
        ("h.{}.attn.c_attn", QueryKeyValue, Columns),
        ("h.{}.attn.c_proj", AttentionOutput, Columns),
        ("h.{}.ln_2", MlpNorm, Rows),
        ("h.{}.mlp.c_fc", Up, Columns),
        ("h.{}.mlp.c_proj", Down, Columns),
        ("ln_f", FinalNorm, Rows),
        ("lm_head", Head, Rows),
    ],
    gguf: Some(GgufNames {
        architecture: "gpt2",
        fields: &[
            ("embedding_length", "n_embd"),
            ("block_count", "n_layer"),
            ("feed_forward_length", "n_inner"),
            ("attention.head_count", "n_head"),
            ("attention.layer_norm_epsilon", "layer_norm_epsilon"),
            ("context_length", "n_positions"),
        ],
        query_key: Rows,
        complete: |_| (),
    }),
};

fn config(fields: &Fields) -> Result<Config, ConfigError> {
    let [n_layers, d_model, n_heads] = [
        fields.size("n_layer")?,
        fields.size("n_embd")?,
        fields.size("n_head")?,
    ];
    if !d_model.is_multiple_of(n_heads) {
        let expected = format!("a multiple of n_head, {n_heads}");
        return Err(fields.wrong("n_embd", expected, d_model));
    }
    fields.only("scale_attn_weights", true)?;
    fields.only("scale_attn_by_inverse_layer_idx", false)?;
    fields.only("add_cross_attention", false)?;
    let sizes = Sizes {
        d_mlp: fields.optional_size("n_inner")?.unwrap_or(4 * d_model),
        ..Sizes::gpt2(
            n_layers,
            d_model,
            n_heads,
            fields.size("n_positions")?,
            fields.size("vocab_size")?,
        )
    };
    Ok(Config {
        family: &FAMILY,
        norm: NormKind::Layer,
        norm_epsilon: fields.number_or("layer_norm_epsilon", 1e-5)?,
        embedding_scale: 1.0,
        has_position_embedding: true,
        rotary: None,
        local_rotary: None,
        windows: vec![None; n_layers],
        score_scale: (sizes.d_head as f64).powf(-0.5),
        score_cap: None,
        logit_cap: None,
        has_query_key_norm: false,
        has_query_bias: true,
        has_output_bias: true,
        has_mlp_bias: true,
        activation: Activation::of(fields, "activation_function", "gelu_new")?,
        is_tied: fields.flag_or("tie_word_embeddings", true)?,
        end_tokens: fields.ids("eos_token_id"),
        sizes,
    })
}

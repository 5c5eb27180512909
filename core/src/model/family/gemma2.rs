//! Gemma 2 (Gemma Team 2024, <https://arxiv.org/abs/2408.00118>): soft caps, four norms a block, a window in every other layer;
//! `modeling_gemma2.py`.

use serde_json::{Map, Value, json};

use super::{Config, ConfigError, Family, Fields, GEMMA, GGUF_FIELDS, GgufNames, Layout, gemma};
use crate::Sizes;

pub(super) static FAMILY: Family = Family {
    model_type: "gemma2",
    class: "Gemma2ForCausalLM",
    config: |fields| {
        let config = config(fields, [Some(50.0), Some(30.0)])?;
        let window = fields.size("sliding_window")?;
        let n_layers = config.sizes.n_layers;
        Ok(Config {
            windows: fields.windows(n_layers, Some(window), |l| l % 2 == 0)?,
            ..config
        })
    },
    prefix: "model.",
    tensors: GEMMA,
    gguf: Some(GgufNames {
        architecture: "gemma2",
        fields: GGUF_FIELDS,
        query_key: Layout::Rows,
        complete: |values| complete(values, 46),
    }),
};

/// What Gemma 3 changes; `caps` are those of scores and logits where none are named.
pub(super) fn config(fields: &Fields, caps: [Option<f64>; 2]) -> Result<Config, ConfigError> {
    let config = gemma::config(fields, "hidden_activation")?;
    fields.only("use_bidirectional_attention", false)?;
    Ok(Config {
        score_scale: fields.number_or("query_pre_attn_scalar", 256.0)?.powf(-0.5),
        score_cap: fields.number_or_null("attn_logit_softcapping", caps[0])?,
        logit_cap: fields.number_or_null("final_logit_softcapping", caps[1])?,
        sizes: Sizes {
            has_update_norms: true,
            ..config.sizes
        },
        ..config
    })
}

/// The scalar of scores, which GGUF files do not have: a head's width, but in the largest model, of `n_large` layers.
/// <https://github.com/ggml-org/llama.cpp/blob/master/src/llama-model.cpp>, `f_attention_scale`
pub(super) fn complete(values: &mut Map<String, Value>, n_large: u64) {
    let size = |name: &str| values.get(name).and_then(|value| value.as_u64());
    let scalar = match (
        size("num_hidden_layers"),
        size("hidden_size"),
        size("num_attention_heads"),
    ) {
        (Some(n_layers), Some(d_model), Some(n_heads @ 1..)) if n_layers == n_large => {
            Some(d_model / n_heads)
        }
        _ => size("head_dim"),
    };
    values.extend(scalar.map(|scalar| ("query_pre_attn_scalar".to_owned(), json!(scalar))));
}

//! Gemma 3 without its eyes (Gemma Team 2025, <https://arxiv.org/abs/2503.19786>): norms on queries and keys, five layers with a
//! window to one without, which has rotations of its own; `modeling_gemma3.py`.

use super::{Config, Family, GEMMA, GGUF_FIELDS, GgufNames, Layout, gemma2};
use crate::model::{Rotary, Scaling};

pub(super) static FAMILY: Family = Family {
    model_type: "gemma3_text",
    class: "Gemma3ForCausalLM",
    config: |fields| {
        let config = gemma2::config(fields, [None, None])?;
        let (n_layers, window) = (config.sizes.n_layers, fields.size("sliding_window")?);
        let pattern = fields.optional_size("sliding_window_pattern")?.unwrap_or(6);
        let base = fields.number_or("rope_theta", 1_000_000.0)?;
        let d_head = config.sizes.d_head;
        Ok(Config {
            windows: fields.windows(n_layers, Some(window), |l| (l + 1) % pattern != 0)?,
            score_cap: None, // transformers reads the field and computes without it
            has_query_key_norm: true,
            rotary: Some(Rotary::of(fields, base, d_head)?),
            local_rotary: Some(Rotary {
                base: fields.number_or("rope_local_base_freq", 10_000.0)?,
                n_rotated: d_head,
                scaling: Scaling::None,
            }),
            ..config
        })
    },
    prefix: "model.",
    tensors: GEMMA,
    gguf: Some(GgufNames {
        architecture: "gemma3",
        fields: GGUF_FIELDS,
        query_key: Layout::Rows,
        complete: |values| gemma2::complete(values, 62),
    }),
};

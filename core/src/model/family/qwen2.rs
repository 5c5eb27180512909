//! Qwen 2 (Yang et al. 2024, <https://arxiv.org/abs/2407.10671>), Qwen 2.5 too: Llama with biases; `modeling_qwen2.py`.

use super::{Config, ConfigError, Family, Fields, GGUF_FIELDS, GgufNames, LLAMA, Layout, llama};

pub(super) static FAMILY: Family = Family {
    model_type: "qwen2",
    class: "Qwen2ForCausalLM",
    config,
    prefix: "model.",
    tensors: LLAMA,
    gguf: Some(GgufNames {
        architecture: "qwen2",
        fields: GGUF_FIELDS,
        query_key: Layout::Rows,
        complete: |_| (),
    }),
};

fn config(fields: &Fields) -> Result<Config, ConfigError> {
    let config = llama::config(fields)?;
    Ok(Config {
        windows: windows(fields, config.sizes.n_layers)?,
        has_query_bias: true,
        has_output_bias: false,
        has_mlp_bias: false,
        ..config
    })
}

/// A window in the upper layers, if it is asked for.
pub(super) fn windows(fields: &Fields, n_layers: usize) -> Result<Vec<Option<usize>>, ConfigError> {
    let window = match fields.flag_or("use_sliding_window", false)? {
        true => fields.optional_size("sliding_window")?,
        false => None,
    };
    let first = match fields.get("max_window_layers").and_then(|n| n.as_u64()) {
        Some(first) => first as usize,
        None => 28,
    };
    fields.windows(n_layers, window, |l| l >= first)
}

//! Qwen 3 (Yang et al. 2025, <https://arxiv.org/abs/2505.09388>): Qwen 2 with norms on queries and keys; `modeling_qwen3.py`.

use super::{
    Config, ConfigError, Family, Fields, GGUF_FIELDS, GgufNames, LLAMA, Layout, llama, qwen2,
};

pub(super) static FAMILY: Family = Family {
    model_type: "qwen3",
    class: "Qwen3ForCausalLM",
    config,
    prefix: "model.",
    tensors: LLAMA,
    gguf: Some(GgufNames {
        architecture: "qwen3",
        fields: GGUF_FIELDS,
        query_key: Layout::Rows,
        complete: |_| (),
    }),
};

fn config(fields: &Fields) -> Result<Config, ConfigError> {
    fields.size("head_dim")?;
    let config = llama::config(fields)?;
    Ok(Config {
        windows: qwen2::windows(fields, config.sizes.n_layers)?,
        has_query_key_norm: true,
        has_mlp_bias: false,
        ..config
    })
}

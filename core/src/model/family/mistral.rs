//! Mistral (Jiang et al. 2023, <https://arxiv.org/abs/2310.06825>): Llama with a window; `modeling_mistral.py`.

use super::{Config, ConfigError, Family, Fields, LLAMA, llama};

pub(super) static FAMILY: Family = Family {
    model_type: "mistral",
    class: "MistralForCausalLM",
    config,
    prefix: "model.",
    tensors: LLAMA,
    gguf: None, // converted as Llama
};

fn config(fields: &Fields) -> Result<Config, ConfigError> {
    let config = llama::config(fields)?;
    let window = fields.optional_size("sliding_window")?;
    let n_layers = config.sizes.n_layers;
    Ok(Config {
        windows: fields.windows(n_layers, window, |_| true)?,
        ..config
    })
}

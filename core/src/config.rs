//! Sizes of a GPT-2 from Hugging Face's `config.json`, and the prompts that a model of these sizes reads.

use serde::{Deserialize, Serialize};

/// Sizes of a GPT-2, read from Hugging Face's `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gpt2Config {
    /// Width of the residual stream.
    #[serde(rename = "n_embd")]
    pub d_model: usize,
    /// Attention heads of a layer.
    #[serde(rename = "n_head")]
    pub n_heads: usize,
    /// Number of blocks.
    #[serde(rename = "n_layer")]
    pub n_layers: usize,
    /// Longest prompt, tokens.
    #[serde(rename = "n_positions")]
    pub n_ctx: usize,
    /// Number of tokens in the vocabulary.
    #[serde(rename = "vocab_size")]
    pub d_vocab: usize,
    /// Width of the MLP; `4 * d_model` where absent.
    #[serde(rename = "n_inner", default)]
    d_mlp: Option<usize>,
    /// Added to the variance in layer norms. Default 1e-5.
    #[serde(default = "default_epsilon")]
    pub layer_norm_epsilon: f64,
    #[serde(default = "default_activation")]
    activation_function: String,
    #[serde(default = "default_true")]
    scale_attn_weights: bool,
    #[serde(default)]
    scale_attn_by_inverse_layer_idx: bool,
    #[serde(default)]
    add_cross_attention: bool,
    #[serde(default = "default_model_type")]
    model_type: String,
    #[serde(default = "default_architectures")]
    architectures: Option<Vec<String>>,
}

fn default_epsilon() -> f64 {
    1e-5
}

fn default_activation() -> String {
    "gelu_new".to_owned()
}

fn default_true() -> bool {
    true
}

fn default_model_type() -> String {
    "gpt2".to_owned()
}

fn default_architectures() -> Option<Vec<String>> {
    Some(vec!["GPT2LMHeadModel".to_owned()])
}

impl Gpt2Config {
    /// A config of these sizes with an MLP of `4 * d_model`.
    pub fn new(
        n_layers: usize,
        d_model: usize,
        n_heads: usize,
        n_ctx: usize,
        d_vocab: usize,
    ) -> Self {
        Self {
            d_model,
            n_heads,
            n_layers,
            n_ctx,
            d_vocab,
            d_mlp: None,
            layer_norm_epsilon: default_epsilon(),
            activation_function: default_activation(),
            scale_attn_weights: true,
            scale_attn_by_inverse_layer_idx: false,
            add_cross_attention: false,
            model_type: default_model_type(),
            architectures: default_architectures(),
        }
    }

    /// Reads and checks `config.json`.
    ///
    /// # Errors
    /// - [`ConfigError::Json`] if it is not JSON, or a size is missing.
    /// - [`ConfigError::Value`] if a size is impossible, or the model computes something that GPT-2 does not.
    pub fn from_json(bytes: &[u8]) -> Result<Self, ConfigError> {
        let config: Self =
            serde_json::from_slice(bytes).map_err(|cause| ConfigError::Json { cause })?;
        let value = |name, expected: &str, found: String| {
            Err(ConfigError::Value {
                name,
                expected: expected.to_owned(),
                found,
            })
        };
        for (name, size) in [
            ("n_embd", config.d_model),
            ("n_head", config.n_heads),
            ("n_layer", config.n_layers),
            ("n_positions", config.n_ctx),
            ("vocab_size", config.d_vocab),
            ("n_inner", config.d_mlp()),
        ] {
            // Larger than any GPT-2 by orders of magnitude: refused before memory is asked for.
            if !(1..=1 << 24).contains(&size) {
                return value(name, "a number from 1 to 16777216", size.to_string());
            }
        }
        if !config.d_model.is_multiple_of(config.n_heads) {
            return value(
                "n_embd",
                &format!("a multiple of n_head, {}", config.n_heads),
                config.d_model.to_string(),
            );
        }
        if config.model_type != "gpt2" {
            return value("model_type", "`gpt2`", config.model_type);
        }
        if !["gelu_new", "gelu_pytorch_tanh"].contains(&config.activation_function.as_str()) {
            return value(
                "activation_function",
                "`gelu_new`",
                config.activation_function,
            );
        }
        if !config.scale_attn_weights {
            return value("scale_attn_weights", "true", "false".to_owned());
        }
        if config.scale_attn_by_inverse_layer_idx {
            return value(
                "scale_attn_by_inverse_layer_idx",
                "false",
                "true".to_owned(),
            );
        }
        if config.add_cross_attention {
            return value("add_cross_attention", "false", "true".to_owned());
        }
        Ok(config)
    }

    /// Width of one attention head.
    pub fn d_head(&self) -> usize {
        self.d_model / self.n_heads
    }

    /// Width of the MLP.
    pub fn d_mlp(&self) -> usize {
        self.d_mlp.unwrap_or(4 * self.d_model)
    }

    /// Checks rows of token ids and returns their common length.
    ///
    /// # Errors
    /// - [`PromptError::Empty`] if there are no rows, or no tokens.
    /// - [`PromptError::RowLength`] if rows differ in length.
    /// - [`PromptError::TooLong`] if the model cannot read that many tokens.
    /// - [`PromptError::TokenUnknown`] if an id is outside the vocabulary.
    pub fn check_ids(&self, rows: &[impl AsRef<[u32]>]) -> Result<usize, PromptError> {
        let n_tokens = rows.first().map_or(0, |ids| ids.as_ref().len());
        if n_tokens == 0 {
            return Err(PromptError::Empty);
        }
        if n_tokens > self.n_ctx {
            return Err(PromptError::TooLong {
                found: n_tokens,
                n_ctx: self.n_ctx,
            });
        }
        for (row, ids) in rows.iter().map(AsRef::as_ref).enumerate() {
            if ids.len() != n_tokens {
                return Err(PromptError::RowLength {
                    row,
                    expected: n_tokens,
                    found: ids.len(),
                });
            }
            if let Some(&id) = ids.iter().find(|id| **id as usize >= self.d_vocab) {
                return Err(PromptError::TokenUnknown {
                    id,
                    d_vocab: self.d_vocab,
                });
            }
        }
        Ok(n_tokens)
    }
}

/// Why a `config.json` was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// It is not JSON, or a required field is missing or has the wrong type.
    #[error("config.json: {cause}")]
    Json {
        /// What the parser says, with the field and the line.
        cause: serde_json::Error,
    },
    /// A field has a value that this implementation cannot compute.
    #[error("config.json: `{name}` is {found}, expected {expected}")]
    Value {
        /// Name of the field.
        name: &'static str,
        /// What would be valid.
        expected: String,
        /// What the file says.
        found: String,
    },
}

/// Why the model cannot read a prompt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PromptError {
    /// It has no tokens.
    #[error("the prompt is empty; it needs at least one token")]
    Empty,
    /// It is longer than the model's context.
    #[error("the prompt has {found} tokens, the model reads at most {n_ctx}")]
    TooLong {
        /// Tokens of the prompt.
        found: usize,
        /// The model's context.
        n_ctx: usize,
    },
    /// A token id is outside the vocabulary.
    #[error("token id {id} is outside the model's vocabulary of {d_vocab}")]
    TokenUnknown {
        /// The id.
        id: u32,
        /// Number of tokens of the model.
        d_vocab: usize,
    },
    /// Rows of one batch differ in length.
    #[error(
        "row {row} has {found} tokens, row 0 has {expected}; all rows of a batch need one length"
    )]
    RowLength {
        /// Index of the first row that differs.
        row: usize,
        /// Length of row 0.
        expected: usize,
        /// Length of this row.
        found: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn config_reads_hugging_face_names() {
        let json = br#"{"model_type":"gpt2","n_embd":24,"n_head":3,"n_layer":2,"n_positions":32,"vocab_size":61}"#;
        let config = Gpt2Config::from_json(json).unwrap();
        assert_eq!((config.d_head(), config.d_mlp()), (8, 96));
    }

    #[test]
    fn config_refuses_what_it_cannot_compute() {
        let json = |field: &str| {
            format!(
                r#"{{"n_embd":24,"n_head":3,"n_layer":2,"n_positions":32,"vocab_size":61,{field}}}"#
            )
        };
        for (field, name) in [
            (r#""activation_function":"relu""#, "activation_function"),
            (r#""model_type":"llama""#, "model_type"),
            (
                r#""scale_attn_by_inverse_layer_idx":true"#,
                "scale_attn_by_inverse_layer_idx",
            ),
            (r#""n_inner":0"#, "n_inner"),
        ] {
            let error = Gpt2Config::from_json(json(field).as_bytes())
                .unwrap_err()
                .to_string();
            assert!(error.contains(name), "{error}");
        }
        let error = Gpt2Config::from_json(br#"{"n_embd":24}"#)
            .unwrap_err()
            .to_string();
        assert!(error.contains("n_head"), "{error}");
    }
}

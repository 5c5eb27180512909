//! What a model computes, as far as it differs from others: read from Hugging Face's `config.json`, or from what a GGUF file says
//! in its stead.

use serde_json::{Map, Value};

use super::{
    Sizes,
    family::{self, Family},
    rotary::Rotary,
};

/// What a model computes. Everything that a family does its own way is one of these fields; the decoder asks for no family.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it is from, which says how its tensors are called.
    pub family: &'static Family,
    /// Sizes, and which parts a block has.
    pub sizes: Sizes,
    /// Norm of the residual stream.
    pub norm: NormKind,
    /// Added to the variance, or to the mean square, in norms.
    pub norm_epsilon: f64,
    /// What token embeddings are multiplied by.
    pub embedding_scale: f64,
    /// Each position has a vector of its own, added to the token's.
    pub has_position_embedding: bool,
    /// How queries and keys are rotated; `None` where they are not.
    pub rotary: Option<Rotary>,
    /// How they are rotated in layers with a window, where that differs.
    pub local_rotary: Option<Rotary>,
    /// For each layer: how many positions a query sees, its own included; `None` for all.
    pub windows: Vec<Option<usize>>,
    /// What the products of queries and keys are multiplied by.
    pub score_scale: f64,
    /// Attention scores are kept between this and its negative.
    pub score_cap: Option<f64>,
    /// Logits are kept between this and its negative.
    pub logit_cap: Option<f64>,
    /// Each head's query and key have a norm, before they are rotated.
    pub has_query_key_norm: bool,
    /// Projections to queries, keys and values add a bias.
    pub has_query_bias: bool,
    /// The projection behind the heads adds a bias.
    pub has_output_bias: bool,
    /// Projections of the MLP add a bias.
    pub has_mlp_bias: bool,
    /// Activation function of the MLP.
    pub activation: Activation,
    /// The head is the token embedding.
    pub is_tied: bool,
}

/// Which norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// Mean and variance, weight and bias (Ba et al. 2016, <https://arxiv.org/abs/1607.06450>).
    Layer,
    /// Root of the mean square, and a weight (Zhang & Sennrich 2019, <https://arxiv.org/abs/1910.07467>).
    Rms,
}

/// Which activation function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// GELU in the tanh approximation.
    GeluTanh,
    /// GELU by the error function.
    Gelu,
    /// `x * sigmoid(x)`.
    Silu,
}

impl Config {
    /// Reads and checks `config.json`.
    ///
    /// # Errors
    /// - [`ConfigError::Json`] if it is not JSON.
    /// - [`ConfigError::Missing`] if a size is missing.
    /// - [`ConfigError::Value`] if the family is not known, a size is impossible, or the model computes something that is not
    ///   implemented.
    pub fn from_json(bytes: &[u8]) -> Result<Self, ConfigError> {
        let values: Map<String, Value> =
            serde_json::from_slice(bytes).map_err(|cause| ConfigError::Json { cause })?;
        let fields = Fields {
            origin: "config.json",
            values,
        };
        let model_type = fields.text_or("model_type", "gpt2")?;
        let family = family::ALL
            .iter()
            .find(|family| family.model_type == model_type);
        let family = family.ok_or_else(|| {
            let known: Vec<_> = family::ALL.iter().map(|family| family.model_type).collect();
            fields.wrong(
                "model_type",
                format!("one of {}", known.join(", ")),
                model_type,
            )
        })?;
        Self::of_fields(family, &fields)
    }

    /// Reads and checks the fields of a family.
    pub(crate) fn of_fields(family: &'static Family, fields: &Fields) -> Result<Self, ConfigError> {
        let mut config = (family.config)(fields)?;
        config.family = family;
        Ok(config)
    }
}

impl Activation {
    /// The function that a field names.
    pub(super) fn of(
        fields: &Fields,
        name: &'static str,
        default: &str,
    ) -> Result<Self, ConfigError> {
        match fields.text_or(name, default)?.as_str() {
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Ok(Self::GeluTanh),
            "gelu" => Ok(Self::Gelu),
            "silu" | "swish" => Ok(Self::Silu),
            other => Err(fields.wrong(name, "gelu_new, gelu_pytorch_tanh, gelu or silu", other)),
        }
    }
}

/// Named values of a config, and where they are from.
pub struct Fields {
    pub(crate) origin: &'static str,
    pub(crate) values: Map<String, Value>,
}

impl Fields {
    /// Larger than any model's by orders of magnitude: refused before memory is asked for.
    const MOST: u64 = 1 << 24;

    /// A value that is there and not null.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(name).filter(|value| !value.is_null())
    }

    /// An error about a value.
    pub(super) fn wrong(
        &self,
        name: impl Into<String>,
        expected: impl Into<String>,
        found: impl ToString,
    ) -> ConfigError {
        ConfigError::Value {
            origin: self.origin,
            name: name.into(),
            expected: expected.into(),
            found: found.to_string(),
        }
    }

    /// A size that must be there.
    pub(super) fn size(&self, name: &'static str) -> Result<usize, ConfigError> {
        self.optional_size(name)?.ok_or(ConfigError::Missing {
            origin: self.origin,
            name,
        })
    }

    /// A size that may be left out.
    pub(super) fn optional_size(&self, name: &'static str) -> Result<Option<usize>, ConfigError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        match value.as_u64() {
            Some(size @ 1..=Self::MOST) => Ok(Some(size as usize)),
            _ => Err(self.wrong(name, format!("a number from 1 to {}", Self::MOST), value)),
        }
    }

    /// A number that may be left out.
    pub(super) fn optional_number(&self, name: &'static str) -> Result<Option<f64>, ConfigError> {
        let number = |value: &Value| match value.as_f64() {
            Some(number) if number.is_finite() && number > 0.0 => Ok(number),
            _ => Err(self.wrong(name, "a number above 0", value)),
        };
        self.get(name).map(number).transpose()
    }

    pub(super) fn number_or(&self, name: &'static str, default: f64) -> Result<f64, ConfigError> {
        Ok(self.optional_number(name)?.unwrap_or(default))
    }

    /// A number that may be null; the default where it is not named at all.
    pub(super) fn number_or_null(
        &self,
        name: &'static str,
        default: Option<f64>,
    ) -> Result<Option<f64>, ConfigError> {
        match self.values.contains_key(name) {
            true => self.optional_number(name),
            false => Ok(default),
        }
    }

    pub(super) fn flag_or(&self, name: &'static str, default: bool) -> Result<bool, ConfigError> {
        let flag = |value: &Value| {
            let flag = value.as_bool();
            flag.ok_or_else(|| self.wrong(name, "true or false", value))
        };
        self.get(name).map_or(Ok(default), flag)
    }

    pub(super) fn text_or(&self, name: &'static str, default: &str) -> Result<String, ConfigError> {
        match self.get(name) {
            None => Ok(default.to_owned()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(value) => Err(self.wrong(name, "a text", value)),
        }
    }

    /// Refuses what is not computed: a flag that does not have the only value that is.
    pub(super) fn only(&self, name: &'static str, expected: bool) -> Result<(), ConfigError> {
        match self.flag_or(name, expected)? == expected {
            true => Ok(()),
            false => Err(self.wrong(name, expected.to_string(), !expected)),
        }
    }

    /// Windows of the layers: `layer_types` says which have one, else `has_window` does.
    pub(super) fn windows(
        &self,
        n_layers: usize,
        window: Option<usize>,
        has_window: impl Fn(usize) -> bool,
    ) -> Result<Vec<Option<usize>>, ConfigError> {
        let Some(types) = self.get("layer_types") else {
            return Ok((0..n_layers)
                .map(|l| window.filter(|_| has_window(l)))
                .collect());
        };
        let wrong = || {
            let expected = format!("{n_layers} times full_attention or sliding_attention");
            self.wrong("layer_types", expected, types)
        };
        let types = types.as_array().filter(|types| types.len() == n_layers);
        let window_of = |kind: &Value| match kind.as_str() {
            Some("full_attention") => Ok(None),
            Some("sliding_attention") => Ok(window),
            _ => Err(wrong()),
        };
        types.ok_or_else(wrong)?.iter().map(window_of).collect()
    }
}

/// Why a model's config was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// It is not JSON.
    #[error("config.json: {cause}")]
    Json {
        /// What the parser says, with the line.
        cause: serde_json::Error,
    },
    /// A value that the family needs is not there.
    #[error("{origin}: `{name}` is missing")]
    Missing {
        /// `config.json`, or what stands in its stead.
        origin: &'static str,
        /// Name of the field.
        name: &'static str,
    },
    /// A value that cannot be, or that asks for something that is not computed.
    #[error("{origin}: `{name}` is {found}, expected {expected}")]
    Value {
        /// `config.json`, or what stands in its stead.
        origin: &'static str,
        /// Name of the field.
        name: String,
        /// What would be valid.
        expected: String,
        /// What it says.
        found: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpt2(field: &str) -> String {
        format!(r#"{{"n_embd":24,"n_head":3,"n_layer":2,"n_positions":32,"vocab_size":61{field}}}"#)
    }

    #[test]
    fn config_reads_hugging_face_names() {
        let config = Config::from_json(gpt2(r#","model_type":"gpt2""#).as_bytes()).unwrap();
        let Sizes { d_head, d_mlp, .. } = config.sizes;
        assert_eq!((d_head, d_mlp), (8, 96));
    }

    #[test]
    fn config_refuses_what_it_cannot_compute() {
        for (field, name) in [
            (r#""activation_function":"relu""#, "activation_function"),
            (r#""model_type":"mamba""#, "model_type"),
            (
                r#""scale_attn_by_inverse_layer_idx":true"#,
                "scale_attn_by_inverse_layer_idx",
            ),
            (r#""n_inner":0"#, "n_inner"),
            (r#""n_inner":-1"#, "n_inner"),
            (r#""layer_norm_epsilon":"small""#, "layer_norm_epsilon"),
        ] {
            let error = Config::from_json(gpt2(&format!(",{field}")).as_bytes()).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
        let error = Config::from_json(br#"{"n_embd":24}"#).unwrap_err();
        assert!(error.to_string().contains("n_layer"), "{error}");
    }
}

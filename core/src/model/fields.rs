//! Named values of a model's config, read one by one, and why a config is refused.

use serde_json::{Map, Value};

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

    /// Token ids, one or a list; none where there are no such.
    pub(super) fn ids(&self, name: &str) -> Vec<u32> {
        let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        match self.get(name) {
            Some(Value::Array(ids)) => ids.iter().filter_map(id).collect(),
            one => one.and_then(id).into_iter().collect(),
        }
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

//! A model's config from a GGUF file's metadata.

use serde_json::{Map, Number, Value as Json, json};

use super::Value;
use crate::{
    Config, ConfigError, Family, StoredFile,
    model::{Fields, family},
};

/// The token behind which a text has ended.
const END_TOKEN: &str = "eos_token_id";

impl Config {
    /// Reads the config of the model in a GGUF file.
    ///
    /// # Errors
    /// - [`ConfigError::Missing`] if the architecture or a size is not said.
    /// - [`ConfigError::Value`] if the architecture is not known, or a value cannot be.
    pub fn from_gguf(file: &StoredFile) -> Result<Self, ConfigError> {
        let (family, fields) = read(file)?;
        Self::of_fields(family, &fields)
    }
}

/// What Hugging Face's `config.json` says of the model in a GGUF file.
///
/// # Errors
/// - Those of [`Config::from_gguf`].
pub fn config_json(file: &StoredFile) -> Result<Map<String, Json>, ConfigError> {
    let (family, Fields { mut values, .. }) = read(file)?;
    values.insert("model_type".to_owned(), json!(family.model_type));
    values.insert("architectures".to_owned(), json!([family.class]));
    // Else transformers has the ids of the family's first model.
    for name in ["bos_token_id", END_TOKEN] {
        let id = file.metadata.get(&format!("tokenizer.ggml.{name}"));
        values.insert(name.to_owned(), id.and_then(json_of).unwrap_or_default());
    }
    Ok(values)
}

/// The model's family, and its fields by Hugging Face's names.
fn read(file: &StoredFile) -> Result<(&'static Family, Fields), ConfigError> {
    const ARCHITECTURE: &str = "general.architecture";
    let mut fields = Fields {
        origin: "GGUF metadata",
        values: Map::new(),
    };
    let architecture = match file.metadata.get(ARCHITECTURE) {
        Some(Value::Text(text)) => text,
        _ => {
            return Err(ConfigError::Missing {
                origin: fields.origin,
                name: ARCHITECTURE,
            });
        }
    };
    let known = || {
        family::ALL
            .iter()
            .filter_map(|family| Some((*family, family.gguf.as_ref()?)))
    };
    let Some((family, names)) = known().find(|(_, names)| names.architecture == architecture)
    else {
        let known: Vec<_> = known().map(|(_, names)| names.architecture).collect();
        return Err(ConfigError::Value {
            origin: fields.origin,
            name: ARCHITECTURE.to_owned(),
            expected: format!("one of {}", known.join(", ")),
            found: architecture.clone(),
        });
    };
    for (key, field) in names.fields {
        let value = file.metadata.get(&format!("{architecture}.{key}"));
        if let Some(value) = value.and_then(json_of) {
            fields.values.insert((*field).to_owned(), value);
        }
    }
    // What files of this format leave to the tensors.
    let is_there = |name: &str| file.tensors.iter().find(|tensor| tensor.name == name);
    if let Some([d_vocab, _]) = is_there("token_embd.weight").map(|tensor| &*tensor.shape) {
        fields
            .values
            .insert("vocab_size".to_owned(), json!(d_vocab));
    }
    let end = file.metadata.get(&format!("tokenizer.ggml.{END_TOKEN}"));
    if let Some(end) = end.and_then(json_of) {
        fields.values.insert(END_TOKEN.to_owned(), end);
    }
    let is_tied = is_there("output.weight").is_none();
    fields
        .values
        .insert("tie_word_embeddings".to_owned(), json!(is_tied));
    scaling(file, architecture, &mut fields);
    (names.complete)(&mut fields.values);
    Ok((family, fields))
}

/// `rope_scaling` of Hugging Face's configs.
fn scaling(file: &StoredFile, architecture: &str, fields: &mut Fields) {
    let value = |key: &str| {
        file.metadata
            .get(&format!("{architecture}.rope.scaling.{key}"))
    };
    if let Some(Value::Text(kind)) = value("type")
        && kind != "none"
    {
        let factor = value("factor").and_then(json_of);
        let scaling = json!({ "rope_type": kind, "factor": factor });
        fields.values.insert("rope_scaling".to_owned(), scaling);
    }
}

fn json_of(value: &Value) -> Option<Json> {
    Some(match value {
        Value::Int(n) => json!(i64::try_from(*n).ok()?),
        // Numbers in these files are f32: 1e-6 is 9.99999997e-7, and that is what llama.cpp computes with.
        Value::Float(x) => Json::Number(Number::from_f64(*x)?),
        Value::Bool(flag) => json!(flag),
        Value::Text(text) => json!(text),
        // One size a layer: a model whose layers are all alike says it once.
        Value::Ints(sizes) if sizes.windows(2).all(|pair| pair[0] == pair[1]) => {
            json!(sizes.first()?)
        }
        Value::Ints(_) | Value::Floats(_) | Value::Texts(_) => return None,
    })
}

//! What a GGUF file says of its model.

use std::collections::BTreeMap;

use swivel_core::gguf::Value;

type Metadata = BTreeMap<String, Value>;

/// Sizes of the model, as GGUF names them after the architecture, and in words.
const SIZES: [(&str, &str); 6] = [
    ("block_count", "layers"),
    ("embedding_length", "wide"),
    ("attention.head_count", "heads"),
    ("attention.head_count_kv", "key-value heads"),
    ("feed_forward_length", "wide in the MLP"),
    ("context_length", "tokens of context"),
];

/// A model, as it is described; what is not said is a dash.
pub struct Described<'a> {
    pub name: Option<&'a str>,
    pub architecture: &'a str,
    /// Sizes by what they count.
    pub sizes: Vec<(&'static str, String)>,
    /// Tokens of the vocabulary.
    pub n_tokens: usize,
    /// The tokenizer in words.
    pub tokenizer: String,
}

impl<'a> Described<'a> {
    /// Reads it from a file's metadata.
    pub fn new(metadata: &'a Metadata) -> Self {
        let architecture = text(metadata, "general.architecture").unwrap_or("-");
        let sizes = SIZES.iter().filter_map(|(key, unit)| {
            let key = format!("{architecture}.{key}");
            match metadata.get(&key)? {
                Value::Int(size) => Some((*unit, size.to_string())),
                _ => None,
            }
        });
        let n_tokens = match metadata.get("tokenizer.ggml.tokens") {
            Some(Value::Texts(tokens)) => tokens.len(),
            _ => 0,
        };
        let model = text(metadata, "tokenizer.ggml.model").unwrap_or("-");
        let first = match metadata.get("tokenizer.ggml.add_bos_token") {
            Some(Value::Bool(true)) => "a first token is added",
            Some(Value::Bool(false)) => "no first token is added",
            _ => "whether a first token is added is not said",
        };
        Self {
            name: text(metadata, "general.name"),
            architecture,
            sizes: sizes.collect(),
            n_tokens,
            tokenizer: format!("{model}, {n_tokens} tokens, {first}"),
        }
    }
}

fn text<'a>(metadata: &'a Metadata, key: &str) -> Option<&'a str> {
    match metadata.get(key)? {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

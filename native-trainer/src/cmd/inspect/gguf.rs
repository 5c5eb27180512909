//! What a GGUF file says of its model.

use std::collections::BTreeMap;

use swivel_core::{Tokenizer, gguf::Value};

use super::tokenizer_in_words;

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
    /// Token that stands before every prompt.
    pub first_token: Option<u32>,
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
        let tokenizer = Tokenizer::from_gguf(metadata);
        let said = match &tokenizer {
            Ok(tokenizer) => tokenizer_in_words(tokenizer),
            Err(error) => format!("{n_tokens} tokens, which cannot be read: {error}"),
        };
        Self {
            name: text(metadata, "general.name"),
            architecture,
            sizes: sizes.collect(),
            n_tokens,
            first_token: tokenizer.ok().and_then(|tokenizer| tokenizer.first_token()),
            tokenizer: format!("{model}, {said}"),
        }
    }
}

fn text<'a>(metadata: &'a Metadata, key: &str) -> Option<&'a str> {
    match metadata.get(key)? {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

//! What a GGUF file holds.

use std::{collections::BTreeMap, path::Path};

use anyhow::Result;
use serde_json::json;
use swivel_core::{
    Tokenizer,
    gguf::{Gguf, Value},
};

use super::tokenizer_in_words;
use crate::{gguf_file, report::Report};

/// Sizes of the model, as GGUF names them after the architecture, and in words.
const SIZES: [(&str, &str); 6] = [
    ("block_count", "layers"),
    ("embedding_length", "wide"),
    ("attention.head_count", "heads"),
    ("attention.head_count_kv", "key-value heads"),
    ("feed_forward_length", "wide in the MLP"),
    ("context_length", "tokens of context"),
];

/// Says what the file holds.
///
/// # Errors
/// - If it cannot be read, or is no GGUF file.
pub fn inspect(path: &Path, report: Report) -> Result<()> {
    let (gguf, n_bytes) = gguf_file::header(path)?;
    let architecture = text(&gguf, "general.architecture").unwrap_or("-");
    let sizes = SIZES.iter().filter_map(|(key, unit)| {
        let size = int(&gguf, &format!("{architecture}.{key}"))?;
        Some((*unit, size))
    });
    let sizes: Vec<(&str, i128)> = sizes.collect();
    let mut formats: BTreeMap<&str, (usize, u64)> = BTreeMap::new();
    for tensor in &gguf.tensors {
        let (n_tensors, n_bytes) = formats.entry(tensor.dtype.name()).or_default();
        *n_tensors += 1;
        *n_bytes += tensor.bytes.end - tensor.bytes.start;
    }
    let values = gguf
        .tensors
        .iter()
        .map(|tensor| tensor.shape.iter().product::<usize>());
    let n_values: usize = values.sum();
    let n_tokens = match gguf.metadata.get("tokenizer.ggml.tokens") {
        Some(Value::Texts(tokens)) => tokens.len(),
        _ => 0,
    };
    let tokenizer = Tokenizer::from_gguf(&gguf.metadata);
    let first_token = tokenizer.as_ref().ok().and_then(Tokenizer::first_token);
    let list = |items: Vec<String>| match items.is_empty() {
        true => "-".to_owned(),
        false => items.join(", "),
    };
    for (name, value) in [
        ("GGUF", {
            let name = text(&gguf, "general.name").unwrap_or("-");
            format!(
                "{name}, architecture {architecture}, {:.1} MB",
                n_bytes as f64 / 1e6
            )
        }),
        (
            "sizes",
            list(
                sizes
                    .iter()
                    .map(|(unit, size)| format!("{size} {unit}"))
                    .collect(),
            ),
        ),
        (
            "tensors",
            format!("{}, {n_values} values", gguf.tensors.len()),
        ),
        ("formats", {
            let mb = |bytes: &u64| *bytes as f64 / 1e6;
            let formats = formats.iter();
            let formats =
                formats.map(|(name, (n, bytes))| format!("{name} {n} ({:.1} MB)", mb(bytes)));
            list(formats.collect())
        }),
        ("tokenizer", {
            let model = text(&gguf, "tokenizer.ggml.model").unwrap_or("-");
            let said = match &tokenizer {
                Ok(tokenizer) => tokenizer_in_words(tokenizer),
                Err(error) => format!("{n_tokens} tokens, which cannot be read: {error}"),
            };
            format!("{model}, {said}")
        }),
    ] {
        report.line(format!("{name:<11}{value}"));
    }
    report.line("Models in GGUF files cannot be run yet.");
    let sizes: BTreeMap<&str, String> = (sizes.into_iter())
        .map(|(unit, size)| (unit, size.to_string()))
        .collect();
    report.event(&json!({
        "kind": "gguf",
        "architecture": architecture,
        "name": text(&gguf, "general.name"),
        "bytes": n_bytes,
        "sizes": sizes,
        "tensors": gguf.tensors.len(),
        "values": n_values,
        "formats": formats,
        "tokens": n_tokens,
        "first_token": first_token,
    }));
    Ok(())
}

fn text<'a>(gguf: &'a Gguf, key: &str) -> Option<&'a str> {
    match gguf.metadata.get(key)? {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

fn int(gguf: &Gguf, key: &str) -> Option<i128> {
    match gguf.metadata.get(key)? {
        Value::Int(value) => Some(*value),
        _ => None,
    }
}

//! What a weight file holds.

use std::collections::BTreeMap;

use serde_json::json;
use swivel_core::{FileFormat, StoredFile};

use super::gguf::Described;
use crate::report::Report;

/// Says what a file holds.
pub fn inspect(file: &StoredFile, report: Report) {
    let mut formats: BTreeMap<&str, (usize, u64)> = BTreeMap::new();
    for tensor in &file.tensors {
        let (n_tensors, n_bytes) = formats.entry(tensor.dtype.name()).or_default();
        *n_tensors += 1;
        *n_bytes += tensor.bytes.end - tensor.bytes.start;
    }
    let tensors = file.tensors.iter();
    let n_values: usize = tensors
        .map(|tensor| tensor.shape.iter().product::<usize>())
        .sum();
    let n_tensors = file.tensors.len();
    let unread: BTreeMap<&str, &str> = (file.unread.iter())
        .map(|tensor| (tensor.name.as_str(), tensor.dtype.as_str()))
        .collect();
    let model = match file.format {
        FileFormat::Gguf => Some(Described::new(&file.metadata)),
        FileFormat::Safetensors | FileFormat::Torch => None,
    };

    let format = file.format.name();
    let list = |items: Vec<String>| match items.is_empty() {
        true => "-".to_owned(),
        false => items.join(", "),
    };
    let mb = |n_bytes: u64| format!("{:.1} MB", n_bytes as f64 / 1e6);
    let mut lines = vec![("weights", format!("{format}, {}", mb(file.n_bytes)))];
    if let Some(model) = &model {
        let name = model.name.unwrap_or("-");
        let sizes = model.sizes.iter();
        let sizes = sizes.map(|(unit, size)| format!("{size} {unit}"));
        lines.push((
            "model",
            format!("{name}, architecture {}", model.architecture),
        ));
        lines.push(("sizes", list(sizes.collect())));
        lines.push(("tokenizer", model.tokenizer.clone()));
    }
    lines.push(("tensors", format!("{n_tensors}, {n_values} values")));
    lines.push(("formats", {
        let formats = formats.iter();
        let formats = formats.map(|(name, (n, n_bytes))| format!("{name} {n} ({})", mb(*n_bytes)));
        list(formats.collect())
    }));
    if !unread.is_empty() {
        let unread = unread.iter();
        let unread = unread.map(|(name, dtype)| format!("{name} ({dtype})"));
        lines.push(("not read", list(unread.collect())));
    }
    for (name, value) in lines {
        report.line(format!("{name:<11}{value}"));
    }
    report.event(&json!({
        "kind": format.to_lowercase(),
        "bytes": file.n_bytes,
        "architecture": model.as_ref().map(|model| model.architecture),
        "name": model.as_ref().and_then(|model| model.name),
        "sizes": model.as_ref().map(|model| model.sizes.iter().cloned().collect::<BTreeMap<_, _>>()),
        "first_token": model.as_ref().and_then(|model| model.first_token),
        "tokens": model.as_ref().map(|model| model.n_tokens),
        "tensors": n_tensors,
        "values": n_values,
        "formats": formats,
        "unread": unread,
    }));
}

//! A model as a folder in Hugging Face's layout: config, weights, and what its tokenizer needs.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::{Map, Value as Json, json};
use swivel_core::{
    Converter, Precision, StoredFile, Tokenizer,
    gguf::{self, Value},
};

use super::{ModelFiles, Ranges, Source};
use crate::{
    input::read as read_file,
    output::{Existing, Output},
    report::Report,
};

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
const WEIGHTS: &str = "model.safetensors";

/// What a folder may have beside config and weights: none of it depends on how the weights are stored.
const BESIDE: [&str; 9] = [
    TOKENIZER,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
    "generation_config.json",
];

/// A folder that was written.
pub struct Converted {
    /// Tensors of its weights.
    pub n_tensors: usize,
    /// Bytes of its weights.
    pub n_bytes: u64,
    /// Number format of its weights; of several, the widest.
    pub precision: Precision,
}

/// A small file: its name, and what it holds.
type Small = (&'static str, Vec<u8>);

impl ModelFiles {
    /// Writes the model as a folder. Without a `precision`, each tensor keeps its own, and quantised ones become f32.
    ///
    /// # Errors
    /// - If the folder has files already that are to be kept, or cannot be written.
    /// - If a weight file cannot be read, does not fit the config, or holds what the number format cannot.
    pub fn convert(
        &self,
        folder: &Path,
        precision: Option<Precision>,
        existing: Existing,
        report: Report,
    ) -> Result<Converted> {
        if fs::read_dir(folder).is_ok_and(|mut files| files.next().is_some()) {
            existing.check(folder)?;
        }
        let cannot = || format!("converting the weights of {}", self.name);
        let mut converter =
            Converter::new(&self.config, &self.stored, precision).with_context(cannot)?;
        self.warn_of_unused(converter.unused(), report);
        let (n_tensors, n_bytes) = (converter.n_tensors(), converter.n_bytes());
        let written = converter.precision();
        let small = self.small_files(match self.source {
            Source::Gguf => Some(written),
            Source::Embedded | Source::Folder(_) => precision,
        })?;
        // All are created before the first is written: a folder that cannot be is known at once.
        let output = |name: &str| Output::create(&folder.join(name), existing);
        let mut weights = output(WEIGHTS)?;
        let outputs = small.iter().map(|(name, _)| output(name));
        let outputs = outputs.collect::<Result<Vec<_>>>()?;
        weights.append(&converter.header())?;
        let mut ranges = Ranges::new(self, "converting");
        while let Some(wanted) = converter.wants() {
            let bytes = converter.give(ranges.read(wanted)?).with_context(cannot)?;
            weights.append(&bytes)?;
        }
        weights.finish(&[])?;
        for (output, (_, bytes)) in outputs.into_iter().zip(&small) {
            output.finish(bytes)?;
        }
        // A tokenizer of the model that was there before would be taken for this one's.
        for name in BESIDE {
            let path = folder.join(name);
            if path.exists() && small.iter().all(|(written, _)| *written != name) {
                fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
            }
        }
        Ok(Converted {
            n_tensors,
            n_bytes,
            precision: written,
        })
    }

    /// All but the weights; the config, without which the folder is no model, is the last. `precision` is what it is to say
    /// where that is not what it says.
    fn small_files(&self, precision: Option<Precision>) -> Result<Vec<Small>> {
        let (mut small, config) = match &self.source {
            Source::Embedded => {
                let tokenizer = (TOKENIZER, Self::TOKENIZER.to_vec());
                (vec![tokenizer], Self::CONFIG.to_vec())
            }
            Source::Folder(folder) => {
                let there = BESIDE.map(|name| (name, folder.join(name)));
                let there = there.into_iter().filter(|(_, path)| path.is_file());
                let read = |(name, path): (_, PathBuf)| Ok((name, read_file(&path)?));
                let small = there.map(read).collect::<Result<_>>()?;
                (small, read_file(&folder.join(CONFIG))?)
            }
            Source::Gguf => {
                let stored = self.stored.first().context("a GGUF file was opened")?;
                let small = gguf_tokenizer(stored, self.tokenizer()?, self.sizes().n_ctx)?;
                (small, pretty(gguf::config_json(stored)?))
            }
        };
        let mut fields: Map<String, Json> = serde_json::from_slice(&config).context(CONFIG)?;
        let config = match precision {
            None => config,
            Some(precision) => {
                fields.remove("dtype"); // its newer name
                fields.insert("torch_dtype".to_owned(), json!(precision.torch_name()));
                pretty(fields)
            }
        };
        small.push((CONFIG, config));
        Ok(small)
    }
}

/// The tokenizer of a GGUF file, and what transformers wants to know of it.
fn gguf_tokenizer(stored: &StoredFile, tokenizer: &Tokenizer, n_ctx: usize) -> Result<Vec<Small>> {
    let entry = |name: &str| stored.metadata.get(&format!("tokenizer.{name}"));
    let mut config = Map::new();
    // Any other class puts in front of a text what its family does, not what tokenizer.json says.
    config.insert(
        "tokenizer_class".to_owned(),
        json!("PreTrainedTokenizerFast"),
    );
    config.insert("model_max_length".to_owned(), json!(n_ctx));
    config.insert("clean_up_tokenization_spaces".to_owned(), json!(false));
    let has_first = tokenizer.first_token().is_some();
    config.insert("add_bos_token".to_owned(), json!(has_first));
    for (name, id) in [
        ("bos_token", "ggml.bos_token_id"),
        ("eos_token", "ggml.eos_token_id"),
        ("unk_token", "ggml.unknown_token_id"),
        ("pad_token", "ggml.padding_token_id"),
    ] {
        if let Some(Value::Int(id)) = entry(id)
            && let Ok(id) = u32::try_from(*id)
        {
            config.insert(name.to_owned(), json!(tokenizer.token(id)));
        }
    }
    if let Some(Value::Text(template)) = entry("chat_template") {
        config.insert("chat_template".to_owned(), json!(template));
    }
    Ok(vec![
        (TOKENIZER, tokenizer.to_json()?.into_bytes()),
        ("tokenizer_config.json", pretty(config)),
    ])
}

/// JSON for people.
fn pretty(fields: Map<String, Json>) -> Vec<u8> {
    format!("{:#}\n", Json::Object(fields)).into_bytes()
}

//! Where a model comes from: the embedded solver, a folder in Hugging Face's layout, or the Hub.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, bail};
use burn::tensor::backend::Backend;
use serde::Deserialize;
use swivel_core::{Gpt2, Gpt2Config, Tokenizer, Weights};

use crate::{input::read, report::Report, weight_file};

/// Name of the embedded model.
pub const SOLVER: &str = "solver";

/// The files of one model, read and their headers checked.
pub struct ModelFiles {
    /// What the user called it.
    pub name: String,
    /// Its sizes.
    pub config: Gpt2Config,
    tokenizer: Option<Tokenizer>,
    weights: Vec<Cow<'static, [u8]>>,
}

impl ModelFiles {
    /// Opens the embedded solver (`solver`), a folder, or a Hub id.
    pub fn open(model: &str) -> Result<Self> {
        let files = if model == SOLVER {
            Self::embedded()
        } else if Path::new(model).is_dir() {
            Self::folder(model, Path::new(model))
                .with_context(|| format!("reading the model folder {model}"))
        } else if looks_like_hub_id(model) {
            Self::hub(model).with_context(|| format!("fetching {model} from the Hugging Face Hub"))
        } else {
            bail!(
                "no model folder {model}; expected `{SOLVER}`, a folder with config.json and model.safetensors, or a Hub id such as openai-community/gpt2"
            );
        }?;
        if let Some(tokenizer) = &files.tokenizer {
            tokenizer.check(&files.config)?;
        }
        Ok(files)
    }

    fn embedded() -> Result<Self> {
        Ok(Self {
            name: SOLVER.to_owned(),
            config: Gpt2Config::from_json(include_bytes!("../../models/solver/config.json"))?,
            tokenizer: Some(Tokenizer::from_json(include_bytes!(
                "../../models/solver/tokenizer.json"
            ))?),
            weights: vec![Cow::Borrowed(include_bytes!(
                "../../models/solver/model.safetensors"
            ))],
        })
    }

    fn folder(name: &str, folder: &Path) -> Result<Self> {
        let ModelFolder {
            config,
            tokenizer,
            weights,
            ..
        } = ModelFolder::open(folder)?;
        let weights = weights.iter().map(|path| Ok(read(path)?.into()));
        Ok(Self {
            name: name.to_owned(),
            config,
            tokenizer,
            weights: weights.collect::<Result<_>>()?,
        })
    }

    /// Downloads what is not in the Hub's cache yet; with `HF_HUB_OFFLINE` set, only the cache is looked at.
    fn hub(id: &str) -> Result<Self> {
        let cache = hf_hub::Cache::from_env().model(id.to_owned());
        let is_offline = std::env::var("HF_HUB_OFFLINE")
            .is_ok_and(|value| !["", "0", "false"].contains(&value.as_str()));
        let repository = hf_hub::api::sync::ApiBuilder::from_env()
            .build()?
            .model(id.to_owned());
        let get = |file: &str| -> Result<PathBuf> {
            match cache.get(file) {
                Some(path) => Ok(path),
                None if is_offline => {
                    bail!("{file} is not in the cache, and HF_HUB_OFFLINE is set")
                }
                // Its message has its causes, which it names as its sources, too.
                None => (repository.get(file))
                    .map_err(|error| anyhow!("{error}"))
                    .with_context(|| format!("downloading {file}")),
            }
        };
        let config = get("config.json")?;
        if get("tokenizer.json").is_err() {
            get("vocab.json").and_then(|_| get("merges.txt"))?;
        }
        if let Err(error) = get("model.safetensors") {
            let index = get("model.safetensors.index.json").map_err(|_| error)?;
            for shard in shards(&read(&index)?)? {
                get(&shard)?;
            }
        }
        let folder = config
            .parent()
            .context("the cache has no folder for the model")?;
        Self::folder(id, folder)
    }

    /// The tokenizer, where the folder has one.
    ///
    /// # Errors
    /// - If it has none.
    pub fn tokenizer(&self) -> Result<&Tokenizer> {
        self.tokenizer.as_ref().with_context(|| {
            format!("model {} has no tokenizer; add tokenizer.json, or vocab.json and merges.txt, to its folder", self.name)
        })
    }

    /// Builds the model on a device; returns it with the hash of its weights.
    pub fn load<B: Backend>(
        &self,
        device: &B::Device,
        report: Report,
    ) -> Result<(Gpt2<B>, String)> {
        let files: Vec<&[u8]> = self.weights.iter().map(AsRef::as_ref).collect();
        let cannot = || format!("loading the weights of {}", self.name);
        let weights = Weights::new(&files).with_context(cannot)?;
        let model = Gpt2::load(&self.config, &weights, device).with_context(cannot)?;
        let unused = weights.unused(&self.config);
        if !unused.is_empty() {
            report.warn(format!(
                "{} tensors of {} are not part of GPT-2 and are left out: {}",
                unused.len(),
                self.name,
                unused.join(", ")
            ));
        }
        Ok((model, weights.sha256().to_owned()))
    }

    /// SHA-256 of the weight files.
    pub fn sha256(&self) -> Result<String> {
        let files: Vec<&[u8]> = self.weights.iter().map(AsRef::as_ref).collect();
        let weights = Weights::new(&files);
        let weights = weights.with_context(|| format!("reading the weights of {}", self.name))?;
        Ok(weights.sha256().to_owned())
    }

    /// Bytes of the weight files.
    pub fn n_bytes(&self) -> usize {
        self.weights.iter().map(|file| file.len()).sum()
    }
}

/// A folder in Hugging Face's layout: which of its files are the model, all but the weights read.
pub struct ModelFolder {
    config: Gpt2Config,
    tokenizer: Option<Tokenizer>,
    /// All files but the weights.
    described_by: Vec<PathBuf>,
    weights: Vec<PathBuf>,
}

impl ModelFolder {
    /// Finds the files of a model, and reads what is small.
    ///
    /// # Errors
    /// - If `config.json` or the weights are missing, or a file that was read is not what its name says.
    pub fn open(folder: &Path) -> Result<Self> {
        let at = |file: &str| folder.join(file);
        let is_there = |file: &str| at(file).is_file();
        let mut described_by = vec![at("config.json")];
        let config = Gpt2Config::from_json(&read(&at("config.json"))?)?;
        let tokenizer = if is_there("tokenizer.json") {
            described_by.push(at("tokenizer.json"));
            Some(Tokenizer::from_json(&read(&at("tokenizer.json"))?)?)
        } else if is_there("vocab.json") && is_there("merges.txt") {
            described_by.extend([at("vocab.json"), at("merges.txt")]);
            let merges =
                String::from_utf8(read(&at("merges.txt"))?).context("merges.txt is not UTF-8")?;
            Some(Tokenizer::from_vocab_and_merges(
                &read(&at("vocab.json"))?,
                &merges,
            )?)
        } else {
            None
        };
        let weights = if is_there("model.safetensors") {
            vec![at("model.safetensors")]
        } else if is_there("model.safetensors.index.json") {
            let index = at("model.safetensors.index.json");
            let shards = shards(&read(&index)?)?;
            described_by.push(index);
            shards.iter().map(|shard| at(shard)).collect()
        } else if is_there("pytorch_model.bin") {
            bail!(
                "the weights are in pytorch_model.bin, a pickle; save them as model.safetensors first"
            );
        } else {
            bail!("there is no model.safetensors and no model.safetensors.index.json");
        };
        Ok(Self {
            config,
            tokenizer,
            described_by,
            weights,
        })
    }

    /// Checks what can be known without the tensors: each weight file has a header, and the length that it says.
    ///
    /// # Errors
    /// - If the tokenizer is another model's.
    /// - If a weight file is missing, was cut, or is no safetensors file.
    pub fn check(&self) -> Result<()> {
        if let Some(tokenizer) = &self.tokenizer {
            tokenizer.check(&self.config)?;
        }
        for path in &self.weights {
            weight_file::header(path)?;
        }
        Ok(())
    }

    /// Every file of the model, the weights last.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let files = self.described_by.iter().chain(&self.weights);
        files.map(PathBuf::as_path)
    }
}

/// File names of a sharded checkpoint, in order.
fn shards(index: &[u8]) -> Result<BTreeSet<String>> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: std::collections::BTreeMap<String, String>,
    }
    let index: Index = serde_json::from_slice(index).context("model.safetensors.index.json")?;
    let shards: BTreeSet<String> = index.weight_map.into_values().collect();
    match shards.iter().find(|shard| shard.contains(['/', '\\'])) {
        Some(shard) => {
            bail!("model.safetensors.index.json names a file outside its folder: {shard}")
        }
        None => Ok(shards),
    }
}

fn looks_like_hub_id(model: &str) -> bool {
    let is_name = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    model
        .split_once('/')
        .is_some_and(|(owner, name)| is_name(owner) && is_name(name))
        && !Path::new(model).exists()
}

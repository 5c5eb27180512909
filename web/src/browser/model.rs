//! A model folder in Hugging Face's layout, from an address or from files that a person chose.

use std::collections::{BTreeMap, BTreeSet};

use js_sys::Uint8Array;
use serde::Deserialize;
use swivel_core::{Config, Tokenizer, TokenizerError};
use web_sys::File;

use super::fetch::{self, fetch, read_file};

/// Folder of the models that the page's host has.
pub const MODELS: &str = "models";

/// Where a model comes from; it can be read again, for another device.
#[derive(Clone)]
pub enum ModelSource {
    /// A folder on a server.
    Folder(String),
    /// Files that were dropped or chosen.
    Files(Vec<File>),
}

/// The files of a model.
pub struct ModelFiles {
    /// Last part of the folder's name.
    pub name: String,
    /// `config.json`.
    pub config: String,
    /// Its tokens.
    pub tokenizer: Tokenizer,
    /// Weight files in the order of their names.
    pub weights: Vec<Uint8Array>,
}

/// The list of shards.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl ModelSource {
    /// Last part of the folder's name.
    pub fn name(&self) -> String {
        match self {
            Self::Folder(address) => {
                let path = address.split(['?', '#']).next().unwrap_or_default();
                let mut parts = path.trim_end_matches('/').rsplit('/');
                let name = parts.next().unwrap_or("model");
                let decoded = js_sys::decode_uri_component(name).ok();
                decoded.map_or_else(|| name.to_owned(), String::from)
            }
            Self::Files(_) => "your files".to_owned(),
        }
    }

    /// Reads the folder; `progress` hears the file's name, its bytes that have come, and its bytes in all.
    ///
    /// # Errors
    /// - if a file is missing or cannot be read
    pub async fn read(
        &self,
        progress: &dyn Fn(&str, f64, Option<f64>),
    ) -> Result<ModelFiles, String> {
        Ok(ModelFiles {
            name: self.name(),
            config: self.config(progress).await?,
            tokenizer: self.tokenizer(progress).await?,
            weights: self.weights(progress).await?,
        })
    }

    /// The name under which the page's host lists the model, if it does.
    pub fn listed_name(&self) -> Option<String> {
        let name = self.name();
        match self {
            Self::Folder(address) if *address == fetch::address_in(MODELS, &name) => Some(name),
            _ => None,
        }
    }

    /// Reads what the page itself needs, and no weights: `config.json` and the tokenizer.
    ///
    /// # Errors
    /// - if one is missing, or of no family that is computed
    pub async fn texts(
        &self,
        progress: &dyn Fn(&str, f64, Option<f64>),
    ) -> Result<(String, Tokenizer), String> {
        Ok((
            self.config(progress).await?,
            self.tokenizer(progress).await?,
        ))
    }

    /// Reads and checks `config.json`.
    ///
    /// # Errors
    /// - if it is missing, or of no family that is computed
    pub async fn config(
        &self,
        progress: &dyn Fn(&str, f64, Option<f64>),
    ) -> Result<String, String> {
        let config = self.text("config.json", progress).await?;
        let config = config.ok_or_else(|| self.missing("config.json"))?;
        Config::from_json(config.as_bytes()).map_err(|error| error.to_string())?;
        Ok(config)
    }

    /// Reads the weight files.
    ///
    /// # Errors
    /// - if one is missing or cannot be read
    pub async fn weights(
        &self,
        progress: &dyn Fn(&str, f64, Option<f64>),
    ) -> Result<Vec<Uint8Array>, String> {
        match self.bytes("model.safetensors", progress).await? {
            Some(bytes) => Ok(vec![bytes]),
            None => self.shards(progress).await,
        }
    }

    /// The weight files that `model.safetensors.index.json` names.
    async fn shards(
        &self,
        progress: &dyn Fn(&str, f64, Option<f64>),
    ) -> Result<Vec<Uint8Array>, String> {
        let index = self.bytes("model.safetensors.index.json", progress).await?;
        let index = index.ok_or_else(|| self.missing("model.safetensors"))?;
        let index: Index = serde_json::from_slice(&index.to_vec())
            .map_err(|error| format!("model.safetensors.index.json: {error}"))?;
        let names: BTreeSet<String> = index.weight_map.into_values().collect();
        let mut weights = Vec::new();
        for name in names {
            let bytes = self.bytes(&name, progress).await?;
            weights.push(bytes.ok_or_else(|| self.missing(&name))?);
        }
        Ok(weights)
    }

    async fn tokenizer(
        &self,
        progress: &dyn Fn(&str, f64, Option<f64>),
    ) -> Result<Tokenizer, String> {
        let failed = |error: TokenizerError| error.to_string();
        if let Some(json) = self.bytes("tokenizer.json", progress).await? {
            return Tokenizer::from_json(&json.to_vec()).map_err(failed);
        }
        let vocab = self.bytes("vocab.json", progress).await?;
        let vocab = vocab.ok_or_else(|| self.missing("tokenizer.json"))?;
        let merges = self.text("merges.txt", progress).await?;
        let merges = merges.ok_or_else(|| self.missing("merges.txt"))?;
        Tokenizer::from_vocab_and_merges(&vocab.to_vec(), &merges).map_err(failed)
    }

    fn missing(&self, name: &str) -> String {
        match self {
            Self::Folder(address) => format!("{address} has no {name}"),
            Self::Files(_) => format!(
                "{name} is missing: a model needs config.json, tokenizer.json and model.safetensors together"
            ),
        }
    }

    async fn text(
        &self,
        name: &str,
        progress: &dyn Fn(&str, f64, Option<f64>),
    ) -> Result<Option<String>, String> {
        let Some(bytes) = self.bytes(name, progress).await? else {
            return Ok(None);
        };
        let text = String::from_utf8(bytes.to_vec()).map_err(|_| format!("{name} is not text"))?;
        Ok(Some(text))
    }

    async fn bytes(
        &self,
        name: &str,
        progress: &dyn Fn(&str, f64, Option<f64>),
    ) -> Result<Option<Uint8Array>, String> {
        match self {
            Self::Folder(address) => {
                progress(name, 0.0, None);
                let address = format!("{}/{name}", address.trim_end_matches('/'));
                fetch(&address, &|done, total| progress(name, done, total)).await
            }
            Self::Files(files) => match files.iter().find(|file| file.name() == name) {
                None => Ok(None),
                Some(file) => {
                    progress(name, 0.0, Some(file.size()));
                    read_file(file).await.map(Some)
                }
            },
        }
    }
}

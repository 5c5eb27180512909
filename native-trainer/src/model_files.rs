//! Where a model comes from: the embedded solver, a folder in Hugging Face's layout, a GGUF file, or the Hub.

mod convert;
pub mod hub;
mod ranges;
mod rounding;

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
};

use anyhow::{Context, Result, bail};
use burn::tensor::backend::Backend;
use sha2::{Digest, Sha256};
use swivel_core::{
    Config, Decoder, FileFormat, Loader, Precision, Sizes, StoredFile, Tokenizer, WEIGHT_FILES,
    hex, hub::HubId, question::Pair, shard_list, shards,
};

use crate::{device, input::read, report::Report, weight_file::WeightFile};

use hub::Fetched;
use ranges::Ranges;
use rounding::Rounding;

/// Name of the embedded model.
pub const SOLVER: &str = "solver";

/// The files of one model: what is small is read, and the headers of the weights are checked.
pub struct ModelFiles {
    /// What the user called it.
    pub name: String,
    /// What it computes, and its sizes.
    pub config: Config,
    tokenizer: Option<Tokenizer>,
    source: Source,
    weights: Vec<WeightFile>,
    stored: Vec<StoredFile>,
    /// What a device holds matrices in.
    precision: Precision,
    /// SHA-256 of the weights' bytes, once they were read.
    sha256: OnceLock<String>,
}

/// Where its small files are.
enum Source {
    /// In the program.
    Embedded,
    /// Beside the weights.
    Folder(PathBuf),
    /// In the file of the weights.
    Gguf,
}

impl ModelFiles {
    /// The embedded model's.
    const CONFIG: &[u8] = include_bytes!("../../models/solver/config.json");
    const TOKENIZER: &[u8] = include_bytes!("../../models/solver/tokenizer.json");

    /// Opens the embedded solver (`solver`), a folder, a GGUF file, or a Hub id.
    pub fn open(model: &str) -> Result<Self> {
        let path = Path::new(model);
        let files = if model == SOLVER {
            Self::embedded()
        } else if path.is_dir() {
            Self::folder(model, path).with_context(|| format!("reading the model folder {model}"))
        } else if path.is_file() {
            Self::gguf(model, path)
        } else if let Some(id) = HubId::parse(model) {
            Self::hub(model, &id)
                .with_context(|| format!("fetching {model} from the Hugging Face Hub"))
        } else {
            bail!(
                "no model {model}; expected `{SOLVER}`, a folder with config.json and weights, a GGUF file, or a model of the Hub such as openai-community/gpt2, with @REVISION or :FILE.gguf behind it where that is meant"
            );
        }?;
        if let Some(tokenizer) = &files.tokenizer {
            tokenizer.check(files.sizes())?;
        }
        Ok(files)
    }

    fn embedded() -> Result<Self> {
        let config = Config::from_json(Self::CONFIG)?;
        let tokenizer = Some(Tokenizer::from_json(Self::TOKENIZER)?);
        let weights = include_bytes!("../../models/solver/model.safetensors");
        let weights = vec![WeightFile::Memory(weights)];
        Self::of(SOLVER, Source::Embedded, config, tokenizer, weights)
    }

    fn folder(name: &str, folder: &Path) -> Result<Self> {
        let ModelFolder {
            config,
            tokenizer,
            weights,
            ..
        } = ModelFolder::open(folder)?;
        let weights = weights.into_iter().map(WeightFile::Disk).collect();
        let source = Source::Folder(folder.to_owned());
        Self::of(name, source, config, tokenizer, weights)
    }

    /// Checks what can be known without the tensors: that a file is a GGUF file of a family that is computed.
    ///
    /// # Errors
    /// - If it is not.
    pub fn check_gguf(path: &Path) -> Result<()> {
        let files = Self::gguf(&path.display().to_string(), path)?;
        files.tokenizer()?.check(files.sizes())?;
        Ok(())
    }

    fn gguf(name: &str, path: &Path) -> Result<Self> {
        let file = WeightFile::Disk(path.to_owned());
        let stored = file.header()?;
        if stored.format != FileFormat::Gguf {
            let format = stored.format.name();
            bail!(
                "{name} is a file of weights alone ({format}); name the folder that has its config.json, too"
            );
        }
        let config = Config::from_gguf(&stored).with_context(|| file.reading())?;
        let tokenizer = Tokenizer::from_gguf(&stored.metadata).with_context(|| file.reading())?;
        Ok(Self {
            name: name.to_owned(),
            config,
            tokenizer: Some(tokenizer),
            source: Source::Gguf,
            weights: vec![file],
            stored: vec![stored],
            precision: Precision::F32,
            sha256: OnceLock::new(),
        })
    }

    fn of(
        name: &str,
        source: Source,
        config: Config,
        tokenizer: Option<Tokenizer>,
        weights: Vec<WeightFile>,
    ) -> Result<Self> {
        let stored = weights.iter().map(WeightFile::header);
        Ok(Self {
            name: name.to_owned(),
            config,
            tokenizer,
            source,
            stored: stored.collect::<Result<_>>()?,
            precision: Precision::F32,
            weights,
            sha256: OnceLock::new(),
        })
    }

    fn hub(name: &str, id: &HubId) -> Result<Self> {
        match hub::fetch(id)? {
            Fetched::Folder(folder) => Self::folder(name, &folder),
            Fetched::File(file) => Self::gguf(name, &file),
        }
    }

    /// Sizes of the model.
    pub fn sizes(&self) -> &Sizes {
        &self.config.sizes
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

    /// Text of the token before each prompt of these pairs, where it is what the tokenizer puts there.
    pub fn first_token(&self, pairs: &[Pair]) -> Option<String> {
        let prompts = pairs.iter().flat_map(|pair| [&pair.base, &pair.source]);
        self.tokenizer.as_ref()?.first_text_of(prompts)
    }

    /// What a device holds matrices in.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The same files, whose matrices a device holds in this format.
    pub fn held_in(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// Builds the model on a device, piece by piece; returns it with the hash of its weights. In half precision, says what that
    /// changes.
    ///
    /// # Errors
    /// - If a file cannot be read, or its tensors do not fit the config.
    pub fn load<B: Backend>(
        &self,
        device: &B::Device,
        report: Report,
    ) -> Result<(Decoder<B>, String)> {
        if self.precision == Precision::F32 {
            return self.load_in(Precision::F32, device, report);
        }
        // One after the other: both are never in memory.
        let ids = rounding::spread_ids(self.sizes());
        let (exact, _) = self.load_in::<B>(Precision::F32, device, Report::Json)?;
        let expected = rounding::logits(&exact, &ids)?;
        drop(exact);
        let (model, sha256) = self.load_in::<B>(self.precision, device, report)?;
        let found = rounding::logits(&model, &ids)?;
        Rounding::between(&expected, &found, ids.len()).report(self.precision, report);
        Ok((model, sha256))
    }

    fn load_in<B: Backend>(
        &self,
        precision: Precision,
        device: &B::Device,
        report: Report,
    ) -> Result<(Decoder<B>, String)> {
        let cannot = || format!("loading the weights of {}", self.name);
        let loader = Loader::new(&self.config, &self.stored, device);
        let loader = loader.and_then(|loader| loader.held_in(precision));
        let mut loader = loader.with_context(cannot)?;
        self.warn_of_unused(loader.unused(), report);
        let mut ranges = Ranges::new(self, "loading");
        while let Some(wanted) = loader.wants() {
            loader.give(ranges.read(wanted)?).with_context(cannot)?;
        }
        let (model, sha256) = loader.finish().with_context(cannot)?;
        let model = model.with_kernels(device::kernels());
        Ok((model, self.sha256.get_or_init(|| sha256).clone()))
    }

    fn warn_of_unused(&self, names: &[String], report: Report) {
        if !names.is_empty() {
            report.warn(format!(
                "{} tensors of {} are no part of a {} and are left out: {}",
                names.len(),
                self.name,
                self.config.family.model_type,
                names.join(", ")
            ));
        }
    }

    /// SHA-256 of the weight files; they are read for it if no model was loaded yet.
    ///
    /// # Errors
    /// - If a file cannot be read.
    pub fn sha256(&self) -> Result<String> {
        /// Bytes that are hashed at once.
        const PIECE: u64 = 1 << 22;
        if let Some(sha256) = self.sha256.get() {
            return Ok(sha256.clone());
        }
        let mut hasher = Sha256::new();
        for (file, stored) in self.weights.iter().zip(&self.stored) {
            let mut reader = file.open()?;
            for start in (0..stored.n_bytes).step_by(PIECE as usize) {
                let range = start..stored.n_bytes.min(start + PIECE);
                hasher.update(reader.read(range).with_context(|| file.reading())?);
            }
        }
        let sha256 = hex(&hasher.finalize());
        Ok(self.sha256.get_or_init(|| sha256).clone())
    }

    /// Bytes of the weight files.
    pub fn n_bytes(&self) -> u64 {
        self.stored.iter().map(|file| file.n_bytes).sum()
    }
}

/// A folder in Hugging Face's layout: which of its files are the model, all but the weights read.
pub struct ModelFolder {
    config: Config,
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
        let layout = Layout::of(is_there);
        let mut described_by = vec![at("config.json")];
        let config = Config::from_json(&read(&at("config.json"))?)?;
        described_by.extend(layout.tokenizer.iter().map(|file| at(file)));
        let tokenizer = match layout.tokenizer {
            [] => None,
            [json] => Some(Tokenizer::from_json(&read(&at(json))?)?),
            [vocab, merges, ..] => {
                let text = String::from_utf8(read(&at(merges))?);
                let text = text.with_context(|| format!("{merges} is not UTF-8"))?;
                Some(Tokenizer::from_vocab_and_merges(&read(&at(vocab))?, &text)?)
            }
        };
        let weights = match layout.weights {
            Some(Weights::File(file)) => vec![at(file)],
            Some(Weights::Shards(index)) => {
                let shards = shards(&index, &read(&at(&index))?)?;
                described_by.push(at(&index));
                shards.iter().map(|shard| at(shard)).collect()
            }
            None => bail!(
                "there is no model.safetensors, no pytorch_model.bin, and no index of shards (model.safetensors.index.json)"
            ),
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
            tokenizer.check(&self.config.sizes)?;
        }
        for path in &self.weights {
            WeightFile::Disk(path.clone()).header()?;
        }
        Ok(())
    }

    /// Every file of the model, the weights last.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let files = self.described_by.iter().chain(&self.weights);
        files.map(PathBuf::as_path)
    }
}

/// Which files beside `config.json` are the model's, in Hugging Face's layout.
struct Layout {
    /// `tokenizer.json`, else `vocab.json` and `merges.txt`; none where there are none.
    tokenizer: &'static [&'static str],
    /// The tensors.
    weights: Option<Weights>,
}

/// Where tensors are.
enum Weights {
    /// In one file.
    File(&'static str),
    /// In the files that this one lists.
    Shards(String),
}

impl Layout {
    /// Of the files that are there.
    fn of(has: impl Fn(&str) -> bool) -> Self {
        const TOKENIZERS: [&[&str]; 2] = [&["tokenizer.json"], &["vocab.json", "merges.txt"]];
        let mut tokenizers = TOKENIZERS.into_iter();
        let tokenizer = tokenizers.find(|files| files.iter().all(|file| has(file)));
        let mut weights = WEIGHT_FILES.into_iter();
        let weights = weights.find_map(|file| {
            let index = shard_list(file);
            match (has(file), has(&index)) {
                (true, _) => Some(Weights::File(file)),
                (false, true) => Some(Weights::Shards(index)),
                (false, false) => None,
            }
        });
        Self {
            tokenizer: tokenizer.unwrap_or_default(),
            weights,
        }
    }
}

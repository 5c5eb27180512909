//! What is the same for all cells of a map: the method, the model, the example pair, and which part of a map it is.

use std::{fmt, str::FromStr};

use crate::{direction, tensor_file::FileError};

/// What is done at every cell of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// A learned direction is swapped, one a cell (DAS).
    Das,
    /// The whole value is swapped.
    Interchange,
    /// The whole value becomes zero.
    Zero,
    /// The whole value becomes its mean over the source runs.
    Mean,
}

impl Method {
    /// Every method with its name, and other names by which it is found.
    pub const ALL: [(Method, &'static str, &'static [&'static str]); 4] = [
        (Method::Das, direction::DAS, &[direction::LOW_RANK]),
        (Method::Interchange, "interchange", &[]),
        (Method::Zero, "zero", &[]),
        (Method::Mean, "mean", &[]),
    ];

    /// The name that files store.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// The method of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        let found = all.find(|(_, own, others)| *own == name || others.contains(&name));
        found.map(|(method, ..)| method)
    }
}

/// One of several parts that a map is divided into; the first one has number 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    number: usize,
    n_parts: usize,
}

impl Part {
    /// Its number, from 1.
    pub fn number(self) -> usize {
        self.number
    }

    /// Into how many parts the map is divided.
    pub fn n_parts(self) -> usize {
        self.n_parts
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.n_parts)
    }
}

impl FromStr for Part {
    type Err = FileError;

    fn from_str(text: &str) -> Result<Self, FileError> {
        let part = text.split_once('/').and_then(|(number, n_parts)| {
            let (number, n_parts) = (number.parse().ok()?, n_parts.parse().ok()?);
            (1..=n_parts)
                .contains(&number)
                .then_some(Self { number, n_parts })
        });
        part.ok_or_else(|| FileError::SweepPart {
            found: text.to_owned(),
        })
    }
}

/// Everything in a sweep result but its cells.
#[derive(Clone, Debug, PartialEq)]
pub struct SweepFacts {
    /// What is done at every cell.
    pub method: Method,
    /// Name or hub id of the model.
    pub model: String,
    /// SHA-256 of its weight files.
    pub model_sha256: String,
    /// Text of the token that the model's tokenizer put before each prompt; `None` where it put none there.
    pub first_token: Option<String>,
    /// The task, with its program.
    pub task: Option<String>,
    /// The task's prompts, slots in braces; none where it has no templates.
    pub templates: Vec<String>,
    /// Number of training pairs.
    pub train_pairs: Option<usize>,
    /// Number of held-out pairs that each score is measured on.
    pub test_pairs: usize,
    /// Number of other pairs, which pick the best cell.
    pub validation_pairs: Option<usize>,
    /// Share of the sampled pairs that the model answers right by itself, 0..1; the others were left out.
    pub known: Option<f64>,
    /// Passes over the training pairs.
    pub epochs: Option<usize>,
    /// Highest learning rate.
    pub lr: Option<f64>,
    /// Seed of data, initial bases and shuffling.
    pub seed: Option<u64>,
    /// Token ids of the example pair's base prompt.
    pub base: Vec<u32>,
    /// Token ids of its source prompt.
    pub source: Vec<u32>,
    /// Cells of the finished file; fewer in it mean that the sweep was interrupted.
    pub n_planned: usize,
    /// Which part of a map the file is; `None` for a whole one.
    pub part: Option<Part>,
    /// Canonical JSON of the whole map's configuration, opaque here.
    pub run: String,
    /// Program and version that wrote the file.
    pub created_by: Option<String>,
}

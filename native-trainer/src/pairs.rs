//! Pairs: sampled from a task, or read from a file.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
    slice,
};

use anyhow::{Context, Result, bail};
use swivel_core::{
    Position,
    question::{Pair, PairShape, Placed, Question, TokenName},
};

use crate::model_files::ModelFiles;

/// A question and one of its variables: pairs can be sampled from it.
pub struct Task {
    /// What is asked.
    pub question: Question,
    /// Name of the variable.
    pub variable: String,
    /// The same about what training does not see.
    unseen: Option<Question>,
}

/// How many pairs are wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// To learn from.
    pub train: usize,
    /// To pick by.
    pub validation: usize,
    /// To score on, and as many of what training does not see.
    pub test: usize,
}

/// Pairs by what they are for; none is in two sets.
#[derive(Clone, Debug, Default)]
pub struct Sets {
    /// To learn from.
    pub train: Vec<Placed>,
    /// To pick by.
    pub validation: Vec<Placed>,
    /// To score on: nothing has looked at them.
    pub test: Vec<Placed>,
    /// To score on, of what training does not see; none where nothing is held out.
    pub unseen: Vec<Placed>,
}

impl Sets {
    /// The sets with their names.
    pub fn each(&self) -> [(&'static str, &Vec<Placed>); 4] {
        [
            ("train", &self.train),
            ("validation", &self.validation),
            ("test", &self.test),
            ("unseen", &self.unseen),
        ]
    }

    /// The same, to be changed.
    pub fn each_mut(&mut self) -> [(&'static str, &mut Vec<Placed>); 4] {
        [
            ("train", &mut self.train),
            ("validation", &mut self.validation),
            ("test", &mut self.test),
            ("unseen", &mut self.unseen),
        ]
    }

    /// All pairs.
    pub fn all(&self) -> impl Iterator<Item = &Placed> {
        self.each().into_iter().flat_map(|(_, pairs)| pairs)
    }

    /// The same, to be changed.
    pub fn all_mut(&mut self) -> impl Iterator<Item = &mut Placed> {
        self.each_mut().into_iter().flat_map(|(_, pairs)| pairs)
    }
}

impl Task {
    /// A variable of a question.
    pub fn new(question: Question, variable: String) -> Self {
        Self {
            question,
            variable,
            unseen: None,
        }
    }

    /// The same with some words or templates held out, drawn by the seed.
    ///
    /// # Errors
    /// - If there is nothing of this name to hold out.
    pub fn holding_out(self, what: &[String], seed: u64) -> Result<Self> {
        if what.is_empty() {
            return Ok(self);
        }
        let [question, unseen] = self.question.holding_out(what, seed)?;
        Ok(Self {
            question,
            unseen: Some(unseen),
            ..self
        })
    }

    /// Pairs that belong to a seed, and where these tokens are in them, of which the first is swapped.
    ///
    /// # Errors
    /// - If there are not so many, or a prompt does not have a token.
    pub fn sets(&self, seed: u64, counts: Counts, names: &[TokenName]) -> Result<Sets> {
        let of_train = seed.wrapping_mul(2);
        let of_test = of_train.wrapping_add(1);
        let mut sampler = self.question.sampler(&self.variable)?;
        let train = sampler.pairs(counts.train, of_train, names)?;
        let test = sampler.pairs(counts.test, of_test, names)?;
        let validation = match counts.validation {
            0 => Vec::new(),
            n => sampler.pairs(n, !of_train, names)?,
        };
        let unseen = match &self.unseen {
            None => Vec::new(),
            Some(unseen) => {
                let mut sampler = unseen.sampler(&self.variable)?;
                sampler.at_most(counts.test, of_test, names)?
            }
        };
        Ok(Sets {
            train,
            validation,
            test,
            unseen,
        })
    }

    /// So many pairs, a function of the seed.
    ///
    /// # Errors
    /// - As [`Task::sets`].
    pub fn sample(&self, n_pairs: usize, seed: u64, token: &TokenName) -> Result<Vec<Pair>> {
        let mut sampler = self.question.sampler(&self.variable)?;
        let placed = sampler.pairs(n_pairs, seed, std::slice::from_ref(token))?;
        Ok(placed.into_iter().map(|placed| placed.pair).collect())
    }
}

/// Pairs of which only the swapped tokens are known.
pub fn placed(pairs: Vec<Pair>) -> Vec<Placed> {
    let placed = |pair: Pair| Placed {
        tokens: vec![[pair.base_position, pair.source_position]],
        pair,
    };
    pairs.into_iter().map(placed).collect()
}

/// The pairs alone.
pub fn pairs(placed: Vec<Placed>) -> Vec<Pair> {
    placed.into_iter().map(|placed| placed.pair).collect()
}

/// Moves the intervened position of pairs, on both sides.
pub fn place(pairs: &mut [Pair], position: Position) -> Result<()> {
    for pair in pairs {
        pair.base_position = position.resolve(pair.base.len())?;
        pair.source_position = position.resolve(pair.source.len())?;
    }
    Ok(())
}

/// Reads pairs from a data file; lines of text become ids by the model's tokenizer.
///
/// # Errors
/// - If there are none, or a line is not a pair that the model can run.
pub fn read_pairs(path: &Path, files: &ModelFiles) -> Result<Vec<Pair>> {
    let file = File::open(path).with_context(|| format!("reading {}", path.display()))?;
    let tokenizer = files.tokenizer().ok();
    let mut pairs = Vec::new();
    for (idx, line) in BufReader::new(file).lines().enumerate() {
        let place = || format!("{}, line {}", path.display(), idx + 1);
        let line = line.with_context(place)?;
        if !line.trim().is_empty() {
            let pair = Pair::from_json(&line, tokenizer).with_context(place)?;
            PairShape::of(slice::from_ref(&pair), files.sizes()).with_context(place)?;
            pairs.push(pair);
        }
    }
    match pairs.is_empty() {
        true => bail!("{} holds no pairs", path.display()),
        false => Ok(pairs),
    }
}

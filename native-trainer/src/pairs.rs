//! Pairs: sampled from a task, or read from a file.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
    slice,
};

use anyhow::{Context, Result, anyhow, bail};
use swivel_core::{
    Position, Tokenizer,
    question::{
        self, Asked, AskedPair, Labels, Pair, PairShape, Score, TaskSampler, TokenName,
        programs::{Lexicon, Program, Sampler},
    },
};

use crate::model_files::ModelFiles;

/// A question and one of its variables: pairs can be sampled from it.
pub struct Task {
    /// What is asked.
    pub question: Question,
    /// Name of the variable.
    pub variable: String,
}

/// What a model is asked.
pub enum Question {
    /// A program of five words.
    Program {
        /// The program.
        program: Program,
        /// Words as tokens.
        lexicon: Lexicon,
        /// Demonstrations in front of each query.
        shots: usize,
    },
    /// A task on language.
    Language {
        /// The task.
        task: question::Task,
        /// What its prompts are read with.
        tokenizer: Tokenizer,
    },
}

impl Task {
    /// Pairs to learn from and held-out pairs that belong to a seed, so many of each, swapped at a token; no pair is among both.
    ///
    /// # Errors
    /// - If there are not so many, or a prompt does not have the token.
    pub fn pairs(
        &self,
        seed: u64,
        [n_train, n_test]: [usize; 2],
        token: &TokenName,
    ) -> Result<[Vec<Pair>; 2]> {
        let of_train = seed.wrapping_mul(2);
        let [train, test] = [(n_train, of_train), (n_test, of_train.wrapping_add(1))];
        let sets = self.sets(&[train, test], token)?;
        <[Vec<Pair>; 2]>::try_from(sets).map_err(|_| anyhow!("expected two sets of pairs"))
    }

    /// So many pairs, a function of the seed.
    ///
    /// # Errors
    /// - As [`Task::pairs`].
    pub fn sample(&self, n_pairs: usize, seed: u64, token: &TokenName) -> Result<Vec<Pair>> {
        Ok(self.sets(&[(n_pairs, seed)], token)?.concat())
    }

    /// Sets of so many pairs by so many seeds; none is in two.
    fn sets(&self, sets: &[(usize, u64)], token: &TokenName) -> Result<Vec<Vec<Pair>>> {
        match &self.question {
            Question::Program {
                program,
                lexicon,
                shots,
            } => {
                let TokenName::Counted(position) = token else {
                    bail!(
                        "unknown position `{token}`; a program's tokens have no names: expected a token from 0, `last`, -2"
                    );
                };
                let mut sampler = Sampler::new(program, lexicon, &self.variable, *shots)?;
                let set = |(n, seed): &(usize, u64)| {
                    let mut pairs = sampler.pairs(*n, *seed)?;
                    place(&mut pairs, *position)?;
                    Ok(pairs)
                };
                sets.iter().map(set).collect()
            }
            Question::Language { task, tokenizer } => {
                let mut sampler = TaskSampler::new(task, tokenizer, &self.variable)?;
                let at = |asked: &Asked| task.token(token, &asked.written, &asked.tokens);
                let pair = |pair: AskedPair| {
                    Ok(Pair {
                        base_position: at(&pair.base)?,
                        source_position: at(&pair.source)?,
                        base: pair.base.tokens.ids,
                        source: pair.source.tokens.ids,
                        label: pair.label,
                        base_label: Some(pair.base_label),
                    })
                };
                let set = |(n, seed): &(usize, u64)| {
                    sampler.pairs(*n, *seed)?.into_iter().map(pair).collect()
                };
                sets.iter().map(set).collect()
            }
        }
    }

    /// `programs/07065a`, `agreement`.
    pub fn name(&self) -> String {
        match &self.question {
            Question::Program { program, .. } => format!("programs/{}", program.id),
            Question::Language { task, .. } => task.name.clone(),
        }
    }

    /// Its name in the names of files.
    pub fn short_name(&self) -> &str {
        match &self.question {
            Question::Program { program, .. } => &program.id,
            Question::Language { task, .. } => &task.name,
        }
    }

    /// What it asks, in words.
    pub fn about(&self) -> String {
        match &self.question {
            Question::Program { program, .. } => program.to_string(),
            Question::Language { task, .. } => task.about.clone(),
        }
    }

    /// Tokens of which the likeliest is the answer; `None` where it is the likeliest of all.
    ///
    /// # Errors
    /// - If two answers begin with the same token.
    pub fn choices(&self) -> Result<Option<Vec<u32>>> {
        match &self.question {
            Question::Language { task, tokenizer } if task.score == Score::Choice => {
                Ok(Some(Labels::new(task, tokenizer)?.all()))
            }
            _ => Ok(None),
        }
    }
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

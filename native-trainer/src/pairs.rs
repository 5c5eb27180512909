//! Pairs: sampled from a task, or read from a file.

use std::{
    io::{BufRead, BufReader},
    path::Path,
};

use anyhow::{Context, Result, bail};
use swivel_core::{
    Position, Sizes,
    question::{
        Pair, PairShape,
        programs::{Lexicon, Program, Sampler},
    },
};

/// A task that pairs can be sampled from.
pub struct Task {
    /// The program.
    pub program: Program,
    /// Name of the variable.
    pub variable: String,
    /// Words as tokens.
    pub lexicon: Lexicon,
    /// Demonstrations in front of each query.
    pub shots: usize,
}

impl Task {
    /// A sampler that never gives a pair twice.
    pub fn sampler(&self) -> Result<Sampler<'_>> {
        Ok(Sampler::new(
            &self.program,
            &self.lexicon,
            &self.variable,
            self.shots,
        )?)
    }

    /// Pairs to learn from and held-out pairs that belong to a seed, so many of each; no pair is among both.
    pub fn pairs(&self, seed: u64, [n_train, n_test]: [usize; 2]) -> Result<[Vec<Pair>; 2]> {
        let mut sampler = self.sampler()?;
        let of_train = seed.wrapping_mul(2);
        let train = sampler.pairs(n_train, of_train)?;
        Ok([train, sampler.pairs(n_test, of_train.wrapping_add(1))?])
    }

    /// `programs/07065a`.
    pub fn name(&self) -> String {
        format!("programs/{}", self.program.id)
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

/// Reads pairs from a training data file.
pub fn read_pairs(path: &Path, sizes: &Sizes) -> Result<Vec<Pair>> {
    let file = std::fs::File::open(path).with_context(|| format!("reading {}", path.display()))?;
    let mut pairs = Vec::new();
    for (idx, line) in BufReader::new(file).lines().enumerate() {
        let place = || format!("{}, line {}", path.display(), idx + 1);
        let line = line.with_context(place)?;
        if !line.trim().is_empty() {
            pairs.push(serde_json::from_str(&line).with_context(place)?);
        }
    }
    if pairs.is_empty() {
        bail!("{} holds no pairs", path.display());
    }
    PairShape::of(&pairs, sizes).with_context(|| path.display().to_string())?;
    Ok(pairs)
}

//! The rule by which directions are learned on cached pairs.

use std::ops::Range;

use anyhow::{Context, Result};
use burn::tensor::{
    Tensor,
    backend::{AutodiffBackend, Backend},
};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use swivel_core::{
    Decoder, MANY_ROWS,
    train::{CachedPairs, DasTrainer, Gradient, Rotation, TrainConfig},
};

use crate::{cached::Cached, interrupt, side_by_side::n_workers, tensors::read_floats};

/// How directions are learned, at places of any width.
#[derive(Clone, Copy, Debug)]
pub struct Learning {
    /// Passes over the pairs.
    pub epochs: usize,
    /// Pairs a step.
    pub batch_size: usize,
    /// Highest learning rate, where it is not the one that suits the width.
    pub lr: Option<f64>,
    /// Whether the pairs come in another order in each epoch.
    pub shuffle: bool,
    /// Seed of that order.
    pub seed: u64,
}

impl Learning {
    /// The rule at a place of this width.
    pub fn at_width(&self, width: usize) -> Rule {
        Rule {
            epochs: self.epochs,
            batch_size: self.batch_size,
            lr: self.lr.unwrap_or_else(|| default_lr(width)),
            shuffle: self.shuffle,
            seed: self.seed,
        }
    }
}

/// pyvene's 1e-3 at GPT-2 small's width. Adam moves every coordinate by about the learning rate a step, which turns a
/// direction by an angle in proportion to sqrt(width); scaled like this, ten epochs turn one as far at every width.
fn default_lr(width: usize) -> f64 {
    1e-3 * (768.0 / width as f64).sqrt()
}

/// How a direction is learned on cached pairs.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Rule {
    /// Passes over the pairs.
    pub epochs: usize,
    /// Pairs a step.
    pub batch_size: usize,
    /// Highest learning rate.
    pub lr: f64,
    /// Whether the pairs come in another order in each epoch.
    pub shuffle: bool,
    /// Seed of that order.
    pub seed: u64,
}

impl Rule {
    /// Trains a basis; `after_epoch` gets the epoch, from 1, the losses of its steps and the rotation.
    pub fn learn<A: AutodiffBackend>(
        &self,
        model: &Decoder<A::InnerBackend>,
        pairs: &Cached<A::InnerBackend>,
        start: Rotation<A::InnerBackend>,
        mut after_epoch: impl FnMut(usize, Vec<f32>, &Rotation<A::InnerBackend>) -> Result<()>,
    ) -> Result<Rotation<A::InnerBackend>> {
        let pairs = std::slice::from_ref(pairs);
        let rotations =
            self.learn_together::<A>(model, pairs, start, |epoch, losses, trainers| {
                after_epoch(epoch, losses, trainers[0].rotation())
            })?;
        rotations.into_iter().next().context("nothing was learned")
    }

    /// Trains a basis at each of several positions of one site, on the same runs; every one starts from `start`.
    /// `after_epoch` gets the losses of the first one's steps.
    pub fn learn_together<A: AutodiffBackend>(
        &self,
        model: &Decoder<A::InnerBackend>,
        places: &[Cached<A::InnerBackend>],
        start: Rotation<A::InnerBackend>,
        mut after_epoch: impl FnMut(usize, Vec<f32>, &[DasTrainer<A>]) -> Result<()>,
    ) -> Result<Vec<Rotation<A::InnerBackend>>> {
        let n_pairs = places
            .first()
            .context("there is nothing to learn from")?
            .len();
        let mut rows: Vec<usize> = (0..n_pairs).collect();
        let config = TrainConfig {
            lr: self.lr,
            ..TrainConfig::new(self.epochs * n_pairs.div_ceil(self.batch_size))
        };
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let mut trainers: Vec<DasTrainer<A>> = (places.iter())
            .map(|place| {
                DasTrainer::new(model, start.clone(), config.clone())
                    .with_choices(place.choices.clone())
            })
            .collect();
        for epoch in 1..=self.epochs {
            if self.shuffle {
                rows.shuffle(&mut rng);
            }
            let mut losses = Vec::new();
            for batch in rows.chunks(self.batch_size) {
                interrupt::check("what was being learned is given up")?;
                let gradients = Cached::select_together(places, batch)?
                    .iter()
                    .map(|batch| gradients(&trainers, batch))
                    .reduce(|left, right| Ok(join(left?, right?)))
                    .context("a batch without pairs")??;
                let of_step: Vec<_> = (trainers.iter_mut().zip(gradients))
                    .map(|(trainer, gradient)| trainer.apply(gradient))
                    .collect();
                losses.extend(of_step.into_iter().take(1));
            }
            let losses = read_floats(Tensor::cat(losses, 0))?;
            after_epoch(epoch, losses, &trainers)?;
        }
        Ok(trainers
            .iter()
            .map(|trainer| trainer.rotation().clone())
            .collect())
    }
}

/// What a step learns from a batch. On the CPU, a large one is computed in two halves, side by side: what lies between products
/// of matrices does not share the cores.
fn gradients<A: AutodiffBackend>(
    trainers: &[DasTrainer<A>],
    places: &[CachedPairs<A::InnerBackend>],
) -> Result<Vec<Gradient<A::InnerBackend>>> {
    /// Rows below which a product of matrices is used badly.
    const FEW_ROWS: usize = 48;
    let first = places.first().context("there is nothing to learn from")?;
    let n_pairs = first.base.n_rows();
    let n_rows = n_pairs * first.base.n_positions() * places.len();
    let n_workers = n_workers::<A::InnerBackend>(&first.source.device());
    if n_workers == 1 || n_rows < 2 * FEW_ROWS || n_pairs < 2 {
        return Ok(DasTrainer::gradients(trainers, places));
    }
    let of = |rows: Range<usize>| {
        let narrow = |pairs: &CachedPairs<_>| pairs.narrow(rows.clone());
        DasTrainer::gradients(trainers, &places.iter().map(narrow).collect::<Vec<_>>())
    };
    // In a worker, which has one core, one half comes after the other: the sums are the same.
    let (left, right) = rayon::join(|| of(0..n_pairs / 2), || of(n_pairs / 2..n_pairs));
    Ok(join(left, right))
}

/// What the pairs of two batches say together, place by place.
fn join<B: Backend>(left: Vec<Gradient<B>>, right: Vec<Gradient<B>>) -> Vec<Gradient<B>> {
    let both = left.into_iter().zip(right);
    both.map(|(left, right)| left.join(right)).collect()
}

/// How many of some positions to learn at together, the last ones first: a run starts from the earliest of them, so that more
/// rows are computed than are needed, but few rows use a product of matrices badly.
pub fn n_together(positions: &[usize], n_tokens: usize, batch_size: usize) -> usize {
    let needed = |n: usize| {
        positions[..n]
            .iter()
            .map(|position| n_tokens - position)
            .sum::<usize>()
    };
    let computed = |n: usize| {
        positions[..n]
            .iter()
            .map(|position| n_tokens - position)
            .max()
            .unwrap_or(0)
            * n
    };
    let is_worth =
        |n: &usize| computed(*n) * batch_size <= MANY_ROWS && 2 * computed(*n) <= 3 * needed(*n);
    (2..=positions.len())
        .take_while(is_worth)
        .last()
        .unwrap_or(1)
}

/// The same labels in another order: a control that must be worse.
pub fn shuffled(labels: &[u32], seed: u64) -> Vec<u32> {
    let mut labels = labels.to_vec();
    labels.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    labels
}

//! Scores of a cell, batch by batch.

use anyhow::{Context, Result};
use burn::tensor::{Int, Tensor, backend::Backend};
use swivel_core::{
    metric,
    sweep::{Cell, Metrics},
};

use super::cells::Planned;
use crate::{
    readout::top,
    tensors::{label_ids, read_floats, read_ids},
};

/// What a run of one pair answers, and that token's logit.
///
/// # Shapes
/// - `logits`: `[1, d_vocab]`
pub fn answer<B: Backend>(logits: Tensor<B, 2>) -> Result<(u32, f32)> {
    let top = top(&read_floats(logits)?, 1);
    let top = top.first().context("the model has no tokens")?;
    Ok((top.token, top.logit))
}

/// What intervened runs of a variable's test pairs are compared with.
pub struct Reference<B: Backend> {
    /// Token ids of the counterfactual answers.
    pub labels: Vec<u32>,
    /// The base runs' own logits, `[batch, d_vocab]` a batch of test pairs.
    pub base_logits: Vec<Tensor<B, 2>>,
    /// Token ids of the base's own answers, where they are known.
    pub base_labels: Option<Vec<u32>>,
}

/// Scores of a cell, batch by batch.
pub struct Scores<'a, B: Backend> {
    reference: &'a Reference<B>,
    n_batches: usize,
    n_pairs: usize,
    n_hits: usize,
    probability: [f64; 2],
    logit_difference: [f64; 2],
    kl: f64,
}

impl<'a, B: Backend> Scores<'a, B> {
    /// Nothing yet.
    pub fn new(reference: &'a Reference<B>) -> Self {
        Self {
            reference,
            n_batches: 0,
            n_pairs: 0,
            n_hits: 0,
            probability: [0.0; 2],
            logit_difference: [0.0; 2],
            kl: 0.0,
        }
    }

    /// Adds the next batch.
    ///
    /// # Shapes
    /// - `logits`: of the intervened runs, `[batch, d_vocab]`
    pub fn add(&mut self, logits: Tensor<B, 2>) -> Result<()> {
        let (reference, device) = (self.reference, logits.device());
        let n = logits.dims()[0];
        let rows = self.n_pairs..self.n_pairs + n;
        let labels = &reference.labels[rows.clone()];
        let ids: Tensor<B, 1, Int> = label_ids(labels, &device);
        let others = reference.base_labels.as_ref();
        let others = others.map(|others| label_ids::<B>(&others[rows], &device));
        let base = reference.base_logits[self.n_batches].clone();
        let difference = |logits: &Tensor<B, 2>| match &others {
            Some(others) => metric::logit_difference(logits.clone(), ids.clone(), others.clone()),
            None => Tensor::zeros([n], &device),
        };
        let columns = [
            metric::probability(base.clone(), ids.clone()),
            metric::probability(logits.clone(), ids.clone()),
            difference(&base),
            difference(&logits),
            metric::kl(base, logits.clone()),
        ];
        let values = read_floats(Tensor::stack::<2>(columns.to_vec(), 0))?;
        let sum = |column: usize| -> f64 {
            let values = &values[column * n..(column + 1) * n];
            values.iter().map(|value| f64::from(*value)).sum()
        };
        let top_1 = read_ids(metric::top_1(logits))?;
        self.n_hits += top_1
            .iter()
            .zip(labels)
            .filter(|(top_1, label)| top_1 == label)
            .count();
        for (idx, total) in (self.probability.iter_mut())
            .chain(&mut self.logit_difference)
            .chain([&mut self.kl])
            .enumerate()
        {
            *total += sum(idx);
        }
        self.n_pairs += n;
        self.n_batches += 1;
        Ok(())
    }

    /// The cell, about a variable of this name, without what was learned there.
    pub fn cell(
        self,
        planned: &Planned,
        variable: Option<String>,
        (top_1, logit): (u32, f32),
    ) -> Cell {
        let n = self.n_pairs as f64;
        let difference = self.reference.base_labels.as_ref();
        Cell {
            place: planned.place(),
            variable,
            basis: None,
            iia: self.n_hits as f64 / n,
            controls: None,
            metrics: Metrics {
                probability: self.probability.map(|sum| sum / n),
                logit_difference: difference.map(|_| self.logit_difference.map(|sum| sum / n)),
                kl: self.kl / n,
            },
            top_1,
            logit,
        }
    }
}

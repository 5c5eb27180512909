//! How well an intervention works on cached pairs: IIA, its controls, and what the model says before and after.

use anyhow::Result;
use burn::tensor::{Int, Tensor, TensorData, backend::Backend};
use swivel_core::{
    Decoder,
    direction::{Controls, Probe},
    intervention::{Featurizer, Intervention, Op},
    metric,
    question::Pair,
    train::random_rows,
};

use crate::{
    cached::Cached,
    readout::{Swap, candidates},
    tensors::read_ids,
};

/// Tokens that are shown of what a model says, likeliest first.
const SHOWN: usize = 3;
/// Random subspaces that a control is the mean of.
const RANDOM_BASES: u64 = 5;

/// The swap of what lies in a subspace.
///
/// # Shapes
/// - `basis`: `[rank, width]`
pub fn swap_along<B: Backend>(basis: Tensor<B, 2>) -> Intervention<B> {
    Intervention::new(Op::Interchange, Featurizer::Subspace(basis))
}

/// The swap of whole vectors.
pub fn swap_whole<B: Backend>() -> Intervention<B> {
    Intervention::new(Op::Interchange, Featurizer::Identity)
}

/// Rows of pairs, so many at once.
pub fn batches(n_pairs: usize, at_once: usize) -> impl Iterator<Item = Vec<usize>> {
    let starts = (0..n_pairs).step_by(at_once);
    starts.map(move |start| (start..n_pairs.min(start + at_once)).collect())
}

impl<B: Backend> Cached<B> {
    /// What the head reads at the last position of every pair's resumed run, `[batch, d_model]` a batch of pairs.
    pub fn normed<'a>(
        &'a self,
        model: &'a Decoder<B>,
        intervention: &'a Intervention<B>,
    ) -> impl Iterator<Item = Result<Tensor<B, 2>>> + 'a {
        batches(self.len(), self.at_once)
            .map(move |rows| Ok(self.select(&rows)?.normed(model, intervention)))
    }

    /// Interchange intervention accuracy, 0..1.
    pub fn iia(&self, model: &Decoder<B>, intervention: &Intervention<B>) -> Result<f64> {
        let top_1: Vec<Tensor<B, 2, Int>> = self
            .normed(model, intervention)
            .map(|normed| Ok(model.top(normed?, 1).ids))
            .collect::<Result<_>>()?;
        let top_1 = read_ids(Tensor::cat(top_1, 0).squeeze_dim(1))?;
        Ok(metric::accuracy(&top_1, &self.labels))
    }

    /// IIA that a subspace of this rank is compared with, at a place of this width; `noise` is a basis that was learned on
    /// shuffled labels.
    pub fn controls(
        &self,
        model: &Decoder<B>,
        [width, rank]: [usize; 2],
        seed: u64,
        noise: Option<Tensor<B, 2>>,
    ) -> Result<Controls> {
        let noise = noise.map(|basis| self.iia(model, &swap_along(basis)));
        Ok(Controls {
            random: self.random_iia(model, [width, rank], seed)?,
            full: self.iia(model, &swap_whole())?,
            shuffled: noise.transpose()?,
        })
    }

    /// IIA of random subspaces of this rank of a site of this width, the mean over [`RANDOM_BASES`] of them.
    fn random_iia(&self, model: &Decoder<B>, [width, rank]: [usize; 2], seed: u64) -> Result<f64> {
        let device = model.device();
        let mut sum = 0.0;
        for idx in 0..RANDOM_BASES {
            // Other seeds than the one that training starts from.
            let rows = random_rows(width, rank, !seed.wrapping_add(idx));
            let basis = Tensor::from_data(TensorData::new(rows, [rank, width]), &device);
            sum += self.iia(model, &swap_along(basis))?;
        }
        Ok(sum / RANDOM_BASES as f64)
    }

    /// What each pair's model says before and after an intervention.
    pub fn swaps(
        &self,
        model: &Decoder<B>,
        intervention: &Intervention<B>,
        pairs: &[Pair],
    ) -> Result<Vec<Swap>> {
        let untouched = Intervention {
            strength: 0.0,
            ..intervention.clone()
        };
        let mut swaps = Vec::with_capacity(pairs.len());
        let batches = self
            .normed(model, &untouched)
            .zip(self.normed(model, intervention));
        for (before, after) in batches {
            let [before, after] = [before?, after?].map(|normed| model.read(normed, SHOWN));
            for (before, after) in candidates(&before)?.into_iter().zip(candidates(&after)?) {
                let pair = &pairs[swaps.len()];
                let (top_1, logit) = (after[0].token, after[0].logit);
                let probe = Probe {
                    base: pair.base.clone(),
                    source: pair.source.clone(),
                    top_1,
                    logit,
                };
                swaps.push(Swap {
                    probe,
                    label: pair.label,
                    before,
                    after,
                });
            }
        }
        Ok(swaps)
    }
}

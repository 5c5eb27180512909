//! A few tokens' logits, without those of the whole vocabulary where nobody asks for them.

use burn::tensor::{Tensor, backend::Backend};
use swivel_core::Error;

use super::{Asked, Engine};
use crate::{
    failure::{Result, refused},
    protocol::TokenScores,
    readback::read,
};

/// Likeliest tokens that an answer names.
const N_LIKELIEST: usize = 2;

impl<B: Backend> Engine<B> {
    /// Answers [`crate::protocol::Read::Scores`].
    pub(super) async fn scores(
        &mut self,
        asked: &Asked<'_>,
        of: &[u32],
        among_all: bool,
        is_wanted: &impl AsyncFn() -> bool,
    ) -> Result<[TokenScores; 2]> {
        if of.is_empty() {
            return Err(refused("of", "at least one token", "none"));
        }
        self.sizes.check_ids(&[of]).map_err(Error::from)?;
        let stage = self.intervened(asked, &[], is_wanted).await?;
        let base = stage.plain.normed(&self.model);
        let normed = match stage.changed {
            None => base,
            Some(changed) => Tensor::cat(vec![base, changed.normed.squeeze_dim(1)], 0),
        }; // [runs, d_model]
        let n_runs = normed.dims()[0];
        let scores = match among_all {
            false => {
                let logits = read(self.model.logits_of(normed, of)).await?;
                let runs = logits.chunks(of.len());
                runs.map(|logits| TokenScores {
                    likeliest: likeliest(of.iter().copied().zip(logits.iter().copied())),
                    logits: logits.to_vec(),
                })
                .collect()
            }
            true => {
                let logits = self.model.logits_of(normed.clone(), of);
                let top = self.model.top(normed, N_LIKELIEST); // [runs, 2]
                let all = Tensor::cat(vec![logits, top.logits, top.ids.float()], 1);
                let all = read(all).await?;
                let n = all.len() / n_runs;
                let runs = all.chunks(n).map(|run| {
                    let (logits, top) = run.split_at(of.len());
                    let (values, ids) = top.split_at(top.len() / 2);
                    let ids = ids.iter().map(|id| *id as u32);
                    TokenScores {
                        logits: logits.to_vec(),
                        likeliest: likeliest(ids.zip(values.iter().copied())),
                    }
                });
                runs.collect::<Vec<_>>()
            }
        };
        let mut runs = scores.into_iter();
        let base = runs.next().unwrap_or_default();
        let changed = runs.next().unwrap_or_else(|| base.clone());
        Ok([base, changed])
    }
}

/// The likeliest of these tokens.
fn likeliest(all: impl Iterator<Item = (u32, f32)>) -> Vec<(u32, f32)> {
    let mut all: Vec<(u32, f32)> = all.collect();
    all.sort_by(|(_, left), (_, right)| right.total_cmp(left));
    all.truncate(N_LIKELIEST);
    all
}

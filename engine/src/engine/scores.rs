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
        let mut parts = vec![self.model.logits_of(normed.clone(), of)]; // [runs, of]
        if among_all {
            let top = self.model.top(normed, N_LIKELIEST); // [runs, 2]
            parts.extend([top.logits, top.ids.float()]);
        }
        let values = read(Tensor::cat(parts, 1)).await?;
        let mut runs = values.chunks(values.len() / n_runs).map(|run| {
            let (logits, top) = run.split_at(of.len());
            let (likeliest, ids) = top.split_at(top.len() / 2);
            let ids = ids.iter().map(|id| *id as u32);
            TokenScores {
                logits: logits.to_vec(),
                likeliest: match among_all {
                    true => ids.zip(likeliest.iter().copied()).collect(),
                    false => likeliest_of(of, logits),
                },
            }
        });
        let base = runs.next().unwrap_or_default();
        let changed = runs.next().unwrap_or_else(|| base.clone());
        Ok([base, changed])
    }
}

/// The likeliest of these tokens.
fn likeliest_of(ids: &[u32], logits: &[f32]) -> Vec<(u32, f32)> {
    let mut all: Vec<(u32, f32)> = ids.iter().copied().zip(logits.iter().copied()).collect();
    all.sort_by(|(_, left), (_, right)| right.total_cmp(left));
    all.truncate(N_LIKELIEST);
    all
}

//! The next token.

use burn::tensor::backend::Backend;
use swivel_core::Error;

use super::{Asked, Engine};
use crate::{
    compare::{Said, compare},
    failure::Result,
    protocol::Answer,
};

impl<B: Backend> Engine<B> {
    /// The next token after base, intervened run, and the run that is shown beside them.
    pub(super) async fn answer(
        &mut self,
        asked: &Asked<'_>,
        beside: &[Vec<u32>; 1],
        among: &[u32],
        is_wanted: &impl AsyncFn() -> bool,
    ) -> Result<Answer> {
        if !among.is_empty() {
            self.sizes.check_ids(&[among]).map_err(Error::from)?;
        }
        let mut prompts: Vec<&[Vec<u32>]> = (0..=asked.checked.n_sources())
            .map(|run| asked.checked.run_ids(run))
            .chain([&beside[..]])
            .filter(|ids| !self.runs.has(ids))
            .collect();
        prompts.sort_unstable();
        prompts.dedup();
        let new_runs = prompts.len();
        let source = self.run(asked.asker, beside, is_wanted).await?;
        let stage = self.intervened(asked, &[], is_wanted).await?;
        let n_layers = self.sizes.n_layers;
        let n_tokens = stage.plain.cached.n_tokens();
        let [base, source] = [&stage.plain, &source].map(|run| run.said(&self.model));
        let (intervened, computed) = match stage.changed {
            None => (base.clone(), 0),
            Some(changed) => {
                let computed = (n_layers - changed.layer) * (n_tokens - changed.start);
                let logits = self.model.head(changed.normed).squeeze_dim(1);
                (Said::of(logits), computed)
            }
        };
        Ok(Answer {
            computed: [computed, n_layers * n_tokens],
            new_runs,
            ..compare([base, &intervened, source], among).await?
        })
    }
}

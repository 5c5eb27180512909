//! One intervention at many positions, each in a run of its own, in few batches.

use burn::tensor::{Tensor, backend::Backend};

use super::CachedRun;
use crate::{
    Decoder, Site,
    intervention::{Edit, Editor, Intervention, Source, Units},
};

impl<B: Backend> Decoder<B> {
    /// What the head reads at the last token after an intervention at `site`, in one head or in all, at one position a run, for each prompt
    /// and each of `positions`, which ascend. Neighbours are one batch.
    ///
    /// # Shapes
    /// - `source`: the values at `positions`, `[batch, positions, width]` or `[batch, head, positions, …]`, one head where
    ///   `head` names one
    /// - result: `[batch, positions, d_model]`, normed
    ///
    /// # Panics
    /// If site or positions are outside the cone that `base` was cached for.
    pub fn intervene_each(
        &self,
        base: &CachedRun<B>,
        intervention: &Intervention<B>,
        source: &Source<B>,
        (site, head): (Site, Option<usize>),
        positions: &[usize],
    ) -> Tensor<B, 3> {
        /// Fewer rows than this use a matrix product badly; more positions in one batch compute more that cannot change.
        const FEW_ROWS: usize = 64;
        let batch = base.n_rows();
        let first = site.first_read(matches!(source, Source::Input));
        let layer = first.resumes_at(self.n_layers());
        let mut normed = Vec::new();
        let mut done = 0;
        while let Some(start) = positions.get(done) {
            let (start, left) = (*start, &positions[done..]);
            let rest = base.n_tokens() - start;
            let n = FEW_ROWS.div_ceil(batch * rest).min(left.len());
            let edit = |idx: usize| Edit {
                site,
                units: Units {
                    rows: Some(idx * batch..(idx + 1) * batch),
                    positions: Some(vec![left[idx] - start]),
                    heads: head.map(|head| vec![head]),
                },
                intervention: intervention.clone(),
                source: source.narrow_positions(done + idx, 1),
            };
            let mut hook = Editor::of_checked((0..n).map(edit).collect());
            let cached = base.base_at(layer, start).tile(n);
            let last = self.resume_to_norm(&cached, rest - 1, &mut hook); // [n * batch, 1, d_model]
            let d_model = last.dims()[2];
            normed.push(last.reshape([n, batch, d_model]).swap_dims(0, 1));
            done += n;
        }
        Tensor::cat(normed, 1)
    }
}

//! A plain interchange at many positions, in few batches.

use std::ops::Range;

use burn::tensor::{Tensor, TensorData, backend::Backend};

use super::KeptRun;
use crate::{
    Gpt2, Hook, Site,
    intervention::{Source, remasked},
};

/// A plain interchange at another position in each row of a batch: row `i` of a prompt takes the source's value at the `i`th
/// of the first positions, and nothing else.
struct InterchangeEach<B: Backend> {
    site: Site,
    head: Option<usize>,
    /// 1 where a row is edited, `[rows, n, 1]`.
    mask: Tensor<B, 3>,
    /// `[rows, n, width]` or `[rows, head, n, …]`, one head where `head` names one
    source: Source<B>,
}

impl<B: Backend> Hook<B> for InterchangeEach<B> {
    fn at(&mut self, site: Site, x: Tensor<B, 3>) -> Tensor<B, 3> {
        match &self.source {
            Source::Stream(source) if site == self.site => {
                let base = x.clone().narrow(1, 0, source.dims()[1]); // [rows, n, width]
                let displacement = (source.clone() - base.clone()) * self.mask.clone();
                x.slice_assign([0..base.dims()[0], 0..base.dims()[1]], base + displacement)
            }
            _ => x,
        }
    }

    fn at_heads(&mut self, site: Site, x: Tensor<B, 4>) -> Tensor<B, 4> {
        match &self.source {
            Source::Heads(source) if site == self.site => {
                // A pattern of a source run that stopped at its last position has no later keys, which get no weight.
                let [rows, n_heads, n, width] = source.dims();
                let heads = self.head.unwrap_or(0)..self.head.unwrap_or(0) + n_heads;
                let part = [0..rows, heads, 0..n, 0..width];
                let base = x.clone().slice(part.clone()); // [rows, head, n, …]
                let mask = self.mask.clone().unsqueeze_dim(1); // [rows, 1, n, 1]
                let displacement = (source.clone() - base.clone()) * mask;
                remasked(site, x.slice_assign(part, base + displacement))
            }
            _ => x,
        }
    }
}

impl<B: Backend> Gpt2<B> {
    /// Logits of the last token after a plain interchange at `site`, in one head or in all, at one position a run, for each
    /// prompt and each of `positions`. Neighbouring positions are one batch.
    ///
    /// # Shapes
    /// - `source`: the values at `positions`, `[batch, positions, width]` or `[batch, head, positions, …]`, one head where
    ///   `head` names one
    /// - result: `[batch, positions, d_vocab]`, nats
    ///
    /// # Panics
    /// If site or positions are outside the cone that `base` was kept for.
    pub fn interchange_each(
        &self,
        base: &KeptRun<B>,
        source: &Source<B>,
        site: Site,
        head: Option<usize>,
        positions: Range<usize>,
    ) -> Tensor<B, 3> {
        /// Fewer rows than this use a matrix product badly; more positions in one batch compute more that cannot change.
        const FEW_ROWS: usize = 64;
        let batch = base.n_rows();
        let layer = site.resumes_at(self.n_layers());
        let mut logits = Vec::new();
        let mut start = positions.start;
        while start < positions.end {
            let rest = base.n_tokens() - start;
            let n = FEW_ROWS.div_ceil(batch * rest).min(positions.end - start);
            let source = source
                .narrow_positions(start - positions.start, n)
                .repeat(n);
            let mut hook = InterchangeEach {
                site,
                head,
                mask: each_mask(batch, n, &base.streams[0].device()),
                source,
            };
            let kept = base.base_at(layer, start).repeat(n);
            let last = self.resume(&kept, rest - 1, &mut hook); // [batch * n, 1, d_vocab]
            let d_vocab = last.dims()[2];
            logits.push(last.reshape([batch, n, d_vocab]));
            start += n;
        }
        Tensor::cat(logits, 1)
    }
}

/// For each of `batch` prompts: row `i` of `n` is edited at the `i`th position.
///
/// # Shapes
/// - result: `[batch * n, n, 1]`
fn each_mask<B: Backend>(batch: usize, n: usize, device: &B::Device) -> Tensor<B, 3> {
    let mut mask = vec![0.0f32; batch * n * n];
    for row in 0..batch * n {
        mask[row * n + row % n] = 1.0;
    }
    Tensor::from_data(TensorData::new(mask, [batch * n, n, 1]), device)
}

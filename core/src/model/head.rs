//! The head: logits of the whole vocabulary, of a part of it, and what is read off them part by part.
//!
//! A vocabulary has up to 262,144 tokens: 1 MB of logits a row. Whoever wants no logits, but answers, reads them off parts that
//! stay in the processor's caches, and the logits are never there at once.

use std::ops::Range;

use burn::tensor::{Int, Tensor, backend::Backend};

use super::{
    Decoder,
    norm::{Norm, capped},
};
use crate::{
    Component, Hook,
    batch::tokens_at_once,
    ids_tensor,
    kernel::widened,
    metric::{Compared, Divergence, Reading, TokenReading, Top},
};

impl<B: Backend> Decoder<B> {
    /// Final norm and head.
    ///
    /// # Shapes
    /// - `x`: `[batch, pos, d_model]`; result: `[batch, pos, d_vocab]`, nats
    pub fn unembed(&self, x: Tensor<B, 3>, hook: &mut dyn Hook<B>) -> Tensor<B, 3> {
        self.head(self.final_norm(x, hook))
    }

    /// Norm before the head.
    ///
    /// # Shapes
    /// - `x`, result: `[batch, pos, d_model]`
    pub(crate) fn final_norm(&self, x: Tensor<B, 3>, hook: &mut dyn Hook<B>) -> Tensor<B, 3> {
        let site = Component::FinalNorm.at(self.n_layers() - 1);
        hook.at(site, self.norm.forward(x, &self.kernels))
    }

    /// # Shapes
    /// - `normed`: `[batch, pos, d_model]`, as the final norm gives it; result: `[batch, pos, d_vocab]`, nats
    pub fn head(&self, normed: Tensor<B, 3>) -> Tensor<B, 3> {
        let parts = self.held_ranges().into_iter().map(|part| {
            let weight = self.held_rows(&part).transpose(); // [d_model, part]
            (self.kernels.linear)(normed.clone(), weight, None)
        });
        let mut parts: Vec<_> = parts.collect();
        let logits = match parts.len() {
            1 => parts.remove(0),
            _ => Tensor::cat(parts, 2),
        };
        capped(logits, self.logit_cap)
    }

    /// The likeliest tokens of each row, without the logits being there at once.
    ///
    /// # Shapes
    /// - `normed`: `[rows, d_model]`; result: `[rows, k]`
    pub fn top(&self, normed: Tensor<B, 2>, k: usize) -> Top<B> {
        self.over_parts(
            normed.dims()[0],
            |part| Top::of(self.head_part(normed.clone(), &part), part.start, k),
            Top::join,
        )
    }

    /// What each row answers, without the logits being there at once.
    ///
    /// # Shapes
    /// - `normed`: `[rows, d_model]`
    pub fn read(&self, normed: Tensor<B, 2>, k: usize) -> Reading<B> {
        self.over_parts(
            normed.dims()[0],
            |part| Reading::of(self.head_part(normed.clone(), &part), part.start, k),
            Reading::join,
        )
    }

    /// What each row answers, and what it says of some tokens, without the logits being there at once.
    ///
    /// # Shapes
    /// - `normed`: `[rows, d_model]`; `ids`: `[rows, n]`
    pub fn read_tokens(&self, normed: Tensor<B, 2>, ids: &Tensor<B, 2, Int>) -> TokenReading<B> {
        self.over_parts(
            normed.dims()[0],
            |part| TokenReading::of(self.head_part(normed.clone(), &part), part.start, ids),
            TokenReading::join,
        )
    }

    /// Logits of some tokens alone, the same ones for each row.
    ///
    /// # Shapes
    /// - `normed`: `[rows, d_model]`; result: `[rows, ids]`, nats
    pub fn logits_of(&self, normed: Tensor<B, 2>, ids: &[u32]) -> Tensor<B, 2> {
        let device = normed.device();
        let ids: Tensor<B, 1, Int> = ids_tensor(std::iter::once(ids), &device).squeeze_dim(0);
        let weight = self.head_rows_of(ids).transpose(); // [d_model, ids]
        let logits = (self.kernels.linear)(normed.unsqueeze(), weight, None);
        capped(logits.squeeze_dim(0), self.logit_cap)
    }

    /// What base runs answer, what `n` other runs of each answer, and how far these are from the base.
    ///
    /// # Shapes
    /// - `base`: `[batch, d_model]`; `found`: `[batch, n, d_model]`; `ids`: `[batch, m]`
    pub fn compare(
        &self,
        base: Tensor<B, 2>,
        found: Tensor<B, 3>,
        ids: &Tensor<B, 2, Int>,
    ) -> Compared<B> {
        let ([batch, n, d_model], [_, m]) = (found.dims(), ids.dims());
        let found = found.reshape([batch * n, d_model]);
        let each = ids.clone().unsqueeze_dim::<3>(1).repeat_dim(1, n);
        let each = each.reshape([batch * n, m]);
        let compare = |part: Range<usize>| {
            let base = self.head_part(base.clone(), &part);
            let found = self.head_part(found.clone(), &part);
            let n_tokens = part.len();
            Compared {
                divergence: Divergence::of(
                    base.clone(),
                    found.clone().reshape([batch, n, n_tokens]),
                ),
                base: TokenReading::of(base, part.start, ids),
                found: TokenReading::of(found, part.start, &each),
            }
        };
        self.over_parts(batch * (n + 1), compare, Compared::join)
    }

    /// Parts of the vocabulary whose logits are computed at once for so many rows.
    pub(crate) fn parts(&self, n_rows: usize) -> impl Iterator<Item = Range<usize>> + use<B> {
        let at_once = tokens_at_once::<B>(n_rows, &self.device());
        self.held_ranges().into_iter().flat_map(move |held| {
            let n_parts = held.len().div_ceil(at_once);
            let n_tokens = held.len().div_ceil(n_parts);
            let starts = held.clone().step_by(n_tokens);
            starts.map(move |start| start..held.end.min(start + n_tokens))
        })
    }

    fn over_parts<T>(
        &self,
        n_rows: usize,
        of: impl FnMut(Range<usize>) -> T,
        join: impl FnMut(T, T) -> T,
    ) -> T {
        match self.parts(n_rows).map(of).reduce(join) {
            Some(all) => all,
            None => unreachable!("a vocabulary has tokens"),
        }
    }

    /// Parts of the vocabulary that the head's weights are held in; nearly always one.
    fn held_ranges(&self) -> Vec<Range<usize>> {
        match &self.lm_head {
            Some(head) => head.ranges(),
            None => self.embed_tokens.ranges(),
        }
    }

    /// Logits of a part of the vocabulary.
    ///
    /// # Shapes
    /// - `normed`: `[rows, d_model]`; result: `[rows, part]`, nats
    pub(crate) fn head_part(&self, normed: Tensor<B, 2>, part: &Range<usize>) -> Tensor<B, 2> {
        let weight = self.held_rows(part).transpose(); // [d_model, part]
        let logits = (self.kernels.linear)(normed.unsqueeze(), weight, None);
        capped(logits.squeeze_dim(0), self.logit_cap)
    }

    /// The head's weights of a part of the vocabulary.
    ///
    /// # Shapes
    /// - result: `[part, d_model]`
    pub(crate) fn head_rows(&self, part: &Range<usize>) -> Tensor<B, 2> {
        widened(self.held_rows(part))
    }

    /// The same as they are held.
    fn held_rows(&self, part: &Range<usize>) -> Tensor<B, 2> {
        match &self.lm_head {
            Some(head) => head.rows(part),
            None => self.embed_tokens.rows(part),
        }
    }

    /// The head's weights of some tokens.
    ///
    /// # Shapes
    /// - `ids`: `[rows]`; result: `[rows, d_model]`
    pub(crate) fn head_rows_of(&self, ids: Tensor<B, 1, Int>) -> Tensor<B, 2> {
        match &self.lm_head {
            Some(head) => head.select(ids, &self.kernels),
            None => self.embed_tokens.select(ids, &self.kernels),
        }
    }

    /// What the head reads in the residual stream for some tokens: their rows, times the final norm's weight; a norm that takes
    /// the mean away reads nothing of it.
    ///
    /// # Shapes
    /// - result: `[ids, d_model]`
    pub fn unembeddings(&self, ids: &[u32]) -> Tensor<B, 2> {
        let ids: Tensor<B, 2, Int> = ids_tensor(std::iter::once(ids), &self.device());
        let rows = self.head_rows_of(ids.squeeze_dim(0)) * self.norm.weight().unsqueeze();
        match &self.norm {
            Norm::Rms(_) => rows,
            Norm::Layer(_) => rows.clone() - rows.mean_dim(1),
        }
    }

    /// The head's weights, as they are held.
    ///
    /// # Shapes
    /// - result: `[d_vocab, d_model]`
    pub fn head_weight(&self) -> Tensor<B, 2> {
        match &self.lm_head {
            Some(head) => head.whole(),
            None => self.embed_tokens.whole(),
        }
    }

    /// How much logits change with what the head's product gives, where that is not 1: the slope of `cap * tanh(x / cap)` is
    /// `1 - tanh(x / cap)^2`.
    ///
    /// # Shapes
    /// - `logits`, result: `[rows, n]`
    pub(crate) fn head_slope(&self, logits: &Tensor<B, 2>) -> Option<Tensor<B, 2>> {
        match self.logit_cap {
            0.0 => None,
            cap => Some((logits.clone() / cap).powi_scalar(2).neg() + 1.0),
        }
    }
}

//! What is known of rows of logits that come part by part: each part is read, and what was read is joined.
//!
//! Maximum and sum of exponentials are joined as in Milakov & Gimelshein 2018, Online normalizer calculation for softmax,
//! <https://arxiv.org/abs/1805.02867>. No row is ever sorted: the few likeliest tokens are one maximum after the other.

use burn::tensor::{IndexingUpdateOp, Int, Tensor, backend::Backend};

/// The likeliest tokens of each row, likeliest first; of equal ones the lowest id first.
///
/// # Shapes
/// - each: `[rows, k]`, fewer where the vocabulary is smaller
#[derive(Clone, Debug)]
pub struct Top<B: Backend> {
    /// Token ids.
    pub ids: Tensor<B, 2, Int>,
    /// Their logits, nats.
    pub logits: Tensor<B, 2>,
}

impl<B: Backend> Top<B> {
    /// The `k` likeliest of the tokens from `first` on.
    ///
    /// # Shapes
    /// - `logits`: `[rows, n]`
    ///
    /// # Panics
    /// If there are no tokens, or `k` is 0.
    pub fn of(logits: Tensor<B, 2>, first: usize, k: usize) -> Self {
        let k = k.min(logits.dims()[1]);
        let (mut ids, mut values) = (Vec::with_capacity(k), Vec::with_capacity(k));
        let mut rest = logits;
        loop {
            let (value, id) = rest.clone().max_dim_with_indices(1); // [rows, 1]
            ids.push(id.clone());
            values.push(value.clone());
            if ids.len() == k {
                break;
            }
            let out = value.full_like(f32::NEG_INFINITY);
            rest = rest.scatter(1, id, out, IndexingUpdateOp::Add);
        }
        Self {
            ids: Tensor::cat(ids, 1) + first as i64,
            logits: Tensor::cat(values, 1),
        }
    }

    /// The likeliest of both; `other` has the higher ids.
    pub fn join(self, other: Self) -> Self {
        let k = self.ids.dims()[1].max(other.ids.dims()[1]);
        let ids = Tensor::cat(vec![self.ids, other.ids], 1);
        let best = Self::of(Tensor::cat(vec![self.logits, other.logits], 1), 0, k);
        Self {
            ids: ids.gather(1, best.ids),
            logits: best.logits,
        }
    }
}

/// Sum of exponentials of each row, over that of its maximum.
///
/// # Shapes
/// - each: `[rows, 1]`
#[derive(Clone, Debug)]
pub(crate) struct LogSum<B: Backend> {
    pub max: Tensor<B, 2>,
    pub sum: Tensor<B, 2>,
}

impl<B: Backend> LogSum<B> {
    fn of(logits: Tensor<B, 2>) -> Self {
        let max = logits.clone().max_dim(1);
        let sum = (logits - max.clone()).exp().sum_dim(1);
        Self { max, sum }
    }

    /// The sum of both, and what values that were summed with either's exponentials are to be multiplied by.
    pub fn join(self, other: Self) -> (Self, [Tensor<B, 2>; 2]) {
        let max = self.max.clone().max_pair(other.max.clone());
        let [left, right] = [self.max, other.max].map(|own| (own - max.clone()).exp());
        let sum = self.sum * left.clone() + other.sum * right.clone();
        (Self { max, sum }, [left, right])
    }

    /// Logarithm of the sum, nats.
    ///
    /// # Shapes
    /// - result: `[rows, 1]`
    pub fn value(&self) -> Tensor<B, 2> {
        self.max.clone() + self.sum.clone().log()
    }
}

/// Logits of some tokens, minus infinity for those that are not among the ones from `first` on.
///
/// # Shapes
/// - `logits`: `[rows, n]`; `ids`, result: `[rows, m]`
pub fn columns<B: Backend>(
    logits: Tensor<B, 2>,
    first: usize,
    ids: &Tensor<B, 2, Int>,
) -> Tensor<B, 2> {
    let last = logits.dims()[1] as i64 - 1;
    let here = ids.clone() - first as i64;
    let inside = here.clone().clamp(0, last);
    let is_outside = here.not_equal(inside.clone());
    logits
        .gather(1, inside)
        .mask_fill(is_outside, f32::NEG_INFINITY)
}

/// What rows answer.
#[derive(Clone, Debug)]
pub struct Reading<B: Backend> {
    /// The likeliest tokens.
    pub top: Top<B>,
    log_sum: LogSum<B>,
}

impl<B: Backend> Reading<B> {
    /// Of the tokens from `first` on, and the `k` likeliest of them.
    ///
    /// # Shapes
    /// - `logits`: `[rows, part]`
    ///
    /// # Panics
    /// If there are no tokens, or `k` is 0.
    pub fn of(logits: Tensor<B, 2>, first: usize, k: usize) -> Self {
        Self {
            top: Top::of(logits.clone(), first, k),
            log_sum: LogSum::of(logits),
        }
    }

    /// What both parts say; `other` has the higher ids.
    pub fn join(self, other: Self) -> Self {
        Self {
            top: self.top.join(other.top),
            log_sum: self.log_sum.join(other.log_sum).0,
        }
    }

    /// Logarithm of the sum of all exponentials, nats.
    ///
    /// # Shapes
    /// - result: `[rows, 1]`
    pub fn log_sum(&self) -> Tensor<B, 2> {
        self.log_sum.value()
    }

    /// Probabilities of tokens with these logits, 0..1.
    ///
    /// # Shapes
    /// - `logits`, result: `[rows, n]`
    pub fn probabilities(&self, logits: Tensor<B, 2>) -> Tensor<B, 2> {
        (logits - self.log_sum()).exp()
    }
}

/// What rows answer, and what they say of some tokens.
#[derive(Clone, Debug)]
pub struct TokenReading<B: Backend> {
    /// What they answer.
    pub reading: Reading<B>,
    /// Logits of the tokens that were asked for, nats, `[rows, n]`.
    pub logits: Tensor<B, 2>,
}

impl<B: Backend> TokenReading<B> {
    /// Of the tokens from `first` on, the likeliest of them, and those of `ids` that are among them.
    ///
    /// # Shapes
    /// - `logits`: `[rows, part]`; `ids`: `[rows, n]`
    pub fn of(logits: Tensor<B, 2>, first: usize, ids: &Tensor<B, 2, Int>) -> Self {
        Self {
            logits: columns(logits.clone(), first, ids),
            reading: Reading::of(logits, first, 1),
        }
    }

    /// What both parts say; `other` has the higher ids.
    pub fn join(self, other: Self) -> Self {
        Self {
            reading: self.reading.join(other.reading),
            logits: self.logits.max_pair(other.logits),
        }
    }

    /// Probability of one of the tokens that were asked for, 0..1.
    ///
    /// # Shapes
    /// - result: `[rows, 1]`
    pub fn probability(&self, idx: usize) -> Tensor<B, 2> {
        self.reading.probabilities(self.logit(idx))
    }

    /// Logit of one of the tokens that were asked for, nats.
    ///
    /// # Shapes
    /// - result: `[rows, 1]`
    pub fn logit(&self, idx: usize) -> Tensor<B, 2> {
        self.logits.clone().narrow(1, idx, 1)
    }
}

/// How far answers are from those of a base, as far as some tokens say.
#[derive(Clone, Debug)]
pub struct Divergence<B: Backend> {
    base: LogSum<B>,
    /// Sum of the differences of the logits, times the base's exponentials, `[batch, n]`.
    differences: Tensor<B, 2>,
}

impl<B: Backend> Divergence<B> {
    /// # Shapes
    /// - `base`: logits, `[batch, part]`; `found`: `[batch, n, part]`
    pub fn of(base: Tensor<B, 2>, found: Tensor<B, 3>) -> Self {
        let max = base.clone().max_dim(1);
        let exp = (base.clone() - max.clone()).exp();
        let sum = exp.clone().sum_dim(1);
        let differences = base.unsqueeze_dim::<3>(1) - found; // [batch, n, part]
        let differences = (differences * exp.unsqueeze_dim(1)).sum_dim(2);
        Self {
            base: LogSum { max, sum },
            differences: differences.squeeze_dim(2),
        }
    }

    /// What both parts say.
    pub fn join(self, other: Self) -> Self {
        let (base, [left, right]) = self.base.join(other.base);
        Self {
            base,
            differences: self.differences * left + other.differences * right,
        }
    }

    /// KL divergence from the base, KL(base ‖ found), nats; `log_sum` is that of what was found.
    ///
    /// # Shapes
    /// - `log_sum`, result: `[batch, n]`
    pub fn kl(&self, log_sum: Tensor<B, 2>) -> Tensor<B, 2> {
        // The sum of p (b - log_sum_b - f + log_sum_f): the probabilities p add up to 1.
        self.differences.clone() / self.base.sum.clone() + (log_sum - self.base.value())
    }
}

/// What base runs answer, what other runs of each answer, and how far these are from the base.
#[derive(Clone, Debug)]
pub struct Compared<B: Backend> {
    /// Of the base runs, `[batch, …]`.
    pub base: TokenReading<B>,
    /// Of the others, `[batch * n, …]`.
    pub found: TokenReading<B>,
    /// How far apart they are.
    pub divergence: Divergence<B>,
}

impl<B: Backend> Compared<B> {
    /// What both parts say; `other` has the higher ids.
    pub fn join(self, other: Self) -> Self {
        Self {
            base: self.base.join(other.base),
            found: self.found.join(other.found),
            divergence: self.divergence.join(other.divergence),
        }
    }

    /// KL divergence of each other run from its base, nats.
    ///
    /// # Shapes
    /// - result: `[batch, n]`
    pub fn kl(&self) -> Tensor<B, 2> {
        let shape = self.divergence.differences.dims();
        self.divergence
            .kl(self.found.reading.log_sum().reshape(shape))
    }
}

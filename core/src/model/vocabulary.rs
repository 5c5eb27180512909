//! Tables with a row or a column a token, in parts where a device takes no buffer of a whole one.

use std::ops::Range;

use burn::{
    module::{Module, Param},
    nn::{Embedding, Linear},
    tensor::{Int, Tensor, backend::Backend},
};

use crate::kernel::Kernels;

/// The token embedding, `[d_vocab, d_model]`, cut between rows.
#[derive(Module, Debug)]
pub struct TokenEmbedding<B: Backend> {
    /// Each but the last of as many tokens; nearly always one.
    parts: Vec<Embedding<B>>,
}

/// A head of its own, `[d_model, d_vocab]`, cut between columns.
#[derive(Module, Debug)]
pub struct Head<B: Backend> {
    /// Each but the last of as many tokens; nearly always one.
    parts: Vec<Linear<B>>,
}

/// Where tokens are in parts.
fn ranges(sizes: impl Iterator<Item = usize>) -> impl Iterator<Item = Range<usize>> {
    sizes.scan(0, |end, n| {
        let start = *end;
        *end += n;
        Some(start..*end)
    })
}

impl<B: Backend> TokenEmbedding<B> {
    /// Of these rows, part by part.
    pub(crate) fn new(parts: Vec<Tensor<B, 2>>) -> Self {
        let parts = parts.into_iter().map(|weight| Embedding {
            weight: Param::from_tensor(weight),
        });
        Self {
            parts: parts.collect(),
        }
    }

    /// Device that it is on.
    pub(crate) fn device(&self) -> B::Device {
        self.parts[0].weight.val().device()
    }

    /// The parts' tokens, and their weights.
    fn parts(&self) -> impl Iterator<Item = (Range<usize>, Tensor<B, 2>)> {
        let weights = || self.parts.iter().map(|part| part.weight.val());
        ranges(weights().map(|weight| weight.dims()[0])).zip(weights())
    }

    /// Tokens of each part.
    pub(crate) fn ranges(&self) -> Vec<Range<usize>> {
        self.parts().map(|(tokens, _)| tokens).collect()
    }

    /// The rows of tokens, in single precision.
    ///
    /// # Shapes
    /// - `ids`: `[batch, pos]`; result: `[batch, pos, d_model]`
    pub fn forward(&self, ids: Tensor<B, 2, Int>, kernels: &Kernels<B>) -> Tensor<B, 3> {
        let [batch, pos] = ids.dims();
        let rows = self.select(ids.reshape([batch * pos]), kernels);
        let [_, d_model] = rows.dims();
        rows.reshape([batch, pos, d_model])
    }

    /// The rows of tokens, in single precision.
    ///
    /// # Shapes
    /// - `ids`: `[rows]`; result: `[rows, d_model]`
    pub(crate) fn select(&self, ids: Tensor<B, 1, Int>, kernels: &Kernels<B>) -> Tensor<B, 2> {
        if let [part] = &*self.parts {
            return (kernels.rows)(part.weight.val(), ids);
        }
        let rows = self.parts().map(|(tokens, weight)| {
            let [start, last] = [tokens.start as i64, tokens.end as i64 - 1];
            let is_other = ids
                .clone()
                .lower_elem(start)
                .bool_or(ids.clone().greater_elem(last));
            let own = ids.clone().clamp(start, last) - start;
            let d_model = weight.dims()[1];
            let is_other = is_other.unsqueeze_dim::<2>(1).repeat_dim(1, d_model);
            (kernels.rows)(weight, own).mask_fill(is_other, 0)
        });
        match rows.reduce(|sum, rows| sum + rows) {
            Some(rows) => rows,
            None => unreachable!("a vocabulary has tokens"),
        }
    }

    /// The rows of consecutive tokens, all in one part.
    ///
    /// # Shapes
    /// - result: `[tokens, d_model]`
    pub(crate) fn rows(&self, tokens: &Range<usize>) -> Tensor<B, 2> {
        rows_of(self.parts(), tokens)
    }

    /// All rows.
    ///
    /// # Shapes
    /// - result: `[d_vocab, d_model]`
    pub(crate) fn whole(&self) -> Tensor<B, 2> {
        joined(self.parts().map(|(_, weight)| weight), 0)
    }
}

impl<B: Backend> Head<B> {
    /// Of these columns, part by part.
    pub(crate) fn new(parts: Vec<Tensor<B, 2>>) -> Self {
        let parts = parts.into_iter().map(|weight| Linear {
            weight: Param::from_tensor(weight),
            bias: None,
        });
        Self {
            parts: parts.collect(),
        }
    }

    /// The layers that it is, one behind the other.
    pub(crate) fn parts_mut(&mut self) -> impl Iterator<Item = &mut Linear<B>> {
        self.parts.iter_mut()
    }

    /// The parts' tokens, and their weights, `[tokens, d_model]`.
    fn parts(&self) -> impl Iterator<Item = (Range<usize>, Tensor<B, 2>)> {
        let weights = || self.parts.iter().map(|part| part.weight.val().transpose());
        ranges(weights().map(|weight| weight.dims()[0])).zip(weights())
    }

    /// Tokens of each part.
    pub(crate) fn ranges(&self) -> Vec<Range<usize>> {
        self.parts().map(|(tokens, _)| tokens).collect()
    }

    /// The weights of tokens, in single precision.
    ///
    /// # Shapes
    /// - `ids`: `[rows]`; result: `[rows, d_model]`
    pub(crate) fn select(&self, ids: Tensor<B, 1, Int>, kernels: &Kernels<B>) -> Tensor<B, 2> {
        let parts = self.parts().map(|(_, weight)| weight);
        TokenEmbedding::new(parts.collect()).select(ids, kernels)
    }

    /// The weights of consecutive tokens, all in one part.
    ///
    /// # Shapes
    /// - result: `[tokens, d_model]`
    pub(crate) fn rows(&self, tokens: &Range<usize>) -> Tensor<B, 2> {
        rows_of(self.parts(), tokens)
    }

    /// All weights.
    ///
    /// # Shapes
    /// - result: `[d_vocab, d_model]`
    pub(crate) fn whole(&self) -> Tensor<B, 2> {
        joined(self.parts().map(|(_, weight)| weight), 0)
    }
}

fn rows_of<B: Backend>(
    mut parts: impl Iterator<Item = (Range<usize>, Tensor<B, 2>)>,
    tokens: &Range<usize>,
) -> Tensor<B, 2> {
    let part = parts.find(|(own, _)| own.start <= tokens.start && tokens.end <= own.end);
    let Some((own, weight)) = part else {
        panic!(
            "tokens {} to {} are not in one part",
            tokens.start, tokens.end
        );
    };
    match own == *tokens {
        true => weight, // some backends copy what is cut out
        false => weight.narrow(0, tokens.start - own.start, tokens.len()),
    }
}

fn joined<B: Backend, const D: usize>(
    parts: impl Iterator<Item = Tensor<B, D>>,
    dim: usize,
) -> Tensor<B, D> {
    let mut parts: Vec<_> = parts.collect();
    match parts.len() {
        1 => parts.remove(0),
        _ => Tensor::cat(parts, dim),
    }
}

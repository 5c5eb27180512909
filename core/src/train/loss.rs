//! Cross-entropy over the full vocabulary or over a few tokens, and its gradient.

use std::ops::Range;

use burn::tensor::{Int, Tensor, activation, backend::Backend};

use crate::{
    Decoder, ids_tensor,
    metric::{LogSum, columns},
};

/// Cross-entropy of each row's label over the full vocabulary, and its gradient with respect to what the head reads.
///
/// By hand, and part by part of the vocabulary, as in Wijmans et al. 2024, Cut Your Losses in Large-Vocabulary Language Models,
/// <https://arxiv.org/abs/2411.09009>: the gradient is the mean of the head's rows under the probabilities, less the label's
/// row, and that mean is joined like the sum of exponentials. So it takes one product with the head forward and one back, reads
/// the head once, and never has all logits; on the tape a dozen passes over all of them come on top.
///
/// # Shapes
/// - `normed`, gradient: `[batch, 1, d_model]`; `labels`, losses: `[batch]`, nats
pub fn losses_and_gradient<B: Backend>(
    model: &Decoder<B>,
    normed: Tensor<B, 3>,
    labels: Tensor<B, 1, Int>,
) -> (Tensor<B, 1>, Tensor<B, 3>) {
    let [batch, _, d_model] = normed.dims();
    let normed = normed.reshape([batch, d_model]);
    let ids = labels.clone().reshape([batch, 1]);
    let of_part = |part: Range<usize>| {
        let logits = model.head_part(normed.clone(), &part); // [batch, part]
        let label = columns(logits.clone(), part.start, &ids); // [batch, 1]
        let slope = model.head_slope(&logits);
        let (max, at) = logits.clone().max_dim_with_indices(1); // [batch, 1]
        // The model's own softmax passes once over what its cores have in their caches.
        let shares = (model.kernels.softmax)(logits.unsqueeze()); // [1, 1, batch, part]
        let shares = shares.reshape([batch, part.len()]);
        let sum = shares.clone().gather(1, at).recip(); // [batch, 1]; the maximum's exponential is 1
        let weights = match slope {
            None => shares,
            Some(slope) => shares * slope,
        };
        let rows = weights.matmul(model.head_rows(&part)) * sum.clone(); // [batch, d_model]
        (LogSum { max, sum }, rows, label)
    };
    let join = |(sum, rows, label): (LogSum<B>, Tensor<B, 2>, Tensor<B, 2>), next| {
        let (next_sum, next_rows, next_label): (LogSum<B>, Tensor<B, 2>, Tensor<B, 2>) = next;
        let (sum, [left, right]) = sum.join(next_sum);
        let rows = rows * left + next_rows * right;
        (sum, rows, label.max_pair(next_label))
    };
    let Some((sum, rows, label)) = model.parts(batch).map(of_part).reduce(join) else {
        unreachable!("a vocabulary has tokens");
    };
    let own = model.head_rows_of(labels); // [batch, d_model]
    let own = match model.head_slope(&label) {
        None => own,
        Some(slope) => own * slope,
    };
    let losses = (sum.value() - label).reshape([batch]);
    let gradient = rows / sum.sum - own;
    (losses, gradient.reshape([batch, 1, d_model]))
}

/// The same where the answer is one of a few tokens: cross-entropy over these alone.
///
/// # Shapes
/// - as [`losses_and_gradient`]; `choices` are token ids, each label among them
pub fn losses_and_gradient_of<B: Backend>(
    model: &Decoder<B>,
    normed: Tensor<B, 3>,
    labels: Tensor<B, 1, Int>,
    choices: &[u32],
) -> (Tensor<B, 1>, Tensor<B, 3>) {
    let [batch, _, d_model] = normed.dims();
    let ids: Tensor<B, 2, Int> = ids_tensor(std::iter::once(choices), &normed.device()); // [1, choices]
    let logits = model.logits_of(normed.reshape([batch, d_model]), choices); // [batch, choices]
    let n = choices.len();
    let each = ids.clone().expand([batch, n]);
    let is_label = labels
        .reshape([batch, 1])
        .expand([batch, n])
        .equal(each)
        .float();
    let losses = (activation::log_softmax(logits.clone(), 1) * is_label.clone())
        .sum_dim(1)
        .neg();
    let gradient = activation::softmax(logits.clone(), 1) - is_label;
    let gradient = match model.head_slope(&logits) {
        None => gradient,
        Some(slope) => gradient * slope,
    };
    let gradient = gradient.matmul(model.head_rows_of(ids.reshape([n]))); // [batch, d_model]
    (
        losses.reshape([batch]),
        gradient.reshape([batch, 1, d_model]),
    )
}

/// Mean cross-entropy of the labels, nats.
///
/// # Shapes
/// - `logits`: `[batch, d_vocab]`; `labels`: `[batch]`; result: `[1]`
pub fn cross_entropy<B: Backend>(logits: Tensor<B, 2>, labels: Tensor<B, 1, Int>) -> Tensor<B, 1> {
    let [batch, _] = logits.dims();
    activation::log_softmax(logits, 1)
        .gather(1, labels.reshape([batch, 1]))
        .mean()
        .neg()
}

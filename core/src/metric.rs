//! What is read off logits.

use burn::tensor::{Int, Tensor, activation, backend::Backend};

/// Top-1 token of each row.
///
/// # Shapes
/// - `logits`: `[batch, d_vocab]`; result: `[batch]`
pub fn top_1<B: Backend>(logits: Tensor<B, 2>) -> Tensor<B, 1, Int> {
    logits.argmax(1).squeeze_dim(1)
}

/// Share of the labels that were hit, 0..1: IIA where `top_1` comes from intervened runs.
///
/// # Panics
/// If there are no labels.
pub fn accuracy(top_1: &[u32], labels: &[u32]) -> f64 {
    assert!(
        !labels.is_empty() && top_1.len() == labels.len(),
        "one top-1 token a label"
    );
    let n_hits = top_1
        .iter()
        .zip(labels)
        .filter(|(top_1, label)| top_1 == label)
        .count();
    n_hits as f64 / labels.len() as f64
}

/// Probability of each row's label, 0..1.
///
/// # Shapes
/// - `logits`: `[batch, d_vocab]`; `labels`, result: `[batch]`
pub fn probability<B: Backend>(logits: Tensor<B, 2>, labels: Tensor<B, 1, Int>) -> Tensor<B, 1> {
    column(activation::softmax(logits, 1), labels)
}

/// Logit of each row's label minus logit of its other label, nats.
///
/// # Shapes
/// - `logits`: `[batch, d_vocab]`; `labels`, `others`, result: `[batch]`
pub fn logit_difference<B: Backend>(
    logits: Tensor<B, 2>,
    labels: Tensor<B, 1, Int>,
    others: Tensor<B, 1, Int>,
) -> Tensor<B, 1> {
    column(logits.clone(), labels) - column(logits, others)
}

/// KL divergence of each row of `found` from the same row of `base`, KL(base ‖ found), nats.
///
/// # Shapes
/// - `base`, `found`: logits, `[batch, d_vocab]`; result: `[batch]`
pub fn kl<B: Backend>(base: Tensor<B, 2>, found: Tensor<B, 2>) -> Tensor<B, 1> {
    let [base, found] = [base, found].map(|logits| activation::log_softmax(logits, 1));
    (base.clone().exp() * (base - found))
        .sum_dim(1)
        .squeeze_dim(1)
}

/// One value of each row.
fn column<B: Backend>(x: Tensor<B, 2>, columns: Tensor<B, 1, Int>) -> Tensor<B, 1> {
    let batch = columns.dims()[0];
    x.gather(1, columns.reshape([batch, 1])).squeeze_dim(1)
}

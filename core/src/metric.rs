//! What is read off logits, of a whole vocabulary or part by part.

mod reading;

use burn::tensor::{Int, Tensor, backend::Backend};

pub(crate) use reading::LogSum;
pub use reading::{Compared, Divergence, Reading, TokenReading, Top, columns};

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

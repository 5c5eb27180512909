//! What is read off logits, of a whole vocabulary or part by part.

mod count;
mod reading;

use burn::tensor::{Int, Tensor, backend::Backend};

pub use count::Count;
pub(crate) use reading::LogSum;
pub use reading::{Compared, Divergence, Reading, TokenReading, Top, columns};

/// Top-1 token of each row.
///
/// # Shapes
/// - `logits`: `[batch, d_vocab]`; result: `[batch]`
pub fn top_1<B: Backend>(logits: Tensor<B, 2>) -> Tensor<B, 1, Int> {
    logits.argmax(1).squeeze_dim(1)
}

/// Where the share lies that `n_hits` of `n` are a sample of, with 95 % confidence, 0..1: Wilson's score interval (Wilson 1927,
/// <https://doi.org/10.1080/01621459.1927.10502953>). All of it where there is no sample.
pub fn wilson(n_hits: usize, n: usize) -> [f64; 2] {
    /// Standard deviations to both sides of which 95 % of a normal distribution lie.
    const Z: f64 = 1.959_963_984_540_054;
    if n == 0 {
        return [0.0, 1.0];
    }
    let (share, n) = (n_hits as f64 / n as f64, n as f64);
    let scale = 1.0 + Z * Z / n;
    let center = (share + Z * Z / (2.0 * n)) / scale;
    let half = Z / scale * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    [(center - half).max(0.0), (center + half).min(1.0)]
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

#[cfg(test)]
mod tests {
    use super::*;

    /// By `scipy.stats.binomtest(…).proportion_ci(method="wilson")`.
    #[test]
    fn interval_is_wilsons() {
        for (n_hits, n, expected) in [
            (9, 10, [0.595_850, 0.982_124]),
            (0, 10, [0.0, 0.277_533]),
            (500, 1000, [0.469_070, 0.530_930]),
        ] {
            let found = wilson(n_hits, n);
            let is_close = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-5;
            assert!(found.iter().zip(&expected).all(is_close), "{found:?}");
        }
        assert_eq!(wilson(0, 0), [0.0, 1.0]);
    }
}

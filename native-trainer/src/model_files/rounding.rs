//! What half precision changes in a model's answers.

use anyhow::Result;
use burn::tensor::backend::Backend;
use serde_json::json;
use swivel_core::{Decoder, Precision, Sizes, ids_tensor};

use crate::{report::Report, tensors::read_floats};

/// How logits of a prompt differ from those in f32.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rounding {
    n_tokens: usize,
    /// The largest difference, nats.
    most: f32,
    /// Tokens after which another one is the likeliest.
    n_other: usize,
}

impl Rounding {
    /// Compares logits, `[n_tokens, d_vocab]`.
    pub fn between(expected: &[f32], found: &[f32], n_tokens: usize) -> Self {
        let differences = expected.iter().zip(found).map(|(a, b)| (a - b).abs());
        let d_vocab = expected.len() / n_tokens;
        let likeliest = |row: &[f32]| {
            let ids = 0..row.len();
            ids.max_by(|a, b| row[*a].total_cmp(&row[*b]))
        };
        let rows = expected.chunks(d_vocab).zip(found.chunks(d_vocab));
        let other = rows.filter(|(a, b)| likeliest(a) != likeliest(b));
        Self {
            n_tokens,
            n_other: other.count(),
            most: differences.fold(0.0, f32::max),
        }
    }

    /// Says it.
    pub fn report(self, precision: Precision, report: Report) {
        let Self {
            n_tokens,
            most,
            n_other,
        } = self;
        let name = precision.name();
        report.line(format!(
            "Matrices are held in {name}: after {n_tokens} tokens logits differ from f32's by up to {most:.2e} nats, \
             {n_other} answers are others"
        ));
        report.event(&json!({
            "event": "precision",
            "held_in": name,
            "tokens": n_tokens,
            "largest_difference": most,
            "other_answers": n_other,
        }));
    }
}

/// Token ids from all over the vocabulary.
pub fn spread_ids(sizes: &Sizes) -> Vec<u32> {
    const N: usize = 16;
    let ids = (0..N.min(sizes.n_ctx)).map(|idx| idx * sizes.d_vocab / N);
    ids.map(|id| id as u32).collect()
}

/// Logits after each token of a prompt, `[pos, d_vocab]`.
pub fn logits<B: Backend>(model: &Decoder<B>, ids: &[u32]) -> Result<Vec<f32>> {
    read_floats(model.forward(ids_tensor([ids], &model.device()), &mut ()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_and_other_answers_are_counted() {
        let (expected, found) = ([0.0, 1.0, 2.0, 0.5], [0.0, 1.25, 0.0, 0.5]);
        let rounding = Rounding::between(&expected, &found, 2);
        assert_eq!((rounding.most, rounding.n_other), (2.0, 1));
    }
}

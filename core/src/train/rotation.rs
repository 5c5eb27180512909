//! The parametrisation of a basis, [`Rotation`], and orthonormal rows: random ones, and rows made orthonormal.

use burn::tensor::{Tensor, TensorData, backend::Backend};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::intervention::InterventionError;

/// An orthonormal basis in torch's parametrisation of tall orthogonal matrices (`parametrizations.orthogonal`): Householder
/// reflections, one a column, over a fixed orthogonal matrix.
#[derive(Clone, Debug)]
pub struct Rotation<B: Backend> {
    /// The parameter, `[d_model, k]`; only what is below the diagonal counts, the diagonal holds signs.
    pub original: Tensor<B, 2>,
    /// Fixed orthogonal matrix, `[d_model, d_model]`; the first `k` columns are the initial basis.
    pub base: Tensor<B, 2>,
    /// Sign of each column, `[1, k]`.
    pub(super) signs: Tensor<B, 2>,
}

impl<B: Backend> Rotation<B> {
    /// A random subspace of rank `rank`, a function of the seed.
    ///
    /// # Errors
    /// - [`InterventionError::Rank`] if the rank is 0 or above `d_model`.
    pub fn random(
        d_model: usize,
        rank: usize,
        seed: u64,
        device: &B::Device,
    ) -> Result<Self, InterventionError> {
        check_rank(d_model, rank)?;
        Ok(Self::with_basis(
            &random_rows(d_model, rank, seed),
            rank,
            device,
        ))
    }

    /// The subspace of these orthonormal rows, row-major `[rank, d_model]`.
    pub fn with_basis(rows: &[f32], rank: usize, device: &B::Device) -> Self {
        let d_model = rows.len() / rank;
        let base = complete(rows, d_model);
        let mut original = vec![0.0f32; d_model * rank];
        for column in 0..rank {
            original[column * rank + column] = -1.0;
        }
        let tensor =
            |values, shape: [usize; 2]| Tensor::from_data(TensorData::new(values, shape), device);
        Self::new(
            tensor(original, [d_model, rank]),
            tensor(base, [d_model, d_model]),
        )
    }

    /// A basis with this parameter over this fixed matrix.
    ///
    /// # Shapes
    /// - `original`: `[d_model, k]`; `base`: `[d_model, d_model]`
    pub fn new(original: Tensor<B, 2>, base: Tensor<B, 2>) -> Self {
        let [_, rank] = original.dims();
        let diagonal = Tensor::<B, 2>::eye(rank, &original.device());
        let signs = (original.clone().narrow(0, 0, rank) * diagonal).sum_dim(0); // [1, k]
        Self {
            original,
            base,
            signs,
        }
    }

    /// The basis.
    ///
    /// # Shapes
    /// - result: `[k, d_model]`, rows orthonormal
    pub fn basis(&self) -> Tensor<B, 2> {
        let [d_model, rank] = self.original.dims();
        let device = self.original.device();
        let below = Tensor::<B, 2>::ones([d_model, rank], &device).tril(-1);
        let diagonal = Tensor::<B, 2>::ones([d_model, rank], &device).tril(0) - below.clone();
        let reflectors = self.original.clone() * below + diagonal.clone(); // [d_model, k], ones on the diagonal
        let mut q = diagonal; // [d_model, k], the first k unit vectors
        for column in (0..rank).rev() {
            let v = reflectors.clone().narrow(1, column, 1); // [d_model, 1]
            let tau = v.clone().powi_scalar(2).sum_dim(0).recip() * 2.0; // [1, 1]
            q = q.clone() - (v.clone() * tau).matmul(v.transpose().matmul(q));
        }
        self.base.clone().matmul(q * self.signs.clone()).transpose() // [k, d_model]
    }
}

/// Checks that a site of this width has subspaces of this rank.
///
/// # Errors
/// - [`InterventionError::Rank`] if the rank is 0 or above `d_model`.
pub fn check_rank(d_model: usize, rank: usize) -> Result<(), InterventionError> {
    if (1..=d_model).contains(&rank) {
        Ok(())
    } else {
        Err(InterventionError::Rank { rank, d_model })
    }
}

/// Rows of a random orthonormal basis, row-major `[rank, d_model]`: Gaussian rows, made orthonormal in f64.
pub fn random_rows(d_model: usize, rank: usize, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut rows: Vec<Vec<f64>> = Vec::with_capacity(rank);
    while rows.len() < rank {
        let row: Vec<f64> = (0..d_model).map(|_| gaussian(&mut rng)).collect();
        rows.extend(orthonormal_to(&rows, row));
    }
    to_f32(rows)
}

/// The same rows, row-major `[rank, width]`, made orthonormal in f64: what f32 leaves of a wide basis after some steps may be
/// off by more than a file allows. Rows that cannot be are left as they are.
pub fn orthonormal(rows: &[f32], width: usize) -> Vec<f32> {
    let mut done: Vec<Vec<f64>> = Vec::new();
    for row in rows.chunks(width) {
        let row: Vec<f64> = row.iter().copied().map(f64::from).collect();
        done.push(orthonormal_to(&done, row.clone()).unwrap_or(row));
    }
    to_f32(done)
}

fn to_f32(rows: Vec<Vec<f64>>) -> Vec<f32> {
    let values = rows.into_iter().flatten();
    values.map(|value| value as f32).collect()
}

/// `row` without its parts along `rows`, of length 1; `None` if next to nothing is left.
fn orthonormal_to(rows: &[Vec<f64>], mut row: Vec<f64>) -> Option<Vec<f64>> {
    // Twice, since the first pass leaves rounding errors where little is left.
    for _ in 0..2 {
        for other in rows {
            let product: f64 = row.iter().zip(other).map(|(a, b)| a * b).sum();
            row.iter_mut()
                .zip(other)
                .for_each(|(a, b)| *a -= product * b);
        }
    }
    let norm = row.iter().map(|value| value * value).sum::<f64>().sqrt();
    (norm > 1e-6).then(|| row.iter().map(|value| value / norm).collect())
}

/// A standard normal number (Box & Muller 1958).
pub fn gaussian(rng: &mut impl RngExt) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}

/// An orthogonal matrix, row-major `[d_model, d_model]`, whose first columns are the given orthonormal rows: the product of
/// the Householder reflections that take the first unit vectors to them, in `O(d_model² k)`.
fn complete(rows: &[f32], d_model: usize) -> Vec<f32> {
    let mut columns: Vec<Vec<f64>> = rows
        .chunks(d_model)
        .map(|row| row.iter().map(|v| f64::from(*v)).collect())
        .collect();
    let rank = columns.len();
    let mut reflectors: Vec<(Vec<f64>, f64)> = Vec::with_capacity(rank);
    for column in 0..rank {
        let mut v = columns[column].clone();
        v[..column].fill(0.0);
        // The sign that adds rather than cancels.
        let sign = if v[column] < 0.0 { -1.0 } else { 1.0 };
        v[column] += sign * v.iter().map(|value| value * value).sum::<f64>().sqrt();
        let tau = 2.0 / v.iter().map(|value| value * value).sum::<f64>();
        columns[column..]
            .iter_mut()
            .for_each(|column| reflect(column, &v, tau));
        reflectors.push((v, -sign));
    }
    let mut matrix = vec![0.0f32; d_model * d_model];
    for idx in 0..d_model {
        let mut column = vec![0.0f64; d_model];
        column[idx] = reflectors.get(idx).map_or(1.0, |(_, sign)| *sign);
        for (v, _) in reflectors.iter().rev() {
            let tau = 2.0 / v.iter().map(|value| value * value).sum::<f64>();
            reflect(&mut column, v, tau);
        }
        column
            .iter()
            .enumerate()
            .for_each(|(row, value)| matrix[row * d_model + idx] = *value as f32);
    }
    matrix
}

/// `x - tau v (v · x)`.
fn reflect(x: &mut [f64], v: &[f64], tau: f64) {
    let product: f64 = x.iter().zip(v).map(|(a, b)| a * b).sum();
    x.iter_mut()
        .zip(v)
        .for_each(|(a, b)| *a -= tau * product * b);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completed_matrix_is_orthogonal_and_starts_with_the_rows() {
        let (d_model, rank) = (12, 3);
        let rows = random_rows(d_model, rank, 7);
        let matrix = complete(&rows, d_model);
        let column = |idx: usize| (0..d_model).map(move |row| row * d_model + idx);
        for left in 0..d_model {
            for right in 0..d_model {
                let product: f32 = column(left)
                    .zip(column(right))
                    .map(|(a, b)| matrix[a] * matrix[b])
                    .sum();
                let expected = if left == right { 1.0 } else { 0.0 };
                assert!(
                    (product - expected).abs() < 1e-5,
                    "columns {left} and {right}: {product}"
                );
            }
        }
        for (idx, row) in rows.chunks(d_model).enumerate() {
            for (value, expected) in column(idx).map(|at| matrix[at]).zip(row) {
                assert!((value - expected).abs() < 1e-5);
            }
        }
    }
}

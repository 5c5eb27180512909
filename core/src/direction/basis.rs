//! Orthonormal rows that cannot be wrong: [`Basis`].

use std::borrow::Cow;

use crate::{
    Place, Sizes,
    intervention::InterventionError,
    load::TensorError,
    tensor_file::{self, FileError},
};

/// Largest deviation of `basis basisᵀ` from the identity.
const ORTHONORMAL_TOLERANCE: f32 = 1e-5;

/// Checks that values at a place of a model have this width.
///
/// # Errors
/// - those of [`Place::check`]
/// - [`FileError::Intervention`] if they have another.
pub(super) fn check_width(found: usize, place: Place, sizes: &Sizes) -> Result<(), FileError> {
    match place.check(sizes)?.width(sizes) {
        Some(width) if width == found => Ok(()),
        width => Err(InterventionError::DirectionWidth {
            site: place.site.to_string(),
            expected: width.unwrap_or(0),
            found,
        }
        .into()),
    }
}

/// Orthonormal rows: a subspace of the values at a site.
#[derive(Clone, Debug, PartialEq)]
pub struct Basis {
    /// Row-major `[rank, width]`.
    rows: Vec<f32>,
    rank: usize,
}

impl Basis {
    /// A basis of these rows, row-major `[rank, width]`.
    ///
    /// # Errors
    /// - [`FileError::DirectionBasis`] if they are not orthonormal.
    /// - [`FileError::Tensor`] if one holds a NaN or an infinity.
    /// - [`FileError::Intervention`] if there are none, or more rows than columns.
    pub fn new(rows: Vec<f32>, rank: usize) -> Result<Self, FileError> {
        let width = rows.len().checked_div(rank).unwrap_or(0);
        if rank == 0 || rank > width || rank * width != rows.len() {
            return Err(InterventionError::Rank {
                rank,
                d_model: width,
            }
            .into());
        }
        if let Some(index) = rows.iter().position(|value| !value.is_finite()) {
            return Err(TensorError::Value {
                name: "basis".to_owned(),
                index,
                found: rows[index],
            }
            .into());
        }
        let vectors: Vec<&[f32]> = rows.chunks(width).collect();
        for (row, left) in vectors.iter().enumerate() {
            for (other, right) in vectors.iter().enumerate().take(row + 1) {
                let found: f64 = left
                    .iter()
                    .zip(*right)
                    .map(|(a, b)| f64::from(*a) * f64::from(*b))
                    .sum();
                let (found, expected) = (found as f32, if row == other { 1.0 } else { 0.0 });
                if (found - expected).abs() > ORTHONORMAL_TOLERANCE {
                    return Err(FileError::DirectionBasis {
                        row,
                        other,
                        expected,
                        found,
                    });
                }
            }
        }
        Ok(Self { rows, rank })
    }

    /// Number of rows.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Width of the site that it belongs to.
    pub fn width(&self) -> usize {
        self.rows.len() / self.rank
    }

    /// The rows, row-major `[rank, width]`.
    pub fn rows(&self) -> &[f32] {
        &self.rows
    }

    /// Checks that the basis fits a place of a model.
    ///
    /// # Errors
    /// - those of [`Place::check`]
    /// - [`FileError::Intervention`] if the model has another width there.
    pub fn check(&self, place: Place, sizes: &Sizes) -> Result<(), FileError> {
        check_width(self.width(), place, sizes)
    }

    /// The tensor as a file has it.
    pub(crate) fn as_tensor(&self, name: impl Into<Cow<'static, str>>) -> tensor_file::Tensor<'_> {
        (name.into(), [self.rank, self.width()], &self.rows)
    }
}

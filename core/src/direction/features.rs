//! Which features of a value a direction file holds: [`Features`].

use std::borrow::Cow;

use burn::tensor::{Tensor, TensorData, backend::Backend};

use super::Basis;
use crate::{
    intervention::{Autoencoder, Featurizer, InterventionError},
    load::TensorError,
    tensor_file::{self, FileError, TensorFile},
};

/// Features of a value, and how they are read off it.
#[derive(Clone, Debug, PartialEq)]
pub enum Features {
    /// The numbers of the value themselves, so many.
    Values(usize),
    /// Coordinates in a subspace.
    Subspace(Basis),
    /// Coordinates of the value less a mean, in units of a standard deviation.
    Standardized {
        /// Principal components.
        basis: Basis,
        /// `[width]`.
        mean: Vec<f32>,
        /// `[width]`, positive.
        std: Vec<f32>,
    },
    /// Latents of an autoencoder.
    Autoencoder(Latents),
}

/// The numbers of an [`Autoencoder`], row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Latents {
    /// `[width, k]`.
    pub encoder: Vec<f32>,
    /// `[k]`.
    pub encoder_bias: Vec<f32>,
    /// `[k, width]`.
    pub decoder: Vec<f32>,
    /// `[width]`.
    pub decoder_bias: Vec<f32>,
    /// `[k]`, of a JumpReLU SAE.
    pub threshold: Option<Vec<f32>>,
}

/// What an operation of a plan asks of a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A subspace.
    LowRank,
    /// A basis of the whole space.
    Rotated,
    /// The value's own numbers, each to its degree.
    Masked,
    /// Coordinates in a basis, each to its degree.
    MaskedRotated,
    /// Principal components of standardized values.
    Pca,
    /// Latents.
    Autoencoder,
    /// Latents above a threshold.
    JumpRelu,
}

impl Form {
    /// In words.
    pub fn about(self) -> &'static str {
        match self {
            Self::LowRank => "a subspace",
            Self::Rotated => "a basis of the whole space",
            Self::Masked => "a mask of the value's own numbers",
            Self::MaskedRotated => "a basis with a mask",
            Self::Pca => "principal components of standardized values",
            Self::Autoencoder => "an autoencoder",
            Self::JumpRelu => "an autoencoder with thresholds",
        }
    }
}

impl Features {
    /// Checks numbers and shapes.
    ///
    /// # Errors
    /// - [`FileError::Tensor`] if a tensor is of another length than its place wants, is not finite, or a deviation is not positive.
    pub fn checked(self) -> Result<Self, FileError> {
        let width = self.width();
        match &self {
            Self::Values(0) => {
                return Err(InterventionError::Rank {
                    rank: 0,
                    d_model: 0,
                }
                .into());
            }
            Self::Values(_) | Self::Subspace(_) => {}
            Self::Standardized { mean, std, .. } => {
                check("mean", mean, width, |_| true)?;
                check("std", std, width, |x| x > 0.0)?;
            }
            Self::Autoencoder(latents) => {
                let k = self.n_features();
                let size = k.saturating_mul(width);
                check("encoder.weight", &latents.encoder, size, |_| true)?;
                check("encoder.bias", &latents.encoder_bias, k, |_| true)?;
                check("decoder.weight", &latents.decoder, size, |_| true)?;
                check("decoder.bias", &latents.decoder_bias, width, |_| true)?;
                if let Some(threshold) = &latents.threshold {
                    check("threshold", threshold, k, |_| true)?;
                }
            }
        }
        Ok(self)
    }

    /// Number of features.
    pub fn n_features(&self) -> usize {
        match self {
            Self::Values(width) => *width,
            Self::Subspace(basis) | Self::Standardized { basis, .. } => basis.rank(),
            Self::Autoencoder(latents) => latents.encoder_bias.len(),
        }
    }

    /// Width of the values that they are features of.
    pub fn width(&self) -> usize {
        match self {
            Self::Values(width) => *width,
            Self::Subspace(basis) | Self::Standardized { basis, .. } => basis.width(),
            Self::Autoencoder(latents) => latents.decoder_bias.len(),
        }
    }

    /// Orthonormal rows that features are coordinates in, where they are.
    pub fn basis(&self) -> Option<&Basis> {
        match self {
            Self::Subspace(basis) | Self::Standardized { basis, .. } => Some(basis),
            Self::Values(_) | Self::Autoencoder(_) => None,
        }
    }

    /// The featurizer on a device: of some of the coordinates, in their order, where they are named and features are coordinates.
    pub(super) fn featurizer<B: Backend>(
        &self,
        dims: Option<&[usize]>,
        device: &B::Device,
    ) -> Featurizer<B> {
        let matrix = |values: &[f32], n_rows: usize| -> Tensor<B, 2> {
            let shape = [n_rows, values.len() / n_rows.max(1)];
            Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
        };
        let vector = |values: &[f32]| -> Tensor<B, 1> {
            Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), device)
        };
        let rows = |basis: &Basis| match dims {
            None => matrix(basis.rows(), basis.rank()),
            Some(dims) => {
                let width = basis.width();
                let row = |dim: &usize| &basis.rows()[dim * width..(dim + 1) * width];
                let rows: Vec<f32> = dims.iter().flat_map(row).copied().collect();
                matrix(&rows, dims.len())
            }
        };
        match self {
            Self::Values(_) => Featurizer::Identity,
            Self::Subspace(basis) => Featurizer::Subspace(rows(basis)),
            Self::Standardized { basis, mean, std } => Featurizer::Standardized {
                basis: rows(basis),
                mean: vector(mean),
                std: vector(std),
            },
            Self::Autoencoder(latents) => Featurizer::Autoencoder(Autoencoder {
                encoder: matrix(&latents.encoder, self.width()),
                encoder_bias: vector(&latents.encoder_bias),
                decoder: matrix(&latents.decoder, self.n_features()),
                decoder_bias: vector(&latents.decoder_bias),
                threshold: latents.threshold.as_deref().map(vector),
            }),
        }
    }

    /// The tensors of a file.
    pub(super) fn tensors(&self) -> Vec<tensor_file::Tensor<'_>> {
        fn row<'a>(name: &'static str, values: &'a [f32]) -> tensor_file::Tensor<'a> {
            (Cow::Borrowed(name), [1, values.len()], values)
        }
        match self {
            Self::Values(_) => Vec::new(),
            Self::Subspace(basis) => vec![basis.as_tensor("basis")],
            Self::Standardized { basis, mean, std } => {
                vec![basis.as_tensor("basis"), row("mean", mean), row("std", std)]
            }
            Self::Autoencoder(latents) => {
                let (width, k) = (self.width(), self.n_features());
                let mut tensors = vec![
                    (
                        Cow::Borrowed("encoder.weight"),
                        [width, k],
                        &latents.encoder[..],
                    ),
                    row("encoder.bias", &latents.encoder_bias),
                    (
                        Cow::Borrowed("decoder.weight"),
                        [k, width],
                        &latents.decoder[..],
                    ),
                    row("decoder.bias", &latents.decoder_bias),
                ];
                let threshold = latents.threshold.as_deref();
                tensors.extend(threshold.map(|threshold| row("threshold", threshold)));
                tensors
            }
        }
    }

    /// Reads the tensors of a file; `n_masked` is the length of its mask, where it has one.
    pub(super) fn read(file: &TensorFile<'_>, n_masked: Option<usize>) -> Result<Self, FileError> {
        if file.has("encoder.weight") {
            let encoder_bias = vector(file, "encoder.bias")?;
            let decoder_bias = vector(file, "decoder.bias")?;
            let (width, k) = (decoder_bias.len(), encoder_bias.len());
            let threshold = file.has("threshold");
            let threshold = threshold.then(|| vector(file, "threshold")).transpose()?;
            let latents = Latents {
                encoder: matrix(file, "encoder.weight", [width, k])?,
                encoder_bias,
                decoder: matrix(file, "decoder.weight", [k, width])?,
                decoder_bias,
                threshold,
            };
            return Self::Autoencoder(latents).checked();
        }
        if let (Some(width), false) = (n_masked, file.has("basis")) {
            return Self::Values(width).checked();
        }
        let (rows, rank) = file.matrix("basis", "basis")?;
        let basis = Basis::new(rows, rank)?;
        if file.has("mean") || file.has("std") {
            let (mean, std) = (vector(file, "mean")?, vector(file, "std")?);
            return Self::Standardized { basis, mean, std }.checked();
        }
        Ok(Self::Subspace(basis))
    }
}

/// A tensor of one row.
pub(super) fn vector(file: &TensorFile<'_>, name: &'static str) -> Result<Vec<f32>, FileError> {
    let (values, n_rows) = file.matrix(name, name)?;
    let width = values.len() / n_rows.max(1);
    of_shape(name, values, [n_rows, width], [1, n_rows * width])
}

/// A tensor of this shape.
fn matrix(
    file: &TensorFile<'_>,
    name: &'static str,
    expected: [usize; 2],
) -> Result<Vec<f32>, FileError> {
    let (values, n_rows) = file.matrix(name, name)?;
    let width = values.len() / n_rows.max(1);
    of_shape(name, values, [n_rows, width], expected)
}

fn of_shape(
    name: &str,
    values: Vec<f32>,
    found: [usize; 2],
    expected: [usize; 2],
) -> Result<Vec<f32>, FileError> {
    match found == expected {
        true => Ok(values),
        false => Err(TensorError::Shape {
            name: name.to_owned(),
            expected: expected.to_vec(),
            found: found.to_vec(),
        }
        .into()),
    }
}

/// Checks a tensor's length, and that all of its values are finite and right.
pub(super) fn check(
    name: &str,
    values: &[f32],
    expected: usize,
    is_right: impl Fn(f32) -> bool,
) -> Result<(), FileError> {
    let name = name.to_owned();
    if values.len() != expected {
        let (expected, found) = (vec![1, expected], vec![1, values.len()]);
        return Err(TensorError::Shape {
            name,
            expected,
            found,
        }
        .into());
    }
    match values.iter().position(|x| !x.is_finite() || !is_right(*x)) {
        None => Ok(()),
        Some(index) => {
            let found = values[index];
            Err(TensorError::Value { name, index, found }.into())
        }
    }
}

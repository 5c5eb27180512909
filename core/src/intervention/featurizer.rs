//! Featurizers: how features are read off a value, and what a change of them changes of it.
//!
//! A featurizer encodes and decodes; what it leaves out, the value less what is decoded of its features, stays as it is unless an
//! intervention drops it. Decoders are linear up to an offset, so that a change of features is a change of the value.

use burn::tensor::{Tensor, activation::relu, backend::Backend};

/// Features of a value of `width` numbers.
#[derive(Clone, Debug)]
pub enum Featurizer<B: Backend> {
    /// The numbers themselves.
    Identity,
    /// Coordinates in a subspace, given by its basis `[k, width]` with orthonormal rows; the complement is left out.
    Subspace(Tensor<B, 2>),
    /// Coordinates, in a basis as of a subspace, of the value less a mean, in units of a standard deviation: principal
    /// components of standardized values.
    Standardized {
        /// `[k, width]`, rows orthonormal.
        basis: Tensor<B, 2>,
        /// `[width]`.
        mean: Tensor<B, 1>,
        /// `[width]`, positive.
        std: Tensor<B, 1>,
    },
    /// Latents of an autoencoder of one layer each way.
    Autoencoder(Autoencoder<B>),
}

/// An autoencoder of one layer each way: `relu(x encoder + encoder_bias)`, and back `latents decoder + decoder_bias`.
///
/// With a threshold it is a JumpReLU SAE: latents up to it are 0 (Rajamanoharan et al. 2024,
/// <https://arxiv.org/abs/2407.14435>).
#[derive(Clone, Debug)]
pub struct Autoencoder<B: Backend> {
    /// `[width, k]`.
    pub encoder: Tensor<B, 2>,
    /// `[k]`.
    pub encoder_bias: Tensor<B, 1>,
    /// `[k, width]`.
    pub decoder: Tensor<B, 2>,
    /// `[width]`.
    pub decoder_bias: Tensor<B, 1>,
    /// `[k]`; none where 0 alone is the threshold.
    pub threshold: Option<Tensor<B, 1>>,
}

impl<B: Backend> Featurizer<B> {
    /// Features of values.
    ///
    /// # Shapes
    /// - `x`: `[…, width]`; result: `[…, k]`
    pub fn encode<const D: usize>(&self, x: Tensor<B, D>) -> Tensor<B, D> {
        match self {
            Self::Identity => x,
            Self::Subspace(basis) => product(x, basis.clone().transpose()),
            Self::Standardized { basis, mean, std } => {
                let x = (x - in_all(mean)) / in_all(std);
                product(x, basis.clone().transpose())
            }
            Self::Autoencoder(autoencoder) => {
                let latents = product(x, autoencoder.encoder.clone());
                let latents = latents + in_all(&autoencoder.encoder_bias);
                match &autoencoder.threshold {
                    None => relu(latents),
                    Some(threshold) => {
                        let is_out = latents.clone().lower_equal(in_all(threshold));
                        relu(latents.mask_fill(is_out, 0.0))
                    }
                }
            }
        }
    }

    /// What a change of features changes of the value.
    ///
    /// # Shapes
    /// - `change`: `[…, k]`; result: `[…, width]`
    pub fn spread<const D: usize>(&self, change: Tensor<B, D>) -> Tensor<B, D> {
        match self {
            Self::Identity => change,
            Self::Subspace(basis) => product(change, basis.clone()),
            Self::Standardized { basis, std, .. } => product(change, basis.clone()) * in_all(std),
            Self::Autoencoder(autoencoder) => product(change, autoencoder.decoder.clone()),
        }
    }

    /// The value that features alone make.
    ///
    /// # Shapes
    /// - `features`: `[…, k]`; result: `[…, width]`
    pub fn decode<const D: usize>(&self, features: Tensor<B, D>) -> Tensor<B, D> {
        let value = self.spread(features);
        match self {
            Self::Identity | Self::Subspace(_) => value,
            Self::Standardized { mean, .. } => value + in_all(mean),
            Self::Autoencoder(autoencoder) => value + in_all(&autoencoder.decoder_bias),
        }
    }

    /// True if features of a sum are the sum of the features.
    pub(super) fn is_linear(&self) -> bool {
        matches!(self, Self::Identity | Self::Subspace(_))
    }

    /// Width of the values that it is for; `None` if any.
    pub(super) fn width(&self) -> Option<usize> {
        match self {
            Self::Identity => None,
            Self::Subspace(basis) | Self::Standardized { basis, .. } => Some(basis.dims()[1]),
            Self::Autoencoder(autoencoder) => Some(autoencoder.decoder.dims()[1]),
        }
    }
}

/// # Shapes
/// - `x`: `[…, n]`; `weight`: `[n, m]`; result: `[…, m]`
fn product<B: Backend, const D: usize>(x: Tensor<B, D>, weight: Tensor<B, 2>) -> Tensor<B, D> {
    let mut shape = x.dims();
    let [n, m] = weight.dims();
    let rows: Tensor<B, 2> = x.reshape([-1, n as i32]);
    shape[D - 1] = m;
    rows.matmul(weight).reshape(shape)
}

/// A number for each value of the last axis, wherever it is.
pub(super) fn in_all<B: Backend, const D: usize>(x: &Tensor<B, 1>) -> Tensor<B, D> {
    x.clone().unsqueeze()
}

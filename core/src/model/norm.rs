//! Norms, and soft caps: what keeps numbers small.

use burn::{
    module::{Module, Param},
    nn::RmsNorm,
    tensor::{Tensor, TensorPrimitive, backend::Backend},
};

use super::{Config, NormKind};
use crate::kernel::Kernels;

/// Norm over the last axis.
#[derive(Module, Debug)]
pub enum Norm<B: Backend> {
    /// By mean and variance.
    Layer(LayerNorm<B>),
    /// By the root of the mean square.
    Rms(RmsNorm<B>),
}

impl<B: Backend> Norm<B> {
    /// A norm of this weight and bias.
    ///
    /// # Shapes
    /// - each: `[width]`
    pub(crate) fn new(config: &Config, weight: Tensor<B, 1>, bias: Option<Tensor<B, 1>>) -> Self {
        let (epsilon, gamma) = (config.norm_epsilon, Param::from_tensor(weight));
        match config.norm {
            NormKind::Rms => Self::Rms(RmsNorm { gamma, epsilon }),
            NormKind::Layer => Self::Layer(LayerNorm {
                gamma,
                beta: bias.map(Param::from_tensor),
                epsilon,
            }),
        }
    }

    /// What each value is multiplied by.
    ///
    /// # Shapes
    /// - result: `[width]`
    pub(crate) fn weight(&self) -> Tensor<B, 1> {
        match self {
            Self::Layer(norm) => norm.gamma.val(),
            Self::Rms(norm) => norm.gamma.val(),
        }
    }

    /// # Shapes
    /// - `x`, result: `[…, width]`
    pub fn forward<const D: usize>(&self, x: Tensor<B, D>, kernels: &Kernels<B>) -> Tensor<B, D> {
        match self {
            Self::Layer(norm) => norm.forward(x),
            Self::Rms(RmsNorm { gamma, epsilon }) => {
                let (shape, [width]) = (x.shape(), gamma.dims());
                let n_rows = shape.num_elements() / width;
                let rows = x.reshape([n_rows, width]);
                (kernels.rms_norm)(rows, gamma.val(), *epsilon).reshape(shape)
            }
        }
    }
}

/// burn's layer norm, of weights that are there: burn's own module can be had only with random ones, and brings all ways of
/// drawing them into the page.
#[derive(Module, Debug)]
pub struct LayerNorm<B: Backend> {
    /// Weight, `[width]`.
    pub gamma: Param<Tensor<B, 1>>,
    /// Bias, `[width]`.
    pub beta: Option<Param<Tensor<B, 1>>>,
    /// Added to the variance.
    pub epsilon: f64,
}

impl<B: Backend> LayerNorm<B> {
    /// # Shapes
    /// - `x`, result: `[…, width]`
    pub fn forward<const D: usize>(&self, x: Tensor<B, D>) -> Tensor<B, D> {
        let primitive = |param: &Param<Tensor<B, 1>>| param.val().into_primitive().tensor();
        let normed = B::layer_norm(
            x.into_primitive().tensor(),
            primitive(&self.gamma),
            self.beta.as_ref().map(primitive),
            self.epsilon,
        );
        Tensor::from_primitive(TensorPrimitive::Float(normed))
    }
}

/// `x`, kept between a cap and its negative; with a cap of 0 as it is.
pub(super) fn capped<B: Backend, const D: usize>(x: Tensor<B, D>, cap: f64) -> Tensor<B, D> {
    match cap {
        0.0 => x,
        _ => (x / cap).tanh() * cap,
    }
}

//! Kernels that a program may give a backend in place of burn's own.
//!
//! The model asks here; where nothing was installed for its backend, it computes with burn's operations.

use std::{
    any::Any,
    sync::{PoisonError, RwLock},
};

use burn::{
    nn::Linear,
    tensor::{Bool, Tensor, activation, backend::Backend},
};

/// Input, weight and bias to output.
pub type LinearKernel<B> = fn(Tensor<B, 3>, Tensor<B, 2>, Option<Tensor<B, 1>>) -> Tensor<B, 3>;

/// Faster forms of some of the model's operations on one backend; each must equal the form in this file within rounding.
pub struct Kernels<B: Backend> {
    /// `x @ weight + bias`.
    ///
    /// # Shapes
    /// - `[batch, pos, d_input]`, `[d_input, d_output]` of any strides, `[d_output]`; result: `[batch, pos, d_output]`
    pub linear: LinearKernel<B>,
    /// GELU in the tanh approximation, value by value.
    pub gelu_new: fn(Tensor<B, 3>) -> Tensor<B, 3>,
    /// Minus infinity where a key comes after its query; the queries are the last `q_pos` of the `k_pos` positions.
    ///
    /// # Shapes
    /// - `[batch, head, q_pos, k_pos]`
    pub causal: fn(Tensor<B, 4>) -> Tensor<B, 4>,
    /// Softmax over the last axis.
    pub softmax: fn(Tensor<B, 4>) -> Tensor<B, 4>,
}

/// At most one `Kernels<B>` for each `B`.
static KERNELS: RwLock<Vec<Box<dyn Any + Send + Sync>>> = RwLock::new(Vec::new());

impl<B: Backend> Clone for Kernels<B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B: Backend> Copy for Kernels<B> {}

impl<B: Backend> Kernels<B> {
    /// Makes every model on `B` compute with these kernels.
    pub fn install(self) {
        let mut kernels = KERNELS.write().unwrap_or_else(PoisonError::into_inner);
        kernels.retain(|other| !other.is::<Self>());
        kernels.push(Box::new(self));
    }

    /// Models on `B` compute with burn's operations again.
    pub fn uninstall() {
        let mut kernels = KERNELS.write().unwrap_or_else(PoisonError::into_inner);
        kernels.retain(|other| !other.is::<Self>());
    }

    fn installed() -> Option<Self> {
        let kernels = KERNELS.read().unwrap_or_else(PoisonError::into_inner);
        kernels.iter().find_map(|any| any.downcast_ref()).copied()
    }
}

/// A linear layer.
///
/// # Shapes
/// - `x`: `[batch, pos, d_input]`; result: `[batch, pos, d_output]`
pub(crate) fn linear<B: Backend>(layer: &Linear<B>, x: Tensor<B, 3>) -> Tensor<B, 3> {
    let bias = layer.bias.as_ref().map(|bias| bias.val());
    if let Some(kernels) = Kernels::installed() {
        return (kernels.linear)(x, layer.weight.val(), bias);
    }
    // burn's own layer takes a product for each prompt, with few rows each, and copies the weights to go back.
    let x = matmul(x, layer.weight.val());
    match bias {
        Some(bias) => x + bias.unsqueeze(),
        None => x,
    }
}

/// Multiplies every position by a matrix.
///
/// # Shapes
/// - `x`: `[batch, pos, d_input]`; `weight`: `[d_input, d_output]`; result: `[batch, pos, d_output]`
pub(crate) fn matmul<B: Backend>(x: Tensor<B, 3>, weight: Tensor<B, 2>) -> Tensor<B, 3> {
    if let Some(kernels) = Kernels::installed() {
        return (kernels.linear)(x, weight, None);
    }
    let ([batch, pos, d_input], [_, d_output]) = (x.dims(), weight.dims());
    x.reshape([batch * pos, d_input])
        .matmul(weight)
        .reshape([batch, pos, d_output])
}

/// GELU in the tanh approximation (Hendrycks & Gimpel 2016, <https://arxiv.org/abs/1606.08415>), Hugging Face's
/// `gelu_new`; written with `(1 + tanh(u)) / 2 = sigmoid(2 u)`, which takes half the operations.
pub(crate) fn gelu_new<B: Backend>(x: Tensor<B, 3>) -> Tensor<B, 3> {
    if let Some(kernels) = Kernels::installed() {
        return (kernels.gelu_new)(x);
    }
    const TWO_SQRT_2_OVER_PI: f64 = std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::SQRT_2;
    let u =
        (x.clone() * x.clone() * (0.044715 * TWO_SQRT_2_OVER_PI) + TWO_SQRT_2_OVER_PI) * x.clone();
    x * activation::sigmoid(u)
}

/// Hides later keys from each query; the queries are the last `q_pos` of the `k_pos` positions.
///
/// # Shapes
/// - `score`, result: `[batch, head, q_pos, k_pos]`
pub(crate) fn causal<B: Backend>(score: Tensor<B, 4>) -> Tensor<B, 4> {
    if score.dims()[2] == 1 {
        return score;
    }
    match Kernels::installed() {
        Some(kernels) => (kernels.causal)(score),
        None => causal_mask(score),
    }
}

/// [`Kernels::causal`] by burn's operations.
pub fn causal_mask<B: Backend>(score: Tensor<B, 4>) -> Tensor<B, 4> {
    let [_, _, q_pos, k_pos] = score.dims();
    let past = (k_pos - q_pos) as i64;
    let hidden = Tensor::<B, 2, Bool>::tril_mask([q_pos, k_pos], past, &score.device()); // true = hidden
    score.mask_fill(hidden.unsqueeze::<4>(), f32::NEG_INFINITY)
}

/// Softmax over the last axis.
pub(crate) fn softmax<B: Backend>(x: Tensor<B, 4>) -> Tensor<B, 4> {
    match Kernels::installed() {
        Some(kernels) => (kernels.softmax)(x),
        None => activation::softmax(x, 3),
    }
}

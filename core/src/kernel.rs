//! Kernels: the operations of a model that a program may give it in a faster form for its backend.
//!
//! A model owns its kernels; those of burn's operations are what it has where it was given no others.

use burn::{
    module::{
        AutodiffModule, Content, Devices, EmptyRecord, Module, ModuleDisplay, ModuleDisplayDefault,
        ModuleMapper, ModuleVisitor, Param,
    },
    nn::Linear,
    tensor::{
        Bool, DType, Int, Tensor, activation,
        backend::{AutodiffBackend, Backend, DTypeUsage},
    },
};

/// Input, weight and bias to output.
pub type LinearKernel<B> = fn(Tensor<B, 3>, Tensor<B, 2>, Option<Tensor<B, 1>>) -> Tensor<B, 3>;

/// Some of a model's operations on one backend; each must equal burn's form ([`Kernels::default`]) within rounding.
#[derive(Debug)]
pub struct Kernels<B: Backend> {
    /// `x @ weight + bias`; the weight may be held in half precision.
    ///
    /// # Shapes
    /// - `[batch, pos, d_input]`, `[d_input, d_output]` of any strides, `[d_output]`; result: `[batch, pos, d_output]`
    pub linear: LinearKernel<B>,
    /// Rows of a table, in single precision; the table may be held in half precision.
    ///
    /// # Shapes
    /// - `[n, width]` of any strides, `[rows]`; result: `[rows, width]`
    pub rows: fn(Tensor<B, 2>, Tensor<B, 1, Int>) -> Tensor<B, 2>,
    /// A layer's weight as `linear` reads it fastest: the same values, in an order of the kernel's choice in memory.
    ///
    /// # Shapes
    /// - `[d_input, d_output]`, result the same
    pub hold: fn(Tensor<B, 2>) -> Tensor<B, 2>,
    /// GELU in the tanh approximation, value by value.
    pub gelu_new: fn(Tensor<B, 3>) -> Tensor<B, 3>,
    /// `x * sigmoid(x)`, value by value.
    pub silu: fn(Tensor<B, 3>) -> Tensor<B, 3>,
    /// Rows by the root of their mean square, which is made larger by a number, times a weight.
    ///
    /// # Shapes
    /// - `[rows, width]`, `[width]`; result: `[rows, width]`
    pub rms_norm: fn(Tensor<B, 2>, Tensor<B, 1>, f64) -> Tensor<B, 2>,
    /// Turns pairs of values, the first of the two halves of as many values as are turned, by angles of these cosines and sines.
    ///
    /// # Shapes
    /// - `[batch, head, pos, d_head]`, twice `[1, 1, pos, n_pairs]`; result: `[batch, head, pos, d_head]`
    pub rotate: fn(Tensor<B, 4>, &[Tensor<B, 4>; 2]) -> Tensor<B, 4>,
    /// The product of each head's rows with the matrix of the head of keys and values that serves it, times a factor.
    ///
    /// # Shapes
    /// - `[batch, head, pos, n]`, `[batch, kv_head, n, m]`; result: `[batch, head, pos, m]`
    pub heads: fn(Tensor<B, 4>, Tensor<B, 4>, f64) -> Tensor<B, 4>,
    /// Heads side by side.
    ///
    /// # Shapes
    /// - `[batch, head, pos, d_head]`; result: `[batch, pos, head * d_head]`
    pub join_heads: fn(Tensor<B, 4>) -> Tensor<B, 3>,
    /// Minus infinity where a key comes after its query; the queries are the last `q_pos` of the `k_pos` positions.
    ///
    /// # Shapes
    /// - `[batch, head, q_pos, k_pos]`
    pub causal: fn(Tensor<B, 4>) -> Tensor<B, 4>,
    /// Softmax over the last axis.
    pub softmax: fn(Tensor<B, 4>) -> Tensor<B, 4>,
}

impl<B: Backend> Default for Kernels<B> {
    /// burn's operations.
    fn default() -> Self {
        Self {
            linear,
            rows,
            hold: |weight| weight,
            gelu_new,
            silu: activation::silu,
            rms_norm,
            rotate,
            heads,
            join_heads,
            causal: causal_mask,
            softmax: |x| activation::softmax(x, 3),
        }
    }
}

impl<B: Backend> Clone for Kernels<B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B: Backend> Copy for Kernels<B> {}

impl<B: Backend> Kernels<B> {
    /// A linear layer.
    ///
    /// # Shapes
    /// - `x`: `[batch, pos, d_input]`; result: `[batch, pos, d_output]`
    pub(crate) fn layer(&self, layer: &Linear<B>, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let bias = layer.bias.as_ref().map(|bias| bias.val());
        (self.linear)(x, layer.weight.val(), bias)
    }

    /// Puts the weights of layers in the order in memory that is read fastest, one after the other: the model is there once, and a
    /// weight a second time. Those that are held in half precision stay: each product widens them first.
    pub(crate) fn hold<'a>(&self, layers: impl IntoIterator<Item = &'a mut Linear<B>>) {
        for layer in layers {
            let weight = layer.weight.val();
            if weight.dtype() == DType::F32 {
                layer.weight = Param::initialized(layer.weight.id, (self.hold)(weight));
            }
        }
    }

    /// Hides from each query the keys that come later, and those before its window; the queries are the last `q_pos` of the
    /// `k_pos` positions.
    ///
    /// # Shapes
    /// - `score`, result: `[batch, head, q_pos, k_pos]`
    pub(crate) fn hide(&self, score: Tensor<B, 4>, window: Option<usize>) -> Tensor<B, 4> {
        let [_, _, q_pos, k_pos] = score.dims();
        let score = match q_pos {
            1 => score,
            _ => (self.causal)(score),
        };
        match window.filter(|window| *window < k_pos) {
            Some(window) => hide_before(score, window),
            None => score,
        }
    }
}

/// Weights in single precision, however they are held.
pub(crate) fn widened<B: Backend, const D: usize>(weights: Tensor<B, D>) -> Tensor<B, D> {
    match weights.dtype() {
        DType::F16 | DType::BF16 => weights.cast(DType::F32),
        _ => weights,
    }
}

/// [`Kernels::linear`] by burn's operations. burn's own layer takes a product for each prompt, with few rows each, and copies the
/// weights to go back: this one takes one. With weights that are held in half precision `x` is rounded to it where the device has
/// units for such products; else each product widens its weights first.
pub fn linear<B: Backend>(
    x: Tensor<B, 3>,
    weight: Tensor<B, 2>,
    bias: Option<Tensor<B, 1>>,
) -> Tensor<B, 3> {
    let ([batch, pos, d_input], [_, d_output]) = (x.dims(), weight.dims());
    let (own, held) = (x.dtype(), weight.dtype());
    let x = x.reshape([batch * pos, d_input]);
    let x = match own == held {
        true => x.matmul(weight),
        false if B::dtype_usage(&x.device(), held).contains(DTypeUsage::Accelerated) => {
            x.cast(held).matmul(weight).cast(own)
        }
        false => x.matmul(weight.cast(own)),
    };
    let x = x.reshape([batch, pos, d_output]);
    match bias {
        Some(bias) => x + bias.unsqueeze(),
        None => x,
    }
}

/// [`Kernels::rows`] by burn's operations.
pub fn rows<B: Backend>(table: Tensor<B, 2>, ids: Tensor<B, 1, Int>) -> Tensor<B, 2> {
    widened(table.select(0, ids))
}

/// GELU in the tanh approximation (Hendrycks & Gimpel 2016, <https://arxiv.org/abs/1606.08415>), Hugging Face's
/// `gelu_new`; written with `(1 + tanh(u)) / 2 = sigmoid(2 u)`, which takes half the operations.
fn gelu_new<B: Backend>(x: Tensor<B, 3>) -> Tensor<B, 3> {
    const TWO_SQRT_2_OVER_PI: f64 = std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::SQRT_2;
    let u =
        (x.clone() * x.clone() * (0.044715 * TWO_SQRT_2_OVER_PI) + TWO_SQRT_2_OVER_PI) * x.clone();
    x * activation::sigmoid(u)
}

/// [`Kernels::rms_norm`] by burn's operations.
pub fn rms_norm<B: Backend>(x: Tensor<B, 2>, weight: Tensor<B, 1>, epsilon: f64) -> Tensor<B, 2> {
    let rms = (x.clone().square().mean_dim(1) + epsilon).sqrt(); // [rows, 1]
    x / rms * weight.unsqueeze()
}

/// [`Kernels::rotate`] by burn's operations: `x * cos` and, with the two of each pair exchanged, `x * sin`. All positions of a head are
/// one row, since backends multiply all rows by one fastest.
pub fn rotate<B: Backend>(x: Tensor<B, 4>, [cos, sin]: &[Tensor<B, 4>; 2]) -> Tensor<B, 4> {
    let ([batch, head, pos, d_head], [_, _, _, n_pairs]) = (x.dims(), cos.dims());
    let rest = d_head - 2 * n_pairs;
    let part = |from, n| x.clone().narrow(3, from, n);
    let mut exchanged = vec![part(n_pairs, n_pairs), part(0, n_pairs)];
    let mut factors = [[cos.clone(), cos.clone()], [sin.clone().neg(), sin.clone()]].map(Vec::from);
    if rest > 0 {
        exchanged.push(part(2 * n_pairs, rest));
        let zeros = Tensor::zeros([1, 1, pos, rest], &x.device());
        factors[0].push(zeros.clone() + 1.0);
        factors[1].push(zeros);
    }
    let exchanged = Tensor::cat(exchanged, 3);
    let [cos, sin] = factors.map(|parts| Tensor::cat(parts, 3).reshape([1, pos * d_head]));
    let rows = |x: Tensor<B, 4>| x.reshape([batch * head, pos * d_head]);
    (rows(x) * cos + rows(exchanged) * sin).reshape([batch, head, pos, d_head])
}

/// [`Kernels::heads`] by burn's operations. Heads that share one are rows of one product, so that none is copied; the factor is
/// that of the rows, which are fewer values than the result.
pub fn heads<B: Backend>(x: Tensor<B, 4>, shared: Tensor<B, 4>, factor: f64) -> Tensor<B, 4> {
    let ([batch, head, pos, n], [_, n_kv_heads, _, m]) = (x.dims(), shared.dims());
    let x = match factor {
        1.0 => x,
        _ => x * factor,
    };
    if head == n_kv_heads {
        return x.matmul(shared);
    }
    let x = x.reshape([batch, n_kv_heads, head / n_kv_heads * pos, n]);
    x.matmul(shared).reshape([batch, head, pos, m])
}

/// [`Kernels::join_heads`] by burn's operations.
pub fn join_heads<B: Backend>(x: Tensor<B, 4>) -> Tensor<B, 3> {
    let [batch, head, pos, d_head] = x.dims();
    x.swap_dims(1, 2).reshape([batch, pos, head * d_head])
}

/// [`Kernels::causal`] by burn's operations.
pub fn causal_mask<B: Backend>(score: Tensor<B, 4>) -> Tensor<B, 4> {
    let [_, _, q_pos, k_pos] = score.dims();
    let past = (k_pos - q_pos) as i64;
    let hidden = Tensor::<B, 2, Bool>::tril_mask([q_pos, k_pos], past, &score.device()); // true = hidden
    score.mask_fill(hidden.unsqueeze::<4>(), f32::NEG_INFINITY)
}

/// Minus infinity where a key lies `window` or more positions before its query.
fn hide_before<B: Backend>(score: Tensor<B, 4>, window: usize) -> Tensor<B, 4> {
    let [_, _, q_pos, k_pos] = score.dims();
    let first = (k_pos - q_pos) as i64 - window as i64; // the last hidden key of query 0
    let hidden = Tensor::<B, 2, Bool>::triu_mask([q_pos, k_pos], first + 1, &score.device());
    score.mask_fill(hidden.unsqueeze::<4>(), f32::NEG_INFINITY)
}

/// A part of a model without parameters.
impl<B: Backend> Module<B> for Kernels<B> {
    type Record = EmptyRecord;

    fn visit<V: ModuleVisitor<B>>(&self, _: &mut V) {}

    fn map<M: ModuleMapper<B>>(self, _: &mut M) -> Self {
        self
    }

    fn load_record(self, _: Self::Record) -> Self {
        self
    }

    fn into_record(self) -> Self::Record {
        EmptyRecord::new()
    }

    fn to_device(self, _: &B::Device) -> Self {
        self
    }

    fn fork(self, _: &B::Device) -> Self {
        self
    }

    fn collect_devices(&self, devices: Devices<B>) -> Devices<B> {
        devices
    }
}

/// Kernels belong to one backend: on the other side of autodiff a model has burn's operations.
impl<B: AutodiffBackend> AutodiffModule<B> for Kernels<B> {
    type InnerModule = Kernels<B::InnerBackend>;

    fn valid(&self) -> Self::InnerModule {
        Kernels::default()
    }

    fn from_inner(_: Self::InnerModule) -> Self {
        Self::default()
    }
}

impl<B: Backend> ModuleDisplayDefault for Kernels<B> {
    fn content(&self, content: Content) -> Option<Content> {
        content.add_formatted(&"Kernels").optional()
    }
}

impl<B: Backend> ModuleDisplay for Kernels<B> {}

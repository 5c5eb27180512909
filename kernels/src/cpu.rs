//! The CPU of a browser: one thread, vectors of 4 numbers.
//!
//! - burn calls the C library's `expf` for each number of a GELU or a softmax; here a polynomial takes 4 at a time.
//! - burn's matrix product copies the weights in strips of 12 columns for the few rows of a prompt, and a strip takes part
//!   of a cache line only; here a strip is one cache line wide.

use burn::tensor::{DType, Tensor, TensorData, TensorPrimitive};
use burn_flex::{Flex, FlexTensor};
use swivel_core::kernel::{self, Kernels};
use swivel_simd::Matrix;

/// Kernels for burn's CPU backend, in a browser.
pub const CPU: Kernels<Flex> = Kernels {
    linear,
    rows: kernel::rows,
    hold,
    gelu_new,
    silu,
    rms_norm,
    rotate,
    heads,
    join_heads,
    causal,
    softmax,
};

/// The same outside of it, where burn's matrix product has wider vectors than ours.
pub const NATIVE: Kernels<Flex> = Kernels {
    linear: native_linear,
    hold: |weight| weight,
    heads: kernel::heads,
    ..CPU
};

/// Columns that lie in one piece each are read in the order in which they lie, and none is copied.
fn hold(weight: Tensor<Flex, 2>) -> Tensor<Flex, 2> {
    let ([d_input, d_output], device) = (weight.dims(), weight.device());
    let weight = weight.into_primitive().tensor();
    let matrix = matrix(&weight);
    if matrix.row_stride == 1 {
        return Tensor::from_primitive(TensorPrimitive::Float(weight));
    }
    let turned = TensorData::new(matrix.turned(d_input), [d_output, d_input]);
    Tensor::from_data(turned, &device).transpose()
}

fn matrix(weight: &FlexTensor) -> Matrix<'_> {
    let (layout, strides) = (weight.layout(), weight.layout().strides());
    Matrix {
        values: &weight.storage::<f32>()[layout.start_offset()..],
        row_stride: strides[0].unsigned_abs(),
        column_stride: strides[1].unsigned_abs(),
        n_columns: layout.shape()[1],
    }
}

fn linear(
    x: Tensor<Flex, 3>,
    weight: Tensor<Flex, 2>,
    bias: Option<Tensor<Flex, 1>>,
) -> Tensor<Flex, 3> {
    if weight.dtype() != DType::F32 {
        return kernel::linear(x, weight, bias);
    }
    let ([batch, pos, d_input], [_, d_output]) = (x.dims(), weight.dims());
    let device = x.device();
    let x = contiguous(x.into_primitive());
    let weight = weight.into_primitive().tensor();
    let bias = bias.map(|bias| contiguous(bias.into_primitive()));
    let mut out = match &bias {
        Some(bias) => bias.storage::<f32>().repeat(batch * pos),
        None => vec![0.0; batch * pos * d_output],
    };
    swivel_simd::multiply(x.storage(), d_input, &matrix(&weight), &mut out);
    Tensor::from_data(TensorData::new(out, [batch, pos, d_output]), &device)
}

/// burn's matrix product, which for two rows packs all weights first, and for one reads them as they lie: reading them twice is
/// faster.
fn native_linear(
    x: Tensor<Flex, 3>,
    weight: Tensor<Flex, 2>,
    bias: Option<Tensor<Flex, 1>>,
) -> Tensor<Flex, 3> {
    let [batch, pos, d_input] = x.dims();
    if batch * pos != 2 {
        return kernel::linear(x, weight, bias);
    }
    let x = x.reshape([2, 1, d_input]);
    let row = |row| kernel::linear(x.clone().narrow(0, row, 1), weight.clone(), bias.clone());
    let rows = Tensor::cat(vec![row(0), row(1)], 0);
    let d_output = rows.dims()[2];
    rows.reshape([batch, pos, d_output])
}

fn contiguous(x: TensorPrimitive<Flex>) -> FlexTensor {
    x.tensor().to_contiguous()
}

fn gelu_new(x: Tensor<Flex, 3>) -> Tensor<Flex, 3> {
    map(x, |values, _| swivel_simd::gelu_new(values))
}

fn silu(x: Tensor<Flex, 3>) -> Tensor<Flex, 3> {
    map(x, |values, _| swivel_simd::silu(values))
}

fn rms_norm(x: Tensor<Flex, 2>, weight: Tensor<Flex, 1>, epsilon: f64) -> Tensor<Flex, 2> {
    let weight = contiguous(weight.into_primitive());
    let weight = weight.storage::<f32>();
    map(x, |values, _| {
        swivel_simd::rms_norm(values, weight, epsilon as f32)
    })
}

fn rotate(x: Tensor<Flex, 4>, angles: &[Tensor<Flex, 4>; 2]) -> Tensor<Flex, 4> {
    let ([_, _, pos, d_head], [_, _, _, n_pairs]) = (x.dims(), angles[0].dims());
    let angles = angles
        .each_ref()
        .map(|x| contiguous(x.clone().into_primitive()));
    let [cos, sin] = angles.each_ref().map(|x| x.storage::<f32>());
    map(in_rows(x), |values, first| {
        for (i, row) in values.chunks_exact_mut(d_head).enumerate() {
            let at = (first + i) % pos * n_pairs;
            swivel_simd::rotate(row, &cos[at..at + n_pairs], &sin[at..at + n_pairs]);
        }
    })
}

fn heads(x: Tensor<Flex, 4>, shared: Tensor<Flex, 4>, factor: f64) -> Tensor<Flex, 4> {
    let ([batch, head, pos, n], [_, n_kv_heads, _, m]) = (x.dims(), shared.dims());
    let device = x.device();
    let x = contiguous(in_rows(x).into_primitive());
    let shared = shared.into_primitive().tensor();
    let (layout, strides) = (shared.layout(), shared.layout().strides());
    let strides: [usize; 4] = std::array::from_fn(|i| strides[i].unsigned_abs());
    let values = &shared.storage::<f32>()[layout.start_offset()..];
    let mut out = vec![0.0; batch * head * pos * m];
    // Heads that share one are rows of one product.
    let n_rows = (head / n_kv_heads * pos).max(1);
    let rows = x.storage::<f32>().chunks_exact((n_rows * n).max(1));
    for (idx, (rows, out)) in rows.zip(out.chunks_exact_mut(n_rows * m)).enumerate() {
        let first = idx / n_kv_heads * strides[0] + idx % n_kv_heads * strides[1];
        let matrix = Matrix {
            values: &values[first..],
            row_stride: strides[2],
            column_stride: strides[3],
            n_columns: m,
        };
        swivel_simd::multiply(rows, n, &matrix, out);
    }
    if factor != 1.0 {
        out.iter_mut().for_each(|value| *value *= factor as f32);
    }
    Tensor::from_data(TensorData::new(out, [batch, head, pos, m]), &device)
}

fn join_heads(x: Tensor<Flex, 4>) -> Tensor<Flex, 3> {
    let [batch, head, pos, d_head] = x.dims();
    in_rows(x.swap_dims(1, 2)).reshape([batch, pos, head * d_head])
}

/// The same values one behind the other, copied row by row where they are not: where heads are split or joined two axes are
/// swapped, and burn copies value by value.
fn in_rows(x: Tensor<Flex, 4>) -> Tensor<Flex, 4> {
    let (shape, device) = (x.dims(), x.device());
    let [n, m, n_rows, width] = shape;
    let x = x.into_primitive().tensor();
    if x.is_contiguous() || !matches!(x.layout().strides(), [.., 1]) {
        return Tensor::from_primitive(TensorPrimitive::Float(x));
    }
    let (from, layout) = (x.storage::<f32>(), x.layout());
    let mut values = Vec::with_capacity(n * m * n_rows * width);
    for (i, j) in (0..n).flat_map(|i| (0..m).map(move |j| (i, j))) {
        for row in 0..n_rows {
            let steps = [i, j, row].into_iter().zip(layout.strides());
            let at = steps.fold(layout.start_offset(), |at, (i, stride)| {
                at + i * stride.unsigned_abs()
            });
            values.extend_from_slice(&from[at..at + width]);
        }
    }
    Tensor::from_data(TensorData::new(values, shape), &device)
}

fn softmax(x: Tensor<Flex, 4>) -> Tensor<Flex, 4> {
    let [_, _, _, k_pos] = x.dims();
    map(x, |values, _| swivel_simd::softmax(values, k_pos))
}

fn causal(score: Tensor<Flex, 4>) -> Tensor<Flex, 4> {
    let [_, _, q_pos, k_pos] = score.dims();
    map(score, |values, first| {
        for (i, row) in values.chunks_exact_mut(k_pos).enumerate() {
            let n_visible = k_pos - q_pos + (first + i) % q_pos + 1;
            row[n_visible..].fill(f32::NEG_INFINITY);
        }
    })
}

/// Changes rows of the last axis, in place where nothing else holds the tensor; `f` gets some of them, and the number of the
/// first.
fn map<const D: usize>(
    x: Tensor<Flex, D>,
    f: impl Fn(&mut [f32], usize) + Sync,
) -> Tensor<Flex, D> {
    let width = x.dims()[D - 1].max(1);
    let mut x = contiguous(x.into_primitive());
    in_parts(x.storage_mut(), width, f);
    Tensor::from_primitive(TensorPrimitive::Float(x))
}

/// Rows of `width` values, some at a time, side by side where there are threads.
#[cfg(feature = "rayon")]
fn in_parts(values: &mut [f32], width: usize, f: impl Fn(&mut [f32], usize) + Sync) {
    use rayon::prelude::*;
    /// Values that are worth a thread.
    const MANY: usize = 1 << 14;
    let n_rows = MANY.div_ceil(width);
    let parts = values.par_chunks_mut(n_rows * width).enumerate();
    parts.for_each(|(idx, rows)| f(rows, idx * n_rows));
}

/// Rows of `width` values, all at once.
#[cfg(not(feature = "rayon"))]
fn in_parts(values: &mut [f32], _: usize, f: impl Fn(&mut [f32], usize)) {
    f(values, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values that are none of them like their neighbours; enough for several threads.
    fn values<const D: usize>(shape: [usize; D]) -> Tensor<Flex, D> {
        let n = shape.iter().product::<usize>();
        let values: Vec<f32> = (0..n)
            .map(|i| (i * 7919 % 1013) as f32 / 126.0 - 4.0)
            .collect();
        Tensor::from_data(TensorData::new(values, shape), &Default::default())
    }

    #[track_caller]
    fn check<const D: usize>(found: Tensor<Flex, D>, expected: Tensor<Flex, D>) {
        let difference: f32 = (found - expected).abs().max().into_scalar();
        assert!(difference < 1e-5, "{difference}");
    }

    #[test]
    fn what_passes_once_over_values_is_burns() {
        let burns = Kernels::<Flex>::default();
        let x = values([3, 70, 99]);
        check(silu(x.clone()), (burns.silu)(x.clone()));
        check(gelu_new(x.clone()), (burns.gelu_new)(x));
        let (x, weight) = (values([300, 99]), values([99]));
        check(
            rms_norm(x.clone(), weight.clone(), 1e-5),
            (burns.rms_norm)(x, weight, 1e-5),
        );
    }

    #[test]
    fn rotation_is_burns() {
        let burns = Kernels::<Flex>::default();
        // Heads as attention splits them: rows that do not lie one after the other; all of each is turned, and a part.
        let x = values([4, 50, 5, 24]).swap_dims(1, 2);
        for n_pairs in [12, 7] {
            let angles = values([1, 1, 50, n_pairs]);
            let angles = [angles.clone().cos(), angles.sin()];
            check(
                rotate(x.clone(), &angles),
                (burns.rotate)(x.clone(), &angles),
            );
        }
    }

    #[test]
    fn products_of_heads_are_burns() {
        let burns = Kernels::<Flex>::default();
        // Heads as attention splits them, of queries alone and of two that share keys and values.
        for (n_heads, pos) in [(3, 20), (6, 20), (6, 1), (3, 140)] {
            let query = (values([2, pos, n_heads, 24]) / 8.0).swap_dims(1, 2);
            let key = (values([2, 33, 3, 24]) / 8.0).swap_dims(1, 2);
            let score = [heads, burns.heads].map(|product| {
                let key = key.clone().transpose();
                product(query.clone(), key, 0.125)
            });
            let [found, expected] = score;
            check(found.clone(), expected);
            let [found, expected] =
                [heads, burns.heads].map(|product| product(found.clone(), key.clone(), 1.0));
            check(found, expected);
        }
    }

    #[test]
    fn held_weights_are_the_same() {
        let weight = values([70, 99]);
        let held = hold(weight.clone());
        assert_eq!(held.clone().into_data(), weight.clone().into_data());
        check(hold(held), weight);
    }

    #[test]
    fn joined_heads_are_burns() {
        let burns = Kernels::<Flex>::default();
        let x = values([3, 5, 20, 24]);
        check(join_heads(x.clone()), (burns.join_heads)(x));
    }

    #[test]
    fn hidden_scores_and_softmax_are_burns() {
        let burns = Kernels::<Flex>::default();
        let score = values([4, 6, 30, 41]);
        let (found, expected) = (causal(score.clone()), (burns.causal)(score));
        check(softmax(found), (burns.softmax)(expected));
    }

    #[test]
    fn product_is_burns() {
        let device = Default::default();
        let random = |shape: &[usize]| -> Vec<f32> {
            let n = shape.iter().product::<usize>();
            (0..n)
                .map(|i| ((i * 7919 % 1013) as f32 / 506.0) - 1.0)
                .collect()
        };
        for (pos, d_input, d_output) in [(1, 8, 8), (4, 300, 24), (7, 513, 30), (11, 64, 922)] {
            let x = TensorData::new(random(&[pos, d_input]), [1, pos, d_input]);
            let x = Tensor::<Flex, 3>::from_data(x, &device);
            let w = TensorData::new(random(&[d_input, d_output]), [d_input, d_output]);
            let w = Tensor::<Flex, 2>::from_data(w, &device);
            let t = TensorData::new(random(&[d_output, d_input]), [d_output, d_input]);
            let t = Tensor::<Flex, 2>::from_data(t, &device).transpose();
            let b = Tensor::<Flex, 1>::ones([d_output], &device);
            let cases = [(w, Some(b)), (t, None)];
            for (w, b) in cases {
                let expected = x.clone().matmul(w.clone().unsqueeze());
                let expected = match &b {
                    Some(b) => expected + b.clone().unsqueeze(),
                    None => expected,
                };
                let difference = linear(x.clone(), w, b) - expected;
                assert!(difference.abs().max().into_scalar() < 1e-3);
            }
        }
    }
}

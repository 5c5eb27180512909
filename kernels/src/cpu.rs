//! The CPU of a browser: one thread, vectors of 4 numbers.
//!
//! - burn calls the C library's `expf` for each number of a GELU or a softmax; here a polynomial takes 4 at a time.
//! - burn's matrix product copies the weights in strips of 12 columns for the few rows of a prompt, and a strip takes part
//!   of a cache line only; here a strip is one cache line wide.

use burn::tensor::{Tensor, TensorData, TensorPrimitive};
use burn_flex::{Flex, FlexTensor};
use swivel_core::kernel::Kernels;
use swivel_simd::Matrix;

use crate::linear_by_burn;

/// Kernels for burn's CPU backend.
pub const CPU: Kernels<Flex> = Kernels {
    linear,
    gelu_new,
    causal,
    softmax,
};

fn linear(
    x: Tensor<Flex, 3>,
    weight: Tensor<Flex, 2>,
    bias: Option<Tensor<Flex, 1>>,
) -> Tensor<Flex, 3> {
    let ([batch, pos, d_input], [_, d_output]) = (x.dims(), weight.dims());
    if batch * pos < swivel_simd::HEIGHT {
        return linear_by_burn(x, weight, bias);
    }
    let device = x.device();
    let x = contiguous(x.into_primitive());
    let weight = weight.into_primitive().tensor();
    let bias = bias.map(|bias| contiguous(bias.into_primitive()));
    let strides = weight.layout().strides();
    let matrix = Matrix {
        values: &weight.storage::<f32>()[weight.layout().start_offset()..],
        row_stride: strides[0].unsigned_abs(),
        column_stride: strides[1].unsigned_abs(),
        n_columns: d_output,
    };
    let mut out = match &bias {
        Some(bias) => bias.storage::<f32>().repeat(batch * pos),
        None => vec![0.0; batch * pos * d_output],
    };
    swivel_simd::multiply(x.storage(), d_input, &matrix, &mut out);
    Tensor::from_data(TensorData::new(out, [batch, pos, d_output]), &device)
}

fn contiguous(x: TensorPrimitive<Flex>) -> FlexTensor {
    x.tensor().to_contiguous()
}

fn gelu_new(x: Tensor<Flex, 3>) -> Tensor<Flex, 3> {
    map(x, |values, _| swivel_simd::gelu_new(values))
}

fn softmax(x: Tensor<Flex, 4>) -> Tensor<Flex, 4> {
    map(x, |values, [_, _, _, k_pos]| {
        swivel_simd::softmax(values, k_pos)
    })
}

fn causal(score: Tensor<Flex, 4>) -> Tensor<Flex, 4> {
    map(score, |values, [_, _, q_pos, k_pos]| {
        for (i, row) in values.chunks_mut(k_pos).enumerate() {
            let n_visible = k_pos - q_pos + i % q_pos + 1;
            row[n_visible..].fill(f32::NEG_INFINITY);
        }
    })
}

/// Changes the values in place where nothing else holds the tensor.
fn map<const D: usize>(x: Tensor<Flex, D>, f: impl Fn(&mut [f32], [usize; D])) -> Tensor<Flex, D> {
    let shape = x.dims();
    let mut x = contiguous(x.into_primitive());
    f(x.storage_mut(), shape);
    Tensor::from_primitive(TensorPrimitive::Float(x))
}

#[cfg(test)]
mod tests {
    use super::*;

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

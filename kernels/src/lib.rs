//! A model's linear layers, norms, rotations, activations and softmax, faster than burn's on the CPU and in a browser.

use burn::tensor::{Tensor, backend::Backend};

mod cpu;
#[cfg(feature = "wgpu")]
mod gpu;

pub use cpu::{CPU, NATIVE};
#[cfg(feature = "wgpu")]
pub use gpu::GPU;

/// A linear layer by burn's operations, for shapes that our kernels are not made for.
fn linear_by_burn<B: Backend>(
    x: Tensor<B, 3>,
    weight: Tensor<B, 2>,
    bias: Option<Tensor<B, 1>>,
) -> Tensor<B, 3> {
    let x = x.matmul(weight.unsqueeze());
    match bias {
        Some(bias) => x + bias.unsqueeze(),
        None => x,
    }
}

//! A model's linear layers, norms, rotations, activations and softmax, faster than burn's on the CPU and in a browser.

mod cpu;
#[cfg(feature = "wgpu")]
mod gpu;

pub use cpu::{CPU, NATIVE};
#[cfg(feature = "wgpu")]
pub use gpu::GPU;

//! GPT-2's linear layers, GELU and softmax, faster than burn's in a browser.

mod cpu;
#[cfg(feature = "wgpu")]
mod gpu;

pub use cpu::CPU;
#[cfg(feature = "wgpu")]
pub use gpu::GPU;

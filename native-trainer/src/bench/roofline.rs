//! What a piece of work cannot do without: floating-point operations, and bytes that pass through memory.

/// Sizes of GPT-2 small.
const D_MODEL: f64 = 768.0;
const N_LAYERS: f64 = 12.0;
const D_VOCAB: f64 = 50257.0;

/// Operations and bytes of the reference tutorial's job.
pub struct Needed {
    /// Operations for base and source run of a pair, as far as they are cached.
    pub cache_flops: f64,
    /// Operations of a training step, a pair.
    pub step_flops: f64,
    /// Bytes of weights that a training step reads, forward and back.
    pub step_bytes: f64,
}

impl Needed {
    /// The job at `block_output` of `layer`, last of `n_tokens` tokens.
    pub fn tutorial(layer: usize, n_tokens: usize) -> Self {
        let (layer, n) = (layer as f64, n_tokens as f64);
        // A product of a row and a matrix takes two operations a weight: 12 d_model^2 of them in a block.
        let weights = 12.0 * D_MODEL * D_MODEL;
        let attention = |n: f64| 2.0 * 2.0 * D_MODEL * n * (n + 1.0) / 2.0; // scores and values, causal
        let whole = 2.0 * weights * n + attention(n);
        let keys_values = 2.0 * 2.0 * D_MODEL * D_MODEL * n;
        let one_token = 2.0 * weights + 2.0 * 2.0 * D_MODEL * n;
        let source = layer * whole + keys_values + one_token;
        let base = match layer + 1.0 == N_LAYERS {
            true => source,
            false => (N_LAYERS - 1.0) * whole + keys_values,
        };
        // Forward, and back to the intervention; the weights take no gradients.
        let above = N_LAYERS - 1.0 - layer;
        let step = 2.0 * (above * one_token + 2.0 * D_MODEL * D_VOCAB);
        Self {
            cache_flops: base + source,
            step_flops: step,
            step_bytes: 2.0 * 4.0 * (above * weights + D_MODEL * D_VOCAB),
        }
    }
}

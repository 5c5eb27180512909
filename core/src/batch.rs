//! How much is computed at once: one rule for all batches, by the bytes of the widest value that they make.

use burn::tensor::backend::Backend;

use crate::Sizes;

/// Bytes of the widest value of a batch that runs through the blocks: more do not make a product of matrices faster, but leave
/// the processor's caches, and the allocator hands such large values back to the system each time.
const BATCH_BYTES: usize = 12 << 20;
/// Rows beyond which a product of matrices is no faster.
pub const MANY_ROWS: usize = 256;
/// Bytes of the logits of a part of the vocabulary: on a CPU several passes over them stay in its caches …
const PART_BYTES_CPU: usize = 4 << 20;
/// … elsewhere a launch costs more than a pass, and only the memory counts.
const PART_BYTES: usize = 64 << 20;

/// Bytes of a number in a run.
const F32: usize = 4;

impl Sizes {
    /// Prompts that run through the blocks at once where each computes `q_pos` positions that see `k_pos`. How wide the
    /// vocabulary is does not count: logits are taken in parts ([`Decoder::read`](crate::Decoder::read)).
    pub fn rows_at_once(&self, q_pos: usize, k_pos: usize) -> usize {
        let width = self.d_mlp.max(self.d_model).max(self.n_heads * k_pos);
        (BATCH_BYTES / (F32 * width * q_pos.max(1))).clamp(1, MANY_ROWS)
    }
}

/// Tokens of the vocabulary whose logits are computed at once for so many rows.
pub(crate) fn tokens_at_once<B: Backend>(n_rows: usize, device: &B::Device) -> usize {
    let n_bytes = match B::name(device).as_str() {
        "flex" => PART_BYTES_CPU,
        _ => PART_BYTES,
    };
    (n_bytes / (F32 * n_rows.max(1))).max(1)
}

//! How much is computed at once: one rule for all batches, by the bytes of the widest value that they make.

use burn::tensor::backend::Backend;

/// Bytes of the widest value of a batch that runs through the blocks: more do not make a product of matrices faster, but leave
/// the processor's caches, and the allocator hands such large values back to the system each time.
const BATCH_BYTES: usize = 12 << 20;
/// Rows beyond which a product of matrices is no faster.
pub const MANY_ROWS: usize = 256;
/// Bytes of the logits of a part of the vocabulary: on a CPU several passes over them stay in its caches …
const PART_BYTES_CPU: usize = 8 << 20;
/// … elsewhere a launch costs more than a pass, and only the memory counts.
const PART_BYTES: usize = 64 << 20;

/// Bytes of a number in a run.
const F32: usize = 4;

/// Rows that are computed at once whose widest value has so many numbers.
pub(crate) fn rows_at_once(width: usize) -> usize {
    (BATCH_BYTES / (F32 * width.max(1))).clamp(1, MANY_ROWS)
}

/// Tokens of the vocabulary whose logits are computed at once for so many rows.
pub(crate) fn tokens_at_once<B: Backend>(n_rows: usize, device: &B::Device) -> usize {
    let n_bytes = match B::name(device).as_str() {
        "flex" => PART_BYTES_CPU,
        _ => PART_BYTES,
    };
    (n_bytes / (F32 * n_rows.max(1))).max(1)
}

//! Number formats of stored tensors, and their values as f32.
//!
//! The quantised ones are ggml's: a row is cut into blocks, each with its own scale, and what is computed is what the block
//! says, value by value, in the order of operations of llama.cpp's Python package `gguf` (`gguf/quants.py`), so that results are
//! equal to the last bit.

use half::{bf16, f16};

/// How the values of a tensor are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "names are those of the formats")]
pub enum Dtype {
    F32,
    F16,
    BF16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
}

/// Values of a block of the formats whose names end in `K`.
const SUPER: usize = 256;

impl Dtype {
    /// Every format: its name, its number in GGUF files, values and bytes of a block.
    const ALL: [(Dtype, &'static str, u32, usize, usize); 13] = [
        (Dtype::F32, "F32", 0, 1, 4),
        (Dtype::F16, "F16", 1, 1, 2),
        (Dtype::BF16, "BF16", 30, 1, 2),
        (Dtype::Q4_0, "Q4_0", 2, 32, 18),
        (Dtype::Q4_1, "Q4_1", 3, 32, 20),
        (Dtype::Q5_0, "Q5_0", 6, 32, 22),
        (Dtype::Q5_1, "Q5_1", 7, 32, 24),
        (Dtype::Q8_0, "Q8_0", 8, 32, 34),
        (Dtype::Q2K, "Q2_K", 10, SUPER, 84),
        (Dtype::Q3K, "Q3_K", 11, SUPER, 110),
        (Dtype::Q4K, "Q4_K", 12, SUPER, 144),
        (Dtype::Q5K, "Q5_K", 13, SUPER, 176),
        (Dtype::Q6K, "Q6_K", 14, SUPER, 210),
    ];

    fn row(self) -> (Dtype, &'static str, u32, usize, usize) {
        // The table has a row for each variant; the first is never taken for another.
        let row = Self::ALL.iter().find(|(dtype, ..)| *dtype == self);
        *row.unwrap_or(&Self::ALL[0])
    }

    /// The format's usual name.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// The format with this number in GGUF files.
    pub fn of_gguf(number: u32) -> Option<Self> {
        let row = Self::ALL.iter().find(|row| row.2 == number);
        row.map(|row| row.0)
    }

    /// Names of all formats.
    pub fn names() -> String {
        Self::ALL.map(|row| row.1).join(", ")
    }

    /// Values and bytes of a block; a row of a tensor is a whole number of blocks.
    pub fn block(self) -> (usize, usize) {
        let (.., values, bytes) = self.row();
        (values, bytes)
    }

    /// Bytes of `n_values` values; `None` if they are no whole number of blocks, or too many to be addressed.
    pub fn n_bytes(self, n_values: u64) -> Option<u64> {
        let (values, bytes) = self.block();
        match n_values % values as u64 {
            0 => (n_values / values as u64).checked_mul(bytes as u64),
            _ => None,
        }
    }

    /// The values of `bytes`; what is left of the last block is dropped.
    pub fn to_f32(self, bytes: &[u8]) -> Vec<f32> {
        let (n_values, n_bytes) = self.block();
        let mut values = Vec::with_capacity(bytes.len() / n_bytes * n_values);
        for block in bytes.chunks_exact(n_bytes) {
            let values = &mut values;
            match self {
                Self::F32 => {
                    values.push(f32::from_le_bytes([block[0], block[1], block[2], block[3]]))
                }
                Self::F16 => values.push(f16_at(block, 0)),
                Self::BF16 => values.push(bf16::from_le_bytes([block[0], block[1]]).to_f32()),
                Self::Q4_0 => q4_0(block, values),
                Self::Q4_1 => q4_1(block, values),
                Self::Q5_0 => q5_0(block, values),
                Self::Q5_1 => q5_1(block, values),
                Self::Q8_0 => q8_0(block, values),
                Self::Q2K => q2_k(block, values),
                Self::Q3K => q3_k(block, values),
                Self::Q4K => q4_k(block, values),
                Self::Q5K => q5_k(block, values),
                Self::Q6K => q6_k(block, values),
            }
        }
        values
    }
}

fn f16_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// Low halves of all bytes, then their high halves.
fn nibbles(bytes: &[u8]) -> impl Iterator<Item = u8> {
    let low = bytes.iter().map(|byte| byte & 15);
    low.chain(bytes.iter().map(|byte| byte >> 4))
}

/// Bit `idx` of little-endian bits.
fn bit(bits: &[u8], idx: usize) -> u8 {
    bits[idx / 8] >> (idx % 8) & 1
}

fn q4_0(block: &[u8], values: &mut Vec<f32>) {
    let d = f16_at(block, 0);
    values.extend(nibbles(&block[2..]).map(|q| d * (f32::from(q) - 8.0)));
}

fn q4_1(block: &[u8], values: &mut Vec<f32>) {
    let (d, m) = (f16_at(block, 0), f16_at(block, 2));
    values.extend(nibbles(&block[4..]).map(|q| d * f32::from(q) + m));
}

fn q5_0(block: &[u8], values: &mut Vec<f32>) {
    let (d, high) = (f16_at(block, 0), &block[2..6]);
    let q = nibbles(&block[6..]).enumerate();
    values.extend(q.map(|(idx, q)| d * (f32::from(q | bit(high, idx) << 4) - 16.0)));
}

fn q5_1(block: &[u8], values: &mut Vec<f32>) {
    let (d, m, high) = (f16_at(block, 0), f16_at(block, 2), &block[4..8]);
    let q = nibbles(&block[8..]).enumerate();
    values.extend(q.map(|(idx, q)| d * f32::from(q | bit(high, idx) << 4) + m));
}

fn q8_0(block: &[u8], values: &mut Vec<f32>) {
    let d = f16_at(block, 0);
    values.extend(block[2..].iter().map(|&q| f32::from(q as i8) * d));
}

/// 16 groups of 16 values of 2 bits: scales and minima of 4 bits each, the values, two factors.
fn q2_k(block: &[u8], values: &mut Vec<f32>) {
    let (scales, q) = (&block[..16], &block[16..80]);
    let (d, d_min) = (f16_at(block, 80), f16_at(block, 82));
    for idx in 0..SUPER {
        let scale = scales[idx / 16];
        let (dl, ml) = (d * f32::from(scale & 15), d_min * f32::from(scale >> 4));
        values.push(dl * f32::from(two_bits(q, idx)) - ml);
    }
}

/// Value `idx` of values of 2 bits: each 32 bytes hold 128 of them, one in each 2 bits.
fn two_bits(q: &[u8], idx: usize) -> u8 {
    let (half, rest) = (idx / 128, idx % 128);
    q[half * 32 + rest % 32] >> (rest / 32 * 2) & 3
}

/// 16 groups of 16 values of 3 bits: the high bits, the low ones, scales of 6 bits, a factor.
fn q3_k(block: &[u8], values: &mut Vec<f32>) {
    let (high, low, packed) = (&block[..32], &block[32..96], &block[96..108]);
    let d = f16_at(block, 108);
    for idx in 0..SUPER {
        let group = idx / 16;
        let low_scale = packed[group % 8] >> (group / 8 * 4) & 15;
        let high_scale = packed[8 + group % 4] >> (group / 4 * 2) & 3;
        let scale = f32::from(low_scale | high_scale << 4) - 32.0;
        let is_low = high[idx % 32] >> (idx / 32) & 1 == 0;
        let q = f32::from(two_bits(low, idx)) - if is_low { 4.0 } else { 0.0 };
        values.push(d * scale * q);
    }
}

/// Scales and minima of 6 bits of 8 groups, in 12 bytes.
fn scale_and_min(packed: &[u8], group: usize) -> (f32, f32) {
    let (scale, min) = match group {
        0..4 => (packed[group] & 63, packed[group + 4] & 63),
        _ => (
            packed[group + 4] & 15 | packed[group - 4] >> 6 << 4,
            packed[group + 4] >> 4 | packed[group] >> 6 << 4,
        ),
    };
    (f32::from(scale), f32::from(min))
}

/// Value `idx` of values of 4 bits: each 32 bytes hold 64 of them, first the low halves.
fn four_bits(q: &[u8], idx: usize) -> u8 {
    let (part, rest) = (idx / 64, idx % 64);
    q[part * 32 + rest % 32] >> (rest / 32 * 4) & 15
}

/// 8 groups of 32 values of 4 bits: two factors, scales and minima of 6 bits each, the values.
fn q4_k(block: &[u8], values: &mut Vec<f32>) {
    let (d, d_min) = (f16_at(block, 0), f16_at(block, 2));
    for idx in 0..SUPER {
        let (scale, min) = scale_and_min(&block[4..16], idx / 32);
        values.push(d * scale * f32::from(four_bits(&block[16..], idx)) - d_min * min);
    }
}

/// As `Q4_K`, with a fifth bit for each value.
fn q5_k(block: &[u8], values: &mut Vec<f32>) {
    let (d, d_min) = (f16_at(block, 0), f16_at(block, 2));
    let (high, low) = (&block[16..48], &block[48..]);
    for idx in 0..SUPER {
        let (scale, min) = scale_and_min(&block[4..16], idx / 32);
        let fifth = high[idx % 32] >> (idx / 32) & 1;
        let q = four_bits(low, idx) | fifth << 4;
        values.push(d * scale * f32::from(q) - d_min * min);
    }
}

/// 16 groups of 16 values of 6 bits: the low 4 bits, the high 2, scales of 8 bits, a factor.
fn q6_k(block: &[u8], values: &mut Vec<f32>) {
    let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let d = f16_at(block, 208);
    for idx in 0..SUPER {
        let (half, rest) = (idx / 128, idx % 128);
        let four = low[half * 64 + rest % 64] >> (rest / 64 * 4) & 15;
        let q = f32::from(four | two_bits(high, idx) << 4) - 32.0;
        values.push(d * f32::from(scales[idx / 16] as i8) * q);
    }
}

//! Bytes of a file, and where its numbers are.

use std::ops::Range;

/// A file that is written field by field.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    pub bytes: Vec<u8>,
    /// Where the numbers are, little-endian.
    pub numbers: Vec<Range<usize>>,
}

impl Fields {
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The low `n_bytes` bytes of a number.
    pub fn number(&mut self, n_bytes: usize, number: u64) {
        let start = self.bytes.len();
        self.raw(&number.to_le_bytes()[..n_bytes]);
        self.numbers.push(start..self.bytes.len());
    }
}

//! What mutations of all formats have in common: numbers that a file would rather not have, bytes flipped, cut and doubled.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::fields::Fields;

/// Everything that is drawn for one file.
pub struct Mutator {
    rng: ChaCha8Rng,
}

impl Mutator {
    pub fn new(seed: u64) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(seed);
        Self { rng }
    }

    pub fn below(&mut self, n: usize) -> usize {
        self.rng.random_range(0..n)
    }

    /// True once in `n` times.
    pub fn rarely(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    /// Another number in place of one.
    pub fn number(&mut self, own: u64) -> u64 {
        let (any, power) = (self.rng.random(), 1 << self.below(64));
        let [small, near] = [100, 5].map(|n| self.below(n) as u64);
        self.pick(&[
            0,
            small,
            any,
            power,
            own.wrapping_add(near),
            own.wrapping_sub(near),
            own.wrapping_mul(2),
            own ^ power,
            u64::MAX,
            u64::MAX - small,
            u32::MAX.into(),
            i64::MAX as u64,
            u64::from(u32::MAX) + near,
        ])
    }

    /// A short text, or a long one, of letters or of any characters.
    pub fn text(&mut self) -> String {
        let n = match self.rarely(20) {
            true => self.below(3000),
            false => self.below(12),
        };
        match self.below(3) {
            0 => (0..n).map(|_| self.rng.random::<char>()).collect(),
            1 => "x\n\u{202e}é".repeat(n / 3),
            _ => "abc.weight"[..n.min(10)].to_owned(),
        }
    }

    /// Changes some numbers of a file, and at times any bytes.
    pub fn mutate(&mut self, file: Fields) -> Vec<u8> {
        let Fields { mut bytes, numbers } = file;
        for _ in 0..self.below(3) {
            let range = self.pick(&numbers);
            let mut own = [0; 8];
            own[..range.len()].copy_from_slice(&bytes[range.clone()]);
            let other = self.number(u64::from_le_bytes(own)).to_le_bytes();
            bytes[range.clone()].copy_from_slice(&other[..range.len()]);
        }
        if self.rarely(4) {
            for _ in 0..=self.below(4) {
                self.mutate_bytes(&mut bytes);
            }
        }
        bytes
    }

    pub fn mutate_bytes(&mut self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let at = self.below(bytes.len());
        let end = bytes.len().min(at + self.below(40));
        match self.below(7) {
            0 => bytes[at] = self.rng.random(),
            1 | 2 => bytes[at] ^= 1 << self.below(8),
            3 => bytes.truncate(at),
            4 => drop(bytes.drain(at..end)),
            5 => drop(bytes.splice(at..at, self.rng.random::<[u8; 8]>())),
            _ => {
                let part = bytes[at..end].to_vec();
                let to = self.below(bytes.len());
                bytes.splice(to..to, part);
            }
        }
    }
}

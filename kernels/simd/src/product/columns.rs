//! Products with columns that lie in one piece each: what is read side by side are four inputs, and nothing is copied.

use std::ops::Range;

use crate::vector::Vector;

/// Values that are fetched before they are multiplied: 32 kB, so that some first-level and all second-level caches hold them.
const AHEAD: usize = 1 << 13;

/// Columns of `depth` values, each in one piece.
pub struct Columns<'a> {
    /// First column first.
    pub values: &'a [f32],
    /// Distance of a column's start from the next one's.
    pub stride: usize,
    /// Length of a column.
    pub depth: usize,
}

impl Columns<'_> {
    /// Adds the products of rows with the first columns to the columns `range` of `out`, which has rows of `width`.
    pub fn multiply(&self, x: &[f32], range: Range<usize>, out: &mut [f32], width: usize) {
        let n = range.len();
        let n_ahead = (AHEAD / self.stride.max(1) / 3).max(1) * 3;
        for i in (0..n).step_by(3) {
            if i % n_ahead == 0 {
                let end = n.min(i + n_ahead) * self.stride;
                fetch(&self.values[i * self.stride..self.values.len().min(end)]);
            }
            let at = range.start + i;
            match n - i {
                1 => self.tiles::<1>(x, i, out, width, at),
                2 => self.tiles::<2>(x, i, out, width, at),
                _ => self.tiles::<3>(x, i, out, width, at),
            }
        }
    }

    /// All rows by `C` columns from `first` on.
    fn tiles<const C: usize>(
        &self,
        x: &[f32],
        first: usize,
        out: &mut [f32],
        width: usize,
        at: usize,
    ) {
        let columns = std::array::from_fn(|c| self.column(first + c));
        let n_rows = x.len() / self.depth;
        let mut row = 0;
        while row < n_rows {
            let (x, out) = (&x[row * self.depth..], &mut out[row * width + at..]);
            // Never one row alone, where there are others.
            row += match n_rows - row {
                1 => tile::<1, C>(x, columns, out, width),
                2 | 4 => tile::<2, C>(x, columns, out, width),
                _ => tile::<3, C>(x, columns, out, width),
            };
        }
    }

    /// Adds the products of a few rows with the first columns to `out`, one column after the other: memory is read in one go.
    pub fn multiply_few(&self, x: &[f32], out: &mut [f32]) {
        let n_columns = out.len() / (x.len() / self.depth);
        for j in 0..n_columns {
            let column = self.column(j);
            for (x, out) in x
                .chunks_exact(self.depth)
                .zip(out.chunks_exact_mut(n_columns))
            {
                out[j] += long_dot(x, column);
            }
        }
    }

    fn column(&self, j: usize) -> &[f32] {
        &self.values[j * self.stride..][..self.depth]
    }
}

/// Reads a value of each cache line, in the order in which they lie: memory is fastest then, and products wait for none of it.
fn fetch(values: &[f32]) {
    let bits = values
        .iter()
        .step_by(16)
        .fold(0, |bits, value| bits | value.to_bits());
    std::hint::black_box(bits);
}

/// Adds `R` rows by `C` columns to the start of `out`; returns `R`.
#[inline(always)]
fn tile<const R: usize, const C: usize>(
    x: &[f32],
    columns: [&[f32]; C],
    out: &mut [f32],
    width: usize,
) -> usize {
    let depth = columns[0].len();
    let rows: [&[f32]; R] = std::array::from_fn(|r| &x[r * depth..][..depth]);
    let n_vectors = depth / 4;
    let vectors = rows.map(|row| &row.as_chunks::<4>().0[..n_vectors]);
    let chunks = columns.map(|column| &column.as_chunks::<4>().0[..n_vectors]);
    let mut sums = [[Vector::splat(0.0); C]; R];
    for k in 0..n_vectors {
        let weights = chunks.map(|chunks| Vector::new(chunks[k]));
        for (sums, row) in sums.iter_mut().zip(&vectors) {
            let x = Vector::new(row[k]);
            for (sum, weight) in sums.iter_mut().zip(weights) {
                *sum = sum.add(x.mul(weight));
            }
        }
    }
    let rest = 4 * n_vectors..depth;
    for (r, sums) in sums.iter().enumerate() {
        let out = &mut out[r * width..][..C];
        for (c, (out, sum)) in out.iter_mut().zip(sums).enumerate() {
            *out += total(*sum);
            if !rest.is_empty() {
                *out += dot(&rows[r][rest.clone()], &columns[c][rest.clone()]);
            }
        }
    }
    R
}

/// Copies `n` columns of rows of `values`, a multiple of four, each into one piece.
pub fn turn(
    values: &[f32],
    row_stride: usize,
    d_input: usize,
    n: usize,
    to: &mut [f32],
    stride: usize,
) {
    let whole = d_input - d_input % 4;
    for k in (0..whole).step_by(4) {
        let rows: [&[[f32; 4]]; 4] =
            std::array::from_fn(|i| values[(k + i) * row_stride..][..n].as_chunks::<4>().0);
        for j in 0..n / 4 {
            let columns = Vector::transposed(rows.map(|row| Vector::new(row[j])));
            for (i, column) in columns.into_iter().enumerate() {
                to[(4 * j + i) * stride + k..][..4].copy_from_slice(&column.array());
            }
        }
    }
    for k in whole..d_input {
        for (j, value) in values[k * row_stride..][..n].iter().enumerate() {
            to[j * stride + k] = *value;
        }
    }
}

#[inline(always)]
fn long_dot(x: &[f32], column: &[f32]) -> f32 {
    let (groups, rest) = x.as_chunks::<16>();
    let (weights, last) = column.as_chunks::<16>();
    // Four sums do not wait for one another.
    let mut sums = [Vector::splat(0.0); 4];
    for (x, weights) in groups.iter().zip(weights) {
        let (x, weights) = (x.as_chunks::<4>().0, weights.as_chunks::<4>().0);
        for (sum, (x, weight)) in sums.iter_mut().zip(x.iter().zip(weights)) {
            *sum = sum.add(Vector::new(*x).mul(Vector::new(*weight)));
        }
    }
    let [a, b, c, d] = sums;
    total(a.add(b).add(c.add(d))) + dot(rest, last)
}

fn total(sum: Vector) -> f32 {
    let [a, b, c, d] = sum.array();
    (a + b) + (c + d)
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

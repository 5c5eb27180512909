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

    /// Adds the products of one to three rows with the first columns to `out`.
    ///
    /// Columns that are read side by side lie far from one another: each is the next piece of a stream of its own, and a
    /// processor fetches several streams ahead faster than one.
    pub fn multiply_few(&self, x: &[f32], out: &mut [f32]) {
        match x.len() / self.depth {
            1 => self.streams::<1, 4>(x, out),
            2 => self.streams::<2, 4>(x, out),
            _ => self.streams::<3, 3>(x, out),
        }
    }

    /// `R` rows by all columns, in `N` streams.
    fn streams<const R: usize, const N: usize>(&self, x: &[f32], out: &mut [f32]) {
        let n_columns = out.len() / R;
        let rows = std::array::from_fn(|r| &x[r * self.depth..][..self.depth]);
        let length = n_columns / N;
        for j in 0..length {
            let columns = std::array::from_fn(|n| self.column(n * length + j));
            let products: [[f32; N]; R] = products(rows, columns);
            for (r, products) in products.into_iter().enumerate() {
                for (n, product) in products.into_iter().enumerate() {
                    out[r * n_columns + n * length + j] += product;
                }
            }
        }
        for j in N * length..n_columns {
            for (r, [product]) in products(rows, [self.column(j)]).into_iter().enumerate() {
                out[r * n_columns + j] += product;
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
    let rows = std::array::from_fn(|r| &x[r * depth..][..depth]);
    let products: [[f32; C]; R] = products(rows, columns);
    for (r, products) in products.into_iter().enumerate() {
        let out = out[r * width..][..C].iter_mut();
        out.zip(products).for_each(|(out, product)| *out += product);
    }
    R
}

/// Products of `R` rows and `C` columns, all of one length.
#[inline(always)]
fn products<const R: usize, const C: usize>(
    rows: [&[f32]; R],
    columns: [&[f32]; C],
) -> [[f32; C]; R] {
    let depth = columns[0].len();
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
    // Nothing may refer to the sums: the compiler would write each to memory at each step.
    let mut totals = sums.map(|sums| sums.map(total));
    let rest = 4 * n_vectors..depth;
    if !rest.is_empty() {
        for (totals, row) in totals.iter_mut().zip(rows) {
            for (total, column) in totals.iter_mut().zip(columns) {
                *total += dot(&row[rest.clone()], &column[rest.clone()]);
            }
        }
    }
    totals
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

fn total(sum: Vector) -> f32 {
    let [a, b, c, d] = sum.array();
    (a + b) + (c + d)
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

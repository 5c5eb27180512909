//! Products with panels: rows of weights, a cache line of each, copied side by side.
//!
//! Panels are filled along the rows of the weights, so that each row is read as it lies.

use std::ops::Range;

use super::Matrix;
use crate::vector::Vector;

/// Columns of a panel, in vectors.
const N_VECTORS: usize = 4;
const WIDTH: usize = 4 * N_VECTORS;
/// Rows of a panel at most.
const MAX_DEPTH: usize = 64;
/// Columns that are walked along before the next rows of weights: sums stay in the second-level cache.
const WALK: usize = 1024;

type Panel = [[Vector; N_VECTORS]];

/// Adds `x @ weight` to `out`, some rows of the weight at a time.
pub fn multiply(x: &[f32], d_input: usize, weight: &Matrix<'_>, depth: usize, out: &mut [f32]) {
    let n_columns = weight.n_columns;
    let x = pairs(x, d_input);
    let mut panel = [[Vector::splat(0.0); N_VECTORS]; MAX_DEPTH];
    for start in (0..n_columns).step_by(WALK) {
        let end = n_columns.min(start + WALK);
        for k in (0..d_input).step_by(depth.min(MAX_DEPTH)) {
            let depth = depth.min(MAX_DEPTH).min(d_input - k);
            let panel = &mut panel[..depth];
            for column in (start..end).step_by(WIDTH) {
                let columns = column..end.min(column + WIDTH);
                weight.copy(panel, k, columns.clone());
                let outs = out.chunks_mut(2 * n_columns);
                for (x, out) in x.chunks_exact(d_input).zip(outs) {
                    add(&x[k..k + depth], panel, out, n_columns, columns.clone());
                }
            }
        }
    }
}

impl Matrix<'_> {
    /// Copies these columns of rows from `row` on, zeros where a panel is wider.
    fn copy(&self, panel: &mut Panel, row: usize, columns: Range<usize>) {
        let values = &self.values[row * self.row_stride + columns.start * self.column_stride..];
        let width = columns.len();
        if width == WIDTH && self.column_stride == 1 {
            for (to, row) in panel.iter_mut().zip(values.chunks(self.row_stride)) {
                let row = row[..WIDTH].as_chunks::<4>().0;
                *to = std::array::from_fn(|i| Vector::new(row[i]));
            }
            return;
        }
        if width == WIDTH && self.row_stride == 1 && panel.len().is_multiple_of(4) {
            for i in 0..N_VECTORS {
                let columns: [&[[f32; 4]]; 4] = std::array::from_fn(|j| {
                    values[(4 * i + j) * self.column_stride..][..panel.len()]
                        .as_chunks::<4>()
                        .0
                });
                for (k, to) in panel.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                    let rows = Vector::transposed(columns.map(|column| Vector::new(column[k])));
                    to.iter_mut().zip(rows).for_each(|(to, row)| to[i] = row);
                }
            }
            return;
        }
        for (k, to) in panel.iter_mut().enumerate() {
            let value = |j: usize| match j < width {
                true => values[k * self.row_stride + j * self.column_stride],
                false => 0.0,
            };
            *to = std::array::from_fn(|i| Vector::new(std::array::from_fn(|j| value(4 * i + j))));
        }
    }
}

/// Rows two by two, their values side by side; zeros where there is no second one.
fn pairs(x: &[f32], d_input: usize) -> Vec<[f32; 2]> {
    let mut pairs = Vec::with_capacity(x.len().div_ceil(2 * d_input) * d_input);
    for rows in x.chunks(2 * d_input) {
        match rows.split_at(d_input) {
            (first, []) => pairs.extend(first.iter().map(|x| [*x, 0.0])),
            (first, second) => pairs.extend(first.iter().zip(second).map(|(a, b)| [*a, *b])),
        }
    }
    pairs
}

/// Adds the products of up to two rows with a panel to these columns of `out`.
#[inline(always)]
fn add(x: &[[f32; 2]], panel: &Panel, out: &mut [f32], n_columns: usize, columns: Range<usize>) {
    let [first, second] = product(x, panel);
    let mut rows = out.chunks_mut(n_columns);
    for sums in [first, second] {
        if let Some(row) = rows.next() {
            let row = &mut row[columns.clone()];
            if row.len() == WIDTH {
                for (out, sum) in row.as_chunks_mut::<4>().0.iter_mut().zip(sums) {
                    *out = Vector::new(*out).add(sum).array();
                }
            } else {
                let sums = sums.iter().flat_map(|sum| sum.array());
                row.iter_mut().zip(sums).for_each(|(out, sum)| *out += sum);
            }
        }
    }
}

#[inline(always)]
fn product(x: &[[f32; 2]], panel: &Panel) -> [[Vector; N_VECTORS]; 2] {
    let mut sums = [[Vector::splat(0.0); N_VECTORS]; 2];
    for (x, weights) in x.iter().zip(panel) {
        for (x, sums) in x.iter().zip(&mut sums) {
            let x = Vector::splat(*x);
            for (sum, weight) in sums.iter_mut().zip(weights) {
                *sum = sum.add(x.mul(*weight));
            }
        }
    }
    sums
}

/// Adds the product of one row to `out`.
pub fn multiply_row(x: &[f32], weight: &[f32], stride: usize, out: &mut [f32]) {
    /// Rows of weights at once: sums are written once for all of them.
    const N: usize = 8;
    let n_columns = out.len();
    let row = |i: usize| &weight[i * stride..][..n_columns];
    let (groups, last) = x.as_chunks::<N>();
    for (group, x) in groups.iter().enumerate() {
        let rows: [&[f32]; N] = std::array::from_fn(|i| row(group * N + i));
        let (vectors, rest) = out.as_chunks_mut::<4>();
        let chunks = rows.map(|row| &row.as_chunks::<4>().0[..vectors.len()]);
        let first = 4 * vectors.len();
        for (j, out) in vectors.iter_mut().enumerate() {
            let mut sum = Vector::new(*out);
            for (x, chunks) in x.iter().zip(&chunks) {
                sum = sum.add(Vector::splat(*x).mul(Vector::new(chunks[j])));
            }
            *out = sum.array();
        }
        for (j, out) in rest.iter_mut().enumerate() {
            let products = x.iter().zip(rows).map(|(x, row)| x * row[first + j]);
            *out += products.sum::<f32>();
        }
    }
    let first = groups.len() * N;
    for (i, x) in last.iter().enumerate() {
        let row = row(first + i);
        out.iter_mut()
            .zip(row)
            .for_each(|(out, weight)| *out += x * weight);
    }
}

//! Matrix product.
//!
//! A tile has at most 9 sums: browsers keep those in registers, and of more some in memory, at half the speed. What else counts is
//! in what order weights come from memory, since a prompt has few rows: they are read as they lie, so that the processor fetches
//! ahead.

mod columns;
mod panels;

use self::columns::Columns;

/// Columns of so many values and no more are not worth adding up the four parts of a sum.
const SHORT: usize = 128;
/// So many rows and no more are not worth turning the weights around.
const FEW: usize = 32;
/// Columns that are turned around at once: three cache lines of a row, and whole tiles.
const STRIP: usize = 48;

/// A matrix of any strides.
pub struct Matrix<'a> {
    /// First value first.
    pub values: &'a [f32],
    /// Distance of neighbours in a column.
    pub row_stride: usize,
    /// Distance of neighbours in a row.
    pub column_stride: usize,
    /// Length of a row.
    pub n_columns: usize,
}

/// Adds `x @ weight` to `out`; `x` has `d_input` columns, rows one after the other.
pub fn multiply(x: &[f32], d_input: usize, weight: &Matrix<'_>, out: &mut [f32]) {
    if x.is_empty() || out.is_empty() {
        return;
    }
    let n_columns = weight.n_columns;
    let n_rows = x.len() / d_input;
    match (weight.row_stride, weight.column_stride) {
        (1, stride) if n_rows <= 3 => weight.columns(stride, d_input).multiply_few(x, out),
        (stride, 1) if n_rows == 1 => panels::multiply_row(x, weight.values, stride, out),
        // So many rows of weights are read side by side as a processor fetches ahead.
        (_, 1) if n_rows <= FEW => panels::multiply(x, d_input, weight, 16, out),
        _ if d_input <= SHORT => panels::multiply(x, d_input, weight, 64, out),
        (1, stride) => {
            let columns = weight.columns(stride, d_input);
            columns.multiply(x, 0..n_columns, out, n_columns);
        }
        _ => weight.multiply_turned(x, d_input, out),
    }
}

impl Matrix<'_> {
    fn columns(&self, stride: usize, depth: usize) -> Columns<'_> {
        let values = self.values;
        Columns {
            values,
            stride,
            depth,
        }
    }

    /// Adds `x @ self` to `out`; strips of columns are turned around first.
    fn multiply_turned(&self, x: &[f32], d_input: usize, out: &mut [f32]) {
        let n_columns = self.n_columns;
        // An odd number of cache lines: columns do not compete for the same places in a cache.
        let stride = (d_input.div_ceil(16) | 1) * 16;
        let mut turned = vec![0.0; stride * STRIP.min(n_columns)];
        for first in (0..n_columns).step_by(STRIP) {
            let strip = first..n_columns.min(first + STRIP);
            self.turn(d_input, first, strip.len(), &mut turned, stride);
            let columns = Columns {
                values: &turned,
                stride,
                depth: d_input,
            };
            columns.multiply(x, strip, out, n_columns);
        }
    }

    /// All columns of `d_input` values, one behind the other.
    pub fn turned(&self, d_input: usize) -> Vec<f32> {
        let mut turned = vec![0.0; d_input * self.n_columns];
        for first in (0..self.n_columns).step_by(STRIP) {
            let n = STRIP.min(self.n_columns - first);
            self.turn(d_input, first, n, &mut turned[first * d_input..], d_input);
        }
        turned
    }

    /// Copies `n` columns from `first` on, each into one piece.
    fn turn(&self, d_input: usize, first: usize, n: usize, to: &mut [f32], stride: usize) {
        let values = &self.values[first * self.column_stride..];
        if self.column_stride == 1 && n.is_multiple_of(4) {
            return columns::turn(values, self.row_stride, d_input, n, to, stride);
        }
        for (j, to) in to.chunks_mut(stride).take(n).enumerate() {
            for (k, to) in to[..d_input].iter_mut().enumerate() {
                *to = values[k * self.row_stride + j * self.column_stride];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(n_rows: usize, d_input: usize, n_columns: usize, strides: [usize; 2]) {
        let number = |i: usize| ((i * 2_654_435_761) % 1000) as f32 / 500.0 - 1.0;
        let x: Vec<f32> = (0..n_rows * d_input).map(number).collect();
        let [row_stride, column_stride] = strides;
        let n_values = (d_input - 1) * row_stride + (n_columns - 1) * column_stride + 1;
        let values: Vec<f32> = (0..n_values).map(|i| number(i + 7)).collect();
        let weight = Matrix {
            values: &values,
            row_stride,
            column_stride,
            n_columns,
        };
        let mut out: Vec<f32> = (0..n_rows * n_columns).map(|i| number(i + 3)).collect();
        let before = out.clone();
        multiply(&x, d_input, &weight, &mut out);
        for (at, found) in out.iter().enumerate() {
            let (row, column) = (at / n_columns, at % n_columns);
            let sum: f64 = (0..d_input)
                .map(|k| {
                    let weight = values[k * row_stride + column * column_stride];
                    f64::from(x[row * d_input + k]) * f64::from(weight)
                })
                .sum();
            let expected = f64::from(before[at]) + sum;
            assert!(
                (f64::from(*found) - expected).abs() < 2e-4,
                "{n_rows} x {d_input} x {n_columns}, strides {strides:?}: {found} for {expected}"
            );
        }
    }

    /// Products of every kind of layout and every number of rows, with sizes that fit no vector.
    #[test]
    fn products_equal_sums() {
        for n_rows in (1..=8).chain([31, 32, 33, 34, 35]) {
            for (d_input, n_columns) in [
                (1, 1),
                (3, 9),
                (8, 16),
                (29, 21),
                (300, 37),
                (65, 100),
                (130, 50),
            ] {
                for strides in [
                    [n_columns, 1],
                    [1, d_input],
                    [2 * n_columns, 2],
                    [n_columns + 3, 1],
                    [1, d_input + 5],
                ] {
                    check(n_rows, d_input, n_columns, strides);
                }
            }
        }
    }

    /// More columns than are walked along at once.
    #[test]
    fn wide_products_equal_sums() {
        for n_rows in [1, 2, 5, 40] {
            check(n_rows, 18, 1700, [1700, 1]);
            check(n_rows, 18, 1700, [1, 18]);
        }
    }
}

//! Matrix product, norm, rotation, activations and softmax over plain numbers, four at a time.

use self::vector::Vector;

/// Rows of a tile; with the two vectors of its width, as many sums as fit into the registers.
pub const HEIGHT: usize = 4;
/// Columns of a tile.
const WIDTH: usize = 8;
/// Tiles side by side: a cache line of weights.
const STRIP: usize = 2;
/// Inputs that are summed in one go: a strip stays in the first-level cache.
const DEPTH: usize = 256;

#[cfg(target_arch = "wasm32")]
mod vector {
    use std::arch::wasm32::*;

    #[derive(Clone, Copy)]
    pub struct Vector(v128);

    impl Vector {
        pub fn new([a, b, c, d]: [f32; 4]) -> Self {
            Self(f32x4(a, b, c, d))
        }
        pub fn splat(value: f32) -> Self {
            Self(f32x4_splat(value))
        }
        pub fn add(self, other: Self) -> Self {
            Self(f32x4_add(self.0, other.0))
        }
        pub fn mul(self, other: Self) -> Self {
            Self(f32x4_mul(self.0, other.0))
        }
        pub fn div(self, other: Self) -> Self {
            Self(f32x4_div(self.0, other.0))
        }
        pub fn max(self, other: Self) -> Self {
            Self(f32x4_pmax(self.0, other.0))
        }
        pub fn min(self, other: Self) -> Self {
            Self(f32x4_pmin(self.0, other.0))
        }
        pub fn floor(self) -> Self {
            Self(f32x4_floor(self.0))
        }
        /// `2^self` of whole numbers from -126 to 127.
        pub fn power_of_two(self) -> Self {
            let n = i32x4_add(i32x4_trunc_sat_f32x4(self.0), i32x4_splat(127));
            Self(i32x4_shl(n, 23))
        }
        /// `self` where `x >= limit`, else 0.
        pub fn where_at_least(self, x: Self, limit: Self) -> Self {
            Self(v128_and(self.0, f32x4_ge(x.0, limit.0)))
        }
        /// Columns of four rows as rows.
        pub fn transposed([a, b, c, d]: [Self; 4]) -> [Self; 4] {
            let low = i32x4_shuffle::<0, 4, 1, 5>(a.0, b.0); // a0 b0 a1 b1
            let high = i32x4_shuffle::<2, 6, 3, 7>(a.0, b.0);
            let low2 = i32x4_shuffle::<0, 4, 1, 5>(c.0, d.0);
            let high2 = i32x4_shuffle::<2, 6, 3, 7>(c.0, d.0);
            [
                Self(i32x4_shuffle::<0, 1, 4, 5>(low, low2)),
                Self(i32x4_shuffle::<2, 3, 6, 7>(low, low2)),
                Self(i32x4_shuffle::<0, 1, 4, 5>(high, high2)),
                Self(i32x4_shuffle::<2, 3, 6, 7>(high, high2)),
            ]
        }
        pub fn array(self) -> [f32; 4] {
            [
                f32x4_extract_lane::<0>(self.0),
                f32x4_extract_lane::<1>(self.0),
                f32x4_extract_lane::<2>(self.0),
                f32x4_extract_lane::<3>(self.0),
            ]
        }
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod vector {
    #[derive(Clone, Copy)]
    pub struct Vector([f32; 4]);

    impl Vector {
        pub fn new(values: [f32; 4]) -> Self {
            Self(values)
        }
        pub fn splat(value: f32) -> Self {
            Self([value; 4])
        }
        fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
            Self(std::array::from_fn(|i| f(self.0[i], other.0[i])))
        }
        pub fn add(self, other: Self) -> Self {
            self.zip(other, |a, b| a + b)
        }
        pub fn mul(self, other: Self) -> Self {
            self.zip(other, |a, b| a * b)
        }
        pub fn div(self, other: Self) -> Self {
            self.zip(other, |a, b| a / b)
        }
        pub fn max(self, other: Self) -> Self {
            self.zip(other, f32::max)
        }
        pub fn min(self, other: Self) -> Self {
            self.zip(other, f32::min)
        }
        /// Without SSE 4.1 there is no instruction for it: between 2^23 and 2^24 numbers are whole.
        pub fn floor(self) -> Self {
            const WHOLE: f32 = 12_582_912.0; // 1.5 * 2^23
            Self(self.0.map(|x| {
                let rounded = (x + WHOLE) - WHOLE;
                if rounded > x { rounded - 1.0 } else { rounded }
            }))
        }
        /// `2^self` of whole numbers from -126 to 127.
        pub fn power_of_two(self) -> Self {
            // The last bits of a number between 2^23 and 2^24 are its own as a whole number.
            const EXPONENT: f32 = 8_388_608.0 + 127.0;
            Self(
                self.0
                    .map(|n| f32::from_bits((n + EXPONENT).to_bits() << 23)),
            )
        }
        /// `self` where `x >= limit`, else 0.
        pub fn where_at_least(self, x: Self, limit: Self) -> Self {
            Self(std::array::from_fn(|i| {
                if x.0[i] >= limit.0[i] { self.0[i] } else { 0.0 }
            }))
        }
        /// Columns of four rows as rows.
        pub fn transposed(rows: [Self; 4]) -> [Self; 4] {
            std::array::from_fn(|i| Self(std::array::from_fn(|j| rows[j].0[i])))
        }
        pub fn array(self) -> [f32; 4] {
            self.0
        }
    }
}

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

type Panel = [[Vector; 2]];

/// Adds `x @ weight` to `out`; `x` has `d_input` columns, rows one after the other.
pub fn multiply(x: &[f32], d_input: usize, weight: &Matrix<'_>, out: &mut [f32]) {
    // Of a few rows, each weight is read once and not kept: nothing is gained by copying it.
    if x.len() < HEIGHT * d_input && (weight.row_stride == 1 || weight.column_stride == 1) {
        let out = out.chunks_exact_mut(weight.n_columns);
        return x
            .chunks_exact(d_input)
            .zip(out)
            .for_each(|(x, out)| match weight.row_stride {
                1 => weight.dot(x, out),
                _ => weight.combine(x, out),
            });
    }
    let x = interleave(x, d_input);
    let mut strip = [[[Vector::splat(0.0); 2]; DEPTH]; STRIP];
    for column in (0..weight.n_columns).step_by(STRIP * WIDTH) {
        let tiles = STRIP.min((weight.n_columns - column).div_ceil(WIDTH));
        for start in (0..d_input).step_by(DEPTH) {
            let depth = start..d_input.min(start + DEPTH);
            for (tile, panel) in strip[..tiles].iter_mut().enumerate() {
                weight.copy(&mut panel[..depth.len()], start, column + tile * WIDTH);
            }
            let out = out.chunks_mut(HEIGHT * weight.n_columns);
            for (x, out) in x.chunks(d_input).zip(out) {
                for (tile, panel) in strip[..tiles].iter().enumerate() {
                    let sums = tile_product(&x[depth.clone()], &panel[..depth.len()]);
                    let column = column + tile * WIDTH;
                    for (row, sum) in out.chunks_mut(weight.n_columns).zip(sums) {
                        let end = row.len().min(column + WIDTH);
                        add_to(&mut row[column..end], sum);
                    }
                }
            }
        }
    }
}

/// Values of each `HEIGHT` rows side by side, zeros where there is no row.
fn interleave(x: &[f32], d_input: usize) -> Vec<[f32; HEIGHT]> {
    let mut values = Vec::with_capacity(x.len().div_ceil(HEIGHT * d_input) * d_input);
    for rows in x.chunks(HEIGHT * d_input) {
        values.extend(
            (0..d_input).map(|k| {
                std::array::from_fn(|i| rows.get(i * d_input + k).copied().unwrap_or(0.0))
            }),
        );
    }
    values
}

fn add_to(out: &mut [f32], [left, right]: [Vector; 2]) {
    let values = left.array().into_iter().chain(right.array());
    out.iter_mut()
        .zip(values)
        .for_each(|(out, sum)| *out += sum);
}

#[inline(always)]
fn tile_product(x: &[[f32; HEIGHT]], panel: &Panel) -> [[Vector; 2]; HEIGHT] {
    let mut sums = [[Vector::splat(0.0); 2]; HEIGHT];
    for (x, [left, right]) in x.iter().zip(panel) {
        for (value, sum) in x.iter().zip(&mut sums) {
            let value = Vector::splat(*value);
            sum[0] = sum[0].add(value.mul(*left));
            sum[1] = sum[1].add(value.mul(*right));
        }
    }
    sums
}

impl Matrix<'_> {
    /// Adds `x @ self` to `out` where columns lie one after the other.
    fn dot(&self, x: &[f32], out: &mut [f32]) {
        /// Columns at once: as many sums as hide how long an addition takes.
        const N: usize = 4;
        let depth = x.len();
        let (vectors, rest) = x.as_chunks::<4>();
        let column = |j: usize| &self.values[j * self.column_stride..][..depth];
        let (groups, last) = out.as_chunks_mut::<N>();
        for (group, out) in groups.iter_mut().enumerate() {
            let columns: [&[f32]; N] = std::array::from_fn(|i| column(group * N + i));
            let chunks = columns.map(|column| &column.as_chunks::<4>().0[..vectors.len()]);
            let mut sums = [Vector::splat(0.0); N];
            for (k, x) in vectors.iter().enumerate() {
                let x = Vector::new(*x);
                for (sum, chunks) in sums.iter_mut().zip(&chunks) {
                    *sum = sum.add(x.mul(Vector::new(chunks[k])));
                }
            }
            for ((out, sum), column) in out.iter_mut().zip(sums).zip(columns) {
                *out += sum.array().iter().sum::<f32>()
                    + dot_product(rest, &column[depth - rest.len()..]);
            }
        }
        let first = groups.len() * N;
        for (j, out) in last.iter_mut().enumerate() {
            *out += dot_product(x, column(first + j));
        }
    }

    /// Adds `x @ self` to `out` where rows lie one after the other.
    fn combine(&self, x: &[f32], out: &mut [f32]) {
        /// Rows at once: sums are written once for all of them.
        const N: usize = 8;
        let n_columns = self.n_columns;
        let row = |i: usize| &self.values[i * self.row_stride..][..n_columns];
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
                *out += x
                    .iter()
                    .zip(rows)
                    .map(|(x, row)| x * row[first + j])
                    .sum::<f32>();
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

    /// Copies rows from `row` on of up to `WIDTH` columns from `column` on.
    fn copy(&self, panel: &mut Panel, row: usize, column: usize) {
        let width = WIDTH.min(self.n_columns - column);
        let values = &self.values[row * self.row_stride + column * self.column_stride..];
        if self.column_stride == 1 && width == WIDTH {
            for (to, from) in panel.iter_mut().zip(values.chunks(self.row_stride)) {
                let from = &from[..WIDTH];
                *to = [
                    Vector::new([from[0], from[1], from[2], from[3]]),
                    Vector::new([from[4], from[5], from[6], from[7]]),
                ];
            }
            return;
        }
        if self.row_stride == 1 && width == WIDTH {
            return self.copy_turned(panel, values);
        }
        let value = |i: usize, j: usize| match j < width {
            true => values[i * self.row_stride + j * self.column_stride],
            false => 0.0,
        };
        for (i, to) in panel.iter_mut().enumerate() {
            *to = [0, 4].map(|j| {
                Vector::new([
                    value(i, j),
                    value(i, j + 1),
                    value(i, j + 2),
                    value(i, j + 3),
                ])
            });
        }
    }
}

impl Matrix<'_> {
    /// Copies rows of `WIDTH` columns, each of which lies in one piece; `values` start with the first of them.
    fn copy_turned(&self, panel: &mut Panel, values: &[f32]) {
        let depth = panel.len();
        let columns: [&[f32]; WIDTH] =
            std::array::from_fn(|j| &values[j * self.column_stride..][..depth]);
        let (groups, rest) = panel.as_chunks_mut::<4>();
        let chunks = columns.map(|column| &column.as_chunks::<4>().0[..groups.len()]);
        for (k, to) in groups.iter_mut().enumerate() {
            let [left, right] = [0, 4].map(|first| {
                Vector::transposed(std::array::from_fn(|j| Vector::new(chunks[first + j][k])))
            });
            for (i, to) in to.iter_mut().enumerate() {
                *to = [left[i], right[i]];
            }
        }
        let first = depth - rest.len();
        for (i, to) in rest.iter_mut().enumerate() {
            *to = [0, 4].map(|j| Vector::new(std::array::from_fn(|l| columns[j + l][first + i])));
        }
    }
}

fn dot_product(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `x * sigmoid(2 sqrt(2 / pi) (x + 0.044715 x^3))` of each value.
pub fn gelu_new(values: &mut [f32]) {
    for_each(values, |x| {
        let cubic = Vector::splat(-0.071_354_82).mul(x.mul(x));
        let u = x.mul(Vector::splat(-1.595_769).add(cubic));
        x.div(Vector::splat(1.0).add(exp(u)))
    });
}

/// `x * sigmoid(x)` of each value.
pub fn silu(values: &mut [f32]) {
    for_each(values, |x| {
        x.div(Vector::splat(1.0).add(exp(x.mul(Vector::splat(-1.0)))))
    });
}

/// Each row by the root of its mean square, which is made larger by `epsilon`, times a weight.
pub fn rms_norm(values: &mut [f32], weight: &[f32], epsilon: f32) {
    for row in values.chunks_exact_mut(weight.len().max(1)) {
        let (pairs, rest) = row.as_chunks::<8>();
        // Two sums do not wait for one another.
        let mut sums = [Vector::splat(0.0); 2];
        for [a, b, c, d, e, f, g, h] in pairs {
            let (left, right) = (Vector::new([*a, *b, *c, *d]), Vector::new([*e, *f, *g, *h]));
            sums = [sums[0].add(left.mul(left)), sums[1].add(right.mul(right))];
        }
        let sum: f32 = sums[0].add(sums[1]).array().iter().sum();
        let sum = sum + rest.iter().map(|x| x * x).sum::<f32>();
        let scale = 1.0 / (sum / weight.len() as f32 + epsilon).sqrt();
        row.iter_mut()
            .zip(weight)
            .for_each(|(x, weight)| *x *= scale * weight);
    }
}

/// Turns the pairs of a row, value `i` and value `i + n`, by angles of `n` cosines and sines.
pub fn rotate(row: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (first, rest) = row.split_at_mut(cos.len());
    for (((a, b), cos), sin) in first.iter_mut().zip(rest).zip(cos).zip(sin) {
        (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
    }
}

/// Softmax of each row of `width` values.
pub fn softmax(values: &mut [f32], width: usize) {
    for row in values.chunks_mut(width.max(1)) {
        let (vectors, rest) = row.as_chunks::<4>();
        let max = vectors
            .iter()
            .fold(Vector::splat(f32::NEG_INFINITY), |max, x| {
                max.max(Vector::new(*x))
            });
        let max = max
            .array()
            .iter()
            .chain(rest)
            .copied()
            .fold(f32::NEG_INFINITY, |a, b| if a > b { a } else { b });
        for_each(row, |x| exp(x.add(Vector::splat(-max))));
        let (vectors, rest) = row.as_chunks::<4>();
        let sum = vectors
            .iter()
            .fold(Vector::splat(0.0), |sum, x| sum.add(Vector::new(*x)));
        let sum: f32 = sum.array().iter().chain(rest).sum();
        let scale = Vector::splat(1.0 / sum);
        for_each(row, |x| x.mul(scale));
    }
}

#[inline(always)]
fn for_each(values: &mut [f32], f: impl Fn(Vector) -> Vector) {
    let (vectors, rest) = values.as_chunks_mut::<4>();
    for values in vectors {
        *values = f(Vector::new(*values)).array();
    }
    for value in rest {
        *value = f(Vector::splat(*value)).array()[0];
    }
}

/// `e^x` within 2 units in the last place, without branches; below -87.3 it is 0, above 88 it stays.
/// Cephes' `expf`: `2^n p(r)` with `n` the nearest whole number to `x / ln 2`.
#[inline(always)]
fn exp(x: Vector) -> Vector {
    let constant = Vector::splat;
    let least = constant(-87.3);
    let bounded = x.max(least).min(constant(88.0));
    let n = bounded
        .mul(constant(std::f32::consts::LOG2_E))
        .add(constant(0.5))
        .floor();
    let r = bounded
        .add(n.mul(constant(-0.693_359_4)))
        .add(n.mul(constant(2.121_944_4e-4)));
    let coefficients = [
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        0.166_666_65,
        0.5,
    ];
    let p = coefficients
        .into_iter()
        .fold(constant(1.987_569_1e-4), |p, c| p.mul(r).add(constant(c)));
    let p = p.mul(r).mul(r).add(r).add(constant(1.0));
    p.mul(n.power_of_two()).where_at_least(x, least)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Products of every kind of layout and every number of rows, with sizes that fit no vector.
    #[test]
    fn products_equal_sums() {
        let number = |i: usize| ((i * 2_654_435_761) % 1000) as f32 / 500.0 - 1.0;
        for n_rows in 1..=6 {
            for (d_input, n_columns) in [(1, 1), (3, 9), (8, 16), (29, 21), (300, 37)] {
                let x: Vec<f32> = (0..n_rows * d_input).map(number).collect();
                let values: Vec<f32> = (0..2 * d_input * n_columns)
                    .map(|i| number(i + 7))
                    .collect();
                for (row_stride, column_stride) in [
                    (n_columns, 1),
                    (1, d_input),
                    (2 * n_columns, 2),
                    (n_columns + 3, 1),
                ] {
                    let n_needed = (d_input - 1) * row_stride + (n_columns - 1) * column_stride + 1;
                    if n_needed > values.len() {
                        continue;
                    }
                    let weight = Matrix {
                        values: &values,
                        row_stride,
                        column_stride,
                        n_columns,
                    };
                    let mut out: Vec<f32> =
                        (0..n_rows * n_columns).map(|i| number(i + 3)).collect();
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
                            (f64::from(*found) - expected).abs() < 1e-4,
                            "{n_rows} x {d_input} x {n_columns}, strides {row_stride} {column_stride}: {found} for {expected}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn exp_is_close() {
        for i in -8_730..8_800 {
            let x = i as f32 * 0.01;
            let [found, ..] = exp(Vector::splat(x)).array();
            let expected = f64::from(x).exp();
            assert!(
                (f64::from(found) / expected - 1.0).abs() < 3e-7,
                "{x}: {found}"
            );
        }
        assert_eq!(exp(Vector::splat(0.0)).array(), [1.0; 4]);
        assert_eq!(exp(Vector::splat(f32::NEG_INFINITY)).array(), [0.0; 4]);
    }
}

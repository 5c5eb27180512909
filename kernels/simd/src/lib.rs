//! Matrix product, norm, rotation, activations and softmax over plain numbers, four at a time.

mod product;
mod vector;

pub use self::product::{Matrix, multiply};

use self::vector::Vector;

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

/// Softmax of each row of `width` values. Those at a row's end that are minus infinity, as where keys are hidden, cost nothing.
pub fn softmax(values: &mut [f32], width: usize) {
    for row in values.chunks_mut(width.max(1)) {
        let n_hidden = (row.iter().rev()).take_while(|x| **x == f32::NEG_INFINITY);
        let n_visible = width - n_hidden.count();
        let (row, hidden) = row.split_at_mut(n_visible);
        hidden.fill(if n_visible == 0 { f32::NAN } else { 0.0 });
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
        let max = Vector::splat(-max);
        for_each(row, |x| exp(x.add(max)));
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
    if !rest.is_empty() {
        let mut padded = [0.0; 4];
        padded[..rest.len()].copy_from_slice(rest);
        rest.copy_from_slice(&f(Vector::new(padded)).array()[..rest.len()]);
    }
}

/// `e^x` within 2 units in the last place, without branches; below -87.3 it is 0, above 88 it stays.
/// Cephes' `expf`: `2^n p(r)` with `n` the nearest whole number to `x / ln 2`.
#[inline(always)]
fn exp(x: Vector) -> Vector {
    let constant = Vector::splat;
    let least = constant(-87.3);
    let bounded = x.max(least).min(constant(88.0));
    let [n, power] = bounded.mul(constant(std::f32::consts::LOG2_E)).rounded();
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
    p.mul(power).where_at_least(x, least)
}

#[cfg(test)]
mod tests {
    use super::*;

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

//! Gaussian noise that is the same for everyone who names its seed.

use std::f64::consts::TAU;

/// Values of noise at a token, in one head where the site is per head: independent, of mean 0 and standard deviation 1.
///
/// A value is a function of the seed, the token, the head and its place in the vector alone, so that a token has the same noise
/// in a batch, in a resumed run and in a run of its own. Two of SplitMix64's numbers (Steele, Lea and Flood 2014,
/// <https://doi.org/10.1145/2714064.2660195>), whose state starts at the last mixed with the next of `seed, position, head + 1`
/// in turn, make two values (Box and Muller 1958).
pub fn noise(seed: u64, position: usize, head: Option<usize>, width: usize) -> Vec<f32> {
    let head = head.map_or(0, |head| head + 1);
    let place = [position, head].into_iter();
    let mut state = place.fold(mixed(seed), |state, next| mixed(state ^ next as u64));
    // From above 0 up to 1, in steps of 2^-53.
    let mut uniform = || {
        state = state.wrapping_add(GAMMA);
        ((mixed(state) >> 11) + 1) as f64 / (1u64 << 53) as f64
    };
    let mut values = Vec::with_capacity(width + 1);
    while values.len() < width {
        let (radius, angle) = ((-2.0 * uniform().ln()).sqrt(), TAU * uniform());
        values.extend([radius * angle.cos(), radius * angle.sin()].map(|value| value as f32));
    }
    values.truncate(width);
    values
}

/// What SplitMix64's state moves by.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64's output of a state.
fn mixed(state: u64) -> u64 {
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_has_mean_0_and_deviation_1_and_is_another_at_each_place() {
        let values = noise(7, 3, None, 100_000);
        let mean = |f: &dyn Fn(f64) -> f64| {
            let values = values.iter().map(|value| f(f64::from(*value)));
            values.sum::<f64>() / 1e5
        };
        assert!(mean(&|x| x).abs() < 0.02);
        assert!((mean(&|x| x * x) - 1.0).abs() < 0.02);
        assert!((mean(&|x| x.powi(4)) - 3.0).abs() < 0.1);
        assert!(values.iter().all(|value| value.is_finite()));
        // Of any width, and odd ones.
        assert_eq!(noise(7, 3, None, 5), values[..5]);
        for (seed, position, head) in [(8, 3, None), (7, 2, None), (7, 3, Some(0)), (0, 0, None)] {
            let other = noise(seed, position, head, 1000);
            let product = other.iter().zip(&values).map(|(a, b)| f64::from(a * b));
            assert!(
                (product.sum::<f64>() / 1e3).abs() < 0.15,
                "{seed} {position} {head:?}"
            );
        }
    }
}

//! Which token comes next, from logits.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// How a token is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written")]
pub struct Sampling {
    /// Logits are divided by it; 0 takes the likeliest token.
    temperature: f32,
    /// Only so many of the likeliest tokens may come.
    top_k: Option<usize>,
    /// Only the likeliest tokens may come that have this probability together (Holtzman et al. 2019,
    /// <https://arxiv.org/abs/1904.09751>).
    top_p: Option<f32>,
}

/// Random numbers for [`Sampling::choose`], the same ones of the same seed.
#[derive(Clone, Debug)]
pub struct Draws(ChaCha8Rng);

impl Draws {
    /// Those of a seed.
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// The next one, 0..1.
    pub fn draw(&mut self) -> f64 {
        self.0.random()
    }
}

/// As it is written; not checked.
#[derive(Deserialize)]
struct Written {
    temperature: f32,
    top_k: Option<usize>,
    top_p: Option<f32>,
}

impl TryFrom<Written> for Sampling {
    type Error = SamplingError;

    fn try_from(written: Written) -> Result<Self, SamplingError> {
        Self::new(written.temperature, written.top_k, written.top_p)
    }
}

/// Why a way of choosing was refused.
#[derive(Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SamplingError {
    /// The temperature is no number from 0 on.
    #[error("the temperature is {0}; expected a number from 0 on, 0 for the likeliest token")]
    Temperature(f32),
    /// Top-k is 0.
    #[error("top-k is 0; expected at least one token")]
    TopK,
    /// Top-p is no probability.
    #[error("top-p is {0}; expected a probability above 0, 1 at most")]
    TopP(f32),
}

impl Sampling {
    /// The likeliest token.
    pub const GREEDY: Self = Self {
        temperature: 0.0,
        top_k: None,
        top_p: None,
    };

    /// Tokens at random, as the temperature, then top-k, then top-p let them.
    ///
    /// # Errors
    /// - [`SamplingError`] if a number cannot be.
    pub fn new(
        temperature: f32,
        top_k: Option<usize>,
        top_p: Option<f32>,
    ) -> Result<Self, SamplingError> {
        if !temperature.is_finite() || temperature < 0.0 {
            return Err(SamplingError::Temperature(temperature));
        }
        if top_k == Some(0) {
            return Err(SamplingError::TopK);
        }
        if let Some(p) = top_p.filter(|p| !(0.0 < *p && *p <= 1.0)) {
            return Err(SamplingError::TopP(p));
        }
        Ok(Self {
            temperature,
            top_k,
            top_p,
        })
    }

    /// The token that `random`, 0..1, means, of logits in nats.
    ///
    /// # Panics
    /// If there are no logits.
    pub fn choose(&self, logits: &[f32], random: f64) -> u32 {
        if self.temperature == 0.0 {
            return first_of(logits, 1)[0];
        }
        let most = self.top_k.unwrap_or(logits.len());
        let mut kept = likeliest(logits, most, self.temperature);
        let total: f64 = kept.iter().map(|(_, p)| f64::from(*p)).sum();
        if let Some(top_p) = self.top_p {
            let mut sum = 0.0;
            let n = kept.iter().take_while(|(_, p)| {
                let is_before = sum < f64::from(top_p) * total;
                sum += f64::from(*p);
                is_before
            });
            let n = n.count();
            kept.truncate(n);
        }
        let total: f64 = kept.iter().map(|(_, p)| f64::from(*p)).sum();
        let mut left = random * total;
        for (id, p) in &kept {
            left -= f64::from(*p);
            if left < 0.0 {
                return *id;
            }
        }
        kept[kept.len() - 1].0
    }
}

/// The `n` likeliest tokens and their probabilities at a temperature, likeliest first, of equal ones the first.
///
/// # Panics
/// If there are no logits.
pub fn likeliest(logits: &[f32], n: usize, temperature: f32) -> Vec<(u32, f32)> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |logit: f32| f64::from(((logit - largest) / temperature).exp());
    let total: f64 = logits.iter().map(|logit| weight(*logit)).sum();
    let probability = |id: u32| (weight(logits[id as usize]) / total) as f32;
    let ids = first_of(logits, n).into_iter();
    ids.map(|id| (id, probability(id))).collect()
}

/// The tokens of the `n` largest logits, largest first, of equal ones the first.
fn first_of(logits: &[f32], n: usize) -> Vec<u32> {
    let ids = 0..logits.len() as u32;
    let mut places: Vec<u64> = ids
        .zip(logits)
        .map(|(id, logit)| place(id, *logit))
        .collect();
    let n = n.clamp(1, places.len());
    if n < places.len() {
        places.select_nth_unstable(n - 1);
        places.truncate(n);
    }
    places.sort_unstable();
    places.into_iter().map(|place| place as u32).collect()
}

/// A number for a token and its logit, smaller for a larger logit, and for an earlier token of equal ones; the token is its lower
/// half. Plain numbers are sorted several times faster than tokens whose logits are looked up.
fn place(id: u32, logit: f32) -> u64 {
    // As `f32::total_cmp` orders them.
    let bits = logit.to_bits();
    let rising = match logit.is_sign_negative() {
        true => !bits,
        false => bits | 1 << 31,
    };
    u64::from(!rising) << 32 | u64::from(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 4] = [0.0, 2.0, 1.0, -1.0];

    /// How often each token comes, of so many evenly spaced random numbers.
    fn counts(sampling: &Sampling) -> [usize; 4] {
        let mut counts = [0; 4];
        for idx in 0..10_000 {
            counts[sampling.choose(&LOGITS, idx as f64 / 1e4) as usize] += 1;
        }
        counts
    }

    #[test]
    fn greedy_takes_the_likeliest_and_the_first_of_equals() {
        assert_eq!(counts(&Sampling::GREEDY), [0, 10_000, 0, 0]);
        assert_eq!(Sampling::GREEDY.choose(&[1.0, 1.0], 0.9), 0);
    }

    #[test]
    fn tokens_are_in_order_of_their_logits_whatever_their_signs() {
        let logits = [-1.0, 0.0, 3.0, -2.0, 3.0, -0.5, f32::NEG_INFINITY];
        for n in 1..=logits.len() {
            assert_eq!(first_of(&logits, n), [2, 4, 1, 5, 0, 3, 6][..n]);
        }
    }

    #[test]
    fn tokens_come_as_often_as_they_are_likely() {
        let exp: Vec<f64> = LOGITS.iter().map(|x| f64::from(x / 2.0).exp()).collect();
        let total: f64 = exp.iter().sum();
        let found = counts(&Sampling::new(2.0, None, None).unwrap());
        for (found, weight) in found.iter().zip(exp) {
            assert!(
                (*found as f64 - 1e4 * weight / total).abs() <= 1.0,
                "{found}"
            );
        }
    }

    #[test]
    fn top_k_and_top_p_leave_the_likeliest_alone() {
        let of = |k, p| counts(&Sampling::new(1.0, k, p).unwrap()).map(|n| n > 0);
        assert_eq!(of(Some(2), None), [false, true, true, false]);
        // Of .64, .24, .09 and .03.
        assert_eq!(of(None, Some(0.64)), [false, true, false, false]);
        assert_eq!(of(None, Some(0.7)), [false, true, true, false]);
        assert_eq!(of(None, Some(0.9)), [true, true, true, false]);
        // Top-p is of what top-k leaves: .73 and .27.
        assert_eq!(of(Some(2), Some(0.7)), [false, true, false, false]);
        assert_eq!(of(Some(9), Some(1.0)), [true; 4]);
    }

    #[test]
    fn impossible_numbers_are_refused() {
        for temperature in [-1.0, f32::NAN, f32::INFINITY] {
            assert!(Sampling::new(temperature, None, None).is_err());
        }
        assert_eq!(Sampling::new(1.0, Some(0), None), Err(SamplingError::TopK));
        for p in [0.0, 1.5, f32::NAN] {
            assert!(Sampling::new(1.0, None, Some(p)).is_err());
        }
    }
}

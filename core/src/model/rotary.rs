//! Rotary position embedding: pairs of a query's or key's values are turned by an angle that grows with the position.
//!
//! Su et al. 2021, <https://arxiv.org/abs/2104.09864>; Hugging Face's `rotate_half`: value `i` is paired with value `i + n / 2`.

use burn::tensor::{Tensor, TensorData, backend::Backend};

use super::fields::{ConfigError, Fields};

/// How queries and keys are rotated.
#[derive(Clone, Debug, PartialEq)]
pub struct Rotary {
    /// The slowest pair turns by nearly `1 / base` a position.
    pub base: f64,
    /// Values of a head that are rotated, the first ones; even.
    pub n_rotated: usize,
    /// What makes the angles smaller for longer contexts.
    pub scaling: Scaling,
}

/// How angles are made smaller, `rope_scaling` in configs.
#[derive(Clone, Debug, PartialEq)]
pub enum Scaling {
    /// They are not.
    None,
    /// All by one factor.
    Linear {
        /// It.
        factor: f64,
    },
    /// Slow pairs by a factor, fast ones not, with a ramp between (Llama 3.1).
    Llama3 {
        /// Of slow pairs.
        factor: f64,
        /// Pairs that turn fewer times than this in the original context are slow.
        low: f64,
        /// Pairs that turn more often than this are fast.
        high: f64,
        /// The original context, tokens.
        n_ctx: f64,
    },
    /// Each pair by a factor of its own, `[n_rotated / 2]`.
    Factors(Vec<f32>),
}

impl Rotary {
    /// Reads `rope_scaling` beside a base.
    pub(super) fn of(fields: &Fields, base: f64, n_rotated: usize) -> Result<Self, ConfigError> {
        if n_rotated == 0 || !n_rotated.is_multiple_of(2) {
            return Err(fields.wrong("head_dim", "an even number of rotated values", n_rotated));
        }
        let scaling = match fields.get("rope_scaling") {
            None => Scaling::None,
            Some(value) => {
                let kind = value.get("rope_type").or_else(|| value.get("type"));
                let kind = kind.and_then(|kind| kind.as_str()).unwrap_or_default();
                let number = |name: &str| {
                    let number = value.get(name).and_then(|number| number.as_f64());
                    number
                        .filter(|number| number.is_finite() && *number > 0.0)
                        .ok_or_else(|| {
                            let name = format!("rope_scaling.{name}");
                            fields.wrong(name, "a number above 0", value)
                        })
                };
                match kind {
                    "default" => Scaling::None,
                    "linear" => Scaling::Linear {
                        factor: number("factor")?,
                    },
                    "llama3" => {
                        let [low, high] = [number("low_freq_factor")?, number("high_freq_factor")?];
                        if low >= high {
                            let expected = format!("a number above low_freq_factor, {low}");
                            return Err(fields.wrong(
                                "rope_scaling.high_freq_factor",
                                expected,
                                high,
                            ));
                        }
                        Scaling::Llama3 {
                            factor: number("factor")?,
                            low,
                            high,
                            n_ctx: number("original_max_position_embeddings")?,
                        }
                    }
                    other => {
                        let expected = "default, linear or llama3";
                        return Err(fields.wrong("rope_scaling.rope_type", expected, other));
                    }
                }
            }
        };
        Ok(Self {
            base,
            n_rotated,
            scaling,
        })
    }

    /// Angle of each pair from one position to the next, radians.
    pub(crate) fn frequencies(&self) -> Vec<f32> {
        let scaled = |pair: usize| {
            let exponent = 2.0 * pair as f64 / self.n_rotated as f64;
            let frequency = self.base.powf(-exponent);
            match &self.scaling {
                Scaling::None => frequency,
                Scaling::Factors(factors) => frequency / f64::from(factors[pair]),
                Scaling::Linear { factor } => frequency / factor,
                Scaling::Llama3 {
                    factor,
                    low,
                    high,
                    n_ctx,
                } => {
                    let n_turns = n_ctx * frequency / std::f64::consts::TAU;
                    let fast = ((n_turns - low) / (high - low)).clamp(0.0, 1.0);
                    frequency * (fast + (1.0 - fast) / factor)
                }
            }
        };
        (0..self.n_rotated / 2)
            .map(|pair| scaled(pair) as f32)
            .collect()
    }
}

/// Rotates the first values of each head.
///
/// Cosines and sines are the processor's: those of a WebGPU adapter may be off by 2^-11, and by more at large angles.
#[derive(Clone, Debug)]
pub struct RotaryEncoding {
    /// Angle of each pair from one position to the next, radians, `[n_pairs]`.
    frequencies: Vec<f32>,
}

impl RotaryEncoding {
    /// # Shapes
    /// - `frequencies`: `[n_pairs]`
    pub(crate) fn new(frequencies: Vec<f32>) -> Self {
        Self { frequencies }
    }

    /// Cosines and sines at `n` positions from `first` on.
    ///
    /// # Shapes
    /// - results: `[1, 1, pos, n_pairs]`
    pub(super) fn angles<B: Backend>(
        &self,
        first: usize,
        n: usize,
        device: &B::Device,
    ) -> [Tensor<B, 4>; 2] {
        let angles = || {
            (first..first + n).flat_map(|position| {
                (self.frequencies.iter()).map(move |frequency| position as f32 * frequency)
            })
        };
        let shape = [1, 1, n, self.frequencies.len()];
        [
            angles().map(f32::cos).collect(),
            angles().map(f32::sin).collect(),
        ]
        .map(|values: Vec<f32>| Tensor::from_data(TensorData::new(values, shape), device))
    }
}

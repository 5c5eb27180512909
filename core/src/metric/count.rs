//! Shares with their intervals.

use std::ops::Add;

use super::wilson;
use serde_json::{Value, json};

/// How many of some prompts or pairs are right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Right ones.
    pub n_right: usize,
    /// All.
    pub n: usize,
}

impl Count {
    /// How many of these are.
    pub fn of(is_right: impl IntoIterator<Item = bool>) -> Self {
        let mut count = Self::default();
        is_right
            .into_iter()
            .for_each(|is_right| count.one(is_right));
        count
    }

    /// One more.
    pub fn one(&mut self, is_right: bool) {
        self.n_right += usize::from(is_right);
        self.n += 1;
    }

    /// Share that is right, 0..1; none is right where none was asked.
    pub fn share(self) -> f64 {
        self.n_right as f64 / self.n.max(1) as f64
    }

    /// `0.980  0.950 to 0.992`: the share and its interval.
    pub fn text(self) -> String {
        format!("{:.3}  {}", self.share(), self.interval())
    }

    /// Where the share of all such pairs lies, 95 times of 100.
    pub fn bounds(self) -> [f64; 2] {
        wilson(self.n_right, self.n)
    }

    /// `0.950 to 0.992`: the same as text.
    pub fn interval(self) -> String {
        let [low, high] = self.bounds();
        format!("{low:.3} to {high:.3}")
    }

    /// All that, for programs.
    pub fn json(self) -> Value {
        let Self { n_right, n } = self;
        json!({ "right": n_right, "of": n, "share": self.share(), "interval": self.bounds() })
    }
}

impl Add for Count {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            n_right: self.n_right + other.n_right,
            n: self.n + other.n,
        }
    }
}

//! Lists of layers, positions and heads, as typed.

use std::{ops::RangeInclusive, str::FromStr};

use anyhow::{Result, bail};

/// A list of numbers as typed: `all`, `last`, `last:3`, `0,3-5`.
#[derive(Clone, Debug)]
pub struct Span(Vec<Numbers>);

#[derive(Clone, Debug)]
enum Numbers {
    All,
    Last(usize),
    Range(RangeInclusive<usize>),
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no list; expected `all`, `last`, `last:3`, or numbers and ranges as in 0,3-5"
            )
        };
        let part = |part: &str| match part.trim() {
            "all" => Some(Numbers::All),
            "last" => Some(Numbers::Last(1)),
            part => {
                if let Some(n) = part.strip_prefix("last:") {
                    return n.parse().ok().filter(|n| *n > 0).map(Numbers::Last);
                }
                let (first, last) = part.split_once('-').unwrap_or((part, part));
                let (first, last) = (first.parse().ok()?, last.parse().ok()?);
                (first <= last).then_some(Numbers::Range(first..=last))
            }
        };
        let parts: Option<Vec<Numbers>> = text.split(',').map(part).collect();
        parts.map(Self).ok_or_else(wrong)
    }
}

impl Span {
    /// The numbers that are meant among the first `n`, each once, in order.
    pub fn resolve(&self, n: usize, what: &str) -> Result<Vec<usize>> {
        let mut numbers: Vec<usize> = Vec::new();
        for part in &self.0 {
            let range = match part {
                Numbers::All => 0..=n - 1,
                Numbers::Last(last) => n.saturating_sub(*last)..=n - 1,
                Numbers::Range(range) => range.clone(),
            };
            if *range.end() >= n {
                bail!("{what} {} is outside; expected 0 to {}", range.end(), n - 1);
            }
            numbers.extend(range);
        }
        numbers.sort_unstable();
        numbers.dedup();
        Ok(numbers)
    }
}

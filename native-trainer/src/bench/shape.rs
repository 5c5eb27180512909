//! Shapes of batches.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Prompts of a length, as typed: `16x18`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Number of prompts.
    pub batch: usize,
    /// Tokens of each.
    pub pos: usize,
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse().ok().filter(|n| *n > 0);
        let shape = text.split_once('x').and_then(|(batch, pos)| {
            let (batch, pos) = (number(batch)?, number(pos)?);
            Some(Self { batch, pos })
        });
        shape.ok_or_else(|| format!("`{text}` is no shape; expected prompts x tokens, as in 16x18"))
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.batch, self.pos)
    }
}

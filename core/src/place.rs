//! Where something is read or changed: [`Place`] = site, head and token.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Site, Sizes, site::PlaceError, sizes::PromptError};

/// A token of a prompt, counted from its begin or from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub enum Position {
    /// The token with this index, from 0.
    Index(usize),
    /// The token this far from the end: 1 is the last one, however long the prompt is.
    FromEnd(usize),
}

/// A position as files have it: a number, below 0 from the end, or a name.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a token from 0, `last`, or -2 and so on from the end"
)]
enum Written {
    Number(i64),
    Name(String),
}

impl Position {
    /// The last token.
    pub const LAST: Self = Self::FromEnd(1);

    /// Index of the position in a prompt of `n_tokens` tokens.
    ///
    /// # Errors
    /// - [`PlaceError::Prompt`] if there are no tokens.
    /// - [`PlaceError::PositionOutside`] if the prompt is too short.
    pub fn resolve(self, n_tokens: usize) -> Result<usize, PlaceError> {
        let last = n_tokens.checked_sub(1).ok_or(PromptError::Empty)?;
        let found = match self {
            Self::Index(position) => Some(position),
            Self::FromEnd(distance) => n_tokens.checked_sub(distance),
        };
        found
            .filter(|found| *found <= last)
            .ok_or_else(|| PlaceError::PositionOutside {
                position: self.to_string(),
                last,
            })
    }

    /// A token of a prompt of `n_tokens` tokens; the last one stays the last when the prompt changes.
    pub fn of(position: usize, n_tokens: usize) -> Self {
        match position + 1 == n_tokens {
            true => Self::LAST,
            false => Self::Index(position),
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index(position) => write!(f, "{position}"),
            &Self::LAST => f.write_str("last"),
            Self::FromEnd(distance) => write!(f, "-{distance}"),
        }
    }
}

impl FromStr for Position {
    type Err = PlaceError;

    fn from_str(name: &str) -> Result<Self, PlaceError> {
        let written = match name.parse() {
            Ok(number) => Written::Number(number),
            Err(_) => Written::Name(name.to_owned()),
        };
        written.try_into()
    }
}

impl TryFrom<Written> for Position {
    type Error = PlaceError;

    fn try_from(written: Written) -> Result<Self, PlaceError> {
        match written {
            Written::Number(number) => {
                // Where addresses have 32 bits, a longer number is as far outside as any.
                let distance = usize::try_from(number.unsigned_abs()).unwrap_or(usize::MAX);
                Ok(match number {
                    0.. => Self::Index(distance),
                    _ => Self::FromEnd(distance),
                })
            }
            Written::Name(name) if name == "last" => Ok(Self::LAST),
            Written::Name(name) => Err(PlaceError::PositionUnknown { name }),
        }
    }
}

impl From<Position> for Written {
    fn from(position: Position) -> Self {
        match position {
            Position::Index(position) => Self::Number(position as i64),
            Position::LAST => Self::Name("last".to_owned()),
            // The smallest number is no number above 0 with the other sign.
            Position::FromEnd(distance) => Self::Number((distance as i64).wrapping_neg()),
        }
    }
}

/// A value of a run: a site, one of its heads where it is per head, at one token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Layer and component.
    pub site: Site,
    /// Head, from 0; `None` where the component is not per head, or where all heads are meant.
    pub head: Option<usize>,
    /// Token.
    pub position: Position,
}

impl Place {
    /// A place in no particular head.
    pub const fn new(site: Site, position: Position) -> Self {
        Self {
            site,
            head: None,
            position,
        }
    }

    /// Checks that a model has the site and the head.
    ///
    /// # Errors
    /// - [`PlaceError::LayerOutside`], [`PlaceError::HeadOutside`] if it has not.
    /// - [`PlaceError::ComponentUnsupported`] if a head is named at a component that is not per head.
    pub fn check(self, sizes: &Sizes) -> Result<Self, PlaceError> {
        let component = self.site.check(sizes)?.component;
        component.check_heads(self.head.as_ref().map(std::slice::from_ref), sizes)?;
        Ok(self)
    }

    /// Number of values here, in one head where the component is per head; `None` where the last axis is a position.
    pub fn width(self, sizes: &Sizes) -> Option<usize> {
        self.site.component.width(sizes)
    }
}

impl Place {
    /// Its text where the token goes by a name: ``layer 9 block_output, `subject` ``.
    pub fn at(&self, token: &str) -> String {
        let head = self.head.map(|head| format!(", head {head}"));
        format!("{}{}, `{token}`", self.site, head.unwrap_or_default())
    }
}

/// `layer 2 block_output, last token`, `layer 0 head_value_output, head 1, token 12`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.site)?;
        if let Some(head) = self.head {
            write!(f, ", head {head}")?;
        }
        match self.position {
            Position::LAST => f.write_str(", last token"),
            position => write!(f, ", token {position}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn position_parses_resolves_and_is_written_back() {
        for (name, index) in [("last", 9), ("-1", 9), ("-10", 0), ("3", 3), ("0", 0)] {
            let position = name.parse::<Position>().unwrap();
            assert_eq!(position.resolve(10).unwrap(), index, "{name}");
            let json = serde_json::to_string(&position).unwrap();
            assert_eq!(serde_json::from_str::<Position>(&json).unwrap(), position);
            assert_eq!(position.to_string().parse::<Position>().unwrap(), position);
        }
        assert_eq!(Position::LAST.to_string(), "last");
        for name in ["10", "-11"] {
            let error = name.parse::<Position>().unwrap().resolve(10).unwrap_err();
            assert!(error.to_string().contains("0 to 9"), "{error}");
        }
        for name in ["", "lost", "1.5", "99999999999999999999"] {
            assert!(name.parse::<Position>().is_err(), "{name}");
        }
        assert!(Position::LAST.resolve(0).is_err());
        let smallest = i64::MIN.to_string();
        let position = smallest.parse::<Position>().unwrap();
        assert_eq!(serde_json::to_string(&position).unwrap(), smallest);
    }
}

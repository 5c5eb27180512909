//! Places by name: tokens of a prompt by the slots that wrote them.

use std::{fmt, str::FromStr};

use super::{
    TaskError,
    task::Task,
    template::{Spans, Written},
};
use crate::{Position, Tokens};

/// A token by the slot that wrote it: `S` is the last token of what the slot `S` wrote, `S#2` at its second place in the
/// template, `S:first` its first token, `S+1` the token after.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SlotToken {
    /// Name of the slot.
    pub slot: String,
    /// At which of its places, from 1.
    pub occurrence: usize,
    /// Its first token, not its last.
    pub is_first: bool,
    /// So many tokens behind that.
    pub offset: i64,
}

/// A token of a prompt, counted or named.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TokenName {
    /// Counted.
    Counted(Position),
    /// By the slot that wrote it.
    Slot(SlotToken),
}

impl fmt::Display for TokenName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Counted(position) => write!(f, "{position}"),
            Self::Slot(SlotToken {
                slot,
                occurrence,
                is_first,
                offset,
            }) => {
                f.write_str(slot)?;
                if *occurrence > 1 {
                    write!(f, "#{occurrence}")?;
                }
                if *is_first {
                    f.write_str(":first")?;
                }
                match offset {
                    0 => Ok(()),
                    _ => write!(f, "{offset:+}"),
                }
            }
        }
    }
}

impl FromStr for TokenName {
    type Err = TaskError;

    /// Reads a name; whether a task has the slot is not known here.
    fn from_str(name: &str) -> Result<Self, TaskError> {
        if let Ok(position) = name.parse() {
            return Ok(Self::Counted(position));
        }
        let unknown = || TaskError::PositionUnknown {
            name: name.to_owned(),
            expected: "names of slots, as in S, S#2, S:first, S+1".to_owned(),
        };
        // Signs are parts of a slot's name where no number follows.
        let (rest, offset) = match name.rfind(['+', '-']).map(|at| name.split_at(at)) {
            Some((rest, offset)) if !rest.is_empty() => match offset.parse() {
                Ok(offset) => (rest, offset),
                Err(_) => (name, 0),
            },
            _ => (name, 0),
        };
        let (rest, is_first) = match rest.strip_suffix(":first") {
            Some(rest) => (rest, true),
            None => (rest, false),
        };
        let (slot, occurrence) = match rest.split_once('#') {
            None => (rest, 1),
            Some((slot, number)) => {
                let number = number.parse().ok().filter(|number| *number > 0);
                (slot, number.ok_or_else(unknown)?)
            }
        };
        if slot.is_empty() || slot.contains([':', '#']) {
            return Err(unknown());
        }
        Ok(Self::Slot(SlotToken {
            slot: slot.to_owned(),
            occurrence,
            is_first,
            offset,
        }))
    }
}

impl SlotToken {
    /// Its token, where the slot of this number wrote some of these bytes.
    pub(super) fn find(&self, spans: &Spans, slot: usize, tokens: &Tokens) -> Option<usize> {
        let mut places = spans.iter().filter(|(own, _)| *own == slot);
        let (_, bytes) = places.nth(self.occurrence - 1)?;
        let [first, last] = tokens.of_bytes(bytes)?;
        let from = if self.is_first { first } else { last } as i64;
        let found = usize::try_from(from.checked_add(self.offset)?).ok()?;
        (found < tokens.ids.len()).then_some(found)
    }
}

impl Task {
    /// Names of the tokens of its prompts: each slot at each of its places, in the order of the first template that has it, then
    /// `last`.
    pub fn token_names(&self) -> Vec<TokenName> {
        let mut names: Vec<TokenName> = Vec::new();
        for template in &self.templates {
            let mut count = vec![0; self.slots.len()];
            for slot in template.entries().filter_map(|entry| entry.slot()) {
                count[slot] += 1;
                let name = TokenName::Slot(SlotToken {
                    slot: self.slots[slot].name.clone(),
                    occurrence: count[slot],
                    is_first: false,
                    offset: 0,
                });
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        names.push(TokenName::Counted(Position::LAST));
        names
    }

    /// Names of the tokens that the prompts of all templates have.
    pub fn token_names_of_all(&self) -> Vec<TokenName> {
        let is_in_all = |name: &TokenName| {
            let TokenName::Slot(SlotToken {
                slot, occurrence, ..
            }) = name
            else {
                return true;
            };
            let is_it = |own: usize| self.slots[own].name == *slot;
            self.templates.iter().all(|template| {
                let own = template.entries().filter_map(|entry| entry.slot());
                own.filter(|own| is_it(*own)).count() >= *occurrence
            })
        };
        let mut names = self.token_names();
        names.retain(is_in_all);
        names
    }

    /// The token of this name in a prompt.
    ///
    /// # Errors
    /// - [`TaskError::PositionUnknown`] if no template has the slot.
    /// - [`TaskError::PositionNowhere`] if this prompt does not have it.
    /// - [`TaskError::Place`] if a counted one is outside the prompt.
    pub fn token(
        &self,
        name: &TokenName,
        written: &Written,
        tokens: &Tokens,
    ) -> Result<usize, TaskError> {
        let token = match name {
            TokenName::Counted(position) => return Ok(position.resolve(tokens.ids.len())?),
            TokenName::Slot(token) => token,
        };
        let known = self.slots.iter().position(|own| own.name == token.slot);
        let is_written = |known: &usize| {
            let mut entries = self
                .templates
                .iter()
                .flat_map(|template| template.entries());
            entries.any(|entry| entry.slot() == Some(*known))
        };
        let Some(known) = known.filter(is_written) else {
            let names: Vec<String> = self
                .token_names()
                .iter()
                .map(TokenName::to_string)
                .collect();
            return Err(TaskError::PositionUnknown {
                name: name.to_string(),
                expected: names.join(", "),
            });
        };
        let found = token.find(&written.spans, known, tokens);
        found.ok_or_else(|| TaskError::PositionNowhere {
            name: name.to_string(),
            prompt: written.text.clone(),
        })
    }
}

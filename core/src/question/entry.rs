//! What names stand for, and what slots are.

/// What a name in a template, a pick or a variable stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A slot, by number.
    Slot(usize),
    /// A column of the row that a slot is.
    Column(usize, String),
    /// This text.
    Text(String),
}

impl Entry {
    /// A slot or a `slot.column`; `slot` knows the numbers of slots.
    pub(super) fn parse<E>(
        name: &str,
        slot: impl FnOnce(&str) -> Result<usize, E>,
    ) -> Result<Self, E> {
        Ok(match name.split_once('.') {
            None => Self::Slot(slot(name)?),
            Some((name, column)) => Self::Column(slot(name)?, column.to_owned()),
        })
    }

    /// The slot that it reads.
    pub fn slot(&self) -> Option<usize> {
        match self {
            Self::Slot(slot) | Self::Column(slot, _) => Some(*slot),
            Self::Text(_) => None,
        }
    }
}

/// What a slot is in a filling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Is<'a> {
    /// A row of a table, both by number.
    Row(usize, usize),
    /// One of a slot's values, by number.
    Value(usize, usize),
    /// A text.
    Text(&'a str),
}

/// The choices of a prompt: of each slot that is free, its row or value; 0 of one that follows from others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Filling {
    /// Template, by number.
    pub template: usize,
    /// Of each slot.
    pub chosen: Vec<usize>,
}

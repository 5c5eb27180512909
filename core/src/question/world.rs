//! What all slots are in a filling: rows of tables, values, and what is picked by another slot's value.

use super::{
    entry::{Entry, Filling, Is},
    task::{Kind, Task},
};

/// What all slots are in a filling, where one variable may have the value of another filling.
pub struct World<'a> {
    task: &'a Task,
    is: Vec<Is<'a>>,
    /// A column whose text is another filling's.
    column: Option<(&'a Entry, &'a str)>,
}

impl<'a> World<'a> {
    /// The slots of a filling.
    pub fn of(task: &'a Task, filling: &Filling) -> Self {
        Self::build(task, filling, None)
    }

    /// The same with a variable's value of another one: what is picked by it is picked again.
    pub fn with(task: &'a Task, filling: &Filling, variable: &'a Entry, from: &World<'a>) -> Self {
        Self::build(task, filling, Some((variable, from.is(variable))))
    }

    fn build(task: &'a Task, filling: &Filling, fixed: Option<(&'a Entry, Is<'a>)>) -> Self {
        let mut world = Self {
            task,
            is: vec![Is::Text(""); task.slots.len()],
            column: match fixed {
                Some((entry @ Entry::Column(..), Is::Text(text))) => Some((entry, text)),
                _ => None,
            },
        };
        for &slot in &task.order {
            let chosen = filling.chosen[slot];
            world.is[slot] = match (&task.slots[slot].kind, fixed) {
                (_, Some((Entry::Slot(fixed), is))) if *fixed == slot => is,
                (Kind::Row { table, .. }, _) => Is::Row(*table, chosen),
                (Kind::Values(_), _) => Is::Value(slot, chosen),
                (Kind::Pick { entries, by, texts }, _) => {
                    let idx = world.index(by, texts);
                    entries
                        .get(idx)
                        .map_or(Is::Text(""), |entry| world.is(entry))
                }
            };
        }
        world
    }

    /// What an entry is.
    pub fn is(&self, entry: &'a Entry) -> Is<'a> {
        match entry {
            Entry::Slot(slot) => self.is[*slot],
            _ => Is::Text(self.text(entry)),
        }
    }

    /// What a slot writes.
    pub fn slot_text(&self, slot: usize) -> &'a str {
        self.task.text_of(self.is[slot], None)
    }

    /// What an entry writes.
    pub fn text(&self, entry: &'a Entry) -> &'a str {
        match entry {
            Entry::Text(text) => text,
            Entry::Slot(slot) => self.slot_text(*slot),
            Entry::Column(slot, column) => match self.column {
                Some((fixed, text)) if fixed == entry => text,
                _ => self.task.text_of(self.is[*slot], Some(column)),
            },
        }
    }

    /// Where the value of what is picked by stands in its own list.
    fn index(&self, by: &'a Entry, texts: &[String]) -> usize {
        let found = match (by, self.is(by)) {
            (Entry::Slot(slot), is) => match (&self.task.slots[*slot].kind, is) {
                (Kind::Pick { entries, .. }, is) => {
                    entries.iter().position(|entry| self.is(entry) == is)
                }
                (_, Is::Row(_, idx) | Is::Value(_, idx)) => Some(idx),
                (_, Is::Text(_)) => None,
            },
            (_, Is::Text(text)) => texts.iter().position(|own| own == text),
            (_, Is::Row(..) | Is::Value(..)) => None,
        };
        found.unwrap_or(usize::MAX)
    }
}

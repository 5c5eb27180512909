//! A text that is a task's prompt: what fills it, what else may stand in its slots, what follows from what.

use std::{collections::BTreeSet, ops::Range};

use super::{
    entry::{Entry, Filling},
    form::Variable,
    task::{Kind, Task},
    world::World,
};

/// Fillings that are looked at before it is given up.
const MOST_TRIES: usize = 200_000;
/// The variable that a task's causal model ends in.
pub const ANSWER: &str = "answer";

/// A part of a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// What it says.
    pub text: String,
    /// What its slot may say, sorted; none of text that stands in the template itself.
    pub choices: Vec<String>,
    /// Name of the slot, empty likewise.
    pub slot: String,
}

/// What the slots of a template say in a text.
type Said<'a> = Vec<(&'a Entry, &'a str)>;

impl Task {
    /// The filling whose prompt is this text; `None` of a text of another form, or with words that no table has. Of slots that
    /// write nothing it has the first row or value.
    pub fn read(&self, text: &str) -> Option<Filling> {
        let free = self.free_slots();
        (0..self.templates.len()).find_map(|template| {
            let spans = self.templates[template].spans(text)?;
            let entries = self.templates[template].slot_entries();
            let said: Said<'_> = entries
                .zip(spans)
                .map(|(entry, (_, bytes))| (entry, &text[bytes]))
                .collect();
            let mut filling = Filling {
                template,
                chosen: vec![0; self.slots.len()],
            };
            let mut tries = 0;
            self.fit(&free, &mut Vec::new(), &said, &mut filling, &mut tries)
                .then_some(filling)
        })
    }

    /// Sets the slots that are still free such that what is said is said; false if there is no such filling.
    fn fit(
        &self,
        free: &[usize],
        set: &mut Vec<usize>,
        said: &Said<'_>,
        filling: &mut Filling,
        tries: &mut usize,
    ) -> bool {
        let Some((slot, rest)) = free.split_first() else {
            return true;
        };
        set.push(*slot);
        // What was known before this slot was set has been looked at.
        let is_new = |entry: &&Entry| {
            let needed = self.needed(entry);
            needed.contains(slot) && needed.iter().all(|needed| set.contains(needed))
        };
        let new: Said<'_> = (said.iter().filter(|(entry, _)| is_new(entry)))
            .copied()
            .collect();
        for choice in 0..self.n_choices(*slot) {
            *tries += 1;
            if *tries > MOST_TRIES {
                break;
            }
            filling.chosen[*slot] = choice;
            let world = World::of(self, filling);
            let fits = new.iter().all(|(entry, text)| world.text(entry) == *text);
            if fits && self.differ(filling, set) && self.fit(rest, set, said, filling, tries) {
                return true;
            }
        }
        set.pop();
        filling.chosen[*slot] = 0;
        false
    }

    /// The parts of a filling's prompt, in their order.
    pub fn pieces(&self, filling: &Filling) -> Vec<Piece> {
        let world = World::of(self, filling);
        let known = self.known_texts();
        let fixed = |text: &str| Piece {
            text: text.to_owned(),
            choices: Vec::new(),
            slot: String::new(),
        };
        let template = &self.templates[filling.template];
        let written = template.write(|entry| world.text(entry));
        let spans = written.spans.iter().cloned();
        let (mut pieces, mut at) = (Vec::new(), 0);
        for ((slot, Range { start, end }), entry) in spans.zip(template.slot_entries()) {
            if at < start {
                pieces.push(fixed(&written.text[at..start]));
            }
            let choices: BTreeSet<&str> = self.texts(entry, &known).into_iter().collect();
            pieces.push(Piece {
                text: written.text[start..end].to_owned(),
                choices: choices.into_iter().map(str::to_owned).collect(),
                slot: self.slots[slot].name.clone(),
            });
            at = end;
        }
        if at < written.text.len() {
            pieces.push(fixed(&written.text[at..]));
        }
        pieces
    }

    /// A filling that says another text in one of its [`pieces`](Task::pieces) that are slots, counted among these; of all such
    /// fillings one that differs in the fewest slots. `None` if the slot cannot say that.
    pub fn saying(&self, filling: &Filling, slot: usize, text: &str) -> Option<Filling> {
        let entry = self.templates[filling.template].slot_entries().nth(slot)?;
        let (needed, free) = (self.needed(entry), self.free_slots());
        let needed: Vec<usize> = needed.into_iter().collect();
        let says = |other: &Filling| World::of(self, other).text(entry) == text;
        let is_it = |other: &Filling| says(other) && self.differ(other, &free);
        if let Some(other) = self.with_another(filling, &needed).find(is_it) {
            return Some(other);
        }
        // Where a row is wanted that another slot has, that slot gives way, whether this one reads it or not.
        let two = self.with_another(filling, &needed).flat_map(|other| {
            let slots = if says(&other) { &free } else { &needed };
            self.with_another(&other, slots).collect::<Vec<_>>()
        });
        two.take(MOST_TRIES).find(is_it)
    }

    /// A filling with one of these slots, which are free, changed to each of what it can be.
    fn with_another(&self, filling: &Filling, slots: &[usize]) -> impl Iterator<Item = Filling> {
        slots.iter().flat_map(move |slot| {
            (0..self.n_choices(*slot)).map(move |choice| {
                let mut other = filling.clone();
                other.chosen[*slot] = choice;
                other
            })
        })
    }

    /// The variables of a filling, each behind those that it follows from, and the answer last: those that stand in the prompt or
    /// that the answer follows from.
    pub fn variables_of(&self, filling: &Filling) -> Vec<Variable> {
        let world = World::of(self, filling);
        let written = self.templates[filling.template].entries();
        let read = written.chain(self.answer.entries());
        let wanted = self.reached(read.filter_map(Entry::slot));
        let shown: Vec<usize> = (self.order.iter().copied())
            .filter(|slot| wanted.contains(slot))
            .collect();
        let number = |slot: usize| shown.iter().position(|own| *own == slot);
        let mut variables: Vec<Variable> = (shown.iter())
            .map(|slot| Variable {
                name: self.slots[*slot].name.clone(),
                equation: match &self.slots[*slot].kind {
                    Kind::Pick { entries, by, .. } => {
                        let names = entries.iter().map(|entry| self.entry_name(entry));
                        let names: Vec<String> = names.collect();
                        let names = names.join(" or ");
                        Some(format!("{names}, by {}", self.entry_name(by)))
                    }
                    Kind::Row { .. } | Kind::Values(_) => None,
                },
                parents: self.parents(*slot).into_iter().filter_map(number).collect(),
                value: world.slot_text(*slot).to_owned(),
            })
            .collect();
        let parents: BTreeSet<usize> = (self.answer.entries())
            .filter_map(|entry| number(entry.slot()?))
            .collect();
        variables.push(Variable {
            name: ANSWER.to_owned(),
            equation: Some(self.answer.as_str().trim().to_owned()),
            parents: parents.into_iter().collect(),
            value: self.answer.write(|entry| world.text(entry)).text,
        });
        variables
    }

    /// Slots that a slot is picked from, and by.
    fn parents(&self, slot: usize) -> BTreeSet<usize> {
        match &self.slots[slot].kind {
            Kind::Pick { entries, by, .. } => {
                let read = entries.iter().chain([by]);
                read.filter_map(Entry::slot).collect()
            }
            Kind::Row { .. } | Kind::Values(_) => BTreeSet::new(),
        }
    }

    /// What the base must be answered with if a variable had the source's value.
    pub fn swapped_answer(&self, [base, source]: [&Filling; 2], variable: &Entry) -> String {
        let source = World::of(self, source);
        let swapped = World::with(self, base, variable, &source);
        self.answer.write(|entry| swapped.text(entry)).text
    }

    /// Slots that are free and that an entry may read.
    fn needed(&self, entry: &Entry) -> BTreeSet<usize> {
        let mut needed = self.reached(entry.slot());
        needed.retain(|slot| !matches!(self.slots[*slot].kind, Kind::Pick { .. }));
        needed
    }

    /// These slots, and all that they follow from.
    fn reached(&self, slots: impl IntoIterator<Item = usize>) -> BTreeSet<usize> {
        let (mut reached, mut next) = (BTreeSet::new(), Vec::from_iter(slots));
        while let Some(slot) = next.pop() {
            if reached.insert(slot) {
                next.extend(self.parents(slot));
            }
        }
        reached
    }

    /// As many as a slot that is free can be.
    fn n_choices(&self, slot: usize) -> usize {
        match &self.slots[slot].kind {
            Kind::Row { table, .. } => self.tables[*table].rows.len(),
            Kind::Values(values) => values.len(),
            Kind::Pick { .. } => 0,
        }
    }

    /// True if of these slots none is the row of one that it must differ from.
    fn differ(&self, filling: &Filling, slots: &[usize]) -> bool {
        slots.iter().all(|slot| {
            let mut others = self.differs(*slot).iter();
            others.all(|other| {
                !slots.contains(other) || filling.chosen[*slot] != filling.chosen[*other]
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::question::shipped;

    #[test]
    fn prompt_of_every_task_is_read_back() {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        for name in shipped::names() {
            let task = shipped::known(name).unwrap();
            for _ in 0..50 {
                let filling = task.any(&mut rng).unwrap();
                let text = task.prompt(&filling).text;
                let read = task.read(&text).unwrap();
                assert_eq!(task.prompt(&read).text, text, "{name}");
                assert_eq!(task.answer(&read), task.answer(&filling), "{text}");
                let pieces = task.pieces(&read);
                let said: String = pieces.iter().map(|piece| piece.text.as_str()).collect();
                assert_eq!(said, text);
            }
        }
        let ioi = shipped::known("ioi").unwrap();
        for text in [
            "",
            "When Mary and Zoe went to the store, Mary gave a drink to",
            "When Mary and Mary went to the store, Mary gave a drink to",
            "When Mary and John went to the store, James gave a drink to",
        ] {
            assert_eq!(ioi.read(text), None, "{text}");
        }
    }

    #[test]
    fn slot_says_another_word_and_little_else_changes() {
        let task = shipped::known("agreement").unwrap();
        let key = task.read("The key near the window").unwrap();
        let said = |filling: &Filling, slot, text| {
            let other = task.saying(filling, slot, text)?;
            Some(task.prompt(&other).text)
        };
        for (slot, text, expected) in [
            (0, "keys", Some("The keys near the window")),
            (0, "cats", Some("The cats near the window")),
            (1, "school", Some("The key near the school")),
            (0, "school", None),
            (2, "keys", None),
        ] {
            assert_eq!(said(&key, slot, text).as_deref(), expected, "{text}");
        }
        let task = shipped::known("ioi").unwrap();
        let mary = task.read("When Mary and John went to the store, Mary gave a drink to");
        let said = |slot, text| {
            let other = task.saying(mary.as_ref().unwrap(), slot, text).unwrap();
            task.prompt(&other).text
        };
        assert_eq!(
            said(0, "James"),
            "When James and John went to the store, James gave a drink to"
        );
        assert_eq!(
            said(3, "John"),
            "When Mary and John went to the store, John gave a drink to"
        );
        // Both names cannot be the same: the other one gives way.
        assert_eq!(
            said(1, "Mary"),
            "When John and Mary went to the store, John gave a drink to"
        );
        let slots = task.pieces(mary.as_ref().unwrap());
        let slots: Vec<&str> = slots.iter().map(|piece| piece.slot.as_str()).collect();
        assert_eq!(slots.concat(), "ABplaceSthing");
    }
}

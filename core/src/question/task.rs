//! A task on language: prompts that are filled in, and what a variable's value does to the answer.

use std::collections::{BTreeSet, HashMap};

use serde::Deserialize;

use super::{
    TaskError,
    entry::{Entry, Filling, Is},
    template::Template,
};

/// The column that `{slot}` writes.
pub(super) const TEXT: &str = "text";
/// Most answers of a task that are told from each other.
const MOST_ANSWERS: usize = 10_000;

/// When an answer counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Score {
    /// Its first token is the likeliest of all.
    #[default]
    Top1,
    /// Its first token is likelier than those of the task's other answers.
    Choice,
}

/// Rows of texts, in columns.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub name: String,
    pub columns: Vec<String>,
    /// The column that `{slot}` writes.
    pub text: usize,
    pub rows: Vec<Vec<String>>,
}

/// A named part of a prompt, or of what it is about.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub name: String,
    pub kind: Kind,
}

/// What a slot is.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// A row of a table, another one than these slots are.
    Row {
        table: usize,
        differs_from: Vec<usize>,
    },
    /// One of these.
    Values(Vec<String>),
    /// The entry that stands where the value of `by` stands in its list; of a column, its list is `texts`.
    Pick {
        entries: Vec<Entry>,
        by: Entry,
        texts: Vec<String>,
    },
}

/// What fillings are drawn from: all, or what is left where some is held out.
#[derive(Clone, Debug)]
pub(super) struct Drawn {
    /// Templates, by number.
    pub templates: Vec<usize>,
    /// Of each table, its rows.
    pub rows: Vec<Vec<usize>>,
}

/// A question about language, as a task file asks it.
#[derive(Clone, Debug)]
pub struct Task {
    /// What it is called.
    pub name: String,
    /// What it asks, and where it is from.
    pub about: String,
    /// When an answer counts.
    pub score: Score,
    pub(super) templates: Vec<Template>,
    pub(super) tables: Vec<Table>,
    pub(super) slots: Vec<Slot>,
    /// Columns that each slot has, whatever it is in a filling.
    pub(super) columns: Vec<Vec<String>>,
    /// Numbers of the slots, each behind those that it needs.
    pub(super) order: Vec<usize>,
    pub(super) source_keeps: Vec<usize>,
    pub(super) answer: Template,
    pub(super) foils: Vec<Template>,
    pub(super) drawn: Drawn,
}

impl Task {
    /// Its prompts, as they are written in the file.
    pub fn templates(&self) -> impl Iterator<Item = &str> {
        self.templates.iter().map(Template::as_str)
    }

    /// Its variables: slots, and columns of their rows beside the text.
    pub fn variables(&self) -> Vec<Entry> {
        let of_slot = |slot: usize| {
            let columns = self.columns[slot].iter();
            let columns = columns.filter(|column| *column != TEXT);
            let columns = columns.map(move |column| Entry::Column(slot, column.clone()));
            std::iter::once(Entry::Slot(slot)).chain(columns)
        };
        (0..self.slots.len()).flat_map(of_slot).collect()
    }

    /// The variables that follow from no other: choices between values, then rows of tables.
    pub fn free_variables(&self) -> Vec<Entry> {
        self.free_slots().into_iter().map(Entry::Slot).collect()
    }

    /// The slots of these.
    pub(super) fn free_slots(&self) -> Vec<usize> {
        let is_value = |slot: &usize| matches!(self.slots[*slot].kind, Kind::Values(_));
        let is_row = |slot: &usize| matches!(self.slots[*slot].kind, Kind::Row { .. });
        let slots = 0..self.slots.len();
        let values = slots.clone().filter(is_value);
        values.chain(slots.filter(is_row)).collect()
    }

    /// The variable with this name.
    ///
    /// # Errors
    /// - [`TaskError::VariableUnknown`] if there is none.
    pub fn variable(&self, name: &str) -> Result<Entry, TaskError> {
        let (slot, column) = match name.split_once('.') {
            None => (name, None),
            Some((slot, column)) => (slot, Some(column)),
        };
        let found = self.slots.iter().position(|own| own.name == slot);
        let found = found.and_then(|slot| match column {
            None => Some(Entry::Slot(slot)),
            Some(column) => (self.columns[slot].iter().any(|own| own == column))
                .then(|| Entry::Column(slot, column.to_owned())),
        });
        found.ok_or_else(|| TaskError::VariableUnknown {
            name: name.to_owned(),
            expected: {
                let names = self.variables().into_iter();
                let names = names.map(|variable| self.entry_name(&variable));
                names.collect::<Vec<_>>().join(", ")
            },
        })
    }

    /// Tables and texts of the rows that a filling has.
    pub fn rows(&self, filling: &Filling) -> Vec<(&str, &str)> {
        let row = |slot: &usize| match self.slots[*slot].kind {
            Kind::Row { table, .. } => {
                let table = &self.tables[table];
                Some((table.name.as_str(), table.text(filling.chosen[*slot], None)))
            }
            _ => None,
        };
        (0..self.slots.len())
            .filter_map(|slot| row(&slot))
            .collect()
    }

    /// Names of its tables, their columns, and their rows.
    pub fn tables(&self) -> impl Iterator<Item = (&str, &[String], &[Vec<String>])> {
        let tables = self.tables.iter();
        tables.map(|table| (&*table.name, &*table.columns, &*table.rows))
    }

    /// Everything that the task can answer, each once.
    ///
    /// # Errors
    /// - [`TaskError::File`] if that is too much.
    pub fn answers(&self) -> Result<Vec<String>, TaskError> {
        let known = self.known_texts();
        let all = self
            .answer
            .all(|entry| self.texts(entry, &known), MOST_ANSWERS);
        all.ok_or_else(|| {
            TaskError::wrong("answer", format!("at most {MOST_ANSWERS} answers"), "more")
        })
    }

    /// What each slot can write.
    pub(super) fn known_texts(&self) -> HashMap<usize, BTreeSet<&str>> {
        let mut known = HashMap::new();
        for &slot in &self.order {
            let texts: BTreeSet<&str> = match &self.slots[slot].kind {
                Kind::Row { table, .. } => self.tables[*table].texts(None).collect(),
                Kind::Values(values) => values.iter().map(String::as_str).collect(),
                Kind::Pick { entries, .. } => {
                    let texts = entries.iter().flat_map(|entry| self.texts(entry, &known));
                    texts.collect()
                }
            };
            known.insert(slot, texts);
        }
        known
    }

    /// What an entry can write.
    pub(super) fn texts<'a>(
        &'a self,
        entry: &'a Entry,
        known: &HashMap<usize, BTreeSet<&'a str>>,
    ) -> Vec<&'a str> {
        match entry {
            Entry::Text(text) => vec![text],
            Entry::Slot(slot) => known[slot].iter().copied().collect(),
            Entry::Column(slot, column) => self.column_texts(*slot, column),
        }
    }

    /// What a column of a slot's rows has, each once, from the first row on.
    fn column_texts(&self, slot: usize, column: &str) -> Vec<&str> {
        let mut texts = Vec::new();
        let mut seen = BTreeSet::new();
        for table in self.tables_of(slot) {
            let new = self.tables[table]
                .texts(Some(column))
                .filter(|text| seen.insert(*text));
            texts.extend(new);
        }
        texts
    }

    /// Tables whose rows a slot can be.
    pub(super) fn tables_of(&self, slot: usize) -> BTreeSet<usize> {
        let (mut tables, mut seen, mut next) = (BTreeSet::new(), BTreeSet::new(), vec![slot]);
        while let Some(slot) = next.pop() {
            if !seen.insert(slot) {
                continue;
            }
            match &self.slots[slot].kind {
                Kind::Row { table, .. } => drop(tables.insert(*table)),
                Kind::Values(_) => (),
                Kind::Pick { entries, .. } => next.extend(entries.iter().filter_map(Entry::slot)),
            }
        }
        tables
    }

    /// Finds the columns of each slot: those that all rows have that it can be.
    fn find_columns(&mut self) {
        for &slot in &self.order {
            let entries = match &self.slots[slot].kind {
                Kind::Row { table, .. } => {
                    self.columns[slot] = self.tables[*table].columns.clone();
                    continue;
                }
                Kind::Values(_) => continue,
                Kind::Pick { entries, .. } => entries,
            };
            let of = |entry: &Entry| match entry {
                Entry::Slot(slot) => self.columns[*slot].clone(),
                _ => Vec::new(),
            };
            let each = entries.iter().map(of);
            let common = each.reduce(|mut common, other| {
                common.retain(|column| other.contains(column));
                common
            });
            self.columns[slot] = common.unwrap_or_default();
        }
    }

    /// Text of what a slot is; of a column, where one is asked for.
    pub(super) fn text_of<'a>(&'a self, is: Is<'a>, column: Option<&str>) -> &'a str {
        match is {
            Is::Row(table, row) => self.tables[table].text(row, column),
            Is::Value(slot, idx) => match &self.slots[slot].kind {
                Kind::Values(values) => &values[idx],
                _ => "",
            },
            Is::Text(text) => text,
        }
    }

    /// Checks what picks pick from, and finds the lists that they pick by.
    pub(super) fn check_picks(&mut self) -> Result<(), TaskError> {
        self.find_columns();
        for idx in 0..self.slots.len() {
            let place = format!("slots.{}", self.slots[idx].name);
            match &self.slots[idx].kind {
                Kind::Values(_) => (),
                Kind::Row {
                    table,
                    differs_from,
                } => {
                    let is_same = |slot: &&usize| match self.slots[**slot].kind {
                        Kind::Row { table: other, .. } => other == *table,
                        _ => false,
                    };
                    if let Some(other) = differs_from.iter().find(|slot| !is_same(slot)) {
                        let found = format!("`{}`", self.slots[*other].name);
                        let expected = "slots of the same table";
                        return Err(TaskError::wrong(
                            format!("{place}.differs_from"),
                            expected,
                            found,
                        ));
                    }
                }
                Kind::Pick { entries, by, .. } => {
                    for (entry, at) in entries.iter().enumerate() {
                        self.check_entry(&format!("{place}.pick[{entry}]"), at)?;
                    }
                    self.check_entry(&format!("{place}.by"), by)?;
                    let texts: Vec<String> = match by {
                        Entry::Column(slot, column) => {
                            let texts = self.column_texts(*slot, column).into_iter();
                            texts.map(str::to_owned).collect()
                        }
                        _ => Vec::new(),
                    };
                    let n = match by {
                        Entry::Slot(slot) => match &self.slots[*slot].kind {
                            Kind::Row { table, .. } => self.tables[*table].rows.len(),
                            Kind::Values(values) => values.len(),
                            Kind::Pick { entries, .. } => entries.len(),
                        },
                        _ => texts.len(),
                    };
                    if entries.len() != n {
                        let what = self.entry_name(by);
                        let expected = format!("{n} entries, as many as `{what}` has");
                        let found = entries.len().to_string();
                        return Err(TaskError::wrong(format!("{place}.pick"), expected, found));
                    }
                    if let Kind::Pick { texts: own, .. } = &mut self.slots[idx].kind {
                        *own = texts;
                    }
                }
            }
        }
        Ok(())
    }

    /// Checks the columns that templates ask for.
    pub(super) fn check_entries(&self) -> Result<(), TaskError> {
        let of = |field: &'static str, templates: &'_ [Template]| -> Result<(), TaskError> {
            for (idx, template) in templates.iter().enumerate() {
                for entry in template.entries() {
                    self.check_entry(&format!("{field}[{idx}]"), entry)?;
                }
            }
            Ok(())
        };
        of("templates", &self.templates)?;
        of("foils", &self.foils)?;
        for entry in self.answer.entries() {
            self.check_entry("answer", entry)?;
        }
        self.answers().map(drop)
    }

    fn check_entry(&self, place: &str, entry: &Entry) -> Result<(), TaskError> {
        match entry {
            Entry::Column(slot, column) if !self.columns[*slot].contains(column) => {
                let expected = match self.columns[*slot].join(", ") {
                    none if none.is_empty() => "a slot that is a row of a table".to_owned(),
                    columns => format!("one of the columns {columns}"),
                };
                Err(TaskError::wrong(
                    place,
                    expected,
                    format!("`{}`", self.entry_name(entry)),
                ))
            }
            _ => Ok(()),
        }
    }

    /// Name of a variable.
    pub fn entry_name(&self, entry: &Entry) -> String {
        match entry {
            Entry::Slot(slot) => self.slots[*slot].name.clone(),
            Entry::Column(slot, column) => format!("{}.{column}", self.slots[*slot].name),
            Entry::Text(text) => format!("'{text}'"),
        }
    }
}

impl Table {
    fn column(&self, name: Option<&str>) -> usize {
        let found = name.and_then(|name| self.columns.iter().position(|own| own == name));
        found.unwrap_or(self.text)
    }

    fn text(&self, row: usize, column: Option<&str>) -> &str {
        &self.rows[row][self.column(column)]
    }

    fn texts(&self, column: Option<&str>) -> impl Iterator<Item = &str> {
        let column = self.column(column);
        self.rows.iter().map(move |row| row[column].as_str())
    }
}

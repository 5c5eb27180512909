//! Task files: a question about language as JSON. `core/src/question/shipped` has those that come with the program.
//!
//! | field | meaning |
//! |---|---|
//! | `version` | 1 |
//! | `name`, `about` | what it is called, and what it asks, with its source |
//! | `templates` | prompts with slots in braces: `{slot}` writes the slot's text, `{slot.column}` another column of its row |
//! | `tables` | lists of rows; each row has the columns of the first one, `text` among them. A table may be `{"file": "names.csv"}`, whose first line has the columns' names |
//! | `slots` | below |
//! | `source_keeps` | slots that the source has as the base has them |
//! | `answer`, `foils` | templates of what the model should say, and of what it must not |
//! | `score` | `top1` (default): the label is the likeliest token of all. `choice`: it beats the other answers of the task |
//!
//! A slot is one of three things: a row of a table, `{"table": "names", "differs_from": ["A"]}`, not the row of these slots; one of
//! its `{"values": ["first", "second"]}`; or `{"pick": ["A", "B"], "by": "order"}`: the entry that stands where the value of `by`
//! stands in its own list. An entry is a slot, a `slot.column`, or a text in quotes of its own, `"'she'"`. The list of a
//! `slot.column` is what that column has, each once, from the first row on.
//!
//! A variable is a slot or a `slot.column`. Its counterfactual: base and source are two fillings of one template; the variable's
//! value is the source's, what is picked by it is picked again, and the answer is written from that.

mod ordered;
mod rows;

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;

use super::{
    TaskError,
    entry::Entry,
    task::{Drawn, Kind, Score, Slot, Table, Task},
    template::Template,
};
use ordered::Ordered;

type Row = BTreeMap<String, String>;

/// Most bytes of a task file.
const MOST_BYTES: usize = 1 << 20;
/// Most slots of a task.
const MOST_SLOTS: usize = 100;

/// A file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u32,
    name: String,
    #[serde(default)]
    about: String,
    templates: Vec<String>,
    #[serde(default)]
    tables: BTreeMap<String, StoredTable>,
    slots: Ordered<StoredSlot>,
    #[serde(default)]
    source_keeps: Vec<String>,
    answer: String,
    #[serde(default)]
    foils: Vec<String>,
    #[serde(default)]
    score: Score,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected rows, or {\"file\": …}")]
enum StoredTable {
    Rows(Vec<Row>),
    File(FileTable),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileTable {
    file: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredSlot {
    table: Option<String>,
    differs_from: Option<Vec<String>>,
    values: Option<Vec<String>>,
    pick: Option<Vec<String>>,
    by: Option<String>,
}

impl Task {
    /// Reads a task file; `read` gives the rows of a table that is a file of its own, the first row having the columns' names.
    ///
    /// # Errors
    /// - [`TaskError::Json`] if it is no JSON of the form, or too long.
    /// - [`TaskError::File`] if something in it is not what it should be.
    pub fn from_json(
        bytes: &[u8],
        read: impl Fn(&str) -> Result<Vec<Vec<String>>, String>,
    ) -> Result<Self, TaskError> {
        if bytes.len() > MOST_BYTES {
            return Err(TaskError::Json {
                cause: format!("{} bytes long, at most {MOST_BYTES} are read", bytes.len()),
            });
        }
        let mut json = serde_json::Deserializer::from_slice(bytes);
        let stored: Stored =
            serde_path_to_error::deserialize(&mut json).map_err(|error| TaskError::Json {
                cause: error.to_string(),
            })?;
        json.end().map_err(|error| TaskError::Json {
            cause: error.to_string(),
        })?;
        stored.check(read)
    }
}

impl Stored {
    fn check(
        self,
        read: impl Fn(&str) -> Result<Vec<Vec<String>>, String>,
    ) -> Result<Task, TaskError> {
        if self.version != 1 {
            return Err(TaskError::wrong("version", "1", self.version.to_string()));
        }
        if self.name.is_empty() {
            return Err(TaskError::wrong("name", "a name", "nothing"));
        }
        if self.slots.0.len() > MOST_SLOTS {
            let found = format!("{}", self.slots.0.len());
            return Err(TaskError::wrong(
                "slots",
                format!("at most {MOST_SLOTS}"),
                found,
            ));
        }
        let mut tables = Vec::new();
        for (name, stored) in &self.tables {
            let place = format!("tables.{name}");
            let table = match stored {
                StoredTable::Rows(rows) => Table::of_rows(name, &place, rows)?,
                StoredTable::File(FileTable { file }) => {
                    let rows = read(file).map_err(|cause| {
                        TaskError::wrong(format!("{place}.file"), "a file of rows", cause)
                    })?;
                    Table::of_lines(name, &place, rows)?
                }
            };
            tables.push(table);
        }
        let names: Vec<&str> = self.slots.0.iter().map(|(name, _)| name.as_str()).collect();
        let names = Names {
            slots: &names,
            tables: &tables,
        };
        let mut slots = Vec::new();
        for (name, stored) in &self.slots.0 {
            names.check_name(name)?;
            let kind = names.kind(&format!("slots.{name}"), stored)?;
            slots.push(Slot {
                name: name.clone(),
                kind,
            });
        }
        let order = order(&slots)?;
        let mut task = Task {
            name: self.name.clone(),
            about: self.about.clone(),
            score: self.score,
            templates: Vec::new(),
            columns: vec![Vec::new(); slots.len()],
            drawn: Drawn::all(
                self.templates.len(),
                tables.iter().map(|table| table.rows.len()),
            ),
            tables: tables.clone(),
            slots,
            order,
            source_keeps: Vec::new(),
            answer: names.template("answer", &self.answer)?,
            foils: Vec::new(),
        };
        task.check_picks()?;
        for (idx, text) in self.templates.iter().enumerate() {
            let template = names.template(&format!("templates[{idx}]"), text)?;
            task.templates.push(template);
        }
        for (idx, text) in self.foils.iter().enumerate() {
            let template = names.template(&format!("foils[{idx}]"), text)?;
            task.foils.push(template);
        }
        for (idx, name) in self.source_keeps.iter().enumerate() {
            let place = format!("source_keeps[{idx}]");
            let slot = names.slot(&place, name)?;
            if let Kind::Pick { .. } = task.slots[slot].kind {
                let expected = "a slot of a table or of values: what is picked follows from others";
                return Err(TaskError::wrong(place, expected, format!("`{name}`")));
            }
            task.source_keeps.push(slot);
        }
        if task.templates.is_empty() {
            return Err(TaskError::wrong("templates", "a prompt at least", "none"));
        }
        task.check_entries()?;
        Ok(task)
    }
}

/// What names in the file may stand for.
struct Names<'a> {
    slots: &'a [&'a str],
    tables: &'a [Table],
}

impl Names<'_> {
    fn check_name(&self, name: &str) -> Result<(), TaskError> {
        let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
        let is_taken = name == "last" || name.parse::<i64>().is_ok();
        if name.is_empty() || !name.chars().all(is_word) || is_taken {
            let expected = "a name of letters, digits, - and _ that is neither `last` nor a number";
            return Err(TaskError::wrong("slots", expected, format!("`{name}`")));
        }
        Ok(())
    }

    fn slot(&self, place: &str, name: &str) -> Result<usize, TaskError> {
        let found = self.slots.iter().position(|own| *own == name);
        found.ok_or_else(|| {
            let expected = format!("one of the slots {}", self.slots.join(", "));
            TaskError::wrong(place, expected, format!("`{name}`"))
        })
    }

    /// A slot or a `slot.column`.
    fn entry(&self, place: &str, name: &str) -> Result<Entry, TaskError> {
        Entry::parse(name, |slot| self.slot(place, slot))
    }

    fn template(&self, place: &str, text: &str) -> Result<Template, TaskError> {
        Template::parse(place, text, |place, name| self.entry(place, name))
    }

    fn kind(&self, place: &str, stored: &StoredSlot) -> Result<Kind, TaskError> {
        let given = [
            ("table", stored.table.is_some()),
            ("differs_from", stored.differs_from.is_some()),
            ("values", stored.values.is_some()),
            ("pick", stored.pick.is_some()),
            ("by", stored.by.is_some()),
        ];
        let found: Vec<&str> = given.iter().filter(|row| row.1).map(|row| row.0).collect();
        match stored {
            StoredSlot {
                table: Some(table),
                differs_from,
                values: None,
                pick: None,
                by: None,
            } => self.row(place, table, differs_from.as_deref().unwrap_or_default()),
            StoredSlot {
                table: None,
                differs_from: None,
                values: Some(values),
                pick: None,
                by: None,
            } => {
                let place = format!("{place}.values");
                let mut seen = HashSet::new();
                match values.iter().find(|value| !seen.insert(*value)) {
                    _ if values.is_empty() => {
                        Err(TaskError::wrong(place, "a value at least", "none"))
                    }
                    Some(value) => Err(TaskError::wrong(
                        place,
                        "each value once",
                        format!("`{value}` twice"),
                    )),
                    None => Ok(Kind::Values(values.clone())),
                }
            }
            StoredSlot {
                table: None,
                differs_from: None,
                values: None,
                pick: Some(pick),
                by: Some(by),
            } => {
                let entry = |(idx, text): (usize, &String)| {
                    let place = format!("{place}.pick[{idx}]");
                    let quoted = text
                        .strip_prefix('\'')
                        .and_then(|text| text.strip_suffix('\''));
                    match quoted {
                        Some(text) => Ok(Entry::Text(text.to_owned())),
                        None => self.entry(&place, text),
                    }
                };
                Ok(Kind::Pick {
                    entries: pick
                        .iter()
                        .enumerate()
                        .map(entry)
                        .collect::<Result<_, _>>()?,
                    by: self.entry(&format!("{place}.by"), by)?,
                    texts: Vec::new(),
                })
            }
            _ => Err(TaskError::wrong(
                place,
                "`table` (and `differs_from`), or `values`, or `pick` and `by`",
                match found.is_empty() {
                    true => "nothing".to_owned(),
                    false => found.join(", "),
                },
            )),
        }
    }

    fn row(&self, place: &str, table: &str, differs: &[String]) -> Result<Kind, TaskError> {
        let known = self.tables.iter().position(|own| own.name == table);
        let table = known.ok_or_else(|| {
            let names: Vec<&str> = self
                .tables
                .iter()
                .map(|table| table.name.as_str())
                .collect();
            let expected = format!("one of the tables {}", names.join(", "));
            TaskError::wrong(format!("{place}.table"), expected, format!("`{table}`"))
        })?;
        let slot = |(idx, name): (usize, &String)| {
            self.slot(&format!("{place}.differs_from[{idx}]"), name)
        };
        let differs_from: Vec<usize> = differs
            .iter()
            .enumerate()
            .map(slot)
            .collect::<Result<_, _>>()?;
        let n_rows = self.tables[table].rows.len();
        if n_rows <= differs_from.len() {
            let expected = format!("a table of more than {} rows", differs_from.len());
            let found = format!("`{}`, which has {n_rows}", self.tables[table].name);
            return Err(TaskError::wrong(
                format!("{place}.differs_from"),
                expected,
                found,
            ));
        }
        Ok(Kind::Row {
            table,
            differs_from,
        })
    }
}

/// An order in which each slot comes after those that it needs.
fn order(slots: &[Slot]) -> Result<Vec<usize>, TaskError> {
    let needs = |slot: &Slot| -> Vec<usize> {
        match &slot.kind {
            Kind::Row { differs_from, .. } => differs_from.clone(),
            Kind::Values(_) => Vec::new(),
            Kind::Pick { entries, by, .. } => {
                entries.iter().chain([by]).filter_map(Entry::slot).collect()
            }
        }
    };
    let mut order: Vec<usize> = Vec::new();
    let mut is_done = vec![false; slots.len()];
    while order.len() < slots.len() {
        let is_ready =
            |idx: &usize| !is_done[*idx] && needs(&slots[*idx]).iter().all(|slot| is_done[*slot]);
        let ready: Vec<usize> = (0..slots.len()).filter(is_ready).collect();
        if ready.is_empty() {
            let circle: Vec<&str> = (0..slots.len())
                .filter(|idx| !is_done[*idx])
                .map(|idx| slots[idx].name.as_str())
                .collect();
            let expected = "slots that do not need each other in a circle";
            return Err(TaskError::wrong("slots", expected, circle.join(", ")));
        }
        for idx in ready {
            is_done[idx] = true;
            order.push(idx);
        }
    }
    Ok(order)
}

//! Tables of a task file.

use std::collections::{BTreeMap, HashSet};

use crate::question::{
    TaskError,
    task::{TEXT, Table},
};

impl Table {
    pub(super) fn of_rows(
        name: &str,
        place: &str,
        rows: &[BTreeMap<String, String>],
    ) -> Result<Self, TaskError> {
        let Some(first) = rows.first() else {
            return Err(TaskError::wrong(place, "a row at least", "none"));
        };
        let names = |row: &BTreeMap<String, String>| row.keys().cloned().collect::<Vec<_>>();
        let columns = names(first);
        if let Some(idx) = rows.iter().position(|row| names(row) != columns) {
            let expected = format!("the columns of the first row, {}", columns.join(", "));
            let found = names(&rows[idx]).join(", ");
            return Err(TaskError::wrong(format!("{place}[{idx}]"), expected, found));
        }
        let rows = rows.iter().map(|row| row.values().cloned().collect());
        Self::checked(name, place, columns, rows.collect())
    }

    pub(super) fn of_lines(
        name: &str,
        place: &str,
        lines: Vec<Vec<String>>,
    ) -> Result<Self, TaskError> {
        let mut lines = lines.into_iter();
        let columns = lines.next().unwrap_or_default();
        let rows: Vec<_> = lines.collect();
        if let Some(idx) = rows.iter().position(|row| row.len() != columns.len()) {
            let expected = format!("{} columns", columns.len());
            let found = rows[idx].len().to_string();
            return Err(TaskError::wrong(
                format!("{place}, row {}", idx + 1),
                expected,
                found,
            ));
        }
        Self::checked(name, place, columns, rows)
    }

    fn checked(
        name: &str,
        place: &str,
        columns: Vec<String>,
        rows: Vec<Vec<String>>,
    ) -> Result<Self, TaskError> {
        let Some(text) = columns.iter().position(|column| column == TEXT) else {
            let found = columns.join(", ");
            return Err(TaskError::wrong(place, format!("a column `{TEXT}`"), found));
        };
        if rows.is_empty() {
            return Err(TaskError::wrong(place, "a row at least", "none"));
        }
        let mut seen = HashSet::new();
        for (idx, row) in rows.iter().enumerate() {
            if row[text].is_empty() {
                return Err(TaskError::wrong(
                    format!("{place}[{idx}].{TEXT}"),
                    "a text",
                    "nothing",
                ));
            }
            if !seen.insert(row) {
                let found = format!("`{}` twice", row[text]);
                return Err(TaskError::wrong(
                    format!("{place}[{idx}]"),
                    "each row once",
                    found,
                ));
            }
        }
        Ok(Self {
            name: name.to_owned(),
            columns,
            text,
            rows,
        })
    }
}

//! Fillings that training does not see: rows of tables, or templates.

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::{
    TaskError,
    task::{Drawn, Kind, Task},
};

/// The name for templates.
const TEMPLATES: &str = "templates";
/// The name for every table that is large enough.
const ALL: &str = "all";
/// Rows from which on a table is held out with all others.
const LARGE: usize = 8;

impl Task {
    /// The same task about what training sees, and about what it does not: a quarter of the rows of these tables, or of the
    /// templates, drawn by the seed. Prompts of the second part have nothing but unseen rows of these tables.
    ///
    /// # Errors
    /// - [`TaskError::HoldOut`] if no slot is a row of such a table, or there is too little to hold some out.
    pub fn holding_out(&self, what: &[String], seed: u64) -> Result<[Self; 2], TaskError> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut parts = [self.clone(), self.clone()];
        let mut is_held_out = false;
        for name in what {
            if name == TEMPLATES {
                let split = quarter(&self.drawn.templates, 1, &mut rng);
                let split = split.ok_or_else(|| self.cannot_hold_out(name, "two templates"))?;
                for (part, templates) in parts.iter_mut().zip(split) {
                    part.drawn.templates = templates;
                }
                is_held_out = true;
                continue;
            }
            let tables = 0..self.tables.len();
            let tables: Vec<usize> = match name.as_str() {
                ALL => tables
                    .filter(|table| self.is_drawn(*table) && self.drawn.rows[*table].len() >= LARGE)
                    .collect(),
                name => tables
                    .filter(|table| self.is_drawn(*table) && self.tables[*table].name == name)
                    .collect(),
            };
            for table in &tables {
                // As many as slots that differ from each other need.
                let n_slots = self.slots_of(*table).max(1);
                let split = quarter(&self.drawn.rows[*table], n_slots, &mut rng);
                let expected = || format!("a table of {} rows at least", 2 * n_slots);
                let split = split.ok_or_else(|| self.cannot_hold_out(name, &expected()))?;
                for (part, rows) in parts.iter_mut().zip(split) {
                    part.drawn.rows[*table] = rows;
                }
                is_held_out = true;
            }
            if tables.is_empty() && name != ALL {
                return Err(self.cannot_hold_out(name, &self.names()));
            }
        }
        match is_held_out {
            true => Ok(parts),
            false => Err(self.cannot_hold_out(&what.join(","), &self.names())),
        }
    }

    fn cannot_hold_out(&self, name: &str, expected: &str) -> TaskError {
        TaskError::HoldOut {
            name: name.to_owned(),
            expected: expected.to_owned(),
        }
    }

    /// What can be held out.
    fn names(&self) -> String {
        let tables = self.tables.iter().enumerate();
        let tables = tables.filter(|(table, _)| self.is_drawn(*table));
        let mut names: Vec<&str> = tables.map(|(_, table)| table.name.as_str()).collect();
        names.extend([TEMPLATES, ALL]);
        format!("some of {}", names.join(", "))
    }

    /// Number of slots that are rows of a table.
    fn slots_of(&self, of: usize) -> usize {
        let is_it = |kind: &Kind| matches!(kind, Kind::Row { table, .. } if *table == of);
        self.slots.iter().filter(|slot| is_it(&slot.kind)).count()
    }

    fn is_drawn(&self, table: usize) -> bool {
        self.slots_of(table) > 0
    }
}

impl Drawn {
    /// All of so many templates, and of tables with so many rows.
    pub fn all(n_templates: usize, n_rows: impl Iterator<Item = usize>) -> Self {
        Self {
            templates: (0..n_templates).collect(),
            rows: n_rows.map(|n| (0..n).collect()).collect(),
        }
    }
}

/// Three quarters, and a quarter, of which each is `least` at least; `None` where there is too little.
fn quarter(all: &[usize], least: usize, rng: &mut ChaCha8Rng) -> Option<[Vec<usize>; 2]> {
    let n_unseen = all.len().div_ceil(4).max(least);
    if all.len() < n_unseen + least {
        return None;
    }
    let mut drawn = all.to_vec();
    drawn.shuffle(rng);
    let mut parts = [drawn.split_off(n_unseen), drawn];
    parts.iter_mut().for_each(|part| part.sort_unstable());
    Some(parts)
}

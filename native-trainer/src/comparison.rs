//! Directions in one table, each beside its controls and what is cheap.

use swivel_core::{
    direction::{Controls, Direction},
    sweep::{Cell, SweepFacts},
};

use swivel_core::metric::Count;

use crate::verdict::BEATS_WHOLE_VECTOR;

const N_COLUMNS: usize = 12;

/// Heads of the table.
pub const HEADS: [&str; N_COLUMNS] = [
    "layer", "token", "rank", "IIA", "95 %", "turned", "unseen", "whole", "random", "means", "pca",
    "unemb",
];

/// What the heads mean, for people.
pub const LEGEND: &str = "turned: of those pairs alone whose answer should turn; unseen: words or templates that training did not see; \
    whole: the whole vector; random: a random subspace of the same rank; not learned: means (their difference), pca (principal \
    components of source less base), unemb (the answers' unembeddings)";

/// A direction with its scores, 0..1.
pub struct Row {
    layer: usize,
    token: String,
    rank: usize,
    iia: f64,
    n_pairs: usize,
    turned: Option<f64>,
    unseen: Option<f64>,
    controls: Controls,
}

impl Row {
    /// Of a direction in a file, at a token of this name.
    pub fn of_direction(direction: &Direction, token: String) -> Self {
        let (facts, measured) = (&direction.facts, &direction.facts.measured);
        Self {
            layer: facts.place.site.layer,
            token,
            rank: direction.rank(),
            iia: facts.iia,
            n_pairs: measured.pairs.unwrap_or(0),
            turned: (measured.turned).map(|[n, turned]| turned as f64 / n.max(1) as f64),
            unseen: measured.unseen.as_ref().map(|unseen| unseen.iia),
            controls: facts.controls.clone(),
        }
    }

    /// Of a cell of a map; `None` where none is learned.
    pub fn of_cell(cell: &Cell, facts: &SweepFacts) -> Option<Self> {
        let place = cell.place;
        Some(Self {
            layer: place.site.layer,
            token: (cell.token.clone()).unwrap_or_else(|| place.position.to_string()),
            rank: cell.basis.as_ref()?.rank(),
            iia: cell.iia,
            n_pairs: facts.test_pairs,
            turned: cell.turned,
            unseen: cell.unseen.as_ref().map(|unseen| unseen.iia),
            controls: cell.controls.clone()?,
        })
    }

    /// True if it clearly turns more pairs than the whole vector.
    pub fn is_flagged(&self) -> bool {
        self.controls.are_beaten_by(self.iia)
    }

    /// What stands under the heads.
    pub fn texts(&self) -> [String; N_COLUMNS] {
        let share = |share: f64| format!("{share:.2}");
        let or_dash = |share: Option<f64>| share.map_or("-".to_owned(), |x| format!("{x:.2}"));
        let count = Count {
            n_right: (self.iia * self.n_pairs as f64).round() as usize,
            n: self.n_pairs,
        };
        let flag = if self.is_flagged() { "!" } else { "" };
        [
            self.layer.to_string(),
            self.token.clone(),
            self.rank.to_string(),
            share(self.iia) + flag,
            count.interval(),
            or_dash(self.turned),
            or_dash(self.unseen),
            share(self.controls.full),
            share(self.controls.random),
            or_dash(self.controls.mean_difference),
            or_dash(self.controls.pca),
            or_dash(self.controls.unembedding),
        ]
    }
}

/// The table, as lines.
pub fn table(rows: &[Row]) -> Vec<String> {
    let texts: Vec<_> = rows.iter().map(Row::texts).collect();
    let heads = HEADS.map(str::to_owned);
    let all = || std::iter::once(&heads).chain(&texts);
    let width = |column: usize| {
        let widths = all().map(|row| row[column].chars().count());
        widths.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..N_COLUMNS).map(width).collect();
    let line = |row: &[String; N_COLUMNS]| {
        let cells = row.iter().zip(&widths);
        let cells: Vec<String> = cells
            .map(|(text, width)| format!("{text:>width$}"))
            .collect();
        format!("  {}", cells.join("  "))
    };
    let mut lines: Vec<String> = all().map(line).collect();
    if rows.iter().any(Row::is_flagged) {
        lines.push(format!("  ! {BEATS_WHOLE_VECTOR}"));
    }
    lines
}

//! The table: what was measured, on both sides.

use serde_json::json;

use crate::report::Report;

/// A line of the table.
pub struct Row<'a> {
    what: &'a str,
    unit: &'a str,
    ours: Vec<f64>,
    peer: Vec<f64>,
    note: &'a str,
}

impl<'a> Row<'a> {
    /// A line about our side alone.
    pub fn ours(what: &'a str, unit: &'a str, ours: Vec<f64>, note: &'a str) -> Self {
        Self {
            what,
            unit,
            ours,
            peer: Vec::new(),
            note,
        }
    }

    /// Prints medians, the ratio of each turn, and its spread.
    pub fn show(self, report: Report) {
        let Self {
            what,
            unit,
            ours,
            peer,
            note,
        } = self;
        let ratios: Vec<f64> = (peer.iter().zip(&ours))
            .map(|(peer, ours)| peer / ours)
            .collect();
        let against = match ratios.is_empty() {
            true => String::new(),
            false => format!("   peer {}   ratio {}", spread(&peer), spread(&ratios)),
        };
        report.line(format!(
            "  {what:<34} {unit:<4} ours {}{against}   {note}",
            spread(&ours)
        ));
        report.event(&json!({
            "what": what, "unit": unit, "ours": ours, "peer": peer, "ratios": ratios, "note": note,
        }));
    }
}

/// Figures of both sides, turn by turn.
#[derive(Default)]
pub struct Turns {
    /// Ours.
    pub ours: Vec<f64>,
    /// The peer's, if it runs.
    pub peer: Vec<f64>,
}

impl Turns {
    /// The line of the table about them.
    pub fn row<'a>(self, what: &'a str, unit: &'a str, note: &'a str) -> Row<'a> {
        Row {
            peer: self.peer,
            ..Row::ours(what, unit, self.ours, note)
        }
    }
}

/// Median, least and largest value.
fn spread(values: &[f64]) -> String {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!(
        "{} ({} to {})",
        number(median(values)),
        number(least),
        number(largest)
    )
}

/// The middle one, or the mean of the middle two.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

/// Three significant digits.
fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        v if v >= 1e-3 || v == 0.0 => format!("{value:.3}"),
        _ => format!("{value:.1e}"),
    }
}

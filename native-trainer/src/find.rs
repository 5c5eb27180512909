//! What a search has found: as a table, and as a page with its pictures in it.

use std::path::PathBuf;

use swivel_core::direction::{Direction, Facts};

use crate::{count::Count, verdict::BEATS_WHOLE_VECTOR};

/// A direction that was found.
pub struct Found {
    /// Name of its token.
    pub token: String,
    /// The direction.
    pub direction: Direction,
    /// Its file.
    pub file: PathBuf,
}

/// Heads of the table.
const HEADS: [&str; 11] = [
    "layer", "token", "rank", "IIA", "95 %", "turned", "unseen", "whole", "random", "means", "pca",
];

impl Found {
    /// What picks it: IIA on validation pairs.
    pub fn validation(&self) -> f64 {
        let facts = &self.direction.facts;
        facts.measured.validation.unwrap_or(facts.iia)
    }

    fn is_flagged(&self) -> bool {
        let facts = &self.direction.facts;
        facts.controls.are_beaten_by(facts.iia)
    }

    /// A row of the table.
    fn row(&self) -> [String; 11] {
        let Facts {
            place,
            iia,
            controls,
            measured,
            ..
        } = &self.direction.facts;
        let share = |share: f64| format!("{share:.2}");
        let or_dash = |share: Option<f64>| share.map_or("-".to_owned(), |x| format!("{x:.2}"));
        let n = measured.pairs.unwrap_or(0);
        let count = Count {
            n_right: (iia * n as f64).round() as usize,
            n,
        };
        let flag = if self.is_flagged() { "!" } else { "" };
        [
            place.site.layer.to_string(),
            self.token.clone(),
            self.direction.rank().to_string(),
            share(*iia) + flag,
            count.interval(),
            or_dash(
                measured
                    .turned
                    .map(|[n, turned]| turned as f64 / n.max(1) as f64),
            ),
            or_dash(measured.unseen.as_ref().map(|unseen| unseen.iia)),
            share(controls.full),
            share(controls.random),
            or_dash(controls.mean_difference),
            or_dash(controls.pca),
        ]
    }
}

/// What was found, as lines.
pub fn table(found: &[Found]) -> Vec<String> {
    let rows: Vec<[String; 11]> = found.iter().map(Found::row).collect();
    let heads = HEADS.map(str::to_owned);
    let all = || std::iter::once(&heads).chain(&rows);
    let width = |column: usize| {
        all()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..HEADS.len()).map(width).collect();
    let line = |row: &[String; 11]| {
        let cells = row.iter().zip(&widths);
        let cells: Vec<String> = cells
            .map(|(text, width)| format!("{text:>width$}"))
            .collect();
        format!("  {}", cells.join("  "))
    };
    let mut lines: Vec<String> = all().map(line).collect();
    if found.iter().any(Found::is_flagged) {
        lines.push(format!("  ! {BEATS_WHOLE_VECTOR}"));
    }
    lines
}

/// A page with the pictures of `check` and of the map in it, that needs nothing else.
pub fn html(
    title: &str,
    about: &str,
    [check, map]: [&str; 2],
    found: &[Found],
    use_it: &str,
) -> String {
    let cells = |row: &[String], tag: &str| {
        let cells: String = row
            .iter()
            .map(|text| format!("<{tag}>{}</{tag}>", escaped(text)))
            .collect();
        format!("<tr>{cells}</tr>")
    };
    let rows: String = found
        .iter()
        .map(|found| cells(&found.row(), "td"))
        .collect();
    let flag = match found.iter().any(Found::is_flagged) {
        true => format!("<p class=\"flag\">! {}</p>", escaped(BEATS_WHOLE_VECTOR)),
        false => String::new(),
    };
    let best = found
        .first()
        .map_or(String::new(), |found| found.file.display().to_string());
    format!(
        r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #1d2733; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.5rem; }} h2 {{ font-size: 1.1rem; margin-top: 2rem; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ text-align: right; padding: .3rem .7rem; border-bottom: 1px solid #dbe2ea; }}
th {{ color: #5b6b7c; font-weight: 500; }} tbody tr:first-child {{ background: #eef4fb; font-weight: 600; }}
code {{ background: #f3f5f8; padding: .15rem .35rem; border-radius: 4px; overflow-wrap: anywhere; }}
.flag {{ color: #b3470b; }} svg {{ max-width: 100%; height: auto; }} figure {{ margin: 0; overflow-x: auto; }}
</style>
<h1>{title}</h1>
<p>{about}</p>
<h2>Does the model know it?</h2>
<figure>{check}</figure>
<h2>Where is it? The whole vector, swapped at each layer and token</h2>
<figure>{map}</figure>
<h2>Which direction turns it?</h2>
<p>The best cell is picked on validation pairs; IIA, its interval and all else are of test pairs that nothing has looked at.
“turned” counts those pairs alone whose answer should turn, “unseen” words that training did not see.
“whole” is the whole vector, “random” a random subspace of the same rank; “means” (difference of means) and “pca” (principal components of source less base) are not learned.</p>
<table><thead>{heads}</thead><tbody>{rows}</tbody></table>
{flag}
<p>The best file is <code>{best}</code>. This scores it on other pairs:</p>
<p><code>{use_it}</code></p>
</html>
"#,
        title = escaped(title),
        about = escaped(about),
        heads = cells(&HEADS.map(str::to_owned), "th"),
        best = escaped(&best),
        use_it = escaped(use_it),
    )
}

/// Text as HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

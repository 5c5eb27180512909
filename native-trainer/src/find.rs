//! What a search has found, as a page with its pictures in it.

use std::path::{Path, PathBuf};

use swivel_core::direction::Direction;

use crate::{
    comparison::{HEADS, LEGEND, Row},
    verdict::BEATS_WHOLE_VECTOR,
};

/// A direction that was found.
pub struct Found {
    /// Name of its token.
    pub token: String,
    /// The direction.
    pub direction: Direction,
    /// Its file.
    pub file: PathBuf,
}

impl Found {
    /// What picks it: IIA on validation pairs.
    pub fn validation(&self) -> f64 {
        let facts = &self.direction.facts;
        facts.measured.validation.unwrap_or(facts.iia)
    }

    /// Its row of the table.
    pub fn row(&self) -> Row {
        Row::of_direction(&self.direction, self.token.clone())
    }
}

/// A page with the pictures of `check` and of the map in it, that needs nothing else.
pub fn html(
    title: &str,
    about: &str,
    [check, map]: [&str; 2],
    rows: &[Row],
    best: &Path,
    use_it: &str,
) -> String {
    let cells = |row: &[String], tag: &str| {
        let cells: String = row
            .iter()
            .map(|text| format!("<{tag}>{}</{tag}>", escaped(text)))
            .collect();
        format!("<tr>{cells}</tr>")
    };
    let flag = match rows.iter().any(Row::is_flagged) {
        true => format!("<p class=\"flag\">! {}</p>", escaped(BEATS_WHOLE_VECTOR)),
        false => String::new(),
    };
    let rows: String = rows.iter().map(|row| cells(&row.texts(), "td")).collect();
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
{legend}.</p>
<table><thead>{heads}</thead><tbody>{rows}</tbody></table>
{flag}
<p>The best file is <code>{best}</code>. This scores it on other pairs:</p>
<p><code>{use_it}</code></p>
</html>
"#,
        title = escaped(title),
        about = escaped(about),
        legend = escaped(LEGEND),
        heads = cells(&HEADS.map(str::to_owned), "th"),
        best = escaped(&best.display().to_string()),
        use_it = escaped(use_it),
    )
}

/// Text as HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

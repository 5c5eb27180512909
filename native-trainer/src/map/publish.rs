//! A finished map, shown and written as a picture.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use anyhow::Result;
use serde_json::json;
use swivel_core::sweep::{Part, SweepResult};

use super::{metric::Metric, svg::svg, table::tables};
use crate::{
    comparison::{self, LEGEND, Row},
    output::{Existing, Output},
    report::Report,
    verdict::BEATS_WHOLE_VECTOR,
};

/// Where the picture of a map goes.
pub fn picture_path(map: &Path) -> PathBuf {
    map.with_extension("svg")
}

/// Most directions that are shown one by one.
const N_ROWS: usize = 24;

/// Shows a finished map and, of a whole one, writes the picture beside its file.
pub fn publish(
    result: &SweepResult,
    path: &Path,
    metric: Metric,
    report: Report,
    started: Instant,
) -> Result<ExitCode> {
    for line in tables(result) {
        report.line(line);
    }
    let rows = result.cells().iter();
    let rows: Vec<Row> = rows
        .filter_map(|cell| Row::of_cell(cell, result.facts()))
        .collect();
    if (1..=N_ROWS).contains(&rows.len()) {
        report.line("\nEach direction beside its controls");
        for line in comparison::table(&rows) {
            report.line(line);
        }
        report.line(format!("  {LEGEND}"));
    }
    let best = result.best();
    if let Some(best) = best.map(|idx| &result.cells()[idx]) {
        let controls = best.controls.as_ref().map_or(String::new(), |controls| {
            format!(
                " (random {:.3}, whole vector {:.3})",
                controls.random, controls.full
            )
        });
        let unseen = best.unseen.as_ref().map_or(String::new(), |unseen| {
            format!(
                ", on {} unseen pairs {:.3} (whole vector {:.3})",
                unseen.pairs, unseen.iia, unseen.full
            )
        });
        let picked = match (best.validation, result.facts().validation_pairs) {
            (Some(iia), Some(n)) => format!("; picked by {n} other pairs, {iia:.3}"),
            _ => String::new(),
        };
        report.line(format!(
            "\nBest: {}, IIA {:.3}{controls}{unseen}{picked}",
            best.title(),
            best.iia
        ));
        if best.beats_whole_vector() {
            report.warn(BEATS_WHOLE_VECTOR);
        }
    }
    let part = result.facts().part;
    let picture = match part {
        Some(_) => None,
        None => {
            let picture = svg(result, metric)?;
            Some(
                Output::create(&picture_path(path), Existing::Replace)?
                    .finish(picture.as_bytes())?,
            )
        }
    };
    let seconds = started.elapsed().as_secs_f64();
    let (file, n_cells) = (path.display(), result.cells().len());
    report.line(match (&picture, part) {
        (Some(picture), _) => format!(
            "Wrote {file} and {} after {seconds:.1} s; drop the first on the page to see where it is, and turn it.",
            picture.display()
        ),
        (None, part) => format!(
            "Wrote {file}, {n_cells} cells, after {seconds:.1} s; `merge` makes one map of all {} parts.",
            part.map_or(1, Part::n_parts)
        ),
    });
    report.event(&json!({
        "event": "done",
        "file": path,
        "picture": picture,
        "part": part.map(|part| part.to_string()),
        "cells": n_cells,
        "best": best,
        "seconds": seconds,
    }));
    Ok(ExitCode::SUCCESS)
}

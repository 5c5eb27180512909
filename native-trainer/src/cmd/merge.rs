//! `merge`: the parts of a map that `sweep --shard` wrote, put together: the same bytes as of a map that was never divided.

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode, time::Instant};

use anyhow::{Context, Result, bail};
use clap::Args as ClapArgs;
use swivel_core::sweep::{Part, SweepFacts, SweepResult};

use super::options::{ForceArgs, ReportArgs};
use crate::{
    direction_file::read_bytes,
    map::{Metric, difference, n_cells, picture_path, publish},
    output::Output,
};

/// Options of `merge`.
#[derive(ClapArgs, Clone, Debug)]
pub struct Args {
    /// All parts of one map, in any order
    #[arg(required = true)]
    parts: Vec<PathBuf>,
    /// Where the map goes; the picture goes beside it, as .svg
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// What the picture shows
    #[arg(long, value_enum, default_value_t = Metric::Iia)]
    metric: Metric,
    #[command(flatten)]
    force: ForceArgs,
    #[command(flatten)]
    report: ReportArgs,
}

/// Runs `merge`.
pub fn run(args: Args) -> Result<ExitCode> {
    let started = Instant::now();
    let Args {
        parts,
        out,
        metric,
        force,
        report,
    } = args;
    let report = report.report();
    for path in [&out, &picture_path(&out)] {
        force.existing().check(path)?;
    }
    let map = merged(read_parts(parts)?)?;
    Output::create(&out, force.existing())?.finish(&map.to_bytes())?;
    publish(&map, &out, metric, report, started)
}

/// The parts by their numbers, all of one map.
fn read_parts(paths: Vec<PathBuf>) -> Result<BTreeMap<Part, (PathBuf, SweepResult)>> {
    let mut parts: BTreeMap<Part, (PathBuf, SweepResult)> = BTreeMap::new();
    for path in paths {
        let file = path.display();
        let bytes = read_bytes(&path)?;
        let result = SweepResult::from_bytes(&bytes).with_context(|| format!("reading {file}"))?;
        let Some(part) = result.facts().part else {
            bail!("{file} is a whole map; give the parts that `sweep --shard I/N` wrote");
        };
        if let Some((first, (other, of))) = parts.first_key_value() {
            let other = other.display();
            if part.n_parts() != first.n_parts() {
                bail!(
                    "{file} is part {part} and {other} part {first}: they are of a map divided in two ways; give the parts of one division"
                );
            }
            if let Some(difference) = difference(&of_map(of.facts()), &of_map(result.facts())) {
                bail!(
                    "{file} is a part of another map than {other}; they differ in: {difference}; leave it out, or make it anew with the options of the others"
                );
            }
        }
        if let Some((other, _)) = parts.get(&part) {
            bail!(
                "{file} and {} are both part {part}; leave one out",
                other.display()
            );
        }
        parts.insert(part, (path, result));
    }
    Ok(parts)
}

/// What the facts of a part say of the whole map.
fn of_map(facts: &SweepFacts) -> SweepFacts {
    SweepFacts {
        part: None,
        n_planned: n_cells(&facts.run).unwrap_or(0),
        ..facts.clone()
    }
}

/// The map of all parts.
fn merged(parts: BTreeMap<Part, (PathBuf, SweepResult)>) -> Result<SweepResult> {
    let (first, (_, result)) = parts.first_key_value().context("there are no parts")?;
    let numbers: Vec<usize> = parts.keys().map(|part| part.number()).collect();
    let missing: Vec<String> = (1..=first.n_parts())
        .filter(|number| !numbers.contains(number))
        .map(|number| format!("{number}/{}", first.n_parts()))
        .collect();
    if !missing.is_empty() {
        let missing = missing.join(", ");
        bail!("part {missing} of the map is missing; give its file, or make it with --shard");
    }
    let mut map = SweepResult::new(of_map(result.facts()))?;
    for (part, (path, result)) in &parts {
        let file = path.display();
        if !result.is_complete() {
            bail!(
                "{file} is not finished: {} of its {} cells are there; the same sweep with --shard {part} goes on from there",
                result.cells().len(),
                result.facts().n_planned
            );
        }
        for cell in result.cells() {
            (map.push(cell.clone())).with_context(|| format!("taking the cells of {file}"))?;
        }
    }
    if !map.is_complete() {
        bail!(
            "the parts have {} cells of the map's {}: it was not divided by one version of this program; make the parts anew",
            map.cells().len(),
            map.facts().n_planned
        );
    }
    Ok(map)
}

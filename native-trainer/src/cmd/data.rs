//! `data`: writes counterfactual pairs as a training data file.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::Args as ClapArgs;
use serde_json::json;
use swivel_core::{Position, question::TokenName};

use super::options::{Common, ForceArgs, ReportArgs, TaskArgs, check_counts, examples, heading};
use crate::{
    file_name::{file_at, tag},
    output::Output,
};

/// Pairs to write, where it is not said how many.
const PAIRS: usize = 800;

/// Options of `data`.
#[derive(ClapArgs, Clone, Debug)]
#[command(after_help = examples(&[
    "swivel data --out pairs.jsonl --variable op3",
    "swivel data --out other.jsonl --variable op3 --pairs 1000 --seed 1",
]))]
pub struct Args {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    task: TaskArgs,
    /// Pairs to write: a changed answer in the first half, an unchanged one in the second
    #[arg(long, default_value_t = PAIRS, help_heading = heading::QUESTION)]
    pairs: usize,
    /// Seed of the pairs
    #[arg(long, default_value_t = 0, help_heading = heading::QUESTION)]
    seed: u64,
    /// Token that is swapped, from 0, `last`, or by a name that the task has
    #[arg(
        long,
        default_value = "last",
        value_name = "N|last|NAME",
        allow_negative_numbers = true,
        help_heading = heading::PLACE
    )]
    position: TokenName,
    /// File to write, JSON lines, or a folder that is there; its own name is then PROGRAM-VARIABLE and the settings that are
    /// not the default ones
    #[arg(long, value_name = "FILE|DIR", help_heading = heading::OUTPUT)]
    out: PathBuf,
    #[command(flatten)]
    force: ForceArgs,
    #[command(flatten)]
    report: ReportArgs,
}

/// Runs `data`.
pub fn run(args: Args) -> Result<ExitCode> {
    let Args {
        common,
        task: asked,
        pairs: n_pairs,
        seed,
        position,
        out,
        force,
        report,
    } = args;
    check_counts(&[("--pairs", n_pairs)])?;
    let report = report.report();
    let files = common.open()?;
    let task = asked.resolve(&files)?;
    let mut name = vec![task.question.short_name().to_owned(), task.variable.clone()];
    name.extend(tag(
        "token",
        position.clone(),
        TokenName::Counted(Position::LAST),
    ));
    name.extend(tag("seed", seed, 0));
    name.extend(tag("pairs", n_pairs, PAIRS));
    name.extend(asked.tags());
    let out = file_at(out, &(name.join("-") + ".jsonl"));
    let output = Output::create(&out, force.existing())?;
    let pairs = task.sample(n_pairs, seed, &position)?;
    let mut bytes = Vec::new();
    for pair in &pairs {
        serde_json::to_writer(&mut bytes, pair).context("writing a pair as JSON")?;
        bytes.push(b'\n');
    }
    let file = output.finish(&bytes)?;
    report.line(format!(
        "Wrote {} pairs for {} of {} to {}",
        pairs.len(),
        task.variable,
        task.question.name(),
        file.display()
    ));
    report.event(&json!({ "pairs": pairs.len(), "task": task.question.name(), "variable": task.variable, "file": file }));
    Ok(ExitCode::SUCCESS)
}

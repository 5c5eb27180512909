//! `data`: writes counterfactual pairs as a training data file.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, bail};
use clap::Args as ClapArgs;
use serde_json::json;
use swivel_core::Position;

use super::{Common, TaskArgs, place};
use crate::{model_files::ModelFiles, output::Output};

/// Options of `data`.
#[derive(ClapArgs, Clone, Debug)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    task: TaskArgs,
    /// Pairs to write: a changed answer in the first half, an unchanged one in the second
    #[arg(long, default_value_t = 800)]
    pairs: usize,
    /// Token position that is swapped, from 0, or `last`
    #[arg(long, default_value = "last", value_name = "N|last")]
    position: Position,
    /// Seed of the pairs
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// File to write, JSON lines
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Runs `data`.
pub fn run(args: Args) -> Result<ExitCode> {
    let Args {
        common,
        task,
        pairs: n_pairs,
        position,
        seed,
        out,
    } = args;
    if n_pairs == 0 {
        bail!("--pairs is 0; expected at least 1");
    }
    let report = common.report();
    let files = ModelFiles::open(common.model())?;
    let task = task.resolve(&files.config, files.tokenizer()?, ("07065a", "op5"))?;
    let output = Output::create(&out)?;
    let mut pairs = task.sampler()?.pairs(n_pairs, seed)?;
    place(&mut pairs, position)?;
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
        task.name(),
        file.display()
    ));
    report.event(&json!({ "pairs": pairs.len(), "task": task.name(), "variable": task.variable, "file": file }));
    Ok(ExitCode::SUCCESS)
}

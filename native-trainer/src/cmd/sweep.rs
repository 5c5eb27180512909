//! `sweep`: a map of places in the model: how well an intervention works at each layer, position, component, head, rank and
//! variable, in one bundle, with a picture.

mod cells;
mod identity;
mod map;
mod picture;
mod span;
mod work;

use std::{
    ops::Range,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Instant,
};

use anyhow::{Context, Result, bail};
use clap::Args as ClapArgs;
use serde_json::json;
use swivel_core::bundle::{Bundle, BundleFacts, Method, Part};

use super::{
    KeepArgs, LearnArgs, ReportArgs, TaskArgs, check_counts, heading, help_end, short_name,
    train::CREATED_BY,
};
use crate::{
    device::DeviceChoice,
    model_files::{ModelFiles, SOLVER},
    output::{Existing, Output},
    report::Report,
};
use cells::{Planned, Sweep, Variable};
pub use identity::{difference, n_cells};
use map::Map;
pub use picture::Metric;
use span::Span;

/// Options of `sweep`.
#[derive(ClapArgs, Clone, Debug)]
#[command(after_help = help_end(&[
    "swivel sweep --variable op5,op3",
    "swivel sweep --method interchange --components block_output,head_attention_value_output --positions all",
    "swivel sweep --variable op5,op3 --shard 1/4",
]))]
pub struct Args {
    /// Model: `solver` (embedded), a folder in Hugging Face's layout, or a Hub id [default: solver]
    #[arg(long, value_name = "DIR_OR_HUB_ID", help_heading = heading::MODEL)]
    model: Option<String>,
    /// Devices that share the cells: auto, flex (the CPU), cuda or wgpu; cuda:0,cuda:1 are two GPUs
    #[arg(long, default_values_t = [DeviceChoice::Auto], value_delimiter = ',', help_heading = heading::MODEL)]
    device: Vec<DeviceChoice>,
    #[command(flatten)]
    report: ReportArgs,
    #[command(flatten)]
    task: TaskArgs,
    #[command(flatten)]
    keep: KeepArgs,
    /// What is done at each cell: low_rank learns a direction; interchange, zero and mean need no training
    #[arg(long, default_value = "low_rank", value_parser = Method::ALL.map(|(_, name)| name), help_heading = heading::LEARNING)]
    method: String,
    /// Layers: `all`, `last`, numbers and ranges, as in 0,3-5
    #[arg(long, default_value = "all", value_name = "LIST", help_heading = heading::PLACE)]
    layers: Span,
    /// Positions: numbers from 0 and ranges, as in 3 (token 3 alone) or 120-129; `last:3` (the last three), `last`, `all`
    #[arg(long, default_value = "last:10", value_name = "LIST", help_heading = heading::PLACE)]
    positions: Span,
    /// Components of the sites, separated by commas; those listed below
    #[arg(
        long,
        default_value = "block_output",
        value_delimiter = ',',
        value_name = "NAMES", help_heading = heading::PLACE)]
    components: Vec<String>,
    /// Heads, at components that are per head: `all`, numbers and ranges
    #[arg(long, default_value = "all", value_name = "LIST", help_heading = heading::PLACE)]
    heads: Span,
    /// Ranks of the subspaces, separated by commas
    #[arg(
        long,
        default_value = "1",
        value_delimiter = ',',
        value_name = "NUMBERS", help_heading = heading::LEARNING)]
    ranks: Vec<usize>,
    #[command(flatten)]
    learn: LearnArgs,
    /// Pairs that each direction is learned from
    #[arg(long, default_value_t = 800, conflicts_with = "train_data", help_heading = heading::QUESTION)]
    train_pairs: usize,
    /// Held-out pairs that each cell is scored on
    #[arg(long, default_value_t = 200, conflicts_with = "test_data", help_heading = heading::QUESTION)]
    test_pairs: usize,
    /// Learn each direction a second time on shuffled labels, as a control
    #[arg(long, help_heading = heading::LEARNING)]
    shuffled: bool,
    /// Training pairs from a file (JSON lines) rather than from the task; not needed where nothing is learned
    #[arg(long, value_name = "FILE", requires = "test_data", help_heading = heading::QUESTION)]
    train_data: Option<PathBuf>,
    /// Held-out pairs from a file
    #[arg(long, value_name = "FILE", help_heading = heading::QUESTION)]
    test_data: Option<PathBuf>,
    /// Seed of data, initial bases and shuffling
    #[arg(long, default_value_t = 0, help_heading = heading::LEARNING)]
    seed: u64,
    /// What the picture shows
    #[arg(long, value_enum, default_value_t = Metric::Iia, help_heading = heading::OUTPUT)]
    metric: Metric,
    /// Compute one of N parts of the map, which `merge` puts together: 1/4 is the first of four
    #[arg(long, value_name = "I/N", help_heading = heading::OUTPUT)]
    shard: Option<Part>,
    /// Where the bundle goes; the picture goes beside it, as .svg [default: directions/MODEL-PROGRAM-VARIABLE-METHOD-map.safetensors, of a part …-map-1of4.safetensors]
    #[arg(long, value_name = "FILE", help_heading = heading::OUTPUT)]
    out: Option<PathBuf>,
    /// Replace the file if it is there; without, the same command goes on with the map in it
    #[arg(long, help_heading = heading::OUTPUT)]
    force: bool,
}

/// Runs `sweep`.
pub fn run(args: Args) -> Result<ExitCode> {
    let report = args.report.report();
    let Some((method, _)) = (Method::ALL.into_iter()).find(|(_, name)| *name == args.method) else {
        bail!("unknown method `{}`", args.method);
    };
    let is_learned = method == Method::LowRank;
    args.learn.check()?;
    check_counts(&[
        ("--train-pairs", args.train_pairs),
        ("--test-pairs", args.test_pairs),
    ])?;
    if args.test_data.is_some() && args.train_data.is_none() && is_learned {
        bail!("--test-data needs --train-data: directions are learned from it");
    }
    let files = ModelFiles::open(args.model.as_deref().unwrap_or(SOLVER))?;
    let (variables, task) = cells::variables(&args, &files, is_learned)?;
    let cells = cells::plan(&args, &files.config, &variables, is_learned)?;
    let first = &variables[0];
    let n_tokens = first.test[0].base.len();
    let jobs = work::jobs(&cells, method, n_tokens, &args.learn);
    let jobs = match args.shard {
        None => jobs,
        Some(part) => {
            let (n_jobs, n_cells) = (jobs.len(), cells.len());
            let cost = |job: &Range<usize>| {
                work::cost(&cells[job.clone()], files.config.n_layers, n_tokens)
            };
            let jobs = work::share(part, &jobs, cost).with_context(|| {
                format!(
                    "--shard {part}: this map of {n_cells} cells has at most {n_jobs} parts, since some cells are computed together"
                )
            })?;
            jobs.to_vec()
        }
    };
    let here = (jobs.first().zip(jobs.last())).map(|(first, last)| first.start..last.end);
    let here = here.context("there are no cells")?;
    let rule = args.learn.rule(files.config.d_model, true, args.seed);
    let rule = is_learned.then_some(rule);
    let facts = BundleFacts {
        method,
        model: files.name.clone(),
        model_sha256: files.sha256()?,
        run: identity::run(&args, task.as_deref(), &variables, &cells, rule)?,
        task,
        train_pairs: is_learned.then_some(first.train.len()),
        test_pairs: first.test.len(),
        epochs: rule.map(|rule| rule.epochs),
        lr: rule.map(|rule| rule.lr),
        seed: Some(args.seed),
        base: first.test[0].base.clone(),
        source: first.test[0].source.clone(),
        n_planned: here.len(),
        part: args.shard,
        created_by: Some(CREATED_BY.to_owned()),
    };
    let out = match &args.out {
        Some(out) => out.clone(),
        None => default_path(&facts, &variables),
    };
    let sweep = Sweep {
        files,
        method,
        variables,
        cells,
        here,
        learn: args.learn,
        seed: args.seed,
        shuffled: args.shuffled,
        keep: args.keep,
        report,
    };
    let mut map = Map::open(&out, facts, &sweep, Existing::of(args.force))?;
    map.fill(Arc::new(sweep), jobs, &args.device, args.metric)
}

/// Where a map goes if nobody says: parts have names of their own.
fn default_path(facts: &BundleFacts, variables: &[Variable]) -> PathBuf {
    let model = short_name(&facts.model);
    let names: Vec<&str> = (variables.iter())
        .filter_map(|variable| variable.name.as_deref())
        .collect();
    let what = match &facts.task {
        Some(task) => format!("{}-{}", task.replace("programs/", ""), names.join("-")),
        None => "data".to_owned(),
    };
    let part = facts.part.map_or(String::new(), |part| {
        format!("-{}of{}", part.number(), part.n_parts())
    });
    PathBuf::from(format!(
        "directions/{model}-{what}-{}-map{part}.safetensors",
        facts.method.name()
    ))
}

/// Where the picture of a map goes.
pub fn picture_path(map: &Path) -> PathBuf {
    map.with_extension("svg")
}

/// Shows a finished map and, of a whole one, writes the picture beside its file.
pub fn publish(
    bundle: &Bundle,
    path: &Path,
    metric: Metric,
    report: Report,
    started: Instant,
) -> Result<ExitCode> {
    for sheet in bundle.sheets() {
        for line in super::inspect::table(bundle, &sheet) {
            report.line(line);
        }
    }
    let best = bundle.best();
    if let Some(best) = best.map(|idx| &bundle.cells()[idx]) {
        let controls = best.controls.as_ref().map_or(String::new(), |controls| {
            format!(
                " (random {:.3}, whole vector {:.3})",
                controls.random, controls.full
            )
        });
        report.line(format!(
            "\nBest: {}, IIA {:.3}{controls}",
            best.title(),
            best.iia
        ));
    }
    let part = bundle.facts().part;
    let picture = match part {
        Some(_) => None,
        None => {
            let picture = picture::svg(bundle, metric)?;
            Some(
                Output::create(&picture_path(path), Existing::Replace)?
                    .finish(picture.as_bytes())?,
            )
        }
    };
    let seconds = started.elapsed().as_secs_f64();
    let (file, n_cells) = (path.display(), bundle.cells().len());
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

//! `inspect`: what a direction file, a sweep result, a model folder or a weight file holds, and what a plan does.

mod gguf;
mod weights;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Result, bail};
use clap::Args as ClapArgs;
use serde_json::json;
use swivel_core::{
    StoredFile, Tokenizer,
    direction::{Controls, Direction, Facts, Measured, Unseen},
    gguf::Value,
    sweep::{FileKind, Method, SweepFacts, SweepResult},
};

use super::options::{ForceArgs, ReportArgs, examples, heading};
use swivel_core::metric::Count;

use crate::{
    direction_file::{Opened, no_map},
    map::{self, cell_name},
    model_files::{ModelFiles, SOLVER},
    output::Output,
    plan_file::PlanFile,
    probe::LearnedOn,
    report::Report,
    verdict,
    weight_file::WeightFile,
};

/// Options of `inspect`.
#[derive(ClapArgs, Clone, Debug)]
#[command(after_help = examples(&["swivel inspect plan.json", "swivel inspect MAP --cell op5.best --out best.safetensors"]))]
pub struct Args {
    /// Direction file, sweep result, plan, model folder, weight file (safetensors, GGUF, torch), Hub id, or `solver`; of a plan, it is said what is read where and written
    /// where, and nothing is run
    what: PathBuf,
    /// Model that a plan is for: `solver` (embedded), a folder in Hugging Face's layout, a GGUF file, or a Hub id [default: solver]
    #[arg(long, value_name = "DIR_OR_HUB_ID", help_heading = heading::MODEL)]
    model: Option<String>,
    /// Only this cell of a map, as in layer2@129 or op5.best: parts of its name that no other cell has
    #[arg(long, value_name = "NAME")]
    cell: Option<String>,
    /// Write the cell as a direction file
    #[arg(long, value_name = "FILE", requires = "cell")]
    out: Option<PathBuf>,
    #[command(flatten)]
    force: ForceArgs,
    #[command(flatten)]
    report: ReportArgs,
}

/// Runs `inspect`.
pub fn run(args: Args) -> Result<ExitCode> {
    let Args {
        what,
        model,
        cell,
        out,
        force,
        report,
    } = args;
    let report = report.report();
    let is_plan = what.is_file() && PlanFile::is_one(&what);
    match (is_plan, cell.is_some(), model.is_some()) {
        (true, true, _) => return Err(no_map(&what)),
        (true, false, _) => {
            let model = model.as_deref().unwrap_or(SOLVER);
            return inspect_plan(&PlanFile::open(what, ModelFiles::open(model)?)?, report);
        }
        (false, _, true) => bail!("--model: {} is no plan", what.display()),
        (false, _, false) => {}
    }
    let opened = match what.is_file() {
        true => {
            let stored = WeightFile::Disk(what.clone()).header()?;
            if !is_ours(&stored) {
                if cell.is_some() {
                    return Err(no_map(&what));
                }
                weights::inspect(&stored, report);
                return Ok(ExitCode::SUCCESS);
            }
            Some(Opened::read(&what)?)
        }
        false => None,
    };
    match (opened, cell) {
        (Some(Opened::Map(result)), Some(name)) => {
            let direction = result.direction(cell_name::find(&result, &name)?)?;
            if let Some(out) = &out {
                Output::create(out, force.existing())?.finish(&direction.to_bytes())?;
            }
            inspect_direction(&direction, report);
            if let Some(out) = out {
                report.line(format!("Wrote {}", out.display()));
            }
        }
        (Some(Opened::Direction(_)) | None, Some(_)) => return Err(no_map(&what)),
        (Some(Opened::Map(result)), None) => inspect_sweep(&result, report),
        (Some(Opened::Direction(direction)), None) => inspect_direction(&direction, report),
        (None, None) => inspect_model(&ModelFiles::open(&what.to_string_lossy())?, report),
    }
    Ok(ExitCode::SUCCESS)
}

/// True of direction files and sweep results, which are safetensors, too.
fn is_ours(stored: &StoredFile) -> bool {
    match stored.metadata.get("format") {
        Some(Value::Text(format)) => FileKind::of_format(format).is_some(),
        _ => false,
    }
}

fn inspect_direction(direction: &Direction, report: Report) {
    let Facts {
        method,
        model,
        model_sha256,
        first_token,
        place,
        token,
        task,
        variable,
        templates,
        train_pairs,
        epochs,
        lr,
        seed,
        iia,
        controls,
        measured,
        probe,
        created_by,
    } = &direction.facts;
    let or_dash = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    for (name, value) in [
        (
            "direction",
            format!(
                "{method}, {}, width {}",
                direction.size_in_words(),
                direction.width()
            ),
        ),
        (
            "site",
            match token {
                Some(token) => format!("{} of each prompt", place.at(token)),
                None => place.to_string(),
            },
        ),
        (
            "stands for",
            format!("{} of {}", or_dash(variable), or_dash(task)),
        ),
        ("model", weights(model, model_sha256)),
        ("prompts", first(first_token.as_deref())),
        (
            "templates",
            match templates[..] {
                [] => "-".to_owned(),
                _ => templates.join("; "),
            },
        ),
        ("IIA", iia_in_words(*iia, measured)),
        ("controls", controls_in_words(controls)),
        (
            "unseen",
            match &measured.unseen {
                None => "-".to_owned(),
                Some(Unseen {
                    held_out,
                    pairs,
                    iia,
                    full,
                }) => {
                    let held_out = held_out.join(", ");
                    format!(
                        "{iia:.3} on {pairs} pairs of what training did not see ({held_out}), whole vector {full:.3}"
                    )
                }
            },
        ),
        (
            "flag",
            match controls.are_beaten_by(*iia) {
                true => verdict::BEATS_WHOLE_VECTOR.to_owned(),
                false => "-".to_owned(),
            },
        ),
        ("learned", learned(*train_pairs, *epochs, *lr, *seed)),
        (
            "probe",
            format!(
                "{} tokens, answers {} with logit {:.3}",
                probe.base.len(),
                probe.top_1,
                probe.logit
            ),
        ),
        ("written by", or_dash(created_by)),
    ] {
        report.line(format!("{name:<11}{value}"));
    }
    report.event(&json!({
        "kind": "direction",
        "method": method,
        "rank": direction.rank(),
        "form": direction.form().about(),
        "width": direction.width(),
        "layer": place.site.layer,
        "component": place.site.component.name(),
        "position": place.position.to_string(),
        "token": token,
        "task": task,
        "variable": variable,
        "templates": templates,
        "model": model,
        "model_sha256": model_sha256,
        "first_token": first_token,
        "iia": iia,
        "controls": controls,
        "measured": measured,
        "beats_whole_vector": controls.are_beaten_by(*iia),
        "train_pairs": train_pairs,
        "epochs": epochs,
        "lr": lr,
        "seed": seed,
        "probe": probe,
        "created_by": created_by,
    }));
}

/// A score with its interval, and on what it was measured.
fn iia_in_words(iia: f64, measured: &Measured) -> String {
    let Measured {
        pairs,
        turned,
        known,
        seeds,
        ..
    } = measured;
    let mut words = vec![match pairs {
        None => format!("{iia:.3} on held-out pairs"),
        Some(n) => {
            let n_right = (iia * *n as f64).round() as usize;
            let interval = Count { n_right, n: *n }.interval();
            format!("{iia:.3}, {interval}, on {n} held-out pairs")
        }
    }];
    words.extend(turned.map(|[n, n_turned]| format!("{n_turned} of {n} turned that should")));
    words.extend(known.map(|share| format!("{share:.2} of the sampled pairs are known")));
    if !seeds.is_empty() {
        let seeds: Vec<String> = seeds.iter().map(|iia| format!("{iia:.3}")).collect();
        words.push(format!("by seed {}", seeds.join(" ")));
    }
    words.join("; ")
}

/// What a score stands beside.
fn controls_in_words(controls: &Controls) -> String {
    let Controls {
        random,
        full,
        shuffled,
        mean_difference,
        pca,
        unembedding,
    } = controls;
    let mut words = vec![format!("random {random:.3}, whole vector {full:.3}")];
    for (name, share) in [
        ("shuffled labels", shuffled),
        ("difference of means", mean_difference),
        ("principal components", pca),
        ("unembeddings", unembedding),
    ] {
        words.extend(share.map(|share| format!("{name} {share:.3}")));
    }
    words.join(", ")
}

/// What a file was learned on.
fn learned(
    train_pairs: Option<usize>,
    epochs: Option<usize>,
    lr: Option<f64>,
    seed: Option<u64>,
) -> String {
    fn text(value: Option<impl ToString>) -> String {
        value.map_or("-".to_owned(), |value| value.to_string())
    }
    let (train_pairs, epochs) = (text(train_pairs), text(epochs));
    let (lr, seed) = (text(lr), text(seed));
    format!("on {train_pairs} pairs, {epochs} epochs, lr {lr}, seed {seed}")
}

/// What stands before prompts.
fn first(token: Option<&str>) -> String {
    match token {
        Some(text) => format!("{text:?} before each"),
        None => "no token before them".to_owned(),
    }
}

/// Which weights a file belongs to.
fn weights(model: &str, sha256: &str) -> String {
    format!("{model}, weights {}", sha256.get(..12).unwrap_or(sha256))
}

fn inspect_sweep(result: &SweepResult, report: Report) {
    let SweepFacts {
        method,
        model,
        model_sha256,
        first_token,
        task,
        templates,
        train_pairs,
        test_pairs,
        validation_pairs,
        known,
        epochs,
        lr,
        seed,
        base,
        source,
        n_planned,
        part,
        run,
        created_by,
    } = result.facts();
    let n_cells = result.cells().len();
    let best = result.best();
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    for (name, value) in [
        ("sweep", {
            let method = method.name();
            let part = part.map_or(String::new(), |part| format!(", part {part} of a map"));
            match result.is_complete() {
                true => format!("{method}, {n_cells} cells{part}"),
                false => {
                    format!("{method}, {n_cells} of {n_planned} cells{part}: interrupted")
                }
            }
        }),
        ("task", or_dash(task.clone())),
        ("model", weights(model, model_sha256)),
        ("prompts", first(first_token.as_deref())),
        ("scores", {
            let others = validation_pairs.map(|n| format!("; {n} others pick the best cell"));
            let known = known.map(|share| format!("; {share:.2} of the sampled pairs are known"));
            let words = others.into_iter().chain(known).collect::<String>();
            format!("on {test_pairs} held-out pairs{words}")
        }),
        ("learned", learned(*train_pairs, *epochs, *lr, *seed)),
        (
            "pair",
            format!("{} tokens, source {}", base.len(), source.len()),
        ),
        ("best", {
            let best = best.map(|idx| &result.cells()[idx]);
            or_dash(best.map(|cell| format!("{}: IIA {:.3}", cell.title(), cell.iia)))
        }),
        ("written by", or_dash(created_by.clone())),
    ] {
        report.line(format!("{name:<11}{value}"));
    }
    for line in map::tables(result) {
        report.line(line);
    }
    if let (Method::Das, Some(best)) = (method, best) {
        report.line(format!(
            "\n--cell NAME --out FILE writes one cell as a direction file; the best is {}",
            cell_name::name(&result.cells()[best])
        ));
    }
    let cells: Vec<_> = (result.cells().iter())
        .map(|cell| {
            json!({
                "name": cell_name::name(cell),
                "layer": cell.place.site.layer,
                "component": cell.place.site.component.name(),
                "head": cell.place.head,
                "position": cell.place.position.to_string(),
                "token": cell.token,
                "variable": cell.variable,
                "validation": cell.validation,
                "turned": cell.turned,
                "unseen": cell.unseen,
                "beats_whole_vector": cell.beats_whole_vector(),
                "rank": cell.map_key().rank,
                "iia": cell.iia,
                "controls": cell.controls,
                "metrics": cell.metrics,
            })
        })
        .collect();
    report.event(&json!({
        "kind": "sweep result",
        "method": method.name(),
        "model": model,
        "model_sha256": model_sha256,
        "first_token": first_token,
        "task": task,
        "train_pairs": train_pairs,
        "templates": templates,
        "test_pairs": test_pairs,
        "validation_pairs": validation_pairs,
        "known": known,
        "epochs": epochs,
        "lr": lr,
        "seed": seed,
        "base": base,
        "source": source,
        "n_planned": n_planned,
        "part": part.map(|part| part.to_string()),
        "run": run,
        "created_by": created_by,
        "best": best,
        "cells": cells,
    }));
}

fn inspect_plan(file: &PlanFile, report: Report) -> Result<ExitCode> {
    let (words, model) = (file.in_words(), &file.files.name);
    report.line(format!("plan for model {model}"));
    for line in &words {
        report.line(line);
    }
    // Other weights are no error: nothing is run.
    for learned_on in file.learned_on(report)? {
        if let LearnedOn::Others(why) = learned_on {
            report.warn(why);
        }
    }
    report.event(&json!({ "kind": "plan", "model": model, "lines": words }));
    Ok(ExitCode::SUCCESS)
}

fn inspect_model(files: &ModelFiles, report: Report) {
    let sizes = files.sizes();
    let tokenizer = files.tokenizer().ok();
    report.line(format!(
        "model      {}, {:.2} MB of weights",
        files.name,
        files.n_bytes() as f64 / 1e6
    ));
    report.line(format!(
        "sizes      {} layers, width {}, {} heads of {}, MLP {}",
        sizes.n_layers, sizes.d_model, sizes.n_heads, sizes.d_head, sizes.d_mlp
    ));
    report.line(format!(
        "reads      up to {} tokens of a vocabulary of {}",
        sizes.n_ctx, sizes.d_vocab
    ));
    report.line(match tokenizer {
        Some(tokenizer) => format!("tokenizer  {}", tokenizer_in_words(tokenizer)),
        None => "tokenizer  none".to_owned(),
    });
    let n_tokens = tokenizer.map(Tokenizer::n_tokens);
    let first_token = tokenizer.and_then(Tokenizer::first_token);
    report.event(&json!({ "kind": "model", "name": files.name, "family": files.config.family.model_type, "sizes": sizes, "bytes": files.n_bytes(), "tokenizer_tokens": n_tokens, "first_token": first_token }));
}

/// How many tokens there are, and what stands before every prompt.
fn tokenizer_in_words(tokenizer: &Tokenizer) -> String {
    let first = match tokenizer.first_token() {
        Some(id) => format!("{:?} put first", tokenizer.token(id)),
        None => "none put first".to_owned(),
    };
    format!("{} tokens, {first}", tokenizer.n_tokens())
}

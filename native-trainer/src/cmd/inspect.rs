//! `inspect`: what a direction file or a model folder holds.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::Args as ClapArgs;
use serde_json::json;
use swivel_core::direction::{Controls, Direction, Facts};

use super::read_direction;
use crate::{model_files::ModelFiles, report::Report};

/// Options of `inspect`.
#[derive(ClapArgs, Clone, Debug)]
pub struct Args {
    /// Direction file, model folder, Hub id, or `solver`
    what: PathBuf,
    /// Print one JSON object on stdout
    #[arg(long)]
    json: bool,
}

/// Runs `inspect`.
pub fn run(args: Args) -> Result<ExitCode> {
    let Args { what, json } = args;
    let report = if json { Report::Json } else { Report::Human };
    if what.is_file() {
        inspect_direction(&read_direction(&what)?, report);
    } else {
        inspect_model(&ModelFiles::open(&what.to_string_lossy())?, report);
    }
    Ok(ExitCode::SUCCESS)
}

fn inspect_direction(direction: &Direction, report: Report) {
    let Facts {
        method,
        model,
        model_sha256,
        site,
        head,
        position,
        task,
        variable,
        train_pairs,
        epochs,
        lr,
        seed,
        iia,
        controls,
        probe,
        created_by,
    } = &direction.facts;
    let Controls {
        random,
        full,
        shuffled,
    } = controls;
    let or_dash = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let number = |value: Option<String>| or_dash(&value);
    for (name, value) in [
        (
            "direction",
            format!(
                "{method}, rank {}, width {}",
                direction.rank(),
                direction.width()
            ),
        ),
        (
            "site",
            format!(
                "{site}{}, position {position}",
                head.map_or(String::new(), |head| format!(", head {head}"))
            ),
        ),
        (
            "stands for",
            format!("{} of {}", or_dash(variable), or_dash(task)),
        ),
        (
            "model",
            format!(
                "{model}, weights {}",
                model_sha256.get(..12).unwrap_or(model_sha256)
            ),
        ),
        ("IIA", format!("{iia:.3} on held-out pairs")),
        ("controls", {
            let shuffled = shuffled.map_or("-".to_owned(), |iia| format!("{iia:.3}"));
            format!("random {random:.3}, shuffled labels {shuffled}, whole vector {full:.3}")
        }),
        ("learned", {
            let [train_pairs, epochs, lr, seed] = [
                train_pairs.map(|value| value.to_string()),
                epochs.map(|value| value.to_string()),
                lr.map(|value| value.to_string()),
                seed.map(|value| value.to_string()),
            ]
            .map(number);
            format!("on {train_pairs} pairs, {epochs} epochs, lr {lr}, seed {seed}")
        }),
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
        "width": direction.width(),
        "layer": site.layer,
        "component": site.component.name(),
        "position": position.to_string(),
        "task": task,
        "variable": variable,
        "model": model,
        "model_sha256": model_sha256,
        "iia": iia,
        "controls": controls,
        "train_pairs": train_pairs,
        "epochs": epochs,
        "lr": lr,
        "seed": seed,
        "probe": probe,
        "created_by": created_by,
    }));
}

fn inspect_model(files: &ModelFiles, report: Report) {
    let config = &files.config;
    let n_tokens = files.tokenizer().ok().map(|tokenizer| tokenizer.n_tokens());
    report.line(format!(
        "model      {}, {:.2} MB of weights",
        files.name,
        files.n_bytes() as f64 / 1e6
    ));
    report.line(format!(
        "sizes      {} layers, width {}, {} heads of {}, MLP {}",
        config.n_layers,
        config.d_model,
        config.n_heads,
        config.d_head(),
        config.d_mlp()
    ));
    report.line(format!(
        "reads      up to {} tokens of a vocabulary of {}",
        config.n_ctx, config.d_vocab
    ));
    report.line(match n_tokens {
        Some(n_tokens) => format!("tokenizer  {n_tokens} tokens"),
        None => "tokenizer  none".to_owned(),
    });
    report.event(&json!({ "kind": "model", "name": files.name, "config": config, "bytes": files.n_bytes(), "tokenizer_tokens": n_tokens }));
}

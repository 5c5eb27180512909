//! What makes two maps the same map: the facts that a file carries, and in which of them two files differ.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use swivel_core::{
    Precision,
    question::Placed,
    sweep::{Part, SweepFacts},
};

use super::cells::{Sweep, Variable};
use crate::direction_file::CREATED_BY;

/// What the file of a map, or of a part of it, says of itself.
pub fn facts(
    sweep: &Sweep,
    (task, templates): (Option<String>, Vec<String>),
    part: Option<Part>,
) -> Result<SweepFacts> {
    let Sweep {
        files,
        method,
        variables,
        here,
        learning,
        ..
    } = sweep;
    let (rule, first) = (sweep.rule(), &variables[0].sets);
    let probe = &sweep.probe.pair;
    Ok(SweepFacts {
        method: *method,
        model: files.name.clone(),
        model_sha256: files.sha256()?,
        first_token: files.first_token(std::slice::from_ref(probe)),
        run: run(sweep, task.as_deref())?,
        task,
        templates,
        train_pairs: rule.map(|_| first.train.len()),
        test_pairs: first.test.len(),
        validation_pairs: (!first.validation.is_empty()).then_some(first.validation.len()),
        known: sweep.known,
        epochs: rule.map(|rule| rule.epochs),
        lr: rule.map(|rule| rule.lr),
        seed: Some(learning.seed),
        base: probe.base.clone(),
        source: probe.source.clone(),
        n_planned: here.len(),
        part,
        created_by: Some(CREATED_BY.to_owned()),
    })
}

/// The configuration of a whole map, for the file's `run`. Pairs count by what they are, not by where they came from.
fn run(sweep: &Sweep, task: Option<&str>) -> Result<String> {
    let Sweep {
        files,
        method,
        variables,
        cells,
        learning,
        shuffled,
        cache,
        ..
    } = sweep;
    let names: Vec<&str> = (variables.iter())
        .filter_map(|variable| variable.name.as_deref())
        .collect();
    let mut run = json!({
        "method": method.name(),
        "task": task,
        "variables": names,
        "pairs": sha256(variables)?,
        "train_pairs": variables[0].sets.train.len(),
        "validation_pairs": variables[0].sets.validation.len(),
        "test_pairs": variables[0].sets.test.len(),
        "tokens": sweep.columns.iter().filter_map(|column| column.token.as_deref()).collect::<Vec<_>>(),
        "cells": (cells.iter())
            .map(|cell| format!("{} {} {} {}", cell.row(), cell.position, cell.rank, cell.variable))
            .collect::<Vec<_>>(),
        "rule": sweep.rule().map(|rule| (rule, learning.lr)),
        "shuffled": shuffled,
        "storage": format!("{:?}", cache.storage),
        "seed": learning.seed,
    });
    if !sweep.hold_out.is_empty() {
        run["hold_out"] = json!(sweep.hold_out);
    }
    let held_in = files.precision();
    if held_in != Precision::F32 {
        run["held_in"] = json!(held_in.name());
    }
    Ok(run.to_string())
}

/// Number of cells of the whole map, by the `run` of one of its files.
pub fn n_cells(run: &str) -> Option<usize> {
    let run: Value = serde_json::from_str(run).ok()?;
    Some(run["cells"].as_array()?.len())
}

/// SHA-256 of all pairs, hexadecimal.
fn sha256(variables: &[Variable]) -> Result<String> {
    let mut hasher = Sha256::new();
    for variable in variables {
        for (_, pairs) in variable.sets.each() {
            for Placed { pair, tokens } in pairs {
                hasher
                    .update(serde_json::to_vec(&(pair, tokens)).context("writing a pair as JSON")?);
            }
            hasher.update("\n"); // where one set ends and the next begins
        }
    }
    let bytes = hasher.finalize();
    Ok(swivel_core::hex(&bytes))
}

/// In what two maps differ, for people: `model, pairs`; `None` if they are the same one.
pub fn difference(left: &SweepFacts, right: &SweepFacts) -> Option<String> {
    if left == right {
        return None;
    }
    let run = |facts: &SweepFacts| match serde_json::from_str(&facts.run) {
        Ok(Value::Object(run)) => run,
        _ => serde_json::Map::new(),
    };
    let (left_run, right_run) = (run(left), run(right));
    let settings = [
        ("method", "method"),
        ("task", "task"),
        ("variables", "variables"),
        ("pairs", "pairs"),
        ("tokens", "tokens"),
        ("cells", "cells"),
        ("rule", "rule of learning"),
        ("shuffled", "control on shuffled labels"),
        ("hold_out", "what is held out"),
        ("storage", "format of cached values"),
        ("held_in", "format of the matrices"),
        ("seed", "seed"),
    ];
    let settings = settings
        .iter()
        .map(|(key, name)| (*name, left_run.get(*key) != right_run.get(*key)));
    let facts = [
        (
            "model",
            (&left.model, &left.model_sha256) != (&right.model, &right.model_sha256),
        ),
        ("division into parts", left.part != right.part),
        ("version", left.created_by != right.created_by),
    ];
    let names: Vec<&str> = (facts.into_iter().chain(settings))
        .filter_map(|(name, differs)| differs.then_some(name))
        .collect();
    Some(match names.is_empty() {
        true => "what it says of itself".to_owned(),
        false => names.join(", "),
    })
}

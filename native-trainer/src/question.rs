//! Questions about language: task files, and what a model says to their prompts.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result, bail};
use burn::tensor::backend::Backend;
use swivel_core::{
    Component, Decoder, Sizes, ids_tensor,
    intervention::Source,
    question::{Asked, Entry, Task, shipped},
};

use crate::{
    interrupt, report,
    tensors::{read_floats, read_ids},
};

/// The task with this name, or of this file; tables in files of their own lie beside it.
///
/// # Errors
/// - If there is no such one, or it is not what it should be.
pub fn open(name: &str) -> Result<Task> {
    if let Some(task) = shipped::task(name) {
        return task.with_context(|| format!("reading the task {name}"));
    }
    let path = Path::new(name);
    if !path.is_file() {
        let names: Vec<&str> = shipped::names().collect();
        bail!(
            "no task {name}; expected one of {}, or a task file",
            names.join(", ")
        );
    }
    let cannot = || format!("reading the task file {name}");
    let folder = path.parent().unwrap_or(Path::new(""));
    let bytes = fs::read(path).with_context(cannot)?;
    Task::from_json(&bytes, |table| rows(&folder.join(table))).with_context(cannot)
}

/// Pairs from which is counted how often a variable changes the answer.
const COUNTED: usize = 400;

/// In how many pairs each variable changes the answer, 0..1.
pub fn shares_changed(task: &Task, seed: u64) -> Vec<(String, f64)> {
    let share = |variable: Entry| {
        let share = task.share_changed(&variable, COUNTED, seed);
        (task.entry_name(&variable), share)
    };
    task.variables().into_iter().map(share).collect()
}

/// The first variable that changes the answer.
///
/// # Errors
/// - If none does.
pub fn first_variable(task: &Task) -> Result<String> {
    let shares = shares_changed(task, 0);
    let first = shares.into_iter().find(|(_, share)| *share > 0.0);
    let (name, _) =
        first.with_context(|| format!("no variable of {} changes the answer", task.name))?;
    Ok(name)
}

/// Rows of a file of comma-separated values, its first line among them.
fn rows(path: &Path) -> Result<Vec<Vec<String>>, String> {
    let wrong = |error: csv::Error| format!("{}: {error}", path.display());
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .from_path(path)
        .map_err(wrong)?;
    let rows = reader.records().map(|record| {
        let record = record.map_err(wrong)?;
        Ok(record.iter().map(str::to_owned).collect())
    });
    rows.collect()
}

/// What a model says after a prompt.
#[derive(Clone, Debug)]
pub struct Said {
    /// The likeliest token.
    pub top: u32,
    /// Logits of the tokens that were asked for, nats.
    pub logits: Vec<f32>,
}

/// What a model says after each prompt, and how likely some tokens are to it. Prompts of one length run together.
///
/// # Errors
/// - If a prompt is too long, or the person gives up.
pub fn say<B: Backend>(
    model: &Decoder<B>,
    sizes: &Sizes,
    prompts: &[&Asked],
    tokens: &[u32],
) -> Result<Vec<Said>> {
    let device = model.device();
    let site = Component::FinalNorm.at(sizes.n_layers - 1);
    let mut by_length: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (idx, prompt) in prompts.iter().enumerate() {
        let ids = &prompt.tokens.ids;
        let cannot = || format!("the prompt {:?}", prompt.written.text);
        sizes.check_ids(&[ids]).with_context(cannot)?;
        by_length.entry(ids.len()).or_default().push(idx);
    }
    let bar = report::progress("prompts", prompts.len());
    let mut said: Vec<Option<Said>> = vec![None; prompts.len()];
    for (n_tokens, rows) in by_length {
        let at_once = sizes.rows_at_once(n_tokens, n_tokens).max(1);
        for batch in rows.chunks(at_once) {
            interrupt::check("the prompts that were being run are given up")?;
            let ids = ids_tensor(batch.iter().map(|row| &prompts[*row].tokens.ids), &device);
            let last = n_tokens - 1..=n_tokens - 1;
            let run = model.cache_source(ids, &[site], last);
            let values = run.values(site, None, n_tokens - 1..n_tokens);
            let Some(Source::Positions(normed)) = values else {
                bail!("the final norm of the last token was not cached");
            };
            let normed = normed.squeeze_dim(1); // [rows, d_model]
            let asked = ids_tensor(batch.iter().map(|_| tokens), &device);
            let reading = model.read_tokens(normed, &asked);
            let top = read_ids(reading.reading.top.ids.squeeze_dim(1))?;
            let logits = read_floats(reading.logits)?;
            let answers = top.into_iter().zip(logits.chunks(tokens.len()));
            for (prompt, (top, logits)) in batch.iter().zip(answers) {
                let logits = logits.to_vec();
                said[*prompt] = Some(Said { top, logits });
            }
            bar.inc(batch.len() as u64);
        }
    }
    bar.finish_and_clear();
    said.into_iter()
        .collect::<Option<_>>()
        .context("a prompt was not run")
}

//! Questions about language: task files, and what a model says to their prompts.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result, bail};
use burn::tensor::{Tensor, backend::Backend};
use swivel_core::{
    Component, Decoder, Sizes, Tokenizer, ids_tensor,
    intervention::Source,
    question::{Entry, Question, Task, shipped},
};

use crate::{
    interrupt, report,
    side_by_side::side_by_side,
    tensors::{read_floats, read_ids},
};

/// Name of the programs of five words among the tasks.
pub const PROGRAMS: &str = "programs";

/// The task with this name, or of this file; tables in files of their own lie beside it.
///
/// # Errors
/// - If there is no such one, or it is not what it should be.
pub fn open(name: &str) -> Result<Task> {
    if let Some(task) = shipped::task(name) {
        return task.with_context(|| format!("reading the task {name}"));
    }
    let path = Path::new(name);
    if name == PROGRAMS {
        bail!(
            "{PROGRAMS} are for train, eval, sweep, data and task; this command is about tasks on language"
        );
    }
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

/// The same in the words of a tokenizer.
///
/// # Errors
/// - as [`open()`]
pub fn asking(name: &str, tokenizer: &Tokenizer) -> Result<Question> {
    Ok(Question::Language {
        task: open(name)?,
        tokenizer: tokenizer.clone(),
    })
}

/// In how many pairs each variable changes the answer, 0..1.
pub fn shares_changed(task: &Task, seed: u64) -> Vec<(String, f64)> {
    let share = |variable: Entry| {
        let share = task.share_changed(&variable, COUNTED, seed);
        (task.entry_name(&variable), share)
    };
    task.variables().into_iter().map(share).collect()
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

/// What a model says after each prompt, and how likely some tokens are to it.
///
/// # Errors
/// - If a prompt is too long, or the person gives up.
pub fn say<B: Backend>(
    model: &Decoder<B>,
    sizes: &Sizes,
    prompts: &[&[u32]],
    tokens: &[u32],
) -> Result<Vec<Said>> {
    ask(model, sizes, prompts, |normed| {
        let ids = std::iter::repeat_n(tokens, normed.dims()[0]);
        let asked = ids_tensor(ids, &normed.device());
        let reading = model.read_tokens(normed, &asked);
        let top = read_ids(reading.reading.top.ids.squeeze_dim(1))?;
        let logits = read_floats(reading.logits)?;
        let said = top.into_iter().zip(logits.chunks(tokens.len()));
        let said = said.map(|(top, logits)| Said {
            top,
            logits: logits.to_vec(),
        });
        Ok(said.collect())
    })
}

/// The answer of a model to each prompt: the likeliest of some tokens, or of all.
///
/// # Errors
/// - as [`say`]
pub fn answers<B: Backend>(
    model: &Decoder<B>,
    sizes: &Sizes,
    prompts: &[&[u32]],
    choices: Option<&[u32]>,
) -> Result<Vec<u32>> {
    ask(model, sizes, prompts, |normed| {
        answers_of(model, normed, choices)
    })
}

/// The likeliest of some tokens, or of all, in each row.
///
/// # Shapes
/// - `normed`: `[rows, d_model]`
pub fn answers_of<B: Backend>(
    model: &Decoder<B>,
    normed: Tensor<B, 2>,
    choices: Option<&[u32]>,
) -> Result<Vec<u32>> {
    match choices {
        None => read_ids(model.top(normed, 1).ids.squeeze_dim(1)),
        Some(choices) => {
            let best = model.logits_of(normed, choices).argmax(1); // [rows, 1]
            let best = read_ids(best.squeeze_dim(1))?.into_iter();
            Ok(best.map(|best| choices[best as usize]).collect())
        }
    }
}

/// What is read off the final norm at the last token of each prompt. Prompts of one length run together.
fn ask<B: Backend, T: Clone + Send>(
    model: &Decoder<B>,
    sizes: &Sizes,
    prompts: &[&[u32]],
    read: impl Fn(Tensor<B, 2>) -> Result<Vec<T>> + Sync,
) -> Result<Vec<T>> {
    let device = model.device();
    let site = Component::FinalNorm.at(sizes.n_layers - 1);
    let mut by_length: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (idx, prompt) in prompts.iter().enumerate() {
        sizes
            .check_ids(&[prompt])
            .with_context(|| format!("prompt {idx}, of {} tokens", prompt.len()))?;
        by_length.entry(prompt.len()).or_default().push(idx);
    }
    let bar = report::progress("prompts", prompts.len());
    let mut all: Vec<Option<T>> = vec![None; prompts.len()];
    let mut batches = Vec::new();
    for (n_tokens, rows) in &by_length {
        let at_once = sizes.rows_at_once(*n_tokens, *n_tokens).max(1);
        // An even number of them: cores are done at the same time.
        let n_batches = rows.len().div_ceil(at_once).next_multiple_of(2);
        let batch = |rows: &[usize]| (*n_tokens, rows.to_vec());
        batches.extend(rows.chunks(rows.len().div_ceil(n_batches)).map(batch));
    }
    let answer = |(n_tokens, batch): &(usize, Vec<usize>)| {
        let ids = ids_tensor(batch.iter().map(|row| prompts[*row]), &device);
        let last = n_tokens - 1..=n_tokens - 1;
        let run = model.cache_source(ids, &[site], last);
        let values = run.values(site, None, n_tokens - 1..*n_tokens);
        let Some(Source::Positions(normed)) = values else {
            bail!("the final norm of the last token was not cached");
        };
        read(normed.squeeze_dim(1)) // [rows, d_model]
    };
    side_by_side::<B, _, _>(&device, &batches, answer, |idx, read| {
        interrupt::check("the prompts that were being run are given up")?;
        let (_, batch) = &batches[idx];
        for (prompt, read) in batch.iter().zip(read) {
            all[*prompt] = Some(read);
        }
        bar.inc(batch.len() as u64);
        Ok(())
    })?;
    bar.finish_and_clear();
    all.into_iter()
        .collect::<Option<_>>()
        .context("a prompt was not run")
}

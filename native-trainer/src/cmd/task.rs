//! `task`: what a task on language asks, with pairs of prompts as a model reads them.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::Args as ClapArgs;
use serde_json::json;
use swivel_core::{
    Tokenizer,
    question::{
        Asked, Form, Question, Score, Task, TaskSampler,
        programs::{self, AskedProgram},
    },
};

use super::options::{ReportArgs, check_counts, examples, heading};
use crate::{
    model_files::{ModelFiles, SOLVER},
    question::{self, PROGRAMS},
    report::Report,
};

/// Rows of a table that are named.
const NAMED: usize = 12;

/// Options of `task`.
#[derive(ClapArgs, Clone, Debug)]
#[command(after_help = examples(&["swivel task ioi", "swivel task question.json --model target/real/gemma3.gguf --variable number"]))]
pub struct Args {
    /// Task: programs, agreement, agreement-distractor, capitals, gender, ioi, or a task file
    task: String,
    /// Model whose tokens are shown: a folder in Hugging Face's layout, a GGUF file, or a Hub id [default: none, text alone]
    #[arg(long, value_name = "DIR_OR_HUB_ID", help_heading = heading::MODEL)]
    model: Option<PathBuf>,
    /// Variable of the pairs that are shown [default: the first choice that changes the answer]
    #[arg(long, value_name = "NAME", help_heading = heading::QUESTION)]
    variable: Option<String>,
    /// Pairs to show
    #[arg(long, default_value_t = 3, help_heading = heading::QUESTION)]
    pairs: usize,
    /// Seed of the pairs
    #[arg(long, default_value_t = 0, help_heading = heading::QUESTION)]
    seed: u64,
    #[command(flatten)]
    report: ReportArgs,
}

/// Runs `task`.
pub fn run(args: Args) -> Result<ExitCode> {
    let Args {
        task,
        model,
        variable,
        pairs,
        seed,
        report,
    } = args;
    check_counts(&[("--pairs", pairs)])?;
    let report = report.report();
    if task == PROGRAMS {
        let model = model.map(|model| model.to_string_lossy().into_owned());
        return show_programs(model.as_deref(), variable, (pairs, seed), report);
    }
    let task = question::open(&task)?;
    if let Some(variable) = &variable {
        task.variable(variable)?;
    }
    describe(&task, report);
    let shares = question::shares_changed(&task, seed);
    for (name, share) in &shares {
        report.line(format!(
            "  {name:<16}changes the answer in {share:.2} of pairs"
        ));
    }
    let meant = || task.default_variable().map(|entry| task.entry_name(&entry));
    let variable = variable.or_else(meant);
    let files = model
        .map(|model| ModelFiles::open(&model.to_string_lossy()))
        .transpose()?;
    if let (Some(files), Some(variable)) = (&files, &variable) {
        let tokenizer = files.tokenizer()?;
        cut_otherwise(&task, tokenizer, report);
        show_pairs(&task, tokenizer, variable, (pairs, seed), report)?;
    }
    report.event(&json!({
        "task": task.name,
        "templates": task.templates().collect::<Vec<_>>(),
        "variables": shares.iter().map(|(name, share)| json!({ "name": name, "changes": share })).collect::<Vec<_>>(),
        "positions": positions(&task),
        "answers": task.answers()?,
    }));
    Ok(ExitCode::SUCCESS)
}

/// The programs of five words, and pairs of the one that the embedded solver computes, in its tokens or in a model's.
fn show_programs(
    model: Option<&str>,
    variable: Option<String>,
    (n_pairs, seed): (usize, u64),
    report: Report,
) -> Result<ExitCode> {
    let files = ModelFiles::open(model.unwrap_or(SOLVER))?;
    let tokenizer = files.tokenizer()?;
    let asked = AskedProgram::new(None, None, Some(0), tokenizer)?;
    let form = Form::of_program(&asked);
    let question = Question::Program(asked);
    let variable = match variable {
        Some(variable) => variable,
        None => question.default_variable()?,
    };
    question.check_variable(&variable)?;
    let ids: Vec<String> = programs::programs()?.into_keys().collect();
    let variables = question.variables();
    for line in [
        format!(
            "{PROGRAMS}: Five words, five operations, one answer, as in pyvene's tutorial, https://arxiv.org/abs/2403.07809"
        ),
        format!("Programs, --program ID\n  {}", ids.join(", ")),
        format!(
            "  {}, the embedded solver's: {}",
            question.short_name(),
            question.about()
        ),
        format!(
            "Answers\n  {} or {}",
            programs::answer(true),
            programs::answer(false)
        ),
        "  right where it is the likeliest token of all".to_owned(),
        format!(
            "Places\n  {}, or a token by its number",
            question.token_names()[0]
        ),
        format!("Variables\n  {}", variables.join(", ")),
        format!("Pairs of {variable}"),
    ] {
        report.line(line);
    }
    for placed in question.sampler(&variable)?.pairs(n_pairs, seed, &[])? {
        let [base, source] =
            [&placed.pair.base, &placed.pair.source].map(|ids| tokenizer.decode(ids));
        let own = |text: &str| {
            let all = form.variables(text).unwrap_or_default();
            let own = all.into_iter().find(|own| own.name == variable);
            own.map(|own| format!("{variable} is {}", own.value))
                .unwrap_or_default()
        };
        let label = tokenizer.token(placed.pair.label);
        report.line(format!("  base    {base}  {}", own(&base)));
        report.line(format!("  source  {source}  {}", own(&source)));
        report.line(format!("  base with the source's {variable}: {label}"));
    }
    report.event(&json!({ "task": PROGRAMS, "programs": ids, "variables": variables, "positions": ["last"] }));
    Ok(ExitCode::SUCCESS)
}

fn positions(task: &Task) -> Vec<String> {
    task.token_names().iter().map(ToString::to_string).collect()
}

fn describe(task: &Task, report: Report) {
    report.line(format!("{}: {}", task.name, task.about));
    report.line("Prompts");
    task.templates()
        .for_each(|template| report.line(format!("  {template}")));
    report.line("Tables");
    for (name, columns, rows) in task.tables() {
        let text = columns.iter().position(|column| column == "text");
        let text = |row: &Vec<String>| text.map(|text| row[text].clone()).unwrap_or_default();
        let (n, named) = (rows.len(), first_ones(rows.iter().map(text)));
        report.line(format!("  {name:<16}{n} rows: {named}"));
        if columns.len() > 1 {
            report.line(format!("  {:<16}columns {}", "", columns.join(", ")));
        }
    }
    let answers = task.answers().unwrap_or_default();
    let named = first_ones(answers.iter().map(|answer| answer.trim().to_owned()));
    let counts = match task.score {
        Score::Top1 => "the likeliest token of all",
        Score::Choice => "likelier than the other answers",
    };
    report.line(format!("Answers\n  {} of them: {named}", answers.len()));
    report.line(format!("  right where its first token is {counts}"));
    report.line(format!("Places\n  {}", positions(task).join(", ")));
    report.line("Variables");
}

/// The first of some texts, and a sign where there are more.
fn first_ones(mut texts: impl Iterator<Item = String>) -> String {
    let mut named: Vec<String> = texts.by_ref().take(NAMED).collect();
    named.extend(texts.next().map(|_| "…".to_owned()));
    named.join(", ")
}

/// Says which rows' texts are more tokens than those of most rows.
fn cut_otherwise(task: &Task, tokenizer: &Tokenizer, report: Report) {
    for (name, columns, rows) in task.tables() {
        for (idx, column) in columns.iter().enumerate() {
            let n_tokens = |row: &Vec<String>| {
                let ids = tokenizer.encode_inside(&format!(" {}", row[idx]));
                ids.map_or(0, |ids| ids.len())
            };
            let counts: Vec<usize> = rows.iter().map(n_tokens).collect();
            let mut sorted = counts.clone();
            sorted.sort_unstable();
            let usual = sorted[sorted.len() / 2];
            let others = counts.iter().zip(rows).filter(|(n, _)| **n != usual);
            let others: Vec<String> = others
                .map(|(n, row)| format!("{} ({n})", row[idx]))
                .collect();
            if !others.is_empty() {
                report.line(format!(
                    "Cut into other numbers of tokens than {usual}, in {name}.{column}: {}",
                    others.join(", ")
                ));
            }
        }
    }
}

fn show_pairs(
    task: &Task,
    tokenizer: &Tokenizer,
    variable: &str,
    (n_pairs, seed): (usize, u64),
    report: Report,
) -> Result<()> {
    let mut sampler = TaskSampler::new(task, tokenizer, variable)?;
    report.line(format!("Pairs of {variable}"));
    for pair in sampler.pairs(n_pairs, seed)? {
        let text = |id: u32| format!("{:?}", tokenizer.token(id));
        let [base, label, source] = [pair.base_label, pair.label, pair.source_label].map(text);
        report.line(format!(
            "  base    {}  {base}",
            marked(task, tokenizer, &pair.base)
        ));
        report.line(format!(
            "  source  {}  {source}",
            marked(task, tokenizer, &pair.source)
        ));
        report.line(format!("  base with the source's {variable}: {label}"));
    }
    Ok(())
}

/// The tokens of a prompt, each named place behind its token.
fn marked(task: &Task, tokenizer: &Tokenizer, asked: &Asked) -> String {
    let places: Vec<(usize, String)> = task
        .token_names()
        .iter()
        .filter_map(|name| {
            let token = task.token(name, &asked.written, &asked.tokens).ok()?;
            Some((token, name.to_string()))
        })
        .collect();
    let token = |(idx, id): (usize, &u32)| {
        let text = tokenizer.token(*id);
        let names = places.iter().filter(|(token, _)| *token == idx);
        let names: Vec<&str> = names.map(|(_, name)| name.as_str()).collect();
        match names.is_empty() {
            true => text,
            false => format!("{text}[{}]", names.join(" ")),
        }
    };
    asked.tokens.ids.iter().enumerate().map(token).collect()
}

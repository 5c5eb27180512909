//! `find`: from a question to a direction: what the model knows, where it keeps a variable, and what turns it there.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use anyhow::{Context, Result, bail};
use clap::Args as ClapArgs;
use serde_json::json;
use swivel_core::sweep::{Cell, SweepResult};

use super::{
    Command,
    options::{Common, ReportArgs, check_counts, examples, heading},
};
use crate::{
    comparison::{self, Row},
    direction_file::{self, Opened},
    file_name::short_name,
    find::{Found, html},
    invocation,
    map::picture_path,
    output::{Existing, Output},
    question,
};

/// Validation scores that are taken for equal.
const ALIKE: f64 = 0.05;
/// What a token's best cell must do better than no swap, to be looked at.
const SOMETHING: f64 = 0.1;

/// Options of `find`.
#[derive(ClapArgs, Clone, Debug)]
#[command(after_help = examples(&["swivel find --task agreement --model target/real/gemma3.gguf"]))]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Task: agreement, agreement-distractor, capitals, gender, ioi, or a task file
    #[arg(long, value_name = "NAME|FILE", help_heading = heading::QUESTION)]
    task: String,
    /// Variable whose value is swapped [default: the first choice that changes the answer]
    #[arg(long, value_name = "NAME", help_heading = heading::QUESTION)]
    variable: Option<String>,
    /// Pairs to learn from
    #[arg(long, default_value_t = 200, help_heading = heading::QUESTION)]
    train_pairs: usize,
    /// Pairs that pick the best cell
    #[arg(long, default_value_t = 50, help_heading = heading::QUESTION)]
    validation_pairs: usize,
    /// Pairs to score on
    #[arg(long, default_value_t = 100, help_heading = heading::QUESTION)]
    test_pairs: usize,
    /// What training does not see, as in `train`
    #[arg(long, default_value = "all", value_name = "TABLES", help_heading = heading::QUESTION)]
    hold_out: String,
    /// Cells to learn a direction in
    #[arg(long, default_value_t = 3, help_heading = heading::LEARNING)]
    cells: usize,
    /// Ranks of the subspaces, separated by commas
    #[arg(long, default_value = "1", value_delimiter = ',', value_name = "NUMBERS", help_heading = heading::LEARNING)]
    ranks: Vec<usize>,
    /// Passes over the training pairs
    #[arg(long, default_value_t = 8, help_heading = heading::LEARNING)]
    epochs: usize,
    /// Pairs a step
    #[arg(long, default_value_t = 32, help_heading = heading::LEARNING)]
    batch_size: usize,
    /// Highest learning rate
    #[arg(long, default_value_t = 1e-2, help_heading = heading::LEARNING)]
    lr: f64,
    /// Seed of data, initial basis and shuffling
    #[arg(long, default_value_t = 0, help_heading = heading::LEARNING)]
    seed: u64,
    /// Folder for maps, directions and the report [default: directions/find-MODEL-TASK-VARIABLE]
    #[arg(long, value_name = "DIR", help_heading = heading::OUTPUT)]
    out: Option<PathBuf>,
    /// Begin anew where another search has left its files in the folder
    #[arg(long, help_heading = heading::OUTPUT)]
    force: bool,
    #[command(flatten)]
    report: ReportArgs,
}

/// Runs `find`. What it does are the commands `check`, `sweep` and `train`, which it names; what they have left is not done again.
pub fn run(args: Args) -> Result<ExitCode> {
    let started = Instant::now();
    let report = args.report.report();
    check_counts(&[
        ("--train-pairs", args.train_pairs),
        ("--test-pairs", args.test_pairs),
        ("--validation-pairs", args.validation_pairs),
        ("--cells", args.cells),
        ("--ranks", args.ranks.len()),
    ])?;
    let files = args.common.open()?;
    let question = question::asking(&args.task, files.tokenizer()?)?;
    let variable = match &args.variable {
        Some(variable) => variable.clone(),
        None => question.default_variable()?,
    };
    question.check_variable(&variable)?;
    let folder = args.out.clone().unwrap_or_else(|| {
        let (model, task) = (short_name(&files.name), question.short_name());
        PathBuf::from(format!("directions/find-{model}-{task}-{variable}"))
    });
    begin(&folder, &args, &variable, &files.sha256()?)?;

    let step = |name: &str, words: Vec<String>| -> Result<ExitCode> {
        let words: Vec<String> = [vec![name.to_owned()], words, args.common.to_args()].concat();
        report.line(format!("\n== {}", invocation::command(&words)));
        let is_json = args.report.is_json().then(|| "--json".to_owned());
        Command::of_words(words.into_iter().chain(is_json))?.run()
    };
    let path = |name: &str| folder.join(name);
    let text = |path: &Path| path.display().to_string();
    let picture = path("check.svg");
    if !picture.exists() {
        let out = text(&picture);
        step("check", words(&["--task", &args.task, "--out", &out]))?;
    }
    let map = path("map.safetensors");
    let [validation, test] = [args.validation_pairs, args.test_pairs].map(|n| n.to_string());
    let asked = words(&["--task", &args.task, "--variable", &variable]);
    let counts = words(&["--validation-pairs", &validation, "--test-pairs", &test]);
    let seed = words(&["--seed", &args.seed.to_string()]);
    if !matches!(read_map(&map), Ok(result) if result.is_complete()) {
        // As many pairs as pick the cells: the map is a guide, and what is found is scored on more.
        let guide = words(&[
            "--validation-pairs",
            &validation,
            "--test-pairs",
            &validation,
        ]);
        let own = words(&["--method", "interchange", "--out", &text(&map)]);
        step("sweep", [&own[..], &asked, &guide, &seed].concat())?;
    }
    let result = read_map(&map)?;
    let cells = best_cells(&result, args.cells);
    if cells.is_empty() {
        bail!(
            "the whole vector turns the answer nowhere: {variable} is at none of the task's named tokens; {} has the map",
            map.display()
        );
    }
    let mut found = Vec::new();
    for cell in cells {
        for rank in &args.ranks {
            let layer = cell.place.site.layer.to_string();
            let token = cell
                .token
                .clone()
                .unwrap_or_else(|| cell.place.position.to_string());
            let file = path(&format!("layer{layer}-{token}-rank{rank}.safetensors"));
            if direction_file::read(&file).is_err() {
                let place = words(&["--layer", &layer, "--position", &token]);
                let rule = words(&[
                    "--rank",
                    &rank.to_string(),
                    "--train-pairs",
                    &args.train_pairs.to_string(),
                    "--epochs",
                    &args.epochs.to_string(),
                    "--batch-size",
                    &args.batch_size.to_string(),
                    "--lr",
                    &args.lr.to_string(),
                    "--hold-out",
                    &args.hold_out,
                    "--out",
                    &text(&file),
                ]);
                step(
                    "train",
                    [&asked[..], &place, &rule, &counts, &seed].concat(),
                )?;
            }
            found.push(Found {
                token,
                direction: direction_file::read(&file)?,
                file,
            });
        }
    }
    found.sort_by(|a, b| b.validation().total_cmp(&a.validation()));
    let model = short_name(&files.name);
    let title = format!("Where {model} keeps {variable} of {}", question.name());
    report.line(format!("\n{title}"));
    let rows: Vec<Row> = found.iter().map(Found::row).collect();
    for line in comparison::table(&rows) {
        report.line(line);
    }
    let best = found.first().context("nothing was learned")?;
    let use_it = [
        vec!["eval".to_owned(), text(&best.file)],
        seed_after(args.seed),
        args.common.to_args(),
    ];
    let use_it = invocation::command(&use_it.concat());
    let svg = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
    let page = html(
        &title,
        &question.about(),
        [&svg(&picture), &svg(&picture_path(&map))],
        &rows,
        &best.file,
        &use_it,
    );
    let out = path("report.html");
    Output::create(&out, Existing::Replace)?.finish(page.as_bytes())?;
    let seconds = started.elapsed().as_secs_f64();
    report.line(format!(
        "Wrote {} after {seconds:.0} s. The best file is {}; score it on other pairs:\n  {use_it}",
        out.display(),
        best.file.display()
    ));
    report.event(&json!({
        "event": "found",
        "file": best.file,
        "report": out,
        "seconds": seconds,
    }));
    Ok(ExitCode::SUCCESS)
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Other pairs than those that it was scored on.
fn seed_after(seed: u64) -> Vec<String> {
    words(&["--seed", &seed.wrapping_add(1).to_string()])
}

/// Writes what is looked for into the folder, or finds it there.
fn begin(folder: &Path, args: &Args, variable: &str, sha256: &str) -> Result<()> {
    let settings = json!({
        "model": sha256, "task": args.task, "variable": variable, "train_pairs": args.train_pairs,
        "validation_pairs": args.validation_pairs, "test_pairs": args.test_pairs, "hold_out": args.hold_out,
        "epochs": args.epochs, "batch_size": args.batch_size, "lr": args.lr, "seed": args.seed,
        "dtype": args.common.dtype.name(),
    });
    let file = folder.join("find.json");
    let there = std::fs::read(&file).ok();
    let left = left_in(folder)?;
    let is_same = there.is_some_and(|there| there == settings.to_string().as_bytes());
    if !is_same && !left.is_empty() && !args.force {
        bail!(
            "{} holds another search; choose another folder with --out, or begin anew with --force",
            folder.display()
        );
    }
    if args.force {
        for path in left {
            std::fs::remove_file(&path).with_context(|| path.display().to_string())?;
        }
    }
    Output::create(&file, Existing::Replace)?.finish(settings.to_string().as_bytes())?;
    Ok(())
}

/// What a search may have left in a folder.
fn left_in(folder: &Path) -> Result<Vec<PathBuf>> {
    /// Beside directions, `layer…-rank….safetensors`.
    const FILES: [&str; 5] = [
        "find.json",
        "check.svg",
        "map.safetensors",
        "map.svg",
        "report.html",
    ];
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut left = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.unwrap_or_default();
        let is_direction = name.starts_with("layer") && name.ends_with(".safetensors");
        if is_direction || FILES.contains(&name) {
            left.push(path);
        }
    }
    Ok(left)
}

fn read_map(path: &Path) -> Result<SweepResult> {
    match Opened::read(path)? {
        Opened::Map(result) => Ok(*result),
        Opened::Direction(_) => Err(direction_file::no_map(path)),
    }
}

/// Cells to learn in, by validation pairs: of each token at which the whole vector turns something, two of the layers that do as
/// well as its best one, so many in all; first those where the value is most the model's own, neither a word nor an answer: the last
/// layer before it leaves a token, the first one after it has come to the last token; then those in the middle.
fn best_cells(result: &SweepResult, n: usize) -> Vec<Cell> {
    let score = |cell: &Cell| cell.validation.unwrap_or(cell.iia);
    let is_last = |cell: &Cell| cell.token.as_deref() == Some("last");
    // Behind the last block nothing but the last token is read: what is swapped at another one there is no swap.
    let layers = result.cells().iter().map(|cell| cell.place.site.layer);
    let top = layers.max();
    let is_idle = |cell: &&Cell| Some(cell.place.site.layer) == top && !is_last(cell);
    let untouched = result.cells().iter().find(is_idle).map_or(0.5, score);
    let mut tokens: Vec<&Option<String>> = result.cells().iter().map(|cell| &cell.token).collect();
    tokens.sort();
    tokens.dedup();
    let of_token = |token: &&Option<String>| {
        let cells = result.cells().iter().filter(|cell| cell.token == **token);
        let best = cells.clone().map(score).fold(0.0, f64::max);
        let mut alike: Vec<&Cell> = cells.filter(|cell| score(cell) + ALIKE >= best).collect();
        alike.sort_by_key(|cell| cell.place.site.layer);
        let middle = *alike.get(alike.len() / 2)?;
        let edge = match is_last(middle) {
            true => *alike.first()?,
            false => *alike.last()?,
        };
        (best > untouched + SOMETHING).then_some([middle, edge])
    };
    let mut found: Vec<[&Cell; 2]> = tokens.iter().filter_map(of_token).collect();
    found.sort_by(|[a, _], [b, _]| score(b).total_cmp(&score(a)));
    let edges = found.iter().map(|[_, edge]| *edge);
    let middles = found
        .iter()
        .filter(|[middle, edge]| middle.place != edge.place);
    let cells = edges.chain(middles.map(|[middle, _]| *middle));
    cells.take(n).cloned().collect()
}

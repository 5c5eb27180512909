//! `eval`: IIA of a direction file on fresh pairs, with controls.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use anyhow::{Result, bail};
use burn::tensor::backend::{AutodiffBackend, Backend};
use clap::Args as ClapArgs;
use serde_json::json;
use swivel_core::{
    Decoder, Place, Sizes,
    direction::{Direction, Facts},
    intervention::Op,
    question::{Pair, TokenName},
};

use super::options::{
    CacheArgs, Common, ReportArgs, TEST_PAIRS, TaskArgs, check_counts, examples, heading,
    refuse_beside,
};
use crate::{
    cached::{CacheConfig, Cached},
    device::{self, Job},
    direction_file::{Opened, no_map},
    known,
    map::cell_name,
    model_files::ModelFiles,
    pairs::{self, Counts, read_pairs},
    probe::{self, LearnedOn},
    report::Report,
    score::Bases,
    site::check_head,
    verdict,
};

/// Seed of the pairs, where none is given.
pub const SEED: u64 = 1;

/// Options of `eval`.
#[derive(ClapArgs, Clone, Debug)]
#[command(after_help = examples(&[
    "swivel eval FILE --seed 7",
    "swivel eval FILE --test-data pairs.jsonl --at-least 0.9",
]))]
pub struct Args {
    /// Direction file, or a map, of which the best cell is scored
    file: PathBuf,
    /// Another cell of the map, as in layer2@129 or op3.best: parts of its name that no other cell has
    #[arg(long, value_name = "NAME")]
    cell: Option<String>,
    #[command(flatten)]
    common: Common,
    /// Accept a direction that was learned on another model, with a warning
    #[arg(long, help_heading = heading::MODEL)]
    any_model: bool,
    #[command(flatten)]
    task: TaskArgs,
    /// Fresh pairs to score on
    #[arg(long, default_value_t = TEST_PAIRS, conflicts_with = "test_data", help_heading = heading::QUESTION)]
    test_pairs: usize,
    /// Pairs from a file (JSON lines, of ids or text) rather than from the task
    #[arg(long, value_name = "FILE", help_heading = heading::QUESTION)]
    test_data: Option<PathBuf>,
    /// Seed of the pairs; another one than the direction was trained with gives other pairs
    #[arg(long, default_value_t = SEED, help_heading = heading::QUESTION)]
    seed: u64,
    /// Exit with status 1 if the IIA is lower than this, from 0 to 1
    #[arg(long, value_name = "IIA", help_heading = heading::OUTPUT)]
    at_least: Option<f64>,
    #[command(flatten)]
    report: ReportArgs,
    /// Keep pairs whose base or source prompt the model answers wrong by itself
    #[arg(long, help_heading = heading::QUESTION)]
    keep_wrong: bool,
    #[command(flatten)]
    cache: CacheArgs,
}

struct Eval {
    file: PathBuf,
    direction: Direction,
    files: ModelFiles,
    pairs: Vec<Pair>,
    /// Tokens of which the likeliest is the answer, where it is not the likeliest of all.
    choices: Option<Vec<u32>>,
    /// Whether pairs are kept that the model answers wrong by itself.
    keep_wrong: bool,
    learned_on: LearnedOn,
    /// Whether a direction of another model is accepted.
    any_model: bool,
    at_least: Option<f64>,
    seed: u64,
    cache: CacheConfig,
    /// What the file stands for, where the pairs ask for something else.
    stands_for: Option<String>,
    report: Report,
}

/// Runs `eval`.
pub fn run(args: Args) -> Result<ExitCode> {
    let Args {
        file,
        cell,
        common,
        any_model,
        task,
        test_pairs,
        test_data,
        seed,
        at_least,
        report,
        keep_wrong,
        cache,
    } = args;
    let report = report.report();
    check_counts(&[("--test-pairs", test_pairs)])?;
    let cache = cache.resolve()?;
    let direction = read(&file, cell.as_deref(), report)?;
    let Facts {
        model,
        place: direction_place,
        task: trained_on,
        variable,
        token,
        ..
    } = &direction.facts;
    let files = ModelFiles::open(common.model.as_deref().unwrap_or(model))?;
    let files = files.held_in(common.dtype);
    direction.check(files.sizes())?;
    let learned_on = LearnedOn::of(&direction, &files, report)?;
    let (mut stands_for, mut choices) = (None, None);
    let pairs = match test_data {
        Some(path) => {
            refuse_beside(task.given(), "--test-data")?;
            read_pairs(&path, &files)?
        }
        None => {
            let task = task.of_direction(trained_on.as_deref(), variable.as_deref());
            if trained_on.is_none() && task.is_program() && task.program.is_none() {
                bail!(
                    "the direction was not learned on a task; give --task or --program, and --variable, or --test-data"
                );
            }
            let task = task.resolve(&files)?;
            let asked = format!("{} of {}", task.variable, task.question.name());
            let learned = trained_on.as_deref().zip(variable.as_deref());
            let learned = learned.map(|(task, variable)| format!("{variable} of {task}"));
            if let Some(learned) = learned.filter(|learned| *learned != asked) {
                report.warn(format!(
                    "{} stands for {learned}, and is scored as {asked}",
                    file.display()
                ));
                stands_for = Some(learned);
            }
            let token = match token {
                Some(token) => token.parse()?,
                None => TokenName::Counted(direction_place.position),
            };
            choices = task.question.choices()?;
            let counts = Counts {
                test: test_pairs,
                ..Counts::default()
            };
            pairs::pairs(task.sets(seed, counts, &[token])?.test)
        }
    };
    device::run(
        common.device,
        Eval {
            file,
            direction,
            files,
            pairs,
            choices,
            keep_wrong,
            learned_on,
            any_model,
            at_least,
            seed,
            cache,
            stands_for,
            report,
        },
    )
}

/// The direction of a file, or of one cell of a map, which is then said.
fn read(file: &Path, cell: Option<&str>, report: Report) -> Result<Direction> {
    let result = match (Opened::read(file)?, cell) {
        (Opened::Direction(direction), None) => return Ok(*direction),
        (Opened::Direction(_), Some(_)) => return Err(no_map(file)),
        (Opened::Map(result), _) => result,
    };
    let idx = cell_name::find(&result, cell.unwrap_or(cell_name::BEST))?;
    let direction = result.direction(idx)?;
    let what = match cell {
        None => "the best one",
        Some(_) => "one",
    };
    let name = cell_name::name(&result.cells()[idx]);
    let n_cells = result.cells().len();
    report.line(format!(
        "Taking {what} of the map's {n_cells} cells: {name}"
    ));
    report.event(&json!({ "event": "cell", "cell": name }));
    Ok(direction)
}

impl Job for Eval {
    type Output = ExitCode;

    fn run<A: AutodiffBackend>(self, device: A::Device, device_name: &str) -> Result<ExitCode> {
        let started = Instant::now();
        let Self {
            file,
            direction,
            files,
            mut pairs,
            choices,
            keep_wrong,
            learned_on,
            any_model,
            at_least,
            seed,
            cache,
            stands_for,
            report,
        } = self;
        let (model, _) = files.load::<A::InnerBackend>(&device, report)?;
        let learned = direction.intervention(Op::Interchange, None, &device);
        probe::check(
            &model,
            files.sizes(),
            &direction,
            &learned_on,
            any_model,
            report,
        )?;
        if !keep_wrong {
            let sets = &mut [("test", &mut pairs)];
            known::keep(&model, files.sizes(), sets, choices.as_deref(), report)?;
        }
        let place = direction.facts.place;
        check_head(place.site, place.head, files.sizes())?;
        report.line(format!(
            "Scoring {} on {} pairs: {place}, {}, on {device_name}",
            file.display(),
            pairs.len(),
            direction.size_in_words()
        ));
        let cached = cache_pairs(&model, files.sizes(), place, &pairs, cache)?;
        let cached = cached.with_choices(choices);
        let score = cached.score(&model, &learned)?;
        let size = [direction.width(), direction.n_swapped()];
        let compared = cached.controls(&model, size, seed, &Bases::default())?;
        let swaps = cached.swaps(&model, &learned, &pairs)?;
        let found = verdict::report_scores(report, score, &compared, direction.n_swapped(), &swaps);
        let iia = score.all.share();
        let of = stands_for.map_or(String::new(), |what| format!("   for {what}"));
        report.line(format!(
            "{:<42}{:.3}{of}",
            "As recorded in the file", direction.facts.iia
        ));
        report.event(&json!({
            "test_iia": iia,
            "recorded_iia": direction.facts.iia,
            "score": score.json(),
            "controls": compared.controls(),
            "controls_hold": found.is_sound,
            "test_pairs": pairs.len(),
            "file": file,
            "seconds": started.elapsed().as_secs_f64(),
            "device": device_name,
        }));
        match at_least {
            Some(bound) if iia < bound => {
                report.line(format!("The IIA is below --at-least {bound}."));
                Ok(ExitCode::from(1))
            }
            _ => Ok(found.exit_code()),
        }
    }
}

/// Runs pairs once and caches what the place needs.
fn cache_pairs<B: Backend>(
    model: &Decoder<B>,
    sizes: &Sizes,
    place: Place,
    pairs: &[Pair],
    cache: CacheConfig,
) -> Result<Cached<B>> {
    Ok(Cached::run(model, sizes, place, pairs, cache, "test pairs")?.0)
}

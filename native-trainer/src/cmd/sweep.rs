//! `sweep`: a map of places in the model, filled on one device or several.

use std::{
    ops::Range,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args as ClapArgs;
use swivel_core::{
    Component, Position, Precision, Sizes,
    question::{Question, TokenName},
    sweep::{Method, Part, SweepFacts},
};

use super::{
    options::{
        CacheArgs, LearnArgs, ReportArgs, TaskArgs, check_counts, heading, help_end, method,
        precision, refuse_beside,
    },
    span::Span,
};
use crate::{
    device::{self, DeviceChoice},
    file_name::short_name,
    map::{self, Column, Map, Metric, Places, Planned, Sweep, Variable},
    model_files::{ModelFiles, SOLVER},
    output::Existing,
    pairs::{Counts, Sets, placed, read_pairs},
};

/// Options of `sweep`.
#[derive(ClapArgs, Clone, Debug)]
#[command(after_help = help_end(&[
    "swivel sweep --variable op5,op3",
    "swivel sweep --method interchange --components block_output,head_attention_value_output --positions all",
    "swivel sweep --variable op5,op3 --shard 1/4",
]))]
pub struct Args {
    /// Model: `solver` (embedded), a folder in Hugging Face's layout, a GGUF file, or a Hub id [default: solver]
    #[arg(long, value_name = "DIR_OR_HUB_ID", help_heading = heading::MODEL)]
    model: Option<String>,
    /// Devices that share the cells: auto, flex (the CPU), cuda or wgpu; cuda:0,cuda:1 are two GPUs
    #[arg(long, default_values_t = [DeviceChoice::Auto], value_delimiter = ',', help_heading = heading::MODEL)]
    device: Vec<DeviceChoice>,
    /// Number format that matrices are held in: f16 and bf16 take half the memory, and what they change in the logits is said
    #[arg(long, value_name = "FORMAT", value_parser = precision(), default_value = "f32", help_heading = heading::MODEL)]
    dtype: Precision,
    #[command(flatten)]
    report: ReportArgs,
    #[command(flatten)]
    task: TaskArgs,
    #[command(flatten)]
    cache: CacheArgs,
    /// What is done at each cell: das learns a direction; interchange, zero and mean need no training
    #[arg(long, default_value = "das", value_parser = method(&Method::ALL.map(|(method, ..)| method)), help_heading = heading::LEARNING)]
    method: Method,
    /// Layers: `all`, `last`, numbers and ranges, as in 0,3-5
    #[arg(long, default_value = "all", value_name = "LIST", help_heading = heading::PLACE)]
    layers: Span,
    /// Positions: numbers from 0 and ranges, as in 3 (token 3 alone) or 120-129; `last:3` (the last three), `last`, `all`; of a task
    /// on language, names of tokens, as in subject,last [default: last:10; all names that all prompts have]
    #[arg(long, value_name = "LIST", help_heading = heading::PLACE)]
    positions: Option<String>,
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
    /// Other pairs, that pick the best cell: its score is of pairs that nothing has looked at
    #[arg(long, default_value_t = 100, help_heading = heading::QUESTION)]
    validation_pairs: usize,
    /// Hold out a quarter of these tables' rows, or of the `templates`, from training; `all` are all tables of 8 rows or more. Each
    /// cell has its score on what training did not see beside its own
    #[arg(long, value_name = "TABLES", value_delimiter = ',', conflicts_with = "test_data", help_heading = heading::QUESTION)]
    hold_out: Vec<String>,
    /// Keep pairs whose base or source prompt the model answers wrong by itself
    #[arg(long, help_heading = heading::QUESTION)]
    keep_wrong: bool,
    /// Learn each direction a second time on shuffled labels, as a control
    #[arg(long, help_heading = heading::LEARNING)]
    shuffled: bool,
    /// Training pairs from a file (JSON lines, of ids or text) rather than from the task; not needed where nothing is learned
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
    /// Where the sweep result goes; the picture goes beside it, as .svg [default: directions/MODEL-PROGRAM-VARIABLE-METHOD-map.safetensors, of a part …-map-1of4.safetensors]
    #[arg(long, value_name = "FILE", help_heading = heading::OUTPUT)]
    out: Option<PathBuf>,
    /// Replace the file if it is there; without, the same command goes on with the map in it
    #[arg(long, help_heading = heading::OUTPUT)]
    force: bool,
}

/// Runs `sweep`.
pub fn run(args: Args) -> Result<ExitCode> {
    let report = args.report.report();
    let method = args.method;
    let is_learned = method == Method::Das;
    let learning = args.learn.resolve(true, args.seed)?;
    let cache = args.cache.resolve()?;
    check_counts(&[
        ("--train-pairs", args.train_pairs),
        ("--test-pairs", args.test_pairs),
    ])?;
    if args.test_data.is_some() && args.train_data.is_none() && is_learned {
        bail!("--test-data needs --train-data: directions are learned from it");
    }
    let mut files = ModelFiles::open(args.model.as_deref().unwrap_or(SOLVER))?.held_in(args.dtype);
    let asked = asked(&args, &files, is_learned)?;
    let Asked {
        mut variables,
        choices,
        task,
        mut columns,
        ..
    } = asked;
    map::drop_twins(&mut variables, &mut columns);
    let mut known = None;
    if !args.keep_wrong {
        let job = map::KeepKnown {
            files,
            variables,
            choices: choices.clone(),
            report,
        };
        let first = args.device.first().cloned().unwrap_or(DeviceChoice::Auto);
        let kept = device::run(first, job)?;
        (variables, known, files) = (kept.variables, kept.known, kept.files);
    }
    let probe = map::probe(&mut variables, &mut columns)?;
    let (sizes, n_tokens) = (files.sizes(), probe.pair.base.len());
    let places = places(&args, sizes, columns.clone())?;
    let cells = map::plan(&places, method, variables.len(), sizes)?;
    let jobs = map::jobs(&cells, method, n_tokens, learning.batch_size);
    let jobs = match args.shard {
        None => jobs,
        Some(part) => share(part, &jobs, &cells, sizes, n_tokens)?,
    };
    let here = (jobs.first().zip(jobs.last())).map(|(first, last)| first.start..last.end);
    let sweep = Sweep {
        here: here.context("there are no cells")?,
        files,
        method,
        variables,
        probe,
        columns,
        choices,
        known,
        cells,
        learning,
        hold_out: args.hold_out,
        shuffled: args.shuffled,
        cache,
        report,
    };
    let facts = map::facts(&sweep, task, args.shard)?;
    let out = match &args.out {
        Some(out) => out.clone(),
        None => default_path(&facts, &sweep.variables),
    };
    let mut map = Map::open(&out, facts, &sweep, Existing::of(args.force))?;
    map.fill(Arc::new(sweep), jobs, &args.device, args.metric)
}

/// What is asked: the pairs of each variable, and the tokens that cells are at.
struct Asked {
    variables: Vec<Variable>,
    columns: Vec<Column>,
    choices: Option<Vec<u32>>,
    /// Name of the task and its templates.
    task: (Option<String>, Vec<String>),
}

fn asked(args: &Args, files: &ModelFiles, is_learned: bool) -> Result<Asked> {
    if let Some(test) = &args.test_data {
        refuse_beside(args.task.given(), "--test-data")?;
        let train = args.train_data.as_deref().filter(|_| is_learned);
        let read = |path: &Path| anyhow::Ok(placed(read_pairs(path, files)?));
        let variable = Variable {
            name: None,
            sets: Sets {
                train: train.map(read).transpose()?.unwrap_or_default(),
                test: read(test)?,
                ..Sets::default()
            },
        };
        let mut variables = vec![variable];
        let columns = counted(args, &mut variables)?;
        return Ok(Asked {
            variables,
            columns,
            choices: None,
            task: (None, Vec::new()),
        });
    }
    let first = args.task.resolve_any(files)?;
    let is_counted = matches!(first.question, Question::Program { .. });
    let names = match is_counted {
        true => vec![TokenName::Counted(Position::LAST)],
        false => token_names(args, &first.question)?,
    };
    let of_variables = args.task.variable.as_deref().unwrap_or(&first.variable);
    let mut variables: Vec<Variable> = Vec::new();
    let counts = Counts {
        train: if is_learned { args.train_pairs } else { 0 },
        validation: args.validation_pairs,
        test: args.test_pairs,
    };
    for name in of_variables.split(',').map(str::trim) {
        if variables
            .iter()
            .any(|other| other.name.as_deref() == Some(name))
        {
            bail!("--variable names {name} twice");
        }
        let task = TaskArgs {
            variable: Some(name.to_owned()),
            ..args.task.clone()
        };
        let task = task
            .resolve(files)?
            .holding_out(&args.hold_out, args.seed)?;
        variables.push(Variable {
            name: Some(name.to_owned()),
            sets: task.sets(args.seed, counts, &names)?,
        });
    }
    let columns = match is_counted {
        true => counted(args, &mut variables)?,
        false => names
            .iter()
            .map(|name| Column {
                token: Some(name.to_string()),
                position: 0,
            })
            .collect(),
    };
    Ok(Asked {
        variables,
        columns,
        choices: first.question.choices()?,
        task: (Some(first.question.name()), first.question.templates()),
    })
}

/// Tokens of a task's prompts by the names that were typed.
fn token_names(args: &Args, question: &Question) -> Result<Vec<TokenName>> {
    let mut names: Vec<TokenName> = Vec::new();
    match args.positions.as_deref() {
        None | Some("all") => names = question.token_names(),
        Some(typed) => {
            for name in typed.split(',') {
                let name: TokenName = name.trim().parse()?;
                if names.contains(&name) {
                    bail!("--positions names {name} twice");
                }
                names.push(name);
            }
        }
    }
    Ok(names)
}

/// Counted tokens of prompts, all of one length; they become the tokens of the pairs.
fn counted(args: &Args, variables: &mut [Variable]) -> Result<Vec<Column>> {
    let n_tokens = map::n_tokens(variables)?;
    let span: Span = args
        .positions
        .as_deref()
        .unwrap_or("last:10")
        .parse()
        .map_err(|error: String| anyhow!("--positions: {error}"))?;
    let positions = span.resolve(n_tokens, "position")?;
    for variable in variables {
        for placed in variable.sets.all_mut() {
            placed.tokens = positions.iter().map(|position| [*position; 2]).collect();
        }
    }
    let column = |position| Column {
        token: None,
        position,
    };
    Ok(positions.into_iter().map(column).collect())
}

/// Where the cells are.
fn places(args: &Args, sizes: &Sizes, columns: Vec<Column>) -> Result<Places> {
    let layers = args.layers.resolve(sizes.n_layers, "layer")?;
    let components = args.components.iter().map(|name| {
        let component: Component = name.trim().parse()?;
        let heads = match component.n_heads(sizes) {
            Some(n_heads) => args.heads.resolve(n_heads, "head")?,
            None => return Ok((component, vec![None])),
        };
        Ok((component, heads.into_iter().map(Some).collect()))
    });
    let components = components.collect::<Result<_>>()?;
    Ok(Places {
        layers,
        columns,
        components,
        ranks: args.ranks.clone(),
    })
}

/// The jobs of one part of a map.
fn share(
    part: Part,
    jobs: &[Range<usize>],
    cells: &[Planned],
    sizes: &Sizes,
    n_tokens: usize,
) -> Result<Vec<Range<usize>>> {
    let cost = |job: &Range<usize>| map::cost(&cells[job.clone()], sizes.n_layers, n_tokens);
    let share = map::share(part, jobs, cost).with_context(|| {
        format!(
            "--shard {part}: this map of {} cells has at most {} parts, since some cells are computed together",
            cells.len(),
            jobs.len()
        )
    })?;
    Ok(share.to_vec())
}

/// Where a map goes if nobody says: parts have names of their own.
fn default_path(facts: &SweepFacts, variables: &[Variable]) -> PathBuf {
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

//! `train`: learns a direction and writes its file.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Result, bail};
use clap::Args as ClapArgs;
use swivel_core::{
    Component, Place, Position, Site,
    direction::{Basis, Direction, Form},
    question::{PairShape, TokenName},
    train::check_rank,
};

use super::{
    eval,
    options::{
        CacheArgs, Common, ForceArgs, HonestArgs, LearnArgs, ReportArgs, TEST_PAIRS, TaskArgs,
        check_counts, heading, help_end, refuse_beside,
    },
};
use crate::{
    baseline::Method,
    device, direction_file,
    file_name::{file_at, short_name, stem, tag},
    invocation,
    pairs::{Counts, Sets, placed, read_pairs},
    site::{parse_site, width_at},
    train::{RunConfig, Target, Train},
    vectors::{self, Vectors},
};

/// Pairs to learn from, where it is not said how many.
const TRAIN_PAIRS: usize = 800;

/// Options of `train`.
#[derive(ClapArgs, Clone, Debug)]
#[command(after_help = help_end(&[
    "swivel train --variable op3 --layer 1",
    "swivel train --layer 1 --component head_attention_value_output --head 2",
    "swivel train --model FOLDER --train-data pairs.jsonl --test-data other.jsonl",
]))]
pub struct Args {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    task: TaskArgs,
    /// Pairs to learn from
    #[arg(long, default_value_t = TRAIN_PAIRS, conflicts_with = "train_data", help_heading = heading::QUESTION)]
    train_pairs: usize,
    /// Held-out pairs to score on
    #[arg(long, default_value_t = TEST_PAIRS, conflicts_with = "test_data", help_heading = heading::QUESTION)]
    test_pairs: usize,
    /// Training pairs from a file (JSON lines, of ids or text) rather than from the task
    #[arg(long, value_name = "FILE", requires = "test_data", help_heading = heading::QUESTION)]
    train_data: Option<PathBuf>,
    /// Held-out pairs from a file
    #[arg(long, value_name = "FILE", requires = "train_data", help_heading = heading::QUESTION)]
    test_data: Option<PathBuf>,
    /// Layer of the site, from 0, or `last` [default: last]
    #[arg(long, value_name = "N|last", help_heading = heading::PLACE)]
    layer: Option<String>,
    /// Token that is swapped: from 0, from the end as -2, `last`, or by a name that the task has, as S, S:first, S+1 [default: last]
    #[arg(long, value_name = "N|last|NAME", allow_negative_numbers = true, help_heading = heading::PLACE)]
    position: Option<TokenName>,
    /// Component of the site, one of those listed below [default: block_output]
    #[arg(long, value_name = "NAME", help_heading = heading::PLACE)]
    component: Option<String>,
    /// Head of the site, from 0, where the component is per head
    #[arg(long, value_name = "N", help_heading = heading::PLACE)]
    head: Option<usize>,
    /// Rank of the subspace
    #[arg(long, default_value_t = 1, help_heading = heading::LEARNING)]
    rank: usize,
    /// Seed of data, initial basis and shuffling
    #[arg(long, default_value_t = 0, help_heading = heading::LEARNING)]
    seed: u64,
    #[command(flatten)]
    learn: LearnArgs,
    /// Start from the basis of this direction file rather than from a random one
    #[arg(long, value_name = "FILE", help_heading = heading::LEARNING)]
    init: Option<PathBuf>,
    /// Take the training pairs in their order in every epoch
    #[arg(long, help_heading = heading::LEARNING)]
    no_shuffle: bool,
    /// How the direction is found
    #[arg(long, value_enum, default_value_t = Method::Das, help_heading = heading::LEARNING)]
    method: Method,
    #[command(flatten)]
    honest: HonestArgs,
    /// Where the direction goes, a file or a folder that is there; its own name is MODEL-PROGRAM-VARIABLE-layerLAYER-rankRANK
    /// and every other setting that is not the default one [default: directions]
    #[arg(long, value_name = "FILE|DIR", help_heading = heading::OUTPUT)]
    out: Option<PathBuf>,
    #[command(flatten)]
    force: ForceArgs,
    #[command(flatten)]
    report: ReportArgs,
    #[command(flatten)]
    cache: CacheArgs,
}

/// Runs `train`.
pub fn run(args: Args) -> Result<ExitCode> {
    let device = args.common.device.clone();
    device::run(device, prepare(args, None)?)
}

/// Runs `import`: what `train` does, but that the basis is given.
pub fn import(file: PathBuf, mut args: Args) -> Result<ExitCode> {
    let files = args.common.open()?;
    let layer = match args.layer.as_deref() {
        None => None,
        Some(layer) => Some(
            parse_site("block_output", layer, None, files.sizes())?
                .0
                .layer,
        ),
    };
    let vectors = vectors::read(&file, layer)?;
    if let Some(site) = vectors.site {
        args.layer.get_or_insert(site.layer.to_string());
        args.component.get_or_insert(site.component.to_string());
    }
    if args.layer.is_none() {
        bail!(
            "{} does not say where its vector belongs; expected --layer",
            file.display()
        );
    }
    (args.method, args.rank) = (Method::Imported, vectors.n());
    let device = args.common.device.clone();
    device::run(device, prepare(args, Some((file, vectors)))?)
}

/// Checks everything that can be checked before the work starts.
fn prepare(args: Args, given: Option<(PathBuf, Vectors)>) -> Result<Train> {
    let Args {
        common,
        task: asked,
        train_pairs,
        test_pairs,
        train_data,
        test_data,
        layer,
        position,
        component,
        head,
        rank,
        seed,
        learn,
        init: init_file,
        no_shuffle,
        method,
        honest,
        out,
        force,
        report,
        cache,
    } = args;
    let learning = learn.resolve(!no_shuffle, seed)?;
    let cached = cache.resolve()?;
    check_counts(&[("--train-pairs", train_pairs), ("--test-pairs", test_pairs)])?;
    if method != Method::Das && (honest.seeds > 1 || init_file.is_some()) {
        bail!("--seeds and --init are for what is learned: the rest has no seed to start from");
    }
    honest.check()?;
    let files = common.open()?;
    let component = component.as_deref().unwrap_or("block_output");
    let layer = layer.as_deref().unwrap_or("last");
    let (site, head) = parse_site(component, layer, head, files.sizes())?;
    let width = width_at(site, files.sizes())?;
    if let Some((file, vectors)) = given.as_ref().filter(|(_, own)| own.width != width) {
        bail!(
            "{} holds vectors of width {}; {site} has width {width}",
            file.display(),
            vectors.width
        );
    }
    check_rank(width, rank)?;
    let init = match (&given, init_file.as_deref()) {
        (Some((_, vectors)), _) => Some(Basis::new(vectors.basis()?, rank)?),
        (None, None) => None,
        (None, Some(file)) => {
            let init = direction_file::read(file)?;
            init.check(files.sizes())?;
            check_init(&init, rank, site, width)?;
            init.features().basis().cloned()
        }
    };
    let (sets, task) = match (&train_data, &test_data) {
        (Some(train), Some(test)) => {
            let position = position.is_some().then_some("--position");
            let given = asked.given().or(honest.given()).or(position);
            refuse_beside(given, "--train-data")?;
            let read = |path: &Path| anyhow::Ok(placed(read_pairs(path, &files)?));
            let sets = Sets {
                train: read(train)?,
                test: read(test)?,
                ..Sets::default()
            };
            (sets, None)
        }
        _ => {
            let task = asked.resolve(&files)?.holding_out(&honest.hold_out, seed)?;
            let last = TokenName::Counted(Position::LAST);
            let token = position.clone().unwrap_or(last);
            let counts = Counts {
                train: train_pairs,
                validation: honest.validation_pairs,
                test: test_pairs,
            };
            (task.sets(seed, counts, &[token])?, Some(task))
        }
    };
    let of_test: Vec<_> = sets.test.iter().map(|placed| placed.pair.clone()).collect();
    let shapes = PairShape::each(&of_test, files.sizes())?;
    let others = sets
        .train
        .iter()
        .chain(&sets.validation)
        .chain(&sets.unseen);
    let others: Vec<_> = others.map(|placed| placed.pair.clone()).collect();
    PairShape::each(&others, files.sizes())?;
    let is_last = |(shape, _): &(PairShape, _)| shape.base_position + 1 == shape.n_base;
    let first = shapes[0].0.base_position;
    let (position, token) = match position {
        Some(TokenName::Counted(position)) => (position, None),
        // Where it is in the probe.
        Some(token) => (Position::Index(first), Some(token.to_string())),
        None if shapes.iter().all(is_last) => (Position::LAST, None),
        None if shapes.iter().all(|(shape, _)| shape.base_position == first) => {
            (Position::Index(first), None)
        }
        None => bail!(
            "the pairs are swapped at different tokens, and no name says which; give pairs of one position"
        ),
    };
    let name = {
        let model = short_name(&files.name);
        let what = match (&task, &train_data) {
            (Some(task), _) => format!("{}-{}", task.question.short_name(), task.variable),
            (None, data) => data.as_deref().map(stem).unwrap_or_default(),
        };
        let mut parts = vec![model.to_owned(), what, format!("layer{}", site.layer)];
        parts.extend(tag("", site.component, Component::BlockOutput));
        parts.extend(head.map(|head| format!("head{head}")));
        parts.push(format!("rank{rank}"));
        parts.extend(match &token {
            Some(token) => Some(format!("token{token}")),
            None => tag("token", position, Position::LAST),
        });
        parts.extend(tag("seed", seed, 0));
        parts.extend(tag("pairs", train_pairs, TRAIN_PAIRS));
        parts.extend(tag("test", test_pairs, TEST_PAIRS));
        parts.extend(asked.tags());
        parts.extend(honest.tags());
        parts.extend((method != Method::Das).then(|| method.name().to_owned()));
        parts.extend(learn.tags());
        let init = init_file
            .as_deref()
            .or(given.as_ref().map(|(file, _)| &**file));
        parts.extend(init.map(|path| format!("from-{}", stem(path))));
        parts.extend(no_shuffle.then(|| "ordered".to_owned()));
        parts.extend(cache.tags());
        parts.join("-") + ".safetensors"
    };
    let out = match out {
        None => Path::new("directions").join(&name),
        Some(out) => file_at(out, &name),
    };
    let mut next = vec!["eval".to_owned(), out.display().to_string()];
    if let Some(path) = &test_data {
        next.extend(["--test-data".to_owned(), path.display().to_string()]);
    } else if seed == eval::SEED {
        // Others than the held-out pairs of this run.
        next.extend(["--seed".to_owned(), seed.wrapping_add(1).to_string()]);
    }
    next.extend(asked.to_args());
    next.extend(common.to_args());
    // The name says every setting but what is in files.
    let is_given = given.is_some() || init_file.is_some();
    let has_files = train_data.is_some() || is_given || asked.synonyms.is_some();
    let is_whole_name = out.ends_with(&name) && !has_files;
    let config = RunConfig {
        model: files.name.clone(),
        first_token: files.first_token(&of_test),
        task: task.as_ref().map(|task| task.question.name()),
        about: task.as_ref().map(|task| task.question.about()),
        kind: task.as_ref().map(|task| task.question.kind()),
        templates: task
            .as_ref()
            .map(|task| task.question.templates())
            .unwrap_or_default(),
        variable: task.as_ref().map(|task| task.variable.clone()),
        layer: site.layer,
        component: site.component.to_string(),
        head,
        position: position.to_string(),
        token,
        method: method.name(),
        rank,
        rule: learning.at_width(width),
        train_pairs: sets.train.len(),
        validation_pairs: sets.validation.len(),
        test_pairs: sets.test.len(),
        hold_out: honest.hold_out.clone(),
        keep_wrong: honest.keep_wrong,
        seeds: honest.seeds,
        out,
    };
    let at = Place {
        site,
        head,
        position,
    };
    let there = match is_whole_name {
        true => config.learned_before(at, &files)?,
        false => None,
    };
    Ok(Train {
        target: Target::open(&config.out, force.existing(), there)?,
        config,
        place: at,
        width,
        cache: cached,
        choices: task
            .as_ref()
            .map(|task| task.question.choices())
            .transpose()?
            .flatten(),
        method,
        about: given.map_or(String::new(), |(_, vectors)| vectors.about),
        sets,
        init,
        files,
        next: invocation::command(&next),
        report: report.report(),
    })
}

/// Refuses a basis to start from that is none of the site, or of another rank.
fn check_init(init: &Direction, rank: usize, site: Site, width: usize) -> Result<()> {
    if !matches!(init.form(), Form::LowRank | Form::Rotated) {
        bail!("--init holds {}; expected a subspace", init.form().about());
    }
    if init.rank() != rank {
        bail!(
            "--init holds a basis of rank {}; expected --rank {rank}",
            init.rank()
        );
    }
    if init.width() != width {
        bail!(
            "--init holds a basis of width {}; {site} has width {width}",
            init.width()
        );
    }
    Ok(())
}

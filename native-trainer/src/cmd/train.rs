//! `train`: learns a direction and writes its file.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use anyhow::{Context, Result, bail};
use burn::tensor::{
    Tensor,
    backend::{AutodiffBackend, Backend},
};
use clap::Args as ClapArgs;
use serde::Serialize;
use serde_json::json;
use swivel_core::{
    Component, Gpt2, Place, Position,
    direction::{Controls, Direction, Facts, Probe},
    intervention::{Featurizer, Intervention, Op},
    task::{Pair, PairShape},
    train::{self, Rotation},
};

use super::{
    Common, ForceArgs, KeepArgs, LearnArgs, ReportArgs, Task, TaskArgs, check_counts, eval,
    heading, help_end, parse_site, place, read_direction, read_direction_bytes, short_name, stem,
    tag, width_at,
};
use crate::{
    device::{self, Job},
    experiment::{self, Rule, read_pairs, shuffled},
    invocation,
    kept::{Kept, KeptRuns, Wanted},
    model_files::ModelFiles,
    output::{Existing, Output, file_at},
    readout::read_floats,
    report::{self, Report},
};

/// What is written into files as their maker.
pub const CREATED_BY: &str = concat!("swivel ", env!("CARGO_PKG_VERSION"));

/// Pairs to learn from, where it is not said how many.
const TRAIN_PAIRS: usize = 800;
/// Held-out pairs, where it is not said how many.
pub const TEST_PAIRS: usize = 1000;

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
    /// Training pairs from a file (JSON lines) rather than from the task
    #[arg(long, value_name = "FILE", requires = "test_data", help_heading = heading::QUESTION)]
    train_data: Option<PathBuf>,
    /// Held-out pairs from a file
    #[arg(long, value_name = "FILE", requires = "train_data", help_heading = heading::QUESTION)]
    test_data: Option<PathBuf>,
    /// Layer of the site, from 0, or `last`
    #[arg(long, default_value = "last", value_name = "N|last", help_heading = heading::PLACE)]
    layer: String,
    /// Token position that is swapped: from 0, from the end as -2, or `last` [default: last]
    #[arg(long, value_name = "N|last", allow_negative_numbers = true, help_heading = heading::PLACE)]
    position: Option<Position>,
    /// Component of the site, one of those listed below
    #[arg(long, default_value = "block_output", value_name = "NAME", help_heading = heading::PLACE)]
    component: String,
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
    /// How the direction is learned
    #[arg(long, default_value = "low_rank", value_parser = ["low_rank"], help_heading = heading::LEARNING)]
    method: String,
    /// Where the direction goes, a file or a folder that is there; its own name is MODEL-PROGRAM-VARIABLE-layerLAYER-rankRANK
    /// and every other setting that is not the default one [default: directions]
    #[arg(long, value_name = "FILE|DIR", help_heading = heading::OUTPUT)]
    out: Option<PathBuf>,
    #[command(flatten)]
    force: ForceArgs,
    #[command(flatten)]
    report: ReportArgs,
    #[command(flatten)]
    keep: KeepArgs,
}

/// Everything that a training run depends on.
#[derive(Clone, Debug, Serialize)]
struct RunConfig {
    model: String,
    task: Option<String>,
    program: Option<String>,
    variable: Option<String>,
    layer: usize,
    component: String,
    head: Option<usize>,
    position: String,
    method: String,
    rank: usize,
    #[serde(flatten)]
    rule: Rule,
    train_pairs: usize,
    test_pairs: usize,
    out: PathBuf,
}

/// Where the direction goes.
enum Target {
    /// Into a file that is not there yet, or is to be replaced.
    New(Output),
    /// It is there: a file of these bytes, learned with the same settings. That it is learned again does no harm.
    There { bytes: Vec<u8> },
}

struct Train {
    config: RunConfig,
    files: ModelFiles,
    place: Place,
    /// Number of values there.
    width: usize,
    keep: KeepArgs,
    train: Vec<Pair>,
    test: Vec<Pair>,
    init: Option<Direction>,
    target: Target,
    /// The command that scores the file.
    next: String,
    report: Report,
}

/// Runs `train`.
pub fn run(args: Args) -> Result<ExitCode> {
    let device = args.common.device.clone();
    device::run(device, Train::prepare(args)?)
}

impl Train {
    /// Checks everything that can be checked before the work starts.
    fn prepare(args: Args) -> Result<Self> {
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
            out,
            force,
            report,
            keep,
        } = args;
        learn.check()?;
        keep.check()?;
        check_counts(&[("--train-pairs", train_pairs), ("--test-pairs", test_pairs)])?;
        let files = ModelFiles::open(common.model())?;
        let (site, head) = parse_site(&component, &layer, head, &files.config)?;
        let width = width_at(site, &files.config)?;
        train::check_rank(width, rank)?;
        let init = init_file.as_deref().map(read_direction).transpose()?;
        if let Some(init) = &init {
            init.check(&files.config)?;
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
        }
        let (train, test, task) = match (&train_data, &test_data) {
            (Some(train), Some(test)) => {
                if let Some(name) = asked.given().or(position.is_some().then_some("--position")) {
                    bail!(
                        "{name} says which pairs to sample, and --train-data has them already; leave one out"
                    );
                }
                (
                    read_pairs(train, &files.config)?,
                    read_pairs(test, &files.config)?,
                    None,
                )
            }
            _ => {
                let task = asked.resolve(&files.config, files.tokenizer()?, ("07065a", "op5"))?;
                let (mut train, mut test) = {
                    let mut sampler = task.sampler()?;
                    let [train_seed, test_seed] = Task::seeds(seed);
                    (
                        sampler.pairs(train_pairs, train_seed)?,
                        sampler.pairs(test_pairs, test_seed)?,
                    )
                };
                let position = position.unwrap_or(Position::LAST);
                place(&mut train, position)?;
                place(&mut test, position)?;
                (train, test, Some(task))
            }
        };
        let shape = PairShape::of(&train, &files.config)?;
        let position = match position {
            Some(position) => position,
            None if shape.base_position + 1 == shape.n_base => Position::LAST,
            None => Position::Index(shape.base_position),
        };
        let at = Place {
            site,
            head,
            position,
        };
        let name = {
            let model = short_name(&files.name);
            let what = match (&task, &train_data) {
                (Some(task), _) => format!("{}-{}", task.program.id, task.variable),
                (None, data) => data.as_deref().map(stem).unwrap_or_default(),
            };
            let mut parts = vec![model.to_owned(), what, format!("layer{}", site.layer)];
            parts.extend(tag("", site.component, Component::BlockOutput));
            parts.extend(head.map(|head| format!("head{head}")));
            parts.push(format!("rank{rank}"));
            parts.extend(tag("token", position, Position::LAST));
            parts.extend(tag("seed", seed, 0));
            parts.extend(tag("pairs", train_pairs, TRAIN_PAIRS));
            parts.extend(tag("test", test_pairs, TEST_PAIRS));
            parts.extend(asked.tags());
            parts.extend(learn.tags());
            parts.extend(
                init_file
                    .as_deref()
                    .map(|path| format!("from-{}", stem(path))),
            );
            parts.extend(no_shuffle.then(|| "ordered".to_owned()));
            parts.extend(keep.tags());
            parts.join("-") + ".safetensors"
        };
        let out = match out {
            None => Path::new("directions").join(&name),
            Some(out) => file_at(out, &name),
        };
        let config = RunConfig {
            model: files.name.clone(),
            task: task.as_ref().map(Task::name),
            program: task.as_ref().map(|task| task.program.to_string()),
            variable: task.as_ref().map(|task| task.variable.clone()),
            layer: site.layer,
            component: site.component.to_string(),
            head,
            position: position.to_string(),
            method,
            rank,
            rule: learn.rule(width, !no_shuffle, seed),
            train_pairs: train.len(),
            test_pairs: test.len(),
            out: out.clone(),
        };
        // The name says every setting but what is in files.
        let has_files = train_data.is_some() || init_file.is_some() || asked.synonyms.is_some();
        let there = match out.ends_with(&name) && !has_files {
            true => learned_before(&out, |there| {
                let Facts {
                    iia,
                    controls,
                    probe,
                    ..
                } = there.clone();
                let facts = config.facts(at, files.sha256()?, (iia, controls, probe));
                Ok(facts == *there)
            })?,
            false => None,
        };
        let target = match (force.existing(), there) {
            (Existing::Keep, Some(bytes)) => Target::There { bytes },
            (existing, _) => Target::New(Output::create(&out, existing)?),
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
        Ok(Self {
            config,
            target,
            next: invocation::command(&next),
            report: report.report(),
            files,
            place: at,
            width,
            keep,
            train,
            test,
            init,
        })
    }

    fn announce(&self, device: &str) {
        let RunConfig {
            model,
            program,
            variable,
            rank,
            rule,
            ..
        } = &self.config;
        let sizes = &self.files.config;
        self.report
            .event(&json!({ "event": "config", "config": self.config, "device": device }));
        if let (Some(program), Some(variable)) = (program, variable) {
            self.report
                .line(format!("Learning where {model} keeps {variable}"));
            self.report.line(format!("  program   {program}"));
        } else {
            self.report.line(format!("Learning a direction of {model}"));
        }
        self.report.line(format!(
            "  model     {} layers, width {}, {} tokens, on {device}",
            sizes.n_layers, sizes.d_model, sizes.d_vocab
        ));
        self.report
            .line(format!("  site      {}, rank {rank}", self.place));
        self.report.line(format!(
            "  training  {} pairs, {} epochs, batch {}, lr {:.2e}, seed {}",
            self.train.len(),
            rule.epochs,
            rule.batch_size,
            rule.lr,
            rule.seed
        ));
    }

    /// The rotation that training starts from where no other is given.
    fn random<B: Backend>(&self, device: &B::Device) -> Result<Rotation<B>> {
        let RunConfig { rank, rule, .. } = &self.config;
        Ok(Rotation::random(self.width, *rank, rule.seed, device)?)
    }

    /// The rotation that training starts from.
    fn start<B: Backend>(&self, device: &B::Device) -> Result<Rotation<B>> {
        match &self.init {
            Some(init) => Ok(Rotation::with_basis(init.rows(), init.rank(), device)),
            None => self.random(device),
        }
    }

    /// Runs pairs once and keeps what the place needs.
    fn kept<B: Backend>(
        &self,
        model: &Gpt2<B>,
        pairs: &[Pair],
        what: &'static str,
    ) -> Result<(Kept<B>, usize)> {
        let config = &self.files.config;
        let wanted = Wanted::at(self.place.site, pairs, config, &self.keep)?;
        let kept = wanted.describe(pairs, config)?;
        self.report.line(format!("  keeping   {what}: {kept}"));
        let runs = KeptRuns::run(model, config, pairs, &wanted, what)?;
        let [base, source] = wanted.positions();
        let position = Position::Index(base);
        let kept = runs.at(
            Place {
                position,
                ..self.place
            },
            source,
        )?;
        Ok((kept, runs.n_bytes()))
    }
}

impl Job for Train {
    type Output = ExitCode;

    fn run<A: AutodiffBackend>(self, device: A::Device, device_name: &str) -> Result<ExitCode> {
        let started = Instant::now();
        let report = self.report;
        self.announce(device_name);
        let (model, model_sha256) = self.files.load::<A::InnerBackend>(&device, report)?;
        let (train, train_bytes) = self.kept(&model, &self.train, "train pairs")?;
        let (test, test_bytes) = self.kept(&model, &self.test, "test pairs")?;
        let seconds_caching = started.elapsed().as_secs_f64();
        report.line(format!(
            "Kept {} runs in {seconds_caching:.1} s ({:.1} MB); nothing below the site is computed again",
            2 * (self.train.len() + self.test.len()),
            (train_bytes + test_bytes) as f64 / 1e6,
        ));

        let swap = |basis: Tensor<A::InnerBackend, 2>| {
            Intervention::new(Op::Interchange, Featurizer::Subspace(basis))
        };
        let training = Instant::now();
        let rule = self.config.rule;
        let bar = report::progress("epochs", rule.epochs);
        let mut n_steps = 0;
        let mut epoch_started = Instant::now();
        let rotation = rule.learn::<A>(
            &model,
            &train,
            self.start(&device)?,
            |epoch, losses, rotation| {
                let iia = test.iia(&model, &swap(rotation.basis()))?;
                let loss = losses.iter().sum::<f32>() / losses.len() as f32;
                if !loss.is_finite() {
                    bail!("the loss is {loss} in epoch {epoch}; try a lower --lr");
                }
                for loss in losses {
                    report.event(&json!({ "step": n_steps, "loss": loss }));
                    n_steps += 1;
                }
                let seconds = epoch_started.elapsed().as_secs_f64();
                epoch_started = Instant::now();
                report.event(
                    &json!({ "epoch": epoch, "loss": loss, "iia": iia, "seconds": seconds }),
                );
                bar.inc(1);
                bar.set_prefix(format!("loss {loss:.4}  IIA {iia:.3}"));
                bar.suspend(|| {
                    report.line(format!(
                        "  epoch {epoch:>3}  loss {loss:.4} nats  IIA {iia:.3}"
                    ))
                });
                Ok(())
            },
        )?;
        bar.finish_and_clear();
        let seconds_training = training.elapsed().as_secs_f64();

        let learned = swap(rotation.basis());
        let iia = test.iia(&model, &learned)?;
        // Never from `--init`, which may have been learned on the labels as they are.
        let noise = train.with_labels(shuffled(&train.labels, rule.seed));
        let noise = rule.learn::<A>(&model, &noise, self.random(&device)?, |_, _, _| Ok(()))?;
        let (width, rank) = (self.width, self.config.rank);
        let controls = Controls {
            random: test.random_iia(&model, width, rank, rule.seed)?,
            full: test.full_iia(&model)?,
            shuffled: Some(test.iia(&model, &swap(noise.basis()))?),
        };

        let swaps = test.swaps(&model, &learned, &self.test)?;
        let probe = swaps
            .first()
            .map(|swap| swap.probe.clone())
            .context("there are no test pairs")?;
        experiment::show_examples(report, &swaps, rule.seed, self.files.tokenizer().ok());
        let found = experiment::report_scores(report, iia, &controls, rank, &swaps);

        let facts = (self.config).facts(self.place, model_sha256, (iia, controls, probe));
        let controls = facts.controls.clone();
        let basis = train::orthonormal(&read_floats(rotation.basis())?, width);
        let bytes = Direction::new(basis, rank, facts)?.to_bytes();
        let file = self.config.out;
        let seconds = started.elapsed().as_secs_f64();
        let (name, size) = (file.display(), bytes.len());
        let is_written = matches!(self.target, Target::New(_));
        match self.target {
            Target::New(output) => {
                output.finish(&bytes)?;
                report.line(format!("Wrote {name} ({size} bytes) after {seconds:.1} s. Next:"));
            }
            Target::There { bytes: there } if there == bytes => report.line(format!(
                "{name} is there already, with the same {size} bytes, after {seconds:.1} s. Next:"
            )),
            Target::There { .. } => report.line(format!(
                "{name} is there already and was kept: the same settings gave other numbers, as another device does. \
                 --force replaces it. Next:"
            )),
        }
        report.line(format!("  {}", self.next));
        report.event(&json!({
            "event": "done",
            "test_iia": iia,
            "controls": controls,
            "labels_alone": found.labels_alone,
            "controls_hold": found.is_sound,
            "file": file,
            "written": is_written,
            "seconds": seconds,
            "seconds_caching": seconds_caching,
            "seconds_training": seconds_training,
            "device": device_name,
        }));
        Ok(found.exit_code())
    }
}

/// The bytes of a direction file that is there, if what it says of itself is as it should be.
fn learned_before(
    path: &Path,
    is_same: impl FnOnce(&Facts) -> Result<bool>,
) -> Result<Option<Vec<u8>>> {
    let bytes = read_direction_bytes(path).ok();
    let direction = (bytes.as_deref()).and_then(|bytes| Direction::from_bytes(bytes).ok());
    match direction {
        Some(direction) if is_same(&direction.facts)? => Ok(bytes),
        _ => Ok(None),
    }
}

impl RunConfig {
    /// What a file says of its direction: the settings, and what was found with them.
    fn facts(
        &self,
        place: Place,
        model_sha256: String,
        (iia, controls, probe): (f64, Controls, Probe),
    ) -> Facts {
        let Self {
            model,
            task,
            variable,
            method,
            rule,
            train_pairs,
            ..
        } = self;
        Facts {
            method: method.clone(),
            model: model.clone(),
            model_sha256,
            place,
            task: task.clone(),
            variable: variable.clone(),
            train_pairs: Some(*train_pairs),
            epochs: Some(rule.epochs),
            lr: Some(rule.lr),
            seed: Some(rule.seed),
            iia,
            controls,
            probe,
            created_by: Some(CREATED_BY.to_owned()),
        }
    }
}

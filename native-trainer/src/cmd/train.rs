//! `train`: learns a direction and writes its file.

use std::{path::PathBuf, process::ExitCode, time::Instant};

use anyhow::{Context, Result, bail};
use burn::tensor::{
    Tensor,
    backend::{AutodiffBackend, Backend},
};
use clap::Args as ClapArgs;
use serde::Serialize;
use serde_json::json;
use swivel_core::{
    Component, Gpt2, Position,
    direction::{Controls, Direction, Facts, Probe},
    intervention::{Featurizer, Intervention, Op},
    task::{Pair, PairShape},
    train::{self, Rotation},
};

use super::{
    Common, KeepArgs, LearnArgs, Place, Task, TaskArgs, check_counts, place, read_direction,
};
use crate::{
    device::{self, Job},
    experiment::{self, Rule, read_floats, read_pairs, shuffled},
    kept::{Kept, KeptRuns, Wanted},
    model_files::ModelFiles,
    output::Output,
    report::{self, Report},
};

/// What is written into files as their maker.
pub const CREATED_BY: &str = concat!("native-trainer ", env!("CARGO_PKG_VERSION"));

/// Options of `train`.
#[derive(ClapArgs, Clone, Debug)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    task: TaskArgs,
    #[command(flatten)]
    keep: KeepArgs,
    /// Layer of the site, from 0, or `last`
    #[arg(long, default_value = "last", value_name = "N|last")]
    layer: String,
    /// Component of the site
    #[arg(long, default_value = "block_output", value_name = "NAME")]
    component: String,
    /// Head of the site, from 0, where the component is per head
    #[arg(long, value_name = "N")]
    head: Option<usize>,
    /// Token position that is swapped, from 0, or `last` [default: last]
    #[arg(long, value_name = "N|last")]
    position: Option<Position>,
    /// How the direction is learned
    #[arg(long, default_value = "low_rank", value_parser = ["low_rank"])]
    method: String,
    /// Rank of the subspace
    #[arg(long, default_value_t = 1)]
    rank: usize,
    #[command(flatten)]
    learn: LearnArgs,
    /// Pairs to learn from
    #[arg(long, default_value_t = 800, conflicts_with = "train_data")]
    train_pairs: usize,
    /// Held-out pairs to score on
    #[arg(long, default_value_t = 1000, conflicts_with = "test_data")]
    test_pairs: usize,
    /// Start from the basis of this direction file rather than from a random one
    #[arg(long, value_name = "FILE")]
    init: Option<PathBuf>,
    /// Take the training pairs in their order in every epoch
    #[arg(long)]
    no_shuffle: bool,
    /// Training pairs from a file (JSON lines) rather than from the task
    #[arg(long, value_name = "FILE", requires = "test_data")]
    train_data: Option<PathBuf>,
    /// Held-out pairs from a file
    #[arg(long, value_name = "FILE", requires = "train_data")]
    test_data: Option<PathBuf>,
    /// Seed of data, initial basis and shuffling
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Where the direction goes [default: directions/MODEL-PROGRAM-VARIABLE-layerLAYER-rankRANK.safetensors]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
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

struct Train {
    config: RunConfig,
    files: ModelFiles,
    place: Place,
    /// Number of values there.
    width: usize,
    keep: KeepArgs,
    position: Position,
    train: Vec<Pair>,
    test: Vec<Pair>,
    init: Option<Direction>,
    output: Output,
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
            task,
            keep,
            layer,
            component,
            head,
            position,
            method,
            rank,
            learn,
            train_pairs,
            test_pairs,
            init,
            no_shuffle,
            train_data,
            test_data,
            seed,
            out,
        } = args;
        learn.check()?;
        check_counts(&[("--train-pairs", train_pairs), ("--test-pairs", test_pairs)])?;
        let files = ModelFiles::open(common.model())?;
        let at = Place::parse(&component, &layer, head, &files.config)?;
        let width = at.width(&files.config)?;
        train::check_rank(width, rank)?;
        let init = init.map(|path| read_direction(&path)).transpose()?;
        if let Some(init) = &init {
            init.check(&files.config)?;
            if init.rank() != rank {
                bail!(
                    "--init holds a basis of rank {}; expected --rank {rank}",
                    init.rank()
                );
            }
        }
        let (train, test, task) = match (train_data, test_data) {
            (Some(train), Some(test)) => {
                if let Some(name) = task.given().or(position.is_some().then_some("--position")) {
                    bail!(
                        "{name} says which pairs to sample, and --train-data has them already; leave one out"
                    );
                }
                (
                    read_pairs(&train, &files.config)?,
                    read_pairs(&test, &files.config)?,
                    None,
                )
            }
            _ => {
                let task = task.resolve(&files.config, files.tokenizer()?, ("07065a", "op5"))?;
                let (mut train, mut test) = {
                    let mut sampler = task.sampler()?;
                    let [train_seed, test_seed] = Task::seeds(seed);
                    (
                        sampler.pairs(train_pairs, train_seed)?,
                        sampler.pairs(test_pairs, test_seed)?,
                    )
                };
                let position = position.unwrap_or(Position::Last);
                place(&mut train, position)?;
                place(&mut test, position)?;
                (train, test, Some(task))
            }
        };
        let shape = PairShape::of(&train, &files.config)?;
        let position = match position {
            Some(position) => position,
            None if shape.base_position + 1 == shape.n_base => Position::Last,
            None => Position::Index(shape.base_position),
        };
        let out = out.unwrap_or_else(|| {
            let model = files.name.rsplit(['/', '\\']).next().unwrap_or_default();
            let what = task.as_ref().map_or("data".to_owned(), |task| {
                format!("{}-{}", task.program.id, task.variable)
            });
            PathBuf::from(format!(
                "directions/{model}-{what}-layer{}-{}rank{rank}.safetensors",
                at.site.layer,
                match (at.site.component, at.head) {
                    (Component::BlockOutput, _) => String::new(),
                    (component, None) => format!("{component}-"),
                    (component, Some(head)) => format!("{component}-head{head}-"),
                }
            ))
        });
        Ok(Self {
            config: RunConfig {
                model: files.name.clone(),
                task: task.as_ref().map(Task::name),
                program: task.as_ref().map(|task| task.program.to_string()),
                variable: task.as_ref().map(|task| task.variable.clone()),
                layer: at.site.layer,
                component: at.site.component.to_string(),
                head: at.head,
                position: position.to_string(),
                method,
                rank,
                rule: learn.rule(width, !no_shuffle, seed),
                train_pairs: train.len(),
                test_pairs: test.len(),
                out: out.clone(),
            },
            output: Output::create(&out)?,
            report: common.report(),
            files,
            place: at,
            width,
            keep,
            position,
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
            position,
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
        self.report.line(format!(
            "  site      {}, position {position}, rank {rank}",
            self.place
        ));
        self.report.line(format!(
            "  training  {} pairs, {} epochs, batch {}, lr {:.2e}, seed {}",
            self.train.len(),
            rule.epochs,
            rule.batch_size,
            rule.lr,
            rule.seed
        ));
    }

    /// The rotation that training starts from.
    fn start<B: Backend>(&self, device: &B::Device) -> Result<Rotation<B>> {
        Ok(match &self.init {
            Some(init) => Rotation::with_basis(init.rows(), init.rank(), device),
            None => Rotation::random(self.width, self.config.rank, self.config.rule.seed, device)?,
        })
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
        let kept = runs.at((self.place.site, self.place.head), wanted.positions())?;
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
            Intervention::new(Op::Interchange, Featurizer::Rotation(basis))
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
        let noise = train.with_labels(shuffled(&train.labels, rule.seed));
        let noise = rule.learn::<A>(&model, &noise, self.start(&device)?, |_, _, _| Ok(()))?;
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
        report.line("Held-out pairs, before and after the swap");
        for swap in experiment::varied(&swaps) {
            report.line(format!("  {}", swap.describe(self.files.tokenizer().ok())));
            report.event(&json!({ "example": swap }));
        }
        experiment::report_scores(report, iia, &controls, self.config.rank, &swaps);

        let direction = self.direction(
            read_floats(rotation.basis())?,
            iia,
            &controls,
            probe,
            model_sha256,
        )?;
        let bytes = direction.to_bytes();
        let file = self.output.finish(&bytes)?;
        let seconds = started.elapsed().as_secs_f64();
        report.line(format!(
            "Wrote {} ({} bytes) after {seconds:.1} s. Next:",
            file.display(),
            bytes.len()
        ));
        report.line(format!(
            "  cargo run --release -p native-trainer -- eval {}",
            file.display()
        ));
        report.event(&json!({
            "event": "done",
            "test_iia": iia,
            "controls": controls,
            "file": file,
            "seconds": seconds,
            "seconds_caching": seconds_caching,
            "seconds_training": seconds_training,
            "device": device_name,
        }));
        Ok(ExitCode::SUCCESS)
    }
}

impl Train {
    fn direction(
        &self,
        basis: Vec<f32>,
        iia: f64,
        controls: &Controls,
        probe: Probe,
        model_sha256: String,
    ) -> Result<Direction> {
        let RunConfig {
            model,
            task,
            variable,
            method,
            rank,
            rule,
            ..
        } = &self.config;
        let facts = Facts {
            method: method.clone(),
            model: model.clone(),
            model_sha256,
            site: self.place.site,
            head: self.place.head,
            position: self.position,
            task: task.clone(),
            variable: variable.clone(),
            train_pairs: Some(self.train.len()),
            epochs: Some(rule.epochs),
            lr: Some(rule.lr),
            seed: Some(rule.seed),
            iia,
            controls: controls.clone(),
            probe,
            created_by: Some(CREATED_BY.to_owned()),
        };
        let basis = train::orthonormal(&basis, basis.len() / rank);
        Ok(Direction::new(basis, *rank, facts)?)
    }
}

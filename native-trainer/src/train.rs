//! A training run: a direction is learned on cached pairs, scored beside its controls, and written.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use anyhow::{Context, Result, bail};
use burn::tensor::backend::{AutodiffBackend, Backend};
use serde::Serialize;
use serde_json::json;
use swivel_core::{
    Decoder, Place,
    direction::{Controls, Direction, Facts, Probe},
    question::Pair,
    train::{Rotation, orthonormal},
};

use crate::{
    cached::{CacheConfig, Cached, Wanted},
    device::Job,
    direction_file::{CREATED_BY, read_bytes},
    learn::{Rule, shuffled},
    model_files::ModelFiles,
    output::{Existing, Output},
    report::{self, Report},
    score::swap_along,
    tensors::read_floats,
    verdict,
};

/// Everything that a training run depends on.
#[derive(Clone, Debug, Serialize)]
pub struct RunConfig {
    /// What the user called the model.
    pub model: String,
    /// Text of the token before each prompt, where the tokenizer puts one there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_token: Option<String>,
    /// `programs/07065a`; `None` for pairs from files.
    pub task: Option<String>,
    /// What it asks, in words.
    pub about: Option<String>,
    /// What is swapped.
    pub variable: Option<String>,
    /// Layer of the site.
    pub layer: usize,
    /// Component of the site.
    pub component: String,
    /// Head, where the component is per head.
    pub head: Option<usize>,
    /// Token position.
    pub position: String,
    /// Its name in the task's prompts; then `position` is where it is in the probe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// How the direction is learned.
    pub method: String,
    /// Rank of the subspace.
    pub rank: usize,
    /// The rule of learning.
    #[serde(flatten)]
    pub rule: Rule,
    /// Number of pairs to learn from.
    pub train_pairs: usize,
    /// Number of pairs to score on.
    pub test_pairs: usize,
    /// Where the direction goes.
    pub out: PathBuf,
}

/// Where the direction goes.
pub enum Target {
    /// Into a file that is not there yet, or is to be replaced.
    New(Output),
    /// It is there: a file of these bytes, learned with the same settings. That it is learned again does no harm.
    There { bytes: Vec<u8> },
}

impl Target {
    /// The file at `out`, which may be `there` already, learned with the same settings.
    ///
    /// # Errors
    /// - If another file is there that is to be kept, or it cannot be written there.
    pub fn open(out: &Path, existing: Existing, there: Option<Vec<u8>>) -> Result<Self> {
        Ok(match (existing, there) {
            (Existing::Keep, Some(bytes)) => Self::There { bytes },
            (existing, _) => Self::New(Output::create(out, existing)?),
        })
    }
}

/// What a training run works with.
pub struct Train {
    /// All that its result depends on.
    pub config: RunConfig,
    /// The model.
    pub files: ModelFiles,
    /// Where the direction is.
    pub place: Place,
    /// Number of values there.
    pub width: usize,
    /// How values are cached.
    pub cache: CacheConfig,
    /// Tokens of which the likeliest is the answer, where it is not the likeliest of all.
    pub choices: Option<Vec<u32>>,
    /// Pairs to learn from.
    pub train: Vec<Pair>,
    /// Pairs to score on.
    pub test: Vec<Pair>,
    /// Where training starts, where that is no random basis.
    pub init: Option<Direction>,
    /// Where the direction goes.
    pub target: Target,
    /// The command that scores the file.
    pub next: String,
    /// Where text goes.
    pub report: Report,
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
            first_token,
            token,
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
            first_token: first_token.clone(),
            place,
            token: token.clone(),
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

    /// The bytes of the file that is there, if it says of itself that it was learned with these settings.
    pub fn learned_before(&self, place: Place, files: &ModelFiles) -> Result<Option<Vec<u8>>> {
        let Ok(bytes) = read_bytes(&self.out) else {
            return Ok(None);
        };
        let Ok(there) = Direction::from_bytes(&bytes) else {
            return Ok(None);
        };
        let Facts {
            iia,
            controls,
            probe,
            ..
        } = there.facts.clone();
        let facts = self.facts(place, files.sha256()?, (iia, controls, probe));
        Ok((facts == there.facts).then_some(bytes))
    }
}

impl Train {
    fn announce(&self, device: &str) {
        let RunConfig {
            model,
            task,
            about,
            variable,
            token,
            rank,
            rule,
            ..
        } = &self.config;
        let sizes = self.files.sizes();
        self.report
            .event(&json!({ "event": "config", "config": self.config, "device": device }));
        if let (Some(about), Some(variable)) = (about, variable) {
            self.report
                .line(format!("Learning where {model} keeps {variable}"));
            let is_program = task
                .as_ref()
                .is_some_and(|task| task.starts_with("programs/"));
            let label = if is_program { "program" } else { "task" };
            self.report.line(format!("  {label:<10}{about}"));
        } else {
            self.report.line(format!("Learning a direction of {model}"));
        }
        self.report.line(format!(
            "  model     {} layers, width {}, {} tokens, on {device}",
            sizes.n_layers, sizes.d_model, sizes.d_vocab
        ));
        let place = match token {
            Some(token) => format!("{}, `{token}` of each prompt", self.place.site),
            None => self.place.to_string(),
        };
        self.report
            .line(format!("  site      {place}, rank {rank}"));
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

    /// Runs pairs once and caches what the place needs.
    fn cached<B: Backend>(
        &self,
        model: &Decoder<B>,
        pairs: &[Pair],
        what: &'static str,
    ) -> Result<(Cached<B>, usize)> {
        let sizes = self.files.sizes();
        let cached = Wanted::describe_at(self.place.site, pairs, sizes, self.cache)?;
        self.report.line(format!("  caching   {what}: {cached}"));
        let (cached, n_bytes) = Cached::run(model, sizes, self.place, pairs, self.cache, what)?;
        Ok((cached.with_choices(self.choices.clone()), n_bytes))
    }

    /// Learns the direction, and says of each epoch how it went.
    fn learn<A: AutodiffBackend>(
        &self,
        model: &Decoder<A::InnerBackend>,
        [train, test]: [&Cached<A::InnerBackend>; 2],
        device: &A::Device,
    ) -> Result<Rotation<A::InnerBackend>> {
        let (rule, report) = (self.config.rule, self.report);
        let bar = report::progress("epochs", rule.epochs);
        let mut n_steps = 0;
        let mut epoch_started = Instant::now();
        let rotation = rule.learn::<A>(
            model,
            train,
            self.start(device)?,
            |epoch, losses, rotation| {
                let iia = test.iia(model, &swap_along(rotation.basis()))?;
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
        Ok(rotation)
    }
}

impl Job for Train {
    type Output = ExitCode;

    fn run<A: AutodiffBackend>(self, device: A::Device, device_name: &str) -> Result<ExitCode> {
        let started = Instant::now();
        let report = self.report;
        self.announce(device_name);
        let (model, model_sha256) = self.files.load::<A::InnerBackend>(&device, report)?;
        let (train, train_bytes) = self.cached(&model, &self.train, "train pairs")?;
        let (test, test_bytes) = self.cached(&model, &self.test, "test pairs")?;
        let seconds_caching = started.elapsed().as_secs_f64();
        report.line(format!(
            "Cached {} runs in {seconds_caching:.1} s ({:.1} MB); nothing below the site is computed again",
            2 * (self.train.len() + self.test.len()),
            (train_bytes + test_bytes) as f64 / 1e6,
        ));

        let training = Instant::now();
        let rotation = self.learn::<A>(&model, [&train, &test], &device)?;
        let seconds_training = training.elapsed().as_secs_f64();

        let learned = swap_along(rotation.basis());
        let iia = test.iia(&model, &learned)?;
        let rule = self.config.rule;
        // Never from `--init`, which may have been learned on the labels as they are.
        let noise = train.with_labels(shuffled(&train.labels, rule.seed));
        let noise = rule.learn::<A>(&model, &noise, self.random(&device)?, |_, _, _| Ok(()))?;
        let (width, rank) = (self.width, self.config.rank);
        let controls = test.controls(&model, [width, rank], rule.seed, Some(noise.basis()))?;

        let swaps = test.swaps(&model, &learned, &self.test)?;
        let probe = swaps
            .first()
            .map(|swap| swap.probe.clone())
            .context("there are no test pairs")?;
        verdict::show_examples(report, &swaps, rule.seed, self.files.tokenizer().ok());
        let found = verdict::report_scores(report, iia, &controls, rank, &swaps);

        let facts = (self.config).facts(self.place, model_sha256, (iia, controls, probe));
        let controls = facts.controls.clone();
        let basis = orthonormal(&read_floats(rotation.basis())?, width);
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

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
    Decoder, Place, Position,
    direction::{Basis, Controls, Direction, Facts, Measured, Probe, Unseen},
    question::Placed,
    train::{Rotation, orthonormal},
};

use crate::{
    baseline::{Baseline, Method},
    cached::{CacheConfig, Cached, Wanted},
    device::Job,
    direction_file::{CREATED_BY, read_bytes},
    known,
    learn::{Rule, shuffled},
    model_files::ModelFiles,
    output::{Existing, Output},
    pairs::Sets,
    report::{self, Report},
    score::{Bases, Score, swap_along, swap_whole},
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
    /// `program`, `task`.
    #[serde(skip)]
    pub kind: Option<&'static str>,
    /// Its prompts, slots in braces.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub templates: Vec<String>,
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
    /// How the direction is found.
    pub method: &'static str,
    /// Rank of the subspace.
    pub rank: usize,
    /// The rule of learning.
    #[serde(flatten)]
    pub rule: Rule,
    /// Number of pairs to learn from.
    pub train_pairs: usize,
    /// Number of pairs that progress is measured on.
    pub validation_pairs: usize,
    /// Number of pairs to score on.
    pub test_pairs: usize,
    /// Tables, or `templates`, of which training sees a part.
    pub hold_out: Vec<String>,
    /// Whether pairs are kept that the model answers wrong by itself.
    pub keep_wrong: bool,
    /// Seeds that it is learned by.
    pub seeds: u64,
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
    /// How the direction is found.
    pub method: Method,
    /// What an imported basis was in.
    pub about: String,
    /// Pairs to learn from, and to score on.
    pub sets: Sets,
    /// Where training starts, where that is no random basis; the basis itself, where it is imported.
    pub init: Option<Basis>,
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
        (iia, controls, measured, probe): (f64, Controls, Measured, Probe),
    ) -> Facts {
        let Self {
            model,
            first_token,
            token,
            task,
            variable,
            templates,
            method,
            rule,
            train_pairs,
            ..
        } = self;
        // What is computed knows no rule of learning.
        let is_learned = *method == Method::Das.name();
        Facts {
            method: (*method).to_owned(),
            model: model.clone(),
            model_sha256,
            first_token: first_token.clone(),
            place,
            token: token.clone(),
            task: task.clone(),
            variable: variable.clone(),
            templates: templates.clone(),
            train_pairs: Some(*train_pairs),
            epochs: is_learned.then_some(rule.epochs),
            lr: is_learned.then_some(rule.lr),
            seed: Some(rule.seed),
            iia,
            controls,
            measured,
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
            measured,
            probe,
            ..
        } = there.facts.clone();
        let found = (iia, controls, measured, probe);
        // Pairs that the model does not know are left out, and a named token is where it is in the probe.
        let position = match self.token {
            Some(_) => there.facts.place.position,
            None => place.position,
        };
        let place = Place { position, ..place };
        let facts = Facts {
            train_pairs: there.facts.train_pairs,
            ..self.facts(place, files.sha256()?, found)
        };
        Ok((facts == there.facts).then_some(bytes))
    }
}

impl Train {
    fn announce(&self, device: &str) {
        let RunConfig {
            model,
            about,
            kind,
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
            let kind = kind.unwrap_or("task");
            self.report.line(format!("  {kind:<10}{about}"));
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
        let n_pairs = self.sets.train.len();
        self.report.line(match self.method {
            Method::Das => format!(
                "  training  {n_pairs} pairs, {} epochs, batch {}, lr {:.2e}, seed {}",
                rule.epochs, rule.batch_size, rule.lr, rule.seed
            ),
            Method::Imported => format!("  imported  {}", self.about),
            method => format!("  computed  {} of {n_pairs} pairs", method.name()),
        });
    }

    /// The rotation that training starts from where no other is given.
    fn random<B: Backend>(&self, seed: u64, device: &B::Device) -> Result<Rotation<B>> {
        Ok(Rotation::random(
            self.width,
            self.config.rank,
            seed,
            device,
        )?)
    }

    /// The rotation that training starts from.
    fn start<B: Backend>(&self, device: &B::Device) -> Result<Rotation<B>> {
        match &self.init {
            Some(init) => Ok(Rotation::with_basis(init.rows(), init.rank(), device)),
            None => self.random(self.config.rule.seed, device),
        }
    }

    /// Runs pairs once and caches what the place needs; `None` where there are none.
    fn cached<B: Backend>(
        &self,
        model: &Decoder<B>,
        what: &'static str,
        pairs: &[Placed],
    ) -> Result<Option<(Cached<B>, usize)>> {
        if pairs.is_empty() {
            return Ok(None);
        }
        let sizes = self.files.sizes();
        let pairs: Vec<_> = pairs.iter().map(|placed| placed.pair.clone()).collect();
        let cached = Wanted::describe_at(self.place.site, &pairs, sizes, self.cache)?;
        self.report
            .line(format!("  caching   {what} pairs: {cached}"));
        let (cached, n_bytes) = Cached::run(model, sizes, self.place, &pairs, self.cache, what)?;
        Ok(Some((cached.with_choices(self.choices.clone()), n_bytes)))
    }

    /// Learns the direction, and says of each epoch how it went.
    fn learn<A: AutodiffBackend>(
        &self,
        model: &Decoder<A::InnerBackend>,
        train: &Cached<A::InnerBackend>,
        validation: Option<&Cached<A::InnerBackend>>,
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
                let swap = swap_along(rotation.basis());
                let iia = validation
                    .map(|pairs| pairs.iia(model, &swap))
                    .transpose()?;
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
                let iia = iia.map_or(String::new(), |iia| format!("  IIA {iia:.3}"));
                bar.set_prefix(format!("loss {loss:.4}{iia}"));
                bar.suspend(|| {
                    report.line(format!("  epoch {epoch:>3}  loss {loss:.4} nats{iia}"))
                });
                Ok(())
            },
        )?;
        bar.finish_and_clear();
        Ok(rotation)
    }
}

impl Train {
    /// IIA by each of the seeds, the first of which gave this score; none where there is one seed alone.
    fn seeds<A: AutodiffBackend>(
        &self,
        model: &Decoder<A::InnerBackend>,
        [train, test]: [&Cached<A::InnerBackend>; 2],
        first: Score,
        device: &A::Device,
    ) -> Result<Vec<f64>> {
        let rule = self.config.rule;
        if self.config.seeds < 2 {
            return Ok(Vec::new());
        }
        let mut all = vec![first.all.share()];
        for idx in 1..self.config.seeds {
            let seed = rule.seed.wrapping_add(idx);
            let start = self.random(seed, device)?;
            let rule = Rule { seed, ..rule };
            let rotation = rule.learn::<A>(model, train, start, |_, _, _| Ok(()))?;
            let iia = test.iia(model, &swap_along(rotation.basis()))?;
            self.report.line(format!("  seed {seed}: IIA {iia:.3}"));
            all.push(iia);
        }
        Ok(all)
    }
}

impl Job for Train {
    type Output = ExitCode;

    fn run<A: AutodiffBackend>(mut self, device: A::Device, device_name: &str) -> Result<ExitCode> {
        let started = Instant::now();
        let report = self.report;
        self.announce(device_name);
        let (model, model_sha256) = self.files.load::<A::InnerBackend>(&device, report)?;
        let share_known = match self.config.keep_wrong {
            true => None,
            false => {
                let (sizes, choices) = (self.files.sizes(), self.choices.as_deref());
                known::keep(&model, sizes, &mut self.sets.each_mut(), choices, report)?
            }
        };
        let is_probe = |placed: &Placed| placed.pair.base_position == placed.pair.source_position;
        let probe = self.sets.test.iter().position(is_probe).unwrap_or(0);
        let cached = |what, pairs: &[Placed]| self.cached(&model, what, pairs);
        let missing = "there are no such pairs";
        let (train, train_bytes) = cached("train", &self.sets.train)?.context(missing)?;
        let (test, test_bytes) = cached("test", &self.sets.test)?.context(missing)?;
        let (validation, validation_bytes) = cached("validation", &self.sets.validation)?.unzip();
        let (unseen, unseen_bytes) = cached("unseen", &self.sets.unseen)?.unzip();
        let n_bytes = [validation_bytes, unseen_bytes].into_iter().flatten();
        let n_bytes = n_bytes.sum::<usize>() + train_bytes + test_bytes;
        let seconds_caching = started.elapsed().as_secs_f64();
        let n_pairs = self.sets.all().count();
        report.line(format!(
            "Cached {} runs in {seconds_caching:.1} s ({:.1} MB); nothing below the site is computed again",
            2 * n_pairs,
            n_bytes as f64 / 1e6,
        ));

        let training = Instant::now();
        let (width, rank, rule) = (self.width, self.config.rank, self.config.rule);
        let of_train: Vec<_> = self
            .sets
            .train
            .iter()
            .map(|placed| placed.pair.clone())
            .collect();
        let baseline = Baseline {
            model: &model,
            cached: &train,
            pairs: &of_train,
            site: self.place.site,
            width,
        };
        let (basis, bases) = match self.method {
            Method::Das => {
                let rotation = self.learn::<A>(&model, &train, validation.as_ref(), &device)?;
                // Never from `--init`, which may have been learned on the labels as they are.
                let noise = train.with_labels(shuffled(&train.labels, rule.seed));
                let start = self.random(rule.seed, &device)?;
                let noise = rule.learn::<A>(&model, &noise, start, |_, _, _| Ok(()))?;
                let bases = Bases {
                    shuffled: Some(noise.basis()),
                    ..baseline.bases(rank)?
                };
                (rotation.basis(), bases)
            }
            Method::Imported => {
                let given = self.start::<A::InnerBackend>(&device)?;
                (given.basis(), baseline.bases(rank)?)
            }
            method => (baseline.exactly(method, rank)?, Bases::default()),
        };
        let seconds_training = training.elapsed().as_secs_f64();

        let learned = swap_along(basis.clone());
        let score = test.score(&model, &learned)?;
        let compared = test.controls(&model, [width, rank], rule.seed, &bases)?;
        let seeds = self.seeds::<A>(&model, [&train, &test], score, &device)?;
        let of_unseen = |swap| unseen.as_ref().map(|unseen| unseen.score(&model, swap));
        let unseen = of_unseen(&learned).transpose()?;
        let unseen_full = of_unseen(&swap_whole()).transpose()?;

        let of_test: Vec<_> = self
            .sets
            .test
            .iter()
            .map(|placed| placed.pair.clone())
            .collect();
        let swaps = test.swaps(&model, &learned, &of_test)?;
        let (probe, position) = (swaps[probe].probe.clone(), of_test[probe].base_position);
        verdict::show_examples(report, &swaps, rule.seed, self.files.tokenizer().ok());
        let found = verdict::report_scores(report, score, &compared, rank, &swaps);
        verdict::report_seeds(report, &seeds);
        if let Some((unseen, full)) = unseen.zip(unseen_full) {
            verdict::report_unseen(report, unseen, full, &self.config.hold_out);
        }
        // Where a name stands for a token, the place has its position in the probe.
        let place = match &self.config.token {
            Some(_) => Place {
                position: Position::Index(position),
                ..self.place
            },
            None => self.place,
        };
        let measured = Measured {
            pairs: Some(score.all.n),
            validation: validation
                .as_ref()
                .map(|pairs| pairs.iia(&model, &learned))
                .transpose()?,
            turned: score.turned(),
            known: share_known,
            unseen: unseen.zip(unseen_full).map(|(unseen, full)| Unseen {
                held_out: self.config.hold_out.clone(),
                pairs: unseen.all.n,
                iia: unseen.all.share(),
                full: full.all.share(),
            }),
            seeds,
        };
        let found_here = (score.all.share(), compared.controls(), measured, probe);
        let mut facts = self.config.facts(place, model_sha256, found_here);
        facts.train_pairs = Some(self.sets.train.len());
        let measured = facts.measured.clone();
        let basis = orthonormal(&read_floats(basis)?, width);
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
            "test_iia": score.all.share(),
            "score": score.json(),
            "controls": compared.controls(),
            "compared": compared.json(),
            "measured": measured,
            "unseen": unseen.map(Score::json),
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

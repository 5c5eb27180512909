//! Pretraining of the solver: all parameters are trained, from the initial values of `initial.rs`.
//!
//! Stages: single lines at the place of any of the eleven, then prompts of eleven lines; the answer of every line is
//! supervised. Afterwards the model is stored in f16, read back, and scored on lines that it was never trained on.

pub mod bpe;
mod initial;
mod lines;
mod settings;

use std::{collections::HashMap, process::ExitCode, time::Instant};

use anyhow::{Context, Result, bail};
use burn::{
    grad_clipping::GradientClippingConfig,
    module::AutodiffModule,
    optim::{AdamWConfig, GradientsParams, Optimizer},
    tensor::backend::{AutodiffBackend, Backend},
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use swivel_core::{
    Config, Decoder, Precision, Tokenizer, Weights, ids_tensor, metric, train::cross_entropy,
};

use crate::{
    device::Job,
    interrupt,
    output::Output,
    report::{self, Report},
    tensors::{label_ids, read_floats, read_ids},
    weights,
};
pub use lines::{LINE, Lines};
use lines::{Trained, answer_logits};
pub use settings::Settings;
use settings::Stage;

/// Steps between two lines of the log.
const LOG_EVERY: usize = 100;
/// Weight of one step in the running accuracy.
const EMA: f64 = 0.03;
/// Prompts that are scored at once.
const SCORE_BATCH: usize = 100;

/// A model that is to be made.
pub struct Pretrain {
    /// What its making depends on.
    pub settings: Settings,
    /// What it learns.
    pub lines: Lines,
    /// Its config, read and as it is written.
    pub config: Config,
    /// `config.json`.
    pub config_json: serde_json::Value,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// Where it goes.
    pub outputs: Outputs,
    /// Where text goes.
    pub report: Report,
}

/// The files of the model folder.
pub struct Outputs {
    /// `config.json`.
    pub config: Output,
    /// `tokenizer.json`.
    pub tokenizer: Output,
    /// `model.safetensors`.
    pub weights: Output,
    /// The settings.
    pub settings: Output,
    /// What was said meanwhile.
    pub log: Output,
}

/// Text that goes to people and into the log.
struct Log {
    report: Report,
    text: String,
}

impl Log {
    fn line(&mut self, line: &str) {
        self.report.line(line);
        self.text.push_str(line);
        self.text.push('\n');
    }
}

impl Pretrain {
    fn load<B: Backend>(&self, bytes: &[u8], device: &B::Device) -> Result<Decoder<B>> {
        Ok(Decoder::load(
            &self.config,
            &Weights::new(&[bytes])?,
            device,
        )?)
    }

    fn train_stage<A: AutodiffBackend>(
        &self,
        mut model: Decoder<A>,
        optimizer: &mut impl Optimizer<Decoder<A>, A>,
        stage: &Stage,
        data: (&mut ChaCha8Rng, &mut Trained),
        log: &mut Log,
        started: Instant,
    ) -> Result<Decoder<A>> {
        let (rng, trained) = data;
        let device = model.device();
        let bar = report::progress("pretraining", stage.steps);
        let mut running = 0.5;
        for step in 0..stage.steps {
            interrupt::check("no model was written")?;
            let n_slots = self.settings.n_lines();
            let batch = self.lines.batch(stage, n_slots, rng, trained);
            let logits = answer_logits(&model, &batch, stage.lines);
            let top_1 = metric::top_1(logits.clone().inner());
            let loss = cross_entropy(logits, label_ids(&batch.answers, &device));
            let gradients = GradientsParams::from_grads(loss.backward(), &model);
            model = optimizer.step(stage.learning_rate(step), model, gradients);
            running += EMA * (metric::accuracy(&read_ids(top_1)?, &batch.answers) - running);
            bar.inc(1);
            let is_done = stage.stop_at.is_some_and(|bound| running >= bound);
            if is_done || (step + 1) % LOG_EVERY == 0 || step + 1 == stage.steps {
                let loss = read_floats(loss.inner())?[0];
                if !loss.is_finite() {
                    bail!(
                        "the loss is {loss} at step {step}; lower the learning rate in the settings"
                    );
                }
                let seconds = started.elapsed().as_secs_f64();
                bar.set_prefix(format!("loss {loss:.4}  accuracy {running:.3}"));
                let line = format!(
                    "{:>2} lines  step {:>5}  loss {loss:.4} nats  accuracy {running:.4}  {seconds:>5.0} s",
                    stage.lines,
                    step + 1
                );
                bar.suspend(|| log.line(&line));
                let event = json!({ "lines": stage.lines, "step": step + 1, "loss": loss, "accuracy": running, "seconds": seconds });
                self.report.event(&event);
            }
            if is_done {
                break;
            }
        }
        bar.finish_and_clear();
        Ok(model)
    }

    /// Accuracy on prompts with this many demonstrations whose queries were never trained on.
    fn score<B: Backend>(
        &self,
        model: &Decoder<B>,
        shots: usize,
        trained: &Trained,
    ) -> Result<f64> {
        let device = model.device();
        let n_all = self.settings.test_prompts;
        let mut rng = ChaCha8Rng::seed_from_u64(!self.settings.seed.wrapping_add(shots as u64));
        let (mut top_1, mut answers) = (Vec::new(), Vec::new());
        while answers.len() < n_all {
            interrupt::check("no model was written")?;
            let n_prompts = SCORE_BATCH.min(n_all - answers.len());
            let (prompts, expected) = self.lines.held_out(n_prompts, shots, &mut rng, trained);
            answers.extend(expected);
            let logits = model.forward(ids_tensor(&prompts, &device), &mut ());
            let [_, pos, _] = logits.dims();
            top_1.extend(read_ids(metric::top_1(
                logits.narrow(1, pos - 1, 1).squeeze_dim(1),
            ))?);
        }
        Ok(metric::accuracy(&top_1, &answers))
    }
}

impl Job for Pretrain {
    type Output = ExitCode;

    fn run<A: AutodiffBackend>(self, device: A::Device, device_name: &str) -> Result<ExitCode> {
        let started = Instant::now();
        let mut log = Log {
            report: self.report,
            text: String::new(),
        };
        let Settings {
            seed,
            optimizer,
            stages,
            test_prompts,
            at_least,
            ..
        } = &self.settings;
        let mut rng = ChaCha8Rng::seed_from_u64(*seed);
        let tensors = initial::values(&self.config.sizes, &self.settings, &mut rng);
        let n_parameters: usize = tensors.values().map(|(_, values)| values.len()).sum();
        let Lines { program, lexicon } = &self.lines;
        log.line(&format!("Program {}: {program}", program.id));
        log.line(&format!(
            "{} words, {} of them in synonym pairs; {} tokens; {n_parameters} parameters; seed {seed}; on {device_name}",
            lexicon.words.len(),
            lexicon.words.paired().len(),
            self.config.sizes.d_vocab
        ));

        let mut model: Decoder<A> =
            self.load(&weights::to_checkpoint(&tensors, Precision::F32)?, &device)?;
        let [beta_1, beta_2] = optimizer.betas;
        let mut adam = AdamWConfig::new()
            .with_beta_1(beta_1)
            .with_beta_2(beta_2)
            .with_epsilon(optimizer.epsilon)
            .with_weight_decay(optimizer.weight_decay)
            .with_grad_clipping(Some(GradientClippingConfig::Norm(optimizer.clip_norm)))
            .init::<A, Decoder<A>>();
        let mut trained = Trained::new();
        for stage in stages {
            model = self.train_stage(
                model,
                &mut adam,
                stage,
                (&mut rng, &mut trained),
                &mut log,
                started,
            )?;
        }

        // What is scored is what is stored.
        let bytes = weights::to_checkpoint(&weights::parameters(&model.valid())?, Precision::F16)?;
        let stored: Decoder<A::InnerBackend> = self.load(&bytes, &device)?;
        let bounds: HashMap<usize, f64> = at_least.iter().copied().collect();
        let mut is_good = true;
        for shots in 0..self.settings.n_lines() {
            let accuracy = self.score(&stored, shots, &trained)?;
            let bound = bounds.get(&shots);
            let is_met = bound.is_none_or(|bound| accuracy >= *bound);
            is_good &= is_met;
            let target = bound.map_or(String::new(), |bound| {
                format!("  target {bound}{}", if is_met { "" } else { "  MISSED" })
            });
            log.line(&format!("{shots:>2} demonstrations: accuracy {accuracy:.4} on {test_prompts} held-out prompts{target}"));
            self.report
                .event(&json!({ "shots": shots, "accuracy": accuracy, "prompts": test_prompts }));
        }
        log.line(&format!(
            "{} bytes of weights (f16), {:.0} s",
            bytes.len(),
            started.elapsed().as_secs_f64()
        ));

        let Outputs {
            config,
            tokenizer,
            weights,
            settings,
            log: log_file,
        } = self.outputs;
        let pretty = |value| serde_json::to_string_pretty(&value).context("writing JSON");
        config.finish(pretty(self.config_json)?.as_bytes())?;
        tokenizer.finish(self.tokenizer.to_json()?.as_bytes())?;
        settings.finish(pretty(json!(self.settings))?.as_bytes())?;
        log_file.finish(log.text.as_bytes())?;
        let file = weights.finish(&bytes)?;
        self.report.line(format!("Wrote {}", file.display()));
        self.report.event(&json!({ "event": "done", "file": file, "bytes": bytes.len(), "seconds": started.elapsed().as_secs_f64() }));
        Ok(if is_good {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(1)
        })
    }
}

//! `pretrain`: makes the solver, a small GPT-2 that computes one program, from nothing.
//!
//! All parameters are trained, from the initial values of `initial.rs`.
//! Stages: single lines at the place of any of the eleven, then prompts of eleven lines; the answer of every line is
//! supervised. Afterwards the model is stored in f16, read back, and scored on lines that it was never trained on.

mod initial;
mod settings;

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    process::ExitCode,
    time::Instant,
};

use anyhow::{Context, Result, bail};
use burn::{
    grad_clipping::GradientClippingConfig,
    module::AutodiffModule,
    optim::{AdamWConfig, GradientsParams, Optimizer},
    tensor::{
        Int, Tensor, TensorData,
        backend::{AutodiffBackend, Backend},
    },
};
use clap::Args as ClapArgs;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use swivel_core::{
    Gpt2, Gpt2Config, Tokenizer, Weights, metric,
    task::programs::{self, Lexicon, P_OPS, Program, Words},
    train::cross_entropy,
};

use super::{ForceArgs, ReportArgs, examples, heading, read_text};
use crate::{
    bpe,
    device::{self, DeviceChoice, Job},
    interrupt,
    kept::{ids_tensor, label_ids},
    output::Output,
    readout::{read_floats, read_ids},
    report::{self, Report},
    weights::{self, Format},
};
use settings::{Settings, Stage};

/// Tokens of a line with its answer and the newline.
const LINE: usize = 12;
/// Place of `=` in a line: there the answer is predicted.
const EQUALS: usize = 9;
/// Steps between two lines of the log.
const LOG_EVERY: usize = 100;
/// Weight of one step in the running accuracy.
const EMA: f64 = 0.03;
/// Prompts that are scored at once.
const SCORE_BATCH: usize = 100;

/// Options of `pretrain`.
#[derive(ClapArgs, Clone, Debug)]
#[command(after_help = examples(&["swivel pretrain --out my-solver", "swivel train --model my-solver"]))]
pub struct Args {
    /// Device: auto, flex (the CPU), cuda or wgpu; cuda:1 is the second GPU
    #[arg(long, default_value_t = DeviceChoice::Auto, help_heading = heading::MODEL)]
    device: DeviceChoice,
    /// Settings, JSON [default: those of the embedded solver]
    #[arg(long, value_name = "FILE", help_heading = heading::LEARNING)]
    settings: Option<PathBuf>,
    /// Seed, in place of the settings'
    #[arg(long, help_heading = heading::LEARNING)]
    seed: Option<u64>,
    /// Folder for the model, its tokenizer and the log
    #[arg(long, value_name = "DIR", help_heading = heading::OUTPUT)]
    out: PathBuf,
    #[command(flatten)]
    force: ForceArgs,
    #[command(flatten)]
    report: ReportArgs,
}

struct Pretrain {
    settings: Settings,
    program: Program,
    config: Gpt2Config,
    tokenizer: Tokenizer,
    lexicon: Lexicon,
    outputs: Outputs,
    report: Report,
}

/// The files of the model folder.
struct Outputs {
    config: Output,
    tokenizer: Output,
    weights: Output,
    settings: Output,
    log: Output,
}

/// Runs `pretrain`.
pub fn run(args: Args) -> Result<ExitCode> {
    let Args {
        device,
        settings,
        seed,
        out,
        force,
        report,
    } = args;
    let text = match &settings {
        Some(path) => read_text(path)?,
        None => include_str!("../../../models/solver/pretrain.json").to_owned(),
    };
    let mut settings: Settings = serde_json::from_str(&text).context("reading the settings")?;
    settings.seed = seed.unwrap_or(settings.seed);

    let program = programs::program(&settings.program)?;
    let words = Words::embedded()?;
    let tokenizer = bpe::tokenizer_of(["True", "False"].into_iter().chain(words.iter()))?;
    let lexicon = Lexicon::embedded(&tokenizer)?;
    let Settings {
        n_layers,
        d_model,
        n_heads,
        n_ctx,
        ..
    } = settings;
    let config = Gpt2Config::new(n_layers, d_model, n_heads, n_ctx, tokenizer.n_tokens());
    // As strict with ourselves as with any other model.
    let config = Gpt2Config::from_json(json!(config).to_string().as_bytes())?;
    for stage in &settings.stages {
        if stage.lines == 0 || stage.lines * LINE > n_ctx || stage.batch == 0 || stage.steps == 0 {
            bail!(
                "a stage has {} lines, batch {}, {} steps; expected 1 to {} lines and the others above 0",
                stage.lines,
                stage.batch,
                stage.steps,
                n_ctx / LINE
            );
        }
    }
    if 2 * settings.init.line_frequencies.len() > config.d_head() {
        bail!(
            "{} line frequencies do not fit into heads of width {}",
            settings.init.line_frequencies.len(),
            config.d_head()
        );
    }
    let output = |name: &str| Output::create(&out.join(name), force.existing());
    let outputs = Outputs {
        config: output("config.json")?,
        tokenizer: output("tokenizer.json")?,
        weights: output("model.safetensors")?,
        settings: output("pretrain.json")?,
        log: output("pretrain.log")?,
    };
    let report = report.report();
    device::run(
        device,
        Pretrain {
            settings,
            program,
            config,
            tokenizer,
            lexicon,
            outputs,
            report,
        },
    )
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

/// A batch of prompts of one length.
struct Batch {
    ids: Vec<Vec<u32>>,
    /// Line that each prompt starts at.
    first_lines: Vec<usize>,
    /// Answers of all lines, prompt by prompt.
    answers: Vec<u32>,
}

impl Pretrain {
    fn batch(
        &self,
        stage: &Stage,
        rng: &mut ChaCha8Rng,
        trained: &mut HashSet<[usize; 5]>,
    ) -> Batch {
        let n_slots = self.settings.n_lines();
        let mut batch = Batch {
            ids: Vec::new(),
            first_lines: Vec::new(),
            answers: Vec::new(),
        };
        for _ in 0..stage.batch {
            let lines: Vec<[usize; 5]> = (0..stage.lines)
                .map(|_| {
                    self.program
                        .sample_line(&self.lexicon.words, stage.p_ops, rng)
                })
                .collect();
            trained.extend(&lines);
            batch
                .first_lines
                .push(rng.random_range(0..=n_slots - stage.lines));
            batch
                .answers
                .extend(lines.iter().map(|line| self.answer(line)));
            batch.ids.extend(
                lines
                    .split_last()
                    .map(|(query, shots)| self.lexicon.prompt(&self.program, shots, query)),
            );
        }
        batch
    }

    fn answer(&self, line: &[usize; 5]) -> u32 {
        let [.., op5] = self.program.ops(&self.lexicon.words, line);
        self.lexicon.answer(op5)
    }

    fn load<B: Backend>(&self, bytes: &[u8], device: &B::Device) -> Result<Gpt2<B>> {
        Ok(Gpt2::load(&self.config, &Weights::new(&[bytes])?, device)?)
    }

    fn train_stage<A: AutodiffBackend>(
        &self,
        mut model: Gpt2<A>,
        optimizer: &mut impl Optimizer<Gpt2<A>, A>,
        stage: &Stage,
        data: (&mut ChaCha8Rng, &mut HashSet<[usize; 5]>),
        log: &mut Log,
        started: Instant,
    ) -> Result<Gpt2<A>> {
        let (rng, trained) = data;
        let device = model.wte.weight.val().device();
        let bar = report::progress("pretraining", stage.steps);
        let mut running = 0.5;
        for step in 0..stage.steps {
            interrupt::check("no model was written")?;
            let batch = self.batch(stage, rng, trained);
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
        model: &Gpt2<B>,
        shots: usize,
        trained: &HashSet<[usize; 5]>,
    ) -> Result<f64> {
        let device = model.wte.weight.val().device();
        let words = &self.lexicon.words;
        let mut rng = ChaCha8Rng::seed_from_u64(!self.settings.seed.wrapping_add(shots as u64));
        let (mut top_1, mut answers) = (Vec::new(), Vec::new());
        while answers.len() < self.settings.test_prompts {
            interrupt::check("no model was written")?;
            let mut prompts = Vec::new();
            let n_prompts = SCORE_BATCH.min(self.settings.test_prompts - answers.len());
            while prompts.len() < n_prompts {
                let query = self.program.sample_line(words, P_OPS, &mut rng);
                if trained.contains(&query) {
                    continue;
                }
                let demonstrations: Vec<[usize; 5]> = (0..shots)
                    .map(|_| self.program.sample_line(words, P_OPS, &mut rng))
                    .collect();
                prompts.push(self.lexicon.prompt(&self.program, &demonstrations, &query));
                answers.push(self.answer(&query));
            }
            let logits = model.forward(
                ids_tensor(prompts.iter().map(Vec::as_slice), &device),
                &mut (),
            );
            let [_, pos, _] = logits.dims();
            top_1.extend(read_ids(metric::top_1(
                logits.narrow(1, pos - 1, 1).squeeze_dim(1),
            ))?);
        }
        Ok(metric::accuracy(&top_1, &answers))
    }
}

/// Logits at the `=` of every line.
///
/// # Shapes
/// - result: `[batch * lines, d_vocab]`
fn answer_logits<B: Backend>(model: &Gpt2<B>, batch: &Batch, lines: usize) -> Tensor<B, 2> {
    let device = model.wte.weight.val().device();
    let ids = ids_tensor::<B>(batch.ids.iter().map(Vec::as_slice), &device);
    let [n_rows, pos] = ids.dims();
    let positions: Vec<i64> = batch
        .first_lines
        .iter()
        .flat_map(|line| (0..pos).map(move |position| (line * LINE + position) as i64))
        .collect();
    let positions =
        Tensor::<B, 2, Int>::from_data(TensorData::new(positions, [n_rows, pos]), &device);
    let mut x = model.wte.forward(ids) + model.wpe.forward(positions); // [batch, pos, d_model]
    for (l, block) in model.h.iter().enumerate() {
        x = block.forward(x, None, l, &mut ());
    }
    let equals: Vec<i64> = (0..lines)
        .map(|line| (line * LINE + EQUALS) as i64)
        .collect();
    let x = x.select(
        1,
        Tensor::from_data(TensorData::new(equals, [lines]), &device),
    ); // [batch, lines, d_model]
    let logits = model.unembed(x, &mut ()); // [batch, lines, d_vocab]
    let d_vocab = logits.dims()[2];
    logits.reshape([n_rows * lines, d_vocab])
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
        let tensors = initial::values(&self.config, &self.settings, &mut rng);
        let n_parameters: usize = tensors.values().map(|(_, values)| values.len()).sum();
        log.line(&format!("Program {}: {}", self.program.id, self.program));
        log.line(&format!(
            "{} words, {} of them in synonym pairs; {} tokens; {n_parameters} parameters; seed {seed}; on {device_name}",
            self.lexicon.words.len(),
            self.lexicon.words.paired().len(),
            self.config.d_vocab
        ));

        let mut model: Gpt2<A> =
            self.load(&weights::to_checkpoint(&tensors, Format::F32)?, &device)?;
        let [beta_1, beta_2] = optimizer.betas;
        let mut adam = AdamWConfig::new()
            .with_beta_1(beta_1)
            .with_beta_2(beta_2)
            .with_epsilon(optimizer.epsilon)
            .with_weight_decay(optimizer.weight_decay)
            .with_grad_clipping(Some(GradientClippingConfig::Norm(optimizer.clip_norm)))
            .init::<A, Gpt2<A>>();
        let mut trained = HashSet::new();
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
        let bytes = weights::to_checkpoint(&weights::parameters(&model.valid())?, Format::F16)?;
        let stored: Gpt2<A::InnerBackend> = self.load(&bytes, &device)?;
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
        config.finish(pretty(json!(self.config))?.as_bytes())?;
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

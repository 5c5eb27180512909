//! `generate`: lets a model go on with prompts, by itself and under the interventions of a plan.

use std::{path::PathBuf, process::ExitCode, time::Instant};

use anyhow::{Result, bail};
use burn::tensor::backend::AutodiffBackend;
use clap::{
    Args as ClapArgs,
    builder::{PossibleValuesParser, TypedValueParser},
};
use futures_executor::block_on;
use serde_json::json;
use swivel_core::{
    Config, Tokenizer,
    generate::{Acts, Draws, Sampling, likeliest},
};
use swivel_engine::{Engine, Limits};

use super::options::{Common, ReportArgs, check_counts, examples, heading};
use crate::{
    device::{self, Job},
    interrupt,
    plan_file::PlanFile,
    probe::LearnedOn,
    readout::tail,
    report::{self, Report},
    tensors::read_floats,
};

/// Tokens that a program is told of each step, likeliest first.
const SHOWN: usize = 5;

/// Options of `generate`.
#[derive(ClapArgs, Clone, Debug)]
#[command(after_help = examples(&[
    "swivel generate --plan plan.json --tokens 40",
    "swivel generate \"Once upon a time\" --model HuggingFaceTB/SmolLM2-135M",
    "swivel generate --plan plan.json --acts every --temperature 0.8 --top-p 0.95 --seed 3",
]))]
pub struct Args {
    /// Text to go on with, without interventions
    #[arg(required_unless_present = "plan", conflicts_with = "plan")]
    prompt: Option<String>,
    /// Plan file, JSON: its base prompts go on, by themselves and under its interventions
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// Tokens that are generated behind each prompt
    #[arg(long, default_value_t = 40, value_name = "N")]
    tokens: usize,
    /// Where the interventions act: in the prompt as the plan says, at each new token, or at every token
    #[arg(long, default_value = "prompt", value_parser = acts())]
    acts: Acts,
    /// Divides the logits; 0 takes the likeliest token, 1 draws tokens as often as the model finds them likely
    #[arg(
        long,
        default_value_t = 0.0,
        value_name = "T",
        allow_negative_numbers = true
    )]
    temperature: f32,
    /// Draw among so many of the likeliest tokens
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,
    /// Draw among the likeliest tokens that have this probability together
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    top_p: Option<f32>,
    /// Of the draws; both runs of a prompt draw alike
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    common: Common,
    /// Accept a direction that was learned on another model, with a warning
    #[arg(long, help_heading = heading::MODEL)]
    any_model: bool,
    #[command(flatten)]
    report: ReportArgs,
}

/// Parses where interventions act.
fn acts() -> impl TypedValueParser<Value = Acts> {
    let names = PossibleValuesParser::new(Acts::ALL.map(|row| row.1));
    names.try_map(|name| Acts::of_name(&name).ok_or("no such place"))
}

struct Generate {
    file: PlanFile,
    learned_on: Vec<LearnedOn>,
    any_model: bool,
    n_new: usize,
    acts: Acts,
    sampling: Sampling,
    seed: u64,
    report: Report,
}

/// Runs `generate`.
pub fn run(args: Args) -> Result<ExitCode> {
    let Args {
        prompt,
        plan,
        tokens,
        acts,
        temperature,
        top_k,
        top_p,
        seed,
        common,
        any_model,
        report,
    } = args;
    check_counts(&[("--tokens", tokens)])?;
    let sampling = Sampling::new(temperature, top_k, top_p)?;
    if temperature == 0.0 && (top_k.is_some() || top_p.is_some()) {
        bail!("--top-k and --top-p are for draws; add --temperature 1");
    }
    let files = common.open()?;
    let file = match (plan, prompt) {
        (Some(plan), _) => PlanFile::open(plan, files)?,
        (None, prompt) => PlanFile::of_prompt(&prompt.unwrap_or_default(), files)?,
    };
    let report = report.report();
    let learned_on = file.learned_on(report)?;
    let longest = file.checked.base()[0].len();
    let n_ctx = file.files.sizes().n_ctx;
    if longest + tokens > n_ctx {
        report.warn(format!(
            "the model reads {n_ctx} tokens: the text ends after {} new ones",
            n_ctx - longest
        ));
    }
    device::run(
        common.device,
        Generate {
            file,
            learned_on,
            any_model,
            n_new: tokens,
            acts,
            sampling,
            seed,
            report,
        },
    )
}

/// A text that grows.
struct Text {
    new: Vec<u32>,
    has_ended: bool,
}

impl Job for Generate {
    type Output = ExitCode;

    fn run<A: AutodiffBackend>(self, device: A::Device, device_name: &str) -> Result<ExitCode> {
        let Self {
            file,
            learned_on,
            any_model,
            n_new,
            acts,
            sampling,
            seed,
            report,
        } = self;
        let words = file.in_words();
        let model = file.load::<A::InnerBackend>(&learned_on, any_model, &device, report)?;
        let PlanFile { checked, files, .. } = file;
        let n_prompts = checked.base().len();
        let tokenizer = files.tokenizer().ok();
        report.line(format!(
            "Going on with {n_prompts} prompt{} by {n_new} tokens, model {}, on {device_name}",
            if n_prompts == 1 { "" } else { "s" },
            files.name
        ));
        let has_interventions = checked.sites().next().is_some();
        for line in words.iter().filter(|_| has_interventions) {
            report.line(format!("  {line}"));
        }
        let in_words = match acts {
            Acts::Prompt => None,
            Acts::New => Some("at each new token, and not in the prompt"),
            Acts::Every => Some("at every token, of the prompt and new"),
        };
        if let Some(place) = in_words.filter(|_| has_interventions) {
            report.line(format!("  interventions act {place}"));
        }
        let limits = Limits {
            n_runs: usize::MAX,
            n_bytes: usize::MAX,
        };
        let mut engine = Engine::new(files.sizes().clone(), model, limits);
        let mut generator = block_on(engine.begin(0, &checked, acts, &async || true))?;
        let seeds = (0..n_prompts as u64).map(|row| seed.wrapping_add(row));
        let mut draws: Vec<Draws> = seeds.map(Draws::new).collect();
        let mut texts: Vec<Text> = (0..generator.n_rows())
            .map(|_| Text {
                new: Vec::new(),
                has_ended: false,
            })
            .collect();
        let bar = report::progress("generating", n_new);
        let started = Instant::now();
        let mut n_steps = 0;
        while n_steps < n_new && texts.iter().any(|text| !text.has_ended) {
            interrupt::check("nothing is kept of a text")?;
            if n_steps > 0 {
                if generator.room() == 0 {
                    break;
                }
                let last = texts.iter().filter_map(|text| text.new.last().copied());
                let last: Vec<u32> = last.collect();
                generator.step(engine.model(), &last)?;
            }
            let logits = read_floats(generator.logits(engine.model()))?;
            let random: Vec<f64> = draws.iter_mut().map(Draws::draw).collect();
            let rows = logits.chunks(files.sizes().d_vocab);
            for (row, (text, logits)) in texts.iter_mut().zip(rows).enumerate() {
                let token = sampling.choose(logits, random[row % n_prompts]);
                text.new.push(token);
                if text.has_ended {
                    continue;
                }
                text.has_ended = files.config.end_tokens.contains(&token);
                report.event(&json!({
                    "row": row % n_prompts,
                    "run": run_name(row / n_prompts),
                    "token": token,
                    "text": tokenizer.map(|tokenizer| tokenizer.decode(&[token])),
                    "top": likeliest(logits, SHOWN, 1.0),
                }));
            }
            n_steps += 1;
            bar.inc(1);
        }
        bar.finish_and_clear();
        let seconds = started.elapsed().as_secs_f64();
        for (idx, prompt) in checked.base().iter().enumerate() {
            report.line(format!("row {idx}  {}", tail(tokenizer, prompt)));
            for (row, text) in texts.iter().enumerate().skip(idx).step_by(n_prompts) {
                let name = run_name(row / n_prompts);
                report.line(format!(
                    "  {name:<7} {}",
                    shown(text, &files.config, tokenizer)
                ));
            }
        }
        let rate = n_steps as f64 / seconds;
        report.line(format!(
            "{n_steps} tokens in {seconds:.1} s, {rate:.1} a second"
        ));
        report.event(&json!({
            "rows": n_prompts,
            "tokens": n_steps,
            "seconds": seconds,
            "device": device_name,
        }));
        Ok(ExitCode::SUCCESS)
    }
}

fn run_name(run: usize) -> &'static str {
    match run {
        0 => "before",
        _ => "after",
    }
}

/// A text without what came after its end, its lines below each other.
fn shown(text: &Text, config: &Config, tokenizer: Option<&Tokenizer>) -> String {
    let is_end = |token: &u32| config.end_tokens.contains(token);
    let end = text.new.iter().position(is_end);
    let own = &text.new[..end.unwrap_or(text.new.len())];
    let written = match tokenizer {
        Some(tokenizer) => tokenizer.decode(own),
        None => format!("{own:?}"),
    };
    let end = match end {
        Some(_) => " (the end)",
        None => "",
    };
    written.replace('\n', "\n          ") + end
}

//! `apply`: runs a plan and shows the answers before and after.

use std::{path::PathBuf, process::ExitCode, time::Instant};

use anyhow::{Result, bail};
use burn::tensor::{
    Tensor,
    backend::{AutodiffBackend, Backend},
};
use clap::Args as ClapArgs;
use futures_executor::block_on;
use serde_json::json;
use swivel_core::{
    Precision,
    metric::{Divergence, Reading},
    plan::{CheckedPlan, Record},
};
use swivel_engine::{Engine, Limits, Logits};

use super::options::{Common, ForceArgs, ReportArgs, examples, heading};
use crate::{
    device::{self, Job},
    file_name::{file_at, stem},
    interrupt,
    output::Output,
    plan_file::PlanFile,
    probe::LearnedOn,
    readout::{Candidate, candidates, describe_top, tail},
    report::Report,
    tensors::read_floats,
    weights::{self, NamedTensors},
};

/// Tokens that are shown of a row, likeliest first.
const SHOWN: usize = 5;

/// Options of `apply`.
#[derive(ClapArgs, Clone, Debug)]
#[command(after_help = examples(&[
    "swivel apply plan.json --out logits.safetensors",
    "swivel apply plan.json --compare other.json",
]))]
pub struct Args {
    /// Plan file, JSON
    plan: PathBuf,
    #[command(flatten)]
    common: Common,
    /// Accept a direction that was learned on another model, with a warning
    #[arg(long, help_heading = heading::MODEL)]
    any_model: bool,
    /// Where logits and values go, safetensors: logits.base, logits.intervened, record.N of the sites that the plan records,
    /// collected.N of its interventions that collect; in a folder that is there, PLAN.safetensors
    #[arg(long, value_name = "FILE|DIR", help_heading = heading::OUTPUT)]
    out: Option<PathBuf>,
    /// Another plan of as many prompts, whose answers are shown beside those of the first, and how far they are apart
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    #[command(flatten)]
    force: ForceArgs,
    #[command(flatten)]
    report: ReportArgs,
}

struct Apply {
    file: PlanFile,
    learned_on: Vec<LearnedOn>,
    /// What it is compared with.
    other: Option<(PlanFile, Vec<LearnedOn>)>,
    /// Whether directions of other models are accepted.
    any_model: bool,
    output: Option<Output>,
    report: Report,
}

/// Runs `apply`.
pub fn run(args: Args) -> Result<ExitCode> {
    let Args {
        plan,
        common,
        any_model,
        out,
        compare,
        force,
        report,
    } = args;
    let file = PlanFile::open(plan, common.open()?)?;
    let report = report.report();
    let learned_on = file.learned_on(report)?;
    let other = match compare {
        None => None,
        Some(path) => {
            let other = PlanFile::open(path, common.open()?)?;
            let [own, found] = [&file, &other].map(|file| file.checked.base().len());
            if own != found {
                bail!(
                    "{} has {found} base prompts; expected {own}, as in {}",
                    other.path.display(),
                    file.path.display()
                );
            }
            let learned_on = other.learned_on(report)?;
            Some((other, learned_on))
        }
    };
    let out = out.map(|out| file_at(out, &(stem(&file.path) + ".safetensors")));
    let output = out.map(|out| Output::create(&out, force.existing()));
    let output = output.transpose()?;
    device::run(
        common.device,
        Apply {
            file,
            learned_on,
            other,
            any_model,
            output,
            report,
        },
    )
}

impl Job for Apply {
    type Output = ExitCode;

    fn run<A: AutodiffBackend>(self, device: A::Device, device_name: &str) -> Result<ExitCode> {
        let started = Instant::now();
        let Self {
            file,
            learned_on,
            other,
            any_model,
            output,
            report,
        } = self;
        let words = file.in_words();
        let model = file.load::<A::InnerBackend>(&learned_on, any_model, &device, report)?;
        if let Some((other, learned_on)) = &other {
            other.check_directions(&model, learned_on, any_model, report)?;
        }
        let PlanFile {
            path,
            checked,
            files,
            ..
        } = file;
        let (n_rows, n_tokens) = (checked.base().len(), checked.base()[0].len());
        report.line(format!(
            "Applying {} to {} of {n_tokens} tokens, model {}, on {device_name}",
            path.display(),
            if n_rows == 1 {
                "1 row".to_owned()
            } else {
                format!("{n_rows} rows")
            },
            files.name
        ));
        for line in words {
            report.line(format!("  {line}"));
        }
        interrupt::check("nothing was run")?;
        // One plan, once: nothing that is cached may go.
        let limits = Limits {
            n_runs: usize::MAX,
            n_bytes: usize::MAX,
        };
        let mut engine = Engine::new(files.sizes().clone(), model, limits);
        // Logits of all tokens are for a file.
        let wanted = match output {
            Some(_) => Logits::All,
            None => Logits::Last,
        };
        let outcome = block_on(engine.outcome(0, &checked, wanted, &async || true))?;
        let others = match &other {
            None => None,
            Some((other, _)) => {
                report.line(format!("  beside {}", other.path.display()));
                for line in other.in_words() {
                    report.line(format!("    {line}"));
                }
                let found = engine.outcome(0, &other.checked, Logits::Last, &async || true);
                let found = last(&block_on(found)?.intervened);
                let own = last(&outcome.intervened);
                let reading = Reading::of(found.clone(), 0, SHOWN);
                let apart = apart(own, found, reading.log_sum())?;
                Some((candidates(&reading)?, apart))
            }
        };
        let before = last_position(&outcome.base)?;
        let after = last_position(&outcome.intervened)?;
        let tokenizer = files.tokenizer().ok();
        for (row, (before, after)) in before.iter().zip(&after).enumerate() {
            let is_flipped = before[0].token != after[0].token;
            report.line(format!(
                "row {row}  {}\n  before  {}\n  after   {}  {}",
                tail(tokenizer, &checked.base()[row]),
                describe_top(tokenizer, before),
                describe_top(tokenizer, after),
                if is_flipped { "FLIPPED" } else { "kept" }
            ));
            if after.iter().any(|candidate| !candidate.logit.is_finite()) {
                report.warn(format!(
                    "row {row}: the intervened logits are not finite numbers"
                ));
            }
            let mut event =
                json!({ "row": row, "before": before, "after": after, "flipped": is_flipped });
            if let Some((others, apart)) = &others {
                let (other, [kl, largest]) = (&others[row], apart[row]);
                report.line(format!(
                    "  other   {}  KL {kl:.4} nats from it, logits {largest:.4} apart at most",
                    describe_top(tokenizer, other)
                ));
                event["other"] = json!(other);
                event["kl"] = json!(kl);
                event["largest_difference"] = json!(largest);
            }
            report.event(&event);
        }
        let records = named_records(&checked, outcome.records)?;
        for (name, (shape, values)) in records.iter().filter(|(name, _)| name.starts_with(COLLECT))
        {
            let size = values
                .iter()
                .map(|value| f64::from(*value).powi(2))
                .sum::<f64>();
            let size = (size / values.len() as f64).sqrt();
            let shape: Vec<String> = shape.iter().map(ToString::to_string).collect();
            report.line(format!(
                "{name}  {} values, root mean square {size:.4}{}",
                shape.join(" x "),
                if output.is_none() {
                    "; --out keeps them"
                } else {
                    ""
                }
            ));
            report.event(&json!({ "collected": name, "shape": shape, "root_mean_square": size }));
        }
        let file = match output {
            None => None,
            Some(output) => {
                interrupt::check("nothing was written")?;
                let mut tensors = records;
                tensors.insert("logits.base".to_owned(), read(outcome.base)?);
                tensors.insert("logits.intervened".to_owned(), read(outcome.intervened)?);
                Some(output.finish(&weights::to_safetensors("", &tensors, Precision::F32)?)?)
            }
        };
        if let Some(file) = &file {
            report.line(format!("Wrote {}", file.display()));
        }
        report.event(&json!({
            "rows": n_rows,
            "tokens": n_tokens,
            "file": file,
            "seconds": started.elapsed().as_secs_f64(),
            "device": device_name,
        }));
        Ok(ExitCode::SUCCESS)
    }
}

/// The likeliest tokens after the last position of every row.
fn last_position<B: Backend>(logits: &Tensor<B, 3>) -> Result<Vec<Vec<Candidate>>> {
    candidates(&Reading::of(last(logits), 0, SHOWN))
}

/// # Shapes
/// - `logits`: `[rows, pos, d_vocab]`; result: those of the last position, `[rows, d_vocab]`
fn last<B: Backend>(logits: &Tensor<B, 3>) -> Tensor<B, 2> {
    let pos = logits.dims()[1];
    logits.clone().narrow(1, pos - 1, 1).squeeze_dim(1)
}

/// Of each row, the KL divergence of the second answer from the first, nats, and the largest difference of a logit; `log_sum` is that of
/// the second's logits, `[rows, 1]`.
fn apart<B: Backend>(
    own: Tensor<B, 2>,
    other: Tensor<B, 2>,
    log_sum: Tensor<B, 2>,
) -> Result<Vec<[f64; 2]>> {
    let largest = read_floats((own.clone() - other.clone()).abs().max_dim(1))?;
    let kl = Divergence::of(own, other.unsqueeze_dim(1)).kl(log_sum);
    let rows = read_floats(kl)?.into_iter().zip(largest);
    Ok(rows
        .map(|row| [f64::from(row.0), f64::from(row.1)])
        .collect())
}

/// What names of collected values begin with.
const COLLECT: &str = "collected.";

/// What a plan records and collects, by name.
fn named_records<B: Backend>(
    checked: &CheckedPlan,
    records: Vec<Record<B>>,
) -> Result<NamedTensors> {
    let n_collected = checked.collecting().count();
    let recorded = (0..records.len() - n_collected).map(|idx| format!("record.{idx}"));
    let collected = checked.collecting().map(|idx| format!("{COLLECT}{idx}"));
    let names = recorded.chain(collected);
    let named = names.zip(records).map(|(name, record)| {
        let value = match record {
            Record::Positions(value) => read(value)?,
            Record::Heads(value) => read(value)?,
        };
        Ok((name, value))
    });
    named.collect()
}

/// Shape and values.
fn read<B: Backend, const D: usize>(x: Tensor<B, D>) -> Result<(Vec<usize>, Vec<f32>)> {
    Ok((x.dims().to_vec(), read_floats(x)?))
}

//! `check`: whether a model knows what a task asks.

use std::{path::PathBuf, process::ExitCode, time::Instant};

use anyhow::{Result, bail};
use burn::tensor::backend::AutodiffBackend;
use clap::Args as ClapArgs;
use serde_json::json;
use swivel_core::question::{AskedPrompt, Asker, Labels, Task};

use super::options::{Common, ForceArgs, ReportArgs, check_counts, examples, heading};
use crate::{
    device::{self, Job},
    file_name::short_name,
    knowledge::Knowledge,
    model_files::ModelFiles,
    output::Output,
    question,
    report::Report,
};

/// Options of `check`.
#[derive(ClapArgs, Clone, Debug)]
#[command(after_help = examples(&["swivel check --task agreement --model target/real/gemma3.gguf"]))]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Task: agreement, agreement-distractor, capitals, gender, ioi, or a task file
    #[arg(long, value_name = "NAME|FILE", help_heading = heading::QUESTION)]
    task: String,
    /// Prompts to ask, at most
    #[arg(long, default_value_t = 200, help_heading = heading::QUESTION)]
    prompts: usize,
    /// Seed of the prompts
    #[arg(long, default_value_t = 0, help_heading = heading::QUESTION)]
    seed: u64,
    /// Write a picture of what it knows, an SVG
    #[arg(long, value_name = "FILE", help_heading = heading::OUTPUT)]
    out: Option<PathBuf>,
    #[command(flatten)]
    force: ForceArgs,
    /// Exit with status 1 if the share that is right is lower than this, from 0 to 1
    #[arg(long, value_name = "SHARE", help_heading = heading::OUTPUT)]
    at_least: Option<f64>,
    #[command(flatten)]
    report: ReportArgs,
}

struct Check {
    files: ModelFiles,
    task: Task,
    labels: Labels,
    prompts: Vec<AskedPrompt>,
    picture: Option<Output>,
    at_least: Option<f64>,
    report: Report,
}

/// Runs `check`.
pub fn run(args: Args) -> Result<ExitCode> {
    let Args {
        common,
        task,
        prompts,
        seed,
        out,
        force,
        at_least,
        report,
    } = args;
    check_counts(&[("--prompts", prompts)])?;
    if let Some(share) = at_least.filter(|share| !(0.0..=1.0).contains(share)) {
        bail!("--at-least is {share}; expected a share from 0 to 1");
    }
    let task = question::open(&task)?;
    let files = common.open()?;
    let mut asker = Asker::new(&task, files.tokenizer()?)?;
    let prompts = asker.prompts(prompts, seed)?;
    let labels = asker.labels().clone();
    device::run(
        common.device,
        Check {
            files,
            labels,
            prompts,
            picture: out
                .map(|out| Output::create(&out, force.existing()))
                .transpose()?,
            at_least,
            report: report.report(),
            task,
        },
    )
}

impl Job for Check {
    type Output = ExitCode;

    fn run<A: AutodiffBackend>(self, device: A::Device, device_name: &str) -> Result<ExitCode> {
        let started = Instant::now();
        let Self {
            files,
            task,
            labels,
            prompts,
            picture,
            at_least,
            report,
        } = self;
        let (model, _) = files.load::<A::InnerBackend>(&device, report)?;
        let knowledge = Knowledge::of(&model, files.sizes(), &task, &labels, &prompts)?;
        let (n, tokenizer) = (prompts.len(), files.tokenizer()?);
        report.line(format!(
            "Does {} know {}? Asked {n} prompts",
            files.name, task.name
        ));
        knowledge.report(&task, labels.all().len(), tokenizer, report);
        if let Some(picture) = picture {
            let svg = knowledge.svg(&task, short_name(&files.name))?;
            let file = picture.finish(svg.as_bytes())?;
            report.line(format!("Wrote {}", file.display()));
        }
        let seconds = started.elapsed().as_secs_f64();
        report.line(format!("in {seconds:.1} s on {device_name}"));
        let mut event = knowledge.json(tokenizer);
        event["task"] = json!(task.name);
        event["model"] = json!(files.name);
        event["seconds"] = json!(seconds);
        event["device"] = json!(device_name);
        report.event(&event);
        Ok(
            match at_least.is_some_and(|least| knowledge.right.share() < least) {
                true => ExitCode::from(1),
                false => ExitCode::SUCCESS,
            },
        )
    }
}

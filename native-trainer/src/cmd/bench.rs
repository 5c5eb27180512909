//! `bench`: what Swivel takes for a piece of work against what a peer takes, in one run on one machine.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, bail};
use clap::Args as ClapArgs;

use super::options::ReportArgs;
use crate::{
    bench::{Job, Shape, Sides, Work},
    device::{self, DeviceChoice},
    interrupt,
};

/// Options of `bench`.
#[derive(ClapArgs, Clone, Debug)]
pub struct Args {
    /// What is timed [default: all that the model is for]
    #[arg(value_parser = Work::ALL.map(|(_, name)| name))]
    work: Vec<String>,
    /// Folder of a GPT-2 small (bench/peers/make_model.py writes a random one), the GGUF file of a real model, or for `loading`
    /// any model (bench/loading.py writes random folders)
    #[arg(long, value_name = "DIR", default_value = "bench/gpt2-random")]
    model: PathBuf,
    /// Python with the packages of bench/peers/requirements.txt; without it, our side is timed alone
    #[arg(long, value_name = "FILE")]
    python: Option<PathBuf>,
    /// Python with TransformerLens, where that is another one
    #[arg(long, value_name = "FILE")]
    python_map: Option<PathBuf>,
    /// Folder of the peers' scripts
    #[arg(long, value_name = "DIR", default_value = "bench/peers")]
    peers: PathBuf,
    /// Prompts x tokens of forward passes
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "1x18,16x18,4x130"
    )]
    shapes: Vec<Shape>,
    /// Times that each side runs, in turns
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Pairs that our side keeps and trains on where it is scaled; 800 is the tutorial's whole job
    #[arg(long, default_value_t = 128)]
    pairs: usize,
    /// Device of our side
    #[arg(long, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
    #[command(flatten)]
    report: ReportArgs,
    /// Do one job and print its figures: what each side is, in a process of its own
    #[arg(long, hide = true)]
    job: Option<String>,
}

/// Runs `bench`.
pub fn run(args: Args) -> Result<ExitCode> {
    let Args {
        work: wanted,
        model,
        python,
        python_map,
        peers,
        shapes,
        runs,
        pairs,
        device,
        report,
        job,
    } = args;
    if let Some(job) = &job {
        let job: Job = serde_json::from_str(job).context("--job")?;
        let figures = device::run(device, job)?;
        println!("{figures}");
        return Ok(ExitCode::SUCCESS);
    }
    if runs == 0 || pairs == 0 {
        bail!("--runs and --pairs must be at least 1");
    }
    let report = report.report();
    if python.is_none() {
        report.warn("no --python: our side is timed alone");
    }
    let sides = Sides {
        model,
        python_map: python_map.or(python.clone()),
        python,
        peers,
        shapes,
        runs,
        pairs,
        device,
        report,
    };
    let is_wanted = |(work, name): &(Work, &str)| match wanted.is_empty() {
        true => work.suits(&sides.model),
        false => wanted.iter().any(|work| work == name),
    };
    for (work, name) in Work::ALL.into_iter().filter(is_wanted) {
        interrupt::check("what was measured is above")?;
        report.line(format!("\n{name}"));
        work.time(&sides)?;
    }
    Ok(ExitCode::SUCCESS)
}

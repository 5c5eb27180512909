//! `bench`: what Swivel takes for a piece of work against what a peer takes, in one run on one machine.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, bail};
use clap::Args as ClapArgs;

use super::options::ReportArgs;
use crate::{
    bench::{Job, Sides, Work},
    device::{self, DeviceChoice},
    interrupt,
};

/// Options of `bench`.
#[derive(ClapArgs, Clone, Debug)]
pub struct Args {
    /// What is timed [default: all]
    #[arg(value_parser = Work::ALL.map(|(_, name)| name))]
    work: Vec<String>,
    /// Folder of a GPT-2 small, for `loading` of any model; bench/peers/make_model.py and bench/loading.py write random ones
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
        runs,
        pairs,
        device,
        report,
    };
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|work| work == name);
    for (work, name) in Work::ALL.into_iter().filter(|(_, name)| is_wanted(name)) {
        interrupt::check("what was measured is above")?;
        report.line(format!("\n{name}"));
        work.time(&sides)?;
    }
    Ok(ExitCode::SUCCESS)
}

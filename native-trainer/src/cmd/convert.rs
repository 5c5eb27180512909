//! `convert`: writes a model as a folder in Hugging Face's layout.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::Args as ClapArgs;
use serde_json::json;
use swivel_core::Precision;

use super::options::{ForceArgs, ReportArgs, examples, heading, precision};
use crate::model_files::ModelFiles;

/// Options of `convert`.
#[derive(ClapArgs, Clone, Debug)]
#[command(after_help = examples(&[
    "swivel convert smollm2.gguf --out smollm2",
    "swivel convert FOLDER --out half --dtype bf16",
]))]
pub struct Args {
    /// Model: a GGUF file, a folder in Hugging Face's layout, a Hub id, or `solver`
    model: String,
    /// Folder to write: config.json, model.safetensors, and the tokenizer's files
    #[arg(long, value_name = "DIR", help_heading = heading::OUTPUT)]
    out: PathBuf,
    /// Number format of the weights [default: each tensor's own, f32 where it is quantised]
    #[arg(long, value_name = "FORMAT", value_parser = precision(), help_heading = heading::OUTPUT)]
    dtype: Option<Precision>,
    #[command(flatten)]
    force: ForceArgs,
    #[command(flatten)]
    report: ReportArgs,
}

/// Runs `convert`.
pub fn run(args: Args) -> Result<ExitCode> {
    let Args {
        model,
        out,
        dtype,
        force,
        report,
    } = args;
    let report = report.report();
    let files = ModelFiles::open(&model)?;
    let written = files.convert(&out, dtype, force.existing(), report)?;
    let dtype = written.precision.name();
    report.line(format!(
        "Wrote {}: a {} of {} tensors, {:.1} MB in {dtype}",
        out.display(),
        files.config.family.model_type,
        written.n_tensors,
        written.n_bytes as f64 / 1e6,
    ));
    report.event(&json!({
        "folder": out,
        "model_type": files.config.family.model_type,
        "tensors": written.n_tensors,
        "bytes": written.n_bytes,
        "dtype": dtype,
    }));
    Ok(ExitCode::SUCCESS)
}

//! The two sides: each does its part in a process of its own, and prints its figures.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::NamedTempFile;

use super::{
    jobs::{Job, write_pairs},
    shape::Shape,
};
use crate::{device::DeviceChoice, report::Report};

/// How the sides are run.
pub struct Sides {
    /// Folder of the model, which both use.
    pub model: PathBuf,
    /// Python of the peers; without it, our side is timed alone.
    pub python: Option<PathBuf>,
    /// Python of the peer that makes maps.
    pub python_map: Option<PathBuf>,
    /// Folder of the peers' scripts.
    pub peers: PathBuf,
    /// Prompts of forward passes.
    pub shapes: Vec<Shape>,
    /// Times that each side runs, in turns.
    pub runs: usize,
    /// Pairs that our side keeps and trains on where it is scaled.
    pub pairs: usize,
    /// Device of our side.
    pub device: DeviceChoice,
    /// Where figures go.
    pub report: Report,
}

impl Sides {
    /// One run of our side.
    pub fn ours(&self, job: &Job) -> Result<Value> {
        self.program(&["bench", "--job", &serde_json::to_string(job)?])
    }

    /// What this program prints, given these arguments and our side's device.
    pub fn program(&self, args: &[&str]) -> Result<Value> {
        let program = std::env::current_exe().context("finding this program")?;
        let device = self.device.to_string();
        figures(Command::new(program).args(args).args(["--device", &device]))
    }

    /// One run of a peer's script; `None` without Python.
    pub fn peer(&self, script: &str, options: &[&str]) -> Result<Option<Value>> {
        let python = match script {
            "transformer_lens_map.py" => &self.python_map,
            _ => &self.python,
        };
        let Some(python) = python else {
            return Ok(None);
        };
        let mut command = Command::new(python);
        command.arg(self.peers.join(script)).args(options);
        figures(command.arg("--json")).map(Some)
    }

    /// Has a script write a file.
    pub fn write(&self, script: &str, options: &[&str]) -> Result<()> {
        let python = (self.python.as_ref()).with_context(|| format!("{script} needs --python"))?;
        output(
            Command::new(python)
                .arg(self.peers.join(script))
                .args(options),
        )
        .map(drop)
    }

    /// Writes random pairs for both sides; training takes as long on them as on any.
    pub fn pairs(&self, n_pairs: usize, n_tokens: usize) -> Result<NamedTempFile> {
        let file = tempfile::Builder::new()
            .suffix(".jsonl")
            .tempfile()
            .context("creating a temporary file")?;
        write_pairs(file.path(), n_pairs, n_tokens)?;
        Ok(file)
    }
}

/// Runs a program and reads the JSON on its last lines: one object, or several as an array.
fn figures(command: &mut Command) -> Result<Value> {
    let name = name(command);
    let text = output(command)?;
    let lines: Vec<Value> = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let cells: Vec<Value> = lines
        .iter()
        .filter(|line| line.get("library").is_some())
        .cloned()
        .collect();
    match (cells.len(), lines.last()) {
        (0 | 1, Some(last)) => Ok(last.clone()),
        (_, Some(_)) => Ok(Value::Array(cells)),
        (_, None) => bail!("{name} printed no figures"),
    }
}

/// What a program prints.
fn output(command: &mut Command) -> Result<String> {
    let name = name(command);
    let output = command
        .stderr(Stdio::piped())
        .output()
        .with_context(|| format!("starting {name}"))?;
    if !output.status.success() {
        let cause = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{name} failed: {}",
            cause.trim().lines().last().unwrap_or("it said nothing")
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn name(command: &Command) -> String {
    Path::new(command.get_program()).display().to_string()
}

/// A figure by its name.
pub fn field(figures: &Value, name: &str) -> Result<f64> {
    let value = figures.get(name).and_then(Value::as_f64);
    value.with_context(|| format!("no `{name}` in {figures}"))
}

/// The numbers of nested arrays.
pub fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(values) => values.iter().flat_map(numbers).collect(),
        value => value.as_f64().into_iter().collect(),
    }
}

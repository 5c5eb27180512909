//! `swivel serve` as the page's host.

use std::{
    env,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::server::dist;

/// The program, serving the built page; it ends when this is dropped.
#[derive(Debug)]
pub struct Program {
    process: Child,
    address: String,
    /// An empty folder of directions.
    _directions: TempDir,
}

impl Program {
    /// Starts the program that the release build left, or that `SWIVEL_PROGRAM` names, with the page in `dist` or
    /// `SWIVEL_DIST`.
    #[track_caller]
    pub fn start() -> Program {
        Self::start_with(&[])
    }

    /// The same, with these models beside the page's own.
    ///
    /// # Panics
    /// - if it was not built, or does not start
    #[track_caller]
    pub fn start_with(models: &[&Path]) -> Program {
        Self::try_start(models).unwrap_or_else(|error| panic!("{error:#}"))
    }

    fn try_start(models: &[&Path]) -> Result<Program> {
        let directions = tempfile::tempdir().context("making a folder")?;
        let program = program()?;
        let mut process = Command::new(&program)
            .args([
                "serve",
                "--no-open",
                "--json",
                "--port",
                "0",
                "--device",
                "flex",
            ])
            .arg("--page")
            .arg(dist())
            .arg("--directions")
            .arg(directions.path())
            .args(
                models
                    .iter()
                    .flat_map(|model| [Path::new("--model"), model]),
            )
            // Not the models of this machine.
            .env("HF_HUB_CACHE", directions.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let stdout = process.stdout.take().context("the program has no output")?;
        let mut line = String::new();
        BufReader::new(stdout)
            .read_line(&mut line)
            .context("reading what the program says")?;
        let event: Value = serde_json::from_str(&line).with_context(|| format!("`{line}`"))?;
        let address = event["address"].as_str().context("no address was said")?;
        Ok(Program {
            process,
            address: address.trim_end_matches('/').to_owned(),
            _directions: directions,
        })
    }

    /// Where the page is, without a slash at the end.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Ends the program, whatever it is at.
    pub fn kill(&mut self) {
        // One that has ended is what is wished.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

fn program() -> Result<PathBuf> {
    let named = env::var_os("SWIVEL_PROGRAM").map(PathBuf::from);
    let built = || {
        let own = env::current_exe().ok()?; // target/e2e/deps/browser-…
        let target = own.ancestors().nth(3)?;
        Some(
            target
                .join("release")
                .join(format!("swivel{}", env::consts::EXE_SUFFIX)),
        )
    };
    let program = named.or_else(built).context("there is no target folder")?;
    ensure!(
        Path::is_file(&program),
        "{} is missing: run `cargo build --release -p native-trainer` first, or set SWIVEL_PROGRAM",
        program.display()
    );
    Ok(program)
}

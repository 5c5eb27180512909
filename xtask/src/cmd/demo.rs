//! `cargo xtask demo`: from a fresh checkout to the page in the browser.

use std::{fs, process::ExitCode};

use anyhow::{Context, Result};

use crate::{
    cmd::{list_directions, setup},
    shell::{self, Shell},
};

/// Sets up, learns a direction if `directions` has none, and serves the web app until interrupted.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Port to serve on, at localhost
    #[arg(long, default_value_t = 8080)]
    port: u16,
}

/// Serves the web app.
///
/// # Errors
/// - if setup fails, training fails, or the app cannot be built or served
pub fn run(args: Args) -> Result<ExitCode> {
    let Args { port } = args;
    setup::everything()?;

    let directions = shell::root()?.join("directions");
    fs::create_dir_all(&directions).context("creating directions")?;
    if list_directions::names()?.is_empty() {
        eprintln!("demo: directions has no direction yet, learning one");
        Shell::new("cargo run --release -p native-trainer").run()?;
    }

    // trunk builds offline, so that it takes the tools that setup checked and downloads no others.
    Shell::new("cargo fetch --locked").run()?;
    println!("http://localhost:{port}/ (the first build takes some minutes; stop with Ctrl-C)");
    Shell::new(&format!("trunk serve --release --offline --port {port}")).run()?;
    Ok(ExitCode::SUCCESS)
}

//! `cargo xtask demo`: from a fresh checkout to the page in the browser.

use std::{process::ExitCode, time::Instant};

use anyhow::Result;

use crate::{
    cmd::page,
    shell::{self, Shell},
};

/// Builds Swivel and its page, learns a direction if `directions` has none, and serves the page until interrupted.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Port to serve on, at localhost
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Print the address and open no browser
    #[arg(long)]
    no_open: bool,
}

/// Serves the page.
///
/// # Errors
/// - if a build or training fails, or the page cannot be served
pub fn run(args: Args) -> Result<ExitCode> {
    let Args { port, no_open } = args;
    let started = Instant::now();
    eprintln!("demo: building the program, some minutes the first time");
    Shell::new("cargo build --locked --release -p native-trainer").run()?;
    eprintln!(
        "demo: building the page, some minutes the first time (the program took {:.0} s)",
        started.elapsed().as_secs_f64()
    );
    page::into("dist".as_ref())?;
    if page::learned(&shell::root()?.join("directions"))?.is_empty() {
        eprintln!("demo: there is no direction yet, learning one");
        // `cargo run` of what is built: the program then names the next command as people type it here.
        Shell::new("cargo run --quiet --locked --release -p native-trainer").run()?;
    }
    eprintln!("demo: ready after {:.0} s", started.elapsed().as_secs_f64());
    let mut serve = Shell::new(&format!(
        "cargo run --quiet --locked --release -p native-trainer -- serve --port {port}"
    ));
    if no_open {
        serve = serve.argument("--no-open");
    }
    serve.run()?;
    Ok(ExitCode::SUCCESS)
}

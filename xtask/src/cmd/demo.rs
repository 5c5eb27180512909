//! `cargo xtask demo`: from a fresh checkout to the page in the browser.

use std::{process::ExitCode, thread, time::Instant};

use anyhow::{Result, bail};

use crate::{
    cmd::{page, setup},
    shell::{self, Progress, Shell},
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
    setup::wasm_library()?;
    eprintln!(
        "demo: building the program and the page, minutes the first time; what cargo says of the page is not shown"
    );
    // Side by side, since each has long stretches in which one crate alone is compiled.
    thread::scope(|scope| {
        let page = scope.spawn(|| page::into("dist".as_ref(), Progress::IfItFails));
        Shell::new("cargo build --locked --release -p native-trainer").run()?;
        let secs = started.elapsed().as_secs_f64();
        eprintln!("demo: the program is built, after {secs:.0} s");
        page.join()
            .unwrap_or_else(|_| bail!("building the page failed; its message is above"))
    })?;
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

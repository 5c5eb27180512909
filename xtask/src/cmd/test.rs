//! `cargo xtask test`: every check of the project, in the order in which a failure is cheapest to learn.

use std::{env, fs, process::ExitCode, time::Instant};

use anyhow::{Context, Result};

use crate::{
    cmd::{
        page, real,
        setup::{self, Browser},
    },
    shell::{self, Shell},
};

/// Names the folder of real models, for tests that need them.
const REAL: &str = "SWIVEL_REAL";

/// Runs every check and stops at the first that fails.
/// The last lines list what was skipped, and why.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Leave out the GPU backends, the documentation and the web
    #[arg(long)]
    quick: bool,
}

/// How much of the list is run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    Quick,
    Full,
}

/// When a step is run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Runs {
    Always,
    /// Left out by `--quick`.
    Full,
    /// Left out by `--quick` and where trunk is missing.
    WithTrunk,
    /// Left out by `--quick` and where Chromium or chromedriver is missing.
    WithBrowser,
}

struct Step {
    label: &'static str,
    runs: Runs,
    command: Shell,
    /// What must hold when the command has succeeded.
    then: fn() -> Result<()>,
}

/// Something that did not run, and why.
struct Skip {
    name: String,
    reason: String,
}

/// Runs the checks; exit status 1 if one fails.
///
/// # Errors
/// - if the compiler's parts are missing and cannot be installed
/// - if a check cannot be started, or `tests/SKIPS.md` cannot be read
pub fn run(args: Args) -> Result<ExitCode> {
    let Args { quick } = args;
    let scope = if quick { Scope::Quick } else { Scope::Full };
    let path = shell::root()?.join("tests/SKIPS.md");
    let mut gated = gated_tests(
        &fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?,
    );
    let real = match env::var(REAL) {
        Ok(folder) => Some(folder),
        Err(_) => real::found().map(|folder| folder.display().to_string()),
    };
    if real.is_some() {
        gated.retain(|skip| !skip.reason.contains(REAL));
    }

    setup::compiler_components()?;
    let mut trunk = Err(String::new());
    let mut browser = Err(String::new());
    if scope == Scope::Full {
        setup::wasm_library()?;
        // It takes minutes to build and is for people who change the page: CI always has it.
        trunk = match env::var_os("CI") {
            Some(_) => setup::trunk().map_err(|error| format!("{error:#}")),
            None if setup::has_trunk() => Ok(()),
            None => Err("trunk is not on PATH; `cargo xtask setup` installs it".to_owned()),
        };
        browser = setup::browser().map_err(|error| format!("{error:#}"));
    }

    let mut skips = Vec::new();
    for step in steps(browser.as_ref().ok(), real.as_deref()) {
        let reason = match (step.runs, scope) {
            (Runs::Always, _) | (Runs::Full, Scope::Full) => None,
            (_, Scope::Quick) => Some("left out by --quick"),
            (Runs::WithTrunk, Scope::Full) => trunk.as_ref().err().map(String::as_str),
            (Runs::WithBrowser, Scope::Full) => browser.as_ref().err().map(String::as_str),
        };
        if let Some(reason) = reason {
            skips.push(Skip {
                name: step.label.to_owned(),
                reason: reason.to_owned(),
            });
            continue;
        }
        eprintln!("\n== {}: {}", step.label, step.command);
        let start = Instant::now();
        let result = step.command.run().and_then(|()| (step.then)());
        let secs = start.elapsed().as_secs_f64();
        if let Err(error) = result {
            eprintln!("== {}: failed after {secs:.1} s", step.label);
            eprintln!("error: {error:#}");
            return Ok(ExitCode::from(1));
        }
        eprintln!("== {}: passed in {secs:.1} s", step.label);
    }

    skips.extend(gated);
    if skips.is_empty() {
        println!("\nskipped: none");
    } else {
        println!("\nskipped:");
    }
    for Skip { name, reason } in skips {
        println!("- {name}: {reason}");
    }
    Ok(ExitCode::SUCCESS)
}

fn steps(browser: Option<&Browser>, real: Option<&str>) -> Vec<Step> {
    let step = |label, runs, line| Step {
        label,
        runs,
        command: Shell::new(line),
        then: || Ok(()),
    };
    let mut browser_tests = Shell::new("cargo test --profile e2e -p swivel-e2e");
    if let Some(Browser {
        chrome,
        chromedriver,
    }) = browser
    {
        browser_tests = browser_tests
            .variable("CHROME", chrome)
            .variable("CHROMEDRIVER", chromedriver);
    }
    let mut tests = Shell::new("cargo test --release --workspace --exclude swivel-e2e");
    if let Some(folder) = real {
        tests = tests.variable(REAL, folder);
        browser_tests = browser_tests.variable(REAL, folder);
    }
    vec![
        step("format", Runs::Always, "cargo fmt --all --check"),
        // Lints and tests share the release profile, so that burn is built for one profile only.
        step(
            "lints",
            Runs::Always,
            "cargo clippy --release --workspace --all-targets -- -D warnings",
        ),
        Step {
            command: tests,
            ..step("tests", Runs::Always, "")
        },
        step(
            "GPU backends",
            Runs::Full,
            "cargo check --release -p native-trainer --features cuda,wgpu",
        ),
        step(
            "lints of the GPU backends",
            Runs::Full,
            "cargo clippy --release -p native-trainer --features cuda,wgpu --all-targets -- -D warnings",
        ),
        step(
            "lints of the web app",
            Runs::Full,
            "cargo clippy --profile web -p swivel-web -p swivel-kernels -p swivel-bench-web --target wasm32-unknown-unknown -- -D warnings",
        ),
        Step {
            command: Shell::new(
                "cargo doc --no-deps -p swivel-core -p swivel-engine -p native-trainer --release",
            )
            .variable("RUSTDOCFLAGS", "-D warnings"),
            ..step("documentation", Runs::Full, "")
        },
        step("page", Runs::Full, "cargo xtask page"),
        Step {
            then: || page::check_same("dist".as_ref(), "target/trunk".as_ref()),
            ..step("the same page by trunk", Runs::WithTrunk, "trunk build")
        },
        step(
            "the program with the page inside",
            Runs::Full,
            "cargo test --release -p native-trainer --features page --test serve",
        ),
        // They test the page that was built above.
        Step {
            command: browser_tests,
            ..step("browser tests", Runs::WithBrowser, "")
        },
    ]
}

/// The rows of the table `test | runs when | reason`.
fn gated_tests(markdown: &str) -> Vec<Skip> {
    let rows = markdown.lines().filter(|line| line.starts_with('|'));
    // The first two rows are the heading and the line below it.
    rows.skip(2)
        .filter_map(|row| {
            let mut cells = row.trim_matches('|').split('|').map(str::trim);
            let (name, gate, reason) = (cells.next()?, cells.next()?, cells.next()?);
            Some(Skip {
                name: name.to_owned(),
                reason: format!("{reason}; runs when: {gate}"),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gated_tests_are_the_rows_below_the_heading() {
        let skips = gated_tests(
            "# Title\n\n| test | runs when | reason |\n|---|---|---|\n| a b | a GPU | none here |\n\nEnd.\n",
        );
        let [Skip { name, reason }] = skips.as_slice() else {
            panic!("expected one row, found {}", skips.len());
        };
        assert_eq!(name, "a b");
        assert_eq!(reason, "none here; runs when: a GPU");
    }
}

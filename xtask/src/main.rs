//! Swivel's chores in one place: `cargo xtask demo`, `page`, `test`, `dist`, `real` and `setup`.

mod cmd;
mod shell;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Set up, check and show Swivel.
#[derive(Parser, Debug)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Build Swivel and its page, learn a direction if there is none yet, and serve the page on this machine
    Demo(cmd::demo::Args),
    /// Build the page into `dist`, for any static host
    Page(cmd::page::Args),
    /// Check everything: format, lints, tests, GPU backends, documentation, page, browser
    Test(cmd::test::Args),
    /// Build what is given to others: one program with the page inside, a Python wheel, a folder for a static host
    Dist(cmd::dist::Args),
    /// Download two real models, SmolLM2 135M and Gemma 3 270M, which some tests need
    Real(cmd::real::Args),
    /// Install what the tests need, and nothing that is already there
    Setup(cmd::setup::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Demo(args) => cmd::demo::run(args),
        Command::Page(args) => cmd::page::run(args),
        Command::Test(args) => cmd::test::run(args),
        Command::Dist(args) => cmd::dist::run(args),
        Command::Real(args) => cmd::real::run(args),
        Command::Setup(args) => cmd::setup::run(args),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}

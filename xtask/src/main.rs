//! Swivel's chores in one place: `cargo xtask setup`, `cargo xtask test`, `cargo xtask demo`.

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
    /// Install what building and checking needs, and nothing that is already there
    Setup(cmd::setup::Args),
    /// Check everything: format, lints, tests, GPU backends, documentation, web bundle, browser
    Test(cmd::test::Args),
    /// Serve the web app on this machine, with a direction learned here if there is none yet
    Demo(cmd::demo::Args),
    /// List the learned directions for the page; trunk calls this before every build
    ListDirections(cmd::list_directions::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Setup(args) => cmd::setup::run(args),
        Command::Test(args) => cmd::test::run(args),
        Command::Demo(args) => cmd::demo::run(args),
        Command::ListDirections(args) => cmd::list_directions::run(args),
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

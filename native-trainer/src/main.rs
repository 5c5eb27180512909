//! Swivel's command line: learn directions natively, score them, share them.

mod baseline;
mod bench;
mod cached;
mod cmd;
mod comparison;
mod device;
mod direction_file;
mod file_name;
mod find;
mod input;
mod interrupt;
mod invocation;
mod knowledge;
mod known;
mod learn;
mod map;
mod memory;
mod model_files;
mod output;
mod pairs;
mod plan_file;
mod pretrain;
mod probe;
mod question;
mod readout;
mod report;
mod score;
mod serve;
mod side_by_side;
mod site;
mod tensors;
mod train;
mod vectors;
mod verdict;
mod weight_file;
mod weights;

use std::process::ExitCode;

use clap::Parser;

use cmd::Command;

/// burn-flex allocates every result anew; the system's allocator returns that memory and fetches it back, page by page.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Find where a language model keeps a decision, and turn it.
#[derive(Parser, Debug)]
#[command(name = "swivel", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Without a command: `train`.
    #[command(flatten)]
    train: cmd::train::Args,
}

fn main() -> ExitCode {
    memory::keep();
    let Cli { command, train } = Cli::parse();
    let command = command.unwrap_or(Command::Train(train));
    let result = interrupt::install().and_then(|()| command.run());
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

    use super::Cli;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}

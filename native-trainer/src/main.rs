//! Swivel's command line: learn directions natively, score them, share them.

mod bpe;
mod cmd;
mod device;
mod experiment;
mod interrupt;
mod invocation;
mod kept;
mod model_files;
mod output;
mod readout;
mod report;
mod serve;
mod side_by_side;
mod weights;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// burn-flex allocates every result anew; the system's allocator returns that memory and fetches it back, page by page.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Find where a GPT-2 keeps a decision, and turn it.
#[derive(Parser, Debug)]
#[command(name = "swivel", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Without a command: `train`.
    #[command(flatten)]
    train: cmd::train::Args,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Learn a direction and write its file (the default)
    Train(cmd::train::Args),
    /// Score a direction file on fresh pairs, with controls
    Eval(cmd::eval::Args),
    /// Make a map of places: a direction, or the effect of a swap, at each layer and position
    Sweep(cmd::sweep::Args),
    /// Put the parts of a divided map together
    Merge(cmd::merge::Args),
    /// Run a plan: interventions on given prompts, with logits before and after
    Apply(cmd::apply::Args),
    /// Write counterfactual pairs as a training data file
    Data(cmd::data::Args),
    /// Train the embedded solver model from nothing
    Pretrain(cmd::pretrain::Args),
    /// Time Swivel against its peers, in one run
    Bench(cmd::bench::Args),
    /// Say what a direction file, a map or a model folder holds, or what a plan does; take a cell out of a map
    Inspect(cmd::inspect::Args),
    /// Serve the page, models and learned directions at localhost
    Serve(cmd::serve::Args),
}

fn main() -> ExitCode {
    let Cli { command, train } = Cli::parse();
    let result =
        interrupt::install().and_then(|()| match command.unwrap_or(Command::Train(train)) {
            Command::Train(args) => cmd::train::run(args),
            Command::Eval(args) => cmd::eval::run(args),
            Command::Sweep(args) => cmd::sweep::run(args),
            Command::Merge(args) => cmd::merge::run(args),
            Command::Bench(args) => cmd::bench::run(args),
            Command::Apply(args) => cmd::apply::run(args),
            Command::Data(args) => cmd::data::run(args),
            Command::Pretrain(args) => cmd::pretrain::run(args),
            Command::Inspect(args) => cmd::inspect::run(args),
            Command::Serve(args) => cmd::serve::run(args),
        });
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

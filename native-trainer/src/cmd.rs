//! The commands: each is `Args` as typed and `run`, which turns them into values that are checked, says what it will do, and
//! does it.

mod apply;
mod bench;
mod check;
mod convert;
mod data;
mod eval;
mod find;
mod generate;
mod import;
mod inspect;
mod merge;
mod options;
mod pretrain;
mod serve;
mod span;
mod sweep;
mod task;
pub mod train;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// What the program can do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Learn a direction and write its file (the default)
    Train(train::Args),
    /// Make a vector that somebody else keeps a direction, and score it as a learned one
    Import(import::Args),
    /// Score a direction file on fresh pairs, with controls
    Eval(eval::Args),
    /// Make a map of places: a direction, or the effect of a swap, at each layer and position
    Sweep(sweep::Args),
    /// Put the parts of a divided map together
    Merge(merge::Args),
    /// Run a plan: interventions on given prompts, with logits before and after
    Apply(apply::Args),
    /// Let a model go on with a plan's prompts, by itself and under the interventions
    Generate(generate::Args),
    /// Say what a task on language asks, with pairs of prompts
    Task(task::Args),
    /// Say whether a model knows what a task asks
    Check(check::Args),
    /// From a question to a direction: what the model knows, where it keeps a variable, and what turns it there
    Find(find::Args),
    /// Write counterfactual pairs as a training data file
    Data(data::Args),
    /// Train the embedded solver model from nothing
    Pretrain(pretrain::Args),
    /// Time Swivel against its peers, in one run
    Bench(bench::Args),
    /// Write a model as a folder in Hugging Face's layout
    Convert(convert::Args),
    /// Say what a direction file, a map or a model folder holds, or what a plan does; take a cell out of a map
    Inspect(inspect::Args),
    /// Serve the page, models and learned directions at localhost
    Serve(serve::Args),
}

/// A command alone, as typed.
#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

impl Command {
    /// The command of these words, the first of which is its name.
    ///
    /// # Errors
    /// - If they are none.
    pub fn of_words(words: impl IntoIterator<Item = String>) -> Result<Self> {
        let program = std::iter::once("swivel".to_owned());
        Ok(Line::try_parse_from(program.chain(words))?.command)
    }

    /// Does it; the status is 0 if all that was to hold holds, 1 if a stated check failed.
    pub fn run(self) -> Result<ExitCode> {
        match self {
            Self::Train(args) => train::run(args),
            Self::Import(args) => import::run(args),
            Self::Eval(args) => eval::run(args),
            Self::Sweep(args) => sweep::run(args),
            Self::Merge(args) => merge::run(args),
            Self::Apply(args) => apply::run(args),
            Self::Generate(args) => generate::run(args),
            Self::Task(args) => task::run(args),
            Self::Check(args) => check::run(args),
            Self::Find(args) => find::run(args),
            Self::Data(args) => data::run(args),
            Self::Pretrain(args) => pretrain::run(args),
            Self::Bench(args) => bench::run(args),
            Self::Convert(args) => convert::run(args),
            Self::Inspect(args) => inspect::run(args),
            Self::Serve(args) => serve::run(args),
        }
    }
}

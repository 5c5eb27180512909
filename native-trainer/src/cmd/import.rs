//! `import`: makes a vector that somebody else keeps a direction, with the controls, baselines and probe of a learned one.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::Args as ClapArgs;

use super::{options::examples, train};

/// Options of `train` that say how a direction is learned.
const LEARNING: [&str; 7] = [
    "rank",
    "epochs",
    "batch_size",
    "lr",
    "init",
    "no_shuffle",
    "method",
];

/// Options of `import`: those of `train`, without how a direction is learned.
#[derive(ClapArgs, Clone, Debug)]
#[command(
    mut_args = |arg| match LEARNING.contains(&arg.get_id().as_str()) {
        true => arg.hide(true).conflicts_with("vectors"),
        false => arg,
    },
    after_help = examples(&[
        "swivel import steering.npy --layer 6 --task agreement --position noun",
        "swivel import vector.json --layer 20 --component mlp_output",
        "swivel import control.gguf --layer 12",
        "swivel import FOLDER_THAT_PYVENE_SAVED --model FOLDER --train-data pairs.jsonl --test-data other.jsonl",
    ])
)]
pub struct Args {
    /// A NumPy array (.npy) of one vector or one a row, JSON with a `vector` as Neuronpedia has it, a control vector in GGUF, or a
    /// folder that pyvene saved
    #[arg(value_name = "FILE")]
    vectors: PathBuf,
    #[command(flatten)]
    train: train::Args,
}

/// Runs `import`.
pub fn run(args: Args) -> Result<ExitCode> {
    train::import(args.vectors, args.train)
}

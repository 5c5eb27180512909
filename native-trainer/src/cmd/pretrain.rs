//! `pretrain`: makes the solver, a small GPT-2 that computes one program, from nothing.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, bail};
use clap::Args as ClapArgs;
use serde_json::json;
use swivel_core::{
    Config,
    question::programs::{self, Lexicon, Words},
};

use super::options::{ForceArgs, ReportArgs, examples, heading};
use crate::{
    device::{self, DeviceChoice},
    input::read_text,
    output::Output,
    pretrain::{LINE, Lines, Outputs, Pretrain, Settings, bpe},
};

/// Options of `pretrain`.
#[derive(ClapArgs, Clone, Debug)]
#[command(after_help = examples(&["swivel pretrain --out my-solver", "swivel train --model my-solver"]))]
pub struct Args {
    /// Device: auto, flex (the CPU), cuda or wgpu; cuda:1 is the second GPU
    #[arg(long, default_value_t = DeviceChoice::Auto, help_heading = heading::MODEL)]
    device: DeviceChoice,
    /// Settings, JSON [default: those of the embedded solver]
    #[arg(long, value_name = "FILE", help_heading = heading::LEARNING)]
    settings: Option<PathBuf>,
    /// Seed, in place of the settings'
    #[arg(long, help_heading = heading::LEARNING)]
    seed: Option<u64>,
    /// Folder for the model, its tokenizer and the log
    #[arg(long, value_name = "DIR", help_heading = heading::OUTPUT)]
    out: PathBuf,
    #[command(flatten)]
    force: ForceArgs,
    #[command(flatten)]
    report: ReportArgs,
}

/// Runs `pretrain`.
pub fn run(args: Args) -> Result<ExitCode> {
    let Args {
        device,
        settings,
        seed,
        out,
        force,
        report,
    } = args;
    let text = match &settings {
        Some(path) => read_text(path)?,
        None => include_str!("../../../models/solver/pretrain.json").to_owned(),
    };
    let mut settings: Settings = serde_json::from_str(&text).context("reading the settings")?;
    settings.seed = seed.unwrap_or(settings.seed);

    let program = programs::program(&settings.program)?;
    let words = Words::embedded()?;
    let tokenizer = bpe::tokenizer_of(["True", "False"].into_iter().chain(words.iter()))?;
    let lexicon = Lexicon::embedded(&tokenizer)?;
    let Settings {
        n_layers,
        d_model,
        n_heads,
        n_ctx,
        ..
    } = settings;
    let config_json = json!({
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "n_embd": d_model,
        "n_head": n_heads,
        "n_layer": n_layers,
        "n_positions": n_ctx,
        "vocab_size": tokenizer.n_tokens(),
        "n_inner": null,
        "layer_norm_epsilon": 1e-5,
        "activation_function": "gelu_new",
        "scale_attn_weights": true,
        "scale_attn_by_inverse_layer_idx": false,
        "add_cross_attention": false,
    });
    // As strict with ourselves as with any other model.
    let config = Config::from_json(config_json.to_string().as_bytes())?;
    for stage in &settings.stages {
        if stage.lines == 0 || stage.lines * LINE > n_ctx || stage.batch == 0 || stage.steps == 0 {
            bail!(
                "a stage has {} lines, batch {}, {} steps; expected 1 to {} lines and the others above 0",
                stage.lines,
                stage.batch,
                stage.steps,
                n_ctx / LINE
            );
        }
    }
    if 2 * settings.init.line_frequencies.len() > config.sizes.d_head {
        bail!(
            "{} line frequencies do not fit into heads of width {}",
            settings.init.line_frequencies.len(),
            config.sizes.d_head
        );
    }
    let output = |name: &str| Output::create(&out.join(name), force.existing());
    let outputs = Outputs {
        config: output("config.json")?,
        tokenizer: output("tokenizer.json")?,
        weights: output("model.safetensors")?,
        settings: output("pretrain.json")?,
        log: output("pretrain.log")?,
    };
    let report = report.report();
    device::run(
        device,
        Pretrain {
            settings,
            lines: Lines { program, lexicon },
            config,
            config_json,
            tokenizer,
            outputs,
            report,
        },
    )
}

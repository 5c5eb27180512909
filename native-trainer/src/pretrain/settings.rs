//! The settings of a pretraining run, as in `models/solver/pretrain.json`.

use std::f64::consts::TAU;

use serde::{Deserialize, Serialize};

/// Everything that a pretraining run depends on.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub program: String,
    pub seed: u64,
    pub n_layers: usize,
    pub d_model: usize,
    pub n_heads: usize,
    pub n_ctx: usize,
    pub init: Init,
    pub optimizer: OptimizerSettings,
    pub stages: Vec<Stage>,
    /// Held-out prompts for each number of demonstrations.
    pub test_prompts: usize,
    /// Lowest accuracy that is accepted, by number of demonstrations.
    pub at_least: Vec<(usize, f64)>,
}

/// Scales of the initial values.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Init {
    /// Standard deviation of token embeddings and of the vectors for the places in a line.
    pub embedding_std: f64,
    /// Gain of the final norm.
    pub final_norm_gain: f64,
    /// Frequencies of the line's code, turns per 11 lines.
    pub line_frequencies: Vec<usize>,
    /// Amplitude of the line's code.
    pub line_amplitude: f64,
    /// Weight with which queries and keys read it.
    pub line_gain: f64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizerSettings {
    pub betas: [f32; 2],
    pub epsilon: f32,
    pub weight_decay: f32,
    /// Largest norm of one tensor's gradient.
    pub clip_norm: f32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Lines of a prompt; a single line stands at the place of any of the longest stage's.
    pub lines: usize,
    pub batch: usize,
    /// Most steps.
    pub steps: usize,
    /// The stage ends early at this running accuracy.
    pub stop_at: Option<f64>,
    pub lr: f64,
    /// Steps over which the learning rate rises.
    pub warm_up: usize,
    pub decay: Decay,
    /// Probabilities with which op1, op2, op3 are true.
    pub p_ops: [f64; 3],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decay {
    None,
    Cosine,
}

impl Settings {
    /// Lines of the longest prompts.
    pub fn n_lines(&self) -> usize {
        let lines = self.stages.iter().map(|stage| stage.lines);
        lines.max().unwrap_or(1)
    }
}

impl Stage {
    /// After this many steps of the stage.
    pub fn learning_rate(&self, step: usize) -> f64 {
        let rise = ((step + 1) as f64 / self.warm_up.max(1) as f64).min(1.0);
        let fall = match self.decay {
            Decay::None => 1.0,
            Decay::Cosine => 0.5 * (1.0 + (0.5 * TAU * step as f64 / self.steps as f64).cos()),
        };
        self.lr * rise * fall
    }
}

//! What a direction file says about its basis: where it is swapped, how it was learned, how well it works.

use serde::{Deserialize, Serialize};

use crate::Place;

/// Largest difference of a probe's logit from the recorded one, nats.
///
/// The right direction on the right model differs by rounding alone: on the solver, whose logits are about 16, by 3e-6 where
/// f32 is summed in another order and by 4e-4 where values were cached in f16; a GPU that multiplies f32 with ten bits of
/// fraction may add a thousandth of the logit. A random basis in place of a learned one gave another answer each time, and in
/// place of one that had learned nothing, a logit that was 0.08 away or more.
pub const PROBE_TOLERANCE: f32 = 0.05;

/// Everything in a direction file but the basis.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// How the basis was learned: `das`.
    pub method: String,
    /// Name or hub id of the model.
    pub model: String,
    /// SHA-256 of its weight files.
    pub model_sha256: String,
    /// Text of the token that the model's tokenizer put before each prompt; `None` where it put none there.
    pub first_token: Option<String>,
    /// Where the basis is swapped.
    pub place: Place,
    /// Name of the token in the task's prompts, where it has one; then the place has its position in the probe.
    pub token: Option<String>,
    /// The task, with its program.
    pub task: Option<String>,
    /// The variable of the causal model.
    pub variable: Option<String>,
    /// Number of training pairs.
    pub train_pairs: Option<usize>,
    /// Passes over them.
    pub epochs: Option<usize>,
    /// Highest learning rate.
    pub lr: Option<f64>,
    /// Seed of data, initial basis and shuffling.
    pub seed: Option<u64>,
    /// IIA on held-out pairs, 0..1.
    pub iia: f64,
    /// The same measurement with what must and must not work.
    pub controls: Controls,
    /// One pair, to be re-run by a loader.
    pub probe: Probe,
    /// Program and version that wrote the file.
    pub created_by: Option<String>,
}

/// IIA of what must not work and of what must, on the same pairs, 0..1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Controls {
    /// A random subspace of the same rank.
    pub random: f64,
    /// The whole vector at the site.
    pub full: f64,
    /// A basis learned the same way on shuffled labels.
    pub shuffled: Option<f64>,
}

/// One pair and what the intervened model answers to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// Token ids of the base prompt.
    pub base: Vec<u32>,
    /// Token ids of the source prompt.
    pub source: Vec<u32>,
    /// Top-1 token of the intervened run.
    pub top_1: u32,
    /// Its logit, nats.
    pub logit: f32,
}

impl Probe {
    /// True if a run of the pair gave the recorded answer.
    pub fn agrees(&self, top_1: u32, logit: f32) -> bool {
        top_1 == self.top_1 && (logit - self.logit).abs() <= PROBE_TOLERANCE
    }
}

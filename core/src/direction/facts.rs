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
    /// How the basis was found: one of [`METHODS`].
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
    /// The task's prompts, slots in braces; none where it has no templates.
    pub templates: Vec<String>,
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
    /// What the score was measured on, and where else.
    pub measured: Measured,
    /// One pair, to be re-run by a loader.
    pub probe: Probe,
    /// Program and version that wrote the file.
    pub created_by: Option<String>,
}

/// How features are found: distributed alignment search; the means of a variable's values; principal components of source less
/// base; the answers' rows of the unembedding; elsewhere; then pyvene's other ways, by its names for them.
pub const METHODS: [&str; 11] = [
    "das",
    "mean_difference",
    "pca",
    "unembedding",
    "imported",
    "rotated",
    "boundless",
    "sigmoid_mask",
    "sigmoid_mask_rotated",
    "autoencoder",
    "jump_relu_sae",
];

/// IIA of what must not work and of what must, and of what is cheap, on the same pairs, 0..1.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Controls {
    /// A random subspace of the same rank.
    pub random: f64,
    /// The whole vector at the site.
    pub full: f64,
    /// A basis learned the same way on shuffled labels.
    pub shuffled: Option<f64>,
    /// The difference of the means of the variable's values; of many values, the principal components of the means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_difference: Option<f64>,
    /// The first principal components of source less base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pca: Option<f64>,
    /// The difference of the answers' unembeddings, through the final norm; of many, their principal components.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unembedding: Option<f64>,
}

impl Controls {
    /// Its scores, 0..1 each.
    pub(crate) fn shares(&self) -> impl Iterator<Item = f64> {
        let others = [
            self.shuffled,
            self.mean_difference,
            self.pca,
            self.unembedding,
        ];
        [self.random, self.full]
            .into_iter()
            .chain(others.into_iter().flatten())
    }

    /// The same, to be changed.
    pub(crate) fn shares_mut(&mut self) -> impl Iterator<Item = &mut f64> {
        let Self {
            random,
            full,
            shuffled,
            mean_difference,
            pca,
            unembedding,
        } = self;
        let others = [shuffled, mean_difference, pca, unembedding];
        [random, full]
            .into_iter()
            .chain(others.into_iter().flatten())
    }

    /// IIA by which a subspace must do better than the whole vector to be suspected.
    const CLEARLY: f64 = 0.1;

    /// True if a subspace of this IIA clearly turns more pairs than the whole vector at its place, which has all that the model
    /// has there: it may act through parts that the model does not use (Makelov et al. 2023, <https://arxiv.org/abs/2311.17030>).
    pub fn are_beaten_by(&self, iia: f64) -> bool {
        iia > self.full + Self::CLEARLY
    }
}

/// What a score was measured on, and how it is elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Held-out pairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pairs: Option<usize>,
    /// IIA on other pairs, by which one of several directions is picked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<f64>,
    /// Pairs whose answer should turn, and those of them in which it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turned: Option<[usize; 2]>,
    /// Share of the sampled pairs that the model answers right by itself, 0..1; the others were left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known: Option<f64>,
    /// The score on what training did not see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unseen: Option<Unseen>,
    /// IIA by each of several seeds, the file's first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seeds: Vec<f64>,
}

/// A score on pairs whose words or templates training did not see.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unseen {
    /// Tables, or `templates`.
    pub held_out: Vec<String>,
    /// Such pairs.
    pub pairs: usize,
    /// IIA, 0..1.
    pub iia: f64,
    /// IIA of the whole vector, 0..1.
    pub full: f64,
}

/// One pair and what the intervened model answers to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// Token ids of the base prompt.
    pub base: Vec<u32>,
    /// Token ids of the source prompt.
    pub source: Vec<u32>,
    /// Where the source is read, where that is not where the base is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_position: Option<usize>,
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

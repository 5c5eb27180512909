//! What the page shows before a model is there: one example, as the native engine computed it.
//!
//! The same values are what a device is tested against. A test computes them anew and compares; with `SWIVEL_WRITE=1` it
//! writes `web/examples/recorded.json`.

use std::{collections::BTreeMap, sync::OnceLock};

use serde::{Deserialize, Serialize};
use swivel_core::ConfigError;
use swivel_engine::protocol::Answer;

use super::prompt::Prompt;

/// Directions that come with the page, by file name.
pub const DIRECTIONS: [(&str, &[u8]); 2] = [
    (
        "op5.safetensors",
        include_bytes!("../../examples/op5.safetensors"),
    ),
    (
        "op3.safetensors",
        include_bytes!("../../examples/op3.safetensors"),
    ),
];

/// The example.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Example {
    /// The run that is changed.
    pub base: Prompt,
    /// The run that values are taken from.
    pub source: Prompt,
    /// With the first of [`DIRECTIONS`] switched on.
    pub answer: Answer,
    /// Text of the tokens in `answer`.
    pub tokens: BTreeMap<u32, String>,
    /// SHA-256 of the weights that computed it.
    pub model_sha256: String,
    /// Layers of that model.
    pub n_layers: usize,
}

/// The recorded example.
///
/// # Errors
/// - [`ConfigError::Json`] if the embedded file is damaged.
pub fn example() -> Result<Example, ConfigError> {
    serde_json::from_str(include_str!("../../examples/recorded.json"))
        .map_err(|cause| ConfigError::Json { cause })
}

fn known() -> Option<&'static Example> {
    static EXAMPLE: OnceLock<Option<Example>> = OnceLock::new();
    EXAMPLE.get_or_init(|| example().ok()).as_ref()
}

/// Layers of the model that computed the example.
pub fn n_layers() -> usize {
    known().map_or(1, |example| example.n_layers)
}

/// Text of a token of the example's answer.
pub fn token(id: u32) -> String {
    known()
        .and_then(|example| example.tokens.get(&id).cloned())
        .unwrap_or_else(|| format!("<{id}>"))
}

/// Largest difference between the recorded values and an answer to the same question: logits, nats.
pub fn largest_error(recorded: &Answer, answer: &Answer) -> f32 {
    if recorded.top != answer.top || recorded.rows.len() != answer.rows.len() {
        return f32::INFINITY;
    }
    let rows = recorded.rows.iter().map(|row| {
        let same = answer.rows.iter().find(|other| other.id == row.id);
        same.map_or(f32::INFINITY, |other| {
            let both = row.scores.iter().zip(&other.scores);
            both.map(|(left, right)| (left.logit - right.logit).abs())
                .fold(0.0, f32::max)
        })
    });
    rows.fold(0.0, f32::max)
}

//! What the page shows before a model is there: questions, each with one pair as the native engine computed it.
//!
//! The same values are what a device is tested against. A test computes them anew and compares; with `SWIVEL_WRITE=1` it
//! writes the files in `web/examples`.

use std::{collections::BTreeMap, sync::OnceLock};

use serde::{Deserialize, Serialize};
use swivel_core::ConfigError;
use swivel_engine::protocol::Answer;

use super::prompt::Prompt;
use crate::offered::{BUILT_IN, GEMMA3, SMOLLM2};

/// A question that the page can show without its model.
pub struct Question {
    /// Its name in addresses and files.
    pub name: &'static str,
    /// What people call it.
    pub title: &'static str,
    /// What it asks, a sentence.
    pub asks: &'static str,
    /// What opens its model.
    pub model: &'static str,
    /// Directions that come with the page, by file name; the first is switched on.
    pub directions: &'static [(&'static str, &'static [u8])],
    /// An [`Example`], JSON.
    recorded: &'static str,
}

/// All of them; the first is what the page begins with.
pub const QUESTIONS: [Question; 3] = [
    Question {
        name: "programs",
        title: "true or false?",
        asks: "A small model answers a program of five words; the number swapped here holds the program's output.",
        model: BUILT_IN,
        directions: &[
            (
                "op5.safetensors",
                include_bytes!("../../examples/op5.safetensors"),
            ),
            (
                "op3.safetensors",
                include_bytes!("../../examples/op3.safetensors"),
            ),
        ],
        recorded: include_str!("../../examples/programs.json"),
    },
    Question {
        name: "agreement",
        title: "is or are?",
        asks: "The verb agrees with a noun that stands before it; the number swapped at the noun says whether there is one or many.",
        model: GEMMA3,
        directions: &[(
            "agreement.safetensors",
            include_bytes!("../../examples/agreement.safetensors"),
        )],
        recorded: include_str!("../../examples/agreement.json"),
    },
    Question {
        name: "ioi",
        title: "who gets the drink?",
        asks: "One of two people gives, so the other one gets; the number swapped where the giver is named again says which of the two it is.",
        model: SMOLLM2,
        directions: &[(
            "drink.safetensors",
            include_bytes!("../../../docs/drink/smollm2/layer18-S-rank1.safetensors"),
        )],
        recorded: include_str!("../../examples/ioi.json"),
    },
];

/// The directions that come with the page, by file name.
pub fn directions() -> impl Iterator<Item = (&'static str, &'static [u8])> {
    let questions = QUESTIONS.iter();
    questions.flat_map(|question| question.directions.iter().copied())
}

/// One pair of a question, and what its model says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Example {
    /// The run that is changed.
    pub base: Prompt,
    /// The run that values are taken from.
    pub source: Prompt,
    /// With the first of the question's directions switched on.
    pub answer: Answer,
    /// Text of the tokens in `answer`.
    pub tokens: BTreeMap<u32, String>,
    /// Tokens of base and source that the direction belongs to, where it was learned at one with a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub positions: Option<[usize; 2]>,
    /// SHA-256 of the weights that computed it.
    pub model_sha256: String,
    /// Layers of that model.
    pub n_layers: usize,
}

/// The recorded pair of a question.
///
/// # Errors
/// - [`ConfigError::Json`] if the embedded file is damaged.
pub fn example(question: usize) -> Result<Example, ConfigError> {
    serde_json::from_str(QUESTIONS[question].recorded).map_err(|cause| ConfigError::Json { cause })
}

fn known() -> &'static [Option<Example>] {
    static EXAMPLES: OnceLock<Vec<Option<Example>>> = OnceLock::new();
    EXAMPLES.get_or_init(|| (0..QUESTIONS.len()).map(|idx| example(idx).ok()).collect())
}

/// The pair that these weights computed, and the number of its question.
pub fn of_model(sha256: &str) -> Option<(usize, &'static Example)> {
    let mut examples = known().iter().enumerate();
    examples.find_map(|(idx, example)| {
        let example = example.as_ref()?;
        (example.model_sha256 == sha256).then_some((idx, example))
    })
}

/// Layers of the model that computed the pair of a question.
pub fn n_layers(question: usize) -> usize {
    known()[question]
        .as_ref()
        .map_or(1, |example| example.n_layers)
}

/// Text of a token of the answer to a question.
pub fn token(question: usize, id: u32) -> String {
    known()[question]
        .as_ref()
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

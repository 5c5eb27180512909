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
pub const QUESTIONS: [Question; 5] = [
    Question {
        name: "agreement",
        title: "is or are?",
        asks: "“The keys near the window” goes on with “are”: there are many keys. One number at the noun holds that.",
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
        asks: "One of two people gives, so the other one gets. One number where the giver is named again holds which it is.",
        model: SMOLLM2,
        directions: &[(
            "drink.safetensors",
            include_bytes!("../../../docs/drink/smollm2/layer18-S-rank1.safetensors"),
        )],
        recorded: include_str!("../../examples/ioi.json"),
    },
    Question {
        name: "gender",
        title: "he or she?",
        asks: "The model goes on with a pronoun that suits the name. One number at the name holds which.",
        model: GEMMA3,
        directions: &[(
            "gender.safetensors",
            include_bytes!("../../examples/gender.safetensors"),
        )],
        recorded: include_str!("../../examples/gender.json"),
    },
    Question {
        name: "capitals",
        title: "which capital?",
        asks: "Here one number is not enough. Sixteen at the country are swapped, and they work for countries of the training alone.",
        model: GEMMA3,
        directions: &[(
            "capitals.safetensors",
            include_bytes!("../../examples/capitals.safetensors"),
        )],
        recorded: include_str!("../../examples/capitals.json"),
    },
    Question {
        name: "programs",
        title: "true or false?",
        asks: "A small model was trained to answer programs of five words. One number at the last token holds the answer.",
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
];

/// The question about the built-in model, by its number.
pub const PROGRAMS: usize = QUESTIONS.len() - 1;

/// The question that an address asks for: by its name, else by its model, else by the model that the link in its fragment was made
/// with; the first where it says nothing.
pub fn asked_for(question: Option<&str>, model: Option<&str>, fragment: &str) -> usize {
    let find = |is_it: &dyn Fn(&Question) -> bool| QUESTIONS.iter().position(is_it);
    if let Some(idx) = question.and_then(|name| find(&|own| own.name == name)) {
        return idx;
    }
    if let Some(model) = model {
        return find(&|own| own.model == model).unwrap_or(PROGRAMS);
    }
    let mut parts = fragment.split('&');
    let digits = parts.find_map(|part| part.strip_prefix("model="));
    let is_made_with = |idx: &usize| {
        let sha256 = known(*idx).map(|example| &example.model_sha256);
        sha256
            .zip(digits)
            .is_some_and(|(own, digits)| own.starts_with(digits))
    };
    match fragment.is_empty() {
        true => 0,
        false => (0..QUESTIONS.len()).find(is_made_with).unwrap_or(PROGRAMS),
    }
}

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

/// The recorded pair of a question, read once; `None` if the embedded file is damaged.
pub fn known(question: usize) -> Option<&'static Example> {
    static EXAMPLES: OnceLock<Vec<Option<Example>>> = OnceLock::new();
    let read = || (0..QUESTIONS.len()).map(|idx| example(idx).ok()).collect();
    EXAMPLES.get_or_init(read)[question].as_ref()
}

/// The pair that these weights computed, and the number of its question.
pub fn of_model(sha256: &str) -> Option<(usize, &'static Example)> {
    (0..QUESTIONS.len()).find_map(|idx| {
        let example = known(idx)?;
        (example.model_sha256 == sha256).then_some((idx, example))
    })
}

/// Layers of the model that computed the pair of a question.
pub fn n_layers(question: usize) -> usize {
    known(question).map_or(1, |example| example.n_layers)
}

/// Text of a token of the answer to a question.
pub fn token(question: usize, id: u32) -> String {
    known(question)
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

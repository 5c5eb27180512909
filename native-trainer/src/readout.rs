//! What a model answers, from its logits, and in words.

use anyhow::Result;
use burn::tensor::backend::Backend;
use serde::Serialize;
use swivel_core::{
    Tokenizer,
    direction::Probe,
    metric::{Reading, Top},
};

use crate::tensors::{read_floats, read_ids};

/// A token that the model may answer.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Candidate {
    /// Token id.
    pub token: u32,
    /// Its logit, nats.
    pub logit: f32,
    /// Its probability, 0..1.
    pub probability: f32,
}

/// What the model says to one pair before and after an intervention.
#[derive(Clone, Debug, Serialize)]
pub struct Swap {
    /// The pair and the intervened answer.
    pub probe: Probe,
    /// The counterfactual answer.
    pub label: u32,
    /// The three likeliest tokens of the base run.
    pub before: Vec<Candidate>,
    /// The three likeliest tokens of the intervened run.
    pub after: Vec<Candidate>,
}

impl Swap {
    /// True if the answer changed.
    pub fn is_flipped(&self) -> bool {
        self.before[0].token != self.after[0].token
    }

    /// True if the intervened answer is the counterfactual one.
    pub fn is_hit(&self) -> bool {
        self.after[0].token == self.label
    }

    /// True if the answer had to change.
    pub fn should_flip(&self) -> bool {
        self.before[0].token != self.label
    }

    /// The swap in two lines: the ends of the prompts, then what the model says.
    pub fn describe(&self, tokenizer: Option<&Tokenizer>) -> String {
        let verdict = match (self.is_flipped(), self.is_hit()) {
            (true, true) => "FLIPPED, as it should",
            (false, true) => "kept, as it should",
            (true, false) => "flipped, and should not have",
            (false, false) => "kept, and should not have been",
        };
        let Probe { base, source, .. } = &self.probe;
        format!(
            "{:<44} source {}\n      {}  ->  {}  {verdict}",
            tail(tokenizer, base),
            tail(tokenizer, source),
            describe_top(tokenizer, &self.before),
            describe_top(tokenizer, &self.after)
        )
    }
}

/// The last line of a prompt, which is its query; of a long one, its end.
pub fn tail(tokenizer: Option<&Tokenizer>, ids: &[u32]) -> String {
    let ids = &ids[ids.len().saturating_sub(24)..];
    let prompt = tokenizer.map_or_else(|| format!("{ids:?}"), |tokenizer| tokenizer.decode(ids));
    prompt.rsplit('\n').next().unwrap_or_default().to_owned()
}

/// Tokens with their probabilities.
pub fn describe_top(tokenizer: Option<&Tokenizer>, candidates: &[Candidate]) -> String {
    let shown = candidates.iter().map(|c| {
        let text = match tokenizer {
            Some(tokenizer) => tokenizer.token(c.token),
            None => format!("[{}]", c.token),
        };
        let probability = short(f64::from(c.probability));
        format!("{} {probability}", text.escape_debug())
    });
    shown.collect::<Vec<_>>().join("  ")
}

/// A share or probability in three characters or four: `.97`, `1.00`.
pub fn short(share: f64) -> String {
    let text = format!("{share:.2}");
    text.strip_prefix('0').map_or(text.clone(), str::to_owned)
}

/// What each row answers, likeliest first.
pub fn candidates<B: Backend>(reading: &Reading<B>) -> Result<Vec<Vec<Candidate>>> {
    let Top { ids, logits } = reading.top.clone(); // [rows, k]
    let k = ids.dims()[1];
    let probabilities = read_floats(reading.probabilities(logits.clone()))?;
    let (ids, logits) = (read_ids(ids.flatten(0, 1))?, read_floats(logits)?);
    let candidates: Vec<Candidate> = (ids.iter().zip(logits).zip(probabilities))
        .map(|((token, logit), probability)| Candidate {
            token: *token,
            logit,
            probability,
        })
        .collect();
    Ok(candidates.chunks(k).map(<[Candidate]>::to_vec).collect())
}

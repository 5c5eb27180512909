//! A prompt: what was typed, and its tokens; the two of an experiment.

use serde::{Deserialize, Serialize};
use swivel_core::{
    Result, Tokenizer,
    plan::{self, Mode, Plan, PlannedIntervention, Version},
};
use swivel_engine::protocol::{Read, Request};

/// Which of the two prompts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The run that is changed.
    Base,
    /// The run that values are taken from.
    Source,
}

impl Side {
    /// Both, base first.
    pub const BOTH: [Side; 2] = [Side::Base, Side::Source];

    /// As text.
    pub fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Source => "source",
        }
    }
}

/// A prompt: what was typed, and its tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prompt {
    /// As typed; never trimmed.
    pub text: String,
    /// Token ids; these, never the text, are what a run starts from.
    pub ids: Vec<u32>,
    /// Text of each token.
    pub pieces: Vec<String>,
}

impl Prompt {
    /// Tokens of a text.
    ///
    /// # Errors
    /// - [`Error::Tokenizer`] if the library cannot encode it.
    pub fn of_text(text: &str, tokenizer: &Tokenizer) -> Result<Self> {
        let mut prompt = Self::of_ids(tokenizer.encode(text)?, tokenizer);
        prompt.text = text.to_owned();
        Ok(prompt)
    }

    /// The prompt of these tokens.
    pub fn of_ids(ids: Vec<u32>, tokenizer: &Tokenizer) -> Self {
        // The text does not say what the tokenizer puts in front of it anyhow.
        let said = tokenizer.without_first(&ids);
        let said = tokenizer.decode(said);
        let text = match tokenizer.encode(&said) {
            Ok(own) if own == ids => said,
            _ => tokenizer.decode(&ids),
        };
        Self {
            text,
            pieces: ids.iter().map(|id| tokenizer.token(*id)).collect(),
            ids,
        }
    }
}

/// The two prompts of an experiment, as token ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompts {
    /// The run that is changed.
    pub base: Vec<u32>,
    /// The run that values are taken from.
    pub source: Vec<u32>,
}

impl Prompts {
    /// Interventions on these prompts as a plan; the source is in it if one of them reads it.
    pub(super) fn plan(&self, interventions: Vec<PlannedIntervention>) -> Plan {
        let reads = interventions.iter().any(|own| own.source.is_some());
        let source = reads.then(|| plan::Prompts::Ids(vec![self.source.clone()]));
        Plan {
            version: Version,
            base: plan::Prompts::Ids(vec![self.base.clone()]),
            sources: source.into_iter().collect(),
            first_token: None,
            mode: Mode::default(),
            interventions,
            record: Vec::new(),
        }
    }
}

/// The same question about other prompts of the same lengths: each turned by some tokens.
pub fn rotated(request: &Request, n_tokens: usize) -> Request {
    let turn = |ids: &mut Vec<u32>| {
        let n = n_tokens % ids.len().max(1);
        ids.rotate_left(n);
    };
    let mut request = request.clone();
    let Request { plan, read } = &mut request;
    for prompts in [&mut plan.base].into_iter().chain(&mut plan.sources) {
        if let plan::Prompts::Ids(rows) = prompts {
            rows.iter_mut().for_each(turn);
        }
    }
    if let Read::Answer { beside, .. } = read {
        turn(beside);
    }
    request
}

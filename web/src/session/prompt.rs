//! The two prompts: what was typed, and its tokens.

use serde::{Deserialize, Serialize};
use swivel_core::{Result, Tokenizer, plan};
use swivel_engine::protocol::{Read, Request};

use super::Session;

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
        Self {
            text: tokenizer.decode(&ids),
            pieces: ids.iter().map(|id| tokenizer.decode(&[*id])).collect(),
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
    if let Read::Answer { beside } = read {
        turn(beside);
    }
    request
}

/// Text of a token with what cannot be seen made visible.
pub fn visible(piece: &str) -> String {
    piece
        .chars()
        .map(|c| match c {
            ' ' => '␣',
            '\n' => '⏎',
            '\t' => '⇥',
            '\r' => '␍',
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}

impl Session {
    /// Takes a prompt as typed.
    ///
    /// # Errors
    /// - [`Error::Tokenizer`] if the library cannot encode it.
    pub fn type_prompt(&mut self, side: Side, text: &str) -> Result<()> {
        if let Some(model) = &self.model {
            let prompt = Prompt::of_text(text, &model.tokenizer)?;
            if self.typing == Some(side) {
                self.map = None;
                self.amend(|choices| *choices.prompt_mut(side) = prompt);
            } else {
                self.change(|choices| *choices.prompt_mut(side) = prompt);
                self.typing = Some(side);
            }
        }
        Ok(())
    }

    /// Both prompts from token ids.
    ///
    /// # Errors
    /// - those of [`Gpt2Config::check_ids`]
    pub fn set_prompts(&mut self, prompts: &Prompts) -> Result<()> {
        if let Some(model) = &self.model {
            model.config.check_ids(&[&prompts.base])?;
            model.config.check_ids(&[&prompts.source])?;
            let base = Prompt::of_ids(prompts.base.clone(), &model.tokenizer);
            let source = Prompt::of_ids(prompts.source.clone(), &model.tokenizer);
            self.change(|choices| {
                choices.base = base;
                choices.source = source;
            });
        }
        Ok(())
    }

    /// Base becomes source and source becomes base.
    pub fn swap_prompts(&mut self) {
        self.change(|choices| std::mem::swap(&mut choices.base, &mut choices.source));
    }
}

//! The next token of a text that is generated, and of the same text under interventions.

use burn::tensor::backend::Backend;
use swivel_core::{
    Error,
    generate::{Acts, Generator, likeliest},
    plan::Plan,
};

use super::{Asked, Engine};
use crate::{
    failure::{Result, refused},
    protocol::{GoOn, NextToken},
    readback::read,
};

/// Texts that are kept: each has its keys and values.
const MOST_TEXTS: usize = 2;
/// Tokens that an answer names beside the chosen one, likeliest first.
const N_SHOWN: usize = 5;

/// A text that grows.
pub(super) struct Text<B: Backend> {
    asker: u32,
    plan: Plan,
    acts: Acts,
    /// Tokens behind the prompt, by run.
    tokens: Vec<Vec<u32>>,
    generator: Generator<B>,
}

impl<B: Backend> Text<B> {
    pub fn is_of(&self, asker: u32) -> bool {
        self.asker == asker
    }
}

impl<B: Backend> Engine<B> {
    /// Answers [`crate::protocol::Read::Next`]. A text goes on from where the last question left it; one that is not kept, or
    /// was changed, is read again.
    pub(super) async fn next(
        &mut self,
        asked: &Asked<'_>,
        GoOn {
            acts,
            so_far,
            sampling,
            random,
        }: &GoOn,
        is_wanted: &impl AsyncFn() -> bool,
    ) -> Result<Vec<NextToken>> {
        let n_new = so_far.first().map_or(0, Vec::len);
        if n_new > 0 {
            self.sizes.check_ids(so_far).map_err(Error::from)?;
        }
        let is_it = |text: &Text<B>| {
            let goes_on = |run: usize, own: &Vec<u32>| {
                let asked = so_far.get(run).map_or(&[][..], Vec::as_slice);
                asked.starts_with(own)
            };
            let mut runs = text.tokens.iter().enumerate();
            text.is_of(asked.asker.page)
                && text.plan == *asked.plan
                && text.acts == *acts
                && runs.all(|(run, own)| goes_on(run, own))
        };
        let kept = self.texts.iter().position(is_it);
        let mut text = match kept.and_then(|idx| self.texts.remove(idx)) {
            Some(text) => text,
            None => {
                let generator = self
                    .begin(asked.asker.page, asked.checked, *acts, is_wanted)
                    .await?;
                Text {
                    asker: asked.asker.page,
                    plan: asked.plan.clone(),
                    acts: *acts,
                    tokens: vec![Vec::new(); generator.n_rows()],
                    generator,
                }
            }
        };
        if n_new > 0 && so_far.len() != text.tokens.len() {
            let expected = format!("{} runs", text.tokens.len());
            return Err(refused("so_far", &expected, so_far.len()));
        }
        for idx in text.tokens[0].len()..n_new {
            if text.generator.room() == 0 {
                return Err(refused("so_far", "a token that the model can read", n_new));
            }
            let tokens: Vec<u32> = so_far.iter().map(|tokens| tokens[idx]).collect();
            let stepped = text.generator.step(&self.model, &tokens);
            stepped.map_err(Error::from)?;
        }
        if n_new > 0 {
            text.tokens.clone_from(so_far);
        }
        let logits = read(text.generator.logits(&self.model)).await?;
        let rows = logits.chunks(self.sizes.d_vocab);
        let next = rows.map(|logits| NextToken {
            id: sampling.choose(logits, *random),
            likeliest: likeliest(logits, N_SHOWN, 1.0),
            has_room: text.generator.room() > 0,
        });
        let next = next.collect();
        self.texts.push_front(text);
        self.texts.truncate(MOST_TEXTS);
        Ok(next)
    }
}

//! A text that is generated behind the base prompt, by itself and under the interventions that are on.

use swivel_core::generate::{Acts, Draws, Sampling};
use swivel_engine::protocol::{GoOn, NextToken, Read};

use super::Session;

/// Tokens of a text, at most.
pub const N_TOKENS: usize = 40;

/// How a text is to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wish {
    /// Where the interventions act.
    pub acts: Acts,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Of the draws.
    pub seed: u64,
}

/// A text, finished or under way.
#[derive(Clone, Debug)]
pub struct Text {
    /// What was asked for.
    pub wish: Wish,
    /// Tokens of the base run and, where interventions are on, of the intervened one.
    pub runs: Vec<Vec<NextToken>>,
    /// True while tokens are still being asked for.
    pub is_running: bool,
    /// Milliseconds in the engine so far.
    pub ms: f64,
    draws: Draws,
    /// What the next token is drawn by.
    random: f64,
}

impl Text {
    fn new(wish: Wish) -> Self {
        let mut draws = Draws::new(wish.seed);
        Self {
            wish,
            runs: Vec::new(),
            is_running: true,
            ms: 0.0,
            random: draws.draw(),
            draws,
        }
    }

    /// Tokens of a run so far.
    pub fn n_tokens(&self) -> usize {
        self.runs.first().map_or(0, Vec::len)
    }

    fn next(&self) -> Read {
        let ids = |run: &Vec<NextToken>| run.iter().map(|token| token.id).collect();
        Read::Next(GoOn {
            acts: self.wish.acts,
            so_far: self.runs.iter().map(ids).collect(),
            sampling: self.wish.sampling,
            random: self.random,
        })
    }
}

impl Session {
    /// Starts a text; the one before it is dropped.
    pub fn start_text(&mut self, wish: Wish) {
        self.text = Some(Text::new(wish));
    }

    /// Stops the text that is under way; what is there of it stays.
    pub fn stop_text(&mut self) {
        if let Some(text) = &mut self.text {
            text.is_running = false;
        }
    }

    /// What is asked for next.
    pub(super) fn next_of_text(&self) -> Option<Read> {
        let text = self.text.as_ref()?;
        (text.is_running && self.is_readable()).then(|| text.next())
    }

    /// Takes the next token of each run.
    pub(super) fn take_next(&mut self, next: Vec<NextToken>, ms: f64) {
        let Some(mut text) = self.text.take() else {
            return;
        };
        text.ms += ms;
        text.random = text.draws.draw();
        text.runs.resize(next.len(), Vec::new());
        let has_room = next.iter().all(|token| token.has_room);
        for (run, token) in text.runs.iter_mut().zip(next) {
            run.push(token);
        }
        let all_ended = text.runs.iter().all(|run| self.end_of(run).is_some());
        text.is_running &= has_room && !all_ended && text.n_tokens() < N_TOKENS;
        self.text = Some(text);
    }

    /// The tokens of a run up to its end, and whether it has ended by itself.
    pub fn run_of_text(&self, run: usize) -> Option<(&[NextToken], bool)> {
        let tokens = self.text.as_ref()?.runs.get(run)?;
        let end = self.end_of(tokens);
        let n = end.unwrap_or(tokens.len());
        Some((&tokens[..n], end.is_some()))
    }

    /// The token that ends a run by itself.
    fn end_of(&self, tokens: &[NextToken]) -> Option<usize> {
        let ends = &self.model.as_ref()?.end_tokens;
        tokens.iter().position(|token| ends.contains(&token.id))
    }
}

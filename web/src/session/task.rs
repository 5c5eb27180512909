//! What the page knows of the task: worked examples, random pairs, and what the program answers.

use std::sync::Arc;

use swivel_core::{
    Result,
    causal::Value,
    question::programs::{Lexicon, Program, Sampler, Words},
};

use super::{Card, Prompts, Session, Side};

/// A worked example of the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Example {
    /// What it shows.
    pub title: &'static str,
    variable: &'static str,
    shots: usize,
    seed: u64,
}

/// The worked examples.
pub const EXAMPLES: [Example; 4] = [
    Example {
        title: "the output flips",
        variable: "op5",
        shots: 0,
        seed: 5,
    },
    Example {
        title: "one synonym decides",
        variable: "op3",
        shots: 0,
        seed: 3,
    },
    Example {
        title: "after three demonstrations",
        variable: "op5",
        shots: 3,
        seed: 7,
    },
    Example {
        title: "after ten demonstrations",
        variable: "op5",
        shots: 10,
        seed: 11,
    },
];

impl Session {
    /// A random pair of the task whose answer must flip: for the variable of the direction that is on, else the output.
    ///
    /// # Errors
    /// - [`Error::Task`] if none is found.
    pub fn new_pair(&mut self, seed: u64) -> Result<()> {
        let (Some(program), Some(lexicon)) = (&self.program, self.lexicon()) else {
            return Ok(());
        };
        let variable = self.armed_variable().unwrap_or("op5").to_owned();
        // The first half of two differs from the base's answer.
        let pair = Sampler::new(program, lexicon, &variable, self.shots)?.pairs(2, seed)?;
        let prompts = Prompts {
            base: pair[0].base.clone(),
            source: pair[0].source.clone(),
        };
        self.set_prompts(&prompts)
    }

    /// A worked example: its prompts, and its direction switched on.
    ///
    /// # Errors
    /// - [`Error::Task`] if none is found.
    pub fn open_example(&mut self, example: &Example) -> Result<()> {
        let is_it = |session: &Self, card: &Card| {
            let opened = card.direction.map(|idx| &session.directions[idx]);
            let variable = opened.and_then(|opened| opened.direction.facts.variable.as_deref());
            variable == Some(example.variable)
        };
        let armed = (self.choices.cards.iter()).position(|card| is_it(self, card));
        self.change(|choices| {
            for (idx, card) in choices.cards.iter_mut().enumerate() {
                card.is_on = Some(idx) == armed;
                card.strength = 1.0;
            }
        });
        self.shots = example.shots;
        self.new_pair(example.seed)
    }

    pub(super) fn lexicon(&self) -> Option<&Lexicon> {
        self.model.as_ref()?.lexicon.as_deref()
    }

    /// True if the model's tokenizer has the task's words.
    pub fn has_task(&self) -> bool {
        self.program.is_some() && (self.model.is_none() || self.lexicon().is_some())
    }

    /// The task's words: those of the model's tokenizer, or, before a model is there, the embedded ones.
    pub(super) fn words(&self) -> Option<&Arc<Words>> {
        match &self.model {
            Some(model) => Some(&model.lexicon.as_ref()?.words),
            None => self.words.as_ref(),
        }
    }

    /// True if the model was trained on the task, as far as the page can know: a direction for it was learned there.
    pub fn knows_task(&self) -> bool {
        let Some(model) = &self.model else {
            return true;
        };
        let mut facts = self.directions.iter().map(|opened| &opened.direction.facts);
        model.lexicon.is_some()
            && facts.any(|facts| facts.model_sha256 == model.sha256 && facts.task.is_some())
    }

    /// True if the model was trained on the task and both prompts are of it: only of such pairs is it known what a swap should do.
    pub fn is_on_task(&self) -> bool {
        let is_query = |side| self.query_words(side).is_some();
        self.knows_task() && Side::BOTH.into_iter().all(is_query)
    }

    /// The program of the task.
    pub fn program(&self) -> Option<&Program> {
        self.program.as_ref()
    }

    /// Variable of the first direction that is on.
    pub fn armed_variable(&self) -> Option<&str> {
        self.choices
            .cards
            .iter()
            .filter(|card| card.is_on)
            .find_map(|card| {
                let opened = &self.directions[card.direction?];
                opened.direction.facts.variable.as_deref()
            })
    }

    /// What the program answers if the variable of the only direction that is on had the source's value, as text: what the
    /// intervened model should answer with.
    pub fn expected(&self) -> Option<&'static str> {
        let on = self.choices.cards.iter().filter(|card| card.is_on);
        let variable = self.armed_variable().filter(|_| self.knows_task())?;
        if on.count() != 1 {
            return None;
        }
        let [base, source] = [Side::Base, Side::Source].map(|side| self.query_words(side));
        let model = self.program.as_ref()?.causal_model(self.words()?);
        let idx = model.variable(variable).ok()?;
        let values = model.interchange(&base?.map(Value::Word), &source?.map(Value::Word), idx);
        match values.last()? {
            Value::Truth(true) => Some("True"),
            Value::Truth(false) => Some("False"),
            Value::Word(_) => None,
        }
    }

    /// Truth values of op1..op5 for one of the prompts' query lines.
    pub fn ops(&self, side: Side) -> Option<[bool; 5]> {
        let program = self.program.as_ref()?;
        Some(program.ops(self.words()?, &self.query_words(side)?))
    }

    /// Words of a prompt's query line as text.
    pub fn query_texts(&self, side: Side) -> Option<[String; 5]> {
        let words = self.words()?;
        let line = self.query_words(side)?;
        Some(line.map(|word| words.word(word).to_owned()))
    }
}

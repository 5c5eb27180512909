//! What the page knows of the task: worked examples, random pairs, and what the program answers.

use swivel_core::{
    Result,
    question::{
        Form, Variable, program_of,
        programs::{AskedProgram, Example, OUTPUT, VARIABLES},
    },
};

use super::{Card, Prompts, Session, Side, recorded::QUESTIONS};
use crate::offered::BUILT_IN;

impl Session {
    /// A random pair of the task whose answer must flip: for the variable of the direction that is on, else the output.
    ///
    /// # Errors
    /// - [`Error::Task`] if none is found.
    pub fn new_pair(&mut self, seed: u64) -> Result<()> {
        let Some(program) = self
            .model
            .as_ref()
            .and_then(|model| model.program.as_deref())
        else {
            return Ok(());
        };
        let asked = AskedProgram {
            shots: self.shots,
            ..program.clone()
        };
        let variable = self
            .armed_variable()
            .filter(|name| VARIABLES.contains(name));
        let variable = variable.unwrap_or(OUTPUT);
        // The first half of two differs from the base's answer.
        let pairs = asked.sampler(variable)?.pairs(2, seed)?;
        let prompts = Prompts {
            base: pairs[0].base.clone(),
            source: pairs[0].source.clone(),
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

    /// What the program's prompts look like, in the words of the model's tokenizer, or, before a model is there, in all.
    pub(super) fn form(&self) -> Option<Form> {
        match &self.model {
            Some(model) => model.program.as_deref().map(Form::of_program),
            None => self.form.clone().filter(|_| self.asks_a_program()),
        }
    }

    /// True if the model's tokenizer has the task's words.
    pub fn has_task(&self) -> bool {
        match &self.model {
            Some(model) => model.program.is_some(),
            None => self.asks_a_program(),
        }
    }

    /// True if the question that was opened last is about a program.
    pub(super) fn asks_a_program(&self) -> bool {
        QUESTIONS[self.question].model == BUILT_IN
    }

    /// True if the model was trained on the task, as far as the page can know: a direction for it was learned there.
    pub fn knows_task(&self) -> bool {
        let Some(model) = &self.model else {
            return self.asks_a_program();
        };
        let mut facts = self.directions.iter().map(|opened| &opened.direction.facts);
        let is_program = |task: &str| program_of(task).is_some();
        model.program.is_some()
            && facts.any(|facts| {
                facts.model_sha256 == model.sha256 && facts.task.as_deref().is_some_and(is_program)
            })
    }

    /// True if both prompts are such as the first direction that is on was learned on, or, where none is, such as the program's:
    /// only of such pairs is it known what a swap should do.
    pub fn is_on_task(&self) -> bool {
        let mut on = self.choices.cards.iter().filter(|card| card.is_on);
        match on.find_map(|card| card.direction) {
            Some(idx) => self.is_on_task_of(idx),
            None => self.knows_task() && self.are_of(self.form().as_ref()),
        }
    }

    /// True if both prompts are such as a direction was learned on, as far as its file says what they were.
    pub(super) fn is_on_task_of(&self, direction: usize) -> bool {
        let facts = &self.directions[direction].direction.facts;
        match facts.templates.is_empty() {
            true => self.knows_task() && self.are_of(self.form().as_ref()),
            false => self.are_of(Form::of_templates(&facts.templates).ok().as_ref()),
        }
    }

    fn are_of(&self, form: Option<&Form>) -> bool {
        let is_of = |side| form.is_some_and(|form| form.is_of(&self.choices.prompt(side).text));
        Side::BOTH.into_iter().all(is_of)
    }

    /// The program's id.
    pub fn program(&self) -> Option<String> {
        self.form()?.name().map(str::to_owned)
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
        let prompts = Side::BOTH.map(|side| self.choices.prompt(side).text.as_str());
        self.form()?.counterfactual(prompts, variable)
    }

    /// The program's variables and what they are in a prompt.
    pub fn variables(&self, side: Side) -> Option<Vec<Variable>> {
        self.form()?.variables(&self.choices.prompt(side).text)
    }
}

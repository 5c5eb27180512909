//! What the page knows of the task: worked examples, random pairs, and what the program answers.

use swivel_core::{
    Result, Tokenizer,
    direction::Facts,
    question::{
        Form, Labels, Question, Score, Task, Variable, program_of,
        programs::{AskedProgram, Example},
        shipped,
    },
};

use super::{Card, Prompts, Session, Side, recorded::QUESTIONS};

/// The answers of the tasks that are told by the likeliest of them, as tokens, where the tokenizer tells them apart.
pub fn choices(tokenizer: &Tokenizer) -> Vec<(&'static str, Vec<u32>)> {
    let of = |name| {
        let task = shipped::known(name).filter(|task| task.score == Score::Choice)?;
        let labels = Labels::new(task, tokenizer).ok()?;
        Some((name, labels.all()))
    };
    shipped::names().filter_map(of).collect()
}

/// What the page is about.
#[derive(Clone, Copy)]
enum Subject {
    /// A program of five words.
    Program,
    /// A task on language.
    Task(&'static Task),
    /// A task whose file the page does not have.
    Unknown,
}

impl Session {
    /// What the first direction that is on was learned for; where none is, the question that was opened last.
    fn subject(&self) -> Subject {
        let on = self.choices.cards.iter().filter(|card| card.is_on);
        let facts = on.filter_map(|card| Some(&self.directions[card.direction?].direction.facts));
        let of = |facts: &Facts| {
            let name = facts.task.as_deref()?;
            match shipped::known(name) {
                Some(task) => Some(Subject::Task(task)),
                None if program_of(name).is_some() => Some(Subject::Program),
                // A name alone says nothing.
                None => (!facts.templates.is_empty()).then_some(Subject::Unknown),
            }
        };
        match facts.filter_map(of).next() {
            Some(subject) => subject,
            None => {
                let name = QUESTIONS[self.question].name;
                shipped::known(name).map_or(Subject::Program, Subject::Task)
            }
        }
    }

    /// The task on language that the page is about.
    pub fn task(&self) -> Option<&'static Task> {
        match self.subject() {
            Subject::Task(task) => Some(task),
            Subject::Program | Subject::Unknown => None,
        }
    }

    /// Pairs of what the page is about, in the words of the model; `None` where it has none, or the model cannot read them.
    pub(super) fn asked(&self) -> Option<Question> {
        let model = self.model.as_ref()?;
        match self.subject() {
            Subject::Program => {
                let program = model.program.as_deref()?;
                Some(Question::Program(AskedProgram {
                    shots: self.shots,
                    ..program.clone()
                }))
            }
            Subject::Task(task) => Some(Question::Language {
                task: task.clone(),
                tokenizer: model.tokenizer.clone(),
            }),
            Subject::Unknown => None,
        }
    }

    /// The variable that pairs are sampled for: that of the direction that is on, else the one that is meant where none is named.
    ///
    /// # Errors
    /// - [`Error::Task`] if none changes the answer.
    pub(super) fn asked_variable(&self, question: &Question) -> Result<String> {
        let armed = self.armed_variable();
        let armed = armed.filter(|name| question.check_variable(name).is_ok());
        Ok(match armed {
            Some(name) => name.to_owned(),
            None => question.default_variable()?,
        })
    }

    /// A random pair of the task whose answer must flip: for the variable of the direction that is on, else the output.
    ///
    /// # Errors
    /// - [`Error::Task`] if none is found.
    pub fn new_pair(&mut self, seed: u64) -> Result<()> {
        let Some(question) = self.asked() else {
            return Ok(());
        };
        let variable = self.asked_variable(&question)?;
        // The first half of two differs from the base's answer.
        let pairs = question.sampler(&variable)?.pairs(2, seed, &[])?;
        let prompts = Prompts {
            base: pairs[0].pair.base.clone(),
            source: pairs[0].pair.source.clone(),
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

    /// What the prompts look like: a program's in the words of the model's tokenizer, or, before a model is there, in all.
    pub(super) fn form(&self) -> Option<Form> {
        match (self.subject(), &self.model) {
            (Subject::Task(task), _) => Some(Form::of_task(task)),
            (Subject::Unknown, _) => None,
            (Subject::Program, Some(model)) => model.program.as_deref().map(Form::of_program),
            (Subject::Program, None) => self.form.clone(),
        }
    }

    /// True if the page is about a program, and the model's tokenizer has its words.
    pub fn has_program(&self) -> bool {
        let model = self.model.as_ref();
        matches!(self.subject(), Subject::Program) && model.is_none_or(|own| own.program.is_some())
    }

    /// True if pairs can be sampled of what the page is about.
    pub fn has_task(&self) -> bool {
        self.has_program() || self.task().is_some()
    }

    /// True if the model knows what the page is about, as far as the page can know: a direction for it was learned there.
    pub fn knows_task(&self) -> bool {
        let Some(model) = &self.model else {
            return !matches!(self.subject(), Subject::Unknown);
        };
        let is_it = |name: &str| match self.subject() {
            Subject::Program => program_of(name).is_some() && model.program.is_some(),
            Subject::Task(task) => task.name == name,
            Subject::Unknown => false,
        };
        let mut opened = self.directions.iter();
        opened.any(|opened| {
            let name = opened.direction.facts.task.as_deref();
            self.is_of_this_model(opened) && name.is_some_and(is_it)
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

    /// What the picture of the causal model shows: the program by its id, or the task.
    pub fn task_name(&self) -> Option<String> {
        match self.subject() {
            Subject::Program => self.form()?.name().map(str::to_owned),
            Subject::Task(task) => Some(task.name.clone()),
            Subject::Unknown => None,
        }
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

    /// What the base must be answered with if the variable of the only direction that is on had the source's value, as text.
    pub fn expected(&self) -> Option<String> {
        let on = self.choices.cards.iter().filter(|card| card.is_on);
        let variable = self.armed_variable().filter(|_| self.knows_task())?;
        if on.count() != 1 {
            return None;
        }
        let [base, source] = Side::BOTH.map(|side| self.choices.prompt(side).text.as_str());
        match self.subject() {
            Subject::Task(task) => {
                let [base, source] = [task.read(base)?, task.read(source)?];
                let variable = task.variable(variable).ok()?;
                Some(task.swapped_answer([&base, &source], &variable))
            }
            _ => {
                let expected = self.form()?.counterfactual([base, source], variable);
                expected.map(str::to_owned)
            }
        }
    }

    /// Tokens of which the likeliest is the answer, where the prompts are of a task that is scored so: its answers, where they are
    /// few, or the prompts have words that it knows. None where it is the likeliest of all.
    pub(super) fn among(&self) -> Vec<u32> {
        /// Answers that a sentence is told by, whatever words stand in it.
        const FEW: usize = 4;
        let choices = || {
            let task = self.task()?;
            let mut known = self.model.as_ref()?.choices.iter();
            let (_, choices) = known.find(|(name, _)| *name == task.name)?;
            let form = Form::of_task(task);
            let is_its = |side| {
                let text = &self.choices.prompt(side).text;
                match choices.len() <= FEW {
                    true => form.is_of(text),
                    false => task.read(text).is_some(),
                }
            };
            let is_on_task = Side::BOTH.into_iter().all(is_its);
            is_on_task.then(|| choices.clone())
        };
        choices().unwrap_or_default()
    }

    /// Whether an answer is the expected one; `None` where none is expected, or it is none of the task's.
    pub fn is_as_expected(&self, token: u32) -> Option<bool> {
        let expected = self.expected()?;
        let said = self.token(token);
        let Some(task) = self.task() else {
            return Some(said == expected);
        };
        // An answer of several tokens begins with one that no other answer begins with.
        let of = |answer: &String| answer.starts_with(&said);
        let is_answer = task.answers().ok()?.iter().any(of);
        is_answer.then(|| of(&expected))
    }

    /// The variables and what they are in a prompt.
    pub fn variables(&self, side: Side) -> Option<Vec<Variable>> {
        let text = &self.choices.prompt(side).text;
        match self.subject() {
            Subject::Task(task) => Some(task.variables_of(&task.read(text)?)),
            _ => self.form()?.variables(text),
        }
    }
}

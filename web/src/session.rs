//! What the person chose and what came back, in plain structs; no browser here, so that all of it is tested natively.

pub mod code;
pub mod learned;
pub mod lint;
pub mod map;
pub mod recorded;
pub mod share;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use swivel_core::{
    Component, Error, Gpt2Config, Position, Result, Site, Tokenizer,
    causal::Value,
    direction::Direction,
    task::programs::{Lexicon, Program, Sampler, Words, program},
};

use crate::protocol::{
    Answer, AttentionRows, Cell, Interchange, LensRow, Prompts, Request, Response,
};
use learned::{LearnedMap, Origin};
use map::{InterchangeMap, score};

/// The program that the embedded solver knows.
const PROGRAM: &str = "07065a";
/// Steps of undo that are kept.
const N_UNDO: usize = 100;

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

/// What a card swaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A learned direction, by its index in [`Session::directions`].
    Direction(usize),
    /// The whole vector.
    Whole,
}

/// An intervention that can be switched on.
#[derive(Clone, Debug, PartialEq)]
pub struct Card {
    /// What is swapped.
    pub what: What,
    /// Where.
    pub site: Site,
    /// Token of the base prompt that is written.
    pub base_position: Position,
    /// Token of the source prompt that is read.
    pub source_position: Position,
    /// 0 leaves the base as it is, 1 swaps.
    pub strength: f32,
    /// True if it is done.
    pub is_on: bool,
}

/// Everything that undo and redo bring back.
#[derive(Clone, Debug, PartialEq)]
pub struct Choices {
    /// The run that is changed.
    pub base: Prompt,
    /// The run that values are taken from.
    pub source: Prompt,
    /// One card an intervention.
    pub cards: Vec<Card>,
}

impl Choices {
    /// One of the two prompts.
    pub fn prompt(&self, side: Side) -> &Prompt {
        match side {
            Side::Base => &self.base,
            Side::Source => &self.source,
        }
    }

    fn prompt_mut(&mut self, side: Side) -> &mut Prompt {
        match side {
            Side::Base => &mut self.base,
            Side::Source => &mut self.source,
        }
    }

    /// The prompts as the engine takes them.
    pub fn prompts(&self) -> Prompts {
        Prompts {
            base: self.base.ids.clone(),
            source: self.source.ids.clone(),
        }
    }
}

/// How the re-run of a direction's probe came out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Probe {
    /// Not yet.
    Unknown,
    /// The same answer as when it was learned.
    Same,
    /// Another answer: the direction does not do here what it did there.
    Different,
}

/// A direction file that was opened.
#[derive(Clone, Debug)]
pub struct Opened {
    /// File name.
    pub name: String,
    /// What it holds; a direction of a head as one of all heads, which the engine takes.
    pub direction: Arc<Direction>,
    /// The head that it is of, where it is of one.
    pub head: Option<usize>,
    /// The file, so that a link can carry it.
    pub bytes: Arc<[u8]>,
    /// True if it comes with the page: a link needs its name only.
    pub is_embedded: bool,
    /// How its probe came out.
    pub probe: Probe,
    /// Where it was taken from, if that is a map.
    pub origin: Option<Origin>,
}

impl Opened {
    /// Its name for people: its cell where it is from a map, variable and task where they are known, else the file's name.
    pub fn title(&self) -> String {
        if let Some(origin) = &self.origin {
            return origin.title.clone();
        }
        let facts = &self.direction.facts;
        match (facts.variable.as_deref(), &facts.task) {
            (Some("op5"), Some(task)) => format!("op5, the output of {}", short_task(task)),
            (Some(variable), Some(task)) => format!("{variable} of {}", short_task(task)),
            _ => self.name.clone(),
        }
    }
}

/// True if both swap the same for the same: what is said of it beside that, as by which program, makes no other direction.
fn is_same_swap(left: &Direction, right: &Direction) -> bool {
    let place = |direction: &Direction| (direction.facts.place.site, direction.facts.place.position);
    let meaning = |direction: &Direction| {
        let facts = &direction.facts;
        [
            Some(facts.model_sha256.clone()),
            facts.task.clone(),
            facts.variable.clone(),
        ]
    };
    place(left) == place(right)
        && meaning(left) == meaning(right)
        && (left.rank(), left.rows()) == (right.rank(), right.rows())
}

/// The task's last part: `programs/07065a` is `07065a`.
fn short_task(task: &str) -> &str {
    task.rsplit('/').next().unwrap_or(task)
}

/// The model that runs.
#[derive(Clone)]
pub struct Model {
    /// Its name.
    pub name: String,
    /// Its sizes.
    pub config: Gpt2Config,
    /// SHA-256 of its weight files.
    pub sha256: String,
    /// Its tokens.
    pub tokenizer: Tokenizer,
    /// The task's words as tokens, where the tokenizer has them.
    pub lexicon: Option<Arc<Lexicon>>,
}

/// What the picture of the model shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Picture {
    /// What each layer would answer.
    #[default]
    Lens,
    /// How far a swap moves the answer.
    Map,
    /// Where heads look.
    Attention,
    /// One of [`Session::maps`].
    Learned(usize),
}

/// Which run a picture shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shown {
    /// The base run.
    Base,
    /// The intervened run.
    #[default]
    Intervened,
    /// Intervened minus base.
    Difference,
}

/// A cell of the layer x token picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Layer.
    pub layer: usize,
    /// Base token.
    pub position: usize,
}

/// Everything on the page.
pub struct Session {
    /// `None` until a model is there.
    pub model: Option<Model>,
    /// What undo and redo bring back.
    pub choices: Choices,
    undo: Vec<Choices>,
    redo: Vec<Choices>,
    /// Direction files that were opened.
    pub directions: Vec<Opened>,
    /// Latest answer and the milliseconds that it took.
    pub answer: Option<(Answer, f64)>,
    /// True if `answer` is from a file, not from the model.
    pub is_recorded: bool,
    /// True if `answer` belongs to the choices.
    pub is_current: bool,
    /// Why the engine refused the latest request.
    pub refusal: Option<String>,
    /// Answers of the lens by layer.
    pub lens: Vec<Option<LensRow>>,
    /// Latest attention, from this cell.
    pub attention: Option<(Cursor, AttentionRows)>,
    /// The interchange map, where one was started.
    pub map: Option<InterchangeMap>,
    /// Bundles that were opened.
    pub maps: Vec<LearnedMap>,
    /// What the picture shows.
    pub picture: Picture,
    /// Which run it shows.
    pub shown: Shown,
    /// The cell under the cursor.
    pub cursor: Cursor,
    /// Attention head that is shown in words.
    pub head: usize,
    /// Demonstrations in a new pair.
    pub shots: usize,
    program: Option<Program>,
    words: Option<Arc<Words>>,
    /// The prompt that is being typed: its keystrokes are one change.
    typing: Option<Side>,
    /// Tokens of the base prompt before the latest change.
    n_tokens: usize,
    /// Counts changes after which running requests are out of date.
    revision: u64,
}

/// Something to ask the engine.
#[derive(Clone, Debug)]
pub struct Job {
    /// The question.
    pub request: Request,
    kind: JobKind,
    revision: u64,
}

#[derive(Clone, Copy, Debug)]
enum JobKind {
    Answer,
    Probe(usize),
    Lens(usize),
    Attention(Cursor),
    Map,
}

impl Session {
    /// The page before a model is there: the recorded example.
    ///
    /// # Errors
    /// - if an embedded file is damaged
    pub fn recorded() -> Result<Self> {
        let example = recorded::example()?;
        let mut session = Self {
            model: None,
            choices: Choices {
                base: example.base,
                source: example.source,
                cards: Vec::new(),
            },
            undo: Vec::new(),
            redo: Vec::new(),
            directions: Vec::new(),
            answer: Some((example.answer, 0.0)),
            is_recorded: true,
            is_current: false,
            refusal: None,
            lens: Vec::new(),
            attention: None,
            map: None,
            maps: Vec::new(),
            picture: Picture::default(),
            shown: Shown::default(),
            cursor: Cursor {
                layer: 0,
                position: 0,
            },
            head: 0,
            shots: 0,
            program: program(PROGRAM).ok(),
            words: Words::embedded().ok().map(Arc::new),
            typing: None,
            n_tokens: 0,
            revision: 0,
        };
        for (name, bytes) in recorded::DIRECTIONS {
            session.open_direction(name, bytes, true)?;
        }
        if let Some(card) = session.choices.cards.first_mut() {
            card.is_on = true;
        }
        session.cursor = session.last_cell();
        session.n_tokens = session.choices.base.ids.len();
        Ok(session)
    }

    /// The last layer's last token.
    fn last_cell(&self) -> Cursor {
        Cursor {
            layer: self.n_layers() - 1,
            position: self.choices.base.ids.len().saturating_sub(1),
        }
    }

    /// Layers of the model, or of the one that is on its way.
    pub fn n_layers(&self) -> usize {
        self.model
            .as_ref()
            .map_or(recorded::n_layers(), |model| model.config.n_layers)
    }

    /// Heads of a layer.
    pub fn n_heads(&self) -> usize {
        self.model.as_ref().map_or(1, |model| model.config.n_heads)
    }

    /// Takes a model; what was computed with another one is dropped, and prompts are read anew.
    pub fn set_model(&mut self, model: Model) {
        for side in Side::BOTH {
            let text = self.choices.prompt(side).text.clone();
            if let Ok(prompt) = Prompt::of_text(&text, &model.tokenizer) {
                *self.choices.prompt_mut(side) = prompt;
            }
        }
        self.choices
            .cards
            .retain(|card| card.what != What::Whole || card.site.check(&model.config).is_ok());
        for card in &mut self.choices.cards {
            if let What::Direction(idx) = card.what {
                card.is_on &= self.directions[idx].direction.check(&model.config).is_ok();
            }
        }
        for opened in &mut self.directions {
            opened.probe = Probe::Unknown;
        }
        self.model = Some(model);
        self.check_maps();
        self.map = None;
        self.undo.clear();
        self.redo.clear();
        self.forget_results();
        self.cursor = self.last_cell();
        self.head = 0;
    }

    /// The same weights, under another name.
    pub fn rename_model(&mut self, name: String) {
        if let Some(model) = &mut self.model {
            model.name = name;
        }
    }

    /// Drops what was computed from other choices; the answer stays until the next one replaces it.
    fn forget_results(&mut self) {
        self.revision += 1;
        self.is_current = false;
        self.refusal = None;
        self.lens = vec![None; self.n_layers()];
        self.attention = None;
        let n_tokens = self.choices.base.ids.len();
        let was_last = self.cursor.position + 1 == self.n_tokens;
        self.n_tokens = n_tokens;
        let last = n_tokens.saturating_sub(1);
        self.cursor.position = match was_last {
            true => last,
            false => self.cursor.position.min(last),
        };
        // A prompt that cannot be read has no answer.
        if !self.is_readable() {
            self.answer = None;
        }
        self.cursor.layer = self.cursor.layer.min(self.n_layers() - 1);
    }

    /// Changes the choices so that the change can be undone.
    pub fn change(&mut self, change: impl FnOnce(&mut Choices)) {
        self.typing = None;
        let before = self.choices.clone();
        change(&mut self.choices);
        if before == self.choices {
            return;
        }
        self.drop_old_map(&before);
        self.undo.push(before);
        if self.undo.len() > N_UNDO {
            self.undo.remove(0);
        }
        self.redo.clear();
        self.forget_results();
    }

    /// Changes the choices as part of the last change: a slider that is still moving.
    pub fn amend(&mut self, change: impl FnOnce(&mut Choices)) {
        change(&mut self.choices);
        self.forget_results();
    }

    fn drop_old_map(&mut self, before: &Choices) {
        if before.prompts() != self.choices.prompts() {
            self.map = None;
        }
    }

    /// Takes the last change back; false if there is none.
    pub fn undo(&mut self) -> bool {
        self.typing = None;
        let Some(choices) = self.undo.pop() else {
            return false;
        };
        let before = std::mem::replace(&mut self.choices, choices);
        self.drop_old_map(&before);
        self.redo.push(before);
        self.forget_results();
        true
    }

    /// Makes the change again that was taken back; false if there is none.
    pub fn redo(&mut self) -> bool {
        let Some(choices) = self.redo.pop() else {
            return false;
        };
        let before = std::mem::replace(&mut self.choices, choices);
        self.drop_old_map(&before);
        self.undo.push(before);
        self.forget_results();
        true
    }

    /// True if there is something to undo, and to redo.
    pub fn has_history(&self) -> [bool; 2] {
        [!self.undo.is_empty(), !self.redo.is_empty()]
    }

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

    /// A random pair of the task whose answer must flip: for the variable of the direction that is on, else the output.
    ///
    /// # Errors
    /// - [`Error::PairsExhausted`] if none is found.
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
    /// - [`Error::PairsExhausted`] if none is found.
    pub fn open_example(&mut self, example: &Example) -> Result<()> {
        let is_it = |session: &Self, card: &Card| match card.what {
            What::Direction(idx) => {
                let facts = &session.directions[idx].direction.facts;
                facts.variable.as_deref() == Some(example.variable)
            }
            What::Whole => false,
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

    fn lexicon(&self) -> Option<&Lexicon> {
        self.model.as_ref()?.lexicon.as_deref()
    }

    /// True if the model's tokenizer has the task's words.
    pub fn has_task(&self) -> bool {
        self.program.is_some() && (self.model.is_none() || self.lexicon().is_some())
    }

    /// The task's words: those of the model's tokenizer, or, before a model is there, the embedded ones.
    fn words(&self) -> Option<&Arc<Words>> {
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
            .find_map(|card| match card.what {
                What::Direction(idx) => self.directions[idx].direction.facts.variable.as_deref(),
                What::Whole => None,
            })
    }

    /// Opens a direction file; a new card, switched off, shows it, unless one shows the same swap.
    ///
    /// # Errors
    /// - those of [`Direction::from_bytes`]
    /// - those of [`Direction::of_all_heads`] if a model is there and it does not fit, and of a direction of a head if none is
    pub fn open_direction(&mut self, name: &str, bytes: &[u8], is_embedded: bool) -> Result<usize> {
        let mut direction = Direction::from_bytes(bytes)?;
        let head = direction.facts.place.head;
        match &self.model {
            Some(model) => direction = direction.of_all_heads(&model.config)?,
            None if head.is_some() => {
                return Err(Error::ComponentUnsupported {
                    name: direction.facts.place.site.component.to_string(),
                    expected: "a component of the stream until the model is there".to_owned(),
                });
            }
            None => {}
        }
        let bytes: Arc<[u8]> = match head {
            Some(_) => direction.to_bytes().into(),
            None => bytes.into(),
        };
        let site = direction.facts.place.site;
        let position = direction.facts.place.position;
        let known = (self.directions.iter())
            .position(|own| own.head == head && is_same_swap(&own.direction, &direction));
        let idx = match known {
            // Of a cell of a map there may be no card.
            Some(idx) if self.has_card(idx) || self.directions[idx].origin.is_none() => {
                return Ok(idx);
            }
            Some(idx) => idx,
            None => {
                self.directions.push(Opened {
                    name: name.to_owned(),
                    direction: Arc::new(direction),
                    head,
                    bytes,
                    is_embedded,
                    probe: Probe::Unknown,
                    origin: None,
                });
                self.directions.len() - 1
            }
        };
        let card = Card {
            what: What::Direction(idx),
            site,
            base_position: position,
            source_position: position,
            strength: 1.0,
            is_on: false,
        };
        // Undo is about what a person does with a file, not about having it.
        for choices in self.undo.iter_mut().chain(&mut self.redo) {
            choices.cards.push(card.clone());
        }
        self.choices.cards.push(card);
        Ok(idx)
    }

    fn has_card(&self, direction: usize) -> bool {
        let cards = &self.choices.cards;
        cards
            .iter()
            .any(|card| card.what == What::Direction(direction))
    }

    /// A whole-vector swap at a cell, switched on; the source token has the same distance from its prompt's end.
    pub fn arm_cell(&mut self, component: Component, cell: Cursor) {
        let site = component.at(cell.layer);
        let base_position = self.base_position(cell.position);
        let source_position = self.source_position(cell.position);
        let card = Card {
            what: What::Whole,
            site,
            base_position,
            source_position,
            strength: 1.0,
            is_on: true,
        };
        self.change(|choices| {
            let same = |own: &&mut Card| {
                own.what == What::Whole && own.site == site && own.base_position == base_position
            };
            match choices.cards.iter_mut().find(same) {
                Some(own) => *own = card,
                None => choices.cards.push(card),
            }
        });
    }

    /// Moves a card to another token.
    pub fn move_card(&mut self, idx: usize, position: usize) {
        let base_position = self.base_position(position);
        let source_position = self.source_position(position);
        self.change(|choices| {
            if let Some(card) = choices.cards.get_mut(idx) {
                card.base_position = base_position;
                card.source_position = source_position;
            }
        });
    }

    /// Removes a card; its direction stays known.
    pub fn remove_card(&mut self, idx: usize) {
        self.change(|choices| {
            if idx < choices.cards.len() {
                choices.cards.remove(idx);
            }
        });
    }

    /// The last token stays the last one when the prompt changes.
    fn base_position(&self, position: usize) -> Position {
        match position + 1 == self.choices.base.ids.len() {
            true => Position::LAST,
            false => Position::Index(position),
        }
    }

    /// The source token that has the same distance from its prompt's end as this base token.
    fn source_position(&self, position: usize) -> Position {
        let from_end = self.choices.base.ids.len() - 1 - position;
        match from_end {
            0 => Position::LAST,
            _ => Position::Index(
                (self.choices.source.ids.len().saturating_sub(1)).saturating_sub(from_end),
            ),
        }
    }

    /// Name of a card for people.
    pub fn card_title(&self, card: &Card) -> String {
        match card.what {
            What::Direction(idx) => self.directions[idx].title(),
            What::Whole => match card.site.component {
                Component::BlockOutput => "whole residual vector".to_owned(),
                component => format!("whole {component}"),
            },
        }
    }

    /// Why a card cannot be done, where it cannot.
    pub fn card_problem(&self, card: &Card) -> Option<String> {
        let check = || -> Result<()> {
            card.base_position.resolve(self.choices.base.ids.len())?;
            card.source_position
                .resolve(self.choices.source.ids.len())?;
            if let Some(model) = &self.model {
                card.site.check(&model.config)?;
                if let What::Direction(idx) = card.what {
                    self.directions[idx].direction.check(&model.config)?;
                }
            }
            Ok(())
        };
        check().err().map(|error| error.to_string())
    }

    /// What a person should know about a card that can be done.
    pub fn card_warning(&self, card: &Card) -> Option<String> {
        let What::Direction(idx) = card.what else {
            return None;
        };
        let (opened, model) = (&self.directions[idx], self.model.as_ref()?);
        if opened.direction.facts.model_sha256 != model.sha256 {
            return Some(format!(
                "learned on other weights ({}): its scores say nothing about this model",
                opened.direction.facts.model
            ));
        }
        if opened.direction.facts.task.is_some() && !self.is_on_task() {
            return Some(format!(
                "{} was measured on other prompts than these: on pairs of the task",
                score(opened.direction.facts.iia)
            ));
        }
        (opened.probe == Probe::Different).then(|| {
            "its probe gives another answer here than when it was learned: damaged, or another program".to_owned()
        })
    }

    /// What the cards that are on do, as the engine takes it; cards that cannot be done are left out.
    pub fn interchanges(&self) -> Vec<Interchange> {
        self.choices
            .cards
            .iter()
            .filter(|card| card.is_on && self.card_problem(card).is_none())
            .filter_map(|card| self.interchange(card))
            .collect()
    }

    fn interchange(&self, card: &Card) -> Option<Interchange> {
        let basis = match card.what {
            What::Whole => None,
            What::Direction(idx) => {
                let direction = &self.directions[idx].direction;
                Some((direction.rows().to_vec(), direction.rank()))
            }
        };
        Some(Interchange {
            layer: card.site.layer,
            component: card.site.component,
            base_position: card
                .base_position
                .resolve(self.choices.base.ids.len())
                .ok()?,
            source_position: card
                .source_position
                .resolve(self.choices.source.ids.len())
                .ok()?,
            basis,
            strength: card.strength,
        })
    }

    /// What to ask the engine next, the most wanted first; `None` if everything on the page is up to date.
    pub fn next_job(&self) -> Option<Job> {
        let model = self.model.as_ref()?;
        let (kind, request) = self
            .answer_job()
            .or_else(|| self.picture_job())
            .or_else(|| self.probe_job(model))
            .or_else(|| Some((JobKind::Map, self.map.as_ref()?.next_request()?)))?;
        let revision = self.revision;
        Some(Job {
            request,
            kind,
            revision,
        })
    }

    /// True if a job that was asked is still what is wanted most. The engine need not end any other.
    pub fn wants(&self, job: &Job) -> bool {
        let next = self.next_job();
        next.is_some_and(|next| next.revision == job.revision && next.request == job.request)
    }

    /// True if the model can read both prompts.
    fn is_readable(&self) -> bool {
        let is_readable = |side| {
            let ids = &self.choices.prompt(side).ids;
            let model = self.model.as_ref();
            model.is_none_or(|model| model.config.check_ids(&[ids]).is_ok())
        };
        Side::BOTH.into_iter().all(is_readable)
    }

    fn answer_job(&self) -> Option<(JobKind, Request)> {
        let is_wanted = !self.is_current && self.refusal.is_none();
        (is_wanted && self.is_readable()).then(|| {
            let request = Request::Answer {
                prompts: self.choices.prompts(),
                interchanges: self.interchanges(),
            };
            (JobKind::Answer, request)
        })
    }

    fn picture_job(&self) -> Option<(JobKind, Request)> {
        if !self.is_current {
            return None;
        }
        let (prompts, interchanges) = (self.choices.prompts(), self.interchanges());
        match self.picture {
            Picture::Map | Picture::Learned(_) => None,
            Picture::Lens => {
                let layer = self.lens.iter().rposition(Option::is_none)?;
                let pair = self.pair()?;
                let request = Request::Lens {
                    prompts,
                    interchanges,
                    layer,
                    pair,
                };
                Some((JobKind::Lens(layer), request))
            }
            Picture::Attention => {
                let cursor = self.cursor;
                if matches!(&self.attention, Some((from, _)) if *from == cursor) {
                    return None;
                }
                let Cursor { layer, position } = cursor;
                let request = Request::Attention {
                    prompts,
                    interchanges,
                    layer,
                    position,
                };
                Some((JobKind::Attention(cursor), request))
            }
        }
    }

    fn probe_job(&self, model: &Model) -> Option<(JobKind, Request)> {
        let idx = self.directions.iter().position(|opened| {
            let facts = &opened.direction.facts;
            opened.probe == Probe::Unknown
                && facts.model_sha256 == model.sha256
                && opened.direction.check(&model.config).is_ok()
        })?;
        Some((JobKind::Probe(idx), self.probe_request(idx)?))
    }

    /// Takes the engine's answer to a job; one to an older question is dropped.
    pub fn take(&mut self, job: &Job, response: Response, ms: f64) {
        let is_stale = job.revision != self.revision;
        match (job.kind, response) {
            (JobKind::Probe(idx), Response::Answer(answer)) => self.set_probe(idx, &answer),
            (JobKind::Map, Response::Scan(cells)) => {
                if let Some(map) = &mut self.map
                    && map.next_request().as_ref() == Some(&job.request)
                {
                    map.take(cells);
                }
            }
            _ if is_stale => {}
            (JobKind::Answer, Response::Answer(answer)) => {
                self.answer = Some((answer, ms));
                self.is_recorded = false;
                self.is_current = true;
            }
            (JobKind::Lens(layer), Response::Lens(row)) => self.lens[layer] = Some(row),
            (JobKind::Attention(from), Response::Attention(rows)) => {
                self.attention = Some((from, rows));
            }
            _ => {}
        }
    }

    /// Takes the engine's refusal of a job, so that it is not asked again and again.
    pub fn refuse(&mut self, job: &Job, cause: &str) {
        match job.kind {
            JobKind::Probe(idx) => {
                if let Some(opened) = self.directions.get_mut(idx) {
                    opened.probe = Probe::Different;
                }
            }
            JobKind::Map => {
                if let Some(map) = &mut self.map {
                    map.is_running = false;
                }
            }
            _ if job.revision != self.revision => {}
            JobKind::Answer => self.refusal = Some(cause.to_owned()),
            JobKind::Lens(_) | JobKind::Attention(_) => {
                self.picture = Picture::Map;
                self.refusal = Some(cause.to_owned());
            }
        }
    }

    /// Starts the interchange map of a component; false if there is no answer yet to compare with.
    pub fn start_map(&mut self, component: Component, now: f64) -> bool {
        let Some((answer, _)) = self.answer.as_ref().filter(|_| self.is_current) else {
            return false;
        };
        let (prompts, n_layers) = (self.choices.prompts(), self.n_layers());
        self.map = Some(InterchangeMap::new(
            component, prompts, n_layers, answer, now,
        ));
        true
    }

    /// The request that re-runs the probe of a direction.
    fn probe_request(&self, idx: usize) -> Option<Request> {
        let direction = &self.directions.get(idx)?.direction;
        let probe = &direction.facts.probe;
        let prompts = Prompts {
            base: probe.base.clone(),
            source: probe.source.clone(),
        };
        Some(Request::Answer {
            interchanges: vec![Interchange::learned(direction, &prompts)?],
            prompts,
        })
    }

    /// Takes the answer to [`Session::probe_request`].
    fn set_probe(&mut self, idx: usize, answer: &Answer) {
        let Some(opened) = self.directions.get_mut(idx) else {
            return;
        };
        let probe = &opened.direction.facts.probe;
        let row = answer.rows.iter().find(|row| row.id == answer.top[1]);
        let agrees = row.is_some_and(|row| probe.agrees(row.id, row.scores[1].logit));
        opened.probe = match agrees {
            true => Probe::Same,
            false => Probe::Different,
        };
    }

    /// The two tokens whose logits are compared: base's answer and source's answer.
    pub fn pair(&self) -> Option<[u32; 2]> {
        self.answer.as_ref().map(|(answer, _)| answer.pair)
    }

    /// Text of a token id.
    pub fn token(&self, id: u32) -> String {
        match &self.model {
            Some(model) => model.tokenizer.decode(&[id]),
            None => recorded::token(id),
        }
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

    /// True if a swap at this site, at this base token, can change the answer.
    pub fn reaches_the_answer(&self, site: Site, position: usize) -> bool {
        let n_tokens = self.choices.base.ids.len();
        n_tokens > 0 && site.reaches_logits(position, self.n_layers(), n_tokens - 1)
    }

    /// Cell of the lens as it is shown: value and, for a difference, how much it changed.
    pub fn lens_cell(&self, cell: Cursor) -> Option<(Cell, Cell)> {
        let row = self.lens.get(cell.layer)?.as_ref()?;
        let base = *row.base.get(cell.position)?;
        let intervened = row
            .intervened
            .as_ref()
            .and_then(|(start, cells)| cells.get(cell.position.checked_sub(*start)?))
            .copied();
        Some((base, intervened.unwrap_or(base)))
    }
}

#[cfg(test)]
mod tests;

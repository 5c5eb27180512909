//! What the person chose and what came back, in plain structs; no browser here, so that all of it is tested natively.

pub mod card;
mod cards;
pub mod code;
pub mod fit;
pub mod flips;
mod gallery;
pub mod job;
pub mod kept;
pub mod learned;
pub mod lint;
pub mod look;
pub mod map;
pub mod numbers;
pub mod picture;
mod placing;
pub mod prompt;
pub mod recorded;
pub mod share;
pub mod task;
pub mod text;
mod typing;

use std::sync::Arc;

use swivel_core::{
    Component, Result, Site, Sizes, TokenKind, Tokenizer,
    question::{Form, programs::AskedProgram},
};
use swivel_engine::protocol::{Answer, AttentionRows, Cell, LensRow};

pub use card::{Card, Opened, Probe};
pub use look::{Look, Sort};
pub use picture::{Cursor, Picture, Shown};
pub use placing::Way;
pub use prompt::{Prompt, Prompts, Side};

use flips::FlipTable;
use learned::OpenedSweep;
use map::PatchMap;
use text::Text;

/// Steps of undo that are kept.
const N_UNDO: usize = 100;

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

/// The model that runs.
#[derive(Clone)]
pub struct Model {
    /// Its name.
    pub name: String,
    /// `model_type` of its config.
    pub family: &'static str,
    /// Its sizes.
    pub sizes: Sizes,
    /// SHA-256 of its weight files.
    pub sha256: String,
    /// Its tokens.
    pub tokenizer: Tokenizer,
    /// Tokens behind which a text has ended.
    pub end_tokens: Vec<u32>,
    /// The answers of tasks, as [`task::choices`] gives them.
    pub choices: Vec<(&'static str, Vec<u32>)>,
    /// The program that pairs are sampled from, where the tokenizer has its words.
    pub program: Option<Arc<AskedProgram>>,
}

/// Everything on the page.
pub struct Session {
    /// `None` until a model is there.
    pub model: Option<Model>,
    /// The question that was opened last, by its number among [`recorded::QUESTIONS`].
    pub question: usize,
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
    /// The map of patches, where one was started.
    pub map: Option<PatchMap>,
    /// The text behind the base prompt, where one was started.
    pub text: Option<Text>,
    /// The table of many pairs, where one was started.
    pub flips: Option<FlipTable>,
    /// Tables that were started.
    n_tables: u64,
    /// Sweep results that were opened.
    pub sweeps: Vec<OpenedSweep>,
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
    /// What the program's prompts look like, before a model is there.
    form: Option<Form>,
    /// The prompt that is being typed: its keystrokes are one change.
    typing: Option<Side>,
    /// Tokens of the base prompt before the latest change.
    n_tokens: usize,
    /// Counts changes after which running requests are out of date.
    revision: u64,
}

impl Session {
    /// The page before a model is there: a question, by its number.
    ///
    /// # Errors
    /// - if an embedded file is damaged
    pub fn of_question(question: usize) -> Result<Self> {
        let mut session = Self {
            model: None,
            question,
            choices: Choices {
                base: Prompt::default(),
                source: Prompt::default(),
                cards: Vec::new(),
            },
            undo: Vec::new(),
            redo: Vec::new(),
            directions: Vec::new(),
            answer: None,
            is_recorded: true,
            is_current: false,
            refusal: None,
            lens: Vec::new(),
            attention: None,
            map: None,
            text: None,
            flips: None,
            n_tables: 0,
            sweeps: Vec::new(),
            picture: Picture::default(),
            shown: Shown::default(),
            cursor: Cursor {
                layer: 0,
                position: 0,
            },
            head: 0,
            shots: 0,
            form: Form::solver().ok(),
            typing: None,
            n_tokens: 0,
            revision: 0,
        };
        session.open_question(question)?;
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
            .map_or(recorded::n_layers(self.question), |model| {
                model.sizes.n_layers
            })
    }

    /// Heads of a layer.
    pub fn n_heads(&self) -> usize {
        self.model.as_ref().map_or(1, |model| model.sizes.n_heads)
    }

    /// Heads of a layer at a component, which has fewer of keys and values in some families.
    pub fn n_heads_at(&self, component: Component) -> usize {
        let n_heads = self
            .model
            .as_ref()
            .map(|model| component.n_heads(&model.sizes));
        n_heads.flatten().unwrap_or_else(|| self.n_heads())
    }

    /// True if blocks of the model have the component.
    pub fn has(&self, component: Component) -> bool {
        let Some(model) = &self.model else {
            return true;
        };
        let layers = [0, model.sizes.n_layers - 1];
        layers
            .iter()
            .any(|layer| component.at(*layer).check(&model.sizes).is_ok())
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
            .retain(|card| card.direction.is_some() || card.place.check(&model.sizes).is_ok());
        for card in &mut self.choices.cards {
            if let Some(idx) = card.direction {
                card.is_on &= self.directions[idx].direction.check(&model.sizes).is_ok();
            }
        }
        for opened in &mut self.directions {
            opened.probe = Probe::Unknown;
        }
        let of_model = recorded::of_model(&model.sha256);
        self.model = Some(model);
        // Of several questions about one model the one that is open stays.
        if !self.is_of_question()
            && let Some((question, _)) = of_model
        {
            self.question = question;
        }
        self.check_maps();
        self.map = None;
        self.flips = None;
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
        self.text = None;
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

    /// The two tokens whose logits are compared: base's answer and source's answer.
    pub fn pair(&self) -> Option<[u32; 2]> {
        self.answer.as_ref().map(|(answer, _)| answer.pair)
    }

    /// Text of a token id.
    pub fn token(&self, id: u32) -> String {
        match &self.model {
            Some(model) => model.tokenizer.token(id),
            None => recorded::token(self.question, id),
        }
    }

    /// How a token looks.
    pub fn look(&self, id: u32) -> Look {
        match &self.model {
            Some(model) => Look::of(&model.tokenizer.token(id), &model.tokenizer.kind(id)),
            None => Look::of(&recorded::token(self.question, id), &TokenKind::Text),
        }
    }

    /// How the token of a prompt at a position looks; its text is known before there is a model.
    pub fn look_at(&self, side: Side, position: usize) -> Option<Look> {
        let prompt = self.choices.prompt(side);
        match &self.model {
            Some(_) => prompt.ids.get(position).map(|id| self.look(*id)),
            None => (prompt.pieces.get(position)).map(|piece| Look::of(piece, &TokenKind::Text)),
        }
    }

    /// True if the tokenizer put the first token of a prompt there, and nobody typed it.
    pub fn is_added(&self, side: Side) -> bool {
        let prompt = self.choices.prompt(side);
        let model = self.model.as_ref();
        let first = model.and_then(|model| model.tokenizer.first_token());
        let is_first = first.is_some() && prompt.ids.first() == first.as_ref();
        is_first && !(prompt.pieces.first()).is_some_and(|piece| prompt.text.starts_with(piece))
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

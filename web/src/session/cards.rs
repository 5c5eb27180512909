//! The cards of the page: opened, armed at a cell, moved and removed; their names, and why one cannot be done.

use std::sync::Arc;

use swivel_core::{
    Component, Error, Place, Position, Result,
    direction::{Direction, Facts},
    hub::HubId,
    plan::{Operation, PlanError},
};

use super::{
    Card, Cursor, Opened, Probe, Session, Side,
    numbers::score,
    recorded::{QUESTIONS, Question},
};
use crate::offered::OFFERED;

impl Session {
    /// Opens a direction file; a new card, switched off, shows it, unless one shows the same swap.
    ///
    /// # Errors
    /// - those of [`Direction::from_bytes`]
    /// - those of [`Direction::check`] if a model is there and it does not fit
    pub fn open_direction(&mut self, name: &str, bytes: &[u8], is_embedded: bool) -> Result<usize> {
        let direction = Direction::from_bytes(bytes)?;
        // One of another model that can be fetched is shown, and offers that.
        if let Some(model) = &self.model
            && where_learned(&direction.facts).is_none()
        {
            direction.check(&model.sizes)?;
        }
        let known =
            (self.directions.iter()).position(|own| is_same_swap(&own.direction, &direction));
        let idx = match known {
            // Of a cell of a map there may be no card.
            Some(idx) if self.has_card(idx) || self.directions[idx].origin.is_none() => {
                return Ok(idx);
            }
            Some(idx) => idx,
            None => {
                self.directions.push(Opened {
                    is_embedded,
                    ..Opened::new(name, direction, bytes)
                });
                self.directions.len() - 1
            }
        };
        let mut card = Card::of_direction(idx, &self.directions[idx].direction);
        let ids = Side::BOTH.map(|side| &*self.choices.prompt(side).ids);
        self.find_token(&mut card, ids);
        // Undo is about what a person does with a file, not about having it.
        for choices in self.undo.iter_mut().chain(&mut self.redo) {
            choices.cards.push(card.clone());
        }
        self.choices.cards.push(card);
        Ok(idx)
    }

    /// The number of a direction that comes with the page, which is opened where it was not yet.
    pub(super) fn know_direction(&mut self, name: &str, bytes: &[u8]) -> Result<usize> {
        let is_it = |own: &Opened| own.is_embedded && own.name == name;
        if let Some(idx) = self.directions.iter().position(is_it) {
            return Ok(idx);
        }
        let direction = Direction::from_bytes(bytes)?;
        self.directions.push(Opened {
            is_embedded: true,
            ..Opened::new(name, direction, bytes)
        });
        Ok(self.directions.len() - 1)
    }

    fn has_card(&self, direction: usize) -> bool {
        let cards = &self.choices.cards;
        cards.iter().any(|card| card.direction == Some(direction))
    }

    /// An operation on the whole value at a cell, in one head or in all, switched on; the source token has the same distance from
    /// its prompt's end.
    pub fn arm_cell(
        &mut self,
        operation: &'static Operation,
        (component, head): (Component, Option<usize>),
        cell: Cursor,
    ) {
        let place = Place {
            site: component.at(cell.layer),
            head,
            position: self.base_position(cell.position),
        };
        let card = Card::new(operation, place, self.source_position(cell.position));
        self.change(|choices| {
            let same = |own: &&mut Card| {
                (own.operation, own.direction, own.place)
                    == (card.operation, card.direction, card.place)
            };
            match choices.cards.iter_mut().find(same) {
                Some(own) => *own = card,
                None => choices.cards.push(card),
            }
        });
    }

    /// Switches a card on, or off if it is on.
    pub fn toggle_card(&mut self, idx: usize) {
        self.change(|choices| {
            if let Some(card) = choices.cards.get_mut(idx) {
                card.is_on = !card.is_on;
            }
        });
    }

    /// Moves a card to another token.
    pub fn move_card(&mut self, idx: usize, position: usize) {
        let base_position = self.base_position(position);
        let source_position = self.source_position(position);
        self.change(|choices| {
            if let Some(card) = choices.cards.get_mut(idx) {
                card.place.position = base_position;
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
        Position::of(position, self.choices.base.ids.len())
    }

    /// The source token that belongs to this base token; its first where none does.
    fn source_position(&self, position: usize) -> Position {
        let partner = self.partners().get(position).copied().flatten();
        Position::of(partner.unwrap_or(0), self.choices.source.ids.len())
    }

    /// Name of a card for people.
    pub fn card_title(&self, card: &Card) -> String {
        if let Some(idx) = card.direction {
            return self.directions[idx].title();
        }
        let value = match card.place.site.component {
            Component::BlockOutput => "residual vector".to_owned(),
            component => component.to_string(),
        };
        match card.operation == Operation::INTERCHANGE {
            true => format!("whole {value}"),
            false => format!("{} the {value}", card.operation.verb),
        }
    }

    /// Why a card cannot be done, where it cannot: what the check of a plan with this card alone says.
    pub fn card_problem(&self, card: &Card) -> Option<String> {
        let check = || -> Result<()> {
            card.place.position.resolve(self.choices.base.ids.len())?;
            if card.operation.reads_token() {
                card.source_position
                    .resolve(self.choices.source.ids.len())?;
            }
            if let Some(model) = &self.model {
                card.place.check(&model.sizes)?;
                let plan = self.plan_of(&[card], |opened| opened.engine_name.clone());
                let read = |_: &str| match card.direction {
                    Some(idx) => Ok(Arc::clone(&self.directions[idx].direction)),
                    None => Err("no card has it"),
                };
                plan.check(&model.sizes, None, read)?;
            }
            Ok(())
        };
        check().err().map(|error| match error {
            Error::Plan(PlanError::Field { cause, .. }) => cause.to_string(),
            Error::Plan(PlanError::Value {
                expected, found, ..
            }) => format!("expected {expected}, found {found}"),
            error => error.to_string(),
        })
    }

    /// What a person should know about a card that can be done.
    pub fn card_warning(&self, card: &Card) -> Option<String> {
        let (opened, model) = (&self.directions[card.direction?], self.model.as_ref()?);
        if !self.is_of_this_model(opened) {
            let learned_on = &opened.direction.facts.model;
            return Some(match opened.probe {
                Probe::Unknown => format!(
                    "learned on other weights ({learned_on}): whether they are the same model in another format is not known yet"
                ),
                _ => format!(
                    "learned on another model ({learned_on}): its probe gives another answer here, and its scores say nothing about this one"
                ),
            });
        }
        if let Err(error) = opened.direction.check_tokenizer(&model.tokenizer) {
            return Some(error.to_string());
        }
        if opened.direction.facts.task.is_some()
            && !card.direction.is_some_and(|idx| self.is_on_task_of(idx))
        {
            return Some(format!(
                "{} was measured on other prompts than these: on pairs of the task",
                score(opened.direction.facts.iia)
            ));
        }
        (opened.probe == Probe::Different).then(|| {
            "its probe gives another answer here than when it was learned: damaged, or another program".to_owned()
        })
    }

    /// True if a direction was learned on the weights of the page, or on the same model's in another format: then its probe
    /// agrees.
    pub fn is_of_this_model(&self, opened: &Opened) -> bool {
        let facts = &opened.direction.facts;
        let model = self.model.as_ref();
        model.is_some_and(|model| facts.model_sha256 == model.sha256 || opened.probe == Probe::Same)
    }

    /// What opens the model that a card's direction was learned on, where that is another than the page's and can be fetched.
    pub fn model_to_open(&self, card: &Card) -> Option<String> {
        let opened = self.directions.get(card.direction?)?;
        if self.model.is_none() || self.is_of_this_model(opened) {
            return None;
        }
        let mut questions = QUESTIONS.iter();
        let names =
            |question: &&Question| question.directions.iter().any(|own| own.0 == opened.name);
        let of_question = || {
            questions
                .find(names)
                .map(|question| question.model.to_owned())
        };
        let built_in = || opened.is_embedded.then(of_question).flatten();
        where_learned(&opened.direction.facts).or_else(built_in)
    }

    /// The cards that are done: those that are on and can be.
    pub fn active(&self) -> impl Iterator<Item = &Card> {
        let cards = self.choices.cards.iter();
        cards.filter(|card| card.is_on && self.card_problem(card).is_none())
    }
}

/// What opens the model that a direction was learned on, where that is on the Hub.
fn where_learned(facts: &Facts) -> Option<String> {
    let mut offered = OFFERED.iter();
    let offered = offered.find(|own| own.sha256 == Some(facts.model_sha256.as_str()));
    match offered {
        Some(offered) => Some(offered.id.to_owned()),
        None => HubId::parse(&facts.model).map(|id| id.to_string()),
    }
}

/// True if both swap the same for the same: what is said of it beside that, as by which program, makes no other direction.
fn is_same_swap(left: &Direction, right: &Direction) -> bool {
    let meaning = |direction: &Direction| {
        let facts = &direction.facts;
        [
            Some(facts.model_sha256.clone()),
            facts.task.clone(),
            facts.variable.clone(),
        ]
    };
    left.facts.place == right.facts.place
        && meaning(left) == meaning(right)
        && (left.features(), left.mask()) == (right.features(), right.mask())
}

//! The gallery: questions that show a flip before a model is there.

use swivel_core::Result;

use super::{
    Card, Model, Opened, Session,
    numbers::percent,
    recorded::{self, QUESTIONS},
};

impl Session {
    /// Shows a question: its pair, its directions, and the answer that was recorded, until its model says so itself. Another
    /// model goes; files that a person opened stay, switched off.
    ///
    /// # Errors
    /// - if an embedded file is damaged
    pub fn open_question(&mut self, question: usize) -> Result<()> {
        let example = recorded::example(question)?;
        self.question = question;
        self.typing = None;
        self.model
            .take_if(|model| model.sha256 != example.model_sha256);
        let (base, source) = (example.base, example.source);
        (self.choices.base, self.choices.source) = (base, source);
        let directions = &self.directions;
        let is_own = |card: &Card| {
            let opened = card.direction.map(|idx| &directions[idx]);
            opened.is_none_or(|opened| opened.is_embedded)
        };
        self.choices.cards.retain(|card| !is_own(card));
        self.choices
            .cards
            .iter_mut()
            .for_each(|card| card.is_on = false);
        let mut cards = Vec::new();
        for (idx, (name, bytes)) in QUESTIONS[question].directions.iter().enumerate() {
            let direction = self.know_direction(name, bytes)?;
            let mut card = Card::of_direction(direction, &self.directions[direction].direction);
            card.put_at(example.positions);
            card.is_on = idx == 0;
            cards.push(card);
        }
        self.choices.cards.splice(0..0, cards);
        self.undo.clear();
        self.redo.clear();
        self.map = None;
        self.flips = None;
        self.forget_results();
        self.answer = Some((example.answer, 0.0));
        self.is_recorded = true;
        self.cursor = self.last_cell();
        Ok(())
    }

    /// True if the page has the model of the open question, or none yet.
    pub fn is_of_question(&self) -> bool {
        let example = recorded::known(self.question);
        let is_its =
            |model: &Model| example.is_some_and(|example| example.model_sha256 == model.sha256);
        self.model.as_ref().is_none_or(is_its)
    }

    /// How often the swap of the open question does as it should, beside its control.
    pub fn how_often(&self) -> Option<String> {
        let (name, _) = QUESTIONS[self.question].directions.first()?;
        let is_it = |own: &&Opened| own.is_embedded && own.name == *name;
        let direction = &self.directions.iter().find(is_it)?.direction;
        let facts = &direction.facts;
        let random = match direction.rank() {
            1 => "a random number".to_owned(),
            rank => format!("{rank} random ones"),
        };
        let unseen =
            facts.measured.unseen.as_ref().map(|unseen| {
                format!(", {} of those with words it never saw", percent(unseen.iia))
            });
        Some(format!(
            "Swapping works in {} of new pairs{}; {random} in {}.",
            percent(facts.iia),
            unseen.unwrap_or_default(),
            percent(facts.controls.random),
        ))
    }
}

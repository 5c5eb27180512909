//! The gallery: questions that show a flip before a model is there.

use swivel_core::Result;

use super::{
    Card, Session,
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
        self.forget_results();
        self.answer = Some((example.answer, 0.0));
        self.is_recorded = true;
        self.cursor = self.last_cell();
        Ok(())
    }
}

//! The two prompts of the page are typed, set and swapped; directions go along to their tokens.

use swivel_core::{Position, Result, Tokens, question::Form};

use super::{Card, Choices, Prompt, Prompts, Session, Side};

impl Session {
    /// Takes a prompt as typed.
    ///
    /// # Errors
    /// - [`Error::Tokenizer`] if the library cannot encode it.
    pub fn type_prompt(&mut self, side: Side, text: &str) -> Result<()> {
        if let Some(model) = &self.model {
            let mut choices = self.choices.clone();
            *choices.prompt_mut(side) = Prompt::of_text(text, &model.tokenizer)?;
            self.find_tokens(&mut choices);
            if self.typing == Some(side) {
                self.map = None;
                self.amend(|own| *own = choices);
            } else {
                self.change(|own| *own = choices);
                self.typing = Some(side);
            }
        }
        Ok(())
    }

    /// Both prompts from token ids.
    ///
    /// # Errors
    /// - those of [`Sizes::check_ids`]
    pub fn set_prompts(&mut self, prompts: &Prompts) -> Result<()> {
        if let Some(model) = &self.model {
            model.sizes.check_ids(&[&prompts.base])?;
            model.sizes.check_ids(&[&prompts.source])?;
            let mut choices = self.choices.clone();
            choices.base = Prompt::of_ids(prompts.base.clone(), &model.tokenizer);
            choices.source = Prompt::of_ids(prompts.source.clone(), &model.tokenizer);
            self.find_tokens(&mut choices);
            self.change(|own| *own = choices);
        }
        Ok(())
    }

    /// Base becomes source and source becomes base.
    pub fn swap_prompts(&mut self) {
        let mut choices = self.choices.clone();
        std::mem::swap(&mut choices.base, &mut choices.source);
        self.find_tokens(&mut choices);
        self.change(|own| *own = choices);
    }

    fn find_tokens(&self, choices: &mut Choices) {
        let prompts = choices.prompts();
        for card in &mut choices.cards {
            self.find_token(card, &prompts);
        }
    }

    /// Moves a direction that was learned at a named token to where the prompts have it, if they are of its form.
    pub(super) fn find_token(&self, card: &mut Card, prompts: &Prompts) {
        if let Some([base, source]) = self.named_token(card, prompts) {
            card.place.position = Position::Index(base);
            card.source_position = Position::Index(source);
        }
    }

    /// Name of the token that a card's direction was learned at, where the prompts have it and the card is there.
    pub fn token_name(&self, card: &Card) -> Option<&str> {
        let [base, source] = self.named_token(card, &self.choices.prompts())?;
        let is_there = card.place.position == Position::Index(base)
            && card.source_position == Position::Index(source);
        let direction = &self.directions[card.direction?].direction;
        direction.facts.token.as_deref().filter(|_| is_there)
    }

    /// Where prompts have the token that a card's direction was learned at; `None` where it has no name, or they are of another form.
    fn named_token(&self, card: &Card, prompts: &Prompts) -> Option<[usize; 2]> {
        let (model, facts) = (
            self.model.as_ref()?,
            &self.directions[card.direction?].direction.facts,
        );
        let name = facts.token.as_ref()?.parse().ok()?;
        let form = Form::of_templates(&facts.templates).ok()?;
        let token = |ids: &[u32]| form.token(&name, &Tokens::of_ids(ids, &model.tokenizer));
        Some([token(&prompts.base)?, token(&prompts.source)?])
    }
}

//! Where in a prompt an intervention acts: a direction that was learned at a named token finds it by the form of the sentence, else
//! by its words, else a person says where; and which tokens of two prompts belong together.

use swivel_core::{
    Position, Tokens,
    question::{Form, TokenName, shipped},
};

use super::{Card, Choices, Session, Side};

/// How a direction came to its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The prompt is of the form that it was learned on.
    Form,
    /// It is not, but has a word that can stand there.
    Word,
    /// Neither: a person put it there, or it is where it was.
    Hand,
}

impl Session {
    /// Moves the directions of some choices to their tokens.
    pub(super) fn find_tokens(&self, choices: &mut Choices) {
        let ids = Side::BOTH.map(|side| choices.prompt(side).ids.clone());
        for card in &mut choices.cards {
            self.find_token(card, [&ids[0], &ids[1]]);
        }
    }

    /// Moves a direction that was learned at a named token to where base and source have it, as far as that can be found.
    pub(super) fn find_token(&self, card: &mut Card, [base, source]: [&[u32]; 2]) {
        if let Some((base, _)) = self.named_token(card, base) {
            card.place.position = Position::Index(base);
        }
        if let Some((source, _)) = self.named_token(card, source) {
            card.source_position = Position::Index(source);
        }
    }

    /// The name of the token that a card's direction was learned at, and how it came to where it is in base and source; `None` where it
    /// has no name.
    pub fn placing(&self, card: &Card) -> Option<(&str, [Way; 2])> {
        let direction = &self.directions[card.direction?].direction;
        self.model.as_ref()?;
        let name = direction.facts.token.as_deref()?;
        let ways = Side::BOTH.map(|side| {
            let position = match side {
                Side::Base => card.place.position,
                Side::Source => card.source_position,
            };
            let found = self.named_token(card, &self.choices.prompt(side).ids);
            match found {
                Some((token, way)) if position == Position::Index(token) => way,
                _ => Way::Hand,
            }
        });
        Some((name, ways))
    }

    /// How a card came to its tokens, in words, where that is not by the form of both prompts.
    pub fn said_of_placing(&self, card: &Card) -> Option<String> {
        let (name, ways) = self.placing(card)?;
        if ways == [Way::Form; 2] {
            return None;
        }
        let of = |side: Side| {
            let (position, way) = match side {
                Side::Base => (card.place.position, ways[0]),
                Side::Source => (card.source_position, ways[1]),
            };
            let position = position.resolve(self.choices.prompt(side).ids.len()).ok()?;
            let token = self.look_at(side, position)?.quoted();
            let how = match way {
                Way::Form => "by the form of the sentence",
                Way::Word => "by its word",
                Way::Hand => "as it was set; a click on a token moves it",
            };
            Some(format!("in the {} {token}, {how}", side.name()))
        };
        let sides: Vec<String> = Side::BOTH.into_iter().filter_map(of).collect();
        Some(format!("`{name}`: {}", sides.join("; ")))
    }

    /// Name of the token that a card's direction was learned at, where both prompts are of its form and the card is there.
    pub fn token_name(&self, card: &Card) -> Option<&str> {
        let (name, ways) = self.placing(card)?;
        (ways == [Way::Form; 2]).then_some(name)
    }

    /// The card that [`Session::point_at`] moves.
    fn pointed(&self, side: Side) -> Option<usize> {
        let is_meant =
            |card: &Card| card.is_on && (side == Side::Base || card.operation.reads_token());
        self.choices.cards.iter().position(is_meant)
    }

    /// True if a token of a prompt can be pointed at.
    pub fn can_point(&self, side: Side) -> bool {
        self.model.is_some() && self.pointed(side).is_some()
    }

    /// Has the first card that is on act at a token of the base, or read one of the source; false if none is.
    pub fn point_at(&mut self, side: Side, position: usize) -> bool {
        let Some(idx) = self.pointed(side).filter(|_| self.model.is_some()) else {
            return false;
        };
        let position = Position::of(position, self.choices.prompt(side).ids.len());
        self.change(|choices| match side {
            Side::Base => choices.cards[idx].place.position = position,
            Side::Source => choices.cards[idx].source_position = position,
        });
        true
    }

    /// Where a prompt has the token that a card's direction was learned at; `None` where it has no name, or that cannot be found.
    fn named_token(&self, card: &Card, ids: &[u32]) -> Option<(usize, Way)> {
        let (model, facts) = (
            self.model.as_ref()?,
            &self.directions[card.direction?].direction.facts,
        );
        let name: TokenName = facts.token.as_ref()?.parse().ok()?;
        let tokens = Tokens::of_ids(ids, &model.tokenizer);
        let form = Form::of_templates(&facts.templates).ok()?;
        if let Some(token) = form.token(&name, &tokens) {
            return Some((token, Way::Form));
        }
        let task = shipped::known(facts.task.as_deref()?)?;
        Some((task.token_by_words(&name, &tokens)?, Way::Word))
    }

    /// The task's tokens of a prompt: its text, as the model reads it; `None` of a text that is none of the task's prompts, and where the page is about no task on language.
    fn tokens(&self, side: Side) -> Option<Tokens> {
        let tokenizer = &self.model.as_ref()?.tokenizer;
        self.task()?;
        let ids = &self.choices.prompt(side).ids;
        // Where each token of a text ends takes much longer to find than whether it is such a prompt.
        let text = tokenizer.decode(tokenizer.without_first(ids));
        let is_of = self.form()?.is_of(&text);
        is_of.then(|| Tokens::of_ids(ids, tokenizer))
    }

    /// Of each token of a prompt, the slot of the task that wrote it, by name: the last token of what it wrote has it.
    pub fn slot_names(&self, side: Side) -> Vec<Option<String>> {
        let names = self.tokens(side).and_then(|tokens| {
            let form = self.form()?;
            let names = form.names(&tokens)?.into_iter();
            Some(names.map(|name| name.map(str::to_owned)).collect())
        });
        names.unwrap_or_else(|| vec![None; self.choices.prompt(side).ids.len()])
    }

    /// True if base and source are matched by the places of the task's sentence, not from their ends.
    pub fn is_matched_by_places(&self) -> bool {
        self.partners_by_places().is_some()
    }

    fn partners_by_places(&self) -> Option<Vec<Option<usize>>> {
        let [base, source] = [self.tokens(Side::Base)?, self.tokens(Side::Source)?];
        self.form()?.partners([&base, &source])
    }

    /// Of each base token, the source token that belongs to it: at the same place of the task's sentence, else as far from the end.
    pub fn partners(&self) -> Vec<Option<usize>> {
        let [n_base, n_source] = Side::BOTH.map(|side| self.choices.prompt(side).ids.len());
        let from_end = |position: usize| (position + n_source).checked_sub(n_base);
        self.partners_by_places()
            .unwrap_or_else(|| (0..n_base).map(from_end).collect())
    }
}

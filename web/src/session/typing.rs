//! The two prompts of the page are typed, set and swapped; directions go along to their tokens.

use swivel_core::{Result, question::Piece};

use super::{Prompt, Prompts, Session, Side};

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

    /// The parts of a prompt of the task, with what else its slots may say; none of another text.
    pub fn pieces(&self, side: Side) -> Vec<Piece> {
        let text = &self.choices.prompt(side).text;
        let pieces = self.task().and_then(|task| {
            let filling = task.read(text)?;
            Some(task.pieces(&filling))
        });
        pieces.unwrap_or_default()
    }

    /// Has a slot of a prompt, counted among its slots, say another of the task's words; what must follow from it does.
    ///
    /// # Errors
    /// - those of [`Session::type_prompt`]
    pub fn choose_word(&mut self, side: Side, slot: usize, word: &str) -> Result<()> {
        let text = &self.choices.prompt(side).text;
        let written = self.task().and_then(|task| {
            let filling = task.saying(&task.read(text)?, slot, word)?;
            Some(task.prompt(&filling).text)
        });
        self.typing = None;
        match written {
            Some(text) => self.type_prompt(side, &text),
            None => Ok(()),
        }
    }
}

//! The two prompts of the page are typed, set and swapped.

use swivel_core::Result;

use super::{Prompt, Prompts, Session, Side};

impl Session {
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
    /// - those of [`Sizes::check_ids`]
    pub fn set_prompts(&mut self, prompts: &Prompts) -> Result<()> {
        if let Some(model) = &self.model {
            model.sizes.check_ids(&[&prompts.base])?;
            model.sizes.check_ids(&[&prompts.source])?;
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
}

//! A program as a model is asked it.

use super::{Lexicon, Program, SHOTS, SOLVED, Sampler, program};
use crate::{Tokenizer, question::TaskError};

/// A program in the words of a tokenizer.
#[derive(Clone, Debug)]
pub struct AskedProgram {
    /// The program.
    pub program: Program,
    /// Words as tokens.
    pub lexicon: Lexicon,
    /// Demonstrations in front of each query.
    pub shots: usize,
}

impl AskedProgram {
    /// A program by its id, or the one that the embedded solver computes; `words` is a list of words that is not the solver's.
    ///
    /// # Errors
    /// - [`TaskError::ProgramUnknown`] if there is no such one.
    /// - those of [`Lexicon::new`]
    pub fn new(
        id: Option<&str>,
        words: Option<&str>,
        shots: Option<usize>,
        tokenizer: &Tokenizer,
    ) -> Result<Self, TaskError> {
        Ok(Self {
            program: program(id.unwrap_or(SOLVED))?,
            lexicon: match words {
                None => Lexicon::embedded(tokenizer)?,
                Some(list) => Lexicon::new(list, tokenizer)?,
            },
            shots: shots.unwrap_or(SHOTS),
        })
    }

    /// Pairs of a variable.
    ///
    /// # Errors
    /// - [`TaskError::VariableUnknown`] if there is no such one.
    pub fn sampler(&self, variable: &str) -> Result<Sampler<'_>, TaskError> {
        Sampler::new(&self.program, &self.lexicon, variable, self.shots)
    }
}

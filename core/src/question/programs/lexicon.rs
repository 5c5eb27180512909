//! Words, answers and marks as tokens, and prompts made of them.

use std::sync::Arc;

use super::{Program, Words, answer};
use crate::{Tokenizer, question::TaskError};

/// Words as tokens: every word, answer and mark of a line is one token.
#[derive(Clone, Debug)]
pub struct Lexicon {
    /// The words that are one token each.
    pub words: Arc<Words>,
    tokens: Vec<u32>,
    comma: u32,
    equals: u32,
    newline: u32,
    answers: [u32; 2],
    /// What the tokenizer puts before every prompt.
    first: Option<u32>,
}

impl Lexicon {
    /// The words of a list that the tokenizer holds as one token each.
    ///
    /// # Errors
    /// - [`TaskError::Words`] if too few words remain, or `True`, `False` or a mark is not one token.
    pub fn new(list: &str, tokenizer: &Tokenizer) -> Result<Self, TaskError> {
        let words = Words::parse(list, |word| tokenizer.single(word).is_some())?;
        let single = |text: &str| {
            let reason = || {
                format!(
                    "`{}` is not one token of this tokenizer",
                    text.escape_debug()
                )
            };
            tokenizer
                .single(text)
                .ok_or_else(|| TaskError::Words { reason: reason() })
        };
        Ok(Self {
            tokens: words.iter().map(single).collect::<Result<_, _>>()?,
            words: Arc::new(words),
            comma: single(",")?,
            equals: single("=")?,
            newline: single("\n")?,
            answers: [single(answer(false))?, single(answer(true))?],
            first: tokenizer.first_token(),
        })
    }

    /// The list of the embedded solver.
    ///
    /// # Errors
    /// As [`Lexicon::new`].
    pub fn embedded(tokenizer: &Tokenizer) -> Result<Self, TaskError> {
        Self::new(include_str!("../words.txt"), tokenizer)
    }

    /// Token id of an answer.
    pub fn answer(&self, truth: bool) -> u32 {
        self.answers[usize::from(truth)]
    }

    /// Token ids of `C0,C1,C2,C3,C4=`.
    pub fn query(&self, line: &[usize; 5]) -> impl Iterator<Item = u32> {
        let marks = [self.comma, self.comma, self.comma, self.comma, self.equals];
        line.map(|word| self.tokens[word])
            .into_iter()
            .zip(marks)
            .flat_map(|(word, mark)| [word, mark])
    }

    /// Token ids of a prompt: what the tokenizer puts first, the demonstrations with their answers, one a line, then the query.
    pub fn prompt(
        &self,
        program: &Program,
        demonstrations: &[[usize; 5]],
        query: &[usize; 5],
    ) -> Vec<u32> {
        let mut ids = Vec::with_capacity(12 * demonstrations.len() + 11);
        ids.extend(self.first);
        for line in demonstrations {
            let [.., op5] = program.ops(&self.words, line);
            ids.extend(self.query(line));
            ids.extend([self.answer(op5), self.newline]);
        }
        ids.extend(self.query(query));
        ids
    }

    /// A query line and its answer as text, `debian,OSED,big,quick,debian=True`.
    pub fn text(&self, line: &[usize; 5]) -> String {
        let words: Vec<&str> = line.iter().map(|word| self.words.word(*word)).collect();
        format!("{}=", words.join(","))
    }
}

//! Tokens of a prompt by the text that they wrote.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::{Position, Tokenizer, TokenizerError, site::PlaceError};

/// A token of a prompt as people write it: counted, or by its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    rename_all = "lowercase",
    expecting = "expected a token from 0, `last`, -2 and so on from the end, or {\"text\": \"…\"}"
)]
pub enum NamedPosition {
    /// The last token of this text where it stands last in the prompt, `{"text": "France"}`.
    Text(String),
    /// Counted, `3`, `"last"`, `-2`.
    #[serde(untagged)]
    Counted(Position),
}

/// A prompt as tokens, and the bytes of its text that each wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// Token ids, the tokenizer's first token before them.
    pub ids: Vec<u32>,
    text: String,
    /// Where the text of each token ends.
    ends: Vec<usize>,
}

impl From<Position> for NamedPosition {
    fn from(position: Position) -> Self {
        Self::Counted(position)
    }
}

impl NamedPosition {
    /// Index of the token in a prompt.
    ///
    /// # Errors
    /// - those of [`Position::resolve`] if it is counted
    /// - those of [`Tokens::of_text`] if it is not
    pub fn resolve(&self, tokens: &Tokens) -> Result<usize, PlaceError> {
        match self {
            Self::Text(text) => tokens.of_text(text),
            Self::Counted(position) => position.resolve(tokens.ids.len()),
        }
    }
}

impl Tokens {
    /// The tokens of a text.
    ///
    /// # Errors
    /// - those of [`Tokenizer::encode`]
    pub fn of(text: &str, tokenizer: &Tokenizer) -> Result<Self, TokenizerError> {
        let ids = tokenizer.encode(text)?;
        Ok(Self::new(ids, text.to_owned(), tokenizer))
    }

    /// These tokens; their text is what they decode to.
    pub fn of_ids(ids: &[u32], tokenizer: &Tokenizer) -> Self {
        Self::new(ids.to_vec(), tokenizer.decode(ids), tokenizer)
    }

    fn new(ids: Vec<u32>, text: String, tokenizer: &Tokenizer) -> Self {
        let first = tokenizer.first_token();
        let first = first.filter(|first| ids.first() == Some(first));
        // A text may say the token that the tokenizer puts before others.
        let is_said = |first| text.starts_with(&tokenizer.token(first));
        let start = usize::from(first.is_some_and(|first| !is_said(first)));
        // Bytes of one character may be several tokens: what is decoded so far is compared with the text.
        let end = |idx: usize| {
            let decoded = tokenizer.decode(&ids[start.min(idx + 1)..=idx]);
            let pairs = decoded.bytes().zip(text.bytes());
            pairs.take_while(|(a, b)| a == b).count()
        };
        let ends = (0..ids.len()).map(end).collect();
        Self { ids, text, ends }
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The first and the last token that wrote some bytes.
    pub fn of_bytes(&self, bytes: &Range<usize>) -> Option<[usize; 2]> {
        let first = self.ends.iter().position(|end| *end > bytes.start)?;
        let last = self.ends.iter().position(|end| *end >= bytes.end)?;
        Some([first, last.max(first)])
    }

    /// The last token of a text where it stands last in the prompt.
    ///
    /// # Errors
    /// - [`PlaceError::TextNowhere`] if the prompt does not have it, or it is empty.
    pub fn of_text(&self, text: &str) -> Result<usize, PlaceError> {
        let start = self.text.rfind(text);
        let found = start.and_then(|start| self.of_bytes(&(start..start + text.len())));
        match found {
            Some([_, last]) => Ok(last),
            None => Err(PlaceError::TextNowhere {
                text: text.to_owned(),
                prompt: self.text.clone(),
            }),
        }
    }

    /// The first token of a text behind the prompt; `None` where the tokenizer joins the two, or the text is empty.
    ///
    /// # Errors
    /// - those of [`Tokenizer::encode`]
    pub fn first_behind(
        &self,
        text: &str,
        tokenizer: &Tokenizer,
    ) -> Result<Option<u32>, TokenizerError> {
        let ids = tokenizer.encode(&format!("{}{text}", self.text))?;
        let behind = ids.strip_prefix(&self.ids[..]);
        Ok(behind.and_then(|behind| behind.first().copied()))
    }
}

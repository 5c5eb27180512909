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

    /// These tokens; their text is what they decode to, without the token that the tokenizer puts in front.
    pub fn of_ids(ids: &[u32], tokenizer: &Tokenizer) -> Self {
        let text = tokenizer.decode(tokenizer.without_first(ids));
        Self::new(ids.to_vec(), text, tokenizer)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn tokenizer() -> Tokenizer {
        Tokenizer::from_json(include_bytes!("../../models/solver/tokenizer.json")).unwrap()
    }

    #[test]
    fn text_is_found_where_it_stands_last() {
        let (tokenizer, text) = (tokenizer(), "woman,camera,woman,taxi=");
        let tokens = Tokens::of(text, &tokenizer).unwrap();
        assert_eq!(Tokens::of_ids(&tokens.ids, &tokenizer), tokens);
        for (text, token) in [
            ("woman", 4),
            ("camera,woman", 4),
            ("cam", 2),
            ("=", 7),
            (text, 7),
        ] {
            assert_eq!(tokens.of_text(text).unwrap(), token, "{text}");
        }
        for text in ["lady", "Woman", ""] {
            let message = tokens.of_text(text).unwrap_err().to_string();
            let expected = format!("{text:?} is nowhere in the prompt {:?}", tokens.text());
            assert_eq!(message, expected);
        }
    }

    #[test]
    fn character_of_several_tokens_ends_at_the_last_of_them() {
        let (tokenizer, text) = (tokenizer(), "woman,🍋,woman,é");
        let tokens = Tokens::of(text, &tokenizer).unwrap();
        assert_eq!(tokenizer.decode(&tokens.ids), text);
        let after = tokens.of_text(",woman,é").unwrap();
        assert_eq!(after, tokens.ids.len() - 1);
        let lemon = tokens.of_text("🍋").unwrap();
        assert_eq!(tokenizer.decode(&tokens.ids[..=lemon]), "woman,🍋");
    }

    #[test]
    fn token_behind_a_prompt_is_its_own() {
        let tokenizer = tokenizer();
        let behind = |prompt: &str, text: &str| {
            let tokens = Tokens::of(prompt, &tokenizer).unwrap();
            tokens.first_behind(text, &tokenizer).unwrap()
        };
        assert_eq!(behind("woman=", "True"), tokenizer.single("True"));
        assert_eq!(behind("woman=", ""), None);
        assert_eq!(behind("wom", "an"), None);
    }

    #[test]
    fn names_are_read_and_written_back() {
        let counted = |position| NamedPosition::Counted(position);
        for (json, expected) in [
            ("3", counted(Position::Index(3))),
            ("-2", counted(Position::FromEnd(2))),
            ("\"last\"", counted(Position::LAST)),
            (
                r#"{"text":"France"}"#,
                NamedPosition::Text("France".to_owned()),
            ),
        ] {
            let found: NamedPosition = serde_json::from_str(json).unwrap();
            assert_eq!(found, expected);
            assert_eq!(serde_json::to_string(&found).unwrap(), json);
        }
        for json in [
            "\"lost\"",
            "\"text\"",
            "1.5",
            "null",
            r#"["France"]"#,
            "{}",
            r#"{"txet": "a"}"#,
            r#"{"text": 3}"#,
            r#"{"text": "a", "first": true}"#,
        ] {
            let message = serde_json::from_str::<NamedPosition>(json).unwrap_err();
            let message = message.to_string();
            assert!(
                message.contains("expected a token from 0"),
                "{json}: {message}"
            );
        }
    }
}

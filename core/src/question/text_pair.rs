//! Lines of a data file: a pair as token ids, or as text, which is turned into ids here.
//!
//! ```json
//! { "base": "The capital of France is", "source": "The capital of Japan is", "answer": " Tokyo", "base_answer": " Paris",
//!   "base_position": { "text": "France" }, "source_position": { "text": "Japan" } }
//! ```
//!
//! | field | meaning |
//! |---|---|
//! | `base`, `source` | the prompts |
//! | `answer` | what the base run must say once it has the source's value; its first token is the label |
//! | `base_answer`, `source_answer` | what each run says by itself, where known |
//! | `base_position`, `source_position` | the token that is written, and the one that is read: a number from 0, `"last"`, -2 and so on from the end, or the last token of a text where that stands last in the prompt |
//!
//! A line of ids has the fields of [`Pair`].

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{Pair, TaskError};
use crate::{NamedPosition, Tokenizer, Tokens};

/// A pair as text.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TextPair {
    base: String,
    source: String,
    answer: String,
    base_answer: Option<String>,
    source_answer: Option<String>,
    base_position: NamedPosition,
    source_position: NamedPosition,
}

impl Pair {
    /// Reads a line of a data file.
    ///
    /// # Errors
    /// - [`TaskError::PairJson`] if it is no JSON of a form.
    /// - [`TaskError::File`] if it is text, and there is no tokenizer.
    /// - [`TaskError::PairField`] if a prompt does not have a position, or the tokenizer joins an answer with its prompt.
    /// - [`TaskError::Answers`] if two answers begin with the same token.
    pub fn from_json(line: &str, tokenizer: Option<&Tokenizer>) -> Result<Self, TaskError> {
        /// Looked at first: text or ids.
        #[derive(Deserialize)]
        struct Head {
            #[serde(default)]
            base: Value,
        }
        let head: Head = from_json(line)?;
        match (head.base.is_string(), tokenizer) {
            (false, _) => from_json(line),
            (true, Some(tokenizer)) => from_json::<TextPair>(line)?.pair(tokenizer),
            (true, None) => Err(TaskError::wrong(
                "base",
                "token ids, since the model has no tokenizer",
                "a text",
            )),
        }
    }
}

impl TextPair {
    fn pair(&self, tokenizer: &Tokenizer) -> Result<Pair, TaskError> {
        let tokens = |field, text: &str| Tokens::of(text, tokenizer).map_err(within(field));
        let base = tokens("base", &self.base)?;
        let source = tokens("source", &self.source)?;
        let position = |field, position: &NamedPosition, prompt: &Tokens| {
            position.resolve(prompt).map_err(within(field))
        };
        let mut labels = Labels {
            tokenizer,
            known: Vec::new(),
        };
        let label = labels.add("answer", &self.answer, &base)?;
        let base_answer = self.base_answer.as_deref();
        let base_label = base_answer
            .map(|answer| labels.add("base_answer", answer, &base))
            .transpose()?;
        if let Some(answer) = &self.source_answer {
            labels.add("source_answer", answer, &source)?;
        }
        Ok(Pair {
            base_position: position("base_position", &self.base_position, &base)?,
            source_position: position("source_position", &self.source_position, &source)?,
            base: base.ids,
            source: source.ids,
            label,
            base_label,
        })
    }
}

/// First tokens of a pair's answers, which tell different answers apart.
struct Labels<'a> {
    tokenizer: &'a Tokenizer,
    known: Vec<(u32, &'a str)>,
}

impl<'a> Labels<'a> {
    /// The label of an answer to a prompt.
    fn add(
        &mut self,
        field: &'static str,
        answer: &'a str,
        prompt: &Tokens,
    ) -> Result<u32, TaskError> {
        let label = prompt.first_behind(answer, self.tokenizer);
        let Some(label) = label.map_err(within(field))? else {
            return Err(within(field)(TaskError::Answer {
                answer: answer.to_owned(),
                prompt: prompt.text().to_owned(),
            }));
        };
        let is_other = |(id, other): &&(u32, &str)| *id == label && *other != answer;
        if let Some((_, other)) = self.known.iter().find(is_other) {
            return Err(TaskError::Answers {
                first: (*other).to_owned(),
                second: answer.to_owned(),
                token: self.tokenizer.token(label),
            });
        }
        self.known.push((label, answer));
        Ok(label)
    }
}

/// Says which field an error is about.
fn within<E: Into<TaskError>>(field: &'static str) -> impl FnOnce(E) -> TaskError {
    move |error| TaskError::PairField {
        field,
        cause: Box::new(error.into()),
    }
}

/// JSON to a type, with the path of the field that is wrong.
fn from_json<T: DeserializeOwned>(line: &str) -> Result<T, TaskError> {
    let wrong = |cause: String| TaskError::PairJson { cause };
    let mut json = serde_json::Deserializer::from_str(line);
    let value = serde_path_to_error::deserialize(&mut json);
    let value = value.map_err(|error| wrong(error.to_string()))?;
    json.end().map_err(|error| wrong(error.to_string()))?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Position, tokens::tests::tokenizer};
}

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
//! | `values` | what the variable is in base and source, where known |
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
    values: Option<[String; 2]>,
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
    fn pair<'a>(&'a self, tokenizer: &'a Tokenizer) -> Result<Pair, TaskError> {
        let tokens = |field, text: &str| Tokens::of(text, tokenizer).map_err(within(field));
        let base = tokens("base", &self.base)?;
        let source = tokens("source", &self.source)?;
        let position = |field, position: &NamedPosition, prompt: &Tokens| {
            position.resolve(prompt).map_err(within(field))
        };
        let mut labels = FirstTokens {
            tokenizer,
            known: Vec::new(),
        };
        let label = labels.add("answer", &self.answer, &base)?;
        let mut own_label = |field, answer: &'a Option<String>, prompt| {
            let answer = answer.as_deref();
            answer
                .map(|answer| labels.add(field, answer, prompt))
                .transpose()
        };
        let base_label = own_label("base_answer", &self.base_answer, &base)?;
        let source_label = own_label("source_answer", &self.source_answer, &source)?;
        Ok(Pair {
            base_position: position("base_position", &self.base_position, &base)?,
            source_position: position("source_position", &self.source_position, &source)?,
            base: base.ids,
            source: source.ids,
            label,
            base_label,
            source_label,
            values: self.values.clone(),
        })
    }
}

/// First tokens of a pair's answers, which tell different answers apart.
struct FirstTokens<'a> {
    tokenizer: &'a Tokenizer,
    known: Vec<(u32, &'a str)>,
}

impl<'a> FirstTokens<'a> {
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

    const TEXT: &str = r#"{"base": "woman,rug,woman=", "source": "rug,lady=", "answer": "True", "base_answer": "False",
        "source_answer": "True", "base_position": {"text": "woman"}, "source_position": -2}"#;

    fn tokenizer() -> Tokenizer {
        Tokenizer::from_json(include_bytes!("../../../models/solver/tokenizer.json")).unwrap()
    }

    #[test]
    fn text_is_the_pair_of_its_ids() {
        let tokenizer = tokenizer();
        let id = |text| tokenizer.single(text).unwrap();
        let [woman, rug, lady, comma, equals] = ["woman", "rug", "lady", ",", "="].map(id);
        let expected = Pair {
            base: vec![woman, comma, rug, comma, woman, equals],
            source: vec![rug, comma, lady, equals],
            base_position: 4,
            source_position: 2,
            label: id("True"),
            base_label: Some(id("False")),
            source_label: Some(id("True")),
            ..Pair::default()
        };
        assert_eq!(Pair::from_json(TEXT, Some(&tokenizer)).unwrap(), expected);
        let ids = serde_json::to_string(&expected).unwrap();
        assert_eq!(Pair::from_json(&ids, None).unwrap(), expected);

        let unknown = TEXT.replace(r#""base_answer": "False","#, "");
        let unknown = Pair::from_json(&unknown, Some(&tokenizer)).unwrap();
        assert_eq!(unknown.base_label, None);
    }

    #[test]
    fn example_of_the_text_above_is_a_pair() {
        let lines = include_str!("text_pair.rs").lines();
        let lines = lines.map(|line| line.trim_start_matches("//!").trim());
        let example = lines.skip_while(|line| *line != "```json").skip(1);
        let example: String = example.take_while(|line| *line != "```").collect();
        let pair: TextPair = from_json(&example).unwrap();
        assert_eq!(pair.answer, " Tokyo");
    }

    #[test]
    fn every_mistake_is_refused_with_its_field() {
        let tokenizer = tokenizer();
        // What stands in the line, what is put in its place, what the message says.
        let cases: &[(&str, &str, &[&str])] = &[
            ("}", "", &["not a pair", "EOF"]),
            (r#""base": "#, r#""bass": "#, &["unknown field `bass`"]),
            (r#""answer": "True","#, "", &["missing field `answer`"]),
            (r#""answer""#, r#""label""#, &["unknown field `label`"]),
            (
                r#""rug,lady=""#,
                "[1, 2]",
                &["source: invalid type", "expected a string"],
            ),
            (r#""True""#, "5", &["answer: invalid type"]),
            (
                "-2",
                r#""lost""#,
                &["source_position: expected a token from 0", "`last`"],
            ),
            (
                r#"{"text": "woman"}"#,
                r#"{"first": "woman"}"#,
                &["base_position: "],
            ),
            ("-2", "-5", &["`source_position`: position -5", "0 to 3"]),
            (
                r#"{"text": "woman"}"#,
                r#"{"text": "lady"}"#,
                &["`base_position`: \"lady\" is nowhere", "woman,rug,woman="],
            ),
            (
                r#""answer": "True""#,
                r#""answer": """#,
                &["`answer`", "no token of its own", "woman,rug,woman="],
            ),
            (
                r#"woman=", "source": "rug,lady=", "answer": "True""#,
                r#"wom", "source": "rug,lady=", "answer": "an""#,
                &["`answer`", "\"an\" has no token of its own"],
            ),
            (
                r#""source_answer": "True""#,
                r#""source_answer": "Truely""#,
                &["\"True\" and \"Truely\"", "the same token"],
            ),
        ];
        for (from, to, expected) in cases {
            assert!(TEXT.contains(from), "{from}");
            let line = TEXT.replacen(from, to, 1);
            let message = Pair::from_json(&line, Some(&tokenizer)).unwrap_err();
            let message = message.to_string();
            for text in *expected {
                assert!(message.contains(text), "`{text}` is not in: {message}");
            }
        }
        let message = Pair::from_json(TEXT, None).unwrap_err().to_string();
        assert!(
            message.contains("`base`: expected token ids") && message.contains("no tokenizer"),
            "{message}"
        );
    }
}

//! What is wrong with a pair of prompts before it is run, and how to mend it.

use swivel_core::question::Remark;

use super::{Session, Side};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// As it should be.
    Good,
    /// Runs, but may not mean what was meant.
    Hint,
    /// Cannot be run.
    Problem,
}

/// A text that would be better.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fix {
    /// What the button says.
    pub label: String,
    /// Which prompt it changes.
    pub side: Side,
    /// The whole new text.
    pub text: String,
}

/// One remark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// How bad it is.
    pub level: Level,
    /// What it is.
    pub text: String,
    /// How to mend it, where that is known.
    pub fix: Option<Fix>,
}

impl Note {
    fn new(level: Level, text: impl Into<String>) -> Self {
        Self {
            level,
            text: text.into(),
            fix: None,
        }
    }

    fn or(mut self, label: impl Into<String>, side: Side, text: String) -> Self {
        self.fix = Some(Fix {
            label: label.into(),
            side,
            text,
        });
        self
    }
}

impl Session {
    /// Remarks on the pair, problems first.
    pub fn notes(&self) -> Vec<Note> {
        let mut notes = Vec::new();
        for side in Side::BOTH {
            self.note_prompt(side, &mut notes);
        }
        let [base, source] = Side::BOTH.map(|side| self.choices.prompt(side));
        let (n_base, n_source) = (base.ids.len(), source.ids.len());
        if n_base > 0 && n_source > 0 {
            match n_base == n_source {
                true => notes.push(Note::new(Level::Good, "same length")),
                false if self.is_matched_by_places() => notes.push(Note::new(
                    Level::Good,
                    format!("{n_base} and {n_source} tokens, matched by the places of the sentence"),
                )),
                false => notes.push(Note::new(
                    Level::Hint,
                    format!(
                        "{n_base} and {n_source} tokens: tokens are matched from the end of the prompts"
                    ),
                )),
            }
            if base.ids == source.ids {
                let text = "base and source are the same: a swap changes nothing";
                notes.push(Note::new(Level::Hint, text));
            } else if let Some((answer, _)) = &self.answer {
                let [top, _, other] = answer.top;
                notes.push(match top == other {
                    false => Note::new(Level::Good, "answers differ"),
                    true => Note::new(
                        Level::Hint,
                        format!(
                            "both are answered “{}”: no flip to see",
                            self.look(top).text
                        ),
                    ),
                });
            }
        }
        for card in self.choices.cards.iter().filter(|card| card.is_on) {
            if let Some(problem) = self.card_problem(card) {
                let title = self.card_title(card);
                notes.push(Note::new(Level::Problem, format!("{title}: {problem}")));
            } else if card.strength == 0.0 {
                let title = self.card_title(card);
                let text = format!("{title}: strength 0 leaves the base as it is");
                notes.push(Note::new(Level::Hint, text));
            }
        }
        notes.sort_by_key(|note| std::cmp::Reverse(note.level as usize));
        notes
    }

    fn note_prompt(&self, side: Side, notes: &mut Vec<Note>) {
        let (prompt, name) = (self.choices.prompt(side), side.name());
        if prompt.ids.is_empty() {
            let text = format!("{name} is empty: type at least one token");
            notes.push(Note::new(Level::Problem, text));
            return;
        }
        let Some(model) = &self.model else { return };
        let (n_tokens, n_ctx) = (prompt.ids.len(), model.sizes.n_ctx);
        if n_tokens > n_ctx {
            // The text that is kept is given its first token again.
            let n_kept = n_ctx - usize::from(model.tokenizer.first_token().is_some());
            let kept = model.tokenizer.decode(&prompt.ids[n_tokens - n_kept..]);
            let text = format!("{name} has {n_tokens} tokens, the model reads at most {n_ctx}");
            let note = Note::new(Level::Problem, text);
            notes.push(note.or(format!("keep the last {n_kept}"), side, kept));
        }
        let end = prompt.text.trim_end_matches([' ', '\n', '\t']);
        if end.len() < prompt.text.len() {
            let text = format!("{name} ends with a space or a new line: the model sees it");
            notes.push(Note::new(Level::Hint, text).or("remove it", side, end.to_owned()));
        }
        let form = self.form().filter(|_| self.knows_task());
        for Remark { text, mended } in form.iter().flat_map(|form| form.remarks(&prompt.text)) {
            let note = Note::new(Level::Hint, format!("{name} {text}"));
            notes.push(match mended {
                Some((label, text)) => note.or(label, side, text),
                None => note,
            });
        }
    }
}

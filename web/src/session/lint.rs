//! What is wrong with a pair of prompts before it is run, and how to mend it.

use swivel_core::question::programs::Words;

use super::{Prompt, Session, Side};

/// Words of a program's line.
const N_WORDS: usize = 5;

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
                            super::visible(&self.token(top))
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
        if let Some(lexicon) = model.lexicon.as_ref().filter(|_| self.knows_task()) {
            note_program(side, prompt, &lexicon.words, notes);
        }
    }

    /// The words of the query line as the task knows them; `None` where it is no such line.
    pub fn query_words(&self, side: Side) -> Option<[usize; N_WORDS]> {
        let words = self.words()?;
        let line = query_line(&self.choices.prompt(side).text)?;
        let found: Option<Vec<usize>> = line.iter().map(|word| words.find(word)).collect();
        found?.try_into().ok()
    }
}

/// The five words of the last line of a prompt that ends as a query does.
fn query_line(text: &str) -> Option<Vec<&str>> {
    let line = text.lines().last()?.strip_suffix('=')?;
    let words: Vec<&str> = line.split(',').collect();
    (words.len() == N_WORDS).then_some(words)
}

fn note_program(side: Side, prompt: &Prompt, words: &Words, notes: &mut Vec<Note>) {
    let name = side.name();
    let Some(line) = query_line(&prompt.text) else {
        let end = prompt.text.trim_end();
        let is_open = end
            .lines()
            .last()
            .is_some_and(|line| line.split(',').count() == N_WORDS && !line.contains('='));
        let text = format!("{name} is no line of the task: five words with commas, then “=”");
        let note = Note::new(Level::Hint, text);
        notes.push(match is_open {
            true => note.or("add “=”", side, format!("{end}=")),
            false => note,
        });
        return;
    };
    for word in line {
        if words.find(word).is_some() {
            continue;
        }
        let text = format!("the model never saw “{word}” ({name})");
        let note = Note::new(Level::Hint, text);
        let close = words.iter().min_by_key(|known| distance(word, known));
        notes.push(match close {
            Some(close) => {
                // The last occurrence is the one in the query line.
                let at = prompt.text.rfind(word).unwrap_or(0);
                let mut text = prompt.text.clone();
                text.replace_range(at..at + word.len(), close);
                note.or(format!("use “{close}”"), side, text)
            }
            None => note,
        });
    }
}

/// Levenshtein distance in characters.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}

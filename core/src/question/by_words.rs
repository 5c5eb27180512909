//! The named token of a text that is none of a task's prompts: by its words.

use std::ops::Range;

use super::{
    entry::Entry,
    named::{SlotToken, TokenName},
    task::{Kind, Task},
};
use crate::Tokens;

impl Task {
    /// The token of this name in a text that is none of the task's prompts, by its words. A slot that says again what another one of
    /// the prompt said, as the giver of `ioi`, is the last place of the only word that stands twice; any other is the first, or the
    /// last, of the words that its tables have, as it is in a prompt. `None` where the text has no such word, or it cannot be told.
    pub fn token_by_words(&self, name: &TokenName, tokens: &Tokens) -> Option<usize> {
        let token = match name {
            TokenName::Counted(position) => return position.resolve(tokens.ids.len()).ok(),
            TokenName::Slot(token) => token,
        };
        let slot = self.slots.iter().position(|own| own.name == token.slot)?;
        let tables = self.tables_of(slot);
        let (template, [before, behind]) = self.templates.iter().find_map(|template| {
            let slots = template.entries().filter_map(Entry::slot);
            let alike: Vec<usize> = slots.filter(|own| self.tables_of(*own) == tables).collect();
            let mut own = alike.iter().enumerate().filter(|(_, own)| **own == slot);
            let (at, _) = own.nth(token.occurrence - 1)?;
            Some((template, [at, alike.len() - 1 - at]))
        })?;
        let known = self.known_texts();
        let entry = Entry::Slot(slot);
        let known = self.texts(&entry, &known);
        let is_written = |own: &Entry| template.entries().any(|written| written == own);
        let place = match &self.slots[slot].kind {
            Kind::Pick { entries, .. } if entries.iter().all(is_written) => {
                repeated(tokens.text(), &known)?
            }
            _ => {
                let mut places = words(tokens.text(), &known);
                let n = places.len();
                let at = match (before, behind) {
                    _ if n < before + behind + 1 => return None,
                    (before, 0) if before > 0 => n - 1,
                    (before, _) => before,
                };
                places.swap_remove(at)
            }
        };
        let spans = vec![(slot, place)];
        let token = SlotToken {
            occurrence: 1,
            ..token.clone()
        };
        token.find(&spans, slot, tokens)
    }
}

/// The last place of the only word that a text has twice, of words as these are: with a capital, or these alone where they have
/// none.
fn repeated(text: &str, known: &[&str]) -> Option<Range<usize>> {
    let is_capital = |word: &&str| word.chars().next().is_some_and(char::is_uppercase);
    let found: Vec<Range<usize>> = match known.iter().all(is_capital) {
        false => words(text, known),
        true => {
            let pieces = text.split_inclusive(|c: char| !c.is_alphanumeric());
            let ends = pieces.scan(0, |end, piece| {
                let start = *end;
                *end += piece.len();
                let word = piece.trim_end_matches(|c: char| !c.is_alphanumeric());
                Some((start, word))
            });
            let capital = ends.filter(|(_, word)| is_capital(word));
            capital
                .map(|(start, word)| start..start + word.len())
                .collect()
        }
    };
    let is_twice = |place: &&Range<usize>| {
        let same = found
            .iter()
            .filter(|own| text[(*own).clone()] == text[(*place).clone()]);
        same.count() > 1
    };
    let mut twice: Vec<&Range<usize>> = found.iter().filter(is_twice).collect();
    let last = twice.pop()?;
    let is_same = |own: &&Range<usize>| text[(*own).clone()] == text[last.clone()];
    twice.iter().all(is_same).then(|| last.clone())
}

/// Where a text has one of these, as words of their own, in its order; of those that begin alike the longest.
fn words(text: &str, known: &[&str]) -> Vec<Range<usize>> {
    let is_inside = |at: usize| {
        let [before, behind] = [text[..at].chars().next_back(), text[at..].chars().next()];
        [before, behind]
            .iter()
            .all(|own| own.is_some_and(char::is_alphanumeric))
    };
    let (mut places, mut at) = (Vec::new(), 0);
    while let Some(next) = text[at..].chars().next() {
        let found = known.iter().filter(|own| {
            let end = at + own.len();
            text[at..].starts_with(**own) && !own.is_empty() && !is_inside(at) && !is_inside(end)
        });
        match found.map(|own| own.len()).max() {
            Some(len) => {
                places.push(at..at + len);
                at += len;
            }
            None => at += next.len_utf8(),
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tokenizer;

    #[test]
    fn named_token_is_found_by_its_words_in_another_sentence() {
        let json = br#"{"version": 1, "name": "t", "templates": ["{A},{B},{S}="],
            "tables": {"w": [{"text": "woman"}, {"text": "camera"}, {"text": "taxi"}]},
            "slots": {"A": {"table": "w"}, "B": {"table": "w"}, "order": {"values": ["first", "second"]},
                "S": {"pick": ["A", "B"], "by": "order"}},
            "answer": "{S}"}"#;
        let task = Task::from_json(json, |_| Err("no file".to_owned())).unwrap();
        let tokenizer = include_bytes!("../../../models/solver/tokenizer.json");
        let tokenizer = Tokenizer::from_json(tokenizer).unwrap();
        let token = |name: &str, text: &str| {
            let tokens = Tokens::of(text, &tokenizer).unwrap();
            task.token_by_words(&name.parse().unwrap(), &tokens)
        };
        let text = "taxi=woman=camera,woman,carpet";
        for (name, expected) in [
            ("A", Some(0)),
            ("B", Some(2)),
            ("S", Some(6)),
            ("S-1", Some(5)),
            ("last", Some(8)),
            ("order", None),
            ("C", None),
        ] {
            assert_eq!(token(name, text), expected, "{name}");
        }
        // None is there twice, or two are.
        assert_eq!(token("S", "taxi=woman="), None);
        assert_eq!(token("S", "taxi,woman=taxi,woman"), None);
        assert_eq!(token("A", "taxi=woman="), None);
    }

    #[test]
    fn word_that_stands_twice_is_told_by_its_capital() {
        let found = |text: &'static str| Some(&text[repeated(text, &["Mary", "John"])?]);
        let text = "When Peter and Anna left the bar, Anna handed the keys to";
        assert_eq!(found(text), Some("Anna"));
        let at = repeated(text, &["Mary"]).unwrap().start;
        assert_eq!(at, text.rfind("Anna").unwrap());
        assert_eq!(found("Zoë met Zoë"), Some("Zoë"));
        for text in ["", "Anna and Ann", "Anna, Peter, Anna, Peter", "the the"] {
            assert_eq!(found(text), None, "{text}");
        }
    }

    #[test]
    fn words_stand_alone_and_the_longest_counts() {
        let text = "Anna, Ann and Annabel; Mary Ann";
        let found: Vec<&str> = (words(text, &["Ann", "Anna", "Mary Ann", "Zoe"]).into_iter())
            .map(|place| &text[place])
            .collect();
        assert_eq!(found, ["Anna", "Ann", "Mary Ann"]);
        assert!(words("", &["Ann"]).is_empty());
        assert!(words("Änn", &["nn"]).is_empty());
    }
}

//! Templates: text with slots in braces.

use std::ops::Range;

use super::{TaskError, entry::Entry};

/// Bytes of each slot of a text, in its order.
pub type Spans = Vec<(usize, Range<usize>)>;

/// Text with slots: `When {A} and {B} went to the {place}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Entry(Entry),
}

/// A template that was filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// What it says.
    pub text: String,
    /// Bytes that each slot wrote, in the order of the text.
    pub spans: Spans,
}

impl Template {
    /// Reads a template; `entry` knows the names in its braces.
    ///
    /// # Errors
    /// - [`TaskError::File`] if a brace is open or stray, or a name is not known.
    pub fn parse(
        place: &str,
        text: &str,
        entry: impl Fn(&str, &str) -> Result<Entry, TaskError>,
    ) -> Result<Self, TaskError> {
        let wrong = |found: &str| {
            TaskError::wrong(
                place,
                "a name between each { and its }",
                format!("`{found}`"),
            )
        };
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            let end = from.find('}').filter(|end| *end > 1);
            let (Some(end), true) = (end, from.starts_with('{')) else {
                return Err(wrong(from));
            };
            let name = &from[1..end];
            if name.contains('{') {
                return Err(wrong(from));
            }
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(Part::Entry(entry(place, name)?));
            rest = &from[end + 1..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self {
            text: text.to_owned(),
            parts,
        })
    }

    /// As it was typed.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What stands in its braces, in the order of the text.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.parts.iter().filter_map(|part| match part {
            Part::Entry(entry) => Some(entry),
            Part::Text(_) => None,
        })
    }

    /// Those of them that read a slot: one for each of [`Spans`].
    pub(super) fn slot_entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries().filter(|entry| entry.slot().is_some())
    }

    /// Filled in, with the text of each entry.
    pub fn write<'a>(&'a self, text_of: impl Fn(&'a Entry) -> &'a str) -> Written {
        let (mut text, mut spans) = (String::new(), Vec::new());
        for part in &self.parts {
            let start = text.len();
            match part {
                Part::Text(own) => text.push_str(own),
                Part::Entry(entry) => {
                    text.push_str(text_of(entry));
                    spans.extend(entry.slot().map(|slot| (slot, start..text.len())));
                }
            }
        }
        Written { text, spans }
    }

    /// Bytes of each slot where a text is this template filled in, in one line a slot; `None` where it is not, or it cannot be told
    /// which slot wrote what. A slot that stands twice says the same twice.
    pub(super) fn spans(&self, text: &str) -> Option<Spans> {
        let (mut spans, mut at) = (Spans::new(), 0);
        let mut said: Vec<(&Entry, &str)> = Vec::new();
        for (idx, part) in self.parts.iter().enumerate() {
            let rest = &text[at..];
            let entry = match part {
                Part::Text(own) => {
                    at += rest.strip_prefix(own.as_str()).map(|_| own.len())?;
                    continue;
                }
                Part::Entry(entry) => entry,
            };
            let before = said.iter().find(|(own, _)| *own == entry);
            let before = before.map(|(_, text)| *text);
            let len = match &self.parts[idx + 1..] {
                [] => rest.len(),
                [Part::Text(last)] => rest.strip_suffix(last.as_str())?.len(),
                [Part::Text(next), ..] => {
                    // What it said before it says again, even if that holds what follows it.
                    before.map(str::len).or_else(|| rest.find(next.as_str()))?
                }
                [Part::Entry(_), ..] => return None,
            };
            let own = rest.get(..len)?;
            let is_same = before.is_none_or(|before| before == own);
            if own.is_empty() || own.contains('\n') || !is_same {
                return None;
            }
            said.push((entry, own));
            spans.extend(entry.slot().map(|slot| (slot, at..at + len)));
            at += len;
        }
        (at == text.len()).then_some(spans)
    }

    /// All that it can say, where each of its slots says one of these texts; `None` where there are more than `most`.
    pub fn all<'a>(
        &'a self,
        texts: impl Fn(&'a Entry) -> Vec<&'a str>,
        most: usize,
    ) -> Option<Vec<String>> {
        let mut all = vec![String::new()];
        for part in &self.parts {
            match part {
                Part::Text(own) => all.iter_mut().for_each(|text| text.push_str(own)),
                Part::Entry(entry) => {
                    let texts = texts(entry);
                    if all.len().saturating_mul(texts.len()) > most {
                        return None;
                    }
                    let longer = |text: &String| {
                        texts
                            .iter()
                            .map(move |own| format!("{text}{own}"))
                            .collect::<Vec<_>>()
                    };
                    all = all.iter().flat_map(longer).collect();
                }
            }
        }
        all.sort();
        all.dedup();
        Some(all)
    }
}

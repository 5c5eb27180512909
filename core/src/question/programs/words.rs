//! The words that programs are about, and which of them are synonyms.

use std::collections::HashMap;

use crate::question::TaskError;

/// Words with a symmetric relation "synonym of".
#[derive(Clone, Debug)]
pub struct Words {
    words: Vec<String>,
    synonyms: Vec<Vec<usize>>,
    /// Words that have a synonym.
    paired: Vec<usize>,
}

impl Words {
    /// The words of the embedded solver.
    ///
    /// # Errors
    /// - [`TaskError::Words`] if the embedded list is damaged.
    pub fn embedded() -> Result<Self, TaskError> {
        Self::parse(include_str!("../words.txt"), |_| true)
    }

    /// Reads a list of lines `word - word` (synonyms) or `word`, and keeps the words that `is_usable`.
    ///
    /// # Errors
    /// - [`TaskError::Words`] if a line cannot be read, or fewer than two synonyms and eight words remain.
    pub fn parse(list: &str, is_usable: impl Fn(&str) -> bool) -> Result<Self, TaskError> {
        let mut own = Self {
            words: Vec::new(),
            synonyms: Vec::new(),
            paired: Vec::new(),
        };
        let mut indices: HashMap<String, Option<usize>> = HashMap::new();
        for (idx, line) in list
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty())
        {
            let members: Vec<&str> = line.split(" - ").map(str::trim).collect();
            if members.len() > 2 || members.iter().any(|word| word.is_empty()) {
                let reason = format!(
                    "line {}: expected `word - word` or `word`, found `{line}`",
                    idx + 1
                );
                return Err(TaskError::Words { reason });
            }
            let mut add = |word: &str| {
                *indices.entry(word.to_owned()).or_insert_with(|| {
                    is_usable(word).then(|| {
                        own.words.push(word.to_owned());
                        own.synonyms.push(Vec::new());
                        own.words.len() - 1
                    })
                })
            };
            let members: Vec<Option<usize>> = members.into_iter().map(&mut add).collect();
            if let [Some(left), Some(right)] = members[..]
                && left != right
                && !own.synonyms[left].contains(&right)
            {
                own.synonyms[left].push(right);
                own.synonyms[right].push(left);
            }
        }
        own.paired = (0..own.words.len())
            .filter(|word| !own.synonyms[*word].is_empty())
            .collect();
        if own.words.len() < 8 || own.paired.len() < 2 {
            let reason = format!(
                "{} words and {} with a synonym are one token each; the task needs at least 8 and 2",
                own.words.len(),
                own.paired.len()
            );
            return Err(TaskError::Words { reason });
        }
        Ok(own)
    }

    /// Number of words.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// True if there are no words; never, for a list that was parsed.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The word with this index.
    pub fn word(&self, idx: usize) -> &str {
        &self.words[idx]
    }

    /// Index of a word.
    pub fn find(&self, word: &str) -> Option<usize> {
        self.words.iter().position(|own| own == word)
    }

    /// All words in the order of the list.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.words.iter().map(String::as_str)
    }

    /// Words that have a synonym, by index.
    pub fn paired(&self) -> &[usize] {
        &self.paired
    }

    /// True if the two are synonyms; a word is not its own synonym.
    pub fn are_synonyms(&self, left: usize, right: usize) -> bool {
        self.synonyms[left].contains(&right)
    }

    /// Synonyms of a word, by index.
    pub(super) fn synonyms(&self, word: usize) -> &[usize] {
        &self.synonyms[word]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn word_lists_are_checked() {
        let error = |list: &str| Words::parse(list, |_| true).unwrap_err().to_string();
        assert!(error("a - b - c").contains("line 1"));
        assert!(error("a - b").contains("2 words"));
        let words = Words::embedded().unwrap();
        assert!(words.paired().len() * 2 == words.len());
    }
}

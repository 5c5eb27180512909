//! A text as a program's prompt: the words of its query, and what is wrong where it has none.

use super::Words;
use crate::question::remark::Remark;

/// Words of a line.
const N_WORDS: usize = 5;

impl Words {
    /// The words of the query that a prompt ends with; `None` where it ends with none.
    pub fn query(&self, prompt: &str) -> Option<[usize; N_WORDS]> {
        let line = query_line(prompt)?;
        let found: Option<Vec<usize>> = line.iter().map(|word| self.find(word)).collect();
        found?.try_into().ok()
    }

    /// What of a prompt is no query, and how to mend it.
    pub fn remarks(&self, prompt: &str) -> Vec<Remark> {
        let Some(line) = query_line(prompt) else {
            let end = prompt.trim_end();
            let is_open = end
                .lines()
                .last()
                .is_some_and(|line| line.split(',').count() == N_WORDS && !line.contains('='));
            return vec![Remark {
                text: "is no line of the task: five words with commas, then “=”".to_owned(),
                mended: is_open.then(|| ("add “=”".to_owned(), format!("{end}="))),
            }];
        };
        let unknown = line.into_iter().filter(|word| self.find(word).is_none());
        let remark = |word: &str| Remark {
            text: format!("has “{word}”, which the model never saw"),
            mended: self
                .iter()
                .min_by_key(|known| distance(word, known))
                .map(|close| {
                    // The last occurrence is the one in the query line.
                    let at = prompt.rfind(word).unwrap_or(0);
                    let mut text = prompt.to_owned();
                    text.replace_range(at..at + word.len(), close);
                    (format!("use “{close}”"), text)
                }),
        };
        unknown.map(remark).collect()
    }
}

/// The five words of the last line of a prompt that ends as a query does.
fn query_line(text: &str) -> Option<Vec<&str>> {
    let line = text.lines().last()?.strip_suffix('=')?;
    let words: Vec<&str> = line.split(',').collect();
    (words.len() == N_WORDS).then_some(words)
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

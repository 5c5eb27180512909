//! Who waits for which answer of a worker.

use std::collections::HashMap;

/// What is waited for, by the number of its question; after the worker died, nothing can be waited for any more.
#[derive(Debug)]
pub struct Waiting<S> {
    senders: HashMap<u32, S>,
    died: Option<String>,
}

impl<S> Default for Waiting<S> {
    fn default() -> Self {
        Self {
            senders: HashMap::new(),
            died: None,
        }
    }
}

impl<S> Waiting<S> {
    /// Waits for the answer to this question.
    ///
    /// # Errors
    /// - why the worker died, if it did
    pub fn wait(&mut self, number: u32, sender: S) -> Result<(), String> {
        match &self.died {
            Some(cause) => Err(cause.clone()),
            None => {
                self.senders.insert(number, sender);
                Ok(())
            }
        }
    }

    /// Who waits for the answer to this question, and does so no more.
    pub fn take(&mut self, number: u32) -> Option<S> {
        self.senders.remove(&number)
    }

    /// The worker died: all who wait, to be told so. What it died of first is what later ones hear.
    pub fn die(&mut self, cause: &str) -> Vec<S> {
        self.died.get_or_insert_with(|| cause.to_owned());
        self.senders.drain().map(|(_, sender)| sender).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_go_to_who_asked_once() {
        let mut waiting = Waiting::default();
        waiting.wait(1, "one").unwrap();
        waiting.wait(2, "two").unwrap();
        assert_eq!(waiting.take(2), Some("two"));
        assert_eq!(waiting.take(2), None);
        assert_eq!(waiting.take(1), Some("one"));
    }

    #[test]
    fn nobody_waits_for_a_dead_worker() {
        let mut waiting = Waiting::default();
        waiting.wait(1, "one").unwrap();
        assert_eq!(waiting.die("no memory"), ["one"]);
        assert_eq!(waiting.wait(2, "two"), Err("no memory".to_owned()));
        assert!(waiting.die("another cause").is_empty());
        assert_eq!(waiting.wait(3, "three"), Err("no memory".to_owned()));
    }
}

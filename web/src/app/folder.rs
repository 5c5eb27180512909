//! What was seen of the host's folder of directions and sweep results, and when to ask for it again.

use std::collections::BTreeSet;

/// Turns that are left out after a host did not answer, at most.
const MOST_TURNS_LEFT_OUT: u32 = 15;

/// What was seen of the folder.
#[derive(Clone, Debug, Default)]
pub struct Folder {
    /// Files that were opened.
    opened: BTreeSet<String>,
    /// Files that do not fit the model of the page.
    refused: BTreeSet<String>,
    /// True if the host can be asked what is new.
    pub is_live: bool,
    /// True while it is asked.
    is_asked: bool,
    /// Turns to leave out, and how many after the next failure.
    rest: [u32; 2],
}

impl Folder {
    /// True if a file was opened or refused already.
    pub fn is_known(&self, name: &str) -> bool {
        self.opened.contains(name) || self.refused.contains(name)
    }

    /// A file was opened, or refused.
    pub fn insert(&mut self, name: String, is_opened: bool) {
        let names = match is_opened {
            true => &mut self.opened,
            false => &mut self.refused,
        };
        names.insert(name);
    }

    /// Forgets what was refused; true if there was something.
    pub fn forget_refused(&mut self) -> bool {
        !std::mem::take(&mut self.refused).is_empty()
    }

    /// The host is about to be asked; false if it is already.
    pub fn start(&mut self) -> bool {
        !std::mem::replace(&mut self.is_asked, true)
    }

    /// It has answered, or not: after each failure in a row, it is left alone for longer.
    pub fn end(&mut self, has_answered: bool) {
        self.is_asked = false;
        self.rest = match has_answered {
            true => [0; 2],
            false => [
                self.rest[1],
                (2 * self.rest[1] + 1).min(MOST_TURNS_LEFT_OUT),
            ],
        };
    }

    /// A turn passes; true if the host is to be asked in it.
    pub fn pass_turn(&mut self) -> bool {
        let is_due = self.is_live && self.rest[0] == 0;
        self.rest[0] = self.rest[0].saturating_sub(1);
        is_due
    }

    /// No turn is left out any more.
    pub fn end_rest(&mut self) {
        self.rest = [0; 2];
    }
}

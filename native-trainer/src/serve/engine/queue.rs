//! What waits for an engine: of each tab its directions and its newest question, one tab after the other.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use serde_json::json;
use swivel_engine::protocol::{FromEngine, Request};
use tokio::sync::mpsc::UnboundedSender;

/// Bytes of one tab's directions that wait.
const MOST_WAITING_BYTES: usize = 64 << 20;

/// Most bytes of the reason of a refusal.
const MOST_WHY_BYTES: usize = 1000;

/// Between the sockets and the thread of an engine.
#[derive(Default)]
pub struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The first frame, once the model is on the device.
    loaded: Option<String>,
    is_ended: bool,
    n_tabs: u32,
    tabs: BTreeMap<u32, Tab>,
    /// Tabs with something that waits, whose turn is next first.
    turns: VecDeque<u32>,
    /// Tabs that the engine has yet to forget.
    closed: Vec<u32>,
    /// The question that is answered: its tab and number, unless it is not wanted any more.
    running: Option<(u32, u32)>,
}

struct Tab {
    out: UnboundedSender<String>,
    directions: VecDeque<(u32, String)>,
    question: Option<(u32, Box<Request>)>,
}

/// What an engine does next.
pub enum Work {
    /// Take a direction file, base64.
    Direction {
        /// Of whom.
        tab: u32,
        /// Of the message.
        number: u32,
        /// The file.
        base64: String,
    },
    /// Answer.
    Ask {
        /// To whom.
        tab: u32,
        /// What.
        request: Box<Request>,
    },
    /// Drop what is kept for a tab.
    Forget(u32),
}

/// A message with its number.
pub fn frame(number: u32, message: &FromEngine) -> String {
    let frame = serde_json::to_string(&(number, message));
    frame.unwrap_or_else(|error| json!([number, refused(&error.to_string())]).to_string())
}

/// A refusal; what is wrong may be quoted in it, and long.
pub fn refused(why: &str) -> FromEngine {
    FromEngine::Refused(match why.floor_char_boundary(MOST_WHY_BYTES) {
        end if end < why.len() => format!("{}…", &why[..end]),
        _ => why.to_owned(),
    })
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a new tab, which hears by `out`; `None` if the engine is gone.
    pub fn open(self: &Arc<Self>, out: &UnboundedSender<String>) -> Option<Seat> {
        let mut state = self.state();
        if state.is_ended {
            return None;
        }
        let out = out.clone();
        if let Some(loaded) = &state.loaded {
            let _ = out.send(loaded.clone());
        }
        state.n_tabs = state.n_tabs.wrapping_add(1);
        let tab = state.n_tabs;
        state.tabs.insert(
            tab,
            Tab {
                out,
                directions: VecDeque::new(),
                question: None,
            },
        );
        Some(Seat {
            queue: Arc::clone(self),
            tab,
        })
    }

    /// The model is on the device.
    pub fn start(&self, loaded: &FromEngine) {
        let loaded = frame(0, loaded);
        let mut state = self.state();
        for tab in state.tabs.values() {
            let _ = tab.out.send(loaded.clone());
        }
        state.loaded = Some(loaded);
    }

    /// There is no engine any more: every tab is told, and closed.
    pub fn end(&self, why: &str) {
        let mut state = self.state();
        for tab in std::mem::take(&mut state.tabs).values() {
            let _ = tab.out.send(frame(0, &refused(why)));
        }
        state.is_ended = true;
    }

    /// Waits for something to do.
    pub fn next(&self) -> Work {
        let mut state = self.state();
        loop {
            match state.next() {
                Some(work) => return work,
                None => {
                    let waited = self.changed.wait(state);
                    state = waited.unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    /// Whether the answer to the question that is running is still waited for.
    pub fn is_wanted(&self) -> bool {
        self.state().running.is_some()
    }

    /// What became of a direction.
    pub fn tell(&self, tab: u32, number: u32, message: &FromEngine) {
        if let Some(tab) = self.state().tabs.get(&tab) {
            let _ = tab.out.send(frame(number, message));
        }
    }

    /// The answer to the question that is running, unless it is not wanted any more.
    pub fn answer(&self, message: &FromEngine) {
        // Long, and not needed where nobody waits.
        let Some((_, number)) = self.state().running else {
            return;
        };
        let frame = frame(number, message);
        let mut state = self.state();
        if let Some((tab, _)) = state.running.take()
            && let Some(tab) = state.tabs.get(&tab)
        {
            let _ = tab.out.send(frame);
        }
    }
}

impl State {
    fn next(&mut self) -> Option<Work> {
        if let Some(tab) = self.closed.pop() {
            return Some(Work::Forget(tab));
        }
        while let Some(idx) = self.turns.pop_front() {
            let Some(tab) = self.tabs.get_mut(&idx) else {
                continue;
            };
            let work = if let Some((number, base64)) = tab.directions.pop_front() {
                Work::Direction {
                    tab: idx,
                    number,
                    base64,
                }
            } else if let Some((number, request)) = tab.question.take() {
                self.running = Some((idx, number));
                Work::Ask { tab: idx, request }
            } else {
                continue;
            };
            if !tab.directions.is_empty() || tab.question.is_some() {
                self.turns.push_back(idx);
            }
            return Some(work);
        }
        None
    }

    fn take_turn(&mut self, tab: u32) {
        if !self.turns.contains(&tab) {
            self.turns.push_back(tab);
        }
    }

    /// The question of a tab that waits or runs is not wanted any more, if it has this number or any; gives its number.
    fn drop_question(&mut self, tab: u32, number: Option<u32>) -> Option<u32> {
        let is_meant = |own: u32| number.is_none_or(|number| number == own);
        let running = self.running;
        if let Some((_, own)) = running.filter(|(of, own)| *of == tab && is_meant(*own)) {
            self.running = None;
            return Some(own);
        }
        let waiting = &mut self.tabs.get_mut(&tab)?.question;
        let dropped = waiting.take_if(|(own, _)| is_meant(*own))?;
        Some(dropped.0)
    }
}

/// A tab's place at an engine; it costs nothing any more once it is dropped.
pub struct Seat {
    queue: Arc<Queue>,
    tab: u32,
}

impl Seat {
    /// Asks. A question of before that waits or runs is refused.
    pub fn ask(&self, number: u32, request: Request) {
        let mut state = self.queue.state();
        let older = state.drop_question(self.tab, None);
        let Some(tab) = state.tabs.get_mut(&self.tab) else {
            return;
        };
        if let Some(older) = older {
            let refused = refused("a newer question took its place");
            let _ = tab.out.send(frame(older, &refused));
        }
        tab.question = Some((number, Box::new(request)));
        state.take_turn(self.tab);
        drop(state);
        self.queue.changed.notify_one();
    }

    /// Hands in a direction file, base64.
    pub fn give(&self, number: u32, base64: String) {
        let mut state = self.queue.state();
        let Some(tab) = state.tabs.get_mut(&self.tab) else {
            return;
        };
        let n_waiting: usize = tab.directions.iter().map(|(_, base64)| base64.len()).sum();
        if n_waiting + base64.len() > MOST_WAITING_BYTES {
            let refused = refused("too many directions wait to be taken");
            let _ = tab.out.send(frame(number, &refused));
            return;
        }
        tab.directions.push_back((number, base64));
        state.take_turn(self.tab);
        drop(state);
        self.queue.changed.notify_one();
    }

    /// Takes a message back: nobody waits for its answer.
    pub fn take_back(&self, number: u32) {
        let mut state = self.queue.state();
        state.drop_question(self.tab, Some(number));
        if let Some(tab) = state.tabs.get_mut(&self.tab) {
            tab.directions.retain(|(own, _)| *own != number);
        }
    }

    /// Refuses a message that could not be read.
    pub fn refuse(&self, number: u32, why: &str) {
        self.queue.tell(self.tab, number, &refused(why));
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.queue.state();
        state.drop_question(self.tab, None);
        state.tabs.remove(&self.tab);
        state.closed.push(self.tab);
        drop(state);
        self.queue.changed.notify_one();
    }
}

//! The thread of an engine, with one that says what it is told and answers when it is let.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use swivel_engine::protocol::{AttentionRows, Read};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::serve::engine::queue::Seat;

/// Layer of a question at which the engine panics.
const PANICS: usize = 100;
/// Layer of a question at which the device is lost.
const LOST: usize = 101;
/// Layer of a question that asks for numbers that are none.
const NAN: usize = 102;

/// Says what it is told, and answers when it is let.
struct Fake {
    log: Sender<String>,
    turns: Arc<Mutex<Receiver<()>>>,
    is_well: bool,
}

impl Native for Fake {
    fn sha256(&self) -> &str {
        "of the fake"
    }

    fn loaded(&self) -> FromEngine {
        FromEngine::Taken
    }

    fn take_direction(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let _ = self.log.send(format!("direction {}", bytes.len()));
        Ok(())
    }

    fn is_well(&self) -> bool {
        self.is_well
    }

    fn answer(
        &mut self,
        tab: u32,
        request: &Request,
        is_wanted: &dyn Fn() -> bool,
    ) -> Result<(Response, Cost), Failure> {
        let Read::Attention { layer, .. } = request.read else {
            panic!("another question")
        };
        let _ = self.log.send(format!("{tab}: {layer}"));
        match layer {
            PANICS => panic!("a fault"),
            LOST => self.is_well = false,
            _ => {}
        }
        if layer >= LOST {
            return Err(Failure::Device("no numbers".to_owned()));
        }
        self.turns.lock().unwrap().recv().unwrap();
        if !is_wanted() {
            let _ = self.log.send("unwanted".to_owned());
            return Err(Failure::Unwanted);
        }
        let rows = AttentionRows {
            base: vec![vec![layer as f32]],
            intervened: None,
        };
        let cost = Cost {
            ms: 0.0,
            bytes: 0.0,
        };
        Ok((Response::Attention(rows), cost))
    }

    fn forget(&mut self, tab: u32) {
        let _ = self.log.send(format!("forget {tab}"));
    }
}

struct Stand {
    queue: Arc<Queue>,
    log: Receiver<String>,
    turns: Sender<()>,
}

struct Tab {
    seat: Seat,
    answers: UnboundedReceiver<String>,
}

impl Stand {
    fn new() -> Self {
        let queue = Arc::new(Queue::default());
        let (log, heard) = channel();
        let (turns, let_go) = channel();
        let let_go = Arc::new(Mutex::new(let_go));
        let shared = Arc::clone(&queue);
        thread::spawn(move || {
            run(&shared, || {
                Ok(Box::new(Fake {
                    log: log.clone(),
                    turns: Arc::clone(&let_go),
                    is_well: true,
                }))
            });
        });
        Self {
            queue,
            log: heard,
            turns,
        }
    }

    fn open(&self) -> Tab {
        let (out, answers) = unbounded_channel();
        let seat = self.queue.open(&out).unwrap();
        let mut tab = Tab { seat, answers };
        assert_eq!(tab.hear(), json!([0, "Taken"]));
        tab
    }

    fn let_go(&self) {
        self.turns.send(()).unwrap();
    }

    #[track_caller]
    fn check_log(&self, expected: &str) {
        let found = self.log.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(found, expected);
    }
}

impl Tab {
    fn ask(&self, number: u32, layer: usize) {
        let plan = json!({"version": 1, "base": {"ids": [[1]]}});
        let request = Request {
            plan: serde_json::from_value(plan).unwrap(),
            read: Read::Attention { layer, position: 0 },
        };
        self.seat.ask(number, request);
    }

    fn hear(&mut self) -> Value {
        serde_json::from_str(&self.answers.blocking_recv().unwrap()).unwrap()
    }

    #[track_caller]
    fn check_answered(&mut self, number: u32, layer: usize) {
        let heard = self.hear();
        assert_eq!(heard[0], number, "{heard}");
        let found = &heard[1]["Answered"][0]["Attention"]["base"][0][0];
        assert_eq!(found.as_f64(), Some(layer as f64), "{heard}");
    }

    #[track_caller]
    fn check(&mut self, number: u32, kind: &str, text: &str) {
        let heard = self.hear();
        let found = heard[1][kind].as_str().unwrap_or_default();
        assert!(heard[0] == number && found.contains(text), "{heard}");
    }
}

#[test]
fn a_newer_question_replaces_one_that_waits_or_runs() {
    let stand = Stand::new();
    let mut tab = stand.open();
    tab.ask(1, 1);
    stand.check_log("1: 1");
    tab.ask(2, 2);
    tab.ask(3, 3);
    tab.check(1, "Refused", "newer");
    tab.check(2, "Refused", "newer");
    stand.let_go();
    stand.check_log("unwanted");
    stand.check_log("1: 3");
    stand.let_go();
    tab.check_answered(3, 3);
}

#[test]
fn what_is_taken_back_is_not_answered() {
    let stand = Stand::new();
    let mut tab = stand.open();
    let mut other = stand.open();
    tab.ask(1, 1);
    stand.check_log("1: 1");
    other.ask(7, 7);
    other.seat.take_back(6);
    other.seat.take_back(7);
    tab.seat.take_back(1);
    tab.seat.give(2, String::new());
    tab.seat.take_back(2);
    stand.let_go();
    stand.check_log("unwanted");
    for tab in [&mut tab, &mut other] {
        tab.ask(8, 8);
        stand.let_go();
        tab.check_answered(8, 8);
    }
}

#[test]
fn a_closed_tab_costs_nothing() {
    let stand = Stand::new();
    let [one, two, mut three] = [stand.open(), stand.open(), stand.open()];
    one.ask(1, 1);
    stand.check_log("1: 1");
    two.ask(2, 2);
    three.ask(3, 3);
    drop(one);
    drop(two);
    stand.let_go();
    let next: BTreeSet<String> = (0..4).map(|_| stand.log.recv().unwrap()).collect();
    let expected = ["unwanted", "forget 1", "forget 2", "3: 3"];
    assert_eq!(next, expected.map(str::to_owned).into());
    stand.let_go();
    three.check_answered(3, 3);
}

#[test]
fn tabs_take_turns() {
    let stand = Stand::new();
    let mut tabs = [stand.open(), stand.open(), stand.open()];
    tabs[0].ask(0, 0);
    stand.check_log("1: 0");
    // Who gives much takes no turn of the others.
    for number in [7, 8, 9] {
        tabs[0].seat.give(number, "AAAA".to_owned());
    }
    tabs[1].ask(0, 0);
    tabs[2].ask(0, 0);
    stand.let_go();
    tabs[0].check_answered(0, 0);
    stand.check_log("direction 3");
    for idx in [1, 2] {
        stand.check_log(&format!("{}: 0", idx + 1));
        stand.let_go();
        tabs[idx].check_answered(0, 0);
    }
    for number in [7, 8, 9] {
        assert_eq!(tabs[0].hear(), json!([number, "Taken"]));
    }
}

#[test]
fn an_engine_that_breaks_is_made_anew_and_given_its_directions() {
    let stand = Stand::new();
    let mut tab = stand.open();
    let mut other = stand.open();
    tab.seat.give(1, "AAAA".to_owned());
    stand.check_log("direction 3");
    assert_eq!(tab.hear(), json!([1, "Taken"]));
    for (layer, why) in [(PANICS, "a fault"), (LOST, "no numbers")] {
        tab.ask(2, layer);
        tab.check(2, "Died", why);
        stand.check_log(&format!("1: {layer}"));
        stand.check_log("direction 3");
        other.ask(3, 3);
        stand.let_go();
        other.check_answered(3, 3);
        stand.check_log("2: 3");
    }
    tab.ask(4, NAN);
    tab.check(4, "Refused", "no numbers");
    stand.check_log(&format!("1: {NAN}"));
    tab.seat.give(5, "no base64".to_owned());
    tab.check(5, "Refused", "Invalid");
}

#[test]
fn an_engine_that_cannot_be_made_is_said_to_everyone() {
    let queue = Arc::new(Queue::default());
    let (out, mut answers) = unbounded_channel();
    let seat = queue.open(&out);
    drop(out);
    let is_made = AtomicBool::new(false);
    run(&queue, || {
        is_made.store(true, Ordering::SeqCst);
        anyhow::bail!("no such model")
    });
    assert!(is_made.load(Ordering::SeqCst));
    let first = answers.blocking_recv().unwrap();
    assert_eq!(first, r#"[0,{"Refused":"no such model"}]"#);
    assert_eq!(answers.blocking_recv(), None);
    drop(seat);
    let (out, _) = unbounded_channel();
    assert!(queue.open(&out).is_none());
}

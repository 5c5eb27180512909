//! The logit lens: what each layer would answer if it were the last.

use swivel_engine::protocol::Cell;

use super::cell::{Painted, unknown};
use crate::session::{
    Cursor, Session, Shown,
    numbers::{nats, probability},
};

/// Nats at which the colour of the lens is nearly full.
const LENS_SCALE: f32 = 4.0;

/// A cell as it is painted.
pub fn paint(session: &Session, cell: Cursor) -> Painted {
    let Some((base, intervened)) = session.lens_cell(cell) else {
        return unknown("not computed yet");
    };
    let likeliest = |name: &str, cell: &Cell| {
        format!(
            "{name}: {} {} ({} nats towards the source's answer)",
            session.look(cell.top).text,
            probability(cell.probability),
            nats(cell.difference)
        )
    };
    let title = format!(
        "{}. {}",
        likeliest("base", &base),
        likeliest("intervened", &intervened)
    );
    let leaning = |cell: &Cell| (cell.difference / LENS_SCALE).tanh();
    let top = |cell: &Cell| session.look(cell.top).text;
    let (text, value) = match session.shown {
        Shown::Base => (top(&base), leaning(&base)),
        Shown::Intervened => (top(&intervened), leaning(&intervened)),
        Shown::Difference => {
            let change = intervened.difference - base.difference;
            let text = match change.abs() < 0.05 {
                true => "·".to_owned(),
                false => nats(change),
            };
            (text, (change / LENS_SCALE).tanh())
        }
    };
    Painted {
        text,
        title,
        value,
        ..Painted::default()
    }
}

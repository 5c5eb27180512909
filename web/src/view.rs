//! One module a panel; no arithmetic here.

pub mod answer;
pub mod directions;
pub mod guide;
pub mod header;
pub mod inside;
pub mod learned;
pub mod page;
pub mod program;
pub mod prompts;

use crate::session::map::without_zero;

/// A probability with two digits and without its zero: `.97`, `1.00`.
pub fn probability(value: f32) -> String {
    without_zero(format!("{value:.2}"))
}

/// Milliseconds with a digit below ten.
pub fn milliseconds(ms: f64) -> String {
    match ms {
        ms if ms < 10.0 => format!("{ms:.1} ms"),
        ms if ms < 1000.0 => format!("{ms:.0} ms"),
        ms => format!("{:.1} s", ms / 1000.0),
    }
}

/// Bytes as KB or MB.
pub fn bytes(bytes: f64) -> String {
    match bytes {
        bytes if bytes < 1e6 => format!("{:.0} KB", bytes / 1e3),
        bytes => format!("{:.1} MB", bytes / 1e6),
    }
}

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

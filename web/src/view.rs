//! One module a panel; no arithmetic here. Views know what they read and what can be done ([`crate::page_state`]), and not who
//! does it.

pub mod answer;
pub mod directions;
mod files;
pub mod flips;
mod gallery;
pub mod guide;
pub mod header;
pub mod inside;
mod keep;
mod menu;
mod models;
pub mod page;
pub mod program;
pub mod prompts;
mod scroll;
pub mod text;

//! The engine: a model on a device, and answers to questions about its runs with interventions.
//!
//! A question is a plan's content and what is to be read of it ([`protocol`]). Runs of prompts are cached, so that a question
//! computes only the cone of what its interventions can change. No file, no browser and no clock is in here: the page's worker is
//! one host of an [`Engine`], the native program another.

mod cache;
mod compare;
mod engine;
mod failure;
pub mod protocol;
mod readback;
mod stage;

pub use cache::Limits;
pub use engine::{Engine, MOST_DIRECTIONS, direction_name};
pub use failure::Failure;
pub use stage::Logits;

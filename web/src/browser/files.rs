//! Files of models in a worker: from servers by ranges, from what a person chose, from what the browser keeps.

mod body;
pub mod bytes;
pub mod download;
pub mod model;
mod place;
pub mod store;

pub use place::SMALL;

//! Swivel's core: GPT-2 and interventions on its activations, generic over burn's backends.

mod error;
mod hook;
mod load;
mod model;
mod site;
mod tokenizer;

pub mod causal;
pub mod cone;
pub mod direction;
pub mod intervention;
pub mod metric;
pub mod task;
pub mod train;

pub use error::{Error, Result};
pub use hook::{Hook, Recorder};
pub use load::Weights;
pub use model::{Attention, Block, Gpt2, Gpt2Config, KeyValue, Mlp};
pub use site::{Component, Position, Site};
pub use tokenizer::Tokenizer;

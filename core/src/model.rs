//! Language models: one decoder, and a file a family that says which of its variants the family is.

mod attention;
mod config;
mod decoder;
pub(crate) mod family;
mod head;
mod rotary;
mod sizes;

pub use attention::{Attention, KeyValue};
pub(crate) use config::Fields;
pub use config::{Activation, Config, ConfigError, NormKind};
pub use decoder::{Decoder, Layer, Mlp, Norm, ids_tensor};
pub use family::Family;
pub use rotary::{Rotary, RotaryEncoding, Scaling};
pub use sizes::{PromptError, Sizes};

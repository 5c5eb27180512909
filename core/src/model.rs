//! Language models: one decoder, and a file a family that says which of its variants the family is.

mod attention;
mod config;
mod decoder;
pub(crate) mod family;
mod fields;
mod head;
mod norm;
mod part;
mod rotary;
mod vocabulary;

pub use attention::{Attention, KeyValue};
pub use config::{Activation, Config, Family, NormKind};
pub use decoder::{Decoder, Layer, Mlp, ids_tensor};
pub use fields::ConfigError;
pub(crate) use fields::Fields;
pub use norm::Norm;
pub(crate) use part::{Layout, Part};
pub use rotary::{Rotary, RotaryEncoding, Scaling};
pub use vocabulary::{Head, TokenEmbedding};

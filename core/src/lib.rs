//! Swivel's core: language models and interventions on their activations, generic over burn's backends.
//!
//! A run offers every value to a hook; a hook reads it or changes it. Swapping a learned direction between two runs:
//!
//! ```no_run
//! use burn::tensor::{Int, Tensor, backend::Backend};
//! use swivel_core::{Decoder, Sizes, Recorder, Result, direction::Direction, intervention::*};
//!
//! /// Logits of the base run with the direction's content taken from the source run.
//! fn swap<B: Backend>(
//!     model: &Decoder<B>,
//!     sizes: &Sizes,
//!     direction: &Direction,
//!     [base, source]: [Tensor<B, 2, Int>; 2],
//! ) -> Result<Tensor<B, 3>> {
//!     let [_, n_tokens] = base.dims();
//!     let site = direction.facts.place.site;
//!     let units = Units::positions([direction.facts.place.position.resolve(n_tokens)?]);
//!
//!     let mut recorder = Recorder::new([site]);
//!     model.forward(source, &mut recorder);
//!     let source = recorder.get(site).map_or(Source::None, |x| Source::Positions(units.select(x.clone())));
//!
//!     let featurizer = Featurizer::Subspace(direction.basis(&base.device()));
//!     let intervention = Intervention::new(Op::Interchange, featurizer);
//!     let mut editor = Editor::new(sizes, n_tokens, vec![Edit { site, units, intervention, source }])?;
//!     let logits = model.forward(base, &mut editor);
//!     editor.finish()?; // an edit that was not applied is an error
//!     Ok(logits)
//! }
//! ```

mod batch;
mod error;
mod hex;
mod hook;
mod load;
mod model;
mod one_line;
mod place;
mod reach;
mod rows;
mod site;
mod sizes;
mod tensor_file;
mod tokenizer;
mod tokens;

pub mod by_name;
pub mod cone;
pub mod direction;
pub mod generate;
pub mod hub;
pub mod intervention;
pub mod kernel;
pub mod metric;
pub mod plan;
pub mod question;
pub mod sweep;
pub mod train;

pub use batch::MANY_ROWS;
pub use error::{Error, Result};
pub use hex::hex;
pub use hook::{Hook, Recorder};
pub use load::{
    Converter, Dtype, FileFormat, HeaderReader, Loader, Precision, StoredFile, StoredTensor,
    TensorError, UnreadTensor, WEIGHT_FILES, Wanted, Weights, gguf, shard_list, shards,
};
pub use model::{Config, ConfigError, Decoder, Family, KeyValue, Layer, Norm, ids_tensor};
pub use place::{Place, Position};
pub use question::causal;
pub use site::{Component, PlaceError, Site};
pub use sizes::{PromptError, Sizes};
pub use tensor_file::FileError;
pub use tokenizer::{TokenKind, Tokenizer, TokenizerError};
pub use tokens::{NamedPosition, Tokens};

//! Why a place was refused.

use crate::sizes::PromptError;

/// Why a place was refused: the model or the prompt has no such one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// A component name that does not exist.
    #[error("unknown component `{name}`; expected one of {expected}")]
    ComponentUnknown {
        /// What was typed.
        name: String,
        /// The valid names.
        expected: String,
    },
    /// A component that exists but cannot be used in this place.
    #[error("component `{name}` is not supported here; expected {expected}")]
    ComponentUnsupported {
        /// The component.
        name: String,
        /// What would be valid.
        expected: String,
    },
    /// A component that this model's blocks do not have.
    #[error("this model has no `{name}`, since {reason}; `{instead}` is what it has")]
    ComponentLacking {
        /// The component.
        name: &'static str,
        /// What of its blocks is different.
        reason: &'static str,
        /// The component that says the same, or comes nearest.
        instead: &'static str,
    },
    /// A name of TransformerLens that means different modules in different families.
    #[error(
        "`{name}` is `{plain}` in some models and `{other}` in those that have both; say which"
    )]
    ComponentAmbiguous {
        /// What was typed.
        name: String,
        /// What it is in plain blocks.
        plain: &'static str,
        /// What it is in blocks that have both.
        other: &'static str,
    },
    /// A layer that the model does not have.
    #[error("layer {layer} is outside the model, which has layers 0 to {last}")]
    LayerOutside {
        /// The layer.
        layer: usize,
        /// The model's last layer.
        last: usize,
    },
    /// A head that the model does not have.
    #[error("head {head} is outside the model, which has heads 0 to {last}")]
    HeadOutside {
        /// The head.
        head: usize,
        /// The model's last head.
        last: usize,
    },
    /// A position that is neither a number nor `last`.
    #[error(
        "unknown position `{name}`; expected a token from 0, `last`, or -2 and so on from the end"
    )]
    PositionUnknown {
        /// What was typed.
        name: String,
    },
    /// A position outside the prompt.
    #[error("position {position} is outside the prompt, which has tokens 0 to {last}")]
    PositionOutside {
        /// The position, as files have it.
        position: String,
        /// Index of the prompt's last token.
        last: usize,
    },
    /// A text that should name a token, and that the prompt does not have.
    #[error("{text:?} is nowhere in the prompt {prompt:?}")]
    TextNowhere {
        /// The text.
        text: String,
        /// The prompt.
        prompt: String,
    },
    /// A prompt that has no places.
    #[error(transparent)]
    Prompt(#[from] PromptError),
}

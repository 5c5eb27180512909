//! What can be wrong with data from outside: one enum a module, beside what it is about, and [`Error`], where they meet.
//!
//! Each has a variant per cause, with what was expected and what was found. A message is whole: it has the message of what
//! caused it, and [`std::error::Error::source`] is `None`, so that whoever prints a message, and whoever prints a chain of
//! causes, says each cause once. No module of this crate uses [`Error`]: it is for those who call several of them.

use crate::{
    intervention::InterventionError, load::TensorError, model::ConfigError, plan::PlanError,
    question::TaskError, site::PlaceError, sizes::PromptError, tensor_file::FileError,
    tokenizer::TokenizerError,
};

/// Result of everything that takes data from outside.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why data from outside was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A `config.json`.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file of tensors.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// A tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A prompt.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// A place in the model or in a prompt.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// An intervention.
    #[error(transparent)]
    Intervention(#[from] InterventionError),
    /// A task, or pairs of one.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// A direction file or a sweep result.
    #[error(transparent)]
    File(#[from] FileError),
    /// A plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;
    use crate::{Config, Position, Weights, direction::Direction, plan::Plan, sweep::SweepResult};

    fn error<T>(result: Result<T, impl Into<Error>>) -> Error {
        result.err().unwrap().into()
    }

    /// What a parser says is in the message, and is no source beside it: a printed chain has each cause once.
    #[test]
    fn messages_are_whole() {
        let plan = r#"{"version": 1, "base": {"text": ["#;
        let wrong_layer =
            r#"{"version": 1, "base": {"ids": [[1]]}, "interventions": [{"layer": "x"}]}"#;
        for (error, cause) in [
            (error(Config::from_json(b"{")), "config.json: EOF"),
            (error(Weights::new(&[b"<html>"])), "file: header too"),
            (error(Direction::from_bytes(b"<html>")), "file: header too"),
            (
                error(SweepResult::from_bytes(b"<html>")),
                "file: header too",
            ),
            (error(Position::LAST.resolve(0)), "the prompt is empty"),
            (error(Plan::from_json(b"{")), "plan: EOF"),
            (error(Plan::from_json(plan.as_bytes())), "plan: `base"),
            (
                error(Plan::from_json(wrong_layer.as_bytes())),
                "plan: `interventions[0].layer`: invalid type",
            ),
        ] {
            let message = error.to_string();
            assert!(
                message.contains(cause) && !message.contains('?'),
                "{message}"
            );
            assert!(error.source().is_none(), "{message}");
        }
    }
}

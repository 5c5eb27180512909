//! Why a question has no answer.

use std::fmt;

use swivel_core::{Error, plan::PlanError};

/// Why a question has no answer.
#[derive(Debug)]
pub enum Failure {
    /// What was asked for is impossible.
    Request(Error),
    /// The device did not compute, or did not hand out what it computed.
    Device(String),
    /// It was not wanted any more.
    Unwanted,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(error) => error.fmt(f),
            Self::Device(error) => f.write_str(error),
            Self::Unwanted => f.write_str("not wanted any more"),
        }
    }
}

impl std::error::Error for Failure {}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Request(error)
    }
}

pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// Ends a job between two of its steps if its answer is not wanted any more.
pub(crate) async fn look(is_wanted: &impl AsyncFn() -> bool) -> Result<()> {
    match is_wanted().await {
        true => Ok(()),
        false => Err(Failure::Unwanted),
    }
}

/// A plan that cannot be asked about in this way.
pub(crate) fn refused(field: &str, expected: &str, found: impl fmt::Display) -> Failure {
    let error = PlanError::Value {
        field: field.to_owned(),
        expected: expected.to_owned(),
        found: found.to_string(),
    };
    Failure::Request(error.into())
}

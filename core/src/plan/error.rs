//! Why a plan was refused, with the path of the field that is wrong.

use std::{error::Error as StdError, fmt};

use crate::one_line::one_line;

/// Why a plan was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// It is not JSON, or has a field that is unknown, missing or of another type.
    #[error("{}", one_line(format_args!("plan: {}{cause}", of_field(field))))]
    Json {
        /// Path of the field, such as `interventions[0].layer`; empty where it is the whole.
        field: String,
        /// What the parser says, with the line.
        cause: serde_json::Error,
    },
    /// A field is missing, has no effect, or does not fit another one.
    #[error("{}", one_line(format_args!("plan: `{field}`: expected {expected}, found {found}")))]
    Value {
        /// Path of the field.
        field: String,
        /// What would be valid.
        expected: String,
        /// What the plan says.
        found: String,
    },
    /// A field that the model or a prompt does not have, or that holds a bad file.
    #[error("{}", one_line(format_args!("plan: `{field}`: {cause}")))]
    Field {
        /// Path of the field.
        field: String,
        /// What is wrong.
        cause: Box<dyn StdError + Send + Sync>,
    },
    /// A file that it names cannot be read.
    #[error("{}", one_line(format_args!("plan: `{field}`: cannot read `{name}`: {reason}")))]
    File {
        /// Path of the field.
        field: String,
        /// Name of the file.
        name: String,
        /// Why it cannot be read.
        reason: String,
    },
    /// An operation that does not exist.
    #[error("unknown operation `{name}`; expected one of {expected}")]
    OpUnknown {
        /// What was typed.
        name: String,
        /// The valid names.
        expected: String,
    },
}

fn of_field(field: &str) -> String {
    match field {
        "" => String::new(),
        field => format!("`{field}`: "),
    }
}

/// A field that is missing, has no effect, or does not fit another one.
pub(super) fn refuse<T>(
    field: impl Into<String>,
    expected: impl fmt::Display,
    found: impl fmt::Display,
) -> Result<T, PlanError> {
    Err(PlanError::Value {
        field: field.into(),
        expected: expected.to_string(),
        found: found.to_string(),
    })
}

/// Says which field an error is about.
pub(super) fn within<E: StdError + Send + Sync + 'static>(
    field: impl Into<String>,
) -> impl FnOnce(E) -> PlanError {
    let field = field.into();
    |cause| PlanError::Field {
        field,
        cause: Box::new(cause),
    }
}

//! Tasks: what the model is asked, and counterfactual pairs of prompts for a variable of the task's causal model.

mod by_words;
pub mod causal;
mod counterfactual;
mod entry;
mod file;
mod filled;
mod form;
mod hold_out;
mod kinds;
mod named;
pub mod programs;
mod remark;
mod sampler;
pub mod shipped;
mod task;
mod template;
mod text_pair;
mod world;

pub use counterfactual::Counterfactual;
pub use entry::{Entry, Filling};
pub use filled::{ANSWER, Piece};
pub use form::{Form, Variable};
pub use kinds::{PairSampler, Placed, Question, program_of, title};
pub use named::{SlotToken, TokenName};
pub use remark::Remark;
pub use sampler::{Asked, AskedPair, AskedPrompt, Asker, Labels, TaskSampler};
pub use task::{Score, Task};
pub use template::Written;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    Position, Sizes, TokenizerError, one_line::one_line, site::PlaceError, sizes::PromptError,
};

/// Prompts of a base and a source run and what the base run must answer once the variable has the source's value.
///
/// One line of a training data file, as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// Token ids of the base prompt.
    pub base: Vec<u32>,
    /// Token ids of the source prompt.
    pub source: Vec<u32>,
    /// Token position in the base prompt that is written.
    pub base_position: usize,
    /// Token position in the source prompt that is read.
    pub source_position: usize,
    /// Token id of the counterfactual answer.
    pub label: u32,
    /// Token id of the base's own answer, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_label: Option<u32>,
    /// Token id of the source's own answer, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_label: Option<u32>,
    /// The variable's value in base and source, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<[String; 2]>,
}

/// What all pairs of a set have in common, so that they can be run as one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairShape {
    /// Tokens of a base prompt.
    pub n_base: usize,
    /// Tokens of a source prompt.
    pub n_source: usize,
    /// Token position in the base prompts that is written.
    pub base_position: usize,
    /// Token position in the source prompts that is read.
    pub source_position: usize,
}

impl fmt::Display for PairShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            n_base,
            n_source,
            base_position,
            source_position,
        } = self;
        write!(
            f,
            "{n_base} tokens of base, swapped at {base_position}, and {n_source} of source, read at {source_position}"
        )
    }
}

impl TaskError {
    /// Something in a task file that is not what it should be.
    pub(crate) fn wrong(
        place: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self::File {
            place: place.into(),
            expected: expected.into(),
            found: found.into(),
        }
    }
}

impl PairShape {
    /// The shapes of a set of pairs that the model can run, each with its pairs, in the order in which they come first.
    ///
    /// # Errors
    /// - [`TaskError::Prompt`] if there are no pairs, or the model cannot read a prompt.
    /// - [`TaskError::Place`] if a position is outside its prompt.
    pub fn each(pairs: &[Pair], sizes: &Sizes) -> Result<Vec<(Self, Vec<usize>)>, TaskError> {
        let mut shapes: Vec<(Self, Vec<usize>)> = Vec::new();
        for (idx, pair) in pairs.iter().enumerate() {
            let shape = Self::checked(pair, sizes)?;
            match shapes.iter_mut().find(|(known, _)| *known == shape) {
                Some((_, members)) => members.push(idx),
                None => shapes.push((shape, vec![idx])),
            }
        }
        match shapes.is_empty() {
            true => Err(PromptError::Empty.into()),
            false => Ok(shapes),
        }
    }

    /// Shape of a pair that the model can run.
    fn checked(pair: &Pair, sizes: &Sizes) -> Result<Self, TaskError> {
        sizes.check_ids(&[&pair.base])?;
        sizes.check_ids(&[&pair.source])?;
        let labels = [Some(pair.label), pair.base_label, pair.source_label];
        sizes.check_ids(&[labels.into_iter().flatten().collect::<Vec<_>>()])?;
        Position::Index(pair.base_position).resolve(pair.base.len())?;
        Position::Index(pair.source_position).resolve(pair.source.len())?;
        Ok(Self {
            n_base: pair.base.len(),
            n_source: pair.source.len(),
            base_position: pair.base_position,
            source_position: pair.source_position,
        })
    }

    /// The common shape of a set of pairs that the model can run.
    ///
    /// # Errors
    /// - [`TaskError::Prompt`] if there are no pairs, or the model cannot read a prompt.
    /// - [`TaskError::PairShape`] if a pair differs from the first one.
    /// - [`TaskError::Place`] if a position is outside its prompt.
    pub fn of(pairs: &[Pair], sizes: &Sizes) -> Result<Self, TaskError> {
        let shapes = Self::each(pairs, sizes)?;
        match &shapes[..] {
            [(expected, _), (found, others), ..] => Err(TaskError::PairShape {
                idx: others[0],
                expected: *expected,
                found: *found,
            }),
            [(shape, _)] => Ok(*shape),
            [] => Err(PromptError::Empty.into()),
        }
    }
}

/// Why a task, or pairs of one, were refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// Something in a task file is not what it should be.
    #[error("`{place}`: expected {expected}, found {found}")]
    File {
        /// Where, as in `slots.S.pick[1]`.
        place: String,
        /// What would be valid.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A task file that is no JSON of the form.
    #[error("not a task file: {cause}")]
    Json {
        /// Where, and what is wrong.
        cause: String,
    },
    /// Two answers that begin with the same token: no label could tell them apart.
    #[error("answers {first:?} and {second:?} begin with the same token, {token:?}")]
    Answers {
        /// One answer.
        first: String,
        /// The other one.
        second: String,
        /// The token.
        token: String,
    },
    /// An answer that the tokenizer joins with the prompt before it.
    #[error("answer {answer:?} has no token of its own behind the prompt {prompt:?}")]
    Answer {
        /// The answer.
        answer: String,
        /// A prompt.
        prompt: String,
    },
    /// A line of a data file that is no JSON of the form.
    #[error("{}", one_line(format_args!("not a pair: {cause}")))]
    PairJson {
        /// Where, and what is wrong.
        cause: String,
    },
    /// A text of a pair that names no token.
    #[error("{}", one_line(format_args!("`{field}`: {cause}")))]
    PairField {
        /// Which one.
        field: &'static str,
        /// What is wrong with it.
        cause: Box<TaskError>,
    },
    /// A name of a position that the task does not have.
    #[error("unknown position `{name}`; expected one of {expected}, or a token from 0, `last`, -2")]
    PositionUnknown {
        /// What was typed.
        name: String,
        /// The names.
        expected: String,
    },
    /// A named place that a prompt does not have.
    #[error("`{name}` is nowhere in the prompt {prompt:?}")]
    PositionNowhere {
        /// The name.
        name: String,
        /// The prompt.
        prompt: String,
    },
    /// Something that cannot be held out.
    #[error("cannot hold out `{name}`; expected {expected}")]
    HoldOut {
        /// What was typed.
        name: String,
        /// What could be.
        expected: String,
    },
    /// A tokenizer that cannot read a prompt.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A program id that is not in the list.
    #[error("unknown program `{name}`; expected one of {expected}")]
    ProgramUnknown {
        /// What was typed.
        name: String,
        /// The valid ids.
        expected: String,
    },
    /// A variable that the causal model does not have.
    #[error("unknown variable `{name}`; expected one of {expected}")]
    VariableUnknown {
        /// What was typed.
        name: String,
        /// The valid names.
        expected: String,
    },
    /// A variable that no answer depends on, or none that this sampler has not given yet.
    #[error("no pair of prompts was found in which `{name}` changes the answer")]
    VariableIdle {
        /// The variable.
        name: String,
    },
    /// A list of programs that does not have the expected form.
    #[error("program `{name}`: {reason}")]
    Program {
        /// Id of the program.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A word list without enough words to sample the task from.
    #[error("the word list: {reason}")]
    Words {
        /// What is wrong with it, with line or word.
        reason: String,
    },
    /// The task cannot give that many different counterfactual pairs.
    #[error(
        "only {found} of {wanted} different counterfactual pairs of `{variable}` could be sampled"
    )]
    PairsExhausted {
        /// Number that was asked for.
        wanted: usize,
        /// Number that was found.
        found: usize,
        /// The variable.
        variable: String,
    },
    /// Pairs of one set differ in length or position.
    #[error("pair {idx} has {found}, pair 0 has {expected}; all pairs of a set need one shape")]
    PairShape {
        /// Index of the first pair that differs.
        idx: usize,
        /// Shape of pair 0.
        expected: PairShape,
        /// Shape of this pair.
        found: PairShape,
    },
    /// A prompt of a pair, or a set without pairs.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// A position of a pair.
    #[error(transparent)]
    Place(#[from] PlaceError),
}

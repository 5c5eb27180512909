//! The table of operations: what a plan calls them, and what people do.

use std::{fmt, str::FromStr};

use super::PlanError;
use crate::{Site, intervention::Op};

/// An operation as plans, menus and sentences have it. A new one is a row of [`OPERATIONS`].
#[derive(Debug, PartialEq, Eq)]
pub struct Operation {
    /// `op.type` of a plan.
    pub name: &'static str,
    /// What is computed; nothing, where the value is only kept.
    pub op: Option<Op>,
    /// Where its source's value comes from.
    pub reads: Reads,
    /// True if it is done in a learned subspace, which a direction file holds.
    pub is_learned: bool,
    /// What a person does with a value: `swap`.
    pub verb: &'static str,
    /// What becomes of the value, in half a sentence.
    pub about: &'static str,
}

/// Where the source's value of an operation comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// It needs none.
    Nothing,
    /// A source run, or the plan itself: `source` or `values`.
    Source,
    /// A source run, of which the mean over rows and tokens is taken.
    Mean,
    /// A seed ([`noise`](crate::intervention::noise)).
    Noise,
    /// The run itself: what the module reads whose output is edited ([`Site::input`](crate::Site::input)).
    Input,
}

/// Every operation.
pub static OPERATIONS: [Operation; 10] = [
    Operation {
        name: "interchange",
        op: Some(Op::Interchange),
        reads: Reads::Source,
        is_learned: false,
        verb: "swap",
        about: "the source's value takes its place",
    },
    Operation {
        name: "zero",
        op: Some(Op::Zero),
        reads: Reads::Nothing,
        is_learned: false,
        verb: "zero",
        about: "it becomes zero",
    },
    Operation {
        name: "mean",
        op: Some(Op::Interchange),
        reads: Reads::Mean,
        is_learned: false,
        verb: "average",
        about: "the mean over the source's tokens takes its place",
    },
    Operation {
        name: "add",
        op: Some(Op::Add),
        reads: Reads::Source,
        is_learned: false,
        verb: "add",
        about: "the source's value is added",
    },
    Operation {
        name: "subtract",
        op: Some(Op::Subtract),
        reads: Reads::Source,
        is_learned: false,
        verb: "subtract",
        about: "the source's value is subtracted",
    },
    Operation {
        name: "noise",
        op: Some(Op::Add),
        reads: Reads::Noise,
        is_learned: false,
        verb: "add noise to",
        about: "Gaussian noise is added, of a standard deviation of 1 at full strength",
    },
    Operation {
        name: "scale",
        op: Some(Op::Zero),
        reads: Reads::Nothing,
        is_learned: false,
        verb: "scale",
        about: "it is multiplied by a factor",
    },
    Operation {
        name: "skip",
        op: Some(Op::Interchange),
        reads: Reads::Input,
        is_learned: false,
        verb: "skip",
        about: "what its module reads takes the place of what the module makes of it",
    },
    Operation {
        name: "collect",
        op: None,
        reads: Reads::Nothing,
        is_learned: false,
        verb: "collect",
        about: "it stays as it is, and is kept as the interventions leave it",
    },
    Operation {
        name: "low_rank",
        op: Some(Op::Interchange),
        reads: Reads::Source,
        is_learned: true,
        verb: "swap",
        about: "the source's content of a learned subspace takes the place of its own",
    },
];

/// Names of the format that nothing here computes yet.
const UNSUPPORTED: [&str; 7] = [
    "rotated",
    "boundless",
    "sigmoid_mask",
    "sigmoid_mask_rotated",
    "pca",
    "autoencoder",
    "jump_relu_sae",
];

impl Operation {
    /// Swaps the whole value.
    pub const INTERCHANGE: &'static Self = &OPERATIONS[0];
    /// Sets the whole value to zero.
    pub const ZERO: &'static Self = &OPERATIONS[1];
    /// Multiplies the value.
    pub const SCALE: &'static Self = &OPERATIONS[6];
    /// Swaps the content of a learned subspace (DAS).
    pub const LOW_RANK: &'static Self = &OPERATIONS[9];

    /// Those that change a whole value, without a direction.
    pub fn of_whole_values() -> impl Iterator<Item = &'static Self> {
        let all = OPERATIONS.iter();
        all.filter(|operation| !operation.is_learned && operation.op.is_some())
    }

    /// True if the values at a site can be what it reads.
    pub fn acts_at(&self, site: Site) -> bool {
        match self.reads {
            // Rows of attention have a value for each token, and those of one token more than those of another.
            Reads::Mean => !site.component.is_over_tokens(),
            Reads::Input => site.input().is_some(),
            Reads::Nothing | Reads::Source | Reads::Noise => true,
        }
    }

    /// True if it reads a source run, or values of the plan in its place.
    pub fn reads_run(&self) -> bool {
        matches!(self.reads, Reads::Source | Reads::Mean)
    }

    /// True if it reads the source at a token for each that it writes.
    pub fn reads_token(&self) -> bool {
        self.reads == Reads::Source
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name)
    }
}

impl FromStr for &'static Operation {
    type Err = PlanError;

    fn from_str(name: &str) -> Result<Self, PlanError> {
        if let Some(found) = OPERATIONS.iter().find(|own| own.name == name) {
            return Ok(found);
        }
        let names: Vec<&str> = OPERATIONS.iter().map(|own| own.name).collect();
        let expected = names.join(", ");
        let name = name.to_owned();
        match UNSUPPORTED.contains(&name.as_str()) {
            true => Err(PlanError::OpUnsupported { name, expected }),
            false => Err(PlanError::OpUnknown { name, expected }),
        }
    }
}

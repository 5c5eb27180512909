//! The table of operations: what a plan calls them, and what people do.

use std::{fmt, str::FromStr};

use super::PlanError;
use crate::intervention::Op;

/// An operation as plans, menus and sentences have it. A new one is a row of [`OPERATIONS`], after its arm in [`Op`].
#[derive(Debug, PartialEq, Eq)]
pub struct Operation {
    /// `op.type` of a plan.
    pub name: &'static str,
    /// What is computed.
    pub op: Op,
    /// True if it is done in a learned subspace, which a direction file holds.
    pub is_learned: bool,
    /// What a person does with a value: `swap`.
    pub verb: &'static str,
    /// What becomes of the value, in half a sentence.
    pub about: &'static str,
}

/// Every operation.
pub static OPERATIONS: [Operation; 5] = [
    Operation {
        name: "interchange",
        op: Op::Interchange,
        is_learned: false,
        verb: "swap",
        about: "the source's value takes its place",
    },
    Operation {
        name: "zero",
        op: Op::Zero,
        is_learned: false,
        verb: "zero",
        about: "it becomes zero",
    },
    Operation {
        name: "add",
        op: Op::Add,
        is_learned: false,
        verb: "add",
        about: "the source's value is added",
    },
    Operation {
        name: "subtract",
        op: Op::Subtract,
        is_learned: false,
        verb: "subtract",
        about: "the source's value is subtracted",
    },
    Operation {
        name: "low_rank",
        op: Op::Interchange,
        is_learned: true,
        verb: "swap",
        about: "the source's content of a learned subspace takes the place of its own",
    },
];

/// Names of the format that nothing here computes yet.
const UNSUPPORTED: [&str; 12] = [
    "mean",
    "noise",
    "scale",
    "skip",
    "collect",
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
    /// Swaps the content of a learned subspace (DAS).
    pub const LOW_RANK: &'static Self = &OPERATIONS[4];

    /// Those that are done to a whole value, without a direction.
    pub fn of_whole_values() -> impl Iterator<Item = &'static Self> {
        OPERATIONS.iter().filter(|operation| !operation.is_learned)
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

//! The table of operations: what a plan calls them, and what people do.

use std::{fmt, str::FromStr};

use super::PlanError;
use crate::{
    Site,
    direction::{Direction, Form},
    intervention::Op,
};

/// An operation as plans, menus and sentences have it. A new one is a row of [`OPERATIONS`].
#[derive(Debug, PartialEq, Eq)]
pub struct Operation {
    /// `op.type` of a plan.
    pub name: &'static str,
    /// What is computed; nothing, where the value is only kept.
    pub op: Option<Op>,
    /// Where its source's value comes from.
    pub reads: Reads,
    /// Which directions it takes, of an operation that is done to features that a direction file holds; others take any or none.
    pub forms: &'static [Form],
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
pub static OPERATIONS: [Operation; 17] = [
    Operation {
        name: "interchange",
        op: Some(Op::Interchange),
        reads: Reads::Source,
        forms: &[],
        verb: "swap",
        about: "the source's value takes its place",
    },
    Operation {
        name: "zero",
        op: Some(Op::Zero),
        reads: Reads::Nothing,
        forms: &[],
        verb: "zero",
        about: "it becomes zero",
    },
    Operation {
        name: "mean",
        op: Some(Op::Interchange),
        reads: Reads::Mean,
        forms: &[],
        verb: "average",
        about: "the mean over the source's tokens takes its place",
    },
    Operation {
        name: "add",
        op: Some(Op::Add),
        reads: Reads::Source,
        forms: &[],
        verb: "add",
        about: "the source's value is added",
    },
    Operation {
        name: "subtract",
        op: Some(Op::Subtract),
        reads: Reads::Source,
        forms: &[],
        verb: "subtract",
        about: "the source's value is subtracted",
    },
    Operation {
        name: "noise",
        op: Some(Op::Add),
        reads: Reads::Noise,
        forms: &[],
        verb: "add noise to",
        about: "Gaussian noise is added, of a standard deviation of 1 at full strength",
    },
    Operation {
        name: "scale",
        op: Some(Op::Zero),
        reads: Reads::Nothing,
        forms: &[],
        verb: "scale",
        about: "it is multiplied by a factor",
    },
    Operation {
        name: "skip",
        op: Some(Op::Interchange),
        reads: Reads::Input,
        forms: &[],
        verb: "skip",
        about: "what its module reads takes the place of what the module makes of it",
    },
    Operation {
        name: "collect",
        op: None,
        reads: Reads::Nothing,
        forms: &[],
        verb: "collect",
        about: "it stays as it is, and is kept as the interventions leave it",
    },
    Operation {
        name: "low_rank",
        op: Some(Op::Interchange),
        reads: Reads::Source,
        forms: &[Form::LowRank, Form::Rotated],
        verb: "swap",
        about: "the source's content of a learned subspace takes the place of its own",
    },
    Operation {
        name: "rotated",
        op: Some(Op::Interchange),
        reads: Reads::Source,
        forms: &[Form::Rotated],
        verb: "swap",
        about: "the source's content of some dimensions of a learned basis takes the place of its own",
    },
    Operation {
        name: "boundless",
        op: Some(Op::Interchange),
        reads: Reads::Source,
        forms: &[Form::MaskedRotated],
        verb: "swap",
        about: "the source's content of a learned basis takes the place of its own, up to a learned boundary",
    },
    Operation {
        name: "sigmoid_mask",
        op: Some(Op::Interchange),
        reads: Reads::Source,
        forms: &[Form::Masked],
        verb: "swap",
        about: "the source's numbers take the place of its own, each to a learned degree",
    },
    Operation {
        name: "sigmoid_mask_rotated",
        op: Some(Op::Interchange),
        reads: Reads::Source,
        forms: &[Form::MaskedRotated],
        verb: "swap",
        about: "the source's content of a learned basis takes the place of its own, each dimension to a learned degree",
    },
    Operation {
        name: "pca",
        op: Some(Op::Interchange),
        reads: Reads::Source,
        forms: &[Form::Pca, Form::LowRank, Form::Rotated],
        verb: "swap",
        about: "the source's principal components take the place of its own",
    },
    Operation {
        name: "autoencoder",
        op: Some(Op::Interchange),
        reads: Reads::Source,
        forms: &[Form::Autoencoder],
        verb: "swap",
        about: "the source's latents of an autoencoder take the place of its own",
    },
    Operation {
        name: "jump_relu_sae",
        op: Some(Op::Interchange),
        reads: Reads::Source,
        forms: &[Form::JumpRelu],
        verb: "swap",
        about: "the source's features of a sparse autoencoder take the place of its own",
    },
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
        all.filter(|operation| !operation.is_learned() && operation.op.is_some())
    }

    /// True if it is done to features that a direction file holds.
    pub fn is_learned(&self) -> bool {
        !self.forms.is_empty()
    }

    /// The operation that swaps a direction's features: the one that has its method's name, or the first that takes it.
    pub fn swapping(direction: &Direction) -> &'static Self {
        let form = direction.form();
        let takes = |own: &&Self| own.forms.contains(&form);
        let is_named = |own: &&Self| own.name == direction.facts.method;
        let mut all = OPERATIONS.iter().filter(takes);
        let named = all.clone().find(is_named);
        named.or_else(|| all.next()).unwrap_or(Self::LOW_RANK)
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
        Err(PlanError::OpUnknown { name, expected })
    }
}

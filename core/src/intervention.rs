//! Interventions: what is done to the values at a site, and the [`Editor`] that does it during a run.
//!
//! Every operation is a change of the base's features; the [`Featurizer`] says which there are and what a change of them changes
//! of the value, a mask how far each goes, the strength how far all of it. Geiger et al. 2021, <https://arxiv.org/abs/2106.02997> (interchange); Geiger et al. 2023,
//! <https://arxiv.org/abs/2303.02536> (DAS: interchange in a learned subspace).

mod editor;
mod featurizer;
mod noise;
mod units;

use burn::tensor::{Int, Tensor, backend::Backend};

use crate::{Recorder, Site, site::PlaceError};

pub use editor::{Edit, Editor};
pub use featurizer::{Autoencoder, Featurizer};
pub use noise::noise;
pub use units::Units;
pub(crate) use units::resumes_at;

/// What is done to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// The source's value takes the place of the base's.
    Interchange,
    /// The value becomes zero.
    Zero,
    /// The source's value is added.
    Add,
    /// The source's value is subtracted.
    Subtract,
}

impl Op {
    /// True if it needs a source's value.
    pub fn reads_source(self) -> bool {
        match self {
            Self::Interchange | Self::Add | Self::Subtract => true,
            Self::Zero => false,
        }
    }

    /// What it changes of the base's features.
    ///
    /// # Shapes
    /// - `base`, `source`, result: one shape
    fn change<B: Backend, const D: usize>(
        self,
        base: Tensor<B, D>,
        source: Tensor<B, D>,
    ) -> Tensor<B, D> {
        match self {
            Self::Interchange => source - base,
            Self::Zero => base.neg(),
            Self::Add => source,
            Self::Subtract => source.neg(),
        }
    }
}

/// An operation on features of a value, at a strength.
#[derive(Clone, Debug)]
pub struct Intervention<B: Backend> {
    /// What is done.
    pub op: Op,
    /// To which features of the value.
    pub featurizer: Featurizer<B>,
    /// How far with each feature, `[k]`, 0..1; all the way where there is none.
    pub mask: Option<Tensor<B, 1>>,
    /// How far: 0 leaves the base as it is, 1 is the full operation, others interpolate or overshoot. Default 1.
    pub strength: f32,
    /// Whether what the featurizer leaves out of the value goes. Default false.
    pub drops_rest: bool,
}

impl<B: Backend> Intervention<B> {
    /// The full operation on the features that the featurizer reads.
    pub fn new(op: Op, featurizer: Featurizer<B>) -> Self {
        Self {
            op,
            featurizer,
            mask: None,
            strength: 1.0,
            drops_rest: false,
        }
    }

    /// The value after the intervention; `source` is not looked at by operations that need none ([`Op::reads_source`]).
    ///
    /// # Shapes
    /// - `base`, `source`, result: one shape, `[…, width]`
    pub fn apply<const D: usize>(&self, base: Tensor<B, D>, source: Tensor<B, D>) -> Tensor<B, D> {
        let featurizer = &self.featurizer;
        let reads_base = self.drops_rest || !featurizer.is_linear();
        let features = reads_base.then(|| featurizer.encode(base.clone()));
        let change = match &features {
            Some(features) if !featurizer.is_linear() => {
                (self.op).change(features.clone(), featurizer.encode(source))
            }
            // Once, of what the values change.
            _ => featurizer.encode(self.op.change(base.clone(), source)),
        };
        let change = match &self.mask {
            None => change,
            Some(mask) => change * featurizer::in_all(mask),
        };
        let difference = match features {
            Some(features) if self.drops_rest => {
                featurizer.decode(features + change) - base.clone()
            }
            _ => featurizer.spread(change),
        };
        base + difference * self.strength
    }
}

/// A source's value at the units of a site.
#[derive(Clone, Debug)]
pub enum Source<B: Backend> {
    /// `[batch, n_positions, width]`, at a site with a value per position.
    Positions(Tensor<B, 3>),
    /// `[batch, n_heads, n_positions, …]`, at a site that is per head.
    Heads(Tensor<B, 4>),
    /// What the site's module reads at the same units of the same run ([`Site::input`]).
    Input,
    /// None, for operations that need none.
    None,
}

impl<B: Backend> Source<B> {
    /// What a recorder has of a site; `None` if it was not asked for or not reached.
    pub fn recorded(recorder: &Recorder<B>, site: Site) -> Option<Self> {
        let positions = recorder.get(site).cloned().map(Self::Positions);
        let heads = || recorder.get_heads(site).cloned().map(Self::Heads);
        positions.or_else(heads)
    }

    /// The same with other values.
    pub fn map(
        &self,
        positions: impl Fn(Tensor<B, 3>) -> Tensor<B, 3>,
        heads: impl Fn(Tensor<B, 4>) -> Tensor<B, 4>,
    ) -> Self {
        match self {
            Self::Positions(x) => Self::Positions(positions(x.clone())),
            Self::Heads(x) => Self::Heads(heads(x.clone())),
            Self::Input => Self::Input,
            Self::None => Self::None,
        }
    }

    /// Number of positions; 0 of none, and of those that are read as the run comes by.
    pub fn n_positions(&self) -> usize {
        match self {
            Self::Positions(x) => x.dims()[1],
            Self::Heads(x) => x.dims()[2],
            Self::Input | Self::None => 0,
        }
    }

    /// The values at these of the positions.
    pub fn select_positions(&self, positions: &Tensor<B, 1, Int>) -> Self {
        self.map(
            |x| x.select(1, positions.clone()),
            |x| x.select(2, positions.clone()),
        )
    }

    /// The values at `n` of the positions.
    pub fn narrow_positions(&self, start: usize, n: usize) -> Self {
        self.map(|x| x.narrow(1, start, n), |x| x.narrow(2, start, n))
    }

    /// The values of one row at one position, or of one row, in `rows` rows at `n_positions` positions.
    pub(crate) fn expanded(&self, [rows, n_positions]: [usize; 2]) -> Self {
        self.map(
            |x| {
                let width = x.dims()[2];
                x.expand([rows, n_positions, width])
            },
            |x| {
                let [_, n_heads, _, width] = x.dims();
                x.expand([rows, n_heads, n_positions, width])
            },
        )
    }

    /// The positions of all rows as those of one.
    pub(crate) fn in_one_row(&self) -> Self {
        self.map(
            |x| {
                let [rows, n_positions, width] = x.dims();
                x.reshape([1, rows * n_positions, width])
            },
            |x| {
                let [rows, n_heads, n_positions, width] = x.dims();
                let x = x.swap_dims(0, 1);
                x.reshape([1, n_heads, rows * n_positions, width])
            },
        )
    }

    /// These positions, and after them others of the same site.
    ///
    /// # Panics
    /// If one is per head and the other is not.
    pub fn followed_by(self, next: Self) -> Self {
        match (self, next) {
            (Self::Positions(x), Self::Positions(next)) => {
                Self::Positions(Tensor::cat(vec![x, next], 1))
            }
            (Self::Heads(x), Self::Heads(next)) => Self::Heads(Tensor::cat(vec![x, next], 2)),
            (Self::Input, Self::Input) => Self::Input,
            (Self::None, Self::None) => Self::None,
            _ => panic!("values of two kinds of site"),
        }
    }
}

/// Why an intervention was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InterventionError {
    /// What its module reads is wanted, of a value that no module makes of one of the same width.
    #[error(
        "the value at {site} is made of none of its width; expected block_output, attention_output or mlp_output"
    )]
    Input {
        /// The site.
        site: String,
    },
    /// It has no positions.
    #[error("the intervention at {site} has no positions")]
    PositionsEmpty {
        /// The site.
        site: String,
    },
    /// Its source value does not have the shape of what it replaces.
    #[error("the source value at {site}: expected shape {expected:?}, found {found:?}")]
    SourceShape {
        /// The site.
        site: String,
        /// Shape of the value that it replaces.
        expected: Vec<usize>,
        /// Shape of the source.
        found: Vec<usize>,
    },
    /// The run never reached its site.
    #[error("the intervention at {site} was never applied")]
    Unapplied {
        /// The site.
        site: String,
    },
    /// It acts at tokens that are not there yet, and has not one value for each of them.
    #[error(
        "the intervention at {site} acts at every token, for which it needs the value of one token; found {found}"
    )]
    EveryToken {
        /// The site.
        site: String,
        /// What it has.
        found: String,
    },
    /// A rank that a subspace of this width cannot have.
    #[error("rank {rank} is impossible here; expected 1 to {d_model}")]
    Rank {
        /// The rank.
        rank: usize,
        /// Width of the site.
        d_model: usize,
    },
    /// A direction of another width than the model's.
    #[error("the direction has width {found}, the model has {expected} at {site}")]
    DirectionWidth {
        /// Where it belongs.
        site: String,
        /// Width of the model there.
        expected: usize,
        /// Width of the direction.
        found: usize,
    },
    /// The model or the prompt has no such place.
    #[error(transparent)]
    Place(#[from] PlaceError),
}

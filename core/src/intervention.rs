//! Interventions: what is done to the values at a site, and the [`Editor`] that does it during a run.
//!
//! Every operation is a displacement of the base's value; the [`Featurizer`] says which part of it is let through, the
//! strength how far it goes. Geiger et al. 2021, <https://arxiv.org/abs/2106.02997> (interchange); Geiger et al. 2023,
//! <https://arxiv.org/abs/2303.02536> (DAS: interchange in a learned subspace).

use std::ops::Range;

use burn::tensor::{Tensor, backend::Backend};

use crate::{
    Component, Error, Gpt2Config, Hook, Position, Recorder, Result, Site, kernel::causal_mask,
};

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
}

/// Which part of a value an operation reaches.
#[derive(Clone, Debug)]
pub enum Featurizer<B: Backend> {
    /// All of it.
    Identity,
    /// The part in a subspace, given by its basis `[k, width]` with orthonormal rows; the complement stays.
    Rotation(Tensor<B, 2>),
}

impl<B: Backend> Featurizer<B> {
    /// The part of `x` that the operation reaches.
    ///
    /// # Shapes
    /// - `x`, result: `[…, width]`
    pub fn project<const D: usize>(&self, x: Tensor<B, D>) -> Tensor<B, D> {
        match self {
            Self::Identity => x,
            Self::Rotation(basis) => {
                let shape = x.dims();
                let width = shape[D - 1];
                let rows: Tensor<B, 2> = x.reshape([-1, width as i32]);
                let coordinates = rows.matmul(basis.clone().transpose()); // [rows, k]
                coordinates.matmul(basis.clone()).reshape(shape)
            }
        }
    }
}

/// An operation in a featurizer's space at a strength.
#[derive(Clone, Debug)]
pub struct Intervention<B: Backend> {
    /// What is done.
    pub op: Op,
    /// To which part of the value.
    pub featurizer: Featurizer<B>,
    /// How far: 0 leaves the base as it is, 1 is the full operation, others interpolate or overshoot. Default 1.
    pub strength: f32,
}

impl<B: Backend> Intervention<B> {
    /// The full operation on the part of the value that the featurizer reaches.
    pub fn new(op: Op, featurizer: Featurizer<B>) -> Self {
        Self {
            op,
            featurizer,
            strength: 1.0,
        }
    }

    /// The value after the intervention; `source` is not looked at by operations that need none ([`Op::reads_source`]).
    ///
    /// # Shapes
    /// - `base`, `source`, result: one shape, `[…, width]`
    pub fn apply<const D: usize>(&self, base: Tensor<B, D>, source: Tensor<B, D>) -> Tensor<B, D> {
        let displacement = match self.op {
            Op::Interchange => source - base.clone(),
            Op::Zero => base.clone().neg(),
            Op::Add => source,
            Op::Subtract => source.neg(),
        };
        base + self.featurizer.project(displacement) * self.strength
    }
}

/// Which part of a site's tensor is edited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Units {
    /// Rows of the batch, or all.
    pub rows: Option<Range<usize>>,
    /// Token positions (query positions of an attention pattern), or all.
    pub positions: Option<Vec<usize>>,
    /// Heads, at sites that are per head, or all.
    pub heads: Option<Vec<usize>>,
}

impl Units {
    /// The given token positions, in all rows and heads.
    pub fn positions(positions: impl Into<Vec<usize>>) -> Self {
        Self {
            positions: Some(positions.into()),
            ..Self::default()
        }
    }

    /// The part of a tensor that is meant.
    ///
    /// # Shapes
    /// - `x`: `[batch, pos, width]` or `[batch, head, pos, width]`
    /// - result: the same with the chosen rows, heads and positions, in the order in which they are given
    pub fn select<B: Backend, const D: usize>(&self, x: Tensor<B, D>) -> Tensor<B, D> {
        let axes = self.axes(x.dims());
        axes.iter().enumerate().fold(x, |x, (axis, ranges)| {
            let part = |range: &Range<usize>| x.clone().narrow(axis, range.start, range.len());
            match &ranges[..] {
                [whole] if *whole == (0..x.dims()[axis]) => x,
                [range] => part(range),
                ranges => Tensor::cat(ranges.iter().map(part).collect(), axis),
            }
        })
    }

    /// `x` with that part replaced by `part`.
    fn replace<B: Backend, const D: usize>(
        &self,
        x: Tensor<B, D>,
        part: Tensor<B, D>,
    ) -> Tensor<B, D> {
        let axes = self.axes(x.dims());
        let is_whole = |axis: usize, n: usize| matches!(&axes[axis][..], [one] if *one == (0..n));
        if part.dims() == x.dims() && (0..D).all(|axis| is_whole(axis, x.dims()[axis])) {
            return part;
        }
        let mut blocks = vec![(part.dims().map(|n| 0..n), part.dims().map(|n| 0..n))];
        for (axis, ranges) in axes.iter().enumerate().take(D - 1) {
            let mut at = 0;
            let mut split = Vec::with_capacity(blocks.len() * ranges.len());
            for range in ranges {
                for (into, from) in &blocks {
                    let (mut into, mut from) = (into.clone(), from.clone());
                    into[axis] = range.clone();
                    from[axis] = at..at + range.len();
                    split.push((into, from));
                }
                at += range.len();
            }
            blocks = split;
        }
        match &blocks[..] {
            [(into, _)] => x.slice_assign(into.clone(), part),
            blocks => blocks.iter().fold(x, |x, (into, from)| {
                x.slice_assign(into.clone(), part.clone().slice(from.clone()))
            }),
        }
    }

    /// The first of the positions.
    pub fn first_position(&self) -> usize {
        let positions = self.positions.iter().flatten();
        positions.min().copied().unwrap_or(0)
    }

    /// What is meant on each axis, neighbours as one range.
    fn axes<const D: usize>(&self, shape: [usize; D]) -> [Vec<Range<usize>>; D] {
        let mut axes = shape.map(|n| std::iter::once(0..n).collect::<Vec<_>>());
        if let Some(rows) = &self.rows {
            axes[0] = vec![rows.clone()];
        }
        if let Some(positions) = &self.positions {
            axes[D - 2] = neighbours(positions);
        }
        if let Some(heads) = self.heads.as_ref().filter(|_| D == 4) {
            axes[1] = neighbours(heads);
        }
        axes
    }
}

/// First layer and first position of a run that goes on after edits of these units; `None` without any.
pub(crate) fn resumes_at<'a>(
    edits: impl Iterator<Item = (Site, &'a Units)>,
    n_layers: usize,
) -> Option<(usize, usize)> {
    let at = edits.map(|(site, units)| (site.resumes_at(n_layers), units.first_position()));
    at.reduce(|(layer, start), (l, s)| (layer.min(l), start.min(s)))
}

/// Indices as ranges, in their order.
fn neighbours(indices: &[usize]) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for &idx in indices {
        match ranges.last_mut() {
            Some(range) if range.end == idx => range.end += 1,
            _ => ranges.push(idx..idx + 1),
        }
    }
    ranges
}

/// A source's value at the units of a site.
#[derive(Clone, Debug)]
pub enum Source<B: Backend> {
    /// `[batch, n_positions, width]`, at a site of the stream.
    Stream(Tensor<B, 3>),
    /// `[batch, n_heads, n_positions, …]`, at a site that is per head.
    Heads(Tensor<B, 4>),
    /// None, for operations that need none.
    None,
}

impl<B: Backend> Source<B> {
    /// What a recorder has of a site; `None` if it was not asked for or not reached.
    pub fn recorded(recorder: &Recorder<B>, site: Site) -> Option<Self> {
        let stream = recorder.get(site).cloned().map(Self::Stream);
        let heads = || recorder.get_heads(site).cloned().map(Self::Heads);
        stream.or_else(heads)
    }

    /// The same with other values.
    pub fn map(
        &self,
        stream: impl Fn(Tensor<B, 3>) -> Tensor<B, 3>,
        heads: impl Fn(Tensor<B, 4>) -> Tensor<B, 4>,
    ) -> Self {
        match self {
            Self::Stream(x) => Self::Stream(stream(x.clone())),
            Self::Heads(x) => Self::Heads(heads(x.clone())),
            Self::None => Self::None,
        }
    }

    /// The values at `n` of the positions.
    pub fn narrow_positions(&self, start: usize, n: usize) -> Self {
        self.map(|x| x.narrow(1, start, n), |x| x.narrow(2, start, n))
    }

    /// These positions, and after them others of the same site.
    ///
    /// # Panics
    /// If one is of the stream and the other per head.
    pub fn followed_by(self, next: Self) -> Self {
        match (self, next) {
            (Self::Stream(x), Self::Stream(next)) => Self::Stream(Tensor::cat(vec![x, next], 1)),
            (Self::Heads(x), Self::Heads(next)) => Self::Heads(Tensor::cat(vec![x, next], 2)),
            (Self::None, Self::None) => Self::None,
            _ => panic!("values of two kinds of site"),
        }
    }
}

/// An intervention at a place.
#[derive(Clone, Debug)]
pub struct Edit<B: Backend> {
    /// Where.
    pub site: Site,
    /// On which part of the site's tensor.
    pub units: Units,
    /// What is done.
    pub intervention: Intervention<B>,
    /// With which value.
    pub source: Source<B>,
}

/// Applies interventions during a run, several at one site in the order in which they are given.
#[derive(Clone, Debug)]
pub struct Editor<B: Backend> {
    edits: Vec<Edit<B>>,
    applied: Vec<bool>,
}

impl<B: Backend> Editor<B> {
    /// An editor for prompts of `n_tokens` tokens.
    ///
    /// # Errors
    /// - [`Error::LayerOutside`], [`Error::PositionOutside`], [`Error::HeadOutside`] if the model or the prompt has no such
    ///   place, [`Error::PositionsEmpty`] if an edit has no positions.
    /// - [`Error::ComponentUnsupported`] if heads are named at a site that is not per head.
    /// - [`Error::SourceShape`] if a source value does not fit.
    pub fn new(config: &Gpt2Config, n_tokens: usize, edits: Vec<Edit<B>>) -> Result<Self> {
        for edit in &edits {
            check_edit(config, n_tokens, edit)?;
        }
        Ok(Self::of_checked(edits))
    }

    /// An editor whose edits cannot be wrong, since they were made from what was kept of runs.
    pub(crate) fn of_checked(edits: Vec<Edit<B>>) -> Self {
        Self {
            applied: vec![false; edits.len()],
            edits,
        }
    }

    /// Where a run can be resumed that these interventions change: its first layer ([`Site::resumes_at`]) and its first
    /// position. `None` without interventions.
    pub fn resumes_at(&self, n_layers: usize) -> Option<(usize, usize)> {
        let edits = self.edits.iter().map(|edit| (edit.site, &edit.units));
        resumes_at(edits, n_layers)
    }

    /// The same interventions in a run that is resumed at the position `start`, where a hook sees the positions from it on.
    ///
    /// # Panics
    /// If there is an earlier position.
    pub fn starting_at(mut self, start: usize) -> Self {
        for edit in &mut self.edits {
            match &mut edit.units.positions {
                None => assert_eq!(start, 0, "all positions are edited"),
                Some(positions) => positions.iter_mut().for_each(|position| *position -= start),
            }
        }
        self
    }

    /// Confirms that every intervention was applied.
    ///
    /// # Errors
    /// - [`Error::InterventionUnapplied`] if the run never reached a site.
    pub fn finish(self) -> Result<()> {
        match self.applied.iter().position(|applied| !applied) {
            Some(idx) => Err(Error::InterventionUnapplied {
                site: self.edits[idx].site.to_string(),
            }),
            None => Ok(()),
        }
    }

    fn edit<const D: usize>(
        &mut self,
        site: Site,
        mut x: Tensor<B, D>,
        source_of: impl Fn(&Source<B>) -> Option<Tensor<B, D>>,
    ) -> Tensor<B, D> {
        for (edit, applied) in self
            .edits
            .iter()
            .zip(&mut self.applied)
            .filter(|(edit, _)| edit.site == site)
        {
            let mut base = edit.units.select(x.clone());
            let source = source_of(&edit.source).unwrap_or_else(|| base.zeros_like());
            // A pattern of a run that was computed up to a position only has no later keys, which get no weight.
            let width = source.dims()[D - 1];
            if width < base.dims()[D - 1] {
                base = base.narrow(D - 1, 0, width);
            }
            x = edit.units.replace(x, edit.intervention.apply(base, source));
            *applied = true;
        }
        x
    }
}

fn check_edit<B: Backend>(config: &Gpt2Config, n_tokens: usize, edit: &Edit<B>) -> Result<()> {
    let Edit {
        site,
        units,
        intervention,
        source,
    } = edit;
    site.check(config)?;
    let last = n_tokens.checked_sub(1).ok_or(Error::PromptEmpty)?;
    if let Some(positions) = &units.positions {
        if positions.is_empty() {
            return Err(Error::PositionsEmpty {
                site: site.to_string(),
            });
        }
        if let Some(&position) = positions.iter().find(|position| **position > last) {
            let position = Position::Index(position);
            return Err(Error::PositionOutside { position, last });
        }
    }
    let is_per_head = site.component.is_per_head();
    if let Some(heads) = &units.heads {
        if !is_per_head {
            return Err(Error::ComponentUnsupported {
                name: site.component.to_string(),
                expected: "a component that is per head (`head_…`, `attention_weight`)".to_owned(),
            });
        }
        if let Some(&head) = heads.iter().find(|head| **head >= config.n_heads) {
            return Err(Error::HeadOutside {
                head,
                last: config.n_heads - 1,
            });
        }
    }
    let n_positions = units.positions.as_ref().map_or(n_tokens, Vec::len);
    let width = site.component.width(config).unwrap_or(n_tokens);
    let n_heads = units.heads.as_ref().map_or(config.n_heads, Vec::len);
    let expected = if is_per_head {
        vec![n_heads, n_positions, width]
    } else {
        vec![n_positions, width]
    };
    let found = match source {
        Source::Stream(value) => value.dims()[1..].to_vec(),
        Source::Heads(value) => value.dims()[1..].to_vec(),
        Source::None if !intervention.op.reads_source() => expected.clone(),
        Source::None => Vec::new(),
    };
    if found != expected {
        return Err(Error::SourceShape {
            site: site.to_string(),
            expected,
            found,
        });
    }
    match &intervention.featurizer {
        Featurizer::Rotation(basis) if basis.dims()[1] != width => Err(Error::DirectionWidth {
            site: site.to_string(),
            expected: width,
            found: basis.dims()[1],
        }),
        _ => Ok(()),
    }
}

/// Attention scores after an edit: later keys stay hidden, and minus infinity less itself is no number.
pub(crate) fn remasked<B: Backend>(site: Site, x: Tensor<B, 4>) -> Tensor<B, 4> {
    match site.component {
        Component::AttentionScore if x.dims()[2] > 1 => causal_mask(x),
        _ => x,
    }
}

impl<B: Backend> Hook<B> for Editor<B> {
    fn at(&mut self, site: Site, x: Tensor<B, 3>) -> Tensor<B, 3> {
        self.edit(site, x, |source| match source {
            Source::Stream(value) => Some(value.clone()),
            _ => None,
        })
    }

    fn at_heads(&mut self, site: Site, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let x = self.edit(site, x, |source| match source {
            Source::Heads(value) => Some(value.clone()),
            _ => None,
        });
        remasked(site, x)
    }
}

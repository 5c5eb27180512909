//! Which part of a site's tensor is edited: [`Units`], and how it is cut out and put back.

use std::ops::Range;

use burn::tensor::{Tensor, backend::Backend};

use crate::Site;

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

    /// The same in some rows alone.
    pub fn in_rows(&self, rows: Range<usize>) -> Self {
        Self {
            rows: Some(rows),
            ..self.clone()
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
    pub(super) fn replace<B: Backend, const D: usize>(
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

/// First layer and first position of a run that goes on after edits of these units, of which each comes by this site first; `None`
/// without any.
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

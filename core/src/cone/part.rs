//! What runs at one place need of cached values, so that no more is selected, or read from a file.

use std::ops::{Range, RangeInclusive};

use burn::tensor::backend::Backend;

use super::{CachedRun, CachedSource, Cone};
use crate::Site;

/// Where cached values lie in the rows that [`CachedRun::rows`] and [`CachedSource::rows`] give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowPart {
    /// Index of the tensor.
    pub idx: usize,
    /// Blocks that a row consists of, which are its heads.
    pub n_blocks: usize,
    /// Values of a block.
    pub block: usize,
    /// Those of each block that are needed.
    pub range: Range<usize>,
}

impl RowPart {
    /// Some positions of a value.
    ///
    /// # Shapes
    /// - `shape`: `[batch, blocks, pos, width]`
    fn positions(
        idx: usize,
        [_, n_blocks, pos, width]: [usize; 4],
        positions: Range<usize>,
    ) -> Self {
        let block = pos * width;
        match positions == (0..pos) {
            // Blocks that are needed whole lie side by side.
            true => Self {
                idx,
                n_blocks: 1,
                block: n_blocks * block,
                range: 0..n_blocks * block,
            },
            false => Self {
                idx,
                n_blocks,
                block,
                range: positions.start * width..positions.end * width,
            },
        }
    }

    /// Needed values of a row.
    pub fn n_values(&self) -> usize {
        self.n_blocks * self.range.len()
    }
}

impl<B: Backend> CachedRun<B> {
    /// What runs need that resume with `layer`, at all positions that are cached.
    ///
    /// # Panics
    /// If the layer is outside the cone.
    pub fn at_layer(&self, layer: usize) -> Self {
        let below = layer - self.cone.layers.start();
        let keys_values = self.keys_values.get(below..);
        Self {
            cone: Cone {
                layers: layer..=layer,
                starts: self.cone.starts.clone(),
            },
            n_tokens: self.n_tokens,
            streams: vec![self.streams[below].clone()],
            keys_values: keys_values.map_or_else(Vec::new, <[_]>::to_vec),
        }
    }

    /// What runs need that resume with `layer` at some positions, and where it lies in the rows.
    ///
    /// # Panics
    /// If that is outside the cone.
    pub fn part(&self, layer: usize, starts: RangeInclusive<usize>) -> (Self, Vec<RowPart>) {
        let (below, n_streams) = (layer - self.cone.layers.start(), self.streams.len());
        let (first, end) = (*starts.start(), *starts.end());
        let mut run = self.at_layer(layer);
        let [batch, pos, width] = run.streams[0].dims();
        let kept = first - self.cone.starts.start()..pos;
        let mut parts = vec![RowPart::positions(
            below,
            [batch, 1, pos, width],
            kept.clone(),
        )];
        run.streams[0] = run.streams[0].clone().narrow(1, kept.start, kept.len());
        if end == 0 {
            run.keys_values.clear(); // no position lies before the first
        }
        for (idx, kv) in run.keys_values.iter_mut().enumerate() {
            let first = n_streams + 2 * (below + idx);
            for (idx, x) in [&kv.key, &kv.value].into_iter().enumerate() {
                parts.push(RowPart::positions(first + idx, x.dims(), 0..end));
            }
            *kv = kv.map(|x| x.narrow(2, 0, end));
        }
        run.cone.starts = starts;
        (run, parts)
    }
}

impl<B: Backend> CachedSource<B> {
    /// The values at one site, at all positions that are cached; `None` if they were not.
    pub fn at_site(&self, site: Site) -> Option<Self> {
        let (_, values) = self.values.only(site)?;
        let start = self.start;
        Some(Self { start, values })
    }

    /// The values at one site and some positions, and where they lie in the rows; `None` if they were not cached.
    pub fn part(&self, site: Site, positions: Range<usize>) -> Option<(Self, RowPart)> {
        let (idx, values) = self.values.only(site)?;
        let [batch, n_blocks, pos, width] = match (values.get(site), values.get_heads(site)) {
            (Some(x), _) => {
                let [batch, pos, width] = x.dims();
                [batch, 1, pos, width]
            }
            (None, x) => x?.dims(),
        };
        let from = positions.start.checked_sub(self.start)?;
        let kept = from..from + positions.len();
        if kept.end > pos {
            return None;
        }
        let part = Self {
            start: positions.start,
            values: values.map(
                |_, x| x.narrow(1, kept.start, kept.len()),
                |_, x| x.narrow(2, kept.start, kept.len()),
            ),
        };
        let shape = [batch, n_blocks, pos, width];
        Some((part, RowPart::positions(idx, shape, kept)))
    }
}

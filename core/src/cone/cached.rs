//! What is cached of runs: values on the device, cut out, joined, selected and stored.

use std::ops::Range;

use burn::tensor::{
    FloatDType, Int, Tensor, TensorData, backend::AutodiffBackend, backend::Backend,
};

use super::Cone;
use crate::{
    Recorder, Site,
    intervention::Source,
    model::KeyValue,
    rows::{as_rows, from_rows, n_bytes, select_rows},
};

/// Number format of cached values; runs compute in f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Storage {
    /// As they were computed.
    #[default]
    F32,
    /// Half the memory; 11 significant bits.
    F16,
}

impl Storage {
    /// Bytes of a value.
    pub fn n_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }

    fn store<B: Backend, const D: usize>(self, x: Tensor<B, D>) -> Tensor<B, D> {
        match self {
            Self::F32 => x,
            Self::F16 => x.cast(FloatDType::F16),
        }
    }
}

pub(super) fn load<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    x.cast(FloatDType::F32)
}

/// Runs of some prompts, cached for a [`Cone`].
#[derive(Clone, Debug)]
pub struct CachedRun<B: Backend> {
    pub(super) cone: Cone,
    pub(super) n_tokens: usize,
    /// Residual stream that enters each layer of the cone, from its first position on, `[batch, pos, d_model]`.
    pub(super) streams: Vec<Tensor<B, 3>>,
    /// Keys and values of each layer from the cone's first on, at the positions before its last.
    pub(super) keys_values: Vec<KeyValue<B>>,
}

/// Values of source runs at some sites and consecutive positions.
#[derive(Clone, Debug)]
pub struct CachedSource<B: Backend> {
    pub(super) start: usize,
    pub(super) values: Recorder<B>,
}

/// What a resumed run needs of its base run. Where a cached run holds more positions, so does this: they are cut off when a run
/// is resumed, since that makes a view of the rows in use, and would make a copy of all rows before.
#[derive(Clone, Debug)]
pub struct CachedBase<B: Backend> {
    /// First layer that a resumed run computes; the model's number of layers where only norm and head are left.
    pub layer: usize,
    /// Position that a resumed run starts from.
    pub start: usize,
    /// Residual stream that enters the layer, `[batch, pos, d_model]`: the last positions of the prompt.
    tail: Tensor<B, 3>,
    /// Number of positions that a resumed run computes.
    n_positions: usize,
    /// Keys and values of the layers from `layer` on, at the positions before `start` and perhaps later ones.
    past: Vec<KeyValue<B>>,
}

impl<B: Backend> CachedRun<B> {
    /// The residual stream that enters `layer`, from the cone's first position on; with the number of layers, the one that
    /// enters the final norm.
    ///
    /// # Shapes
    /// - result: `[batch, pos, d_model]`
    ///
    /// # Panics
    /// If the layer is outside the cone.
    pub fn stream(&self, layer: usize) -> Tensor<B, 3> {
        load(self.streams[layer - self.cone.layers.start()].clone())
    }

    /// Number of tokens of the prompts.
    pub fn n_tokens(&self) -> usize {
        self.n_tokens
    }

    /// Number of prompts.
    pub fn n_rows(&self) -> usize {
        self.streams[0].dims()[0]
    }

    /// Bytes of the cached values.
    pub fn n_bytes(&self) -> usize {
        let streams = self.streams.iter().map(n_bytes).sum::<usize>();
        let past = |kv: &KeyValue<B>| n_bytes(&kv.key) + n_bytes(&kv.value);
        streams + self.keys_values.iter().map(past).sum::<usize>()
    }

    /// What runs need that resume with `layer` at the positions `>= start`.
    ///
    /// # Panics
    /// If that is outside the cone.
    pub fn base_at(&self, layer: usize, start: usize) -> CachedBase<B> {
        let Cone { layers, starts } = &self.cone;
        assert!(
            layers.contains(&layer) && starts.contains(&start),
            "layer {layer}, position {start}: cached for {:?}",
            self.cone
        );
        CachedBase {
            layer,
            start,
            tail: self.streams[layer - layers.start()].clone(),
            n_positions: self.n_tokens - start,
            past: match self.keys_values.get(layer - layers.start()..) {
                None => Vec::new(), // the cone starts from the first position only
                Some(keys_values) => keys_values.to_vec(),
            },
        }
    }

    /// The same values, stored in another format.
    pub fn stored(self, storage: Storage) -> Self {
        Self {
            streams: self.streams.into_iter().map(|x| storage.store(x)).collect(),
            keys_values: self
                .keys_values
                .iter()
                .map(|kv| kv.map(|x| storage.store(x)))
                .collect(),
            ..self
        }
    }

    /// All cached values, one row a prompt: what a file needs to hold. [`CachedRun::with_rows`] is the inverse.
    ///
    /// # Shapes
    /// - each: `[batch, …]`
    pub fn rows(&self) -> Vec<Tensor<B, 2>> {
        let streams = self.streams.iter().map(as_rows);
        let past = |kv: &KeyValue<B>| [as_rows(&kv.key), as_rows(&kv.value)];
        streams
            .chain(self.keys_values.iter().flat_map(past))
            .collect()
    }

    /// The same runs of other prompts.
    ///
    /// # Panics
    /// If the rows are not those of such runs.
    pub fn with_rows(&self, rows: Vec<Tensor<B, 2>>) -> Self {
        let mut rows = rows.into_iter();
        let streams = self.streams.iter().map(|x| from_rows(x, rows.next()));
        let streams = streams.collect();
        let mut past = |kv: &KeyValue<B>| KeyValue {
            key: from_rows(&kv.key, rows.next()),
            value: from_rows(&kv.value, rows.next()),
        };
        Self {
            cone: self.cone.clone(),
            n_tokens: self.n_tokens,
            keys_values: self.keys_values.iter().map(&mut past).collect(),
            streams,
        }
    }

    /// The runs of some of the prompts.
    ///
    /// # Shapes
    /// - `rows`: `[n_rows]`
    pub fn select(&self, rows: &Tensor<B, 1, Int>) -> Self {
        let selected = self.rows().into_iter().map(|x| x.select(0, rows.clone()));
        self.with_rows(selected.collect())
    }

    /// Runs of one cone and one length, one after the other; `None` without any.
    pub fn cat(runs: Vec<Self>) -> Option<Self> {
        let Self { cone, n_tokens, .. } = runs.first()?.clone();
        let (streams, keys_values) = runs
            .into_iter()
            .map(|run| (run.streams, run.keys_values))
            .unzip();
        Some(Self {
            cone,
            n_tokens,
            streams: transpose(streams)
                .map(|rows| Tensor::cat(rows, 0))
                .collect(),
            keys_values: transpose(keys_values)
                .map(|parts| KeyValue::cat(parts, 0))
                .collect(),
        })
    }
}

impl<B: Backend> CachedSource<B> {
    /// The values at `site` at some positions, in one head or in all; `None` if they were not cached.
    pub fn values(
        &self,
        site: Site,
        head: Option<usize>,
        positions: Range<usize>,
    ) -> Option<Source<B>> {
        let start = positions.start.checked_sub(self.start)?;
        let (values, n_kept) = match (self.values.get(site), self.values.get_heads(site)) {
            (Some(x), _) => (Source::Positions(load(x.clone())), x.dims()[1]),
            (None, Some(x)) => {
                let heads = match head {
                    None => x.clone(),
                    Some(head) if head < x.dims()[1] => x.clone().narrow(1, head, 1),
                    Some(_) => return None,
                };
                (Source::Heads(load(heads)), x.dims()[2])
            }
            (None, None) => return None,
        };
        (start + positions.len() <= n_kept).then(|| values.narrow_positions(start, positions.len()))
    }

    /// The same values, stored in another format.
    pub fn stored(self, storage: Storage) -> Self {
        let values = self.values;
        Self {
            values: values.map(|_, x| storage.store(x), |_, x| storage.store(x)),
            ..self
        }
    }

    /// All cached values, one row a prompt, as [`CachedRun::rows`].
    pub fn rows(&self) -> Vec<Tensor<B, 2>> {
        self.values.rows()
    }

    /// The same values of other prompts, as [`CachedRun::with_rows`].
    pub fn with_rows(&self, rows: Vec<Tensor<B, 2>>) -> Self {
        Self {
            start: self.start,
            values: self.values.with_rows(rows),
        }
    }

    /// The values of some of the prompts.
    pub fn select(&self, rows: &Tensor<B, 1, Int>) -> Self {
        let selected = self.rows().into_iter().map(|x| x.select(0, rows.clone()));
        self.with_rows(selected.collect())
    }

    /// Values of the same sites and positions, one after the other; `None` without any.
    pub fn cat(parts: Vec<Self>) -> Option<Self> {
        let start = parts.first()?.start;
        let values = Recorder::cat(parts.into_iter().map(|part| part.values).collect())?;
        Some(Self { start, values })
    }

    /// Bytes of the cached values.
    pub fn n_bytes(&self) -> usize {
        self.values.n_bytes()
    }
}

/// The first of each, the second of each, …
fn transpose<T>(rows: Vec<Vec<T>>) -> impl Iterator<Item = Vec<T>> {
    let n_columns = rows.first().map_or(0, Vec::len);
    let mut rows: Vec<_> = rows.into_iter().map(Vec::into_iter).collect();
    (0..n_columns).map(move |_| rows.iter_mut().filter_map(Iterator::next).collect())
}

impl<B: Backend> KeyValue<B> {
    pub(super) fn map<C: Backend>(&self, f: impl Fn(Tensor<B, 4>) -> Tensor<C, 4>) -> KeyValue<C> {
        KeyValue {
            key: f(self.key.clone()),
            value: f(self.value.clone()),
        }
    }

    /// Joins runs (`dim` 0) or positions (`dim` 2).
    pub(super) fn cat(parts: Vec<Self>, dim: usize) -> Self {
        let (keys, values) = parts.into_iter().map(|kv| (kv.key, kv.value)).unzip();
        Self {
            key: Tensor::cat(keys, dim),
            value: Tensor::cat(values, dim),
        }
    }
}

impl<B: Backend> CachedBase<B> {
    /// Number of base prompts.
    pub fn n_rows(&self) -> usize {
        self.tail.dims()[0]
    }

    /// Number of positions that a resumed run computes.
    pub fn n_positions(&self) -> usize {
        self.n_positions
    }

    /// What runs need that resume at a later position that is cached, too.
    ///
    /// # Panics
    /// If `start` is earlier.
    pub(crate) fn starting_at(&self, start: usize) -> Self {
        Self {
            start,
            n_positions: self.n_positions - (start - self.start),
            ..self.clone()
        }
    }

    /// The rows `n` times, one after the other.
    pub(crate) fn tile(&self, n: usize) -> Self {
        match n {
            1 => self.clone(),
            _ => Self {
                tail: self.tail().repeat_dim(0, n),
                past: self
                    .past()
                    .map(|kv| kv.map(|x| x.repeat_dim(0, n)))
                    .collect(),
                ..*self
            },
        }
    }

    /// Some of the rows, in the given order, in f32.
    ///
    /// # Shapes
    /// - `rows`: `[n_rows]`
    pub fn select(&self, rows: &Tensor<B, 1, Int>) -> Self {
        self.map(
            |x| load(select_rows(x, rows)),
            |x| load(select_rows(x, rows)),
        )
    }

    /// Neighbouring rows; nothing is copied.
    pub(crate) fn narrow(&self, rows: Range<usize>) -> Self {
        let (start, n) = (rows.start, rows.len());
        self.map(|x| x.narrow(0, start, n), |x| x.narrow(0, start, n))
    }

    /// The stream at the positions of a resumed run, in f32.
    pub(super) fn tail(&self) -> Tensor<B, 3> {
        let first = self.tail.dims()[1] - self.n_positions;
        load(self.tail.clone().narrow(1, first, self.n_positions))
    }

    /// Keys and values of the positions before, in f32.
    pub(super) fn past(&self) -> impl Iterator<Item = KeyValue<B>> + '_ {
        let before = |kv: &KeyValue<B>| kv.map(|x| load(x.narrow(2, 0, self.start)));
        let past = if self.start == 0 { &[][..] } else { &self.past };
        past.iter().map(before)
    }

    fn map<C: Backend>(
        &self,
        tail: impl Fn(Tensor<B, 3>) -> Tensor<C, 3>,
        past: impl Fn(Tensor<B, 4>) -> Tensor<C, 4>,
    ) -> CachedBase<C> {
        CachedBase {
            layer: self.layer,
            start: self.start,
            n_positions: self.n_positions,
            tail: tail(self.tail.clone()),
            past: self.past.iter().map(|kv| kv.map(&past)).collect(),
        }
    }

    /// The same values as constants on the autodiff backend.
    pub fn to_autodiff<A: AutodiffBackend<InnerBackend = B>>(&self) -> CachedBase<A> {
        self.map(Tensor::from_inner, Tensor::from_inner)
    }
}

/// Indices of rows, for the `select` of what is cached.
///
/// # Shapes
/// - result: `[n_rows]`
pub fn row_indices<B: Backend>(rows: &[usize], device: &B::Device) -> Tensor<B, 1, Int> {
    let rows: Vec<i64> = rows.iter().map(|row| *row as i64).collect();
    let n_rows = rows.len();
    Tensor::from_data(TensorData::new(rows, [n_rows]), device)
}

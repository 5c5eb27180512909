//! The causal cone: what an intervention cannot change is computed once and kept.
//!
//! An intervention in layer `l`, at the positions `>= start`, changes nothing below `l` and nothing at earlier positions. A
//! [`KeptRun`] has what resumed runs need: the residual stream that enters a layer, from `start` on, and the keys and values
//! of the layers above at the earlier positions. Which layers and first positions it serves is its [`Cone`]; whatever lies
//! outside is not kept and, where nothing kept depends on it, not computed. The head is computed only for rows that are read.
//!
//! 1. [`Gpt2::keep_run`] runs the base prompts, [`Gpt2::keep_source`] the source prompts as far as their values are wanted.
//! 2. [`KeptRun::base_at`] cuts out what runs need that resume at one place, a [`KeptBase`].
//! 3. [`Gpt2::resume`] goes on from there, with a hook that edits any component. [`Gpt2::interchange_each`] resumes at many
//!    positions at once.
//!
//! A resumed run equals the full run: that is tested at every component, unit and position.

use std::ops::{Range, RangeInclusive};

use burn::tensor::{
    FloatDType, Int, Tensor, TensorData, backend::AutodiffBackend, backend::Backend,
};

use crate::{
    Component, Gpt2, Gpt2Config, Hook, Recorder, Site,
    intervention::{Source, remasked, repeat_rows},
    model::KeyValue,
};

/// Number format of kept values; runs compute in f32.
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

fn load<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    x.cast(FloatDType::F32)
}

/// Where runs may be resumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cone {
    /// First layers of resumed runs ([`Site::resumes_at`]); the model's number of layers where only norm and head are left.
    pub layers: RangeInclusive<usize>,
    /// First positions of resumed runs.
    pub starts: RangeInclusive<usize>,
}

impl Cone {
    /// The whole model and prompt.
    pub fn whole(n_layers: usize, n_tokens: usize) -> Self {
        Self {
            layers: 0..=n_layers,
            starts: 0..=n_tokens.saturating_sub(1),
        }
    }

    /// The same, and the final norm's stream, from which the base's own logits are read.
    pub fn with_logits(self, n_layers: usize) -> Self {
        Self {
            layers: *self.layers.start()..=n_layers,
            ..self
        }
    }

    /// The smallest that has edits at these sites and first positions, in a model of `n_layers` layers; `None` without sites.
    pub fn of(sites: &[Site], starts: RangeInclusive<usize>, n_layers: usize) -> Option<Self> {
        let layers = sites.iter().map(|site| site.resumes_at(n_layers));
        Some(Self {
            layers: layers.clone().min()?..=layers.max()?,
            starts,
        })
    }

    /// Bytes that are kept of a prompt of `n_tokens` tokens.
    pub fn n_bytes(&self, config: &Gpt2Config, n_tokens: usize, storage: Storage) -> usize {
        let n_streams = self.layers.end() + 1 - self.layers.start();
        let n_keys_values = 2 * (config.n_layers - self.layers.start());
        let n_values = n_streams * (n_tokens - self.starts.start()) // streams
            + n_keys_values * self.starts.end();
        n_values * config.d_model * storage.n_bytes()
    }

    /// For each layer, and last for the final norm: up to which position the stream that enters it is needed.
    fn needed(&self, n_layers: usize, n_tokens: usize) -> Vec<usize> {
        let mut needed = vec![0; n_layers + 1];
        let mut above = 0;
        for l in (0..=n_layers).rev() {
            if self.layers.contains(&l) {
                above = n_tokens;
            }
            if l < n_layers && l >= *self.layers.start() {
                above = above.max(*self.starts.end());
            }
            needed[l] = above;
        }
        needed
    }
}

/// Runs of some prompts, kept for a [`Cone`].
#[derive(Clone, Debug)]
pub struct KeptRun<B: Backend> {
    cone: Cone,
    n_tokens: usize,
    /// Residual stream that enters each layer of the cone, from its first position on, `[batch, pos, d_model]`.
    streams: Vec<Tensor<B, 3>>,
    /// Keys and values of each layer from the cone's first on, at the positions before its last.
    keys_values: Vec<KeyValue<B>>,
}

/// Values of source runs at some sites and consecutive positions.
#[derive(Clone, Debug)]
pub struct KeptSource<B: Backend> {
    start: usize,
    values: Recorder<B>,
}

/// What a resumed run needs of its base run. Where a kept run holds more positions, so does this: they are cut off when a run
/// is resumed, since that makes a view of the rows in use, and would make a copy of all rows before.
#[derive(Clone, Debug)]
pub struct KeptBase<B: Backend> {
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

impl<B: Backend> KeptRun<B> {
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

    /// Bytes of the kept values.
    pub fn n_bytes(&self) -> usize {
        let streams = self.streams.iter().map(n_bytes).sum::<usize>();
        let past = |kv: &KeyValue<B>| n_bytes(&kv.key) + n_bytes(&kv.value);
        streams + self.keys_values.iter().map(past).sum::<usize>()
    }

    /// What runs need that resume with `layer` at the positions `>= start`.
    ///
    /// # Panics
    /// If that is outside the cone.
    pub fn base_at(&self, layer: usize, start: usize) -> KeptBase<B> {
        let Cone { layers, starts } = &self.cone;
        assert!(
            layers.contains(&layer) && starts.contains(&start),
            "layer {layer}, position {start}: kept for {:?}",
            self.cone
        );
        KeptBase {
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

    /// All kept values, one row a prompt: what a file needs to hold. [`KeptRun::with_rows`] is the inverse.
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

impl<B: Backend> KeptSource<B> {
    /// The values at `site` at some positions, in one head or in all; `None` if they were not kept.
    pub fn values(
        &self,
        site: Site,
        head: Option<usize>,
        positions: Range<usize>,
    ) -> Option<Source<B>> {
        let start = positions.start.checked_sub(self.start)?;
        let (values, n_kept) = match (self.values.get(site), self.values.get_heads(site)) {
            (Some(x), _) => (Source::Stream(load(x.clone())), x.dims()[1]),
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

    /// All kept values, one row a prompt, as [`KeptRun::rows`].
    pub fn rows(&self) -> Vec<Tensor<B, 2>> {
        self.values.rows()
    }

    /// The same values of other prompts, as [`KeptRun::with_rows`].
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

    /// Bytes of the kept values.
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

/// # Shapes
/// - `x`: `[batch, …]`; result: `[batch, …]`, flat
pub(crate) fn as_rows<B: Backend, const D: usize>(x: &Tensor<B, D>) -> Tensor<B, 2> {
    x.clone().reshape([x.dims()[0] as i32, -1])
}

/// Other rows of the shape of `like`.
pub(crate) fn from_rows<B: Backend, const D: usize>(
    like: &Tensor<B, D>,
    rows: Option<Tensor<B, 2>>,
) -> Tensor<B, D> {
    let Some(rows) = rows else {
        panic!("fewer values than are kept of a run");
    };
    let mut shape = like.dims();
    shape[0] = rows.dims()[0];
    rows.reshape(shape)
}

pub(crate) fn n_bytes<B: Backend, const D: usize>(x: &Tensor<B, D>) -> usize {
    x.dims().iter().product::<usize>() * x.dtype().size()
}

impl<B: Backend> KeyValue<B> {
    fn map<C: Backend>(&self, f: impl Fn(Tensor<B, 4>) -> Tensor<C, 4>) -> KeyValue<C> {
        KeyValue {
            key: f(self.key.clone()),
            value: f(self.value.clone()),
        }
    }

    /// Joins runs (`dim` 0) or positions (`dim` 2).
    fn cat(parts: Vec<Self>, dim: usize) -> Self {
        let (keys, values) = parts.into_iter().map(|kv| (kv.key, kv.value)).unzip();
        Self {
            key: Tensor::cat(keys, dim),
            value: Tensor::cat(values, dim),
        }
    }
}

impl<B: Backend> KeptBase<B> {
    /// Number of base prompts.
    pub fn n_rows(&self) -> usize {
        self.tail.dims()[0]
    }

    /// Number of positions that a resumed run computes.
    pub fn n_positions(&self) -> usize {
        self.n_positions
    }

    /// What runs need that resume at a later position that is kept, too.
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

    /// Each row `n` times, in f32.
    fn repeat(&self, n: usize) -> Self {
        Self {
            tail: repeat_rows(self.tail(), n),
            past: self
                .past()
                .map(|kv| kv.map(|x| repeat_rows(x, n)))
                .collect(),
            ..*self
        }
    }

    /// The stream at the positions of a resumed run, in f32.
    fn tail(&self) -> Tensor<B, 3> {
        let first = self.tail.dims()[1] - self.n_positions;
        load(self.tail.clone().narrow(1, first, self.n_positions))
    }

    /// Keys and values of the positions before, in f32.
    fn past(&self) -> impl Iterator<Item = KeyValue<B>> + '_ {
        let before = |kv: &KeyValue<B>| kv.map(|x| load(x.narrow(2, 0, self.start)));
        let past = if self.start == 0 { &[][..] } else { &self.past };
        past.iter().map(before)
    }

    fn map<C: Backend>(
        &self,
        tail: impl Fn(Tensor<B, 3>) -> Tensor<C, 3>,
        past: impl Fn(Tensor<B, 4>) -> Tensor<C, 4>,
    ) -> KeptBase<C> {
        KeptBase {
            layer: self.layer,
            start: self.start,
            n_positions: self.n_positions,
            tail: tail(self.tail.clone()),
            past: self.past.iter().map(|kv| kv.map(&past)).collect(),
        }
    }

    /// The same values as constants on the autodiff backend.
    pub fn to_autodiff<A: AutodiffBackend<InnerBackend = B>>(&self) -> KeptBase<A> {
        self.map(Tensor::from_inner, Tensor::from_inner)
    }
}

impl Site {
    /// First layer that a run must compute after an edit here, in a model of `n_layers` layers: [`KeptBase::layer`].
    pub fn resumes_at(self, n_layers: usize) -> usize {
        match self.component {
            Component::Embedding => 0,
            Component::BlockOutput => self.layer + 1,
            Component::FinalNorm => n_layers,
            _ => self.layer,
        }
    }

    /// Number of values here at one token of a prompt of `n_tokens` tokens.
    pub fn n_values(self, config: &Gpt2Config, n_tokens: usize) -> usize {
        let width = self.component.width(config).unwrap_or(n_tokens);
        match self.component.is_per_head() {
            true => width * config.n_heads,
            false => width,
        }
    }

    /// Number of blocks that a run computes, the last one for the wanted positions only, to have the value here.
    fn n_blocks(self, n_layers: usize) -> usize {
        match self.component {
            Component::Embedding => 0,
            Component::BlockInput => self.layer,
            Component::FinalNorm => n_layers,
            _ => self.layer + 1,
        }
    }
}

/// A plain interchange at another position in each row of a batch: row `i` of a prompt takes the source's value at the `i`th
/// of the first positions, and nothing else.
struct InterchangeEach<B: Backend> {
    site: Site,
    head: Option<usize>,
    /// 1 where a row is edited, `[rows, n, 1]`.
    mask: Tensor<B, 3>,
    /// `[rows, n, width]` or `[rows, head, n, …]`, one head where `head` names one
    source: Source<B>,
}

impl<B: Backend> Hook<B> for InterchangeEach<B> {
    fn at(&mut self, site: Site, x: Tensor<B, 3>) -> Tensor<B, 3> {
        match &self.source {
            Source::Stream(source) if site == self.site => {
                let base = x.clone().narrow(1, 0, source.dims()[1]); // [rows, n, width]
                let displacement = (source.clone() - base.clone()) * self.mask.clone();
                x.slice_assign([0..base.dims()[0], 0..base.dims()[1]], base + displacement)
            }
            _ => x,
        }
    }

    fn at_heads(&mut self, site: Site, x: Tensor<B, 4>) -> Tensor<B, 4> {
        match &self.source {
            Source::Heads(source) if site == self.site => {
                // A pattern of a source run that stopped at its last position has no later keys, which get no weight.
                let [rows, n_heads, n, width] = source.dims();
                let heads = self.head.unwrap_or(0)..self.head.unwrap_or(0) + n_heads;
                let part = [0..rows, heads, 0..n, 0..width];
                let base = x.clone().slice(part.clone()); // [rows, head, n, …]
                let mask = self.mask.clone().unsqueeze_dim(1); // [rows, 1, n, 1]
                let displacement = (source.clone() - base.clone()) * mask;
                remasked(site, x.slice_assign(part, base + displacement))
            }
            _ => x,
        }
    }
}

impl<B: Backend> Gpt2<B> {
    /// Runs prompts and keeps what runs need that resume in the cone.
    ///
    /// # Shapes
    /// - `ids`: `[batch, pos]`
    pub fn keep_run(&self, ids: Tensor<B, 2, Int>, cone: &Cone) -> KeptRun<B> {
        let (n_layers, n_tokens) = (self.n_layers(), ids.dims()[1]);
        let (first, [start, end]) = (
            *cone.layers.start(),
            [*cone.starts.start(), *cone.starts.end()],
        );
        let needed = cone.needed(n_layers, n_tokens);
        let mut kept = KeptRun {
            cone: cone.clone(),
            n_tokens,
            streams: Vec::new(),
            keys_values: Vec::new(),
        };
        let mut from = 0; // first position that `x` has
        let mut x = self.embed(ids.narrow(1, 0, needed[0]), &mut ()); // [batch, pos, d_model]
        for l in 0..=n_layers {
            if cone.layers.contains(&l) {
                kept.streams
                    .push(x.clone().narrow(1, start - from, n_tokens - start));
            }
            let Some(block) = self.h.get(l).filter(|_| needed[l] > 0) else {
                break;
            };
            // Only norm and head are left above the last block, and nothing reads the positions before the cone there.
            let is_last = l + 1 == n_layers;
            from = if is_last { start } else { 0 };
            let next = needed[l + 1];
            let past = match next {
                0 => end,
                _ => from,
            };
            let before = (past > 0).then(|| block.keys_values(x.clone().narrow(1, 0, past)));
            let mut recorder = Recorder::new(key_value_sites(l));
            if next > 0 {
                let rest = x.narrow(1, from, next - from);
                x = block.forward(rest, before.as_ref(), l, &mut recorder);
            }
            if l >= first && end > 0 {
                let here = recorded_keys_values(&recorder, l);
                let all: Vec<KeyValue<B>> = before.into_iter().chain(here).collect();
                let all = KeyValue::cat(all, 2);
                kept.keys_values.push(all.map(|x| x.narrow(2, 0, end)));
            }
            if next == 0 {
                break;
            }
        }
        kept
    }

    /// Runs source prompts as far as `sites` need, and gives the values there at the positions `starts`.
    ///
    /// # Shapes
    /// - `ids`: `[batch, pos]`
    pub fn keep_source(
        &self,
        ids: Tensor<B, 2, Int>,
        sites: &[Site],
        starts: RangeInclusive<usize>,
    ) -> KeptSource<B> {
        let n_layers = self.n_layers();
        let (start, n_tokens) = (*starts.start(), starts.end() + 1);
        let n_blocks = sites.iter().map(|site| site.n_blocks(n_layers)).max();
        let n_blocks = n_blocks.unwrap_or(0);
        let mut recorder = Recorder::new(sites.iter().copied());
        let mut x = self.embed(ids.narrow(1, 0, n_tokens), &mut recorder);
        for (l, block) in self.h[..n_blocks].iter().enumerate() {
            let from = if l + 1 == n_blocks { start } else { 0 };
            let before = (from > 0).then(|| block.keys_values(x.clone().narrow(1, 0, from)));
            let rest = x.narrow(1, from, n_tokens - from);
            x = block.forward(rest, before.as_ref(), l, &mut recorder);
        }
        // What is offered before the next block, or after the last.
        if n_blocks == n_layers {
            self.final_norm(x, &mut recorder);
        } else {
            recorder.at(Component::BlockInput.at(n_blocks), x);
        }
        let rest = n_tokens - start;
        let values = recorder.map(
            |_, x| x.clone().narrow(1, x.dims()[1] - rest, rest),
            |_, x| x.clone().narrow(2, x.dims()[2] - rest, rest),
        );
        KeptSource { start, values }
    }

    /// Computes one layer of a kept run again, at the positions `>= start`, and offers its values to a hook.
    pub fn replay(&self, run: &KeptRun<B>, layer: usize, start: usize, hook: &mut dyn Hook<B>) {
        let kept = run.base_at(layer, start);
        self.h[layer].forward(kept.tail(), kept.past().next().as_ref(), layer, hook);
    }

    /// Resumes a base run and returns the logits of its positions from `read` on. The hook sees the stream that the run starts
    /// from, and everything after it, at the kept positions; they count from the first of them, see
    /// [`Editor::starting_at`](crate::intervention::Editor::starting_at).
    ///
    /// # Shapes
    /// - result: `[batch, pos - read, d_vocab]`, nats
    pub fn resume(&self, kept: &KeptBase<B>, read: usize, hook: &mut dyn Hook<B>) -> Tensor<B, 3> {
        self.head(self.resume_to_norm(kept, read, hook))
    }

    /// [`Gpt2::resume`] without the head.
    ///
    /// # Shapes
    /// - result: `[batch, pos - read, d_model]`, normed
    pub(crate) fn resume_to_norm(
        &self,
        kept: &KeptBase<B>,
        read: usize,
        hook: &mut dyn Hook<B>,
    ) -> Tensor<B, 3> {
        let tail = kept.tail();
        let mut x = match kept.layer.checked_sub(1) {
            None => hook.at(Component::Embedding.at(0), tail),
            Some(l) => hook.at(Component::BlockOutput.at(l), tail),
        };
        let mut past = kept.past();
        for (l, block) in self.h.iter().enumerate().skip(kept.layer) {
            x = block.forward(x, past.next().as_ref(), l, hook);
        }
        let pos = x.dims()[1];
        let x = self.final_norm(x, hook); // the hook sees all kept positions
        x.narrow(1, read, pos - read)
    }

    /// Logits of the last token after a plain interchange at `site`, in one head or in all, at one position a run, for each
    /// prompt and each of `positions`. Neighbouring positions are one batch.
    ///
    /// # Shapes
    /// - `source`: the values at `positions`, `[batch, positions, width]` or `[batch, head, positions, …]`, one head where
    ///   `head` names one
    /// - result: `[batch, positions, d_vocab]`, nats
    ///
    /// # Panics
    /// If site or positions are outside the cone that `base` was kept for.
    pub fn interchange_each(
        &self,
        base: &KeptRun<B>,
        source: &Source<B>,
        site: Site,
        head: Option<usize>,
        positions: Range<usize>,
    ) -> Tensor<B, 3> {
        /// Fewer rows than this use a matrix product badly; more positions in one batch compute more that cannot change.
        const FEW_ROWS: usize = 64;
        let batch = base.n_rows();
        let layer = site.resumes_at(self.n_layers());
        let mut logits = Vec::new();
        let mut start = positions.start;
        while start < positions.end {
            let rest = base.n_tokens() - start;
            let n = FEW_ROWS.div_ceil(batch * rest).min(positions.end - start);
            let source = source
                .narrow_positions(start - positions.start, n)
                .repeat(n);
            let mut hook = InterchangeEach {
                site,
                head,
                mask: each_mask(batch, n, &base.streams[0].device()),
                source,
            };
            let kept = base.base_at(layer, start).repeat(n);
            let last = self.resume(&kept, rest - 1, &mut hook); // [batch * n, 1, d_vocab]
            let d_vocab = last.dims()[2];
            logits.push(last.reshape([batch, n, d_vocab]));
            start += n;
        }
        Tensor::cat(logits, 1)
    }
}

/// Some of the rows, in the given order.
fn select_rows<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    rows: &Tensor<B, 1, Int>,
) -> Tensor<B, D> {
    let selected = as_rows(&x).select(0, rows.clone()); // backends copy rows of a matrix at once
    from_rows(&x, Some(selected))
}

/// For each of `batch` prompts: row `i` of `n` is edited at the `i`th position.
///
/// # Shapes
/// - result: `[batch * n, n, 1]`
fn each_mask<B: Backend>(batch: usize, n: usize, device: &B::Device) -> Tensor<B, 3> {
    let mut mask = vec![0.0f32; batch * n * n];
    for row in 0..batch * n {
        mask[row * n + row % n] = 1.0;
    }
    Tensor::from_data(TensorData::new(mask, [batch * n, n, 1]), device)
}

fn key_value_sites(l: usize) -> [Site; 2] {
    [
        Component::HeadKeyOutput.at(l),
        Component::HeadValueOutput.at(l),
    ]
}

/// Keys and values that a recorder of both saw in layer `l`.
fn recorded_keys_values<B: Backend>(recorder: &Recorder<B>, l: usize) -> Option<KeyValue<B>> {
    let [key, value] = key_value_sites(l).map(|site| recorder.get_heads(site).cloned());
    Some(KeyValue {
        key: key?,
        value: value?,
    })
}

//! The causal cone: what an intervention cannot change is computed once and cached.
//!
//! An intervention in layer `l`, at the positions `>= start`, changes nothing below `l` and nothing at earlier positions. A
//! [`CachedRun`] has what resumed runs need: the residual stream that enters a layer, from `start` on, and the keys and values
//! of the layers above at the earlier positions. Which layers and first positions it serves is its [`Cone`]; whatever lies
//! outside is not cached and, where nothing cached depends on it, not computed. The head is computed only for rows that are read.
//!
//! 1. [`Decoder::cache_run`] runs the base prompts, [`Decoder::cache_source`] the source prompts as far as their values are wanted.
//! 2. [`CachedRun::base_at`] cuts out what runs need that resume at one place, a [`CachedBase`].
//! 3. [`Decoder::resume`] goes on from there, with a hook that edits any component. [`Decoder::intervene_each`] resumes at many
//!    positions at once.
//!
//! A resumed run equals the full run: that is tested at every component, unit and position.

mod cached;
mod each;
mod kv_cache;
mod part;

use std::ops::RangeInclusive;

use burn::tensor::{Int, Tensor, backend::Backend};

use crate::{Component, Decoder, Hook, Recorder, Site, Sizes, model::KeyValue};
pub use cached::{CachedBase, CachedRun, CachedSource, Storage, row_indices};
pub use kv_cache::KvCache;
pub use part::RowPart;

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

    /// The whole model and prompt, and what tokens behind it need ([`CachedRun::kv_cache`]).
    pub fn growing(n_layers: usize, n_tokens: usize) -> Self {
        Self {
            layers: 0..=n_layers,
            starts: 0..=n_tokens,
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

    /// Bytes that are cached of a prompt of `n_tokens` tokens.
    pub fn n_bytes(&self, sizes: &Sizes, n_tokens: usize, storage: Storage) -> usize {
        let n_streams = self.layers.end() + 1 - self.layers.start();
        let n_keys_values = 2 * (sizes.n_layers - self.layers.start());
        let n_values = n_streams * (n_tokens - self.starts.start()) * sizes.d_model
            + n_keys_values * self.starts.end() * sizes.n_kv_heads * sizes.d_head;
        n_values * storage.n_bytes()
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

impl<B: Backend> Decoder<B> {
    /// Runs prompts and keeps what runs need that resume in the cone.
    ///
    /// # Shapes
    /// - `ids`: `[batch, pos]`
    pub fn cache_run(&self, ids: Tensor<B, 2, Int>, cone: &Cone) -> CachedRun<B> {
        let (n_layers, n_tokens) = (self.n_layers(), ids.dims()[1]);
        let (first, [start, end]) = (
            *cone.layers.start(),
            [*cone.starts.start(), *cone.starts.end()],
        );
        let needed = cone.needed(n_layers, n_tokens);
        let mut cached = CachedRun {
            cone: cone.clone(),
            n_tokens,
            streams: Vec::new(),
            keys_values: Vec::new(),
        };
        let mut from = 0; // first position that `x` has
        let mut x = self.embed(ids.narrow(1, 0, needed[0]), 0, &mut ()); // [batch, pos, d_model]
        for l in 0..=n_layers {
            if cone.layers.contains(&l) {
                cached
                    .streams
                    .push(x.clone().narrow(1, start - from, n_tokens - start));
            }
            let Some(layer) = self.layers.get(l).filter(|_| needed[l] > 0) else {
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
            let before = (past > 0).then(|| layer.keys_values(x.clone().narrow(1, 0, past)));
            let mut here = None;
            if next > 0 {
                let rest = x.narrow(1, from, next - from);
                let (after, keys_values) = layer.forward(rest, before.as_ref(), l, &mut ());
                (x, here) = (after, Some(keys_values));
            }
            if l >= first && end > 0 {
                let all: Vec<KeyValue<B>> = before.into_iter().chain(here).collect();
                let all = KeyValue::cat(all, 2);
                cached.keys_values.push(all.map(|x| x.narrow(2, 0, end)));
            }
            if next == 0 {
                break;
            }
        }
        cached
    }

    /// Runs source prompts as far as `sites` need, and gives the values there at the positions `starts`.
    ///
    /// # Shapes
    /// - `ids`: `[batch, pos]`
    pub fn cache_source(
        &self,
        ids: Tensor<B, 2, Int>,
        sites: &[Site],
        starts: RangeInclusive<usize>,
    ) -> CachedSource<B> {
        let n_layers = self.n_layers();
        let (start, n_tokens) = (*starts.start(), starts.end() + 1);
        let n_blocks = sites.iter().map(|site| site.n_blocks(n_layers)).max();
        let n_blocks = n_blocks.unwrap_or(0);
        let mut recorder = Recorder::new(sites.iter().copied());
        let mut x = self.embed(ids.narrow(1, 0, n_tokens), 0, &mut recorder);
        for (l, layer) in self.layers[..n_blocks].iter().enumerate() {
            let from = if l + 1 == n_blocks { start } else { 0 };
            let before = (from > 0).then(|| layer.keys_values(x.clone().narrow(1, 0, from)));
            let rest = x.narrow(1, from, n_tokens - from);
            (x, _) = layer.forward(rest, before.as_ref(), l, &mut recorder);
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
        CachedSource { start, values }
    }

    /// Computes one layer of a cached run again, at the positions `>= start`, and offers its values to a hook.
    pub fn replay(&self, run: &CachedRun<B>, layer: usize, start: usize, hook: &mut dyn Hook<B>) {
        let cached = run.base_at(layer, start);
        let past = cached.past().next();
        self.layers[layer].forward(cached.tail(), past.as_ref(), layer, hook);
    }

    /// Resumes a base run and returns the logits of its positions from `read` on. The hook sees the stream that the run starts
    /// from, and everything after it, at the cached positions; they count from the first of them, see
    /// [`Editor::starting_at`](crate::intervention::Editor::starting_at).
    ///
    /// # Shapes
    /// - result: `[batch, pos - read, d_vocab]`, nats
    pub fn resume(
        &self,
        cached: &CachedBase<B>,
        read: usize,
        hook: &mut dyn Hook<B>,
    ) -> Tensor<B, 3> {
        self.head(self.resume_to_norm(cached, read, hook))
    }

    /// [`Decoder::resume`] without the head.
    ///
    /// # Shapes
    /// - result: `[batch, pos - read, d_model]`, normed
    pub fn resume_to_norm(
        &self,
        cached: &CachedBase<B>,
        read: usize,
        hook: &mut dyn Hook<B>,
    ) -> Tensor<B, 3> {
        let x = self.go_on(cached, hook, drop); // the hook sees all cached positions
        let pos = x.dims()[1];
        x.narrow(1, read, pos - read)
    }

    /// Resumes a base run; `keep` is given the keys and values of each layer that is computed.
    ///
    /// # Shapes
    /// - result: `[batch, pos, d_model]`, normed
    fn go_on(
        &self,
        cached: &CachedBase<B>,
        hook: &mut dyn Hook<B>,
        mut keep: impl FnMut(KeyValue<B>),
    ) -> Tensor<B, 3> {
        let tail = cached.tail();
        let mut x = match cached.layer.checked_sub(1) {
            None => hook.at(Component::Embedding.at(0), tail),
            Some(l) => hook.at(Component::BlockOutput.at(l), tail),
        };
        let mut past = cached.past();
        for (l, layer) in self.layers.iter().enumerate().skip(cached.layer) {
            let (after, here) = layer.forward(x, past.next().as_ref(), l, hook);
            keep(here);
            x = after;
        }
        self.final_norm(x, hook)
    }
}

//! The causal cone: what an intervention cannot change is computed once and kept.
//!
//! An intervention at `block_output` of layer `l`, positions `>= start`, changes nothing below `l` and nothing at earlier
//! positions. A base run keeps the residual stream there from `start` on, and the keys and values of the earlier positions
//! in the layers above ([`KeptBase`]); a resumed run starts from them. A source run stops at the site. Neither computes the
//! head. Where sites and positions are chosen later, a [`KeptRun`] keeps what any of them needs.
//! A resumed run equals the full run: that is tested.

use std::ops::Range;

use burn::tensor::{Int, Tensor, TensorData, backend::AutodiffBackend, backend::Backend};

use crate::{Component, Gpt2, Hook, Recorder, Site, model::KeyValue};

/// What a resumed run needs of its base run.
#[derive(Clone, Debug)]
pub struct KeptBase<B: Backend> {
    /// First layer that a resumed run computes; the model's number of layers where only norm and head are left.
    pub layer: usize,
    /// Residual stream that enters it, at the positions from the first edited one on, `[batch, pos, d_model]`.
    pub tail: Tensor<B, 3>,
    /// Keys and values of the layers from `layer` on at the earlier positions; empty where there are none.
    past: Vec<KeyValue<B>>,
}

/// A whole run but for its head: runs can be resumed from it at any layer and position.
#[derive(Clone, Debug)]
pub struct KeptRun<B: Backend> {
    /// Residual stream that enters each layer, and last the one that enters the final norm, `[batch, pos, d_model]`.
    streams: Vec<Tensor<B, 3>>,
    /// Keys and values of each layer.
    keys_values: Vec<KeyValue<B>>,
}

impl<B: Backend> KeptRun<B> {
    /// The residual stream that enters `layer`; with the number of layers, the one that enters the final norm.
    ///
    /// # Shapes
    /// - result: `[batch, pos, d_model]`
    pub fn stream(&self, layer: usize) -> &Tensor<B, 3> {
        &self.streams[layer]
    }

    /// Number of tokens of the prompts.
    pub fn n_tokens(&self) -> usize {
        self.streams[0].dims()[1]
    }

    /// Bytes of the kept values, f32.
    pub fn n_bytes(&self) -> usize {
        let keys_values = 2 * self.keys_values.len();
        let values = self.streams.len() + keys_values;
        4 * values * self.streams[0].dims().iter().product::<usize>()
    }

    /// What a run needs that resumes with `layer` at the positions `>= start`.
    pub fn base_at(&self, layer: usize, start: usize) -> KeptBase<B> {
        let rest = self.n_tokens() - start;
        let past = |kv: &KeyValue<B>| KeyValue {
            key: kv.key.clone().narrow(2, 0, start),
            value: kv.value.clone().narrow(2, 0, start),
        };
        KeptBase {
            layer,
            tail: self.streams[layer].clone().narrow(1, start, rest),
            past: match start {
                0 => Vec::new(),
                _ => self.keys_values[layer..].iter().map(past).collect(),
            },
        }
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
}

/// A plain interchange at another position in each row: row `i` takes the value of `source` at position `i` of the range.
struct InterchangeEach<B: Backend> {
    site: Site,
    /// 1 where a row is edited, `[batch, pos, 1]`.
    mask: Tensor<B, 3>,
    /// `[1, pos, width]`
    source: Tensor<B, 3>,
}

impl<B: Backend> Hook<B> for InterchangeEach<B> {
    fn at(&mut self, site: Site, x: Tensor<B, 3>) -> Tensor<B, 3> {
        if site != self.site {
            return x;
        }
        let displacement = self.source.clone() - x.clone();
        x + displacement * self.mask.clone() // [batch, pos, width]
    }

    fn at_heads(&mut self, _: Site, x: Tensor<B, 4>) -> Tensor<B, 4> {
        x
    }
}

impl<B: Backend> Gpt2<B> {
    /// Runs the base prompts and keeps what runs need that resume at `block_output` of `layer`, positions `>= start`.
    ///
    /// # Shapes
    /// - `ids`: `[batch, pos]`
    pub fn keep_base(&self, ids: Tensor<B, 2, Int>, layer: usize, start: usize) -> KeptBase<B> {
        let last = self.n_layers() - 1;
        if layer == last {
            return KeptBase {
                layer: layer + 1,
                tail: self.run_to(ids, layer, start),
                past: Vec::new(),
            };
        }
        let pos = ids.dims()[1];
        let x = self.run_to(ids, layer, 0); // [batch, pos, d_model]
        let tail = x.clone().narrow(1, start, pos - start);
        let mut past = Vec::new();
        if start > 0 {
            let mut head = x.narrow(1, 0, start); // [batch, start, d_model]
            for (l, block) in self.h.iter().enumerate().skip(layer + 1) {
                let kept = (l != last).then(|| Recorder::new(key_value_sites(l)));
                past.push(match kept {
                    // Nothing reads the last block's output at these positions.
                    None => block.keys_values(head.clone()),
                    Some(mut recorder) => {
                        head = block.forward(head, None, l, &mut recorder);
                        recorded_keys_values(&recorder, l)
                    }
                });
            }
        }
        KeptBase {
            layer: layer + 1,
            tail,
            past,
        }
    }

    /// Runs prompts and keeps what runs need that resume anywhere.
    ///
    /// # Shapes
    /// - `ids`: `[batch, pos]`
    pub fn keep_run(&self, ids: Tensor<B, 2, Int>) -> KeptRun<B> {
        let mut x = self.embed(ids, &mut ());
        let mut kept = KeptRun {
            streams: vec![x.clone()],
            keys_values: Vec::new(),
        };
        for (l, block) in self.h.iter().enumerate() {
            let mut recorder = Recorder::new(key_value_sites(l));
            x = block.forward(x, None, l, &mut recorder);
            kept.keys_values.push(recorded_keys_values(&recorder, l));
            kept.streams.push(x.clone());
        }
        kept
    }

    /// Computes one layer of a kept run again, at the positions `>= start`, and offers its values to a hook.
    pub fn replay(&self, run: &KeptRun<B>, layer: usize, start: usize, hook: &mut dyn Hook<B>) {
        let kept = run.base_at(layer, start);
        self.h[layer].forward(kept.tail, kept.past.first(), layer, hook);
    }

    /// Logits of the last token after a plain interchange at `site` at one position a run, for each of `positions`.
    /// All runs are one batch that starts at the first of the positions.
    ///
    /// # Shapes
    /// - `base`: kept from one prompt; `source`: the value at `site` from the first of the positions on, `[1, pos, width]`
    /// - result: `[positions, d_vocab]`, nats
    ///
    /// # Panics
    /// If `site` is per head, or `positions` are outside the prompt.
    pub fn interchange_each(
        &self,
        base: &KeptRun<B>,
        source: Tensor<B, 3>,
        site: Site,
        positions: Range<usize>,
    ) -> Tensor<B, 2> {
        let (start, n_rows) = (positions.start, positions.len());
        let rest = base.n_tokens() - start;
        let mut mask = vec![0.0f32; n_rows * rest];
        for row in 0..n_rows {
            mask[row * rest + row] = 1.0;
        }
        let mask = TensorData::new(mask, [n_rows, rest, 1]);
        let mut hook = InterchangeEach {
            site,
            mask: Tensor::from_data(mask, &source.device()),
            source,
        };
        let kept = base.base_at(site.resumes_at(self.n_layers()), start);
        let kept = kept.repeat(n_rows);
        let tail = kept.tail.clone();
        self.resume(&kept, tail, rest - 1, &mut hook).squeeze_dim(1)
    }

    /// Runs the source prompts up to `block_output` of `layer` at `position` and returns the value there.
    ///
    /// # Shapes
    /// - `ids`: `[batch, pos]`; result: `[batch, 1, d_model]`
    pub fn keep_source(
        &self,
        ids: Tensor<B, 2, Int>,
        layer: usize,
        position: usize,
    ) -> Tensor<B, 3> {
        self.run_to(ids.narrow(1, 0, position + 1), layer, position)
    }

    /// `block_output` of `layer` at the positions from `start` on: the block itself computes keys and values of all
    /// positions, and the rest at these only.
    fn run_to(&self, ids: Tensor<B, 2, Int>, layer: usize, start: usize) -> Tensor<B, 3> {
        let mut x = self.embed(ids, &mut ());
        for (l, block) in self.h[..layer].iter().enumerate() {
            x = block.forward(x, None, l, &mut ());
        }
        let pos = x.dims()[1];
        let past = (start > 0).then(|| self.h[layer].keys_values(x.clone().narrow(1, 0, start)));
        self.h[layer].forward(
            x.narrow(1, start, pos - start),
            past.as_ref(),
            layer,
            &mut (),
        )
    }

    /// Resumes a base run from an edited residual stream and returns the logits of the kept positions from `read` on,
    /// counted from the first kept one. The hook sees the stream that the run starts from, and everything after it, at these
    /// positions.
    ///
    /// # Shapes
    /// - `tail`: `[batch, pos, d_model]`, as `kept.tail`; result: `[batch, pos - read, d_vocab]`, nats
    pub fn resume(
        &self,
        kept: &KeptBase<B>,
        tail: Tensor<B, 3>,
        read: usize,
        hook: &mut dyn Hook<B>,
    ) -> Tensor<B, 3> {
        let mut x = match kept.layer.checked_sub(1) {
            None => hook.at(Component::Embedding.at(0), tail),
            Some(l) => hook.at(Component::BlockOutput.at(l), tail),
        };
        for (idx, (l, block)) in self.h.iter().enumerate().skip(kept.layer).enumerate() {
            x = block.forward(x, kept.past.get(idx), l, hook);
        }
        let pos = x.dims()[1];
        let x = self.final_norm(x, hook); // the hook sees all kept positions
        self.head(x.narrow(1, read, pos - read))
    }
}

fn key_value_sites(l: usize) -> [Site; 2] {
    [
        Component::HeadKeyOutput.at(l),
        Component::HeadValueOutput.at(l),
    ]
}

/// Keys and values that a recorder of both saw in layer `l`.
fn recorded_keys_values<B: Backend>(recorder: &Recorder<B>, l: usize) -> KeyValue<B> {
    match key_value_sites(l).map(|site| recorder.get_heads(site).cloned()) {
        [Some(key), Some(value)] => KeyValue { key, value },
        _ => unreachable!("a block offers its keys and values to the hook"),
    }
}

impl<B: Backend> KeptBase<B> {
    /// Number of base prompts.
    pub fn n_rows(&self) -> usize {
        self.tail.dims()[0]
    }

    /// Bytes of the kept values, f32.
    pub fn n_bytes(&self) -> usize {
        let n_values = |dims: &[usize]| dims.iter().product::<usize>();
        let past = self
            .past
            .iter()
            .map(|kv| 2 * n_values(&kv.key.dims()))
            .sum::<usize>();
        4 * (n_values(&self.tail.dims()) + past)
    }

    /// The same for some of the rows, in the given order.
    ///
    /// # Shapes
    /// - `rows`: `[n_rows]`
    pub fn select(&self, rows: &Tensor<B, 1, Int>) -> Self {
        self.map(|x| x.select(0, rows.clone()), |x| x.select(0, rows.clone()))
    }

    /// One kept run as a batch of `n_rows` of the same.
    fn repeat(&self, n_rows: usize) -> Self {
        self.map(|x| x.repeat_dim(0, n_rows), |x| x.repeat_dim(0, n_rows))
    }

    /// Several kept runs of one layer and one start, one after the other.
    ///
    /// # Panics
    /// If there are none.
    pub fn cat(runs: Vec<Self>) -> Self {
        let layer = runs[0].layer;
        let tail = Tensor::cat(runs.iter().map(|run| run.tail.clone()).collect(), 0);
        let past = (0..runs[0].past.len())
            .map(|idx| KeyValue {
                key: Tensor::cat(
                    runs.iter().map(|run| run.past[idx].key.clone()).collect(),
                    0,
                ),
                value: Tensor::cat(
                    runs.iter().map(|run| run.past[idx].value.clone()).collect(),
                    0,
                ),
            })
            .collect();
        Self { layer, tail, past }
    }

    fn map<C: Backend>(
        &self,
        tail: impl Fn(Tensor<B, 3>) -> Tensor<C, 3>,
        past: impl Fn(Tensor<B, 4>) -> Tensor<C, 4>,
    ) -> KeptBase<C> {
        let kv = |kv: &KeyValue<B>| KeyValue {
            key: past(kv.key.clone()),
            value: past(kv.value.clone()),
        };
        KeptBase {
            layer: self.layer,
            tail: tail(self.tail.clone()),
            past: self.past.iter().map(kv).collect(),
        }
    }

    /// The same values as constants on the autodiff backend.
    pub fn to_autodiff<A: AutodiffBackend<InnerBackend = B>>(&self) -> KeptBase<A> {
        self.map(Tensor::from_inner, Tensor::from_inner)
    }
}

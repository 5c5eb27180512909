//! The causal cone: what an intervention cannot change is computed once and kept.
//!
//! An intervention at `block_output` of layer `l`, positions `>= start`, changes nothing below `l` and nothing at earlier
//! positions. A base run keeps the residual stream there from `start` on, and the keys and values of the earlier positions
//! in the layers above; a resumed run starts from them. A source run stops at the site. Neither computes the head.
//! A resumed run equals the full run: that is tested.

use burn::tensor::{Int, Tensor, backend::AutodiffBackend, backend::Backend};

use crate::{Component, Gpt2, Hook, Recorder, model::KeyValue};

/// What a resumed run needs of its base run.
#[derive(Clone, Debug)]
pub struct KeptBase<B: Backend> {
    /// Layer whose `block_output` is edited.
    pub layer: usize,
    /// Residual stream there at the positions from the first edited one on, `[batch, pos, d_model]`.
    pub tail: Tensor<B, 3>,
    /// Keys and values of the layers above `layer` at the earlier positions; empty where there are none.
    past: Vec<KeyValue<B>>,
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
                layer,
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
                let sites = [
                    Component::HeadKeyOutput.at(l),
                    Component::HeadValueOutput.at(l),
                ];
                let kept = if l == last {
                    None
                } else {
                    Some(Recorder::new(sites))
                };
                past.push(match kept {
                    // Nothing reads the last block's output at these positions.
                    None => block.keys_values(head.clone()),
                    Some(mut recorder) => {
                        head = block.forward(head, None, l, &mut recorder);
                        match sites.map(|site| recorder.get_heads(site).cloned()) {
                            [Some(key), Some(value)] => KeyValue { key, value },
                            _ => unreachable!("a block offers its keys and values to the hook"),
                        }
                    }
                });
            }
        }
        KeptBase { layer, tail, past }
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
    /// counted from the first kept one.
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
        let mut x = tail;
        for (idx, (l, block)) in self.h.iter().enumerate().skip(kept.layer + 1).enumerate() {
            x = block.forward(x, kept.past.get(idx), l, hook);
        }
        let pos = x.dims()[1];
        self.unembed(x.narrow(1, read, pos - read), hook)
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

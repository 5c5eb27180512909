//! Runs that go on behind their prompts: keys and values of every layer, a token after the other.

use burn::tensor::{Int, Tensor, backend::Backend};

use super::{CachedRun, Cone};
use crate::{Decoder, Hook, model::KeyValue};

/// Keys and values of every layer at all positions so far.
#[derive(Clone, Debug)]
pub struct KvCache<B: Backend> {
    layers: Vec<KeyValue<B>>,
}

impl<B: Backend> KvCache<B> {
    /// Number of tokens so far.
    pub fn n_tokens(&self) -> usize {
        self.layers.first().map_or(0, |kv| kv.key.dims()[2])
    }

    /// Runs of as many tokens, one after the other.
    #[must_use]
    pub fn followed_by(self, next: Self) -> Self {
        let layers = self.layers.into_iter().zip(next.layers);
        Self {
            layers: layers
                .map(|(own, next)| KeyValue::cat(vec![own, next], 0))
                .collect(),
        }
    }
}

impl<B: Backend> CachedRun<B> {
    /// What tokens behind the prompts need.
    ///
    /// # Panics
    /// If it was not cached ([`Cone::growing`]).
    pub fn kv_cache(&self) -> KvCache<B> {
        let Cone { layers, starts } = &self.cone;
        assert!(
            *layers.start() == 0 && *starts.end() == self.n_tokens,
            "cached for {:?}",
            self.cone
        );
        let whole = |kv: &KeyValue<B>| kv.map(super::cached::load);
        KvCache {
            layers: self.keys_values.iter().map(whole).collect(),
        }
    }
}

impl<B: Backend> Decoder<B> {
    /// Resumes base runs at a place, as [`Decoder::resume_to_norm`] does, and keeps what tokens behind the prompts need of the
    /// runs that come out.
    ///
    /// # Shapes
    /// - result: what the head reads at the last token, `[batch, d_model]`
    ///
    /// # Panics
    /// If the runs were not cached for that ([`Cone::growing`]).
    pub fn prefill(
        &self,
        base: &CachedRun<B>,
        (layer, start): (usize, usize),
        hook: &mut dyn Hook<B>,
    ) -> (Tensor<B, 2>, KvCache<B>) {
        let mut cache = base.kv_cache();
        let mut above = cache.layers[layer..].iter_mut();
        let keep = |here| {
            if let Some(kv) = above.next() {
                let before = (start > 0).then(|| kv.map(|x| x.narrow(2, 0, start)));
                *kv = KeyValue::cat(before.into_iter().chain([here]).collect(), 2);
            }
        };
        let normed = self.go_on(&base.base_at(layer, start), hook, keep);
        (last(normed), cache)
    }

    /// Runs one more token a row, and keeps what the next ones need. The hook sees one position, the new one.
    ///
    /// # Shapes
    /// - `ids`: `[batch, 1]`; result: what the head reads, `[batch, d_model]`
    pub fn decode(
        &self,
        ids: Tensor<B, 2, Int>,
        cache: &mut KvCache<B>,
        hook: &mut dyn Hook<B>,
    ) -> Tensor<B, 2> {
        let mut x = self.embed(ids, cache.n_tokens(), hook); // [batch, 1, d_model]
        for (l, (layer, past)) in self.layers.iter().zip(&mut cache.layers).enumerate() {
            let (after, here) = layer.forward(x, Some(past), l, hook);
            *past = KeyValue::cat(vec![past.clone(), here], 2);
            x = after;
        }
        last(self.final_norm(x, hook))
    }
}

/// # Shapes
/// - `x`: `[batch, pos, width]`; result: `[batch, width]`
fn last<B: Backend>(x: Tensor<B, 3>) -> Tensor<B, 2> {
    let pos = x.dims()[1];
    x.narrow(1, pos - 1, 1).squeeze_dim(1)
}

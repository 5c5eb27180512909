//! Causal multi-head self-attention (Vaswani et al. 2017), with rotated queries and keys, fewer heads of keys and values
//! (Ainslie et al. 2023, <https://arxiv.org/abs/2305.13245>) and windows where a family has them.

use burn::{
    module::Module,
    nn::Linear,
    tensor::{Tensor, backend::Backend},
};

use super::{Norm, RotaryEncoding, norm::capped};
use crate::{Component::*, Hook, kernel::Kernels};

/// Keys and values of one layer at consecutive positions from 0, as the products of the attention read them: keys are normed and
/// rotated.
#[derive(Clone, Debug)]
pub struct KeyValue<B: Backend> {
    /// `[batch, head, pos, d_head]`
    pub key: Tensor<B, 4>,
    /// `[batch, head, pos, d_head]`
    pub value: Tensor<B, 4>,
}

/// Causal multi-head self-attention.
#[derive(Module, Debug)]
pub struct Attention<B: Backend> {
    /// Queries, keys and values side by side, `[d_model, (n_heads + 2 * n_kv_heads) * d_head]`.
    pub qkv_proj: Linear<B>,
    /// Output projection, `[n_heads * d_head, d_model]`.
    pub o_proj: Linear<B>,
    /// Norm of each head's query, where the family has one.
    pub q_norm: Option<Norm<B>>,
    /// Norm of each head's key, where the family has one.
    pub k_norm: Option<Norm<B>>,
    /// How positions come in, where it is here.
    #[module(skip)]
    pub rotary: Option<RotaryEncoding>,
    /// Number of heads.
    pub n_heads: usize,
    /// Number of heads of keys and values.
    pub n_kv_heads: usize,
    /// What the products of queries and keys are multiplied by.
    pub score_scale: f64,
    /// Scores are kept between this and its negative; 0 where they are not.
    pub score_cap: f64,
    /// How many positions a query sees, its own included; `None` for all.
    #[module(skip)]
    pub window: Option<usize>,
    /// What it computes with.
    pub kernels: Kernels<B>,
}

impl<B: Backend> Attention<B> {
    /// # Shapes
    /// - `x`, result: `[batch, pos, d_model]`
    pub(super) fn forward(
        &self,
        x: Tensor<B, 3>,
        past: Option<&KeyValue<B>>,
        l: usize,
        hook: &mut dyn Hook<B>,
    ) -> (Tensor<B, 3>, KeyValue<B>) {
        let [query, key, value] = self.query_key_value(x); // [batch, pos, heads * d_head] each
        let query = hook.at(QueryOutput.at(l), query);
        let key = hook.at(KeyOutput.at(l), key);
        let value = hook.at(ValueOutput.at(l), value);
        let query = split_heads(query, self.n_heads); // [batch, head, pos, d_head]
        let query = hook.at_heads(HeadQueryOutput.at(l), query);
        let key = hook.at_heads(HeadKeyOutput.at(l), split_heads(key, self.n_kv_heads));
        let value = hook.at_heads(HeadValueOutput.at(l), split_heads(value, self.n_kv_heads));

        let n_past = past.map_or(0, |past| past.key.dims()[2]);
        let (query, key) = (
            self.normed(&self.q_norm, query),
            self.normed(&self.k_norm, key),
        );
        let (query, key) = match self.angles(n_past, &key) {
            None => (query, key),
            Some(angles) => {
                let rotate = self.kernels.rotate;
                (rotate(query, &angles), rotate(key, &angles))
            }
        };
        let product = self.kernels.heads;
        // Earlier keys and values are never copied: they are most of what a resumed run reads.
        let here = key.clone().transpose();
        let mut score = product(query.clone(), here, self.score_scale); // [batch, head, q_pos, k_pos]
        if let Some(past) = past {
            let earlier = product(query, past.key.clone().transpose(), self.score_scale);
            score = Tensor::cat(vec![earlier, score], 3);
        }
        let score = (self.kernels).hide(capped(score, self.score_cap), self.window);
        let score = hook.at_heads(AttentionScore.at(l), score);
        let weight = hook.at_heads(AttentionWeight.at(l), (self.kernels.softmax)(score));
        let z = match past {
            None => product(weight, value.clone(), 1.0), // [batch, head, pos, d_head]
            Some(past) => {
                let earlier = weight.clone().narrow(3, 0, n_past);
                let here = weight.narrow(3, n_past, value.dims()[2]);
                product(earlier, past.value.clone(), 1.0) + product(here, value.clone(), 1.0)
            }
        };
        let z = hook.at_heads(HeadAttentionValueOutput.at(l), z);

        let z = (self.kernels.join_heads)(z); // [batch, pos, n_heads * d_head]
        let z = hook.at(AttentionValueOutput.at(l), z);
        (self.kernels.layer(&self.o_proj, z), KeyValue { key, value })
    }

    /// Keys and values of what enters at positions from 0 on.
    ///
    /// # Shapes
    /// - `x`: `[batch, pos, d_model]`, normed
    pub(super) fn keys_values(&self, x: Tensor<B, 3>) -> KeyValue<B> {
        let [_, key, value] = self.query_key_value(x);
        let key = self.normed(&self.k_norm, split_heads(key, self.n_kv_heads));
        let key = match self.angles(0, &key) {
            None => key,
            Some(angles) => (self.kernels.rotate)(key, &angles),
        };
        let value = split_heads(value, self.n_kv_heads);
        KeyValue { key, value }
    }

    /// # Shapes
    /// - `x`, result: `[batch, head, pos, d_head]`
    fn normed(&self, norm: &Option<Norm<B>>, x: Tensor<B, 4>) -> Tensor<B, 4> {
        match norm {
            None => x,
            Some(norm) => norm.forward(x, &self.kernels),
        }
    }

    /// Of keys from a position on.
    fn angles(&self, first: usize, key: &Tensor<B, 4>) -> Option<[Tensor<B, 4>; 2]> {
        let rotary = self.rotary.as_ref()?;
        Some(rotary.angles(first, key.dims()[2], &key.device()))
    }

    /// # Shapes
    /// - `x`: `[batch, pos, d_model]`; results: `[batch, pos, n_heads * d_head]`, twice `[batch, pos, n_kv_heads * d_head]`
    fn query_key_value(&self, x: Tensor<B, 3>) -> [Tensor<B, 3>; 3] {
        let qkv = self.kernels.layer(&self.qkv_proj, x);
        let d_head = qkv.dims()[2] / (self.n_heads + 2 * self.n_kv_heads);
        let (queries, keys) = (self.n_heads * d_head, self.n_kv_heads * d_head);
        [(0, queries), (queries, keys), (queries + keys, keys)]
            .map(|(from, width)| qkv.clone().narrow(2, from, width))
    }
}

/// # Shapes
/// - `x`: `[batch, pos, heads * d_head]`; result: `[batch, head, pos, d_head]`
fn split_heads<B: Backend>(x: Tensor<B, 3>, n_heads: usize) -> Tensor<B, 4> {
    let [batch, pos, width] = x.dims();
    x.reshape([batch, pos, n_heads, width / n_heads])
        .swap_dims(1, 2)
}

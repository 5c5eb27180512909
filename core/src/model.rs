//! GPT-2 as Hugging Face computes it, with every site offered to a [`Hook`].
//!
//! Radford et al. 2019, "Language Models are Unsupervised Multitask Learners"; field names are the checkpoint's tensor
//! names, so that one search finds a weight in the file, in Hugging Face's `modeling_gpt2.py` and here.
//! Nothing is folded or centered: logits and activations equal Hugging Face's.
//!
//! Sizes in comments: `batch pos q_pos k_pos head d_model d_head d_mlp d_vocab`.

use burn::{
    module::Module,
    nn::{Embedding, LayerNorm, Linear},
    tensor::{Int, Tensor, TensorData, backend::Backend},
};

use crate::{Component, Component::*, Hook, kernel::Kernels};

/// Token ids of prompts of one length, on a device.
///
/// # Shapes
/// - result: `[batch, pos]`
pub fn ids_tensor<B: Backend>(
    rows: impl IntoIterator<Item = impl AsRef<[u32]>>,
    device: &B::Device,
) -> Tensor<B, 2, Int> {
    let (mut ids, mut n_rows) = (Vec::new(), 0);
    for row in rows {
        ids.extend(row.as_ref().iter().map(|id| *id as i32)); // a vocabulary has fewer tokens than 2^24
        n_rows += 1;
    }
    let pos = ids.len().checked_div(n_rows).unwrap_or(0);
    Tensor::from_data(TensorData::new(ids, [n_rows, pos]), device)
}

/// A GPT-2 language model: embeddings, blocks, final norm; the head is tied to the token embedding unless it has its own.
#[derive(Module, Debug)]
pub struct Gpt2<B: Backend> {
    /// Token embedding, `[d_vocab, d_model]`.
    pub wte: Embedding<B>,
    /// Position embedding, `[n_ctx, d_model]`.
    pub wpe: Embedding<B>,
    /// The blocks, layer 0 first.
    pub h: Vec<Block<B>>,
    /// Norm before the head.
    pub ln_f: LayerNorm<B>,
    /// Head of its own, `[d_model, d_vocab]`; `None` where it is tied to `wte`.
    pub lm_head: Option<Linear<B>>,
    /// What the head computes with.
    pub kernels: Kernels<B>,
}

impl<B: Backend> Gpt2<B> {
    /// The same model, computing with these kernels.
    pub fn with_kernels(mut self, kernels: Kernels<B>) -> Self {
        self.kernels = kernels;
        for block in &mut self.h {
            block.attn.kernels = kernels;
            block.mlp.kernels = kernels;
        }
        self
    }

    /// Device that it is on.
    pub fn device(&self) -> B::Device {
        self.wte.weight.val().device()
    }

    /// Number of layers.
    pub fn n_layers(&self) -> usize {
        self.h.len()
    }

    /// Logits of a plain run.
    ///
    /// # Shapes
    /// - `ids`: `[batch, pos]`; result: `[batch, pos, d_vocab]`, nats
    pub fn forward(&self, ids: Tensor<B, 2, Int>, hook: &mut dyn Hook<B>) -> Tensor<B, 3> {
        let mut x = self.embed(ids, hook);
        for (l, block) in self.h.iter().enumerate() {
            x = block.forward(x, None, l, hook);
        }
        self.unembed(x, hook)
    }

    /// Token plus position embedding, positions from 0.
    ///
    /// # Shapes
    /// - `ids`: `[batch, pos]`; result: `[batch, pos, d_model]`
    pub fn embed(&self, ids: Tensor<B, 2, Int>, hook: &mut dyn Hook<B>) -> Tensor<B, 3> {
        let [_, pos] = ids.dims();
        let wpe = self.wpe.weight.val().narrow(0, 0, pos).unsqueeze::<3>(); // [1, pos, d_model]
        hook.at(Component::Embedding.at(0), self.wte.forward(ids) + wpe)
    }

    /// Final norm and head.
    ///
    /// # Shapes
    /// - `x`: `[batch, pos, d_model]`; result: `[batch, pos, d_vocab]`, nats
    pub fn unembed(&self, x: Tensor<B, 3>, hook: &mut dyn Hook<B>) -> Tensor<B, 3> {
        self.head(self.final_norm(x, hook))
    }

    /// Norm before the head.
    ///
    /// # Shapes
    /// - `x`, result: `[batch, pos, d_model]`
    pub(crate) fn final_norm(&self, x: Tensor<B, 3>, hook: &mut dyn Hook<B>) -> Tensor<B, 3> {
        hook.at(FinalNorm.at(self.n_layers() - 1), self.ln_f.forward(x))
    }

    /// # Shapes
    /// - `x`: `[batch, pos, d_model]`, normed; result: `[batch, pos, d_vocab]`, nats
    pub(crate) fn head(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        match &self.lm_head {
            Some(head) => self.kernels.layer(head, x),
            // wte: [d_vocab, d_model]
            None => (self.kernels.linear)(x, self.wte.weight.val().transpose(), None),
        }
    }

    /// Weights of the head, a row a token.
    ///
    /// # Shapes
    /// - result: `[d_vocab, d_model]`
    pub(crate) fn head_weight(&self) -> Tensor<B, 2> {
        match &self.lm_head {
            Some(head) => head.weight.val().transpose(),
            None => self.wte.weight.val(),
        }
    }
}

/// One pre-norm transformer block.
#[derive(Module, Debug)]
pub struct Block<B: Backend> {
    /// Norm before the attention.
    pub ln_1: LayerNorm<B>,
    /// Causal self-attention.
    pub attn: Attention<B>,
    /// Norm before the MLP.
    pub ln_2: LayerNorm<B>,
    /// The MLP.
    pub mlp: Mlp<B>,
}

impl<B: Backend> Block<B> {
    /// Runs block `l` on the residual stream of consecutive positions; `past` holds the keys and values of the positions
    /// before them.
    ///
    /// # Shapes
    /// - `x`, result: `[batch, pos, d_model]`
    pub fn forward(
        &self,
        x: Tensor<B, 3>,
        past: Option<&KeyValue<B>>,
        l: usize,
        hook: &mut dyn Hook<B>,
    ) -> Tensor<B, 3> {
        let x = hook.at(BlockInput.at(l), x); // [batch, pos, d_model]
        let normed = hook.at(AttentionInput.at(l), self.ln_1.forward(x.clone()));
        let attn = self.attn.forward(normed, past, l, hook);
        let attn = hook.at(AttentionOutput.at(l), attn);
        let x = hook.at(BlockMiddle.at(l), x + attn);
        let normed = hook.at(MlpInput.at(l), self.ln_2.forward(x.clone()));
        let mlp = self.mlp.forward(normed, l, hook);
        let mlp = hook.at(MlpOutput.at(l), mlp);
        hook.at(BlockOutput.at(l), x + mlp)
    }

    /// Keys and values of the residual stream that enters this block.
    ///
    /// # Shapes
    /// - `x`: `[batch, pos, d_model]`
    pub fn keys_values(&self, x: Tensor<B, 3>) -> KeyValue<B> {
        let [_, key, value] = self.attn.query_key_value(self.ln_1.forward(x));
        KeyValue {
            key: self.attn.split_heads(key),
            value: self.attn.split_heads(value),
        }
    }
}

/// Keys and values of one layer at consecutive positions from 0.
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
    /// Queries, keys and values side by side, `[d_model, 3 * d_model]`.
    pub c_attn: Linear<B>,
    /// Output projection, `[d_model, d_model]`.
    pub c_proj: Linear<B>,
    /// Number of heads.
    pub n_heads: usize,
    /// What it computes with.
    pub kernels: Kernels<B>,
}

impl<B: Backend> Attention<B> {
    fn forward(
        &self,
        x: Tensor<B, 3>,
        past: Option<&KeyValue<B>>,
        l: usize,
        hook: &mut dyn Hook<B>,
    ) -> Tensor<B, 3> {
        let [query, key, value] = self.query_key_value(x); // [batch, pos, d_model] each
        let query = hook.at(QueryOutput.at(l), query);
        let key = hook.at(KeyOutput.at(l), key);
        let value = hook.at(ValueOutput.at(l), value);
        let query = hook.at_heads(HeadQueryOutput.at(l), self.split_heads(query)); // [batch, head, pos, d_head]
        let key = hook.at_heads(HeadKeyOutput.at(l), self.split_heads(key));
        let value = hook.at_heads(HeadValueOutput.at(l), self.split_heads(value));

        let d_head = query.dims()[3];
        let query = query / (d_head as f64).sqrt(); // fewer values than the scores have
        // Earlier keys and values are never copied: they are most of what a resumed run reads.
        let mut score = query.clone().matmul(key.transpose()); // [batch, head, q_pos, k_pos]
        if let Some(past) = past {
            let earlier = query.matmul(past.key.clone().transpose());
            score = Tensor::cat(vec![earlier, score], 3);
        }
        let score = hook.at_heads(AttentionScore.at(l), self.kernels.hide_later(score));
        let weight = hook.at_heads(AttentionWeight.at(l), (self.kernels.softmax)(score));
        let z = match past {
            None => weight.matmul(value), // [batch, head, pos, d_head]
            Some(past) => {
                let (n_past, n_new) = (past.key.dims()[2], value.dims()[2]);
                let earlier = weight.clone().narrow(3, 0, n_past);
                earlier.matmul(past.value.clone()) + weight.narrow(3, n_past, n_new).matmul(value)
            }
        };
        let z = hook.at_heads(HeadAttentionValueOutput.at(l), z);

        let [batch, head, pos, d_head] = z.dims();
        let z = z.swap_dims(1, 2).reshape([batch, pos, head * d_head]); // [batch, pos, d_model]
        let z = hook.at(AttentionValueOutput.at(l), z);
        self.kernels.layer(&self.c_proj, z)
    }

    /// # Shapes
    /// - `x`, each of the three: `[batch, pos, d_model]`
    fn query_key_value(&self, x: Tensor<B, 3>) -> [Tensor<B, 3>; 3] {
        let d_model = x.dims()[2];
        let qkv = self.kernels.layer(&self.c_attn, x); // [batch, pos, 3 * d_model]
        [0, 1, 2].map(|part| qkv.clone().narrow(2, part * d_model, d_model))
    }

    /// # Shapes
    /// - `x`: `[batch, pos, d_model]`; result: `[batch, head, pos, d_head]`
    fn split_heads(&self, x: Tensor<B, 3>) -> Tensor<B, 4> {
        let [batch, pos, d_model] = x.dims();
        x.reshape([batch, pos, self.n_heads, d_model / self.n_heads])
            .swap_dims(1, 2)
    }
}

/// The two-layer perceptron of a block.
#[derive(Module, Debug)]
pub struct Mlp<B: Backend> {
    /// `[d_model, d_mlp]`
    pub c_fc: Linear<B>,
    /// `[d_mlp, d_model]`
    pub c_proj: Linear<B>,
    /// What it computes with.
    pub kernels: Kernels<B>,
}

impl<B: Backend> Mlp<B> {
    /// Runs the MLP of layer `l`.
    ///
    /// # Shapes
    /// - `x`, result: `[batch, pos, d_model]`
    pub fn forward(&self, x: Tensor<B, 3>, l: usize, hook: &mut dyn Hook<B>) -> Tensor<B, 3> {
        let x = hook.at(MlpPreActivation.at(l), self.kernels.layer(&self.c_fc, x)); // [batch, pos, d_mlp]
        let x = hook.at(MlpActivation.at(l), (self.kernels.gelu_new)(x));
        self.kernels.layer(&self.c_proj, x) // [batch, pos, d_model]
    }
}

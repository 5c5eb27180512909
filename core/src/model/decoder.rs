//! The decoder as Hugging Face computes it, with every site offered to a [`Hook`].
//!
//! One model for all families: pre-norm blocks of causal attention and MLP on a residual stream, as in GPT-2 (Radford et al. 2019)
//! and Llama (Touvron et al. 2023, <https://arxiv.org/abs/2302.13971>). What families do their own way is data ([`Config`](super::Config)):
//! which norm, how positions come in, a gated MLP, fewer heads of keys and values, norms behind attention and MLP, attention
//! and MLP side by side. Names are those of Hugging Face's `modeling_llama.py` where it has the part.
//! Nothing is folded or centered: logits and activations equal Hugging Face's.
//!
//! Sizes in comments: `batch pos q_pos k_pos head d_model d_head d_mlp d_vocab`.

use burn::{
    module::Module,
    nn::{Embedding, Linear},
    tensor::{Int, Tensor, TensorData, activation, backend::Backend},
};

use super::{Activation, Attention, Head, KeyValue, Norm, TokenEmbedding};
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

/// A language model: embedding, blocks, final norm; the head is tied to the token embedding unless it has its own.
#[derive(Module, Debug)]
pub struct Decoder<B: Backend> {
    /// Token embedding, `[d_vocab, d_model]`.
    pub embed_tokens: TokenEmbedding<B>,
    /// Position embedding, `[n_ctx, d_model]`; `None` where positions come in by rotation.
    pub embed_positions: Option<Embedding<B>>,
    /// The blocks, layer 0 first.
    pub layers: Vec<Layer<B>>,
    /// Norm before the head.
    pub norm: Norm<B>,
    /// Head of its own, `[d_model, d_vocab]`; `None` where it is tied to `embed_tokens`.
    pub lm_head: Option<Head<B>>,
    /// What token embeddings are multiplied by.
    pub embedding_scale: f64,
    /// Logits are kept between this and its negative; 0 where they are not.
    pub logit_cap: f64,
    /// What the head computes with.
    pub kernels: Kernels<B>,
}

impl<B: Backend> Decoder<B> {
    /// The same model, computing with these kernels.
    pub fn with_kernels(mut self, kernels: Kernels<B>) -> Self {
        self.set_kernels(kernels);
        self
    }

    /// Computes with these kernels from now on, and holds weights as they read them fastest.
    pub fn set_kernels(&mut self, kernels: Kernels<B>) {
        self.kernels = kernels;
        if let Some(head) = &mut self.lm_head {
            kernels.hold(head.parts_mut());
        }
        for Layer {
            self_attn,
            mlp,
            kernels: own,
            ..
        } in &mut self.layers
        {
            *own = kernels;
            self_attn.kernels = kernels;
            mlp.kernels = kernels;
            kernels.hold([&mut self_attn.qkv_proj, &mut self_attn.o_proj]);
            kernels.hold(&mut mlp.gate_proj);
            kernels.hold([&mut mlp.up_proj, &mut mlp.down_proj]);
        }
    }

    /// Device that it is on.
    pub fn device(&self) -> B::Device {
        self.embed_tokens.device()
    }

    /// Number of layers.
    pub fn n_layers(&self) -> usize {
        self.layers.len()
    }

    /// Logits of a plain run.
    ///
    /// # Shapes
    /// - `ids`: `[batch, pos]`; result: `[batch, pos, d_vocab]`, nats
    pub fn forward(&self, ids: Tensor<B, 2, Int>, hook: &mut dyn Hook<B>) -> Tensor<B, 3> {
        let mut x = self.embed(ids, 0, hook);
        for (l, layer) in self.layers.iter().enumerate() {
            (x, _) = layer.forward(x, None, l, hook);
        }
        self.unembed(x, hook)
    }

    /// What enters the first block at positions from `first` on.
    ///
    /// # Shapes
    /// - `ids`: `[batch, pos]`; result: `[batch, pos, d_model]`
    pub fn embed(
        &self,
        ids: Tensor<B, 2, Int>,
        first: usize,
        hook: &mut dyn Hook<B>,
    ) -> Tensor<B, 3> {
        let [_, pos] = ids.dims();
        let device = ids.device();
        let mut x = self.embed_tokens.forward(ids, &self.kernels); // [batch, pos, d_model]
        if self.embedding_scale != 1.0 {
            x = x * self.embedding_scale;
        }
        if let Some(positions) = &self.embed_positions {
            let here = Tensor::arange(first as i64..(first + pos) as i64, &device);
            let positions = (self.kernels.rows)(positions.weight.val(), here);
            x = x + positions.unsqueeze::<3>(); // [1, pos, d_model]
        }
        hook.at(Component::Embedding.at(0), x)
    }
}

/// One pre-norm transformer block.
#[derive(Module, Debug)]
pub struct Layer<B: Backend> {
    /// Norm before the attention.
    pub input_norm: Norm<B>,
    /// Causal self-attention.
    pub self_attn: Attention<B>,
    /// Norm behind the attention, where the family has one.
    pub attention_update_norm: Option<Norm<B>>,
    /// Norm before the MLP.
    pub mlp_norm: Norm<B>,
    /// The MLP.
    pub mlp: Mlp<B>,
    /// Norm behind the MLP, where the family has one.
    pub mlp_update_norm: Option<Norm<B>>,
    /// The MLP reads the stream that the attention reads.
    pub is_parallel: bool,
    /// What its norms compute with.
    pub kernels: Kernels<B>,
}

impl<B: Backend> Layer<B> {
    /// Runs block `l` on the residual stream of consecutive positions; `past` holds the keys and values of the positions
    /// before them. Returns their own, too.
    ///
    /// # Shapes
    /// - `x`, result: `[batch, pos, d_model]`
    pub fn forward(
        &self,
        x: Tensor<B, 3>,
        past: Option<&KeyValue<B>>,
        l: usize,
        hook: &mut dyn Hook<B>,
    ) -> (Tensor<B, 3>, KeyValue<B>) {
        let x = hook.at(BlockInput.at(l), x); // [batch, pos, d_model]
        let normed = hook.at(AttentionInput.at(l), self.norm(&self.input_norm, x.clone()));
        let (attn, keys_values) = self.self_attn.forward(normed, past, l, hook);
        let mut attn = hook.at(AttentionOutput.at(l), attn);
        if let Some(norm) = &self.attention_update_norm {
            attn = hook.at(AttentionUpdate.at(l), self.norm(norm, attn));
        }
        let (x, read) = match self.is_parallel {
            true => (x.clone() + attn, x),
            false => {
                let x = hook.at(BlockMiddle.at(l), x + attn);
                (x.clone(), x)
            }
        };
        let normed = hook.at(MlpInput.at(l), self.norm(&self.mlp_norm, read));
        let mlp = self.mlp.forward(normed, l, hook);
        let mut mlp = hook.at(MlpOutput.at(l), mlp);
        if let Some(norm) = &self.mlp_update_norm {
            mlp = hook.at(MlpUpdate.at(l), self.norm(norm, mlp));
        }
        (hook.at(BlockOutput.at(l), x + mlp), keys_values)
    }

    /// Keys and values of the residual stream that enters this block at positions from 0 on.
    ///
    /// # Shapes
    /// - `x`: `[batch, pos, d_model]`
    pub fn keys_values(&self, x: Tensor<B, 3>) -> KeyValue<B> {
        self.self_attn.keys_values(self.norm(&self.input_norm, x))
    }

    fn norm(&self, norm: &Norm<B>, x: Tensor<B, 3>) -> Tensor<B, 3> {
        norm.forward(x, &self.kernels)
    }
}

/// The perceptron of a block.
#[derive(Module, Debug)]
pub struct Mlp<B: Backend> {
    /// What passes the activation function, `[d_model, d_mlp]`, where it is not `up_proj` that does.
    pub gate_proj: Option<Linear<B>>,
    /// `[d_model, d_mlp]`
    pub up_proj: Linear<B>,
    /// `[d_mlp, d_model]`
    pub down_proj: Linear<B>,
    /// Its activation function.
    #[module(skip)]
    pub activation: Activation,
    /// What it computes with.
    pub kernels: Kernels<B>,
}

impl<B: Backend> Mlp<B> {
    /// Runs the MLP of layer `l`.
    ///
    /// # Shapes
    /// - `x`, result: `[batch, pos, d_model]`
    pub fn forward(&self, x: Tensor<B, 3>, l: usize, hook: &mut dyn Hook<B>) -> Tensor<B, 3> {
        let up = self.kernels.layer(&self.up_proj, x.clone()); // [batch, pos, d_mlp]
        let x = match &self.gate_proj {
            None => self.activate(up, l, hook),
            Some(gate) => {
                let gate = self.activate(self.kernels.layer(gate, x), l, hook);
                hook.at(MlpGated.at(l), gate * up)
            }
        };
        self.kernels.layer(&self.down_proj, x) // [batch, pos, d_model]
    }

    /// # Shapes
    /// - `x`, result: `[batch, pos, d_mlp]`
    fn activate(&self, x: Tensor<B, 3>, l: usize, hook: &mut dyn Hook<B>) -> Tensor<B, 3> {
        let x = hook.at(MlpPreActivation.at(l), x);
        let x = match self.activation {
            Activation::GeluTanh => (self.kernels.gelu_new)(x),
            Activation::Gelu => activation::gelu(x),
            Activation::Silu => (self.kernels.silu)(x),
        };
        hook.at(MlpActivation.at(l), x)
    }
}

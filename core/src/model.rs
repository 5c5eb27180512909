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
    tensor::{Int, Tensor, backend::Backend},
};
use serde::{Deserialize, Serialize};

use crate::{Component, Component::*, Error, Hook, Result, kernel::Kernels};

/// Sizes of a GPT-2, read from Hugging Face's `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gpt2Config {
    /// Width of the residual stream.
    #[serde(rename = "n_embd")]
    pub d_model: usize,
    /// Attention heads of a layer.
    #[serde(rename = "n_head")]
    pub n_heads: usize,
    /// Number of blocks.
    #[serde(rename = "n_layer")]
    pub n_layers: usize,
    /// Longest prompt, tokens.
    #[serde(rename = "n_positions")]
    pub n_ctx: usize,
    /// Number of tokens in the vocabulary.
    #[serde(rename = "vocab_size")]
    pub d_vocab: usize,
    /// Width of the MLP; `4 * d_model` where absent.
    #[serde(rename = "n_inner", default)]
    d_mlp: Option<usize>,
    /// Added to the variance in layer norms. Default 1e-5.
    #[serde(default = "default_epsilon")]
    pub layer_norm_epsilon: f64,
    #[serde(default = "default_activation")]
    activation_function: String,
    #[serde(default = "default_true")]
    scale_attn_weights: bool,
    #[serde(default)]
    scale_attn_by_inverse_layer_idx: bool,
    #[serde(default)]
    add_cross_attention: bool,
    #[serde(default = "default_model_type")]
    model_type: String,
    #[serde(default = "default_architectures")]
    architectures: Option<Vec<String>>,
}

fn default_epsilon() -> f64 {
    1e-5
}

fn default_activation() -> String {
    "gelu_new".to_owned()
}

fn default_true() -> bool {
    true
}

fn default_model_type() -> String {
    "gpt2".to_owned()
}

fn default_architectures() -> Option<Vec<String>> {
    Some(vec!["GPT2LMHeadModel".to_owned()])
}

impl Gpt2Config {
    /// A config of these sizes with an MLP of `4 * d_model`.
    pub fn new(
        n_layers: usize,
        d_model: usize,
        n_heads: usize,
        n_ctx: usize,
        d_vocab: usize,
    ) -> Self {
        Self {
            d_model,
            n_heads,
            n_layers,
            n_ctx,
            d_vocab,
            d_mlp: None,
            layer_norm_epsilon: default_epsilon(),
            activation_function: default_activation(),
            scale_attn_weights: true,
            scale_attn_by_inverse_layer_idx: false,
            add_cross_attention: false,
            model_type: default_model_type(),
            architectures: default_architectures(),
        }
    }

    /// Reads and checks `config.json`.
    ///
    /// # Errors
    /// - [`Error::Config`] if it is not JSON, or a size is missing.
    /// - [`Error::ConfigValue`] if a size is impossible, or the model computes something that GPT-2 does not.
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        let config: Self =
            serde_json::from_slice(bytes).map_err(|cause| Error::Config { cause })?;
        let value = |name, expected: &str, found: String| {
            Err(Error::ConfigValue {
                name,
                expected: expected.to_owned(),
                found,
            })
        };
        for (name, size) in [
            ("n_embd", config.d_model),
            ("n_head", config.n_heads),
            ("n_layer", config.n_layers),
            ("n_positions", config.n_ctx),
            ("vocab_size", config.d_vocab),
            ("n_inner", config.d_mlp()),
        ] {
            // Larger than any GPT-2 by orders of magnitude: refused before memory is asked for.
            if !(1..=1 << 24).contains(&size) {
                return value(name, "a number from 1 to 16777216", size.to_string());
            }
        }
        if !config.d_model.is_multiple_of(config.n_heads) {
            return value(
                "n_embd",
                &format!("a multiple of n_head, {}", config.n_heads),
                config.d_model.to_string(),
            );
        }
        if config.model_type != "gpt2" {
            return value("model_type", "`gpt2`", config.model_type);
        }
        if !["gelu_new", "gelu_pytorch_tanh"].contains(&config.activation_function.as_str()) {
            return value(
                "activation_function",
                "`gelu_new`",
                config.activation_function,
            );
        }
        if !config.scale_attn_weights {
            return value("scale_attn_weights", "true", "false".to_owned());
        }
        if config.scale_attn_by_inverse_layer_idx {
            return value(
                "scale_attn_by_inverse_layer_idx",
                "false",
                "true".to_owned(),
            );
        }
        if config.add_cross_attention {
            return value("add_cross_attention", "false", "true".to_owned());
        }
        Ok(config)
    }

    /// Width of one attention head.
    pub fn d_head(&self) -> usize {
        self.d_model / self.n_heads
    }

    /// Width of the MLP.
    pub fn d_mlp(&self) -> usize {
        self.d_mlp.unwrap_or(4 * self.d_model)
    }

    /// Checks rows of token ids and returns their common length.
    ///
    /// # Errors
    /// - [`Error::PromptEmpty`] if there are no rows, or no tokens.
    /// - [`Error::RowLength`] if rows differ in length.
    /// - [`Error::PromptTooLong`] if the model cannot read that many tokens.
    /// - [`Error::TokenUnknown`] if an id is outside the vocabulary.
    pub fn check_ids(&self, rows: &[impl AsRef<[u32]>]) -> Result<usize> {
        let n_tokens = rows.first().map_or(0, |ids| ids.as_ref().len());
        if n_tokens == 0 {
            return Err(Error::PromptEmpty);
        }
        if n_tokens > self.n_ctx {
            return Err(Error::PromptTooLong {
                found: n_tokens,
                n_ctx: self.n_ctx,
            });
        }
        for (row, ids) in rows.iter().map(AsRef::as_ref).enumerate() {
            if ids.len() != n_tokens {
                return Err(Error::RowLength {
                    row,
                    expected: n_tokens,
                    found: ids.len(),
                });
            }
            if let Some(&id) = ids.iter().find(|id| **id as usize >= self.d_vocab) {
                return Err(Error::TokenUnknown {
                    id,
                    d_vocab: self.d_vocab,
                });
            }
        }
        Ok(n_tokens)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn config_reads_hugging_face_names() {
        let json = br#"{"model_type":"gpt2","n_embd":24,"n_head":3,"n_layer":2,"n_positions":32,"vocab_size":61}"#;
        let config = Gpt2Config::from_json(json).unwrap();
        assert_eq!((config.d_head(), config.d_mlp()), (8, 96));
    }

    #[test]
    fn config_refuses_what_it_cannot_compute() {
        let json = |field: &str| {
            format!(
                r#"{{"n_embd":24,"n_head":3,"n_layer":2,"n_positions":32,"vocab_size":61,{field}}}"#
            )
        };
        for (field, name) in [
            (r#""activation_function":"relu""#, "activation_function"),
            (r#""model_type":"llama""#, "model_type"),
            (
                r#""scale_attn_by_inverse_layer_idx":true"#,
                "scale_attn_by_inverse_layer_idx",
            ),
            (r#""n_inner":0"#, "n_inner"),
        ] {
            let error = Gpt2Config::from_json(json(field).as_bytes())
                .unwrap_err()
                .to_string();
            assert!(error.contains(name), "{error}");
        }
        let error = Gpt2Config::from_json(br#"{"n_embd":24}"#)
            .unwrap_err()
            .to_string();
        assert!(error.contains("n_head"), "{error}");
    }
}

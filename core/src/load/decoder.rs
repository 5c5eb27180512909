//! The decoder of a config, put together from its parts.

use std::collections::BTreeMap;

use burn::{
    module::Param,
    nn::{Embedding, Linear},
    tensor::{Tensor, backend::Backend},
};

use super::{TensorError, expected::Target};
use crate::{
    Config, Decoder,
    kernel::Kernels,
    model::{
        self, Attention, Head, Layer, Mlp, Norm, Part as Name, RotaryEncoding, TokenEmbedding,
    },
};

/// A part of the decoder on the device.
pub(super) enum Part<B: Backend> {
    /// `[n]`
    Vector(Tensor<B, 1>),
    /// `[d_input, d_output]`; of embeddings `[rows, d_model]`
    Matrix(Tensor<B, 2>),
}

/// Parts that are taken one after the other.
struct Parts<'a, B: Backend> {
    config: &'a Config,
    parts: BTreeMap<Target, Part<B>>,
}

/// The decoder of these parts.
///
/// # Errors
/// - [`TensorError::Missing`] if one is not there.
pub(super) fn build<B: Backend>(
    config: &Config,
    parts: BTreeMap<Target, Part<B>>,
) -> Result<Decoder<B>, TensorError> {
    let encoding = |rotary: &Option<model::Rotary>| {
        let rotary = rotary.as_ref();
        rotary.map(|rotary| RotaryEncoding::new(rotary.frequencies()))
    };
    let global = encoding(&config.rotary);
    let local = encoding(&config.local_rotary).or_else(|| global.clone());
    let mut parts = Parts { config, parts };
    let mut layers = Vec::new();
    for (l, window) in config.windows.iter().enumerate() {
        layers.push(Layer {
            input_norm: parts.norm(l, Name::InputNorm)?,
            self_attn: Attention {
                qkv_proj: parts.linear(l, Name::QueryKeyValue)?,
                o_proj: parts.linear(l, Name::AttentionOutput)?,
                q_norm: parts.norm(l, Name::QueryNorm).ok(),
                k_norm: parts.norm(l, Name::KeyNorm).ok(),
                rotary: window.map_or(&global, |_| &local).clone(),
                n_heads: config.sizes.n_heads,
                n_kv_heads: config.sizes.n_kv_heads,
                score_scale: config.score_scale,
                score_cap: config.score_cap.unwrap_or_default(),
                window: *window,
                kernels: Kernels::default(),
            },
            attention_update_norm: parts.norm(l, Name::AttentionUpdateNorm).ok(),
            mlp_norm: parts.norm(l, Name::MlpNorm)?,
            mlp: Mlp {
                gate_proj: parts.linear(l, Name::Gate).ok(),
                up_proj: parts.linear(l, Name::Up)?,
                down_proj: parts.linear(l, Name::Down)?,
                activation: config.activation,
                kernels: Kernels::default(),
            },
            mlp_update_norm: parts.norm(l, Name::MlpUpdateNorm).ok(),
            is_parallel: config.sizes.is_parallel,
            kernels: Kernels::default(),
        });
    }
    Ok(Decoder {
        embed_tokens: TokenEmbedding::new(parts.split(Name::TokenEmbedding)?),
        embed_positions: parts.embedding(Name::PositionEmbedding).ok(),
        layers,
        norm: parts.norm(0, Name::FinalNorm)?,
        lm_head: parts.split(Name::Head).ok().map(Head::new),
        embedding_scale: config.embedding_scale,
        logit_cap: config.logit_cap.unwrap_or_default(),
        kernels: Kernels::default(),
    })
}

impl<B: Backend> Parts<'_, B> {
    fn missing(&self, part: Name) -> TensorError {
        TensorError::Missing {
            name: format!("{part:?}"),
            family: self.config.family.model_type,
        }
    }

    fn matrix(&mut self, layer: usize, part: Name) -> Result<Tensor<B, 2>, TensorError> {
        let target = Target {
            layer,
            part,
            is_bias: false,
            split: 0,
        };
        match self.parts.remove(&target) {
            Some(Part::Matrix(matrix)) => Ok(matrix),
            _ => Err(self.missing(part)),
        }
    }

    /// A matrix outside the blocks, in the parts that it is held in.
    fn split(&mut self, part: Name) -> Result<Vec<Tensor<B, 2>>, TensorError> {
        let mut found = Vec::new();
        loop {
            let target = Target {
                layer: 0,
                part,
                is_bias: false,
                split: found.len(),
            };
            match self.parts.remove(&target) {
                Some(Part::Matrix(matrix)) => found.push(matrix),
                _ if found.is_empty() => return Err(self.missing(part)),
                _ => return Ok(found),
            }
        }
    }

    fn vector(&mut self, layer: usize, part: Name, is_bias: bool) -> Option<Tensor<B, 1>> {
        let target = Target {
            layer,
            part,
            is_bias,
            split: 0,
        };
        match self.parts.remove(&target) {
            Some(Part::Vector(vector)) => Some(vector),
            _ => None,
        }
    }

    fn linear(&mut self, layer: usize, part: Name) -> Result<Linear<B>, TensorError> {
        Ok(Linear {
            weight: Param::from_tensor(self.matrix(layer, part)?),
            bias: self.vector(layer, part, true).map(Param::from_tensor),
        })
    }

    fn norm(&mut self, layer: usize, part: Name) -> Result<Norm<B>, TensorError> {
        let weight = self.vector(layer, part, false);
        let weight = weight.ok_or_else(|| self.missing(part))?;
        let bias = self.vector(layer, part, true);
        Ok(Norm::new(self.config, weight, bias))
    }

    fn embedding(&mut self, part: Name) -> Result<Embedding<B>, TensorError> {
        let weight = Param::from_tensor(self.matrix(0, part)?);
        Ok(Embedding { weight })
    }
}

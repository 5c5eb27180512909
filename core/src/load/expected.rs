//! Which tensors a model needs, what they are called in its files, and where their rows go.

use crate::model::{Config, Layout, NormKind, Part, family::GGUF};

/// What a stored tensor becomes a part of: a vector or a matrix of the decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    /// Layer; 0 for what stands outside the blocks.
    pub(super) layer: usize,
    pub(super) part: Part,
    pub(super) is_bias: bool,
    /// Which of the parts that it is held in, where it is split.
    pub(super) split: usize,
}

/// A tensor that a model needs.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    /// Its name, without the family's prefix.
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) layout: Layout,
    pub(super) target: Target,
    /// First row of the target that is filled from it.
    pub(super) first_row: usize,
}

/// By whose names the tensors of a checkpoint are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// The family's own, Hugging Face's.
    Family,
    /// GGUF's.
    Gguf,
}

impl Names {
    /// Every tensor that a model of this config has.
    pub(super) fn expected(self, config: &Config) -> Vec<Expected> {
        let family = config.family;
        let table = match self {
            Self::Family => family.tensors,
            Self::Gguf => GGUF,
        };
        let is_fused = (family.tensors.iter()).any(|(_, part, _)| *part == Part::QueryKeyValue);
        let is_there = |part: Part| match part {
            Part::QueryKeyValue => is_fused,
            Part::Query | Part::Key | Part::Value => !is_fused,
            _ => has(config, part),
        };
        let mut expected = Vec::new();
        for (pattern, part, layout) in table.iter().filter(|(_, part, _)| is_there(*part)) {
            let layout = match (self, part, &family.gguf) {
                (Self::Gguf, Part::Query | Part::Key, Some(names)) => names.query_key,
                _ => *layout,
            };
            let n_layers = if pattern.contains("{}") {
                config.sizes.n_layers
            } else {
                1
            };
            for layer in 0..n_layers {
                let name = pattern.replace("{}", &layer.to_string());
                let mut push = |kind: &str, is_bias, shape| {
                    let (part, first_row) = in_target(config, *part);
                    expected.push(Expected {
                        name: format!("{name}.{kind}"),
                        shape,
                        layout,
                        target: Target {
                            layer,
                            part,
                            is_bias,
                            split: 0,
                        },
                        first_row,
                    });
                };
                push("weight", false, shape(config, *part, layout));
                if has_bias(config, *part) {
                    push("bias", true, vec![n_rows(config, *part)]);
                }
            }
        }
        expected
    }
}

/// Factors of the rotation's angles, which GGUF files of Llama 3.1 have as a tensor.
pub(super) const ROTATION_FACTORS: &str = "rope_freqs.weight";

/// The tensor of factors that a model of this config may have.
pub(super) fn rotation_factors(config: &Config) -> Expected {
    let (part, layout) = (Part::RotationFactors, Layout::Rows);
    Expected {
        name: ROTATION_FACTORS.to_owned(),
        shape: shape(config, part, layout),
        layout,
        target: Target {
            layer: 0,
            part,
            is_bias: false,
            split: 0,
        },
        first_row: 0,
    }
}

/// True if a model of this config has the part.
fn has(config: &Config, part: Part) -> bool {
    match part {
        Part::PositionEmbedding => config.has_position_embedding,
        Part::QueryNorm | Part::KeyNorm => config.has_query_key_norm,
        Part::AttentionUpdateNorm | Part::MlpUpdateNorm => config.sizes.has_update_norms,
        Part::Gate => config.sizes.is_gated,
        Part::Head => !config.is_tied,
        _ => true,
    }
}

fn has_bias(config: &Config, part: Part) -> bool {
    match part {
        Part::TokenEmbedding | Part::PositionEmbedding | Part::Head | Part::RotationFactors => {
            false
        }
        Part::Query | Part::Key | Part::Value | Part::QueryKeyValue => config.has_query_bias,
        Part::AttentionOutput => config.has_output_bias,
        Part::Gate | Part::Up | Part::Down => config.has_mlp_bias,
        _ => config.norm == NormKind::Layer,
    }
}

/// The part that it is stored in on the device, and its first row there: queries, keys and values are one matrix.
fn in_target(config: &Config, part: Part) -> (Part, usize) {
    let (queries, keys) = (n_rows(config, Part::Query), n_rows(config, Part::Key));
    match part {
        Part::Query => (Part::QueryKeyValue, 0),
        Part::Key => (Part::QueryKeyValue, queries),
        Part::Value => (Part::QueryKeyValue, queries + keys),
        _ => (part, 0),
    }
}

/// Number of a part's outputs; of a norm's values.
pub(super) fn n_rows(config: &Config, part: Part) -> usize {
    let sizes = &config.sizes;
    match part {
        Part::TokenEmbedding | Part::Head => sizes.d_vocab,
        Part::PositionEmbedding => sizes.n_ctx,
        Part::Query => sizes.n_heads * sizes.d_head,
        Part::Key | Part::Value => sizes.n_kv_heads * sizes.d_head,
        Part::QueryKeyValue => (sizes.n_heads + 2 * sizes.n_kv_heads) * sizes.d_head,
        Part::QueryNorm | Part::KeyNorm => sizes.d_head,
        Part::Gate | Part::Up => sizes.d_mlp,
        Part::RotationFactors => (config.rotary.as_ref()).map_or(0, |rotary| rotary.n_rotated / 2),
        _ => sizes.d_model,
    }
}

/// Number of a matrix' inputs; `None` for norms.
fn n_columns(config: &Config, part: Part) -> Option<usize> {
    let sizes = &config.sizes;
    match part {
        Part::Down => Some(sizes.d_mlp),
        Part::AttentionOutput => Some(sizes.n_heads * sizes.d_head),
        Part::InputNorm
        | Part::QueryNorm
        | Part::KeyNorm
        | Part::AttentionUpdateNorm
        | Part::MlpNorm
        | Part::MlpUpdateNorm
        | Part::FinalNorm
        | Part::RotationFactors => None,
        _ => Some(sizes.d_model),
    }
}

/// Shape of a part's weight as it is stored in this layout.
pub(super) fn shape(config: &Config, part: Part, layout: Layout) -> Vec<usize> {
    match (n_columns(config, part), layout) {
        (None, _) => vec![n_rows(config, part)],
        (Some(columns), Layout::Columns) => vec![columns, n_rows(config, part)],
        (Some(columns), _) => vec![n_rows(config, part), columns],
    }
}

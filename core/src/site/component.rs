//! Components: what is computed at a place of a block.
//!
//! Names are pyvene's; TransformerLens' names parse as aliases where they are one module in every family.

use std::{fmt, str::FromStr};

use super::error::PlaceError;
use crate::Sizes;

/// What is computed at a place of a block, in the order of the forward pass. A name is the same module in every family.
///
/// | component | what it is in Hugging Face's `modeling_llama.py` and Gemma's | GPT-2's, GPT-NeoX's | TransformerLens | shape |
/// |---|---|---|---|---|
/// | `embedding` | what enters block 0: `embed_tokens`, in Gemma times the square root of the width | `wte` plus `wpe`; `embed_in` | `hook_embed` plus `hook_pos_embed` | `[batch, pos, d_model]`; layer 0 only |
/// | `block_input` | input of `layers.l`; equals `block_output` of the layer below | `h.l` | `hook_resid_pre` | `[batch, pos, d_model]` |
/// | `attention_input` | output of `input_layernorm` | `ln_1` | `ln1.hook_normalized` with gain and bias | `[batch, pos, d_model]` |
/// | `query_output` | output of `self_attn.q_proj`, before a norm on it and before it is rotated | a third of `attn.c_attn`, of `attention.query_key_value` | – | `[batch, pos, n_heads * d_head]` |
/// | `key_output` `value_output` | output of `self_attn.k_proj`, `v_proj`, likewise | the other thirds | – | `[batch, pos, n_kv_heads * d_head]` |
/// | `head_query_output` | the same by head | | `attn.hook_q` | `[batch, head, pos, d_head]` |
/// | `head_key_output` `head_value_output` | the same by head of keys and values | | `attn.hook_k` `hook_v` | `[batch, kv_head, pos, d_head]` |
/// | `attention_score` | what softmax reads: scaled, soft-capped where the family does, hidden keys -inf | | `attn.hook_attn_scores` | `[batch, head, q_pos, k_pos]` |
/// | `attention_weight` | what softmax gives | | `attn.hook_pattern` | `[batch, head, q_pos, k_pos]` |
/// | `head_attention_value_output` | values in these shares | | `attn.hook_z` | `[batch, head, pos, d_head]` |
/// | `attention_value_output` | input of `self_attn.o_proj`, the heads side by side | `attn.c_proj`; `attention.dense` | – | `[batch, pos, n_heads * d_head]` |
/// | `attention_output` | output of `self_attn` | `attn`; `attention` | `hook_attn_out`, but in Gemma 2 and 3 | `[batch, pos, d_model]` |
/// | `attention_update` | output of Gemma 2's and 3's `post_attention_layernorm`: what is added to the stream | none | `hook_attn_out` there | `[batch, pos, d_model]` |
/// | `block_middle` | the stream between attention and MLP | none where GPT-NeoX has them side by side | `hook_resid_mid` | `[batch, pos, d_model]` |
/// | `mlp_input` | output of `post_attention_layernorm`, Gemma 2's and 3's `pre_feedforward_layernorm` | `ln_2`; `post_attention_layernorm` | `ln2.hook_normalized` with gain and bias | `[batch, pos, d_model]` |
/// | `mlp_pre_activation` | input of `mlp.act_fn`: output of `mlp.gate_proj` | `mlp.c_fc`; `mlp.dense_h_to_4h` | `mlp.hook_pre` | `[batch, pos, d_mlp]` |
/// | `mlp_activation` | output of `mlp.act_fn` | `mlp.act` | `mlp.hook_post`, but in gated MLPs | `[batch, pos, d_mlp]` |
/// | `mlp_gated` | input of `mlp.down_proj`: that times output of `mlp.up_proj` | none | `mlp.hook_post` there | `[batch, pos, d_mlp]` |
/// | `mlp_output` | output of `mlp` | `mlp` | `hook_mlp_out`, but in Gemma 2 and 3 | `[batch, pos, d_model]` |
/// | `mlp_update` | output of Gemma 2's and 3's `post_feedforward_layernorm`: what is added to the stream | none | `hook_mlp_out` there | `[batch, pos, d_model]` |
/// | `block_output` | output of `layers.l` | `h.l` | `hook_resid_post` | `[batch, pos, d_model]` |
/// | `final_norm` | output of `norm` | `ln_f`; `final_layer_norm` | `ln_final.hook_normalized` with gain and bias | `[batch, pos, d_model]`; last layer only |
///
/// pyvene has the names of this table from `block_input` to `block_output`, but `attention_score`, `block_middle`,
/// `mlp_pre_activation`, `mlp_gated` and the two updates. TransformerLens' names parse, in short (`resid_post`) and as they are
/// inside a block (`attn.hook_z`); the three that are different modules in different families are an error that says which to choose from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the table above describes every variant")]
pub enum Component {
    Embedding,
    BlockInput,
    AttentionInput,
    QueryOutput,
    KeyOutput,
    ValueOutput,
    HeadQueryOutput,
    HeadKeyOutput,
    HeadValueOutput,
    AttentionScore,
    AttentionWeight,
    HeadAttentionValueOutput,
    AttentionValueOutput,
    AttentionOutput,
    AttentionUpdate,
    BlockMiddle,
    MlpInput,
    MlpPreActivation,
    MlpActivation,
    MlpGated,
    MlpOutput,
    MlpUpdate,
    BlockOutput,
    FinalNorm,
}

impl Component {
    /// True of the residual stream itself, and of what is added to it as it is.
    pub fn is_in_stream(self) -> bool {
        use Component::*;
        matches!(
            self,
            Embedding | BlockInput | BlockMiddle | BlockOutput | AttentionUpdate | MlpUpdate
        )
    }

    /// Every component with its name and TransformerLens' names for it (short and inside a block).
    pub const ALL: [(Component, &'static str, &'static [&'static str]); 24] = [
        (Component::Embedding, "embedding", &[]),
        (
            Component::BlockInput,
            "block_input",
            &["resid_pre", "hook_resid_pre"],
        ),
        (Component::AttentionInput, "attention_input", &[]),
        (Component::QueryOutput, "query_output", &[]),
        (Component::KeyOutput, "key_output", &[]),
        (Component::ValueOutput, "value_output", &[]),
        (
            Component::HeadQueryOutput,
            "head_query_output",
            &["q", "attn.hook_q"],
        ),
        (
            Component::HeadKeyOutput,
            "head_key_output",
            &["k", "attn.hook_k"],
        ),
        (
            Component::HeadValueOutput,
            "head_value_output",
            &["v", "attn.hook_v"],
        ),
        (
            Component::AttentionScore,
            "attention_score",
            &["attn_scores", "attn.hook_attn_scores"],
        ),
        (
            Component::AttentionWeight,
            "attention_weight",
            &["pattern", "attn.hook_pattern"],
        ),
        (
            Component::HeadAttentionValueOutput,
            "head_attention_value_output",
            &["z", "attn.hook_z"],
        ),
        (
            Component::AttentionValueOutput,
            "attention_value_output",
            &[],
        ),
        (Component::AttentionOutput, "attention_output", &[]),
        (Component::AttentionUpdate, "attention_update", &[]),
        (
            Component::BlockMiddle,
            "block_middle",
            &["resid_mid", "hook_resid_mid"],
        ),
        (Component::MlpInput, "mlp_input", &[]),
        (
            Component::MlpPreActivation,
            "mlp_pre_activation",
            &["mlp_pre", "mlp.hook_pre"],
        ),
        (Component::MlpActivation, "mlp_activation", &[]),
        (Component::MlpGated, "mlp_gated", &[]),
        (Component::MlpOutput, "mlp_output", &[]),
        (Component::MlpUpdate, "mlp_update", &[]),
        (
            Component::BlockOutput,
            "block_output",
            &["resid_post", "hook_resid_post"],
        ),
        (Component::FinalNorm, "final_norm", &[]),
    ];

    /// The name that people type and files store.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// True where the values are per head: `[batch, head, pos, d_head]` or `[batch, head, q_pos, k_pos]`.
    pub fn is_per_head(self) -> bool {
        use Component::*;
        matches!(
            self,
            HeadQueryOutput
                | HeadKeyOutput
                | HeadValueOutput
                | AttentionScore
                | AttentionWeight
                | HeadAttentionValueOutput
        )
    }

    /// True if the last axis is a position: of attention scores and weights.
    pub fn is_over_tokens(self) -> bool {
        matches!(self, Self::AttentionScore | Self::AttentionWeight)
    }

    /// Size of the last axis; `None` where that is a position.
    pub fn width(self, sizes: &Sizes) -> Option<usize> {
        use Component::*;
        match self {
            AttentionScore | AttentionWeight => None,
            HeadQueryOutput | HeadKeyOutput | HeadValueOutput | HeadAttentionValueOutput => {
                Some(sizes.d_head)
            }
            QueryOutput | AttentionValueOutput => Some(sizes.n_heads * sizes.d_head),
            KeyOutput | ValueOutput => Some(sizes.n_kv_heads * sizes.d_head),
            MlpPreActivation | MlpActivation | MlpGated => Some(sizes.d_mlp),
            _ => Some(sizes.d_model),
        }
    }

    /// Number of heads here; `None` where the values are not per head.
    pub fn n_heads(self, sizes: &Sizes) -> Option<usize> {
        use Component::*;
        match self {
            HeadKeyOutput | HeadValueOutput => Some(sizes.n_kv_heads),
            _ => self.is_per_head().then_some(sizes.n_heads),
        }
    }

    /// Checks that blocks of this model have the component.
    ///
    /// # Errors
    /// - [`PlaceError::ComponentLacking`] if they have not.
    pub(super) fn check(self, sizes: &Sizes) -> Result<(), PlaceError> {
        use Component::*;
        let (is_there, reason, instead) = match self {
            BlockMiddle => (
                !sizes.is_parallel,
                "attention and MLP read the same stream",
                BlockInput,
            ),
            MlpGated => (sizes.is_gated, "its MLP has no gate", MlpActivation),
            AttentionUpdate => (
                sizes.has_update_norms,
                "no norm stands behind the attention",
                AttentionOutput,
            ),
            MlpUpdate => (
                sizes.has_update_norms,
                "no norm stands behind the MLP",
                MlpOutput,
            ),
            _ => return Ok(()),
        };
        match is_there {
            true => Ok(()),
            false => Err(PlaceError::ComponentLacking {
                name: self.name(),
                reason,
                instead: instead.name(),
            }),
        }
    }

    /// Checks that a model has these heads here; `None` where none are named.
    ///
    /// # Errors
    /// - [`PlaceError::ComponentUnsupported`] if heads are named and the component is not per head.
    /// - [`PlaceError::HeadOutside`] if the model has no such head.
    pub(crate) fn check_heads(
        self,
        heads: Option<&[usize]>,
        sizes: &Sizes,
    ) -> Result<(), PlaceError> {
        let Some(heads) = heads else {
            return Ok(());
        };
        let Some(n_heads) = self.n_heads(sizes) else {
            return Err(PlaceError::ComponentUnsupported {
                name: self.to_string(),
                expected: "a component that is per head (`head_…`, `attention_weight`)".to_owned(),
            });
        };
        let last = n_heads - 1;
        match heads.iter().find(|head| **head > last) {
            Some(&head) => Err(PlaceError::HeadOutside { head, last }),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// TransformerLens' names that are one component in some families and another one in others: which, where blocks have both.
const AMBIGUOUS: [(&[&str], Component, Component); 3] = [
    (
        &["attn_out", "hook_attn_out"],
        Component::AttentionOutput,
        Component::AttentionUpdate,
    ),
    (
        &["mlp_post", "mlp.hook_post"],
        Component::MlpActivation,
        Component::MlpGated,
    ),
    (
        &["mlp_out", "hook_mlp_out"],
        Component::MlpOutput,
        Component::MlpUpdate,
    ),
];

impl FromStr for Component {
    type Err = PlaceError;

    fn from_str(name: &str) -> Result<Self, PlaceError> {
        let ambiguous = AMBIGUOUS.iter().find(|(names, ..)| names.contains(&name));
        if let Some((_, plain, other)) = ambiguous {
            return Err(PlaceError::ComponentAmbiguous {
                name: name.to_owned(),
                plain: plain.name(),
                other: other.name(),
            });
        }
        Self::ALL
            .iter()
            .find(|(_, own, aliases)| *own == name || aliases.contains(&name))
            .map(|(component, ..)| *component)
            .ok_or_else(|| PlaceError::ComponentUnknown {
                name: name.to_owned(),
                expected: Self::ALL.map(|(_, own, _)| own).join(", "),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_in_the_order_of_the_variants() {
        for (idx, (component, name, _)) in Component::ALL.iter().enumerate() {
            assert_eq!(*component as usize, idx, "{name}");
        }
    }

    #[test]
    fn names_and_aliases_parse() {
        for (component, name, aliases) in Component::ALL {
            assert_eq!(name.parse::<Component>().unwrap(), component);
            for alias in aliases {
                assert_eq!(alias.parse::<Component>().unwrap(), component, "{alias}");
            }
        }
    }

    #[test]
    fn unknown_name_lists_the_valid_ones() {
        let error = "block_outptu".parse::<Component>().unwrap_err().to_string();
        assert!(
            error.contains("block_outptu") && error.contains("block_output"),
            "{error}"
        );
    }
}

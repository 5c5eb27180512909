//! What a run needs to know of a model: its sizes, which parts its blocks have, and which prompts it reads.

use serde::Serialize;

use crate::batch::rows_at_once;

/// Sizes of a model, and which parts its blocks have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sizes {
    /// Number of blocks.
    pub n_layers: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Attention heads of a layer, which is its number of queries a token.
    pub n_heads: usize,
    /// Heads of keys and values of a layer; each serves `n_heads / n_kv_heads` neighbouring heads of queries.
    pub n_kv_heads: usize,
    /// Width of one attention head; `n_heads * d_head` need not be `d_model`.
    pub d_head: usize,
    /// Width of the MLP.
    pub d_mlp: usize,
    /// Number of tokens in the vocabulary.
    pub d_vocab: usize,
    /// Longest prompt, tokens.
    pub n_ctx: usize,
    /// Attention and MLP read the same stream, so that there is none between them.
    pub is_parallel: bool,
    /// The MLP multiplies its activation by a second projection of its input.
    pub is_gated: bool,
    /// A norm stands behind the attention and behind the MLP, before what they give is added to the stream.
    pub has_update_norms: bool,
}

impl Sizes {
    /// About how many products of numbers a token costs in a layer, attention's own apart.
    pub fn products_a_token(&self) -> usize {
        4 * self.d_model * self.d_model + 3 * self.d_model * self.d_mlp
    }

    /// Sizes of a model of GPT-2's kind, with an MLP of `4 * d_model`.
    pub fn gpt2(
        n_layers: usize,
        d_model: usize,
        n_heads: usize,
        n_ctx: usize,
        d_vocab: usize,
    ) -> Self {
        Self {
            n_layers,
            d_model,
            n_heads,
            n_kv_heads: n_heads,
            d_head: d_model / n_heads,
            d_mlp: 4 * d_model,
            d_vocab,
            n_ctx,
            is_parallel: false,
            is_gated: false,
            has_update_norms: false,
        }
    }

    /// Prompts that run through the blocks at once where each computes `q_pos` positions that see `k_pos`. How wide the
    /// vocabulary is does not count: answers are read off parts of it ([`Decoder::read`](crate::Decoder::read)).
    pub fn rows_at_once(&self, q_pos: usize, k_pos: usize) -> usize {
        let width = self.d_mlp.max(self.d_model).max(self.n_heads * k_pos);
        rows_at_once(width * q_pos)
    }

    /// Checks rows of token ids and returns their common length.
    ///
    /// # Errors
    /// - [`PromptError::Empty`] if there are no rows, or no tokens.
    /// - [`PromptError::RowLength`] if rows differ in length.
    /// - [`PromptError::TooLong`] if the model cannot read that many tokens.
    /// - [`PromptError::TokenUnknown`] if an id is outside the vocabulary.
    pub fn check_ids(&self, rows: &[impl AsRef<[u32]>]) -> Result<usize, PromptError> {
        let n_tokens = rows.first().map_or(0, |ids| ids.as_ref().len());
        if n_tokens == 0 {
            return Err(PromptError::Empty);
        }
        if n_tokens > self.n_ctx {
            return Err(PromptError::TooLong {
                found: n_tokens,
                n_ctx: self.n_ctx,
            });
        }
        for (row, ids) in rows.iter().map(AsRef::as_ref).enumerate() {
            if ids.len() != n_tokens {
                return Err(PromptError::RowLength {
                    row,
                    expected: n_tokens,
                    found: ids.len(),
                });
            }
            if let Some(&id) = ids.iter().find(|id| **id as usize >= self.d_vocab) {
                return Err(PromptError::TokenUnknown {
                    id,
                    d_vocab: self.d_vocab,
                });
            }
        }
        Ok(n_tokens)
    }
}

/// Why the model cannot read a prompt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PromptError {
    /// It has no tokens.
    #[error("the prompt is empty; it needs at least one token")]
    Empty,
    /// It is longer than the model's context.
    #[error("the prompt has {found} tokens, the model reads at most {n_ctx}")]
    TooLong {
        /// Tokens of the prompt.
        found: usize,
        /// The model's context.
        n_ctx: usize,
    },
    /// A token id is outside the vocabulary.
    #[error("token id {id} is outside the model's vocabulary of {d_vocab}")]
    TokenUnknown {
        /// The id.
        id: u32,
        /// Number of tokens of the model.
        d_vocab: usize,
    },
    /// Rows of one batch differ in length.
    #[error(
        "row {row} has {found} tokens, row 0 has {expected}; all rows of a batch need one length"
    )]
    RowLength {
        /// Index of the first row that differs.
        row: usize,
        /// Length of row 0.
        expected: usize,
        /// Length of this row.
        found: usize,
    },
}

//! What an edit at a site can change, and what must be computed again after it.

use std::cmp::Ordering;

use crate::{Component, Site, Sizes};

impl Site {
    /// First layer that a run must compute after an edit here, in a model of `n_layers` layers;
    /// the number of layers where only norm and head are left.
    pub fn resumes_at(self, n_layers: usize) -> usize {
        match self.component {
            Component::Embedding => 0,
            Component::BlockOutput => self.layer + 1,
            Component::FinalNorm => n_layers,
            _ => self.layer,
        }
    }

    /// True if an edit here, at the token `position`, can change the `block_output` of `layer` at the token `at`.
    ///
    /// Nothing below and nothing earlier changes, and a later token only by an attention that reads what was edited: that of
    /// the edit's own layer sees stream, keys and values, that of the next one sees the rest.
    pub fn reaches(self, position: usize, layer: usize, at: usize) -> bool {
        use Component::*;
        // First layers that change at the edited token, and at later ones.
        let (here, later) = match self.component {
            // The first token sees itself alone, whatever query and key say.
            QueryOutput | HeadQueryOutput | AttentionScore if position == 0 => (None, None),
            KeyOutput | HeadKeyOutput if position == 0 => (None, Some(self.layer)),
            Embedding | BlockInput | AttentionInput | KeyOutput | ValueOutput | HeadKeyOutput
            | HeadValueOutput => (Some(self.layer), Some(self.layer)),
            FinalNorm => (None, None),
            _ => (Some(self.layer), Some(self.layer + 1)),
        };
        let first = match at.cmp(&position) {
            Ordering::Less => None,
            Ordering::Equal => here,
            Ordering::Greater => later,
        };
        first.is_some_and(|first| layer >= first)
    }

    /// True if an edit here, at the token `position`, can change the logits at the token `at` of a model of `n_layers` layers.
    pub fn reaches_logits(self, position: usize, n_layers: usize, at: usize) -> bool {
        match self.component {
            Component::FinalNorm => at == position,
            _ => self.reaches(position, n_layers - 1, at),
        }
    }

    /// Number of values here at one token of a prompt of `n_tokens` tokens.
    pub fn n_values(self, sizes: &Sizes, n_tokens: usize) -> usize {
        let width = self.component.width(sizes).unwrap_or(n_tokens);
        self.component.n_heads(sizes).unwrap_or(1) * width
    }

    /// Number of blocks that a run computes, the last one for the wanted positions only, to have the value here.
    pub(crate) fn n_blocks(self, n_layers: usize) -> usize {
        match self.component {
            Component::Embedding => 0,
            Component::BlockInput => self.layer,
            Component::FinalNorm => n_layers,
            _ => self.layer + 1,
        }
    }
}

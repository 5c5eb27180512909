//! Sites of the model, [`Site`] = layer + [`Component`], and why a place was refused.

mod component;
mod error;

use std::fmt;

use crate::Sizes;

pub use component::Component;
pub use error::PlaceError;

/// A place in the model: a component of a layer, layers from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Site {
    /// Layer, from 0.
    pub layer: usize,
    /// Component of that layer.
    pub component: Component,
}

impl Component {
    /// The site of this component in layer `layer`.
    pub const fn at(self, layer: usize) -> Site {
        Site {
            layer,
            component: self,
        }
    }
}

impl Site {
    /// Checks that a model of this sizes has the site.
    ///
    /// # Errors
    /// - [`PlaceError::LayerOutside`] if the model has no such layer, or the component does not exist in that layer.
    /// - [`PlaceError::ComponentLacking`] if it exists in no layer.
    pub fn check(self, sizes: &Sizes) -> Result<Self, PlaceError> {
        self.component.check(sizes)?;
        let last = match self.component {
            Component::Embedding => 0,
            _ => sizes.n_layers - 1,
        };
        let first = if self.component == Component::FinalNorm {
            last
        } else {
            0
        };
        if (first..=last).contains(&self.layer) {
            Ok(self)
        } else {
            Err(PlaceError::LayerOutside {
                layer: self.layer,
                last,
            })
        }
    }
}

impl Site {
    /// What the module reads whose output the value here is, where that has the same width: of a block, an attention, an MLP.
    pub fn input(self) -> Option<Self> {
        let input = match self.component {
            Component::AttentionOutput => Component::AttentionInput,
            Component::MlpOutput => Component::MlpInput,
            Component::BlockOutput => Component::BlockInput,
            _ => return None,
        };
        Some(input.at(self.layer))
    }

    /// The first site that a run must come by for an edit here: the module's input, where that is read.
    pub(crate) fn first_read(self, reads_input: bool) -> Self {
        match reads_input {
            true => self.input().unwrap_or(self),
            false => self,
        }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "layer {} {}", self.layer, self.component)
    }
}

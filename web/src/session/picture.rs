//! What the picture of the model shows, of which run, and where its cursor stands.

/// What the picture of the model shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Picture {
    /// What each layer would answer.
    #[default]
    Lens,
    /// How far a swap moves the answer.
    Map,
    /// Where heads look.
    Attention,
    /// One of the sweep results that were opened, by its index.
    Learned(usize),
}

/// Which run a picture shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shown {
    /// The base run.
    Base,
    /// The intervened run.
    #[default]
    Intervened,
    /// Intervened minus base.
    Difference,
}

/// A cell of the layer x token picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Layer.
    pub layer: usize,
    /// Base token.
    pub position: usize,
}

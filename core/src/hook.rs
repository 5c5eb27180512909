//! One mechanism to read and to change activations: the forward pass offers every value to a [`Hook`].

use std::collections::BTreeMap;

use burn::tensor::{Tensor, backend::Backend};

use crate::Site;

/// Sees every site's value in the order of the forward pass and returns what the model goes on with.
pub trait Hook<B: Backend> {
    /// Value at a site of the stream.
    ///
    /// # Shapes
    /// - `x`, result: `[batch, pos, width]`
    fn at(&mut self, site: Site, x: Tensor<B, 3>) -> Tensor<B, 3>;

    /// Value at a site that is per head.
    ///
    /// # Shapes
    /// - `x`, result: `[batch, head, pos, d_head]` or `[batch, head, q_pos, k_pos]`
    fn at_heads(&mut self, site: Site, x: Tensor<B, 4>) -> Tensor<B, 4>;
}

/// No hook: the plain model.
impl<B: Backend> Hook<B> for () {
    fn at(&mut self, _: Site, x: Tensor<B, 3>) -> Tensor<B, 3> {
        x
    }

    fn at_heads(&mut self, _: Site, x: Tensor<B, 4>) -> Tensor<B, 4> {
        x
    }
}

/// The first hook, then the second on what the first returns.
impl<B: Backend, First: Hook<B>, Second: Hook<B>> Hook<B> for (First, Second) {
    fn at(&mut self, site: Site, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let x = self.0.at(site, x);
        self.1.at(site, x)
    }

    fn at_heads(&mut self, site: Site, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let x = self.0.at_heads(site, x);
        self.1.at_heads(site, x)
    }
}

/// Keeps the values of the sites that it was asked for.
#[derive(Clone, Debug)]
pub struct Recorder<B: Backend> {
    wanted: Vec<Site>,
    stream: BTreeMap<Site, Tensor<B, 3>>,
    heads: BTreeMap<Site, Tensor<B, 4>>,
}

impl<B: Backend> Recorder<B> {
    /// A recorder of `sites`.
    pub fn new(sites: impl IntoIterator<Item = Site>) -> Self {
        Self {
            wanted: sites.into_iter().collect(),
            stream: BTreeMap::new(),
            heads: BTreeMap::new(),
        }
    }

    /// Value of a site of the stream, `[batch, pos, width]`; `None` if it was not asked for or not reached.
    pub fn get(&self, site: Site) -> Option<&Tensor<B, 3>> {
        self.stream.get(&site)
    }

    /// Value of a site that is per head, `[batch, head, …, …]`; `None` if it was not asked for or not reached.
    pub fn get_heads(&self, site: Site) -> Option<&Tensor<B, 4>> {
        self.heads.get(&site)
    }
}

impl<B: Backend> Hook<B> for Recorder<B> {
    fn at(&mut self, site: Site, x: Tensor<B, 3>) -> Tensor<B, 3> {
        if self.wanted.contains(&site) {
            self.stream.insert(site, x.clone());
        }
        x
    }

    fn at_heads(&mut self, site: Site, x: Tensor<B, 4>) -> Tensor<B, 4> {
        if self.wanted.contains(&site) {
            self.heads.insert(site, x.clone());
        }
        x
    }
}

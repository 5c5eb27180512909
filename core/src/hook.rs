//! One mechanism to read and to change activations: the forward pass offers every value to a [`Hook`].

use std::collections::BTreeMap;

use burn::tensor::{Tensor, backend::Backend};

use crate::{
    Site,
    rows::{as_rows, from_rows, n_bytes},
};

/// Sees every site's value in the order of the forward pass and returns what the model goes on with.
pub trait Hook<B: Backend> {
    /// Value at a site that has one at each position.
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

/// Two hooks, the second sees what the first returns.
impl<B: Backend, F: Hook<B>, S: Hook<B>> Hook<B> for (F, S) {
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
    positions: BTreeMap<Site, Tensor<B, 3>>,
    heads: BTreeMap<Site, Tensor<B, 4>>,
}

impl<B: Backend> Recorder<B> {
    /// A recorder of `sites`.
    pub fn new(sites: impl IntoIterator<Item = Site>) -> Self {
        Self {
            wanted: sites.into_iter().collect(),
            positions: BTreeMap::new(),
            heads: BTreeMap::new(),
        }
    }

    /// Value of a site that has one at each position, `[batch, pos, width]`; `None` if it was not asked for or not reached.
    pub fn get(&self, site: Site) -> Option<&Tensor<B, 3>> {
        self.positions.get(&site)
    }

    /// Value of a site that is per head, `[batch, head, …, …]`; `None` if it was not asked for or not reached.
    pub fn get_heads(&self, site: Site) -> Option<&Tensor<B, 4>> {
        self.heads.get(&site)
    }
}

impl<B: Backend> Recorder<B> {
    /// The same sites with other values.
    pub(crate) fn map(
        self,
        positions: impl Fn(Site, Tensor<B, 3>) -> Tensor<B, 3>,
        heads: impl Fn(Site, Tensor<B, 4>) -> Tensor<B, 4>,
    ) -> Self {
        let (of_positions, of_heads) = (self.positions.into_iter(), self.heads.into_iter());
        Self {
            wanted: self.wanted,
            positions: of_positions
                .map(|(site, x)| (site, positions(site, x)))
                .collect(),
            heads: of_heads.map(|(site, x)| (site, heads(site, x))).collect(),
        }
    }

    /// Runs of the same sites, one after the other; `None` without any.
    pub(crate) fn cat(parts: Vec<Self>) -> Option<Self> {
        let positions = |site| parts.iter().filter_map(move |part| part.get(site).cloned());
        let heads = |site| {
            parts
                .iter()
                .filter_map(move |part| part.get_heads(site).cloned())
        };
        Some(parts.first()?.clone().map(
            |site, _| Tensor::cat(positions(site).collect(), 0),
            |site, _| Tensor::cat(heads(site).collect(), 0),
        ))
    }

    /// The values at one site alone, and their index among the rows; `None` if there are none.
    pub(crate) fn only(&self, site: Site) -> Option<(usize, Self)> {
        let mut sites = self.positions.keys().chain(self.heads.keys());
        let idx = sites.position(|own| *own == site)?;
        let mut only = Self::new([site]);
        only.positions
            .extend(self.get(site).map(|x| (site, x.clone())));
        only.heads
            .extend(self.get_heads(site).map(|x| (site, x.clone())));
        Some((idx, only))
    }

    /// The values, one row a run.
    pub(crate) fn rows(&self) -> Vec<Tensor<B, 2>> {
        let positions = self.positions.values().map(as_rows);
        positions.chain(self.heads.values().map(as_rows)).collect()
    }

    /// The same sites in other runs; the inverse of `rows`.
    pub(crate) fn with_rows(&self, rows: Vec<Tensor<B, 2>>) -> Self {
        let mut rows = rows.into_iter();
        let mut like = self.clone();
        for x in like.positions.values_mut() {
            *x = from_rows(x, rows.next());
        }
        for x in like.heads.values_mut() {
            *x = from_rows(x, rows.next());
        }
        like
    }

    /// Bytes of the values.
    pub(crate) fn n_bytes(&self) -> usize {
        let positions = self.positions.values().map(n_bytes).sum::<usize>();
        positions + self.heads.values().map(n_bytes).sum::<usize>()
    }
}

impl<B: Backend> Hook<B> for Recorder<B> {
    fn at(&mut self, site: Site, x: Tensor<B, 3>) -> Tensor<B, 3> {
        if self.wanted.contains(&site) {
            self.positions.insert(site, x.clone());
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

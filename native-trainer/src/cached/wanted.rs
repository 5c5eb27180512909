//! Which values of runs are wanted, and how they are cached.

use std::ops::RangeInclusive;

use anyhow::{Context, Result};
use swivel_core::{
    Site, Sizes,
    cone::{Cone, Storage},
    question::{Pair, PairShape},
};

/// How values are cached.
#[derive(Clone, Copy, Debug)]
pub struct CacheConfig {
    /// Number format.
    pub storage: Storage,
    /// Most of it in memory.
    pub memory: Memory,
}

/// An amount of memory.
#[derive(Clone, Copy, Debug)]
pub enum Memory {
    /// Half of what is free when it is asked for.
    HalfOfFree,
    /// A number of bytes.
    Bytes(u64),
}

impl Memory {
    /// Bytes that this is now.
    pub fn n_bytes(self) -> u64 {
        match self {
            Self::HalfOfFree => {
                let mut system = sysinfo::System::new();
                system.refresh_memory();
                system.available_memory() / 2
            }
            Self::Bytes(n_bytes) => n_bytes,
        }
    }
}

/// Where values are wanted, and how they are cached.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Sites of interventions.
    pub sites: Vec<Site>,
    /// Lowest layer that runs are resumed with, where that is not the sites' lowest: what lies below is not cached.
    pub first_layer: usize,
    /// Whether the base runs' own logits are wanted, too.
    pub logits: bool,
    /// Positions that are written in the base runs.
    pub base: RangeInclusive<usize>,
    /// Positions that are read in the source runs.
    pub source: RangeInclusive<usize>,
    /// Number format.
    pub storage: Storage,
    /// Most bytes in memory; more go to a temporary file.
    pub memory: u64,
}

impl Wanted {
    /// One site, at the positions of pairs of this shape.
    pub fn at(site: Site, shape: PairShape, cache: CacheConfig) -> Self {
        Self {
            sites: vec![site],
            first_layer: 0,
            logits: false,
            base: shape.base_position..=shape.base_position,
            source: shape.source_position..=shape.source_position,
            storage: cache.storage,
            memory: cache.memory.n_bytes(),
        }
    }

    /// What is cached of pairs of any shapes at a site, for people: `1600 runs, 4.9 MB in memory, in 3 shapes`.
    pub fn describe_at(
        site: Site,
        pairs: &[Pair],
        sizes: &Sizes,
        cache: CacheConfig,
    ) -> Result<String> {
        let shapes = PairShape::each(pairs, sizes)?;
        let (mut n_bytes, mut is_file) = (0, false);
        for (shape, members) in &shapes {
            let wanted = Self::at(site, *shape, cache);
            let own = wanted.n_bytes(sizes, *shape, members.len())?;
            n_bytes += own;
            is_file |= own > wanted.memory;
        }
        Ok(in_words(pairs.len(), n_bytes, is_file, shapes.len()))
    }

    /// Bytes that are cached of so many pairs of a shape.
    pub fn n_bytes(&self, sizes: &Sizes, shape: PairShape, n_pairs: usize) -> Result<u64> {
        let base = self.cone(sizes)?.n_bytes(sizes, shape.n_base, self.storage);
        let n_positions = self.source.end() + 1 - self.source.start();
        let sites = self.sites.iter();
        let source: usize = sites.map(|site| site.n_values(sizes, shape.n_source)).sum();
        let pair = base + source * n_positions * self.storage.n_bytes();
        Ok((pair * n_pairs) as u64)
    }

    /// Where runs are resumed.
    pub fn cone(&self, sizes: &Sizes) -> Result<Cone> {
        let cone = Cone::of(&self.sites, self.base.clone(), sizes.n_layers);
        let Cone { layers, starts } = cone.context("no site was named")?;
        let layers = self.first_layer.max(*layers.start())..=*layers.end();
        let cone = Cone { layers, starts };
        Ok(match self.logits {
            true => cone.with_logits(sizes.n_layers),
            false => cone,
        })
    }
}

/// What is cached of pairs of so many shapes, for people: `1600 runs, 4.9 MB in memory, in 3 shapes`.
pub fn in_words(n_pairs: usize, n_bytes: u64, is_file: bool, n_shapes: usize) -> String {
    let (mb, n_runs) = (n_bytes as f64 / 1e6, 2 * n_pairs);
    let place = match is_file {
        true => "in a temporary file",
        false => "in memory",
    };
    let in_shapes = match n_shapes {
        1 => String::new(),
        n => format!(", in {n} shapes"),
    };
    format!("{n_runs} runs, {mb:.1} MB {place}{in_shapes}")
}

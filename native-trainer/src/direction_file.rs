//! Direction files and sweep results, read from where they lie.

use std::path::Path;

use anyhow::{Context, Error, Result, anyhow, bail};
use swivel_core::{
    direction::Direction,
    sweep::{FileKind, SweepResult},
};

/// What is written into files as their maker.
pub const CREATED_BY: &str = concat!("swivel ", env!("CARGO_PKG_VERSION"));

/// Reads a direction file.
pub fn read(path: &Path) -> Result<Direction> {
    match Opened::read(path)? {
        Opened::Direction(direction) => Ok(*direction),
        Opened::Map(_) => bail!(
            "{} is a map; `inspect MAP --cell NAME --out FILE` takes one of its cells out as a direction file",
            path.display()
        ),
    }
}

/// A file with one direction or with many.
pub enum Opened {
    /// A direction file.
    Direction(Box<Direction>),
    /// A sweep result.
    Map(Box<SweepResult>),
}

impl Opened {
    /// Reads either.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = read_bytes(path)?;
        let opened = FileKind::of_bytes(&bytes).and_then(|kind| match kind {
            FileKind::Direction => Direction::from_bytes(&bytes)
                .map(Box::new)
                .map(Self::Direction),
            FileKind::SweepResult => SweepResult::from_bytes(&bytes).map(Box::new).map(Self::Map),
        });
        opened.with_context(|| reading(path))
    }
}

/// Why no cell is taken out of a file.
pub fn no_map(path: &Path) -> Error {
    anyhow!("--cell: {} is no map", path.display())
}

/// The bytes of a direction file.
pub fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    /// A direction is a few KB; this bounds what a wrong path can cost.
    const MOST_BYTES: u64 = 1 << 30;
    let cannot = || reading(path);
    let n_bytes = std::fs::metadata(path).with_context(cannot)?.len();
    if n_bytes > MOST_BYTES {
        bail!(
            "{} is {n_bytes} bytes long; a direction file has a few thousand",
            path.display()
        );
    }
    std::fs::read(path).with_context(cannot)
}

fn reading(path: &Path) -> String {
    format!("reading direction file {}", path.display())
}

//! Cached values in a temporary file: where they do not fit into memory.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
    ops::{Range, RangeInclusive},
    sync::{Mutex, PoisonError},
};

use anyhow::{Context, Result};
use burn::tensor::{DType, Tensor, TensorData, backend::Backend};
use swivel_core::{
    Site,
    cone::{CachedRun, CachedSource, RowPart},
};

/// Cached values in a temporary file that goes when it is closed: one part a tensor, one row a pair.
pub struct RowFile<B: Backend> {
    file: Mutex<File>,
    base: CachedRun<B>,
    source: CachedSource<B>,
    /// Bytes of a row of each part, base first.
    row_bytes: Vec<usize>,
    n_pairs: usize,
}

impl<B: Backend> RowFile<B> {
    /// A file for `n_pairs` pairs of this form.
    pub fn create(base: CachedRun<B>, source: CachedSource<B>, n_pairs: usize) -> Result<Self> {
        let parts = base.rows().into_iter().chain(source.rows());
        let row_bytes = parts.map(|x| x.dims()[1] * x.dtype().size()).collect();
        Ok(Self {
            file: Mutex::new(tempfile::tempfile().context("creating a temporary file")?),
            base,
            source,
            row_bytes,
            n_pairs,
        })
    }

    /// Bytes of all rows.
    pub fn n_bytes(&self) -> usize {
        self.row_bytes.iter().sum::<usize>() * self.n_pairs
    }

    /// Where each part begins.
    fn offsets(&self) -> impl Iterator<Item = usize> {
        self.row_bytes.iter().scan(0, |offset, row_bytes| {
            let here = *offset;
            *offset += row_bytes * self.n_pairs;
            Some(here)
        })
    }

    /// Writes pairs from the one with index `first` on.
    pub fn write(&self, first: usize, base: &CachedRun<B>, source: &CachedSource<B>) -> Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let parts = base.rows().into_iter().chain(source.rows());
        for ((part, offset), row_bytes) in parts.zip(self.offsets()).zip(&self.row_bytes) {
            let at = offset + first * row_bytes;
            file.seek(SeekFrom::Start(at as u64))
                .and_then(|_| file.write_all(part.into_data().as_bytes()))
                .context("writing cached values to a temporary file; --memory and --cache-dtype f16 need less of it")?;
        }
        Ok(())
    }

    /// What base runs of some of the pairs, in the given order, need that resume with `layer` at some positions.
    pub fn base(
        &self,
        rows: &[usize],
        layer: usize,
        starts: RangeInclusive<usize>,
        device: &B::Device,
    ) -> Result<CachedRun<B>> {
        let (like, parts) = self.base.part(layer, starts);
        let read = parts.iter().zip(like.rows());
        let read = read.map(|(part, like)| self.read(rows, part, part.idx, like.dtype(), device));
        Ok(like.with_rows(read.collect::<Result<_>>()?))
    }

    /// The source values of some of the pairs, in the given order, at one site and some positions; `None` if they were not cached.
    pub fn source(
        &self,
        rows: &[usize],
        site: Site,
        positions: Range<usize>,
        device: &B::Device,
    ) -> Result<Option<CachedSource<B>>> {
        let Some((like, part)) = self.source.part(site, positions) else {
            return Ok(None);
        };
        let idx = self.base.rows().len() + part.idx;
        let read = like.rows().into_iter();
        let read = read.map(|like| self.read(rows, &part, idx, like.dtype(), device));
        Ok(Some(like.with_rows(read.collect::<Result<_>>()?)))
    }

    /// A part of some rows of the tensor with this index in the file.
    ///
    /// # Shapes
    /// - result: `[rows, n_values]`
    fn read(
        &self,
        rows: &[usize],
        part: &RowPart,
        idx: usize,
        dtype: DType,
        device: &B::Device,
    ) -> Result<Tensor<B, 2>> {
        let (n_bytes, n_values) = (dtype.size(), part.n_values());
        let (block, range) = (part.block * n_bytes, part.range.start * n_bytes);
        let offset: usize = self.row_bytes[..idx].iter().sum::<usize>() * self.n_pairs;
        let mut bytes = vec![0u8; rows.len() * n_values * n_bytes];
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let blocks = rows.iter().flat_map(|row| {
            let row = offset + row * self.row_bytes[idx];
            (0..part.n_blocks).map(move |idx| row + idx * block + range)
        });
        for (at, into) in blocks.zip(bytes.chunks_mut(part.range.len() * n_bytes)) {
            file.seek(SeekFrom::Start(at as u64))
                .and_then(|_| file.read_exact(into))
                .context("reading cached values from a temporary file")?;
        }
        let data = TensorData::from_bytes_vec(bytes, [rows.len(), n_values], dtype);
        Ok(Tensor::from_data(data, device))
    }
}

//! Cached values in a temporary file: where they do not fit into memory.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
    sync::{Mutex, PoisonError},
};

use anyhow::{Context, Result};
use burn::tensor::{Tensor, TensorData, backend::Backend};
use swivel_core::cone::{CachedRun, CachedSource};

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

    /// Some of the pairs, in the given order.
    pub fn select(
        &self,
        rows: &[usize],
        device: &B::Device,
    ) -> Result<(CachedRun<B>, CachedSource<B>)> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let like: Vec<Tensor<B, 2>> = self
            .base
            .rows()
            .into_iter()
            .chain(self.source.rows())
            .collect();
        let mut parts = Vec::with_capacity(like.len());
        for ((like, offset), row_bytes) in like.iter().zip(self.offsets()).zip(&self.row_bytes) {
            let mut bytes = vec![0u8; rows.len() * row_bytes];
            for (row, into) in rows.iter().zip(bytes.chunks_mut(*row_bytes)) {
                file.seek(SeekFrom::Start((offset + row * row_bytes) as u64))
                    .and_then(|_| file.read_exact(into))
                    .context("reading cached values from a temporary file")?;
            }
            let data =
                TensorData::from_bytes_vec(bytes, [rows.len(), like.dims()[1]], like.dtype());
            parts.push(Tensor::from_data(data, device));
        }
        let source = parts.split_off(self.base.rows().len());
        Ok((self.base.with_rows(parts), self.source.with_rows(source)))
    }
}

//! From the tensors of files to a [`Decoder`], piece by piece, each straight to the device.
//!
//! The loader has no I/O of its own: it says which bytes it wants next and takes them, so that files, a server's ranges and a
//! browser can feed it. It asks for every byte of every file once, in order, and hashes them beside reading: whoever stores the hash
//! of a model's files need not read them again, and where it is known already only tensors are asked for. What it needs in
//! memory, apart from what is on the device, is the matrix that it is filling.

use std::collections::{BTreeMap, VecDeque};

use burn::tensor::backend::{Backend, DTypeUsage};
use sha2::{Digest, Sha256};

use super::{
    Dtype, Precision, StoredFile, StoredTensor, TensorError, Wanted,
    decoder::{self, Part},
    expected::{Expected, Target, shape},
    matrix::Matrix,
    pieces::{Piece, find, pieces},
};
use crate::{
    Config, Decoder, Sizes, hex,
    model::{Layout, Part as Name, Scaling},
};

/// Builds a decoder from the bytes that it asks for.
pub struct Loader<B: Backend> {
    config: Config,
    device: B::Device,
    precision: Precision,
    /// Most bytes of a matrix on the device.
    largest: u64,
    queue: VecDeque<Piece>,
    /// What is wanted of each tensor, by number.
    tensors: Vec<(Expected, StoredTensor)>,
    filling: BTreeMap<Target, Matrix>,
    parts: BTreeMap<Target, Part<B>>,
    unused: Vec<String>,
    identity: Identity,
}

/// SHA-256 of all files.
enum Identity {
    /// It is computed; hashing is at this byte of this file.
    Hashed(Sha256, usize, u64),
    /// It is known.
    Known(String),
}

impl<B: Backend> Loader<B> {
    /// Finds the model's tensors in its files; nothing is read yet.
    ///
    /// # Errors
    /// - [`TensorError::Missing`], [`TensorError::Twice`] if a tensor is in none of the files, or in several.
    /// - [`TensorError::Dtype`] if one is in a number format that is not read.
    /// - [`TensorError::Shape`] if one has another shape than the config says.
    pub fn new(
        config: &Config,
        files: &[StoredFile],
        device: &B::Device,
    ) -> Result<Self, TensorError> {
        let (tensors, unused) = find(config, files)?;
        Ok(Self {
            queue: pieces(files, &tensors),
            tensors: tensors
                .into_iter()
                .map(|(expected, _, stored)| (expected, stored))
                .collect(),
            config: config.clone(),
            device: device.clone(),
            precision: Precision::F32,
            largest: u64::MAX,
            filling: BTreeMap::new(),
            parts: BTreeMap::new(),
            unused,
            identity: Identity::Hashed(Sha256::new(), 0, 0),
        })
    }

    /// Takes this for the SHA-256 of the files and hashes nothing: it was computed when they were read before.
    #[must_use]
    pub fn known_as(mut self, sha256: String) -> Self {
        self.queue.retain(|piece| piece.rows.is_some());
        self.identity = Identity::Known(sha256);
        self
    }

    /// Holds the token embedding and the head in parts of at most so many bytes each, as a device takes no larger ones.
    ///
    /// # Errors
    /// - [`TensorError::Large`] if another matrix is larger.
    pub fn in_parts_of(mut self, n_bytes: u64) -> Result<Self, TensorError> {
        self.largest = n_bytes;
        for (expected, stored) in &self.tensors {
            let part = expected.target.part;
            let is_split = matches!(part, Name::TokenEmbedding | Name::Head);
            let shape = shape(&self.config, part, Layout::Rows);
            let sizes = shape.iter().map(|size| *size as u64);
            let found = self.precision.n_bytes() as u64 * sizes.product::<u64>();
            if !is_split && shape.len() == 2 && found > n_bytes {
                return Err(TensorError::Large {
                    name: stored.name.clone(),
                    found,
                    largest: n_bytes,
                });
            }
        }
        Ok(self)
    }

    /// Rows of the parts that a matrix is held in.
    fn rows_of_parts(&self, part: Name) -> usize {
        let is_split = matches!(part, Name::TokenEmbedding | Name::Head);
        let row_bytes = self.precision.n_bytes() * self.config.sizes.d_model;
        match is_split {
            true => (self.largest / row_bytes as u64).clamp(1, usize::MAX as u64) as usize,
            false => usize::MAX,
        }
    }

    /// Bytes that the model has on the device.
    pub fn held_bytes(&self) -> u64 {
        let each = self.tensors.iter().map(|(_, stored)| {
            let n_bytes = match *stored.shape {
                [_, _] => self.precision.n_bytes(),
                _ => Precision::F32.n_bytes(),
            };
            let sizes = stored.shape.iter().map(|size| *size as u64);
            n_bytes as u64 * sizes.product::<u64>()
        });
        each.sum()
    }

    /// Holds matrices in this format; what is added and multiplied value by value stays in f32.
    ///
    /// # Errors
    /// - [`TensorError::Held`] if the device has no such numbers.
    pub fn held_in(mut self, precision: Precision) -> Result<Self, TensorError> {
        let usage = B::dtype_usage(&self.device, precision.on_device());
        if !usage.contains(DTypeUsage::Storage) {
            return Err(TensorError::Held { precision });
        }
        self.precision = precision;
        Ok(self)
    }

    /// Holds matrices in f16 if each is stored in 16 bits, so that next to nothing is lost: f16 has more digits than bf16, and of
    /// numbers below 6.1e-5 what is above 3e-8. For kernels that read such weights by themselves ([`Kernels::linear`],
    /// [`Kernels::rows`]), whether or not the device has such numbers.
    ///
    /// [`Kernels::linear`]: crate::kernel::Kernels::linear
    /// [`Kernels::rows`]: crate::kernel::Kernels::rows
    #[must_use]
    pub fn in_half_if_stored(mut self) -> Self {
        let mut matrices = self
            .tensors
            .iter()
            .filter(|(_, stored)| stored.shape.len() == 2);
        let is_half = |dtype| matches!(dtype, Dtype::F16 | Dtype::BF16);
        if matrices.all(|(_, stored)| is_half(stored.dtype)) {
            self.precision = Precision::F16;
        }
        self
    }

    /// The format that matrices are held in.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Names of tensors that are not part of the model and are left out.
    pub fn unused(&self) -> &[String] {
        &self.unused
    }

    /// The bytes that are wanted next; `None` when all are there.
    pub fn wants(&self) -> Option<Wanted> {
        self.queue.front().map(|piece| piece.wanted.clone())
    }

    /// Takes the bytes that were wanted.
    ///
    /// # Errors
    /// - [`TensorError::Value`] if one of their values is not finite.
    /// - [`TensorError::Range`] if one is too large for the format that it is held in.
    ///
    /// # Panics
    /// If nothing was wanted, or another number of bytes.
    pub fn give(&mut self, bytes: &[u8]) -> Result<(), TensorError> {
        let Some(Piece { wanted, rows }) = self.queue.pop_front() else {
            panic!("no bytes were wanted");
        };
        assert_eq!(
            bytes.len() as u64,
            wanted.bytes.end - wanted.bytes.start,
            "bytes wanted"
        );
        if let Identity::Hashed(hasher, file, end) = &mut self.identity {
            if *file != wanted.file {
                (*file, *end) = (wanted.file, 0);
            }
            // Tensors may share bytes: each byte is hashed once.
            let is_known = end.saturating_sub(wanted.bytes.start);
            hasher.update(&bytes[is_known.min(bytes.len() as u64) as usize..]);
            *end = (*end).max(wanted.bytes.end);
        }
        match rows {
            Some((tensor, first)) => self.fill(tensor, first, bytes),
            None => Ok(()),
        }
    }

    /// Puts rows of a tensor where they belong, and what is complete onto the device.
    fn fill(&mut self, tensor: usize, first: usize, bytes: &[u8]) -> Result<(), TensorError> {
        let (expected, stored) = &self.tensors[tensor];
        let mut values = finite(stored, first, bytes)?;
        let columns = n_columns(stored);
        if stored.shape.len() == 2 {
            check_range(stored, first, &values, self.precision)?;
        }
        if expected.layout == Layout::LessOne {
            values.iter_mut().for_each(|value| *value += 1.0);
        }
        let (layout, first_row) = (expected.layout, expected.first_row);
        let target = expected.target;
        let at_once = self.rows_of_parts(target.part);
        // Rows that are split lie in their order.
        let (mut first, mut values) = (first, &values[..]);
        while !values.is_empty() {
            let split = first / at_once;
            let n_here = at_once.saturating_mul(split + 1).saturating_sub(first);
            let (here, rest) = values.split_at(values.len().min(n_here.saturating_mul(columns)));
            let target = Target { split, ..target };
            let sizes = &self.config.sizes;
            let at = |row: usize| first_row + place(layout, sizes, first + row) - split * at_once;
            let config = &self.config;
            let filling = self.filling.entry(target);
            let matrix = filling.or_insert_with(|| Matrix::new(config, target, layout, at_once));
            matrix.fill(here, columns, at);
            if matrix.n_missing == 0
                && let Some(matrix) = self.filling.remove(&target)
            {
                self.complete(target, tensor, matrix)?;
            }
            (first, values) = (first + here.len() / columns, rest);
        }
        Ok(())
    }

    /// Puts a matrix onto the device.
    fn complete(
        &mut self,
        target: Target,
        tensor: usize,
        matrix: Matrix,
    ) -> Result<(), TensorError> {
        match (target.part, &mut self.config.rotary) {
            (Name::RotationFactors, Some(rotary)) => {
                let (_, stored) = &self.tensors[tensor];
                rotary.scaling = Scaling::Factors(positive(stored, matrix.values)?);
            }
            _ => {
                let part = matrix.upload(self.precision, &self.device);
                self.parts.insert(target, part);
            }
        }
        Ok(())
    }

    /// The model, and the SHA-256 of its files' bytes, hexadecimal: the identity that direction files carry.
    ///
    /// # Errors
    /// - [`TensorError::Missing`] if a part is not there.
    ///
    /// # Panics
    /// If bytes are still wanted.
    pub fn finish(self) -> Result<(Decoder<B>, String), TensorError> {
        assert!(self.queue.is_empty(), "bytes are still wanted");
        let decoder = decoder::build(&self.config, self.parts)?;
        let sha256 = match self.identity {
            Identity::Hashed(hasher, ..) => hex(&hasher.finalize()),
            Identity::Known(sha256) => sha256,
        };
        Ok((decoder, sha256))
    }
}

/// Values of a row of a stored tensor; those of a vector are rows.
pub(super) fn n_columns(stored: &StoredTensor) -> usize {
    match *stored.shape {
        [_, columns] => columns,
        _ => 1,
    }
}

/// The values of some rows of a stored tensor, from row `first` on.
///
/// # Errors
/// - [`TensorError::Value`] if one is not finite.
pub(super) fn finite(
    stored: &StoredTensor,
    first: usize,
    bytes: &[u8],
) -> Result<Vec<f32>, TensorError> {
    let values = stored.dtype.to_f32(bytes);
    match values.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(TensorError::Value {
            name: stored.name.clone(),
            index: first * n_columns(stored) + index,
            found: values[index],
        }),
        None => Ok(values),
    }
}

/// Checks that a number format has all of these values.
///
/// # Errors
/// - [`TensorError::Range`] if one is too large.
pub(super) fn check_range(
    stored: &StoredTensor,
    first: usize,
    values: &[f32],
    precision: Precision,
) -> Result<(), TensorError> {
    let largest = precision.largest();
    match values.iter().position(|value| value.abs() > largest) {
        Some(index) => Err(TensorError::Range {
            name: stored.name.clone(),
            index: first * n_columns(stored) + index,
            found: values[index],
            largest,
        }),
        None => Ok(()),
    }
}

/// Values, each above 0.
///
/// # Errors
/// - [`TensorError::Gguf`] if one is not.
fn positive(stored: &StoredTensor, values: Vec<f32>) -> Result<Vec<f32>, TensorError> {
    match values.iter().find(|value| **value <= 0.0) {
        Some(found) => Err(TensorError::Gguf {
            what: format!("tensor `{}`", stored.name),
            expected: "factors above 0".to_owned(),
            found: found.to_string(),
        }),
        None => Ok(values),
    }
}

/// Where a row of a stored tensor belongs.
pub(super) fn place(layout: Layout, sizes: &Sizes, row: usize) -> usize {
    let (d_head, n_heads) = (sizes.d_head, sizes.n_heads);
    let (block, within) = (row / d_head, row % d_head);
    match layout {
        Layout::Rows | Layout::Columns | Layout::LessOne => row,
        // Blocks are query, key and value of head 0, then of head 1, …
        Layout::PerHead => (block % 3 * n_heads + block / 3) * d_head + within,
        Layout::Pairs => block * d_head + within % 2 * (d_head / 2) + within / 2,
    }
}

//! From the tensors of files to a [`Decoder`], piece by piece, each straight to the device.
//!
//! The loader has no I/O of its own: it says which bytes it wants next and takes them, so that files, a server's ranges and a
//! browser can feed it. It asks for every byte of every file once, in order, and hashes them beside reading: whoever stores the hash
//! of a model's files need not read them again, and where it is known already only tensors are asked for. What it needs in
//! memory, apart from what is on the device, is the matrix that it is filling.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
};

use burn::tensor::{
    Tensor, TensorData,
    backend::{Backend, DTypeUsage},
};
use sha2::{Digest, Sha256};

use super::{
    FileFormat, Precision, StoredFile, StoredTensor, TensorError,
    decoder::{self, Part},
    expected::{Expected, Names, ROTATION_FACTORS, Target, n_rows, rotation_factors, shape},
};
use crate::{
    Config, Decoder, Sizes, hex,
    model::{Layout, Part as Name, Scaling},
};

/// Values that are decoded at once.
const PIECE_VALUES: usize = 1 << 20;
/// Bytes that are asked for at once where they are only hashed.
const PIECE_BYTES: u64 = 1 << 22;

/// Bytes that are wanted next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Index of the file.
    pub file: usize,
    /// Which of its bytes.
    pub bytes: Range<u64>,
}

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

/// Bytes that are read at once.
struct Piece {
    wanted: Wanted,
    /// Number of the tensor that they are of, and the first of its rows that they have; `None` for bytes that are only hashed.
    rows: Option<(usize, usize)>,
}

/// A part that is being filled.
struct Matrix {
    values: Vec<f32>,
    shape: Vec<usize>,
    /// Stored rows become columns.
    is_turned: bool,
    n_missing: usize,
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

impl Matrix {
    /// Room for a part of the decoder; of one that is split, for so many of its rows at most.
    fn new(config: &Config, target: Target, stored: Layout, at_once: usize) -> Self {
        // Of embeddings, rows are read; of all else, products. These are fastest where a row is an input's weights.
        let is_embedding = matches!(target.part, Name::TokenEmbedding | Name::PositionEmbedding);
        let layout = match is_embedding {
            true => Layout::Rows,
            false => Layout::Columns,
        };
        let all = n_rows(config, target.part);
        let n_rows = (all - (target.split * at_once.min(all))).min(at_once);
        let shape = match target.is_bias {
            true => vec![n_rows],
            false => match *shape(config, target.part, layout) {
                [_, columns] if layout == Layout::Rows => vec![n_rows, columns],
                [rows, _] => vec![rows, n_rows],
                _ => vec![n_rows],
            },
        };
        let n_values = shape.iter().product();
        Self {
            values: vec![0.0; n_values],
            is_turned: shape.len() == 2
                && (layout == Layout::Columns) != (stored == Layout::Columns),
            n_missing: n_values,
            shape,
        }
    }

    /// Puts stored rows of `columns` values where they belong.
    fn fill(&mut self, values: &[f32], columns: usize, at: impl Fn(usize) -> usize) {
        /// Rows at a time: as many values as a cache line has.
        const N_ROWS: usize = 16;
        self.n_missing -= values.len();
        for (idx, rows) in values.chunks(N_ROWS * columns).enumerate() {
            let rows = (idx * N_ROWS..).map(&at).zip(rows.chunks_exact(columns));
            match (self.is_turned, &*self.shape) {
                (true, [_, width]) => {
                    let rows: Vec<(usize, &[f32])> = rows.collect();
                    for (column, to) in self.values.chunks_exact_mut(*width).enumerate() {
                        rows.iter().for_each(|(at, row)| to[*at] = row[column]);
                    }
                }
                _ => rows.for_each(|(at, row)| {
                    self.values[at * columns..(at + 1) * columns].copy_from_slice(row);
                }),
            }
        }
    }

    fn upload<B: Backend>(self, precision: Precision, device: &B::Device) -> Part<B> {
        match *self.shape {
            [rows, columns] => {
                let (shape, dtype) = ([rows, columns], precision.on_device());
                let data = match precision {
                    Precision::F32 => TensorData::new(self.values, shape),
                    _ => TensorData::from_bytes_vec(precision.to_bytes(&self.values), shape, dtype),
                };
                Part::Matrix(Tensor::from_data(data, (device, dtype)))
            }
            _ => {
                let n = self.values.len();
                Part::Vector(Tensor::from_data(TensorData::new(self.values, [n]), device))
            }
        }
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

/// A tensor that is wanted, the file that has it, and where.
pub(super) type Found = (Expected, usize, StoredTensor);

/// The tensors of a model, and the names of those that are not part of it.
///
/// # Errors
/// - Those of [`Loader::new`].
pub(super) fn find(
    config: &Config,
    files: &[StoredFile],
) -> Result<(Vec<Found>, Vec<String>), TensorError> {
    let prefix = config.family.prefix;
    let names = match files.first().map(|file| file.format) {
        Some(FileFormat::Gguf) => Names::Gguf,
        _ => Names::Family,
    };
    let is_called = |name: &str, wanted: &str| name.strip_prefix(prefix).unwrap_or(name) == wanted;
    let mut stored: BTreeMap<&str, (usize, &StoredTensor)> = BTreeMap::new();
    for (idx, file) in files.iter().enumerate() {
        for tensor in &file.tensors {
            let name = tensor.name.strip_prefix(prefix).unwrap_or(&tensor.name);
            if stored.insert(name, (idx, tensor)).is_some() {
                return Err(TensorError::Twice {
                    name: tensor.name.clone(),
                });
            }
        }
    }
    let factors = (stored.contains_key(ROTATION_FACTORS) && config.rotary.is_some())
        .then(|| rotation_factors(config));
    let mut found = Vec::new();
    for expected in names.expected(config).into_iter().chain(factors) {
        let Some((file, tensor)) = stored.remove(expected.name.as_str()) else {
            let mut unread = files.iter().flat_map(|file| &file.unread);
            if let Some(tensor) = unread.find(|tensor| is_called(&tensor.name, &expected.name)) {
                return Err(tensor.refused());
            }
            return Err(TensorError::Missing {
                name: expected.name,
                family: config.family.model_type,
            });
        };
        if tensor.shape != expected.shape {
            return Err(TensorError::Shape {
                name: tensor.name.clone(),
                expected: expected.shape,
                found: tensor.shape.clone(),
            });
        }
        found.push((expected, file, tensor.clone()));
    }
    found.sort_by_key(|(_, file, tensor)| (*file, tensor.bytes.start));
    let unused = stored
        .into_keys()
        .filter(|name| !is_known_extra(config, name));
    Ok((found, unused.map(str::to_owned).collect()))
}

/// What checkpoints hold beside the weights: masks and frequencies that are computed, and the head where it is the embedding.
fn is_known_extra(config: &Config, name: &str) -> bool {
    let computed = [
        ".attn.bias",
        ".attn.masked_bias",
        ".attention.bias",
        ".attention.masked_bias",
        ".rotary_emb.inv_freq",
    ];
    let is_head = ["lm_head.weight", "embed_out.weight"].contains(&name);
    is_head && config.is_tied || computed.iter().any(|end| name.ends_with(end))
}

/// All bytes of all files, in order, cut where tensors begin and end.
fn pieces(files: &[StoredFile], tensors: &[Found]) -> VecDeque<Piece> {
    let mut queue = VecDeque::new();
    for (file, StoredFile { n_bytes, .. }) in files.iter().enumerate() {
        let mut at = 0;
        let here = tensors
            .iter()
            .enumerate()
            .filter(|(_, found)| found.1 == file);
        for (tensor, (_, _, stored)) in here {
            let Range { start, end } = stored.bytes;
            between(file, at..start, &mut queue);
            queue.extend(rows_at_once(stored).map(|(first, bytes)| Piece {
                wanted: Wanted { file, bytes },
                rows: Some((tensor, first)),
            }));
            at = at.max(end);
        }
        between(file, at..*n_bytes, &mut queue);
    }
    queue
}

/// A tensor's rows, as many at once as are decoded at once: the first of them, and their bytes.
pub(super) fn rows_at_once(stored: &StoredTensor) -> impl Iterator<Item = (usize, Range<u64>)> {
    let Range { start, end } = stored.bytes;
    let (n_rows, n_columns) = match *stored.shape {
        [rows, columns] => (rows, columns),
        _ => (1, stored.shape.iter().product()),
    };
    let row_bytes = (end - start) / n_rows as u64;
    let at_once = (PIECE_VALUES / n_columns).clamp(1, n_rows);
    (0..n_rows).step_by(at_once).map(move |first| {
        let n = at_once.min(n_rows - first) as u64;
        let from = start + first as u64 * row_bytes;
        (first, from..from + n * row_bytes)
    })
}

/// Bytes that are only hashed.
fn between(file: usize, mut bytes: Range<u64>, queue: &mut VecDeque<Piece>) {
    while bytes.start < bytes.end {
        let next = bytes.end.min(bytes.start + PIECE_BYTES);
        queue.push_back(Piece {
            wanted: Wanted {
                file,
                bytes: bytes.start..next,
            },
            rows: None,
        });
        bytes.start = next;
    }
}

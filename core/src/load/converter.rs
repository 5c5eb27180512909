//! Weights of any format as one safetensors file in Hugging Face's names and layouts, piece by piece.
//!
//! As the [`Loader`](super::Loader) it has no I/O of its own: it says which bytes it wants next, and gives those to write for them.
//! The header comes first, since shapes are known before values. A tensor whose rows stay where they are is written a few rows at
//! once; of one that is laid out anew, all are in memory, and never those of two.

use std::{cmp::Reverse, collections::VecDeque, ops::Range};

use serde_json::{Map, Value, json};

use super::{
    Precision, StoredFile, StoredTensor, TensorError, Wanted,
    expected::{Expected, Names},
    loader::{check_range, finite, n_columns, place},
    pieces::{find, rows_at_once},
};
use crate::{
    Config, Sizes,
    model::{Layout, Part},
};

/// Rewrites the weights of a model from the bytes that it asks for.
pub struct Converter {
    sizes: Sizes,
    tensors: Vec<Tensor>,
    queue: VecDeque<Piece>,
    unused: Vec<String>,
}

/// A tensor, before and after.
struct Tensor {
    stored: StoredTensor,
    stored_layout: Layout,
    name: String,
    shape: Vec<usize>,
    layout: Layout,
    precision: Precision,
}

/// Bytes that are read at once.
struct Piece {
    wanted: Wanted,
    /// Number of the tensor that they are of, and the first of its rows that they have.
    rows: (usize, usize),
}

impl Converter {
    /// Finds the model's tensors in its files; nothing is read yet. Without a `precision`, each tensor keeps its own, and quantised
    /// ones become f32.
    ///
    /// # Errors
    /// - [`TensorError::Missing`], [`TensorError::Twice`] if a tensor is in none of the files, or in several.
    /// - [`TensorError::Dtype`] if one is in a number format that is not read.
    /// - [`TensorError::Shape`] if one has another shape than the config says.
    /// - [`TensorError::Gguf`] if it has factors of its rotation's angles (Llama 3.1): Hugging Face's configs have no word for them.
    pub fn new(
        config: &Config,
        files: &[StoredFile],
        precision: Option<Precision>,
    ) -> Result<Self, TensorError> {
        let (found, unused) = find(config, files)?;
        if let Some((_, _, stored)) =
            (found.iter()).find(|(expected, ..)| expected.target.part == Part::RotationFactors)
        {
            return Err(TensorError::Gguf {
                what: format!("tensor `{}`", stored.name),
                expected: "rotations whose scaling a config can say".to_owned(),
                found: "factors of single pairs; take the model's safetensors".to_owned(),
            });
        }
        let wanted = Names::Family.expected(config);
        let mut tensors = Vec::new();
        for (expected, file, stored) in found {
            let is_same = |other: &&Expected| {
                (other.target, other.first_row) == (expected.target, expected.first_row)
            };
            let Some(wanted) = wanted.iter().find(is_same) else {
                continue; // both tables have every part of the model
            };
            let prefix = match wanted.target.part {
                Part::Head => "",
                _ => config.family.prefix,
            };
            let own = Precision::of_stored(stored.dtype).unwrap_or(Precision::F32);
            let tensor = Tensor {
                stored,
                stored_layout: expected.layout,
                name: format!("{prefix}{}", wanted.name),
                shape: wanted.shape.clone(),
                layout: wanted.layout,
                precision: precision.unwrap_or(own),
            };
            tensors.push((file, tensor));
        }
        // Wide values first: each then lies at a multiple of its own size, which torch needs.
        tensors.sort_by_key(|(_, tensor)| Reverse(tensor.precision.n_bytes()));
        let mut queue = VecDeque::new();
        for (idx, (file, tensor)) in tensors.iter().enumerate() {
            queue.extend(tensor.pieces().into_iter().map(|(first, bytes)| Piece {
                wanted: Wanted { file: *file, bytes },
                rows: (idx, first),
            }));
        }
        Ok(Self {
            sizes: config.sizes.clone(),
            tensors: tensors.into_iter().map(|(_, tensor)| tensor).collect(),
            queue,
            unused,
        })
    }

    /// Names of tensors that are not part of the model and are left out.
    pub fn unused(&self) -> &[String] {
        &self.unused
    }

    /// Number of tensors that are written.
    pub fn n_tensors(&self) -> usize {
        self.tensors.len()
    }

    /// Bytes of all values that are written.
    pub fn n_bytes(&self) -> u64 {
        self.tensors.iter().map(Tensor::n_bytes).sum()
    }

    /// Format of the values; of several, the widest.
    pub fn precision(&self) -> Precision {
        let first = self.tensors.first().map(|tensor| tensor.precision);
        match first {
            Some(precision) if self.tensors.iter().all(|x| x.precision == precision) => precision,
            _ => Precision::F32,
        }
    }

    /// What the file begins with.
    pub fn header(&self) -> Vec<u8> {
        /// What the header's length is a multiple of, so that values lie at a multiple of their size.
        const ALIGNMENT: usize = 8;
        let mut entries = Map::new();
        // transformers refuses a file that does not say which framework's layout it has.
        entries.insert("__metadata__".to_owned(), json!({ "format": "pt" }));
        let mut start = 0;
        for tensor in &self.tensors {
            let end = start + tensor.n_bytes();
            let entry = json!({
                "dtype": tensor.precision.dtype().name(),
                "shape": tensor.shape,
                "data_offsets": [start, end],
            });
            entries.insert(tensor.name.clone(), entry);
            start = end;
        }
        let mut json = Value::Object(entries).to_string();
        let n_bytes = json.len().next_multiple_of(ALIGNMENT);
        json.extend(std::iter::repeat_n(' ', n_bytes - json.len()));
        [&(n_bytes as u64).to_le_bytes(), json.as_bytes()].concat()
    }

    /// The bytes that are wanted next; `None` when all are written.
    pub fn wants(&self) -> Option<Wanted> {
        self.queue.front().map(|piece| piece.wanted.clone())
    }

    /// Takes the bytes that were wanted, and returns those to write next.
    ///
    /// # Errors
    /// - [`TensorError::Value`] if one of their values is not finite.
    /// - [`TensorError::Range`] if one is too large for the format that is written.
    ///
    /// # Panics
    /// If nothing was wanted, or another number of bytes.
    pub fn give(&mut self, bytes: &[u8]) -> Result<Vec<u8>, TensorError> {
        let Some(Piece { wanted, rows }) = self.queue.pop_front() else {
            panic!("no bytes were wanted");
        };
        assert_eq!(
            bytes.len() as u64,
            wanted.bytes.end - wanted.bytes.start,
            "bytes wanted"
        );
        let (tensor, first) = (&self.tensors[rows.0], rows.1);
        let stored = &tensor.stored;
        let mut values = finite(stored, first, bytes)?;
        let precision = tensor.precision;
        check_range(stored, first, &values, precision)?;
        if tensor.layout != tensor.stored_layout {
            values = tensor.laid_out(&self.sizes, values);
        }
        Ok(precision.to_bytes(&values))
    }
}

impl Tensor {
    /// Bytes that are written.
    fn n_bytes(&self) -> u64 {
        let n_values: u64 = self.shape.iter().map(|n| *n as u64).product();
        n_values * self.precision.n_bytes() as u64
    }

    /// First row and bytes of all that is read at once.
    fn pieces(&self) -> Vec<(usize, Range<u64>)> {
        match self.layout == self.stored_layout {
            true => rows_at_once(&self.stored).collect(),
            false => vec![(0, self.stored.bytes.clone())],
        }
    }

    /// All values in the layout that is written.
    fn laid_out(&self, sizes: &Sizes, mut values: Vec<f32>) -> Vec<f32> {
        if self.layout == Layout::LessOne {
            values.iter_mut().for_each(|value| *value -= 1.0);
        }
        let columns = n_columns(&self.stored);
        let n_rows = values.len() / columns;
        // Both layouts say where a row belongs in the model.
        let mut rows = vec![0; n_rows];
        for row in 0..n_rows {
            rows[place(self.stored_layout, sizes, row)] = row;
        }
        let rows = (0..n_rows).map(|row| rows[place(self.layout, sizes, row)]);
        if self.layout == Layout::Columns {
            let rows: Vec<_> = rows.collect();
            let column = |column| rows.iter().map(move |row| row * columns + column);
            return (0..columns).flat_map(column).map(|at| values[at]).collect();
        }
        rows.flat_map(|row| &values[row * columns..(row + 1) * columns])
            .copied()
            .collect()
    }
}

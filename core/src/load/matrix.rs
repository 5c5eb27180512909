//! A matrix or a vector of the decoder that is being filled.

use burn::tensor::{Tensor, TensorData, backend::Backend};

use super::{
    Precision,
    decoder::Part,
    expected::{Target, n_rows, shape},
};
use crate::{
    Config,
    model::{Layout, Part as Name},
};

/// A part that is being filled.
pub(super) struct Matrix {
    pub(super) values: Vec<f32>,
    shape: Vec<usize>,
    /// Stored rows become columns.
    is_turned: bool,
    pub(super) n_missing: usize,
}

impl Matrix {
    /// Room for a part of the decoder; of one that is split, for so many of its rows at most.
    pub(super) fn new(config: &Config, target: Target, stored: Layout, at_once: usize) -> Self {
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
    pub(super) fn fill(&mut self, values: &[f32], columns: usize, at: impl Fn(usize) -> usize) {
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

    pub(super) fn upload<B: Backend>(self, precision: Precision, device: &B::Device) -> Part<B> {
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

//! Directions that are computed, not learned: what a learned one must be better than.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use burn::tensor::{Tensor, TensorData, backend::Backend};
use clap::ValueEnum;
use nalgebra::{DMatrix, SymmetricEigen};
use swivel_core::{Decoder, Site, question::Pair, train::orthonormal};

use crate::{cached::Cached, score::Bases, tensors::read_floats};

/// How a direction is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Method {
    /// Distributed alignment search: learned.
    #[value(alias = "low_rank")]
    Das,
    /// Difference of the means of the variable's values; of many values, the principal components of the means.
    MeanDifference,
    /// First principal components of source less base.
    Pca,
    /// Difference of the answers' unembeddings through the final norm; of many, their principal components.
    Unembedding,
    /// Given.
    #[value(skip)]
    Imported,
}

impl Method {
    /// Its name in files.
    pub fn name(self) -> &'static str {
        swivel_core::direction::METHODS[self as usize]
    }
}

/// What is computed from the pairs that others learn from, at one place.
pub struct Baseline<'a, B: Backend> {
    /// The model.
    pub model: &'a Decoder<B>,
    /// Cached runs of the pairs.
    pub cached: &'a Cached<B>,
    /// The pairs.
    pub pairs: &'a [Pair],
    /// Where.
    pub site: Site,
    /// Number of values there.
    pub width: usize,
}

impl<B: Backend> Baseline<'_, B> {
    /// All of them, of this rank at most, where they are known.
    pub fn bases(&self, rank: usize) -> Result<Bases<B>> {
        Ok(Bases {
            shuffled: None,
            mean_difference: self.basis(Method::MeanDifference, rank)?,
            pca: self.basis(Method::Pca, rank)?,
            unembedding: self.basis(Method::Unembedding, rank)?,
        })
    }

    /// The basis of one, of this rank and no other.
    ///
    /// # Errors
    /// - If it cannot be had.
    pub fn exactly(&self, method: Method, rank: usize) -> Result<Tensor<B, 2>> {
        let name = method.name();
        let basis = self.basis(method, rank)?;
        let basis = basis.with_context(|| match method {
            Method::Unembedding => format!(
                "--method {name} is for the residual stream, which {} is no part of, and for pairs whose base answer is known",
                self.site
            ),
            _ => format!("--method {name} needs pairs that say which values the variable has"),
        })?;
        let [found, _] = basis.dims();
        if found < rank {
            bail!("--method {name} gives {found} directions here; expected --rank {found} or less");
        }
        Ok(basis)
    }

    /// `[rank, width]`, of fewer rows where there is not more; `None` where it is not known.
    fn basis(&self, method: Method, rank: usize) -> Result<Option<Tensor<B, 2>>> {
        let rows = match method {
            Method::Das | Method::Imported => None,
            Method::MeanDifference => self.class_means()?,
            Method::Pca => Some(self.differences()?),
            Method::Unembedding => self.answers()?,
        };
        let Some(rows) = rows.filter(|rows| !rows.is_empty()) else {
            return Ok(None);
        };
        let basis = principal(&rows, self.width, rank);
        let rank = basis.len() / self.width;
        let data = TensorData::new(basis, [rank, self.width]);
        let basis = Tensor::from_data(data, &self.model.device());
        Ok((rank > 0).then_some(basis))
    }

    /// Means of the source's values, of each value of the variable, less the mean of the means.
    fn class_means(&self) -> Result<Option<Vec<f32>>> {
        let values = self.pairs.iter().map(|pair| pair.values.as_ref());
        let Some(values) = values.collect::<Option<Vec<_>>>() else {
            return Ok(None);
        };
        let mut sums: BTreeMap<&str, (usize, Vec<f64>)> = BTreeMap::new();
        for batch in self.cached.batches() {
            let (pairs, cached) = batch;
            let cached = cached?;
            let rows = read_floats(cached.source_values())?;
            for (pair, row) in pairs.into_iter().zip(rows.chunks(self.width)) {
                let [_, value] = values[pair];
                let empty = || (0, vec![0.0; self.width]);
                let (n, sum) = sums.entry(value).or_insert_with(empty);
                *n += 1;
                sum.iter_mut()
                    .zip(row)
                    .for_each(|(sum, x)| *sum += f64::from(*x));
            }
        }
        let means = sums
            .values()
            .flat_map(|(n, sum)| sum.iter().map(|x| (x / *n as f64) as f32));
        Ok(Some(centred(means.collect(), self.width)))
    }

    /// Source less base, less their mean.
    fn differences(&self) -> Result<Vec<f32>> {
        let mut all = Vec::new();
        for batch in self.cached.batches() {
            let cached = batch.1?;
            let base = cached.base_values(self.model);
            let base = base.context("the base runs have no value there")?;
            all.extend(read_floats(cached.source_values() - base)?);
        }
        Ok(centred(all, self.width))
    }

    /// Of each pair that should turn, the unembedding of its label less that of the base's answer.
    fn answers(&self) -> Result<Option<Vec<f32>>> {
        if !self.site.component.is_in_stream() {
            return Ok(None);
        }
        let turning = self.pairs.iter().filter_map(|pair| {
            let base_label = pair.base_label?;
            (base_label != pair.label).then_some((pair.label, base_label))
        });
        let (labels, others): (Vec<u32>, Vec<u32>) = turning.unzip();
        if labels.is_empty() {
            return Ok(None);
        }
        let [labels, others] = [labels, others].map(|ids| self.model.unembeddings(&ids));
        Ok(Some(read_floats(labels - others)?))
    }
}

/// Rows less their mean.
fn centred(mut rows: Vec<f32>, width: usize) -> Vec<f32> {
    let n = (rows.len() / width).max(1) as f64;
    let mut mean = vec![0.0f64; width];
    for row in rows.chunks(width) {
        mean.iter_mut()
            .zip(row)
            .for_each(|(mean, x)| *mean += f64::from(*x) / n);
    }
    for row in rows.chunks_mut(width) {
        row.iter_mut()
            .zip(&mean)
            .for_each(|(x, mean)| *x = (f64::from(*x) - mean) as f32);
    }
    rows
}

/// The first right singular vectors of some rows, orthonormal, one after the other: `rank`, or as many as there are.
fn principal(rows: &[f32], width: usize, rank: usize) -> Vec<f32> {
    /// Share of the largest variance below which there is nothing but rounding.
    const NOTHING: f64 = 1e-9;
    let n = rows.len() / width;
    let rows = DMatrix::from_row_iterator(n, width, rows.iter().map(|x| f64::from(*x)));
    let is_tall = n > width;
    let gram = match is_tall {
        true => rows.transpose() * &rows,
        false => &rows * rows.transpose(),
    };
    let SymmetricEigen {
        eigenvectors,
        eigenvalues,
    } = gram.symmetric_eigen();
    let mut order: Vec<usize> = (0..eigenvalues.len()).collect();
    order.sort_by(|a, b| eigenvalues[*b].total_cmp(&eigenvalues[*a]));
    let most = order.first().map_or(0.0, |idx| eigenvalues[*idx]);
    order.retain(|idx| eigenvalues[*idx] > NOTHING * most && most > 0.0);
    let mut basis = Vec::new();
    for idx in order.into_iter().take(rank) {
        let vector = eigenvectors.column(idx);
        let vector = match is_tall {
            true => vector.into_owned(),
            false => rows.transpose() * vector,
        };
        let norm = vector.norm();
        basis.extend(vector.iter().map(|x| (x / norm) as f32));
    }
    orthonormal(&basis, width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn principal_directions_come_in_the_order_of_what_they_explain() {
        // Rows along (1, 1, 0) and, weaker, along (0, 0, 1).
        let rows = [
            3.0, 3.0, 0.0, -3.0, -3.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, -1.0,
        ];
        let check = |rank: usize, expected: &[f32]| {
            let found = principal(&rows, 3, rank);
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.chunks(3).zip(expected.chunks(3)) {
                let dot: f32 = found.iter().zip(expected).map(|(a, b)| a * b).sum();
                assert!((dot.abs() - 1.0).abs() < 1e-6, "{found:?}");
            }
        };
        let half = 0.5f32.sqrt();
        check(1, &[half, half, 0.0]);
        check(2, &[half, half, 0.0, 0.0, 0.0, 1.0]);
        check(3, &[half, half, 0.0, 0.0, 0.0, 1.0]); // there is no third
        let wide = [1.0, 2.0, 3.0, 4.0, -1.0, -2.0, -3.0, -4.0];
        assert_eq!(principal(&wide, 4, 2).len(), 4);
        assert!(principal(&[0.0; 8], 4, 1).is_empty());
        assert_eq!(centred(vec![1.0, 5.0, 3.0, 7.0], 2), [-1.0, -1.0, 1.0, 1.0]);
    }
}

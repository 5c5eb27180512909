//! Whole values at the cells of a job: swapped, zeroed, or replaced by their mean.

use anyhow::{Context, Result};
use burn::tensor::{Tensor, backend::Backend};
use swivel_core::{Decoder, cone::row_indices, intervention::Source, sweep::Method};

use super::{
    cells::Planned,
    scores::rows_of,
    sets::{Bucket, Set},
};
use swivel_core::metric::Count;

use crate::{cached::batches, question::answers_of, score::swap_whole};

/// Whole values at the cells of one job.
pub struct Measure<'a, B: Backend> {
    pub model: &'a Decoder<B>,
    pub method: Method,
    /// The cells, from the first column on.
    pub cells: &'a [Planned],
    /// Means of the source runs' values, one row, where they take their place.
    pub mean: Option<Source<B>>,
    pub n_layers: usize,
    pub device: B::Device,
}

impl<B: Backend> Measure<'_, B> {
    /// Tokens of the cells, of base or source.
    fn tokens(&self, bucket: &Bucket<B>, side: usize) -> Vec<usize> {
        let cells = self.cells.iter();
        cells.map(|cell| bucket.tokens[cell.column][side]).collect()
    }

    /// First and last of some tokens.
    fn span(tokens: &[usize]) -> Result<(usize, usize)> {
        let (first, last) = (tokens.iter().min(), tokens.iter().max());
        let (first, last) = first.zip(last).context("a job without cells")?;
        Ok((*first, *last))
    }

    /// The source's values of some rows, cell by cell.
    fn values(&self, bucket: &Bucket<B>, rows: &[usize]) -> Result<Source<B>> {
        let Planned { site, head, .. } = self.cells[0];
        let tokens = self.tokens(bucket, 1);
        let (first, last) = Self::span(&tokens)?;
        let source = bucket.runs.source(rows, site, first..last + 1)?;
        let values = source.values(site, head, first..last + 1);
        let values = values.with_context(|| format!("values of {site} were not cached"))?;
        let tokens: Vec<usize> = tokens.into_iter().map(|token| token - first).collect();
        Ok(match tokens.iter().copied().eq(0..last + 1 - first) {
            true => values,
            false => values.select_positions(&row_indices(&tokens, &self.device)),
        })
    }

    /// What the head reads after the intervention at each cell, `[rows, cells, d_model]`.
    pub fn normed(&self, bucket: &Bucket<B>, rows: &[usize]) -> Result<Tensor<B, 3>> {
        let Planned { site, head, .. } = self.cells[0];
        let tokens = self.tokens(bucket, 0);
        let (first, last) = Self::span(&tokens)?;
        let base = (bucket.runs).base(rows, site.resumes_at(self.n_layers), first..=last)?;
        let values = match (&self.mean, self.method) {
            (Some(mean), _) => mean.map(
                |x| x.repeat_dim(0, rows.len()),
                |x| x.repeat_dim(0, rows.len()),
            ),
            (None, Method::Zero) => self
                .values(bucket, rows)?
                .map(|x| x.zeros_like(), |x| x.zeros_like()),
            _ => self.values(bucket, rows)?,
        };
        // Prompts may have their tokens in another order than the example pair.
        let mut order: Vec<usize> = (0..tokens.len()).collect();
        order.sort_by_key(|idx| tokens[*idx]);
        let is_sorted = order.iter().copied().eq(0..tokens.len());
        let ascending: Vec<usize> = order.iter().map(|idx| tokens[*idx]).collect();
        let values = match is_sorted {
            true => values,
            false => values.select_positions(&row_indices(&order, &self.device)),
        };
        let swap = swap_whole();
        let model = self.model;
        let all = model.intervene_each(&base, &swap, &values, (site, head), &ascending);
        Ok(match is_sorted {
            true => all,
            false => {
                let mut back = vec![0; order.len()];
                (order.iter().enumerate()).for_each(|(place, idx)| back[*idx] = place);
                all.select(1, row_indices(&back, &self.device))
            }
        })
    }

    /// Does something with each batch of a set, in the order of its pairs.
    pub fn each(
        &self,
        set: &Set<B>,
        mut take: impl FnMut(&Bucket<B>, &[usize]) -> Result<()>,
    ) -> Result<()> {
        for bucket in &set.buckets {
            let (first, _) = Self::span(&self.tokens(bucket, 0))?;
            let n_pairs = bucket.runs.labels.len();
            for rows in batches(n_pairs, bucket.runs.at_once(first)) {
                take(bucket, &rows)?;
            }
        }
        Ok(())
    }

    /// Of each cell, the share of a set's pairs that are answered with the label.
    pub fn shares(&self, set: &Set<B>, choices: Option<&[u32]>) -> Result<Vec<f64>> {
        let mut counts = vec![Count::default(); self.cells.len()];
        self.each(set, |bucket, rows| {
            let normed = rows_of(&self.normed(bucket, rows)?);
            let found = answers_of(self.model, normed, choices)?;
            for (row, found) in rows.iter().zip(found.chunks(counts.len())) {
                let label = bucket.runs.labels[*row];
                for (count, answer) in counts.iter_mut().zip(found) {
                    count.one(*answer == label);
                }
            }
            Ok(())
        })?;
        Ok(counts.into_iter().map(Count::share).collect())
    }

    /// Mean of the source runs' values over all pairs, one row.
    pub fn mean(&self, set: &Set<B>) -> Result<Source<B>> {
        let n = set.pairs.len() as f64;
        let mut sum: Option<Source<B>> = None;
        self.each(set, |bucket, rows| {
            let part = self.values(bucket, rows)?;
            let part = part.map(|x| x.sum_dim(0) / n, |x| x.sum_dim(0) / n);
            sum = Some(match (sum.take(), part) {
                (Some(Source::Positions(sum)), Source::Positions(part)) => {
                    Source::Positions(sum + part)
                }
                (Some(Source::Heads(sum)), Source::Heads(part)) => Source::Heads(sum + part),
                (_, part) => part,
            });
            Ok(())
        })?;
        sum.context("there are no pairs")
    }
}

//! Scores of cells at positions of one site, batch by batch.

use anyhow::{Context, Result};
use burn::tensor::{Int, Tensor, backend::Backend};
use swivel_core::{
    Decoder,
    metric::Top,
    sweep::{Cell, Metrics},
};

use super::cells::Planned;
use crate::tensors::{label_ids, read_floats, read_ids};

/// What runs of one pair answer, and those tokens' logits.
///
/// # Shapes
/// - `normed`: `[cells, d_model]`
pub fn answers<B: Backend>(model: &Decoder<B>, normed: Tensor<B, 2>) -> Result<Vec<(u32, f32)>> {
    let Top { ids, logits } = model.top(normed, 1); // [cells, 1]
    let ids = read_ids(ids.squeeze_dim(1))?;
    Ok(ids.into_iter().zip(read_floats(logits)?).collect())
}

/// What intervened runs of a variable's test pairs are compared with.
pub struct Reference<B: Backend> {
    /// Token ids of the counterfactual answers.
    pub labels: Vec<u32>,
    /// What the head reads in the base runs, `[pairs, d_model]`.
    pub base: Tensor<B, 2>,
    /// Token ids of the base's own answers, where they are known.
    pub base_labels: Option<Vec<u32>>,
}

/// Sums over the pairs of a cell.
#[derive(Clone, Default)]
struct Sums {
    n_hits: usize,
    probability: [f64; 2],
    logit_difference: [f64; 2],
    kl: f64,
}

/// Scores of cells, batch by batch.
pub struct Scores<'a, B: Backend> {
    reference: &'a Reference<B>,
    n_pairs: usize,
    sums: Vec<Sums>,
}

impl<'a, B: Backend> Scores<'a, B> {
    /// Nothing yet, of so many cells.
    pub fn new(reference: &'a Reference<B>, n_cells: usize) -> Self {
        Self {
            reference,
            n_pairs: 0,
            sums: vec![Sums::default(); n_cells],
        }
    }

    /// Adds the next batch.
    ///
    /// # Shapes
    /// - `normed`: of the intervened runs, `[batch, cells, d_model]`
    pub fn add(&mut self, model: &Decoder<B>, normed: Tensor<B, 3>) -> Result<()> {
        let (reference, device) = (self.reference, normed.device());
        let [n, n_cells, _] = normed.dims();
        let rows = self.n_pairs..self.n_pairs + n;
        let labels = &reference.labels[rows.clone()];
        // Without other labels, a label's difference from itself is 0.
        let others = reference.base_labels.as_ref();
        let others = others.map_or(labels, |others| &others[rows.clone()]);
        let ids = [labels, others].map(|ids| label_ids::<B>(ids, &device));
        let ids: Tensor<B, 2, Int> = Tensor::stack(ids.to_vec(), 1); // [batch, 2]
        let base = reference.base.clone().narrow(0, rows.start, n);
        let compared = model.compare(base, normed, &ids);
        let by_cell = |x: Tensor<B, 2>| x.reshape([n, n_cells]);
        let (base, found) = (&compared.base, &compared.found);
        let columns = [
            base.probability(0).repeat_dim(1, n_cells),
            by_cell(found.probability(0)),
            (base.logit(0) - base.logit(1)).repeat_dim(1, n_cells),
            by_cell(found.logit(0) - found.logit(1)),
            compared.kl(),
        ];
        let values = read_floats(Tensor::stack::<3>(columns.to_vec(), 0))?; // [column, batch, cells]
        let top_1 = read_ids(found.reading.top.ids.clone().flatten(0, 1))?; // [batch * cells]
        for (idx, sums) in self.sums.iter_mut().enumerate() {
            let sum = |column: usize| -> f64 {
                let values = values[column * n * n_cells..][..n * n_cells].iter();
                let values = values.skip(idx).step_by(n_cells);
                values.map(|value| f64::from(*value)).sum()
            };
            let top_1 = top_1.iter().skip(idx).step_by(n_cells);
            let is_hit = |(top_1, label): &(&u32, &u32)| top_1 == label;
            sums.n_hits += top_1.zip(labels).filter(is_hit).count();
            for (column, total) in (sums.probability.iter_mut())
                .chain(&mut sums.logit_difference)
                .chain([&mut sums.kl])
                .enumerate()
            {
                *total += sum(column);
            }
        }
        self.n_pairs += n;
        Ok(())
    }

    /// The cells, without what was learned there: where they are, about which variable, and what the example pair's run answers.
    pub fn cells<'c>(
        self,
        planned: impl IntoIterator<Item = (&'c Planned, Option<String>)>,
        answers: &[(u32, f32)],
    ) -> Result<Vec<Cell>> {
        let n = self.n_pairs as f64;
        let has_difference = self.reference.base_labels.is_some();
        let cell = |(idx, (planned, variable)): (usize, (&Planned, Option<String>))| {
            let Sums {
                n_hits,
                probability,
                logit_difference,
                kl,
            } = self
                .sums
                .get(idx)
                .cloned()
                .context("a cell without scores")?;
            let (top_1, logit) = *answers.get(idx).context("a cell without an answer")?;
            Ok(Cell {
                place: planned.place(),
                variable,
                basis: None,
                iia: n_hits as f64 / n,
                controls: None,
                metrics: Metrics {
                    probability: probability.map(|sum| sum / n),
                    logit_difference: has_difference.then(|| logit_difference.map(|sum| sum / n)),
                    kl: kl / n,
                },
                top_1,
                logit,
            })
        };
        planned.into_iter().enumerate().map(cell).collect()
    }
}

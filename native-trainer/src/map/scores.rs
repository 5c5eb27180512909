//! Scores of cells at positions of one site, batch by batch.

use anyhow::{Context, Result};
use burn::tensor::{Int, Tensor, backend::Backend};
use swivel_core::{
    Decoder,
    metric::Top,
    sweep::{Cell, Metrics},
};

use super::cells::Planned;
use crate::{
    question::answers_of,
    score::Score,
    tensors::{label_ids, read_floats, read_ids},
};

/// What runs of one pair answer, and those tokens' logits.
///
/// # Shapes
/// - `normed`: `[cells, d_model]`
pub fn answers<B: Backend>(model: &Decoder<B>, normed: Tensor<B, 2>) -> Result<Vec<(u32, f32)>> {
    let Top { ids, logits } = model.top(normed, 1); // [cells, 1]
    let ids = read_ids(ids.squeeze_dim(1))?;
    Ok(ids.into_iter().zip(read_floats(logits)?).collect())
}

/// All cells of all rows, one row after the other.
///
/// # Shapes
/// - `normed`: `[batch, cells, d_model]`; result: `[batch * cells, d_model]`
pub fn rows_of<B: Backend>(normed: &Tensor<B, 3>) -> Tensor<B, 2> {
    normed.clone().flatten(0, 1)
}

/// What intervened runs of a variable's test pairs are compared with.
pub struct Reference<B: Backend> {
    /// Token ids of the counterfactual answers.
    pub labels: Vec<u32>,
    /// What the head reads in the base runs, `[pairs, d_model]`.
    pub base: Tensor<B, 2>,
    /// Token ids of the base's own answers, where they are known.
    pub base_labels: Option<Vec<u32>>,
    /// Tokens of which the likeliest is the answer, where it is not the likeliest of all.
    pub choices: Option<Vec<u32>>,
}

/// Sums over the pairs of a cell.
#[derive(Clone, Default)]
struct Sums {
    score: Score,
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
        let compared = model.compare(base, normed.clone(), &ids);
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
        let answers = match &reference.choices {
            None => read_ids(found.reading.top.ids.clone().flatten(0, 1))?, // [batch * cells]
            Some(choices) => answers_of(model, rows_of(&normed), Some(choices))?,
        };
        let turns: Vec<Option<bool>> = (labels.iter().zip(others))
            .map(|(label, other)| reference.base_labels.as_ref().map(|_| label != other))
            .collect();
        for (idx, sums) in self.sums.iter_mut().enumerate() {
            let sum = |column: usize| -> f64 {
                let values = values[column * n * n_cells..][..n * n_cells].iter();
                let values = values.skip(idx).step_by(n_cells);
                values.map(|value| f64::from(*value)).sum()
            };
            let answers = answers.iter().skip(idx).step_by(n_cells);
            let hits = answers.zip(labels).map(|(answer, label)| answer == label);
            sums.score = sums.score + Score::of(&hits.collect::<Vec<_>>(), &turns);
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
                score,
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
                token: None,
                variable,
                basis: None,
                iia: score.all.share(),
                validation: None,
                turned: (score.turn.n > 0).then(|| score.turn.share()),
                unseen: None,
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

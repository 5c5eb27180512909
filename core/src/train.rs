//! Distributed alignment search: learning an orthonormal basis whose swap makes the model give the counterfactual answer.
//!
//! Geiger et al. 2023, <https://arxiv.org/abs/2303.02536>. The rule is pyvene's `train_alignment`
//! (<https://arxiv.org/abs/2403.07809>), step by step: Adam, linear warm-up over a share of all steps and linear decay
//! to 0, mean cross-entropy of the label over the full vocabulary. Everything runs on kept values (see [`crate::cone`]);
//! the model takes no gradients.

use burn::{
    module::{AutodiffModule, Module},
    optim::{Adam, AdamConfig, AdamState, SimpleOptimizer},
    tensor::{
        Int, Tensor, TensorData, activation,
        backend::{AutodiffBackend, Backend},
    },
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{
    Error, Gpt2, Place, Result,
    cone::{KeptBase, KeptRun, KeptSource, row_indices},
    intervention::{Edit, Editor, Featurizer, Intervention, Op, Source, Units},
};

/// Kept base and source runs of pairs at one place, and their labels.
#[derive(Clone, Debug)]
pub struct KeptPairs<B: Backend> {
    /// Where the intervention is.
    pub place: Place,
    /// Kept base runs, resumed at the intervened position.
    pub base: KeptBase<B>,
    /// The source's value there, `[batch, 1, width]`.
    pub source: Tensor<B, 3>,
    /// Token ids of the counterfactual answers, `[batch]`.
    pub labels: Tensor<B, 1, Int>,
}

impl<B: Backend> KeptPairs<B> {
    /// Pairs of kept runs, at a place of the base run and this position of the source run; `None` if the base prompts have no such
    /// place, or the source's values were not kept there.
    ///
    /// # Panics
    /// If the place is outside the cone of the base runs.
    pub fn at(
        base: &KeptRun<B>,
        source: &KeptSource<B>,
        place: Place,
        source_position: usize,
        labels: Tensor<B, 1, Int>,
        n_layers: usize,
    ) -> Option<Self> {
        let Place { site, head, .. } = place;
        let start = place.position.resolve(base.n_tokens()).ok()?;
        let positions = source_position..source_position + 1;
        let source = match source.values(site, head, positions)? {
            Source::Stream(x) => x,
            Source::Heads(x) if head.is_some() => x.squeeze_dim(1),
            Source::Heads(_) | Source::None => return None,
        };
        Some(Self {
            place,
            base: base.base_at(site.resumes_at(n_layers), start),
            source,
            labels,
        })
    }

    /// Some of the pairs, in the given order.
    pub fn select(&self, rows: &[usize]) -> Self {
        let rows = row_indices(rows, &self.source.device());
        Self {
            base: self.base.select(&rows),
            source: self.source.clone().select(0, rows.clone()),
            labels: self.labels.clone().select(0, rows),
            ..*self
        }
    }

    /// Some of the pairs at several positions of one site, of the same runs: what they share is selected once.
    ///
    /// # Panics
    /// If `places` is empty, or they are not of one site of the same runs.
    pub fn select_together(places: &[&Self], rows: &[usize]) -> Vec<Self> {
        let Some(first) = places.iter().min_by_key(|pairs| pairs.base.start) else {
            panic!("no places to select pairs at");
        };
        let rows = row_indices(rows, &first.source.device());
        let base = first.base.select(&rows);
        let at = |pairs: &&Self| Self {
            base: base.starting_at(pairs.base.start),
            source: pairs.source.clone().select(0, rows.clone()),
            labels: pairs.labels.clone().select(0, rows.clone()),
            ..**pairs
        };
        places.iter().map(at).collect()
    }

    fn to_autodiff<A: AutodiffBackend<InnerBackend = B>>(&self) -> KeptPairs<A> {
        KeptPairs {
            place: self.place,
            base: self.base.to_autodiff(),
            source: Tensor::from_inner(self.source.clone()),
            labels: Tensor::from_inner(self.labels.clone()),
        }
    }

    /// The intervention on these pairs, which are the `idx`th block of rows of a run.
    fn edit(&self, idx: usize, intervention: &Intervention<B>) -> Edit<B> {
        let (n, Place { site, head, .. }) = (self.base.n_rows(), self.place);
        let source = self.source.clone();
        Edit {
            site,
            units: Units {
                rows: Some(idx * n..(idx + 1) * n),
                positions: Some(vec![self.base.start]),
                heads: head.map(|head| vec![head]),
            },
            intervention: intervention.clone(),
            source: match head {
                None => Source::Stream(source),
                Some(_) => Source::Heads(source.unsqueeze_dim(1)),
            },
        }
    }

    /// Logits at the last position after the intervention.
    ///
    /// # Shapes
    /// - result: `[batch, d_vocab]`, nats
    pub fn logits(&self, model: &Gpt2<B>, intervention: &Intervention<B>) -> Tensor<B, 2> {
        let normed = normed(
            model,
            std::slice::from_ref(self),
            std::slice::from_ref(intervention),
        );
        model.head(normed).squeeze_dim(1)
    }
}

/// What the head reads at the last position after an intervention at each of several places: one batch that starts from the
/// earliest of their positions.
///
/// # Shapes
/// - result: `[places * batch, 1, d_model]`
fn normed<B: Backend>(
    model: &Gpt2<B>,
    places: &[KeptPairs<B>],
    interventions: &[Intervention<B>],
) -> Tensor<B, 3> {
    let Some(first) = places.iter().min_by_key(|pairs| pairs.base.start) else {
        panic!("no places to intervene at");
    };
    let base = first.base.tile(places.len());
    let read = base.n_positions() - 1;
    let edits = places.iter().zip(interventions).enumerate();
    let edits = edits.map(|(idx, (pairs, intervention))| pairs.edit(idx, intervention));
    let mut editor = Editor::of_checked(edits.collect()).starting_at(base.start);
    model.resume_to_norm(&base, read, &mut editor)
}

/// An orthonormal basis in torch's parametrisation of tall orthogonal matrices (`parametrizations.orthogonal`): Householder
/// reflections, one a column, over a fixed orthogonal matrix.
#[derive(Clone, Debug)]
pub struct Rotation<B: Backend> {
    /// The parameter, `[d_model, k]`; only what is below the diagonal counts, the diagonal holds signs.
    pub original: Tensor<B, 2>,
    /// Fixed orthogonal matrix, `[d_model, d_model]`; the first `k` columns are the initial basis.
    pub base: Tensor<B, 2>,
    /// Sign of each column, `[1, k]`.
    signs: Tensor<B, 2>,
}

impl<B: Backend> Rotation<B> {
    /// A random subspace of rank `rank`, a function of the seed.
    ///
    /// # Errors
    /// - [`Error::Rank`] if the rank is 0 or above `d_model`.
    pub fn random(d_model: usize, rank: usize, seed: u64, device: &B::Device) -> Result<Self> {
        check_rank(d_model, rank)?;
        Ok(Self::with_basis(
            &random_rows(d_model, rank, seed),
            rank,
            device,
        ))
    }

    /// The subspace of these orthonormal rows, row-major `[rank, d_model]`.
    pub fn with_basis(rows: &[f32], rank: usize, device: &B::Device) -> Self {
        let d_model = rows.len() / rank;
        let base = complete(rows, d_model);
        let mut original = vec![0.0f32; d_model * rank];
        for column in 0..rank {
            original[column * rank + column] = -1.0;
        }
        let tensor =
            |values, shape: [usize; 2]| Tensor::from_data(TensorData::new(values, shape), device);
        Self::new(
            tensor(original, [d_model, rank]),
            tensor(base, [d_model, d_model]),
        )
    }

    /// A basis with this parameter over this fixed matrix.
    ///
    /// # Shapes
    /// - `original`: `[d_model, k]`; `base`: `[d_model, d_model]`
    pub fn new(original: Tensor<B, 2>, base: Tensor<B, 2>) -> Self {
        let [_, rank] = original.dims();
        let diagonal = Tensor::<B, 2>::eye(rank, &original.device());
        let signs = (original.clone().narrow(0, 0, rank) * diagonal).sum_dim(0); // [1, k]
        Self {
            original,
            base,
            signs,
        }
    }

    /// The basis.
    ///
    /// # Shapes
    /// - result: `[k, d_model]`, rows orthonormal
    pub fn basis(&self) -> Tensor<B, 2> {
        let [d_model, rank] = self.original.dims();
        let device = self.original.device();
        let below = Tensor::<B, 2>::ones([d_model, rank], &device).tril(-1);
        let diagonal = Tensor::<B, 2>::ones([d_model, rank], &device).tril(0) - below.clone();
        let reflectors = self.original.clone() * below + diagonal.clone(); // [d_model, k], ones on the diagonal
        let mut q = diagonal; // [d_model, k], the first k unit vectors
        for column in (0..rank).rev() {
            let v = reflectors.clone().narrow(1, column, 1); // [d_model, 1]
            let tau = v.clone().powi_scalar(2).sum_dim(0).recip() * 2.0; // [1, 1]
            q = q.clone() - (v.clone() * tau).matmul(v.transpose().matmul(q));
        }
        self.base.clone().matmul(q * self.signs.clone()).transpose() // [k, d_model]
    }
}

/// Checks that a site of this width has subspaces of this rank.
///
/// # Errors
/// - [`Error::Rank`] if the rank is 0 or above `d_model`.
pub fn check_rank(d_model: usize, rank: usize) -> Result<()> {
    if (1..=d_model).contains(&rank) {
        Ok(())
    } else {
        Err(Error::Rank { rank, d_model })
    }
}

/// Rows of a random orthonormal basis, row-major `[rank, d_model]`: Gaussian rows, made orthonormal in f64.
pub fn random_rows(d_model: usize, rank: usize, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut rows: Vec<Vec<f64>> = Vec::with_capacity(rank);
    while rows.len() < rank {
        let row: Vec<f64> = (0..d_model).map(|_| gaussian(&mut rng)).collect();
        rows.extend(orthonormal_to(&rows, row));
    }
    to_f32(rows)
}

/// The same rows, row-major `[rank, width]`, made orthonormal in f64: what f32 leaves of a wide basis after some steps may be
/// off by more than a file allows. Rows that cannot be are left as they are.
pub fn orthonormal(rows: &[f32], width: usize) -> Vec<f32> {
    let mut done: Vec<Vec<f64>> = Vec::new();
    for row in rows.chunks(width) {
        let row: Vec<f64> = row.iter().copied().map(f64::from).collect();
        done.push(orthonormal_to(&done, row.clone()).unwrap_or(row));
    }
    to_f32(done)
}

fn to_f32(rows: Vec<Vec<f64>>) -> Vec<f32> {
    let values = rows.into_iter().flatten();
    values.map(|value| value as f32).collect()
}

/// `row` without its parts along `rows`, of length 1; `None` if next to nothing is left.
fn orthonormal_to(rows: &[Vec<f64>], mut row: Vec<f64>) -> Option<Vec<f64>> {
    // Twice, since the first pass leaves rounding errors where little is left.
    for _ in 0..2 {
        for other in rows {
            let product: f64 = row.iter().zip(other).map(|(a, b)| a * b).sum();
            row.iter_mut()
                .zip(other)
                .for_each(|(a, b)| *a -= product * b);
        }
    }
    let norm = row.iter().map(|value| value * value).sum::<f64>().sqrt();
    (norm > 1e-6).then(|| row.iter().map(|value| value / norm).collect())
}

/// A standard normal number (Box & Muller 1958).
pub fn gaussian(rng: &mut impl RngExt) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}

/// An orthogonal matrix, row-major `[d_model, d_model]`, whose first columns are the given orthonormal rows: the product of
/// the Householder reflections that take the first unit vectors to them, in `O(d_model² k)`.
fn complete(rows: &[f32], d_model: usize) -> Vec<f32> {
    let mut columns: Vec<Vec<f64>> = rows
        .chunks(d_model)
        .map(|row| row.iter().map(|v| f64::from(*v)).collect())
        .collect();
    let rank = columns.len();
    let mut reflectors: Vec<(Vec<f64>, f64)> = Vec::with_capacity(rank);
    for column in 0..rank {
        let mut v = columns[column].clone();
        v[..column].fill(0.0);
        // The sign that adds rather than cancels.
        let sign = if v[column] < 0.0 { -1.0 } else { 1.0 };
        v[column] += sign * v.iter().map(|value| value * value).sum::<f64>().sqrt();
        let tau = 2.0 / v.iter().map(|value| value * value).sum::<f64>();
        columns[column..]
            .iter_mut()
            .for_each(|column| reflect(column, &v, tau));
        reflectors.push((v, -sign));
    }
    let mut matrix = vec![0.0f32; d_model * d_model];
    for idx in 0..d_model {
        let mut column = vec![0.0f64; d_model];
        column[idx] = reflectors.get(idx).map_or(1.0, |(_, sign)| *sign);
        for (v, _) in reflectors.iter().rev() {
            let tau = 2.0 / v.iter().map(|value| value * value).sum::<f64>();
            reflect(&mut column, v, tau);
        }
        column
            .iter()
            .enumerate()
            .for_each(|(row, value)| matrix[row * d_model + idx] = *value as f32);
    }
    matrix
}

/// `x - tau v (v · x)`.
fn reflect(x: &mut [f64], v: &[f64], tau: f64) {
    let product: f64 = x.iter().zip(v).map(|(a, b)| a * b).sum();
    x.iter_mut()
        .zip(v)
        .for_each(|(a, b)| *a -= tau * product * b);
}

/// Numbers of the training rule; the defaults are pyvene's.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainConfig {
    /// Steps in all; the learning rate falls to 0 over them.
    pub n_steps: usize,
    /// Highest learning rate. Default 1e-3.
    pub lr: f64,
    /// Share of the steps over which the learning rate rises, 0..1. Default 0.1.
    pub warm_up: f64,
    /// Added to Adam's denominator. Default 1e-8.
    pub epsilon: f32,
}

impl TrainConfig {
    /// pyvene's rule for this number of steps.
    pub fn new(n_steps: usize) -> Self {
        Self {
            n_steps,
            lr: 1e-3,
            warm_up: 0.1,
            epsilon: 1e-8,
        }
    }

    /// Learning rate of a step, from 0, as `transformers.get_linear_schedule_with_warmup` has it; the number of warm-up steps
    /// is not rounded, since pyvene passes it as it is.
    pub fn learning_rate(&self, step: usize) -> f64 {
        let (step, n_steps, warm_up) = (
            step as f64,
            self.n_steps as f64,
            self.warm_up * self.n_steps as f64,
        );
        if step < warm_up {
            self.lr * step / warm_up.max(1.0)
        } else {
            self.lr * ((n_steps - step) / (n_steps - warm_up).max(1.0)).max(0.0)
        }
    }
}

/// Learns a basis on kept pairs, one step at a time.
pub struct DasTrainer<A: AutodiffBackend> {
    model: Gpt2<A>,
    /// The same weights off the tape: head and loss are differentiated by hand.
    head: Gpt2<A::InnerBackend>,
    rotation: Rotation<A::InnerBackend>,
    optimizer: Adam,
    state: Option<AdamState<A::InnerBackend, 2>>,
    config: TrainConfig,
    step: usize,
}

impl<A: AutodiffBackend> DasTrainer<A> {
    /// A trainer that starts from `rotation`.
    pub fn new(
        model: &Gpt2<A::InnerBackend>,
        rotation: Rotation<A::InnerBackend>,
        config: TrainConfig,
    ) -> Self {
        let optimizer = AdamConfig::new()
            .with_beta_1(0.9)
            .with_beta_2(0.999)
            .with_epsilon(config.epsilon)
            .build();
        Self {
            model: Gpt2::from_inner(model.clone()).no_grad(),
            head: model.clone(),
            rotation,
            optimizer,
            state: None,
            config,
            step: 0,
        }
    }

    /// One step on a batch; returns the mean loss before it, nats, `[1]`.
    pub fn step(&mut self, batch: &KeptPairs<A::InnerBackend>) -> Tensor<A::InnerBackend, 1> {
        let losses = Self::step_together(std::slice::from_mut(self), std::slice::from_ref(batch));
        Tensor::cat(losses, 0)
    }

    /// One step of several trainers of one model, each on its own place of the same pairs, as one run: few rows use a product
    /// of matrices badly. Returns the mean loss of each before it, nats, `[1]`.
    ///
    /// # Panics
    /// If there are no trainers, or places are not of one site of the same runs.
    pub fn step_together(
        trainers: &mut [Self],
        places: &[KeptPairs<A::InnerBackend>],
    ) -> Vec<Tensor<A::InnerBackend, 1>> {
        let originals: Vec<Tensor<A, 2>> = (trainers.iter())
            .map(|trainer| Tensor::from_inner(trainer.rotation.original.clone()).require_grad())
            .collect();
        let interventions: Vec<Intervention<A>> = (trainers.iter().zip(&originals))
            .map(|(trainer, original)| {
                let rotation = Rotation {
                    original: original.clone(),
                    base: Tensor::from_inner(trainer.rotation.base.clone()),
                    signs: Tensor::from_inner(trainer.rotation.signs.clone()),
                };
                Intervention::new(Op::Interchange, Featurizer::Rotation(rotation.basis()))
            })
            .collect();
        let labels = Tensor::cat(places.iter().map(|pairs| pairs.labels.clone()).collect(), 0);
        let places: Vec<KeptPairs<A>> = places.iter().map(KeptPairs::to_autodiff).collect();
        let normed = normed(&trainers[0].model, &places, &interventions); // [places * batch, 1, d_model]
        let (losses, gradient) =
            losses_and_gradient(&trainers[0].head, normed.clone().inner(), labels);
        let n_rows = places[0].base.n_rows();
        // Each loss is a mean over its own rows.
        let gradient = Tensor::from_inner(gradient / n_rows as f64);
        let gradients = (normed * gradient).sum().backward();
        for (trainer, original) in trainers.iter_mut().zip(originals) {
            if let Some(gradient) = original.grad(&gradients) {
                trainer.update(gradient);
            }
            trainer.step += 1;
        }
        losses
            .split(n_rows, 0)
            .into_iter()
            .map(Tensor::mean)
            .collect()
    }

    fn update(&mut self, gradient: Tensor<A::InnerBackend, 2>) {
        let lr = self.config.learning_rate(self.step);
        let (original, state) = self.optimizer.step(
            lr,
            self.rotation.original.clone(),
            gradient,
            self.state.take(),
        );
        self.rotation.original = original;
        self.state = state;
    }

    /// What has been learned so far.
    pub fn rotation(&self) -> &Rotation<A::InnerBackend> {
        &self.rotation
    }
}

/// Cross-entropy of each row's label over the full vocabulary, and its gradient with respect to what the head reads. By hand it
/// takes one product with the head forward and one back; on the tape a dozen passes over all logits come on top.
///
/// # Shapes
/// - `normed`, gradient: `[batch, 1, d_model]`; `labels`, losses: `[batch]`, nats
fn losses_and_gradient<B: Backend>(
    model: &Gpt2<B>,
    normed: Tensor<B, 3>,
    labels: Tensor<B, 1, Int>,
) -> (Tensor<B, 1>, Tensor<B, 3>) {
    let [batch, _, d_model] = normed.dims();
    let logits: Tensor<B, 2> = model.head(normed).squeeze_dim(1); // [batch, d_vocab]
    let max = logits.clone().max_dim(1); // [batch, 1]
    let label = logits.clone().gather(1, labels.clone().reshape([batch, 1]));
    let exp = (logits - max.clone()).exp(); // [batch, d_vocab]
    let sum = exp.clone().sum_dim(1); // [batch, 1]
    let losses = (sum.clone().log() + max - label).squeeze_dim(1);
    let weight = model.head_weight(); // [d_vocab, d_model]
    let expected = exp.matmul(weight.clone()) / sum; // mean row of the head under the model's answer, [batch, d_model]
    let gradient = expected - weight.select(0, labels);
    (losses, gradient.reshape([batch, 1, d_model]))
}

/// Mean cross-entropy of the labels, nats.
///
/// # Shapes
/// - `logits`: `[batch, d_vocab]`; `labels`: `[batch]`; result: `[1]`
pub fn cross_entropy<B: Backend>(logits: Tensor<B, 2>, labels: Tensor<B, 1, Int>) -> Tensor<B, 1> {
    let [batch, _] = logits.dims();
    activation::log_softmax(logits, 1)
        .gather(1, labels.reshape([batch, 1]))
        .mean()
        .neg()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn learning_rate_rises_and_falls_to_zero() {
        let config = TrainConfig {
            lr: 1.0,
            ..TrainConfig::new(20)
        };
        let rates = [0, 1, 2, 11, 20].map(|step| config.learning_rate(step));
        assert_eq!(rates, [0.0, 0.5, 1.0, 0.5, 0.0]);
        // 1.6 warm-up steps, not 1.
        let config = TrainConfig {
            lr: 1.0,
            ..TrainConfig::new(16)
        };
        assert!((config.learning_rate(1) - 1.0 / 1.6).abs() < 1e-12);
    }

    #[test]
    fn completed_matrix_is_orthogonal_and_starts_with_the_rows() {
        let (d_model, rank) = (12, 3);
        let rows = random_rows(d_model, rank, 7);
        let matrix = complete(&rows, d_model);
        let column = |idx: usize| (0..d_model).map(move |row| row * d_model + idx);
        for left in 0..d_model {
            for right in 0..d_model {
                let product: f32 = column(left)
                    .zip(column(right))
                    .map(|(a, b)| matrix[a] * matrix[b])
                    .sum();
                let expected = if left == right { 1.0 } else { 0.0 };
                assert!(
                    (product - expected).abs() < 1e-5,
                    "columns {left} and {right}: {product}"
                );
            }
        }
        for (idx, row) in rows.chunks(d_model).enumerate() {
            for (value, expected) in column(idx).map(|at| matrix[at]).zip(row) {
                assert!((value - expected).abs() < 1e-5);
            }
        }
    }
}

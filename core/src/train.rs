//! Distributed alignment search: learning an orthonormal basis whose swap makes the model give the counterfactual answer.
//!
//! Geiger et al. 2023, <https://arxiv.org/abs/2303.02536>. The rule is pyvene's `train_alignment`
//! (<https://arxiv.org/abs/2403.07809>), step by step: Adam, linear warm-up over a share of all steps and linear decay
//! to 0, mean cross-entropy of the label over the full vocabulary, or, beyond pyvene, over the task's answers where the answer is the
//! likeliest of these. Everything runs on cached values (see [`crate::cone`]);
//! the model takes no gradients.

mod loss;
mod pairs;
mod rotation;

use burn::{
    module::{AutodiffModule, Module},
    optim::{Adam, AdamConfig, AdamState, SimpleOptimizer},
    tensor::{
        Tensor,
        backend::{AutodiffBackend, Backend},
    },
};

use crate::{
    Decoder,
    intervention::{Featurizer, Intervention, Op},
};

pub use loss::{cross_entropy, losses_and_gradient, losses_and_gradient_of};
pub use pairs::CachedPairs;
use pairs::normed;
pub use rotation::{Rotation, check_rank, gaussian, orthonormal, random_rows};

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

/// Learns a basis on cached pairs, one step at a time.
pub struct DasTrainer<A: AutodiffBackend> {
    model: Decoder<A>,
    /// The same weights off the tape: head and loss are differentiated by hand.
    head: Decoder<A::InnerBackend>,
    rotation: Rotation<A::InnerBackend>,
    optimizer: Adam,
    state: Option<AdamState<A::InnerBackend, 2>>,
    config: TrainConfig,
    /// Tokens that the answer is one of; `None` for all.
    choices: Option<Vec<u32>>,
    step: usize,
}

impl<A: AutodiffBackend> DasTrainer<A> {
    /// A trainer that starts from `rotation`.
    pub fn new(
        model: &Decoder<A::InnerBackend>,
        rotation: Rotation<A::InnerBackend>,
        config: TrainConfig,
    ) -> Self {
        let optimizer = AdamConfig::new()
            .with_beta_1(0.9)
            .with_beta_2(0.999)
            .with_epsilon(config.epsilon)
            .build();
        Self {
            model: Decoder::from_inner(model.clone()).no_grad(),
            head: model.clone(),
            rotation,
            optimizer,
            state: None,
            config,
            choices: None,
            step: 0,
        }
    }

    /// The same where the answer is the likeliest of a few tokens: the loss is the cross-entropy over these alone. That is what is
    /// scored then, and of a large vocabulary it is many times cheaper.
    pub fn with_choices(self, choices: Option<Vec<u32>>) -> Self {
        Self { choices, ..self }
    }

    /// One step on a batch; returns the mean loss before it, nats, `[1]`.
    pub fn step(&mut self, batch: &CachedPairs<A::InnerBackend>) -> Tensor<A::InnerBackend, 1> {
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
        places: &[CachedPairs<A::InnerBackend>],
    ) -> Vec<Tensor<A::InnerBackend, 1>> {
        let gradients = Self::gradients(trainers, places);
        let trainers = trainers.iter_mut().zip(gradients);
        trainers
            .map(|(trainer, gradient)| trainer.apply(gradient))
            .collect()
    }

    /// What [`DasTrainer::step_together`] learns from: the gradients of some of its pairs may be computed apart and joined.
    ///
    /// # Panics
    /// As there.
    pub fn gradients(
        trainers: &[Self],
        places: &[CachedPairs<A::InnerBackend>],
    ) -> Vec<Gradient<A::InnerBackend>> {
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
                Intervention::new(Op::Interchange, Featurizer::Subspace(rotation.basis()))
            })
            .collect();
        let labels = Tensor::cat(places.iter().map(|pairs| pairs.labels.clone()).collect(), 0);
        let places: Vec<CachedPairs<A>> = places.iter().map(CachedPairs::to_autodiff).collect();
        let normed = normed(&trainers[0].model, &places, &interventions); // [places * batch, 1, d_model]
        let (head, read) = (&trainers[0].head, normed.clone().inner());
        let (losses, gradient) = match &trainers[0].choices {
            None => losses_and_gradient(head, read, labels),
            Some(choices) => losses_and_gradient_of(head, read, labels, choices),
        };
        let gradients = (normed * Tensor::from_inner(gradient)).sum().backward();
        let losses = losses.split(places[0].base.n_rows(), 0);
        (originals.iter().zip(losses))
            .map(|(original, losses)| Gradient {
                sum: original.grad(&gradients),
                losses,
            })
            .collect()
    }

    /// Takes a step; returns the mean loss before it, nats, `[1]`.
    pub fn apply(&mut self, gradient: Gradient<A::InnerBackend>) -> Tensor<A::InnerBackend, 1> {
        let Gradient { sum, losses } = gradient;
        if let Some(sum) = sum {
            let mean = sum / losses.dims()[0] as f64;
            let lr = self.config.learning_rate(self.step);
            let (original, state) =
                self.optimizer
                    .step(lr, self.rotation.original.clone(), mean, self.state.take());
            self.rotation.original = original;
            self.state = state;
        }
        self.step += 1;
        losses.mean()
    }

    /// What has been learned so far.
    pub fn rotation(&self) -> &Rotation<A::InnerBackend> {
        &self.rotation
    }
}

/// What some pairs say about a basis.
pub struct Gradient<B: Backend> {
    /// Gradient of the sum of the losses; `None` where they do not depend on the basis.
    sum: Option<Tensor<B, 2>>,
    /// Loss of each pair, nats, `[batch]`.
    losses: Tensor<B, 1>,
}

impl<B: Backend> Gradient<B> {
    /// What these pairs and others say together.
    pub fn join(self, other: Self) -> Self {
        Self {
            sum: match (self.sum, other.sum) {
                (Some(sum), Some(other)) => Some(sum + other),
                (sum, other) => sum.or(other),
            },
            losses: Tensor::cat(vec![self.losses, other.losses], 0),
        }
    }
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
}

//! A training step, whose head and loss are differentiated by hand, follows autodiff's gradient through the whole model in
//! every family: soft caps and heads of their own included.

use burn::{
    backend::Autodiff,
    module::{AutodiffModule, Module},
    tensor::{Int, Tensor},
};
use swivel_core::{
    Place, Position,
    cone::Cone,
    intervention::{Edit, Editor, Featurizer, Intervention, Op, Units},
    train::{CachedPairs, DasTrainer, Rotation, TrainConfig, cross_entropy},
};

use super::*;

type A = Autodiff<B>;

/// f32 sums in another order, forward and back.
const TOLERANCE: f32 = 1e-5;
/// Labels that no model here answers; each row has its own.
const LABELS: [i32; 2] = [7, 11];

#[test]
fn a_step_follows_the_gradient_of_autodiff() {
    for name in FAMILIES {
        let reference = Reference::open(&format!("families/{name}/reference.safetensors"));
        let (sizes, model) = family(name);
        let base = reference.ints::<2>("ids");
        let source = base.clone().flip([0]);
        let n_tokens = base.dims()[1];
        let site = Component::BlockOutput.at(0);
        let place = Place::new(site, Position::LAST);
        let labels = Tensor::<B, 1, Int>::from_ints(LABELS, &device());
        let start = Rotation::<B>::random(sizes.d_model, 1, 7, &device()).unwrap();

        // With a large epsilon, Adam's first step is the gradient, over its size and 1.
        let config = TrainConfig {
            lr: 1.0,
            warm_up: 0.0,
            epsilon: 1.0,
            ..TrainConfig::new(10)
        };
        let last = n_tokens - 1..=n_tokens - 1;
        let cone = Cone::of(&[site], last.clone(), sizes.n_layers).unwrap();
        let cached = model.cache_run(base.clone(), &cone);
        let sources = model.cache_source(source.clone(), &[site], last);
        let pairs = CachedPairs::at(
            &cached,
            &sources,
            place,
            n_tokens - 1,
            labels.clone(),
            sizes.n_layers,
        );
        let mut trainer = DasTrainer::<A>::new(&model, start.clone(), config);
        let loss = trainer.step(&pairs.unwrap());
        let found = trainer.rotation().original.clone();

        let mut recorder = Recorder::new([site]);
        model.forward(source, &mut recorder);
        let units = Units::positions([n_tokens - 1]);
        let Source::Positions(value) = recorded(&recorder, site) else {
            unreachable!();
        };
        let original = Tensor::<A, 2>::from_inner(start.original.clone()).require_grad();
        let rotation = Rotation::new(original.clone(), Tensor::from_inner(start.base.clone()));
        let featurizer = Featurizer::Subspace(rotation.basis());
        let edit = Edit {
            site,
            source: Source::Positions(units.select(Tensor::from_inner(value))),
            units,
            intervention: Intervention::new(Op::Interchange, featurizer),
        };
        let mut editor = Editor::new(&sizes, n_tokens, vec![edit]).unwrap();
        let model = Decoder::<A>::from_inner(model).no_grad();
        let logits = model.forward(Tensor::from_inner(base), &mut editor);
        let logits: Tensor<A, 2> = logits.narrow(1, n_tokens - 1, 1).squeeze_dim(1);
        let expected_loss = cross_entropy(logits, Tensor::from_inner(labels));
        let gradient = original.grad(&expected_loss.backward()).unwrap();
        assert_close(loss, expected_loss.inner(), TOLERANCE, name);

        let step = gradient.clone() / (gradient.abs() + 1.0);
        let expected = start.original - step;
        // The first row is the sign, which is held.
        let rest = |x: Tensor<B, 2>| x.narrow(0, 1, sizes.d_model - 1);
        let largest = rest(expected.clone()).abs().max().into_scalar();
        assert!(largest > 1e-3, "{name}: the step is {largest:e} only");
        assert_close(rest(found), rest(expected), TOLERANCE, name);
    }
}

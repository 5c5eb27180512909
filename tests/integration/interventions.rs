//! Interventions equal pyvene's at every component; where pyvene has no place for one, those made in Hugging Face's own run.

use burn::tensor::Tensor;
use swivel_core::{
    Component, Decoder, Recorder, Site,
    intervention::{Edit, Editor, Featurizer, Intervention, Op, Source, Units},
};

use crate::support::{B, Reference, assert_close, model, sizes};

/// f32 rounding over two layers, in another order than torch's.
const TOLERANCE: f32 = 1e-5;
/// The reference holds the positions from here on.
const FROM: usize = 3;

const OPS: [(&str, Op); 4] = [
    ("interchange", Op::Interchange),
    ("zero", Op::Zero),
    ("add", Op::Add),
    ("subtract", Op::Subtract),
];

struct Case {
    model: Decoder<B>,
    reference: Reference,
    /// Components that pyvene's names lack, or that it cannot change at positions.
    unnamed: Reference,
}

impl Case {
    fn open() -> Self {
        Self {
            model: model(),
            reference: Reference::open("interventions.safetensors"),
            unnamed: Reference::open("interventions_unnamed.safetensors"),
        }
    }

    /// Logits of the base run with one intervention whose source value is read at `read`.
    fn run(
        &self,
        site: Site,
        write: Units,
        read: &Units,
        intervention: Intervention<B>,
    ) -> Tensor<B, 3> {
        let mut recorder = Recorder::new([site]);
        self.model
            .forward(self.reference.ints("source_ids"), &mut recorder);
        let source = match recorder.get(site) {
            Some(value) => Source::Positions(read.select(value.clone())),
            None => Source::Heads(read.select(recorder.get_heads(site).unwrap().clone())),
        };
        let ids = self.reference.ints::<2>("base_ids");
        let edit = Edit {
            site,
            units: write,
            intervention,
            source,
        };
        let mut editor = Editor::new(&sizes(), ids.dims()[1], vec![edit]).unwrap();
        let logits = self.model.forward(ids, &mut editor);
        editor.finish().unwrap();
        logits
    }

    fn check(&self, name: &str, logits: Tensor<B, 3>) {
        let file = [&self.reference, &self.unnamed]
            .into_iter()
            .find(|file| file.names().iter().any(|other| other == name));
        let file = file.unwrap_or_else(|| panic!("there is no reference for {name}"));
        let expected: Tensor<B, 3> = file.tensor(name);
        let n_positions = expected.dims()[1];
        let from = logits.dims()[1] - n_positions;
        assert_close(
            logits.narrow(1, from, n_positions),
            expected,
            TOLERANCE,
            name,
        );
    }
}

#[test]
fn every_component_and_operation_equals_pyvene() {
    let case = Case::open();
    for (component, name, _) in Component::ALL {
        for layer in 0..2 {
            let Ok(site) = component.at(layer).check(&sizes()) else {
                continue; // the embedding and the final norm are in one layer only
            };
            for (op_name, op) in OPS {
                let units = Units {
                    rows: None,
                    positions: Some(vec![3, 6]),
                    heads: component.is_per_head().then(|| vec![1]),
                };
                let intervention = Intervention::new(op, Featurizer::Identity);
                let logits = case.run(site, units.clone(), &units, intervention);
                case.check(&format!("{layer}.{name}.{op_name}"), logits);
            }
        }
    }
}

#[test]
fn whole_attention_patterns_equal_pyvene() {
    let case = Case::open();
    for layer in 0..2 {
        for (op_name, op) in OPS {
            let units = Units {
                rows: None,
                positions: None,
                heads: Some(vec![1]),
            };
            let intervention = Intervention::new(op, Featurizer::Identity);
            let logits = case.run(
                Component::AttentionWeight.at(layer),
                units.clone(),
                &units,
                intervention,
            );
            case.check(
                &format!("{layer}.attention_weight.{op_name}.head_1"),
                logits,
            );
        }
    }
}

#[test]
fn source_may_be_read_elsewhere() {
    let case = Case::open();
    for layer in 0..2 {
        let intervention = Intervention::new(Op::Interchange, Featurizer::Identity);
        let site = Component::BlockOutput.at(layer);
        let logits = case.run(
            site,
            Units::positions([3, 6]),
            &Units::positions([1, 4]),
            intervention,
        );
        case.check(&format!("{layer}.block_output.interchange_moved"), logits);
    }
}

#[test]
fn low_rank_interchange_equals_pyvene() {
    let case = Case::open();
    for layer in 0..2 {
        let basis = case.reference.tensor(&format!("low_rank_basis.{layer}"));
        let intervention = Intervention::new(Op::Interchange, Featurizer::Subspace(basis));
        let units = Units::positions([3, 6]);
        let logits = case.run(
            Component::BlockOutput.at(layer),
            units.clone(),
            &units,
            intervention,
        );
        case.check(&format!("{layer}.block_output.low_rank"), logits);
    }
}

#[test]
fn positions_before_the_edit_do_not_change() {
    let case = Case::open();
    let base = case.model.forward(case.reference.ints("base_ids"), &mut ());
    let intervention = Intervention::new(Op::Zero, Featurizer::Identity);
    let units = Units::positions([FROM]);
    let logits = case.run(
        Component::BlockInput.at(0),
        units.clone(),
        &units,
        intervention,
    );
    assert_close(
        logits.clone().narrow(1, 0, FROM),
        base.clone().narrow(1, 0, FROM),
        0.0,
        "positions before the edit",
    );
    let change = (logits - base).abs().max_dim(2).narrow(1, FROM, 9 - FROM);
    assert!(change.min().into_scalar() > 1e-2, "those after it do");
}

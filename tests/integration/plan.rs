//! A plan's runs equal the same runs made by hand.

mod positions;

use std::sync::Arc;

use burn::tensor::{Int, Tensor};
use swivel_core::{
    Component, Place, Position, Recorder, Site, Sizes, Tokenizer,
    direction::{Controls, Direction, Facts, Measured, Probe},
    intervention::{Edit, Editor, Featurizer, Intervention, Op, Source, Units},
    plan::{CheckedPlan, Outcome, Plan, PlanError, Record, data_url},
    train::random_rows,
};

use crate::support::{B, assert_close, device, model, sizes};

/// A batch and its rows one by one differ by rounding.
const TOLERANCE: f32 = 1e-5;

const BASE: [[i32; 5]; 2] = [[5, 9, 2, 7, 11], [1, 2, 3, 4, 5]];
const SOURCE: [[i32; 5]; 2] = [[8, 1, 30, 2, 6], [7, 6, 5, 4, 3]];

fn run(interventions: &str) -> Outcome<B> {
    let plan = format!(
        r#"{{"version": 1, "base": {{"ids": {BASE:?}}}, {interventions}, "record": [
            {{"layer": 1, "component": "block_output"}}, {{"layer": 0, "component": "attention_weight"}}]}}"#
    );
    let plan = Plan::from_json(plan.as_bytes()).unwrap();
    let read = |name: &str| Err::<Arc<Direction>, _>(format!("{name} is not there"));
    let checked = plan.check(&sizes(), None, read).unwrap();
    checked.run(&model()).unwrap()
}

fn sources(rows: &[[[i32; 5]; 2]]) -> String {
    let rows: Vec<String> = rows
        .iter()
        .map(|ids| format!(r#"{{"ids": {ids:?}}}"#))
        .collect();
    format!(r#""sources": [{}]"#, rows.join(", "))
}

fn ids<const ROWS: usize>(rows: [[i32; 5]; ROWS]) -> Tensor<B, 2, Int> {
    Tensor::from_ints(rows, &device())
}

/// Logits of a run with edits.
fn edited<const ROWS: usize>(rows: [[i32; 5]; ROWS], edits: Vec<Edit<B>>) -> Tensor<B, 3> {
    let mut editor = Editor::new(&sizes(), 5, edits).unwrap();
    let logits = model().forward(ids(rows), &mut editor);
    editor.finish().unwrap();
    logits
}

fn interchange(site: Site, write: Units, source: Source<B>) -> Edit<B> {
    Edit {
        site,
        units: write,
        intervention: Intervention::new(Op::Interchange, Featurizer::Identity),
        source,
    }
}

/// Value of a site of the stream in a run with edits.
fn value<const ROWS: usize>(
    rows: [[i32; 5]; ROWS],
    edits: Vec<Edit<B>>,
    site: Site,
    position: usize,
) -> Source<B> {
    let mut hook = (
        Editor::new(&sizes(), 5, edits).unwrap(),
        Recorder::new([site]),
    );
    model().forward(ids(rows), &mut hook);
    let value = hook.1.get(site).unwrap().clone();
    Source::Positions(Units::positions([position]).select(value))
}

#[test]
fn plan_without_interventions_is_the_plain_run() {
    let outcome = run(r#""interventions": []"#);
    let mut recorder = Recorder::new([
        Component::BlockOutput.at(1),
        Component::AttentionWeight.at(0),
    ]);
    let plain = model().forward(ids(BASE), &mut recorder);
    assert_close(outcome.base, plain.clone(), 0.0, "base");
    assert_close(outcome.intervened, plain, 0.0, "intervened");
    let [Record::Positions(stream), Record::Heads(heads)] = &outcome.records[..] else {
        panic!("one record of each kind");
    };
    let expected = recorder.get(Component::BlockOutput.at(1)).unwrap();
    assert_close(stream.clone(), expected.clone(), 0.0, "block_output");
    let expected = recorder.get_heads(Component::AttentionWeight.at(0));
    assert_close(
        heads.clone(),
        expected.unwrap().clone(),
        0.0,
        "attention_weight",
    );
}

#[test]
fn interchange_equals_the_editor_in_every_row() {
    // Other positions in each row, and the source read elsewhere.
    let outcome = run(&format!(
        r#"{}, "interventions": [{{"layer": 0, "component": "mlp_output", "source": 0, "base_positions": [[2], [4]],
           "source_positions": [[1], [3]], "op": {{"type": "interchange"}}}}]"#,
        sources(&[SOURCE])
    ));
    let site = Component::MlpOutput.at(0);
    for (row, [write, read]) in [[2, 1], [4, 3]].into_iter().enumerate() {
        let source = value([SOURCE[row]], Vec::new(), site, read);
        let edit = interchange(site, Units::positions([write]), source);
        let expected = edited([BASE[row]], vec![edit]);
        let found = outcome.intervened.clone().narrow(0, row, 1);
        assert_close(found, expected, TOLERANCE, "interchange");
    }
}

#[test]
fn heads_are_zeroed_as_by_the_editor() {
    let edit = |component: Component, units: Units| Edit {
        site: component.at(1),
        units,
        intervention: Intervention::new(Op::Zero, Featurizer::Identity),
        source: Source::None,
    };
    let z = Component::HeadAttentionValueOutput;
    for (unit, component, positions) in [
        (
            r#""unit": "h.pos", "heads": [1, 2], "base_positions": [[3]]"#,
            z,
            Some(vec![3]),
        ),
        (
            r#""unit": "h", "heads": [1, 2]"#,
            Component::AttentionWeight,
            None,
        ),
    ] {
        let outcome = run(&format!(
            r#""interventions": [{{"layer": 1, "component": "{component}", {unit}, "op": {{"type": "zero"}}}}]"#
        ));
        let units = Units {
            rows: None,
            positions,
            heads: Some(vec![1, 2]),
        };
        let expected = edited(BASE, vec![edit(component, units)]);
        assert_close(outcome.intervened, expected, TOLERANCE, unit);
    }
}

#[test]
fn low_rank_at_half_strength_equals_the_editor() {
    let (site, sizes): (Site, Sizes) = (Component::BlockOutput.at(1), sizes());
    let facts = Facts {
        method: "das".to_owned(),
        model: "tiny".to_owned(),
        model_sha256: String::new(),
        first_token: None,
        token: None,
        place: Place::new(site, Position::LAST),
        task: None,
        variable: None,
        templates: Vec::new(),
        train_pairs: None,
        epochs: None,
        lr: None,
        seed: None,
        iia: 0.0,
        controls: Controls {
            random: 0.0,
            full: 0.0,
            ..Controls::default()
        },
        measured: Measured::default(),
        probe: Probe {
            base: Vec::new(),
            source: Vec::new(),
            source_position: None,
            top_1: 0,
            logit: 0.0,
        },
        created_by: None,
    };
    let direction = Direction::new(random_rows(sizes.d_model, 3, 7), 3, facts).unwrap();
    let outcome = run(&format!(
        r#"{}, "interventions": [{{"layer": 1, "component": "block_output", "source": 0, "base_positions": [4],
           "op": {{"type": "low_rank", "direction": "{}", "dims": [2, 0], "strength": 0.5}}}}]"#,
        sources(&[SOURCE]),
        data_url(&direction.to_bytes())
    ));
    let basis: Tensor<B, 2> = direction.basis(&device());
    let basis = Tensor::cat(
        vec![basis.clone().narrow(0, 0, 1), basis.narrow(0, 2, 1)],
        0,
    );
    let edit = Edit {
        intervention: Intervention {
            strength: 0.5,
            ..Intervention::new(Op::Interchange, Featurizer::Subspace(basis))
        },
        ..interchange(
            site,
            Units::positions([4]),
            value(SOURCE, Vec::new(), site, 4),
        )
    };
    assert_close(
        outcome.intervened,
        edited(BASE, vec![edit]),
        TOLERANCE,
        "low_rank",
    );
}

#[test]
fn constant_at_a_neuron_equals_the_editor() {
    let d_mlp = sizes().d_mlp;
    let mut values = vec![0.0; d_mlp];
    values[7] = 3.0;
    let outcome = run(&format!(
        r#""interventions": [{{"layer": 1, "component": "mlp_activation", "values": [{:?}], "base_positions": [[1, 2]],
           "op": {{"type": "add", "dims": [7]}}}}]"#,
        vec![3.0; d_mlp]
    ));
    let values = Tensor::<B, 1>::from_floats(values.as_slice(), &device()).reshape([1, 1, d_mlp]);
    let edit = Edit {
        intervention: Intervention::new(Op::Add, Featurizer::Identity),
        ..interchange(
            Component::MlpActivation.at(1),
            Units::positions([1, 2]),
            Source::Positions(values.repeat_dim(0, 2).repeat_dim(1, 2)),
        )
    };
    assert_close(
        outcome.intervened,
        edited(BASE, vec![edit]),
        TOLERANCE,
        "constant",
    );
}

#[test]
fn serial_sources_are_intervened_on_by_the_ones_before() {
    let other = [[3, 3, 4, 4, 5], [9, 8, 9, 8, 9]];
    let step = |layer, source| {
        format!(
            r#"{{"layer": {layer}, "component": "block_output", "source": {source}, "base_positions": [[2]],
               "op": {{"type": "interchange"}}}}"#
        )
    };
    let interventions = format!(
        r#"{}, "interventions": [{}, {}]"#,
        sources(&[SOURCE, other]),
        step(0, 0),
        step(1, 1)
    );
    let serial = run(&format!(r#""mode": "serial", {interventions}"#)).intervened;
    let sites = [0, 1].map(|layer| Component::BlockOutput.at(layer));
    let at = Units::positions([2]);
    let first = interchange(sites[0], at.clone(), value(SOURCE, Vec::new(), sites[0], 2));
    let of_both = value(other, vec![first.clone()], sites[1], 2);
    let expected = edited(BASE, vec![interchange(sites[1], at.clone(), of_both)]);
    assert_close(serial, expected, TOLERANCE, "serial");

    let parallel = run(&interventions).intervened;
    let second = interchange(sites[1], at, value(other, Vec::new(), sites[1], 2));
    assert_close(
        parallel,
        edited(BASE, vec![first, second]),
        TOLERANCE,
        "parallel",
    );
}

//! What must hold of every intervention, whatever the model.

use burn::tensor::Tensor;
use swivel_core::{
    Component, PlaceError, Recorder, Site,
    intervention::{Edit, Editor, Featurizer, Intervention, InterventionError, Op, Source, Units},
    train::random_rows,
};

use crate::support::{B, Reference, assert_close, device, model, sizes};

/// f32 rounding of one projection there and back.
const TOLERANCE: f32 = 1e-5;
const N_TOKENS: usize = 9;

fn basis(rank: usize) -> Tensor<B, 2> {
    let d_model = sizes().d_model;
    Tensor::<B, 1>::from_floats(random_rows(d_model, rank, 3).as_slice(), &device())
        .reshape([rank, d_model])
}

fn all_positions() -> Units {
    Units::default()
}

/// Logits of the base run with `block_output` of a layer edited, the source taken from the run of `source_ids`.
fn edited(
    source_ids: &str,
    layer: usize,
    units: &Units,
    interventions: &[Intervention<B>],
) -> Tensor<B, 3> {
    let reference = Reference::open("interventions.safetensors");
    let (model, site) = (model(), Component::BlockOutput.at(layer));
    let mut recorder = Recorder::new([site]);
    model.forward(reference.ints(source_ids), &mut recorder);
    let source = Source::Positions(units.select(recorder.get(site).unwrap().clone()));
    let edits = interventions
        .iter()
        .map(|intervention| Edit {
            site,
            units: units.clone(),
            intervention: intervention.clone(),
            source: source.clone(),
        })
        .collect();
    let mut editor = Editor::new(&sizes(), N_TOKENS, edits).unwrap();
    let logits = model.forward(reference.ints("base_ids"), &mut editor);
    editor.finish().unwrap();
    logits
}

fn plain(ids: &str) -> Tensor<B, 3> {
    model().forward(
        Reference::open("interventions.safetensors").ints(ids),
        &mut (),
    )
}

fn swap(featurizer: Featurizer<B>) -> Intervention<B> {
    Intervention::new(Op::Interchange, featurizer)
}

#[test]
fn empty_editor_and_recorder_change_no_bit() {
    let reference = Reference::open("interventions.safetensors");
    let mut editor = Editor::new(&sizes(), N_TOKENS, Vec::new()).unwrap();
    let edited = model().forward(reference.ints("base_ids"), &mut editor);
    assert_close(edited, plain("base_ids"), 0.0, "empty editor");
    let mut recorder = Recorder::new([Component::MlpOutput.at(1)]);
    let recorded = model().forward(reference.ints("base_ids"), &mut recorder);
    assert_close(recorded, plain("base_ids"), 0.0, "recorder");
}

#[test]
fn swap_from_self_is_identity() {
    for featurizer in [Featurizer::Identity, Featurizer::Subspace(basis(2))] {
        let logits = edited(
            "base_ids",
            0,
            &Units::positions([2, 8]),
            &[swap(featurizer)],
        );
        assert_close(logits, plain("base_ids"), 0.0, "swap from self");
    }
}

#[test]
fn swap_of_the_last_layer_everywhere_gives_the_source() {
    let logits = edited(
        "source_ids",
        1,
        &all_positions(),
        &[swap(Featurizer::Identity)],
    );
    assert_close(logits, plain("source_ids"), TOLERANCE, "full swap");
}

#[test]
fn full_rank_subspace_is_the_plain_swap() {
    let units = Units::positions([1, 5]);
    let swapped = edited(
        "source_ids",
        0,
        &units,
        &[swap(Featurizer::Subspace(basis(sizes().d_model)))],
    );
    let plain = edited("source_ids", 0, &units, &[swap(Featurizer::Identity)]);
    assert_close(swapped, plain, TOLERANCE, "full rank");
}

#[test]
fn strength_zero_is_identity_and_half_is_between() {
    let units = Units::positions([4]);
    for op in [Op::Interchange, Op::Zero, Op::Add, Op::Subtract] {
        let off = Intervention {
            strength: 0.0,
            ..Intervention::new(op, Featurizer::Subspace(basis(3)))
        };
        assert_close(
            edited("source_ids", 0, &units, &[off]),
            plain("base_ids"),
            0.0,
            "strength 0",
        );
    }
    // Half way, and then half of the rest and the rest: the same as at once.
    let at = |strength| Intervention {
        strength,
        ..swap(Featurizer::Subspace(basis(3)))
    };
    let stepwise = edited("source_ids", 1, &units, &[at(0.5), at(1.0)]);
    assert_close(
        stepwise,
        edited("source_ids", 1, &units, &[at(1.0)]),
        TOLERANCE,
        "half way, then all",
    );
}

#[test]
fn strength_is_the_share_of_the_way() {
    let value = |seed| {
        let rows = random_rows(24, 4, seed);
        Tensor::<B, 1>::from_floats(rows.as_slice(), &device()).reshape([2, 2, 24])
    };
    let (x, source) = (value(9), value(10));
    for op in [Op::Interchange, Op::Zero, Op::Add, Op::Subtract] {
        for featurizer in [Featurizer::Identity, Featurizer::Subspace(basis(3))] {
            let at = |strength| {
                let intervention = Intervention {
                    strength,
                    ..Intervention::new(op, featurizer.clone())
                };
                intervention.apply(x.clone(), source.clone())
            };
            let way = at(1.0) - x.clone();
            assert!(way.clone().abs().max().into_scalar() > 0.1, "{op:?}");
            for strength in [-1.0, 0.25, 0.5, 2.0] {
                let expected = x.clone() + way.clone() * strength;
                let what = format!("{op:?} at strength {strength}");
                assert_close(at(strength), expected, 1e-6, &what);
            }
        }
    }
}

#[test]
fn ablating_twice_is_ablating_once_and_leaves_no_component() {
    let featurizer = Featurizer::Subspace(basis(2));
    let ablate = Intervention::new(Op::Zero, featurizer.clone());
    let units = Units::positions([3]);
    let once = edited("base_ids", 0, &units, std::slice::from_ref(&ablate));
    let twice = edited("base_ids", 0, &units, &[ablate.clone(), ablate.clone()]);
    assert_close(twice, once, TOLERANCE, "ablated twice");
    let x = Tensor::<B, 1>::from_floats(random_rows(24, 4, 9).as_slice(), &device())
        .reshape([2, 2, 24]);
    let left = featurizer.decode(featurizer.encode(ablate.apply(x.clone(), x.clone())));
    assert_close(left, x.zeros_like(), 1e-6, "what is left in the subspace");
}

#[test]
fn several_edits_at_one_place_are_applied_in_order() {
    let units = Units::positions([2]);
    let [add, zero] = [Op::Add, Op::Zero].map(|op| Intervention::new(op, Featurizer::Identity));
    let last_wins = edited(
        "source_ids",
        0,
        &units,
        &[add.clone(), add.clone(), zero.clone()],
    );
    assert_close(
        last_wins,
        edited("source_ids", 0, &units, std::slice::from_ref(&zero)),
        0.0,
        "add, add, zero",
    );
    assert_close(
        edited("source_ids", 0, &units, &[zero, add]),
        edited("source_ids", 0, &units, &[swap(Featurizer::Identity)]),
        TOLERANCE,
        "zero, add",
    );
}

#[test]
fn edits_that_cannot_be_applied_are_refused() {
    let edit = |site: Site, units: Units, width: usize| Edit {
        site,
        intervention: swap(Featurizer::Identity),
        source: Source::<B>::Positions(Tensor::zeros(
            [1, units.positions.as_ref().map_or(0, Vec::len), width],
            &device(),
        )),
        units,
    };
    let check = |edit: Edit<B>| Editor::new(&sizes(), N_TOKENS, vec![edit]).unwrap_err();
    let site = Component::BlockOutput.at(1);
    let positions = |positions: &[usize]| Units::positions(positions);
    assert!(matches!(
        check(edit(site, positions(&[9]), 24)),
        InterventionError::Place(PlaceError::PositionOutside { position, last: 8 }) if position == "9"
    ));
    assert!(matches!(
        check(edit(site, positions(&[]), 24)),
        InterventionError::PositionsEmpty { .. }
    ));
    assert!(matches!(
        check(edit(site, positions(&[1]), 25)),
        InterventionError::SourceShape { .. }
    ));
    assert!(matches!(
        check(edit(Component::BlockOutput.at(2), positions(&[1]), 24)),
        InterventionError::Place(PlaceError::LayerOutside { layer: 2, last: 1 })
    ));
    let heads = Units {
        heads: Some(vec![0]),
        ..positions(&[1])
    };
    assert!(matches!(
        check(edit(site, heads.clone(), 24)),
        InterventionError::Place(PlaceError::ComponentUnsupported { .. })
    ));
    let heads = Units {
        heads: Some(vec![3]),
        ..heads
    };
    let site = Component::HeadQueryOutput.at(0);
    assert!(matches!(
        check(edit(site, heads, 8)),
        InterventionError::Place(PlaceError::HeadOutside { head: 3, last: 2 })
    ));
}

#[test]
fn edit_that_the_run_never_reached_is_an_error() {
    let edit = Edit {
        site: Component::BlockOutput.at(1),
        units: Units::positions([0]),
        intervention: Intervention::<B>::new(Op::Zero, Featurizer::Identity),
        source: Source::None,
    };
    let editor = Editor::new(&sizes(), N_TOKENS, vec![edit]).unwrap();
    let error = editor.finish().unwrap_err();
    assert!(
        matches!(&error, InterventionError::Unapplied { site } if site == "layer 1 block_output"),
        "{error}"
    );
}

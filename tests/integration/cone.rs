//! A resumed run equals the full run, at every layer and every first position.

use swivel_core::{
    Component, Recorder,
    cone::KeptBase,
    intervention::{Edit, Editor, Featurizer, Intervention, Op, Source, Units},
};

use crate::support::{B, Reference, assert_close, config, model};

/// f32 rounding: the same sums, in matrices of another shape.
const TOLERANCE: f32 = 1e-5;
const N_TOKENS: usize = 9;

#[test]
fn resumed_run_equals_the_full_run_everywhere() {
    let reference = Reference::open("interventions.safetensors");
    let (model, config) = (model(), config());
    for layer in 0..config.n_layers {
        let site = Component::BlockOutput.at(layer);
        let mut recorder = Recorder::new([site]);
        model.forward(reference.ints("source_ids"), &mut recorder);
        let source_run = recorder.get(site).unwrap().clone();
        for start in 0..N_TOKENS {
            for read in [0, N_TOKENS - 1 - start] {
                let what = format!("layer {layer}, start {start}, read from {read}");
                let intervention = Intervention::<B>::new(Op::Interchange, Featurizer::Identity);

                let source = model.keep_source(reference.ints("source_ids"), layer, start);
                assert_close(
                    source.clone(),
                    source_run.clone().narrow(1, start, 1),
                    TOLERANCE,
                    &what,
                );

                let kept = model.keep_base(reference.ints("base_ids"), layer, start);
                let edited = intervention.apply(kept.tail.clone().narrow(1, 0, 1), source.clone());
                let tail = kept
                    .tail
                    .clone()
                    .slice_assign([0..2, 0..1, 0..config.d_model], edited);
                let resumed = model.resume(&kept, tail, read, &mut ());

                let units = Units::positions([start]);
                let edit = Edit {
                    site,
                    units,
                    intervention,
                    source: Source::Stream(source),
                };
                let mut editor = Editor::new(&config, N_TOKENS, vec![edit]).unwrap();
                let full = model.forward(reference.ints("base_ids"), &mut editor);
                editor.finish().unwrap();
                let from = start + read;
                assert_close(
                    resumed,
                    full.narrow(1, from, N_TOKENS - from),
                    TOLERANCE,
                    &what,
                );
            }
        }
    }
}

#[test]
fn kept_runs_can_be_joined_and_selected() {
    let reference = Reference::open("interventions.safetensors");
    let model = model();
    let kept = model.keep_base(reference.ints("base_ids"), 0, 4);
    let joined = KeptBase::cat(vec![kept.clone(), kept.clone()]);
    assert_eq!((joined.n_rows(), joined.n_bytes()), (4, 2 * kept.n_bytes()));
    // 2 rows: a tail of 5 positions, keys and values of 4 positions in one layer.
    assert_eq!(kept.n_bytes(), 4 * 2 * (5 * 24 + 2 * 4 * 24));
    let rows = burn::tensor::Tensor::from_ints([3, 0], &crate::support::device());
    let selected = joined.select(&rows);
    let logits = |kept: &KeptBase<B>| model.resume(kept, kept.tail.clone(), 0, &mut ());
    assert_close(
        logits(&selected).narrow(0, 0, 1),
        logits(&kept).narrow(0, 1, 1),
        0.0,
        "row 3",
    );
    assert_close(
        logits(&selected).narrow(0, 1, 1),
        logits(&kept).narrow(0, 0, 1),
        0.0,
        "row 0",
    );
}

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

/// Components of the stream, where positions are on the second axis.
fn stream_sites(n_layers: usize) -> impl Iterator<Item = swivel_core::Site> {
    let last = n_layers - 1;
    Component::ALL
        .into_iter()
        .map(|(component, ..)| component)
        .filter(|component| !component.is_per_head())
        .flat_map(move |component| match component {
            Component::Embedding => vec![component.at(0)],
            Component::FinalNorm => vec![component.at(last)],
            _ => (0..n_layers).map(|l| component.at(l)).collect(),
        })
}

#[test]
fn a_kept_run_resumes_at_every_component_and_position() {
    let reference = Reference::open("interventions.safetensors");
    let (model, config) = (model(), config());
    let [base_ids, source_ids] = ["base_ids", "source_ids"].map(|name| reference.ints(name));
    let kept = model.keep_run(base_ids.clone());
    for site in stream_sites(config.n_layers) {
        let mut recorder = Recorder::new([site]);
        model.forward(source_ids.clone(), &mut recorder);
        let source_run = recorder.get(site).unwrap().clone();
        for start in 0..N_TOKENS {
            let what = format!("{site}, position {start}");
            let edit = |position: usize| Edit {
                site,
                units: Units::positions([position]),
                intervention: Intervention::<B>::new(Op::Interchange, Featurizer::Identity),
                source: Source::Stream(source_run.clone().narrow(1, start, 1)),
            };
            let mut full = Editor::new(&config, N_TOKENS, vec![edit(start)]).unwrap();
            let expected = model.forward(base_ids.clone(), &mut full);
            full.finish().unwrap();

            let base = kept.base_at(site.resumes_at(config.n_layers), start);
            let mut editor = Editor::new(&config, N_TOKENS - start, vec![edit(0)]).unwrap();
            let resumed = model.resume(&base, base.tail.clone(), 0, &mut editor);
            editor.finish().unwrap();
            let expected = expected.narrow(1, start, N_TOKENS - start);
            assert_close(resumed, expected, TOLERANCE, &what);
        }
    }
}

#[test]
fn replaying_a_layer_gives_its_values() {
    let reference = Reference::open("interventions.safetensors");
    let (model, config) = (model(), config());
    let kept = model.keep_run(reference.ints("base_ids"));
    let site = Component::MlpActivation.at(config.n_layers - 1);
    let mut full = Recorder::new([site]);
    model.forward(reference.ints("base_ids"), &mut full);
    let full = full.get(site).unwrap().clone();
    for start in 0..N_TOKENS {
        let mut replayed = Recorder::new([site]);
        model.replay(&kept, site.layer, start, &mut replayed);
        let rest = full.clone().narrow(1, start, N_TOKENS - start);
        let what = format!("from position {start}");
        assert_close(replayed.get(site).unwrap().clone(), rest, TOLERANCE, &what);
    }
}

#[test]
fn a_batch_of_interchanges_equals_one_run_for_each() {
    let reference = Reference::open("interventions.safetensors");
    let (model, config) = (model(), config());
    let [base_ids, source_ids] =
        ["base_ids", "source_ids"].map(|name| reference.ints(name).narrow(0, 0, 1));
    let kept = model.keep_run(base_ids.clone());
    for site in stream_sites(config.n_layers) {
        let mut recorder = Recorder::new([site]);
        model.forward(source_ids.clone(), &mut recorder);
        let source = recorder.get(site).unwrap().clone();
        let each = {
            let rest = source.clone().narrow(1, 3, N_TOKENS - 3);
            model.interchange_each(&kept, rest, site, 3..N_TOKENS)
        };
        for position in 3..N_TOKENS {
            let edit = Edit {
                site,
                units: Units::positions([position]),
                intervention: Intervention::<B>::new(Op::Interchange, Featurizer::Identity),
                source: Source::Stream(source.clone().narrow(1, position, 1)),
            };
            let mut editor = Editor::new(&config, N_TOKENS, vec![edit]).unwrap();
            let full = model.forward(base_ids.clone(), &mut editor);
            let expected = full.narrow(1, N_TOKENS - 1, 1).squeeze_dim::<2>(1);
            let what = format!("{site}, position {position}");
            let row = each.clone().narrow(0, position - 3, 1);
            assert_close(row, expected, TOLERANCE, &what);
        }
    }
}

//! Text that goes on with what is kept of a run equals text whose every token is computed anew.

use burn::tensor::Tensor;
use proptest::{prelude::*, test_runner::TestRunner};
use swivel_core::{
    cone::Cone,
    generate::{Acts, Generator},
    ids_tensor,
    intervention::{Edit, Editor, Featurizer, Intervention, InterventionError, Op, Units},
};

use super::*;

/// f32 rounding: the same sums, in matrices of another shape.
const TOLERANCE: f32 = 1e-4;
/// Tokens that are generated: past the windows of families that have some.
const N_NEW: usize = 12;
/// Ids in prompts, fewer than any family here has.
const D_VOCAB: u32 = 50;

/// A value of a source run at its last token, put at one place.
#[derive(Clone, Debug)]
struct Case {
    base: Vec<u32>,
    source: Vec<u32>,
    position: usize,
    site: usize,
    op: Op,
    acts: Acts,
}

fn case() -> impl Strategy<Value = Case> {
    let ids = |n: std::ops::RangeInclusive<usize>| prop::collection::vec(0..D_VOCAB, n);
    let op = prop::sample::select(vec![Op::Interchange, Op::Zero, Op::Add]);
    let acts = prop::sample::select(Acts::ALL.map(|row| row.0).to_vec());
    let rest = (ids(1..=7), any::<usize>(), any::<usize>(), op, acts);
    (ids(1..=9), rest).prop_map(|(base, (source, position, site, op, acts))| Case {
        position: position % base.len(),
        base,
        source,
        site,
        op,
        acts,
    })
}

fn check(model: &Decoder<B>, sizes: &Sizes, case: &Case) {
    // A pattern has no row for tokens that come later.
    let sites = sites(sizes).into_iter();
    let sites: Vec<Site> = sites
        .filter(|site| site.component.width(sizes).is_some())
        .collect();
    let site = sites[case.site % sites.len()];
    let mut recorder = Recorder::new([site]);
    model.forward(ids_tensor([&case.source], &device()), &mut recorder);
    let last = Units::positions([case.source.len() - 1]);
    let source = recorded(&recorder, site);
    let source = source.map(|x| last.select(x), |x| last.select(x));
    let at = |positions: Vec<usize>| Edit {
        site,
        source: match case.op {
            Op::Zero => Source::None,
            _ => source.map(
                |x| x.repeat_dim(1, positions.len()),
                |x| x.repeat_dim(2, positions.len()),
            ),
        },
        units: Units::positions(positions),
        intervention: Intervention::new(case.op, Featurizer::Identity),
    };
    let n_tokens = case.base.len();
    let ids = ids_tensor([&case.base], &device());
    let cached = model.cache_run(ids, &Cone::growing(sizes.n_layers, n_tokens));
    let edits = vec![at(vec![case.position])];
    let mut generator = Generator::new(model, sizes, &cached, edits, case.acts).unwrap();
    assert_eq!(generator.n_rows(), 2);
    let mut rows = [case.base.clone(), case.base.clone()];
    for new in 0..N_NEW {
        let found = generator.logits(model);
        let n_so_far = n_tokens + new;
        let positions: Vec<usize> = match case.acts {
            Acts::Prompt => vec![case.position],
            Acts::New => (n_tokens..n_so_far).collect(),
            Acts::Every => (0..n_so_far).collect(),
        };
        let edits = match positions.is_empty() {
            true => vec![],
            false => vec![at(positions)],
        };
        let mut editor = Editor::new(sizes, n_so_far, edits).unwrap();
        let expected = [
            model.forward(ids_tensor([&rows[0]], &device()), &mut ()),
            model.forward(ids_tensor([&rows[1]], &device()), &mut editor),
        ];
        let expected = Tensor::cat(expected.to_vec(), 0);
        let expected = expected.narrow(1, n_so_far - 1, 1).squeeze_dim::<2>(1);
        let what = format!("{site}, token {new}");
        assert_close(found.clone(), expected, TOLERANCE, &what);
        let tokens: Vec<i64> = found.argmax(1).into_data().iter().collect();
        let tokens: Vec<u32> = tokens.into_iter().map(|id| id as u32).collect();
        for (row, token) in rows.iter_mut().zip(&tokens) {
            row.push(*token);
        }
        generator.step(model, &tokens).unwrap();
    }
}

#[test]
fn what_is_kept_gives_what_is_computed_anew() {
    for name in FAMILIES {
        let (sizes, model) = family(name);
        let mut runner = TestRunner::new(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::with_cases(24)
        });
        let result = runner.run(&case(), |case| {
            check(&model, &sizes, &case);
            Ok(())
        });
        result.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

/// Tokens that are not there yet get one value, or none.
#[test]
fn new_tokens_take_the_value_of_one_token() {
    let (sizes, model) = family("gpt2");
    let ids = ids_tensor([[1, 2, 3]], &device());
    let cached = model.cache_run(ids.clone(), &Cone::growing(sizes.n_layers, 3));
    let pattern = Component::AttentionWeight.at(0);
    let stream = Component::BlockOutput.at(0);
    for (site, positions) in [(stream, vec![0, 1]), (pattern, vec![2])] {
        let mut recorder = Recorder::new([site]);
        model.forward(ids.clone(), &mut recorder);
        let units = Units::positions(positions);
        let source = recorded(&recorder, site).map(|x| units.select(x), |x| units.select(x));
        let edit = Edit {
            site,
            source,
            units,
            intervention: Intervention::new(Op::Interchange, Featurizer::Identity),
        };
        let start = |acts| Generator::new(&model, &sizes, &cached, vec![edit.clone()], acts);
        assert!(start(Acts::Prompt).is_ok());
        for acts in [Acts::New, Acts::Every] {
            let error = start(acts).err();
            assert!(
                matches!(error, Some(InterventionError::EveryToken { .. })),
                "{error:?}"
            );
        }
    }
}

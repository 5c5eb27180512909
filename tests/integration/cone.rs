//! A resumed run equals the full run, at every component, unit and position.

mod cached;

use burn::tensor::Tensor;
use proptest::prelude::*;
use swivel_core::{
    Component, Recorder, Site, Sizes,
    cone::{CachedBase, CachedRun, CachedSource, Cone, Storage},
    intervention::{Edit, Editor, Featurizer, Intervention, Op, Source, Units},
};

use crate::support::{B, Reference, assert_close, device, difference, model, sizes};

/// f32 rounding: the same sums, in matrices of another shape.
const TOLERANCE: f32 = 1e-5;
/// The same with values that were cached with 11 significant bits.
const TOLERANCE_F16: f32 = 5e-3;
const N_TOKENS: usize = 9;
/// An edit that matters moves the logits by more than this share of the largest: more than any rounding, so that a resumed run
/// without the edit would not pass.
const MOVED: f32 = 3.0 * TOLERANCE;

fn interchange() -> Intervention<B> {
    Intervention::new(Op::Interchange, Featurizer::Identity)
}

/// Every site of the model.
fn sites(sizes: &Sizes) -> Vec<Site> {
    let places = Component::ALL
        .into_iter()
        .flat_map(|(component, ..)| (0..sizes.n_layers).map(move |layer| component.at(layer)));
    places.filter(|site| site.check(sizes).is_ok()).collect()
}

/// A site's value in a run, as a source.
fn recorded(recorder: &Recorder<B>, site: Site) -> Source<B> {
    match (recorder.get(site), recorder.get_heads(site)) {
        (Some(x), _) => Source::Positions(x.clone()),
        (_, Some(x)) => Source::Heads(x.clone()),
        _ => panic!("{site} was not recorded"),
    }
}

/// The part of a source's value that an edit of these units takes.
fn part(source: &Source<B>, units: &Units) -> Source<B> {
    match source {
        Source::Positions(x) => Source::Positions(units.select(x.clone())),
        Source::Heads(x) => Source::Heads(units.select(x.clone())),
        Source::Input => Source::Input,
        Source::None => Source::None,
    }
}

/// The units of pyvene at a site: tokens, and, where it is per head, whole heads and heads at tokens.
fn units(site: Site, positions: &[usize], heads: &[usize]) -> Vec<Units> {
    let (positions, heads) = (Some(positions.to_vec()), Some(heads.to_vec()));
    let of = |positions: &Option<Vec<usize>>, heads: &Option<Vec<usize>>| Units {
        rows: None,
        positions: positions.clone(),
        heads: heads.clone(),
    };
    match site.component.is_per_head() {
        false => vec![of(&positions, &None), of(&None, &None)],
        true => vec![
            of(&positions, &None),
            of(&None, &heads),
            of(&positions, &heads),
        ],
    }
}

/// Whether an interchange at a site and a position can change what the model answers after the token `query`: by what a
/// causal transformer computes from what, not by what the cone says.
fn can_change(site: Site, position: usize, query: usize, n_layers: usize) -> bool {
    use Component::*;
    let is_read_from_later = matches!(
        site.component,
        Embedding
            | BlockInput
            | AttentionInput
            | KeyOutput
            | ValueOutput
            | HeadKeyOutput
            | HeadValueOutput
    );
    let is_key = matches!(site.component, KeyOutput | HeadKeyOutput);
    let is_about_where_to_look = matches!(
        site.component,
        QueryOutput | HeadQueryOutput | AttentionScore | AttentionWeight
    );
    match query {
        // The first token sees itself alone: wherever it looks, it sees the same.
        _ if position == 0 && is_about_where_to_look => false,
        0 if is_key => false,
        query if query == position => true,
        query if query > position => is_read_from_later || site.layer + 1 < n_layers,
        _ => false,
    }
}

/// The edited run differs from the base run where it can, in every row, and nowhere else in any bit.
#[track_caller]
fn assert_changes(
    edited: &Tensor<B, 3>,
    base: &Tensor<B, 3>,
    is_reached: impl Fn(usize) -> bool,
    what: &str,
) {
    let [n_rows, n_positions, _] = base.dims();
    for query in 0..n_positions {
        for row in 0..n_rows {
            let at = |x: &Tensor<B, 3>| x.clone().narrow(0, row, 1).narrow(1, query, 1).into_data();
            let found = difference(&at(edited), &at(base));
            match is_reached(query) {
                true => assert!(
                    found > MOVED && found.is_finite(),
                    "{what}: row {row}, token {query} changes by {found:e} only"
                ),
                false => assert_eq!(found, 0.0, "{what}: row {row}, token {query} changes"),
            }
        }
    }
}

/// Base and source runs, recorded and cached once.
struct Runs {
    model: swivel_core::Decoder<B>,
    sizes: Sizes,
    reference: Reference,
    /// Logits of the base run.
    base: Tensor<B, 3>,
    source: Recorder<B>,
    cached: CachedRun<B>,
}

impl Runs {
    fn new() -> Self {
        let reference = Reference::open("interventions.safetensors");
        let (model, sizes) = (model(), sizes());
        let mut source = Recorder::new(sites(&sizes));
        model.forward(reference.ints("source_ids"), &mut source);
        let cone = Cone::whole(sizes.n_layers, N_TOKENS);
        let cached = model.cache_run(reference.ints("base_ids"), &cone);
        let base = model.forward(reference.ints("base_ids"), &mut ());
        Self {
            model,
            sizes,
            reference,
            base,
            source,
            cached,
        }
    }

    fn edit(&self, site: Site, units: Units, intervention: Intervention<B>) -> Edit<B> {
        Edit {
            site,
            source: part(&recorded(&self.source, site), &units),
            units,
            intervention,
        }
    }

    /// Logits of the full run at every position, and of the resumed run at those from the first edited one on.
    fn full_and_resumed(&self, cached: &CachedRun<B>, edits: Vec<Edit<B>>) -> [Tensor<B, 3>; 2] {
        let editor = Editor::new(&self.sizes, N_TOKENS, edits).unwrap();
        let (layer, start) = editor.resumes_at(self.sizes.n_layers).unwrap();
        let mut full = editor.clone();
        let expected = self
            .model
            .forward(self.reference.ints("base_ids"), &mut full);
        full.finish().unwrap();
        let mut editor = editor.starting_at(start);
        let found = self
            .model
            .resume(&cached.base_at(layer, start), 0, &mut editor);
        editor.finish().unwrap();
        [expected, found]
    }
}

/// The last positions of `full`, as many as `resumed` has.
fn end_of(full: Tensor<B, 3>, resumed: &Tensor<B, 3>) -> Tensor<B, 3> {
    let n_positions = resumed.dims()[1];
    full.narrow(1, N_TOKENS - n_positions, n_positions)
}

#[test]
fn resumed_run_equals_the_full_run_everywhere() {
    let runs = Runs::new();
    let n_layers = runs.sizes.n_layers;
    for site in sites(&runs.sizes) {
        for position in 0..N_TOKENS {
            for units in units(site, &[position], &[1]) {
                let what = format!("{site}, {units:?}");
                let edited = match &units.positions {
                    None => 0..N_TOKENS,
                    Some(_) => position..position + 1,
                };
                let edit = runs.edit(site, units, interchange());
                let [full, resumed] = runs.full_and_resumed(&runs.cached, vec![edit]);
                let is_reached =
                    |query| (edited.clone()).any(|at| can_change(site, at, query, n_layers));
                assert_changes(&full, &runs.base, is_reached, &what);
                assert_eq!(resumed.dims()[1], N_TOKENS - edited.start, "{what}");
                assert_close(resumed.clone(), end_of(full, &resumed), TOLERANCE, &what);
            }
        }
    }
}

/// Which positions of `[batch, pos, …]` differ in a single bit.
fn changed(found: &Tensor<B, 3>, before: &Tensor<B, 3>) -> Vec<bool> {
    let n_positions = found.dims()[1];
    let at = |x: &Tensor<B, 3>, position| x.clone().narrow(1, position, 1).into_data();
    (0..n_positions)
        .map(|position| at(found, position) != at(before, position))
        .collect()
}

#[test]
fn an_edit_changes_what_its_site_reaches_and_nothing_else() {
    let runs = Runs::new();
    let n_layers = runs.sizes.n_layers;
    let outputs = || Recorder::new((0..n_layers).map(|layer| Component::BlockOutput.at(layer)));
    let ids = || runs.reference.ints("base_ids");
    let mut before = outputs();
    let logits_before = runs.model.forward(ids(), &mut before);
    for site in sites(&runs.sizes) {
        for position in 0..N_TOKENS {
            // Twice the source on top: an interchange leaves the first token's weight of 1 what it is.
            let add = Intervention {
                strength: 2.0,
                ..Intervention::new(Op::Add, Featurizer::Identity)
            };
            let edit = runs.edit(site, Units::positions([position]), add);
            let editor = Editor::new(&runs.sizes, N_TOKENS, vec![edit]).unwrap();
            let mut hooks = (editor, outputs());
            let logits = runs.model.forward(ids(), &mut hooks);
            let (editor, after) = hooks;
            editor.finish().unwrap();
            let what = format!("{site}, position {position}");
            for layer in 0..n_layers {
                let output = |of: &Recorder<B>| of.get(Component::BlockOutput.at(layer)).cloned();
                let found = changed(&output(&after).unwrap(), &output(&before).unwrap());
                let rule = (0..N_TOKENS).map(|at| site.reaches(position, layer, at));
                assert_eq!(rule.collect::<Vec<_>>(), found, "{what}, layer {layer}");
            }
            let rule = (0..N_TOKENS).map(|at| site.reaches_logits(position, n_layers, at));
            let found = changed(&logits, &logits_before);
            assert_eq!(rule.collect::<Vec<_>>(), found, "{what}, logits");
        }
    }
}

#[test]
fn replaying_a_layer_gives_its_values() {
    let runs = Runs::new();
    let site = Component::MlpActivation.at(runs.sizes.n_layers - 1);
    let mut full = Recorder::new([site]);
    runs.model
        .forward(runs.reference.ints("base_ids"), &mut full);
    let full = full.get(site).unwrap().clone();
    for start in 0..N_TOKENS {
        let mut replayed = Recorder::new([site]);
        runs.model
            .replay(&runs.cached, site.layer, start, &mut replayed);
        let rest = full.clone().narrow(1, start, N_TOKENS - start);
        let what = format!("from position {start}");
        assert_close(replayed.get(site).unwrap().clone(), rest, TOLERANCE, &what);
    }
}

#[test]
fn a_batch_of_interchanges_equals_one_run_for_each() {
    const FIRST: usize = 3;
    let runs = Runs::new();
    let ids = || runs.reference.ints("source_ids");
    for site in sites(&runs.sizes) {
        let source = runs
            .model
            .cache_source(ids(), &[site], FIRST..=N_TOKENS - 1);
        for head in [None, Some(2)] {
            if head.is_some() && !site.component.is_per_head() {
                continue;
            }
            let values = source.values(site, head, FIRST..N_TOKENS).unwrap();
            let (swap, at) = (interchange(), (site, head));
            let each = (runs.model).intervene_each(
                &runs.cached,
                &swap,
                &values,
                at,
                &(FIRST..N_TOKENS).collect::<Vec<_>>(),
            );
            for position in FIRST..N_TOKENS {
                let units = Units {
                    rows: None,
                    positions: Some(vec![position]),
                    heads: head.map(|head| vec![head]),
                };
                let edit = runs.edit(site, units, interchange());
                let [full, _] = runs.full_and_resumed(&runs.cached, vec![edit]);
                let what = format!("{site}, head {head:?}, position {position}");
                let row = runs.model.head(each.clone().narrow(1, position - FIRST, 1));
                let last = |x: &Tensor<B, 3>| x.clone().narrow(1, N_TOKENS - 1, 1);
                let is_reached = |_| can_change(site, position, N_TOKENS - 1, runs.sizes.n_layers);
                assert_changes(&last(&full), &last(&runs.base), is_reached, &what);
                assert_close(row.clone(), last(&full), TOLERANCE, &what);

                // A source run that stops right there is as good.
                let source = runs.model.cache_source(ids(), &[site], position..=position);
                let values = source.values(site, head, position..position + 1).unwrap();
                let one =
                    (runs.model).intervene_each(&runs.cached, &swap, &values, at, &[position]);
                assert_close(runs.model.head(one), row, TOLERANCE, &what);
            }
        }
    }
}

/// An edit as plain values: index of the site, positions, heads, which unit, operation, strength.
type AnyEdit = (
    prop::sample::Index,
    Vec<usize>,
    Vec<usize>,
    usize,
    usize,
    f32,
);

fn any_edit() -> impl Strategy<Value = AnyEdit> {
    (
        any::<prop::sample::Index>(),
        prop::sample::subsequence((0..N_TOKENS).collect::<Vec<_>>(), 1..4),
        prop::sample::subsequence(vec![0, 1, 2], 1..3),
        0..3usize,
        0..4usize,
        -1.0..2.0f32,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Several interventions of any kind, at any components, units and sets of positions, in one run.
    #[test]
    fn any_set_of_interventions_resumes(edits in prop::collection::vec(any_edit(), 1..4)) {
        let runs = Runs::new();
        let sites = sites(&runs.sizes);
        let edits: Vec<Edit<B>> = edits
            .iter()
            .map(|(site, positions, heads, unit, op, strength)| {
                let site = *site.get(&sites);
                let op = match op {
                    0 => Op::Interchange,
                    1 => Op::Zero,
                    2 => Op::Add,
                    _ => Op::Subtract,
                };
                let units = units(site, positions, heads);
                let units = units[unit % units.len()].clone();
                runs.edit(site, units, Intervention { strength: *strength, ..Intervention::new(op, Featurizer::Identity) })
            })
            .collect();
        let what = format!("{edits:?}");
        let [full, resumed] = runs.full_and_resumed(&runs.cached, edits);
        let full = end_of(full, &resumed);
        let found = difference(&resumed.into_data(), &full.into_data());
        prop_assert!(found <= TOLERANCE, "{what}: {found:e}");
    }
}

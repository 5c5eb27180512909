//! `sweep` at every component: what a map says of each cell equals full runs of the same pairs.

#![cfg(feature = "flex")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod support;

use std::{fs, path::Path};

use burn::tensor::{Int, Tensor, TensorData};
use burn_flex::{Flex, FlexDevice};
use support::ok;
use swivel_core::{
    Component, Config, Decoder, Recorder, Site, Sizes, Weights,
    intervention::{Edit, Editor, Featurizer, Intervention, Op, Source, Units},
    question::Pair,
    sweep::{Cell, Method, SweepResult},
};
use tempfile::TempDir;

/// A mean of shares or nats over pairs, of sums in another order.
const TOLERANCE: f64 = 1e-4;
/// A share of a few pairs, which files keep to nine decimals.
const ROUNDED: f64 = 1e-8;

/// The map of a sweep of every component, over the pairs of a file.
fn sweep(folder: &TempDir, pairs: &str, options: &[&str]) -> SweepResult {
    let out = folder.path().join("map.safetensors");
    let names = ["--out", out.to_str().unwrap(), "--test-data", pairs];
    let sweep = ["sweep", "--device", "flex", "--force"];
    ok(&[&sweep[..], &names, options].concat());
    SweepResult::from_bytes(&fs::read(out).unwrap()).unwrap()
}

/// Pairs with one demonstration, as a file and as values.
fn pairs(folder: &TempDir, seed: &str) -> (String, Vec<Pair>) {
    let path = folder.path().join(format!("{seed}.jsonl"));
    let path = path.to_str().unwrap().to_owned();
    let options = ["data", "--shots", "1", "--pairs", "12", "--seed", seed];
    ok(&[&options[..], &["--out", &path]].concat());
    let text = fs::read_to_string(&path).unwrap();
    let pairs = text.lines().map(|line| serde_json::from_str(line).unwrap());
    (path, pairs.collect())
}

/// The components that blocks of the model have.
fn of_model(sizes: &Sizes) -> impl Iterator<Item = Component> {
    let components = Component::ALL.into_iter().map(|(component, ..)| component);
    components.filter(|component| {
        (0..sizes.n_layers).any(|layer| component.at(layer).check(sizes).is_ok())
    })
}

fn names(components: impl Iterator<Item = Component>) -> String {
    components
        .map(Component::name)
        .collect::<Vec<_>>()
        .join(",")
}

/// Full runs of the solver on all pairs at once.
struct FullRuns {
    model: Decoder<Flex>,
    sizes: Sizes,
    pairs: Vec<Pair>,
    /// Every value of the source runs.
    source: Recorder<Flex>,
    /// Logits of the base runs and of the source runs after the last token, by pair.
    plain: [Vec<Vec<f64>>; 2],
}

impl FullRuns {
    fn new(pairs: Vec<Pair>) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/solver");
        let [config, weights] =
            ["config.json", "model.safetensors"].map(|name| fs::read(folder.join(name)).unwrap());
        let config = Config::from_json(&config).unwrap();
        let weights = Weights::new(&[&weights]).unwrap();
        let model = Decoder::load(&config, &weights, &FlexDevice).unwrap();
        let sizes = config.sizes;
        let sites = Component::ALL
            .into_iter()
            .flat_map(|(component, ..)| (0..sizes.n_layers).map(move |layer| component.at(layer)));
        let mut source = Recorder::new(sites);
        let of_source = model.forward(batch(&pairs, |pair| &pair.source), &mut source);
        let of_base = model.forward(batch(&pairs, |pair| &pair.base), &mut ());
        Self {
            plain: [of_base, of_source].map(last_rows),
            model,
            sizes,
            pairs,
            source,
        }
    }

    /// Logits of the base runs after the last token with one edit, by pair.
    fn edited(&self, cell: &Cell, intervention: Intervention<Flex>, is_mean: bool) -> Answers<'_> {
        let n_tokens = self.pairs[0].base.len();
        let units = Units {
            rows: None,
            positions: Some(vec![cell.place.position.resolve(n_tokens).unwrap()]),
            heads: cell.place.head.map(|head| vec![head]),
        };
        let source = match intervention.op {
            Op::Zero => Source::None,
            _ => self.source_value(cell.place.site, &units, is_mean),
        };
        let edit = Edit {
            site: cell.place.site,
            units,
            intervention,
            source,
        };
        let mut editor = Editor::new(&self.sizes, n_tokens, vec![edit]).unwrap();
        let base = batch(&self.pairs, |pair| &pair.base);
        let logits = self.model.forward(base, &mut editor);
        editor.finish().unwrap();
        Answers {
            runs: self,
            logits: last_rows(logits),
        }
    }

    fn source_value(&self, site: Site, units: &Units, is_mean: bool) -> Source<Flex> {
        let n_pairs = self.pairs.len();
        match (self.source.get(site), self.source.get_heads(site)) {
            (Some(x), _) => {
                Source::Positions(mean_or_all(units.select(x.clone()), n_pairs, is_mean))
            }
            (_, Some(x)) => Source::Heads(mean_or_all(units.select(x.clone()), n_pairs, is_mean)),
            _ => panic!("{site} was not recorded"),
        }
    }
}

fn mean_or_all<const D: usize>(
    x: Tensor<Flex, D>,
    n_pairs: usize,
    is_mean: bool,
) -> Tensor<Flex, D> {
    match is_mean {
        true => x.mean_dim(0).repeat_dim(0, n_pairs),
        false => x,
    }
}

fn batch(pairs: &[Pair], ids: impl Fn(&Pair) -> &[u32]) -> Tensor<Flex, 2, Int> {
    let rows: Vec<i64> = (pairs.iter())
        .flat_map(|pair| ids(pair).iter().map(|id| i64::from(*id)))
        .collect();
    let shape = [pairs.len(), rows.len() / pairs.len()];
    Tensor::from_data(TensorData::new(rows, shape), &FlexDevice)
}

/// Logits after the last token, by row of the batch.
fn last_rows(logits: Tensor<Flex, 3>) -> Vec<Vec<f64>> {
    let [_, n_tokens, d_vocab] = logits.dims();
    let last = logits.narrow(1, n_tokens - 1, 1).into_data();
    let values: Vec<f64> = last.iter::<f64>().collect();
    values.chunks(d_vocab).map(<[f64]>::to_vec).collect()
}

/// The likeliest token; of equal ones the lowest.
fn top_1(logits: &[f64]) -> u32 {
    let ids = (0..logits.len()).rev();
    ids.max_by(|a, b| logits[*a].total_cmp(&logits[*b]))
        .unwrap() as u32
}

/// Share of the pairs whose label is the answer.
fn accuracy(logits: &[Vec<f64>], pairs: &[Pair]) -> f64 {
    let answers = logits.iter().zip(pairs);
    let n_hits = answers.filter(|(logits, pair)| top_1(logits) == pair.label);
    n_hits.count() as f64 / pairs.len() as f64
}

fn log_softmax(logits: &[f64]) -> Vec<f64> {
    let log_sum = logits.iter().map(|logit| logit.exp()).sum::<f64>().ln();
    logits.iter().map(|logit| logit - log_sum).collect()
}

/// What intervened runs answer.
struct Answers<'a> {
    runs: &'a FullRuns,
    logits: Vec<Vec<f64>>,
}

impl Answers<'_> {
    fn iia(&self) -> f64 {
        accuracy(&self.logits, &self.runs.pairs)
    }

    fn mean(&self, of: impl Fn(&Pair, &[f64], &[f64]) -> f64) -> f64 {
        let FullRuns { pairs, plain, .. } = self.runs;
        let each = pairs.iter().zip(&plain[0]).zip(&self.logits);
        let values = each.map(|((pair, base), found)| of(pair, base, found));
        values.sum::<f64>() / pairs.len() as f64
    }

    /// Everything that a cell says of its place.
    #[track_caller]
    fn check(&self, cell: &Cell, what: &str) {
        let what = format!("{what}, {}", cell.title());
        let close = |name: &str, found: f64, expected: f64| {
            let difference = (found - expected).abs();
            assert!(
                difference <= TOLERANCE,
                "{what}: {name} is {found}, in full runs {expected}"
            );
        };
        let difference = (cell.iia - self.iia()).abs();
        assert!(difference < ROUNDED, "{what}: IIA {}", cell.iia);
        let share = |pair: &Pair, logits: &[f64]| log_softmax(logits)[pair.label as usize].exp();
        let margin = |pair: &Pair, logits: &[f64]| {
            logits[pair.label as usize] - logits[pair.base_label.unwrap() as usize]
        };
        let [before, after] = cell.metrics.probability;
        let expected = self.mean(|pair, base, _| share(pair, base));
        close("probability before", before, expected);
        let expected = self.mean(|pair, _, found| share(pair, found));
        close("probability after", after, expected);
        let [before, after] = cell.metrics.logit_difference.unwrap();
        let expected = self.mean(|pair, base, _| margin(pair, base));
        close("logit difference before", before, expected);
        let expected = self.mean(|pair, _, found| margin(pair, found));
        close("logit difference after", after, expected);
        let kl = self.mean(|_, base, found| {
            let [base, found] = [base, found].map(log_softmax);
            let each = base.iter().zip(&found);
            each.map(|(base, found)| base.exp() * (base - found)).sum()
        });
        close("KL", cell.metrics.kl, kl);
        let first = &self.logits[0];
        assert_eq!(cell.top_1, top_1(first), "{what}");
        let expected = first[cell.top_1 as usize];
        close("logit", f64::from(cell.logit), expected);
    }
}

/// How far the mean logit difference went, nats.
fn moved_by(cell: &Cell) -> f64 {
    let [before, after] = cell.metrics.logit_difference.unwrap();
    (after - before).abs()
}

/// Places of every component: the map has each of them, and none twice.
#[track_caller]
fn assert_covers(result: &SweepResult, components: usize, cells: usize) {
    let mut seen: Vec<Component> = (result.cells().iter())
        .map(|cell| cell.place.site.component)
        .collect();
    assert_eq!(seen.len(), cells);
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), components);
}

#[test]
fn whole_values_of_every_component_and_head_score_as_in_full_runs() {
    let folder = TempDir::new().unwrap();
    let (path, pairs) = pairs(&folder, "3");
    let runs = FullRuns::new(pairs);
    let last = runs.pairs[0].base.len() - 1;
    let components = names(of_model(&runs.sizes));
    let places = ["--components", &components, "--positions", "0,12,last"];
    for (method, name, _) in Method::ALL {
        let op = match method {
            Method::Das => continue,
            Method::Zero => Op::Zero,
            Method::Interchange | Method::Mean => Op::Interchange,
        };
        let options = [&["--method", name, "--layers", "all"][..], &places].concat();
        let result = sweep(&folder, &path, &options);
        // 13 components with a value per position in each of 3 layers and 2 in one; 6 components in each of 4 heads; at 3 tokens.
        assert_covers(&result, 21, (13 * 3 + 2 + 6 * 4 * 3) * 3);
        for cell in result.cells() {
            let intervention = Intervention::new(op, Featurizer::Identity);
            let answers = runs.edited(cell, intervention, method == Method::Mean);
            answers.check(cell, name);
            let is_the_answer = matches!(
                (cell.place.site.component, cell.place.site.layer),
                (Component::FinalNorm | Component::BlockOutput, 2)
            );
            let is_last = cell.place.position.resolve(last + 1).unwrap() == last;
            if (method, is_the_answer, is_last) == (Method::Interchange, true, true) {
                // The whole answer of the source, and known without any edit.
                let [_, source] = &runs.plain;
                assert!((cell.iia - accuracy(source, &runs.pairs)).abs() < ROUNDED);
                assert_eq!(cell.top_1, top_1(&source[0]));
            }
        }
        // What a cell says is not what the base run says: one that was not intervened in would not pass.
        for component in of_model(&runs.sizes) {
            let cells = result.cells().iter();
            let cells = cells.filter(|cell| cell.place.site.component == component);
            let most = cells.map(moved_by).fold(0.0, f64::max);
            assert!(
                most > 10.0 * TOLERANCE,
                "{name}: {component} moves answers by {most}"
            );
        }
    }
}

#[test]
fn directions_of_every_component_score_as_in_full_runs() {
    let folder = TempDir::new().unwrap();
    let (path, pairs_of_test) = pairs(&folder, "4");
    let (train, _) = pairs(&folder, "5");
    let runs = FullRuns::new(pairs_of_test);
    let of_a_width = |component: &Component| component.width(&runs.sizes).is_some();
    let components = names(of_model(&runs.sizes).filter(of_a_width));
    let places = ["--components", &components, "--heads", "1", "--layers"];
    let more = ["0,2", "--positions", "12,last", "--ranks", "2"];
    let learn = ["--train-data", &train, "--epochs", "2", "--lr", "0.1"];
    let result = sweep(&folder, &path, &[&places[..], &more, &learn].concat());
    // A pattern has no directions: 17 components in two layers, 2 in one; at 2 tokens.
    assert_covers(&result, 19, (17 * 2 + 2) * 2);
    for cell in result.cells() {
        let basis = cell.basis.as_ref().unwrap();
        let data = TensorData::new(basis.rows().to_vec(), [basis.rank(), basis.width()]);
        let subspace = Featurizer::Subspace(Tensor::from_data(data, &FlexDevice));
        let swap = |featurizer| Intervention::new(Op::Interchange, featurizer);
        let answers = runs.edited(cell, swap(subspace), false);
        answers.check(cell, "das");
        let whole = runs.edited(cell, swap(Featurizer::Identity), false);
        let controls = cell.controls.as_ref().unwrap();
        let difference = (controls.full - whole.iia()).abs();
        assert!(difference < ROUNDED, "{}: {difference}", cell.title());
    }
    let n_moved = (result.cells().iter()).filter(|cell| moved_by(cell) > 10.0 * TOLERANCE);
    assert!(n_moved.count() > result.cells().len() / 2);
}

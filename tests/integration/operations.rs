//! Every operation at every component, in every unit and mode: the engine, which resumes cached runs, equals full runs.

use burn::tensor::Tensor;
use futures_executor::block_on;
use swivel_core::{
    Component, Decoder, Place, Position, Site, Sizes,
    direction::{Basis, Controls, Direction, Facts, Features, Form, Latents, Measured, Probe},
    plan::{
        CheckedPlan, Mode, OPERATIONS, Operation, Outcome, Plan, PlanError, PlannedIntervention,
        PlannedOp, PlannedSite, Positions, Prompts, Reads, Record, Unit, Version, data_url,
    },
    train::random_rows,
};
use swivel_engine::{
    Engine, Limits, Logits,
    protocol::{Read, Request, Response},
};

use crate::support::{B, assert_close, difference, model, sizes};

/// f32 rounding: the same sums, in matrices of another shape.
const TOLERANCE: f32 = 1e-5;
/// An intervention that matters moves the logits by more than this share of the largest.
const MOVED: f32 = 3.0 * TOLERANCE;

const N_TOKENS: usize = 6;
const BASE: [[u32; N_TOKENS]; 2] = [[5, 9, 2, 7, 11, 3], [1, 2, 3, 4, 5, 6]];
const SOURCES: [[[u32; N_TOKENS + 1]; 2]; 2] = [
    [[8, 1, 30, 2, 6, 50, 21], [7, 60, 5, 4, 3, 12, 0]],
    [[13, 3, 44, 4, 5, 33, 9], [9, 8, 29, 8, 19, 27, 17]],
];
/// Tokens that are edited, a row.
const WRITTEN: [[usize; 2]; 2] = [[2, 4], [3, 1]];
/// Tokens that are read, a row; of scores, those of a token that sees as much.
const READ: [[usize; 2]; 2] = [[1, 3], [2, 5]];
const READ_OF_SCORES: [[usize; 2]; 2] = [[3, 5], [3, 4]];
/// Heads that are edited where not all are; the model has three.
const HEADS: [usize; 2] = [2, 0];

/// Where an operation's values come from.
#[derive(Clone, Copy, Debug, PartialEq)]
enum From {
    Nothing,
    Values,
    Runs,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    operation: &'static Operation,
    site: Site,
    unit: Unit,
    strength: f32,
    mode: Mode,
    from: From,
    /// Whether it is done in a subspace alone.
    is_inside: bool,
}

impl Case {
    fn all(sizes: &Sizes) -> Vec<Self> {
        let mut cases = Vec::new();
        for operation in &OPERATIONS {
            for site in sites(sizes) {
                let units = match site.component.is_per_head() {
                    true => &[Unit::Positions, Unit::HeadsAtPositions, Unit::Heads][..],
                    false => &[Unit::Positions],
                };
                let ways = match operation.reads {
                    Reads::Nothing | Reads::Noise | Reads::Input => {
                        &[(Mode::Parallel, From::Nothing)][..]
                    }
                    Reads::Mean => &[(Mode::Parallel, From::Runs), (Mode::Serial, From::Runs)],
                    Reads::Source => &[
                        (Mode::Parallel, From::Runs),
                        (Mode::Serial, From::Runs),
                        (Mode::Parallel, From::Values),
                    ],
                };
                // What is kept is kept whole.
                let strengths: &[(f32, bool)] = match (operation.op, operation.is_learned()) {
                    (None, _) => &[(1.0, false)],
                    (Some(_), true) => &[(1.0, true), (0.5, true)],
                    (Some(_), false) => &[(1.0, false), (0.5, false), (0.5, true)],
                };
                for unit in units {
                    for (mode, from) in ways {
                        cases.extend(strengths.iter().map(|(strength, is_inside)| Self {
                            operation,
                            site,
                            unit: *unit,
                            strength: *strength,
                            mode: *mode,
                            from: *from,
                            is_inside: *is_inside,
                        }));
                    }
                }
            }
        }
        cases
    }

    fn width(&self, sizes: &Sizes) -> usize {
        self.site.component.width(sizes).unwrap_or(N_TOKENS)
    }

    /// The plan for some of the rows; those of sources are longer where they may be.
    fn plan(&self, rows: &[usize], sizes: &Sizes) -> Plan {
        let is_whole = self.unit == Unit::Heads || self.site.component.width(sizes).is_none();
        let is_mean = self.operation.reads == Reads::Mean;
        let n_tokens = N_TOKENS + usize::from(!is_whole || is_mean);
        let prompts =
            |ids: Vec<&[u32]>| Prompts::Ids(rows.iter().map(|row| ids[*row].to_vec()).collect());
        let at = |tokens: &[[usize; 2]; 2]| {
            let of_row = |row: &usize| tokens[*row].map(|at| Position::Index(at).into()).to_vec();
            (self.unit != Unit::Heads).then(|| Positions(rows.iter().map(of_row).collect()))
        };
        let read = match self.site.component {
            Component::AttentionScore => &READ_OF_SCORES,
            _ => &READ,
        };
        let planned = |source: Option<usize>, base: &[[usize; 2]; 2], from: &[[usize; 2]; 2]| {
            PlannedIntervention {
                layer: self.site.layer,
                component: self.site.component,
                unit: self.unit,
                heads: (self.unit != Unit::Positions).then(|| HEADS.to_vec()),
                source,
                values: (self.from == From::Values).then(|| self.values(sizes)),
                base_positions: at(base),
                token: None,
                source_positions: source.filter(|_| base != from).and_then(|_| at(from)),
                source_token: None,
                op: PlannedOp {
                    direction: self.is_inside.then(|| self.direction(sizes)),
                    strength: self.strength,
                    ..PlannedOp::new(self.operation)
                },
            }
        };
        let (n_sources, interventions) = match (self.from, self.mode) {
            (From::Runs, Mode::Parallel) => (1, vec![planned(Some(0), &WRITTEN, read)]),
            // What the base run gets was put there in the second source run.
            (From::Runs, Mode::Serial) => (
                2,
                vec![
                    planned(Some(0), read, read),
                    planned(Some(1), &WRITTEN, read),
                ],
            ),
            _ => (0, vec![planned(None, &WRITTEN, read)]),
        };
        let sources = SOURCES[..n_sources].iter();
        let recorded = [self.site, Component::AttentionWeight.at(1)];
        Plan {
            version: Version,
            base: prompts(BASE.iter().map(|ids| &ids[..]).collect()),
            sources: sources
                .map(|source| prompts(source.iter().map(|ids| &ids[..n_tokens]).collect()))
                .collect(),
            first_token: None,
            mode: self.mode,
            interventions,
            record: recorded
                .map(|Site { layer, component }| PlannedSite { layer, component })
                .to_vec(),
        }
    }

    /// A vector for each token: one for all keys would not change where anyone looks.
    fn values(&self, sizes: &Sizes) -> Vec<Vec<f32>> {
        let n = if self.unit == Unit::Heads {
            N_TOKENS
        } else {
            2
        };
        let width = self.width(sizes);
        let value = |at: usize| ((7 * at + 3) % 11) as f32 / 4.0 - 1.0;
        (0..n)
            .map(|token| (0..width).map(|idx| value(token * width + idx)).collect())
            .collect()
    }

    fn direction(&self, sizes: &Sizes) -> String {
        let facts = Facts {
            method: "das".to_owned(),
            model: "tiny".to_owned(),
            model_sha256: String::new(),
            first_token: None,
            token: None,
            place: Place {
                head: self.site.component.is_per_head().then_some(0),
                ..Place::new(self.site, Position::LAST)
            },
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
        let width = self.width(sizes);
        let form = self.operation.forms.first().copied();
        let numbers = |n: usize, from: f32| -> Vec<f32> {
            let number = |idx: usize| from + ((idx * 7919) % 13) as f32 / 13.0;
            (0..n).map(number).collect()
        };
        let basis = |rank: usize| Basis::new(random_rows(width, rank, 7), rank).unwrap();
        let latents = |threshold: Option<Vec<f32>>| {
            let k = 2 * width;
            Features::Autoencoder(Latents {
                encoder: numbers(width * k, -0.5),
                encoder_bias: numbers(k, -0.3),
                decoder: numbers(width * k, -0.5),
                decoder_bias: numbers(width, -0.4),
                threshold,
            })
        };
        let features = match form.unwrap_or(Form::LowRank) {
            Form::LowRank => Features::Subspace(basis(3.min(width))),
            Form::Rotated | Form::MaskedRotated => Features::Subspace(basis(width)),
            Form::Masked => Features::Values(width),
            Form::Pca => Features::Standardized {
                basis: basis(3.min(width)),
                mean: numbers(width, -0.4),
                std: numbers(width, 0.5),
            },
            Form::Autoencoder => latents(None),
            Form::JumpRelu => latents(Some(numbers(2 * width, -0.3))),
        };
        let mask = matches!(form, Some(Form::Masked | Form::MaskedRotated));
        let mask = mask.then(|| numbers(features.n_features(), 0.0));
        let direction = Direction::of_features(features, mask, facts).unwrap();
        let bytes = direction.to_bytes();
        assert_eq!(Direction::from_bytes(&bytes).unwrap(), direction);
        data_url(&bytes)
    }

    /// True if what the plan does at a token may come to nothing, for a reason of its own.
    fn may_come_to_nothing(&self, position: usize) -> bool {
        // The norms take out by what a stream is multiplied.
        let is_scaled = match self.operation.name {
            "scale" => true,
            "zero" => self.strength < 1.0,
            _ => false,
        };
        // The first token looks at itself alone, in every run.
        let is_alone = position == 0 && self.site.component == Component::AttentionWeight;
        is_scaled || is_alone && self.from == From::Runs || self.operation.op.is_none()
    }

    /// Tokens of a row that are edited.
    fn written(&self, row: usize) -> Vec<usize> {
        match self.unit {
            Unit::Heads => (0..N_TOKENS).collect(),
            _ => WRITTEN[row].to_vec(),
        }
    }
}

/// Every site of the model.
fn sites(sizes: &Sizes) -> Vec<Site> {
    let layers = 0..sizes.n_layers;
    let sites = layers.flat_map(|layer| Component::ALL.map(|(component, ..)| component.at(layer)));
    sites.filter(|site| site.check(sizes).is_ok()).collect()
}

fn check(plan: &Plan, sizes: &Sizes) -> Result<CheckedPlan, PlanError> {
    plan.check(sizes, None, |name| Err(format!("{name} is not there")))
}

/// Values that may be minus infinity, in the same places.
fn assert_close_where_seen<const D: usize>(
    found: Tensor<B, D>,
    expected: Tensor<B, D>,
    what: &str,
) {
    let is_hidden = |x: &Tensor<B, D>| x.clone().equal_elem(f32::NEG_INFINITY);
    let (hidden, expected_hidden) = (is_hidden(&found), is_hidden(&expected));
    assert_eq!(
        hidden.to_data(),
        expected_hidden.to_data(),
        "{what}: hidden elsewhere"
    );
    let [found, expected] = [found, expected].map(|x| x.mask_fill(hidden.clone(), 0.0));
    assert_close(found, expected, TOLERANCE, what);
}

fn assert_same(found: Outcome<B>, expected: Outcome<B>, what: &str) {
    assert_close(found.base, expected.base, TOLERANCE, what);
    assert_close(found.intervened, expected.intervened, TOLERANCE, what);
    assert_eq!(found.records.len(), expected.records.len(), "{what}");
    for records in found.records.into_iter().zip(expected.records) {
        match records {
            (Record::Positions(found), Record::Positions(expected)) => {
                assert_close(found, expected, TOLERANCE, what);
            }
            (Record::Heads(found), Record::Heads(expected)) => {
                assert_close_where_seen(found, expected, what);
            }
            _ => panic!("{what}: a record of another kind"),
        }
    }
}

/// A full run changes where the site reaches the logits, and nowhere else; gives what is wrong.
fn wrong_changes(case: &Case, outcome: &Outcome<B>, n_layers: usize) -> Vec<String> {
    let mut wrong = Vec::new();
    for row in 0..BASE.len() {
        for at in 0..N_TOKENS {
            let logits = |x: &Tensor<B, 3>| x.clone().narrow(0, row, 1).narrow(1, at, 1);
            let [base, intervened] = [&outcome.base, &outcome.intervened].map(logits);
            let moved = difference(&intervened.into_data(), &base.into_data());
            let mut reached = case.written(row);
            reached.retain(|position| case.site.reaches_logits(*position, n_layers, at));
            let is_surely = !reached
                .iter()
                .all(|position| case.may_come_to_nothing(*position));
            let is_right = match reached.is_empty() || case.operation.op.is_none() {
                true => moved == 0.0,
                false => moved.is_finite() && (moved > MOVED || !is_surely),
            };
            if !is_right {
                let what = format!("{} at {}, {:?}", case.operation, case.site, case.unit);
                let how = format!("{}, {:?}, {:?}", case.strength, case.mode, case.from);
                wrong.push(format!(
                    "{what}, {how}: row {row}, token {at} moves by {moved:e}"
                ));
            }
        }
    }
    wrong
}

/// The answer to a question about one row has the numbers of full runs of that row.
fn assert_answers(engine: &mut Engine<B>, plan: Plan, model: &Decoder<B>, sizes: &Sizes) {
    let full = check(&plan, sizes).unwrap().run(model).unwrap();
    let last = |x: Tensor<B, 3>| -> Vec<f32> {
        let x = x.narrow(0, 0, 1).narrow(1, N_TOKENS - 1, 1);
        x.into_data().into_vec().unwrap()
    };
    let expected = [full.base, full.intervened].map(last);
    let request = Request {
        plan,
        read: Read::Answer {
            beside: vec![1, 2, 3],
            among: Vec::new(),
        },
    };
    let response = block_on(engine.handle(0, &request, &async || true)).unwrap();
    let Response::Answer(answer) = response else {
        panic!("an answer");
    };
    let largest = |logits: &[f32]| logits.iter().copied().fold(f32::MIN, f32::max);
    for (run, logits) in expected.iter().enumerate() {
        let scale = logits.iter().fold(1.0f32, |most, x| most.max(x.abs()));
        let what = format!("run {run} of {}", request.plan.to_json());
        for row in &answer.rows {
            let apart = (row.scores[run].logit - logits[row.id as usize]).abs();
            assert!(apart <= TOLERANCE * scale, "{what}: {apart:e}");
        }
        let top = logits[answer.top[run] as usize];
        assert!(largest(logits) - top <= TOLERANCE * scale, "{what}");
    }
}

#[test]
fn engine_equals_full_runs_of_every_operation_everywhere() {
    let (model, sizes) = (model(), sizes());
    let mut engine = Engine::new(sizes.clone(), model.clone(), Limits::PAGE);
    let cases = Case::all(&sizes);
    let (mut refused, mut wrong) = (Vec::new(), Vec::new());
    for case in &cases {
        let what = format!("{case:?}");
        let plan = case.plan(&[0, 1], &sizes);
        let again = Plan::from_json(plan.to_json().as_bytes()).unwrap();
        assert_eq!(again, plan, "{what}");
        let checked = match check(&plan, &sizes) {
            Ok(checked) => checked,
            Err(error) => {
                let error = error.to_string();
                let field = match case.operation.acts_at(case.site) {
                    true => "`interventions[0].op.direction`",
                    false => "`interventions[0].component`",
                };
                assert!(error.contains(field), "{error}");
                refused.push(case);
                continue;
            }
        };
        let full = checked.run(&model).unwrap();
        wrong.extend(wrong_changes(case, &full, sizes.n_layers));
        let again = check(&again, &sizes).unwrap();
        let outcome = block_on(engine.outcome(0, &again, Logits::All, &async || true)).unwrap();
        assert_same(outcome, full, &what);
        assert_answers(&mut engine, case.plan(&[1], &sizes), &model, &sizes);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Hidden scores are minus infinity, which has no content in a subspace.
    let has_none = |case: &&Case| {
        let is_score = case.site.component == Component::AttentionScore;
        case.is_inside && is_score || !case.operation.acts_at(case.site)
    };
    assert_eq!(refused.len(), cases.iter().filter(has_none).count());
    assert!(refused.iter().all(has_none));
    let n_components = Component::ALL.len();
    assert!(
        cases.len() > 8 * n_components * OPERATIONS.len(),
        "{}",
        cases.len()
    );
}

//! What the engine answers from cached runs is what full runs say, value by value.

use swivel_core::{
    Place,
    plan::{Plan, Positions},
};

use super::*;
use swivel_engine::protocol::Score;

/// First token that [`busy`] changes.
const FIRST: usize = 30;

/// Base and source of other lengths, directions at two layers, a whole vector in a third place, strengths that are not 1.
fn busy() -> Session {
    let mut session = live();
    set_long_base(&mut session);
    let cell = Cursor {
        layer: 0,
        position: FIRST,
    };
    arm(&mut session, Component::MlpOutput, cell);
    session.change(|choices| {
        for (idx, card) in choices.cards.iter_mut().enumerate() {
            card.is_on = true;
            card.strength = 0.7 + idx as f32 * 0.4;
        }
    });
    session
}

/// Full runs of what was chosen, by the model and the editor alone.
struct FullRuns {
    model: Decoder<Flex>,
    sizes: Sizes,
    prompts: Prompts,
    done: Vec<Done>,
}

/// An intervention as plain values.
#[derive(Clone)]
struct Done {
    op: Op,
    site: Site,
    head: Option<usize>,
    /// Tokens that are written in the base and read in the source.
    tokens: [usize; 2],
    /// Rows and rank.
    basis: Option<(Vec<f32>, usize)>,
    strength: f32,
}

impl FullRuns {
    fn of(session: &Session) -> Self {
        let prompts = session.choices.prompts();
        let done = session.active().map(|card| {
            let opened = card.direction.map(|idx| &session.directions[idx].direction);
            let written = card.place.position.resolve(prompts.base.len()).unwrap();
            Done {
                op: card.operation.op.unwrap(),
                site: card.place.site,
                head: card.place.head,
                tokens: [
                    written,
                    card.source_position.resolve(prompts.source.len()).unwrap(),
                ],
                basis: opened.map(|direction| (direction.rows().to_vec(), direction.rank())),
                strength: card.strength,
            }
        });
        let done: Vec<Done> = done.collect();
        assert_eq!(done.len(), 3);
        Self {
            model: gpt2(),
            sizes: model().sizes,
            prompts,
            done,
        }
    }

    fn editor(&self, done: &[Done]) -> Editor<Flex> {
        let mut recorder = Recorder::new(done.iter().map(|done| done.site));
        let source = batch(&self.prompts.source);
        self.model.forward(source, &mut recorder);
        let edits = done.iter().map(|done| {
            let units = |position: usize| Units {
                rows: None,
                positions: Some(vec![position]),
                heads: done.head.map(|head| vec![head]),
            };
            let [written, read] = done.tokens.map(units);
            let source = match (recorder.get(done.site), recorder.get_heads(done.site)) {
                (Some(x), _) => Source::Positions(read.select(x.clone())),
                (_, Some(x)) => Source::Heads(read.select(x.clone())),
                _ => panic!("{} was not recorded", done.site),
            };
            let featurizer = match &done.basis {
                None => Featurizer::Identity,
                Some((rows, rank)) => Featurizer::Subspace(Tensor::from_data(
                    TensorData::new(rows.clone(), [*rank, rows.len() / rank]),
                    &Default::default(),
                )),
            };
            Edit {
                site: done.site,
                units: written,
                intervention: Intervention {
                    strength: done.strength,
                    ..Intervention::new(done.op, featurizer)
                },
                source,
            }
        });
        Editor::new(&self.sizes, self.prompts.base.len(), edits.collect()).unwrap()
    }

    /// Logits after every token of a model that ends with its `n_layers`th layer: norm and head read that layer's output,
    /// which is what a lens is.
    fn lens(&self, ids: &[u32], n_layers: usize, done: &[Done]) -> Vec<Vec<f32>> {
        let model = Decoder {
            layers: self.model.layers[..n_layers].to_vec(),
            ..self.model.clone()
        };
        let below = done.iter().filter(|done| done.site.layer < n_layers);
        let mut editor = self.editor(&below.cloned().collect::<Vec<_>>());
        let logits = model.forward(batch(ids), &mut editor);
        editor.finish().unwrap();
        let logits: Vec<f32> = logits.into_data().into_vec().unwrap();
        let rows = logits.chunks(self.sizes.d_vocab);
        rows.map(<[f32]>::to_vec).collect()
    }

    /// Logits after the last token of a prompt.
    fn answer(&self, ids: &[u32], done: &[Done]) -> Vec<f32> {
        let mut rows = self.lens(ids, self.sizes.n_layers, done);
        rows.pop().unwrap()
    }
}

fn probabilities(logits: &[f32]) -> Vec<f64> {
    let weights: Vec<f64> = logits.iter().map(|logit| f64::from(*logit).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / sum).collect()
}

fn top(logits: &[f32]) -> u32 {
    let ids = 0..logits.len();
    ids.max_by(|a, b| logits[*a].total_cmp(&logits[*b]))
        .unwrap() as u32
}

#[track_caller]
fn assert_close(found: f32, expected: f32, what: &str) {
    assert!(
        (found - expected).abs() < TOLERANCE,
        "{what}: {found}, expected {expected}"
    );
}

#[track_caller]
fn assert_cells(found: &[Cell], logits: &[Vec<f32>], pair: [u32; 2], what: &str) {
    assert_eq!(found.len(), logits.len(), "{what}");
    let [first, second] = pair.map(|id| id as usize);
    for (position, (cell, logits)) in found.iter().zip(logits).enumerate() {
        let what = format!("{what}, token {position} of them");
        let share = probabilities(logits);
        assert_eq!(cell.top, top(logits), "{what}");
        assert_close(cell.probability, share[cell.top as usize] as f32, &what);
        assert_close(cell.difference, logits[second] - logits[first], &what);
        assert_close(cell.second, share[second] as f32, &what);
    }
}

#[test]
fn answer_by_the_cone_equals_full_runs() {
    let mut session = busy();
    let answer = answer(&mut engine(), &mut session);
    let runs = FullRuns::of(&session);
    let Prompts { base, source } = &runs.prompts;
    let logits = [
        runs.answer(base, &[]),
        runs.answer(base, &runs.done),
        runs.answer(source, &[]),
    ];
    let shares = [0, 1, 2].map(|run| probabilities(&logits[run]));
    for row in &answer.rows {
        for run in 0..3 {
            let Score { logit, probability } = row.scores[run];
            let what = format!("token {}, run {run}", row.id);
            assert_close(logit, logits[run][row.id as usize], &what);
            assert_close(probability, shares[run][row.id as usize] as f32, &what);
        }
    }
    assert_eq!(answer.top, [0, 1, 2].map(|run| top(&logits[run])));
    assert_ne!(answer.top[0], answer.top[2], "or the next line says little");
    assert_eq!(answer.pair, [answer.top[0], answer.top[2]]);
    let [first, second] = answer.pair.map(|id| id as usize);
    for (found, logits) in answer.differences.into_iter().zip(&logits) {
        assert_close(found, logits[second] - logits[first], "difference");
    }
    let kl = shares[0].iter().zip(&shares[1]);
    let kl: f64 = kl.map(|(base, found)| base * (base / found).ln()).sum();
    assert_close(answer.kl, kl as f32, "KL");
    assert!(kl > 0.1, "the interventions do something: {kl}");
    let n_tokens = base.len();
    assert_eq!(answer.computed, [3 * (n_tokens - FIRST), 3 * n_tokens]);
}

#[test]
fn lens_by_the_cone_equals_full_runs_of_shorter_models() {
    let (mut session, mut engine) = (busy(), engine());
    // Another run was looked at before: nothing of it is left.
    session.change(|choices| choices.cards[0].strength = 0.1);
    settle(&mut engine, &mut session);
    session.undo();
    let pair = answer(&mut engine, &mut session).pair;
    let runs = FullRuns::of(&session);
    for (layer, row) in session.lens.iter().enumerate() {
        let row = row.as_ref().unwrap();
        let what = format!("layer {layer}");
        let base = runs.lens(&runs.prompts.base, layer + 1, &[]);
        assert_cells(&row.base, &base, pair, &format!("{what}, base"));
        let intervened = runs.lens(&runs.prompts.base, layer + 1, &runs.done);
        let (start, cells) = row.intervened.as_ref().unwrap();
        assert_eq!(*start, FIRST, "{what}");
        assert_eq!(intervened[..FIRST], base[..FIRST], "{what}");
        assert_cells(cells, &intervened[FIRST..], pair, &what);
        // Where a layer is edited, it is another than in the base run.
        let edited = if layer == 0 { FIRST } else { base.len() - 1 };
        let change = cells[edited - FIRST].difference - row.base[edited].difference;
        assert!(change.abs() > 0.01, "{what}: {change}");
    }
}

#[test]
fn attention_by_the_cone_equals_full_runs() {
    let session = busy();
    let runs = FullRuns::of(&session);
    let mut engine = engine();
    let (n_layers, last) = (runs.sizes.n_layers, runs.prompts.base.len() - 1);
    for layer in 0..n_layers {
        let site = Component::AttentionWeight.at(layer);
        let mut base = Recorder::new([site]);
        runs.model.forward(batch(&runs.prompts.base), &mut base);
        let editor = runs.editor(&runs.done);
        let mut intervened = (editor, Recorder::new([site]));
        runs.model
            .forward(batch(&runs.prompts.base), &mut intervened);
        let weights = |recorder: &Recorder<Flex>, position: usize| -> Vec<f32> {
            let weight = recorder.get_heads(site).unwrap().clone(); // [1, head, q_pos, k_pos]
            let seen = weight.narrow(2, position, 1).narrow(3, 0, position + 1);
            seen.into_data().into_vec().unwrap()
        };
        for position in [12, FIRST, last] {
            let request = session.request(Read::Attention { layer, position });
            let Ok(Response::Attention(found)) = handle(&mut engine, &session, &request) else {
                panic!("no attention")
            };
            let what = format!("layer {layer}, token {position}");
            let check = |found: &[Vec<f32>], expected: &[f32]| {
                let found = found.concat();
                assert_eq!(found.len(), expected.len(), "{what}");
                for (found, expected) in found.iter().zip(expected) {
                    assert_close(*found, *expected, &what);
                }
            };
            let (plain, edited) = (weights(&base, position), weights(&intervened.1, position));
            check(&found.base, &plain);
            match &found.intervened {
                Some(rows) => check(rows, &edited),
                None => assert_eq!(plain, edited, "{what}: said to be unchanged"),
            }
            let change = plain.iter().zip(&edited).map(|(a, b)| (a - b).abs());
            let change = change.fold(0.0, f32::max);
            assert_eq!(
                change > 1e-3,
                layer > 0 && position >= FIRST,
                "{what}: {change}"
            );
        }
    }
}

#[test]
fn scan_by_the_cone_equals_full_runs() {
    let session = busy();
    let runs = FullRuns::of(&session);
    let mut engine = engine();
    let Prompts { base, source } = &runs.prompts;
    let pair = [top(&runs.answer(base, &[])), top(&runs.answer(source, &[]))];
    let positions = base.len() - 4..base.len();
    // A pattern of a prompt of another length has other keys.
    let is_pattern = |component: Component| component.width(&runs.sizes).is_none();
    for (component, ..) in Component::ALL
        .into_iter()
        .filter(|(own, ..)| !is_pattern(*own))
    {
        for layer in 0..runs.sizes.n_layers {
            let site = component.at(layer);
            if site.check(&runs.sizes).is_err() {
                continue;
            }
            let operations = Operation::of_whole_values().filter(|own| own.acts_at(site));
            let heads = if component.is_per_head() {
                [None, Some(2)]
            } else {
                [None; 2]
            };
            for (operation, head) in operations.zip(heads.into_iter().cycle()) {
                if (component, operation) == (Component::FinalNorm, Operation::ZERO) {
                    continue; // all answers are equally likely then
                }
                let place = Place {
                    site,
                    head,
                    position: Position::LAST,
                };
                let plan = scan_plan(&runs.prompts, operation, place, positions.clone());
                let read = Read::Each { pair };
                let request = Request { plan, read };
                let Ok(Response::Each(found)) = handle(&mut engine, &session, &request) else {
                    panic!("{site}: no cells")
                };
                let done = positions.clone().map(|at| {
                    let plan = scan_plan(&runs.prompts, operation, place, at..at + 1);
                    let checked = plan.check(&runs.sizes, None, |_| Err("there is none"));
                    let full = checked.unwrap().run(&runs.model).unwrap();
                    let last = full.intervened.narrow(1, base.len() - 1, 1);
                    last.into_data().into_vec::<f32>().unwrap()
                });
                let done: Vec<_> = done.collect();
                let what = format!("{operation} at {site}, head {head:?}");
                assert_cells(&found, &done, pair, &what);
                let plain = runs.answer(base, &[]);
                assert_ne!(*done.last().unwrap(), plain, "{what}");
            }
        }
    }
}

/// An operation at some base tokens, each of which has the same distance from its prompt's end as its source token.
fn scan_plan(
    prompts: &Prompts,
    operation: &'static Operation,
    place: Place,
    positions: std::ops::Range<usize>,
) -> Plan {
    let card = Card::new(operation, place, Position::LAST);
    let list = |n_tokens: usize| {
        let from_end = positions.clone().map(|at| prompts.base.len() - at);
        let positions = from_end.map(|distance| Position::Index(n_tokens - distance).into());
        Some(Positions(vec![positions.collect()]))
    };
    let mut planned = card.planned(None);
    planned.base_positions = list(prompts.base.len());
    planned.source_positions = operation
        .reads_token()
        .then(|| list(prompts.source.len()))
        .flatten();
    prompts.plan(vec![planned])
}

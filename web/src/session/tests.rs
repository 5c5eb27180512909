mod code;
mod full;
mod learned;

use std::{cell, collections::BTreeMap, env, fs, path::PathBuf};

use burn::tensor::{Int, Tensor, TensorData};
use burn_flex::Flex;
use futures_executor::block_on;
use swivel_core::{
    Component, Gpt2, Position, Recorder, Weights,
    direction::Direction,
    intervention::{Edit, Editor, Featurizer, Intervention, Op, Source, Units},
    plan::Operation,
};

use super::{
    lint::Level,
    map::{Metric, PatchMap, signed_share},
    recorded::{Example, largest_error},
    *,
};
use swivel_engine::{
    Engine, Failure,
    protocol::{Read, Request, Response},
};

fn file(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn model() -> Model {
    let tokenizer = Tokenizer::from_json(&file("models/solver/tokenizer.json")).unwrap();
    let weights = file("models/solver/model.safetensors");
    Model {
        name: "solver".to_owned(),
        config: Gpt2Config::from_json(&file("models/solver/config.json")).unwrap(),
        sha256: Weights::new(&[&weights]).unwrap().sha256().to_owned(),
        lexicon: Lexicon::embedded(&tokenizer).ok().map(Arc::new),
        tokenizer,
    }
}

fn engine() -> Engine<Flex> {
    let weights = file("models/solver/model.safetensors");
    let weights = Weights::new(&[&weights]).unwrap();
    Engine::load(model().config, &weights, Default::default()).unwrap()
}

/// The same model without the engine.
fn gpt2() -> Gpt2<Flex> {
    let weights = file("models/solver/model.safetensors");
    let weights = Weights::new(&[&weights]).unwrap();
    Gpt2::load(&model().config, &weights, &Default::default()).unwrap()
}

/// One prompt as a batch.
fn batch(ids: &[u32]) -> Tensor<Flex, 2, Int> {
    let ids: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
    let shape = [1, ids.len()];
    Tensor::from_data(TensorData::new(ids, shape), &Default::default())
}

fn live() -> Session {
    let mut session = Session::recorded().unwrap();
    session.set_model(model());
    session
}

/// Base and source that differ in length.
fn set_long_base(session: &mut Session) {
    session.shots = 1;
    session.new_pair(2).unwrap();
    let source = session.choices.source.ids.clone();
    session.shots = 3;
    session.new_pair(1).unwrap();
    let base = session.choices.base.ids.clone();
    session.set_prompts(&Prompts { base, source }).unwrap();
}

/// Gives the engine the directions that a question names, as a host does.
fn give(engine: &mut Engine<Flex>, session: &Session, request: &Request) {
    for planned in &request.plan.interventions {
        let name = planned.op.direction.as_deref();
        if let Some(file) = name.and_then(|name| session.direction_file(name)) {
            assert_eq!(engine.take_direction(file).unwrap(), name.unwrap());
        }
    }
}

fn handle(
    engine: &mut Engine<Flex>,
    session: &Session,
    request: &Request,
) -> Result<Response, Failure> {
    give(engine, session, request);
    block_on(engine.handle(0, request, &always))
}

/// Swaps the whole value at a cell.
fn arm(session: &mut Session, component: Component, cell: Cursor) {
    session.arm_cell(Operation::INTERCHANGE, (component, None), cell);
}

async fn always() -> bool {
    true
}

/// Answers everything that the page asks for.
fn settle(engine: &mut Engine<Flex>, session: &mut Session) {
    while let Some(job) = session.next_job() {
        assert!(session.wants(&job));
        match handle(engine, session, &job.request) {
            Ok(response) => session.take(&job, response, 1.0),
            Err(error) => panic!("{error:?}"),
        }
    }
}

fn answer(engine: &mut Engine<Flex>, session: &mut Session) -> Answer {
    settle(engine, session);
    session.answer.clone().unwrap().0
}

/// f32 sums in another order, and JSON's decimal digits.
const TOLERANCE: f32 = 1e-4;

#[test]
fn recorded_values_are_what_the_model_says() {
    let mut session = live();
    if env::var_os("SWIVEL_WRITE").is_some() {
        session.new_pair(5).unwrap();
    }
    let mut engine = engine();
    let answer = answer(&mut engine, &mut session);
    let model = session.model.as_ref().unwrap();
    let example = Example {
        base: session.choices.base.clone(),
        source: session.choices.source.clone(),
        tokens: answer
            .rows
            .iter()
            .map(|row| (row.id, session.token(row.id)))
            .collect::<BTreeMap<_, _>>(),
        answer,
        model_sha256: model.sha256.clone(),
        n_layers: model.config.n_layers,
    };
    if env::var_os("SWIVEL_WRITE").is_some() {
        let json = serde_json::to_string_pretty(&example).unwrap();
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/recorded.json");
        fs::write(path, json + "\n").unwrap();
        return;
    }
    let recorded = recorded::example().unwrap();
    assert!(largest_error(&recorded.answer, &example.answer) < TOLERANCE);
    assert!(recorded.answer.is_flipped(), "the example shows a flip");
    assert_eq!(
        (&recorded.base, &recorded.source),
        (&example.base, &example.source)
    );
    assert_eq!(recorded.tokens, example.tokens);
    assert_eq!(recorded.model_sha256, example.model_sha256);
}

#[test]
fn strength_0_is_the_base_and_a_swap_of_everything_is_the_source() {
    let mut session = live();
    let mut engine = engine();
    session.change(|choices| choices.cards[0].strength = 0.0);
    let unchanged = answer(&mut engine, &mut session);
    assert!(!unchanged.is_flipped() && unchanged.kl.abs() < TOLERANCE);
    let last = session.cursor;
    session.change(|choices| choices.cards[0].is_on = false);
    arm(&mut session, Component::BlockOutput, last);
    let swapped = answer(&mut engine, &mut session);
    for row in &swapped.rows {
        assert!((row.scores[1].logit - row.scores[2].logit).abs() < TOLERANCE);
    }
    assert_eq!(
        swapped.computed[0], 0,
        "only norm and head are left to compute"
    );
}

#[test]
fn map_agrees_with_arming_its_cells_one_by_one() {
    let mut session = live();
    session.change(|choices| choices.cards[0].is_on = false);
    let mut engine = engine();
    answer(&mut engine, &mut session);
    for component in [
        Component::BlockOutput,
        Component::AttentionOutput,
        Component::BlockInput,
        Component::KeyOutput,
        Component::QueryOutput,
    ] {
        answer(&mut engine, &mut session);
        assert!(session.start_map(Operation::INTERCHANGE, (component, None), 0.0));
        settle(&mut engine, &mut session);
        let map = session.map.clone().unwrap();
        assert!(map.progress() == 1.0 && !map.is_running);
        let mut n_left_out = 0;
        for layer in 0..3 {
            for position in 0..session.choices.base.ids.len() {
                let cell = Cursor { layer, position };
                arm(&mut session, component, cell);
                let armed = answer(&mut engine, &mut session);
                session.undo();
                let Some(found) = map.cell(layer, position) else {
                    // What is left out of the map and what a card says to have no effect has none.
                    assert!(!session.reaches_the_answer(component.at(layer), position));
                    assert!(armed.kl.abs() < 1e-6, "{component} {cell:?}: {}", armed.kl);
                    n_left_out += 1;
                    continue;
                };
                assert!((armed.differences[1] - found.difference).abs() < TOLERANCE);
                assert_eq!(armed.top[1], found.top);
            }
        }
        // The last layer's earlier tokens, where only later attention could read them; the first token's query.
        let expected = match component {
            Component::BlockInput | Component::KeyOutput => 0,
            Component::QueryOutput => 9 + 2,
            _ => 9,
        };
        assert_eq!(n_left_out, expected, "{component}");
        let last = map.cell(2, map.prompts.base.len() - 1).unwrap();
        if component == Component::BlockOutput {
            assert!((map.value(last, Metric::Recovered) - 1.0).abs() < 1e-3);
        }
    }
}

#[test]
fn lens_and_attention_change_only_inside_the_cone() {
    let mut session = live();
    session.change(|choices| choices.cards[0].is_on = false);
    let cell = Cursor {
        layer: 1,
        position: 4,
    };
    arm(&mut session, Component::BlockOutput, cell);
    let mut engine = engine();
    settle(&mut engine, &mut session);
    for (layer, row) in session.lens.iter().enumerate() {
        let row = row.as_ref().unwrap();
        assert_eq!(row.base.len(), 10);
        let changed = row.intervened.as_ref();
        let changed = changed.map(|(start, cells)| (*start, cells.len()));
        assert_eq!(changed, (layer > 0).then_some((4, 6)));
    }
    for (layer, position, changes) in [(1, 9, false), (2, 3, false), (2, 9, true)] {
        let request = session.request(Read::Attention { layer, position });
        let Ok(Response::Attention(rows)) = handle(&mut engine, &session, &request) else {
            panic!("no attention")
        };
        for row in rows.base.iter().chain(rows.intervened.iter().flatten()) {
            assert_eq!(row.len(), position + 1);
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        }
        let differs = rows.intervened.is_some_and(|rows_i| rows_i != rows.base);
        assert_eq!(differs, changes, "layer {layer}, token {position}");
    }
}

#[test]
fn probes_of_the_embedded_directions_pass() {
    let mut session = live();
    let mut engine = engine();
    settle(&mut engine, &mut session);
    assert_eq!(session.directions.len(), recorded::DIRECTIONS.len());
    for idx in 0..session.directions.len() {
        assert_eq!(session.directions[idx].probe, Probe::Same);
        assert_eq!(session.card_warning(&session.choices.cards[idx]), None);
    }
}

#[test]
fn undo_brings_everything_back() {
    let mut session = live();
    let before = session.choices.clone();
    session.type_prompt(Side::Base, "milk,milk").unwrap();
    session.swap_prompts();
    session.change(|choices| choices.cards[1].is_on = true);
    let after = session.choices.clone();
    assert_eq!(session.has_history(), [true, false]);
    while session.undo() {}
    assert_eq!(session.choices, before);
    while session.redo() {}
    assert_eq!(session.choices, after);
    assert_eq!(session.has_history(), [true, false]);
}

#[test]
fn prompts_are_never_trimmed() {
    let mut session = live();
    session.type_prompt(Side::Base, "  milk \n").unwrap();
    let base = &session.choices.base;
    assert_eq!(base.text, "  milk \n");
    assert_eq!(base.pieces.concat(), "  milk \n");
    assert_eq!(visible(&base.pieces.concat()), "␣␣milk␣⏎");
}

#[test]
fn notes_name_the_fault_and_mend_it() {
    let mut session = live();
    assert!(session.notes().iter().all(|note| note.level == Level::Good));
    for (text, fault, label) in [
        ("", "base is empty", None),
        ("a,b,c,d,e", "no line of the task", Some("add “=”")),
        (
            "milk,milkk,milk,milk,milk=",
            "never saw “milkk”",
            Some("use “milk”"),
        ),
        (
            "milk,milk,milk,milk,milk= ",
            "ends with a space",
            Some("remove it"),
        ),
        (
            &"milk,".repeat(200),
            "at most 256",
            Some("keep the last 256"),
        ),
    ] {
        session.type_prompt(Side::Base, text).unwrap();
        let notes = session.notes();
        let note = notes.iter().find(|note| note.text.contains(fault));
        let note = note.unwrap_or_else(|| panic!("{text}: {notes:?}"));
        assert_eq!(note.fix.as_ref().map(|fix| fix.label.as_str()), label);
        if let Some(fix) = &note.fix {
            session.type_prompt(fix.side, &fix.text).unwrap();
            assert!(
                session
                    .notes()
                    .iter()
                    .all(|note| !note.text.contains(fault))
            );
        }
    }
    session.type_prompt(Side::Base, "milk").unwrap();
    let notes = session.notes();
    assert!(
        notes
            .iter()
            .any(|note| note.text.contains("1 and 10 tokens"))
    );
}

#[test]
fn a_card_that_cannot_be_done_says_why_and_is_left_out() {
    let mut session = live();
    session.move_card(0, 7);
    assert_eq!(session.active().count(), 1);
    session.type_prompt(Side::Base, "milk").unwrap();
    let problem = session.card_problem(&session.choices.cards[0]).unwrap();
    assert!(problem.contains("position 7"), "{problem}");
    assert!(session.active().next().is_none());
    assert!(
        session
            .notes()
            .iter()
            .any(|note| note.level == Level::Problem)
    );
}

#[test]
fn off_the_task_a_card_says_that_its_score_is_of_other_prompts() {
    let mut session = live();
    let warning = |session: &Session, idx: usize| {
        let card = &session.choices.cards[idx];
        session.card_warning(card).unwrap_or_default()
    };
    assert!(session.is_on_task());
    assert_eq!(warning(&session, 0), "");
    session
        .type_prompt(Side::Source, "Once upon a time")
        .unwrap();
    assert!(!session.is_on_task());
    assert!(warning(&session, 0).starts_with(".999 was measured on other prompts than these"));
    assert!(warning(&session, 1).starts_with(".997 was measured on other prompts than these"));
    // Of what the scores were measured on otherwise, the page knows nothing.
    let opened = &mut session.directions[0];
    Arc::make_mut(&mut opened.direction).facts.task = None;
    assert_eq!(warning(&session, 0), "");
    // Five words that the task does not have are no line of it.
    session.type_prompt(Side::Source, "a,b,c,d,e=").unwrap();
    assert!(!session.is_on_task());
    session.undo();
    assert!(session.is_on_task());
}

#[test]
fn hostile_directions_are_refused() {
    let mut session = live();
    let good = recorded::DIRECTIONS[0].1;
    let n_cards = session.choices.cards.len();
    let mut nan = good.to_vec();
    let at = nan.len() - 4;
    nan[at..].copy_from_slice(&f32::NAN.to_le_bytes());
    for (bytes, cause) in [
        (&good[..good.len() - 8], "safetensors"),
        (&nan[..], "NaN"),
        (b"<script>alert(1)</script>", "safetensors"),
    ] {
        let error = session
            .open_direction("x", bytes, false)
            .unwrap_err()
            .to_string();
        assert!(error.contains(cause), "{error}");
    }
    assert_eq!(session.choices.cards.len(), n_cards);
}

#[test]
fn same_swap_from_another_file_is_the_same_card() {
    let mut session = live();
    let own = Direction::from_bytes(recorded::DIRECTIONS[0].1).unwrap();
    let with = |change: &dyn Fn(&mut Direction)| {
        let mut other = own.clone();
        change(&mut other);
        other.to_bytes()
    };
    let learned_here = with(&|other| {
        other.facts.created_by = Some("swivel".to_owned());
        other.facts.controls.shuffled = Some(0.7);
    });
    assert_ne!(learned_here, recorded::DIRECTIONS[0].1);
    let name = "solver-07065a-op5-layer2-rank1.safetensors";
    let idx = session.open_direction(name, &learned_here, false).unwrap();
    assert_eq!((idx, session.directions.len()), (0, 2));
    assert_eq!(session.choices.cards.len(), 2);
    for other in [
        with(&|other| other.facts.place.position = Position::Index(3)),
        with(&|other| other.facts.place.site.layer = 1),
        with(&|other| other.facts.variable = Some("op1".to_owned())),
        with(&|other| other.facts.model_sha256 = "other".to_owned()),
    ] {
        let n_cards = session.choices.cards.len();
        session
            .open_direction("op5.safetensors", &other, false)
            .unwrap();
        assert_eq!(session.choices.cards.len(), n_cards + 1, "the same name");
    }
}

#[test]
fn numbers_have_a_fixed_form() {
    for (value, text) in [
        (0.97, "+.97"),
        (-1.023, "−1.02"),
        (0.001, ".00"),
        (1.0, "+1.00"),
    ] {
        assert_eq!(signed_share(value), text);
    }
}

#[test]
fn an_answer_to_an_older_question_is_dropped() {
    let mut session = live();
    let mut engine = engine();
    let job = session.next_job().unwrap();
    let response = handle(&mut engine, &session, &job.request).unwrap();
    session.swap_prompts();
    session.take(&job, response.clone(), 1.0);
    assert!(session.is_recorded && !session.is_current);
    session.undo();
    session.take(&job, response, 1.0);
    assert!(
        !session.is_current,
        "the same choices again, but asked before"
    );
    settle(&mut engine, &mut session);
    assert!(session.is_current && !session.is_recorded);
}

/// A job that stops at its `n`th look, and how often it looked.
fn stopped_at(
    n: usize,
    engine: &mut Engine<Flex>,
    request: &Request,
) -> (Result<Response, Failure>, usize) {
    let looks = cell::Cell::new(0);
    let is_wanted = async || {
        looks.set(looks.get() + 1);
        looks.get() < n
    };
    let result = block_on(engine.handle(0, request, &is_wanted));
    (result, looks.get())
}

#[test]
fn job_that_is_not_wanted_stops_between_its_steps() {
    let mut session = live();
    session.shots = 10;
    session.new_pair(3).unwrap();
    let n_tokens = session.choices.base.ids.len();
    assert!(n_tokens > 128, "three steps of the lens");
    let answer = session.next_job().unwrap().request;
    let lens = session.request(Read::Lens {
        layer: 1,
        pair: [0, 1],
    });
    let attention = session.request(Read::Attention {
        layer: 1,
        position: n_tokens - 1,
    });
    let beside = session.choices.source.ids.clone();
    let prompts = session.choices.prompts();
    let recorded = session.answer.take().unwrap().0;
    let map = PatchMap::new(
        Operation::INTERCHANGE,
        (Component::BlockOutput, None),
        prompts,
        1,
        &recorded,
        0.0,
    );
    let scan = map.next_request().unwrap();
    assert_eq!(answer.read, Read::Answer { beside });
    // Two prompts to run; the lens has three steps more, of which the last one is not followed by another.
    for (request, n_steps) in [(answer, 2), (lens, 4), (attention, 2), (scan, 2)] {
        let engine = || {
            let mut engine = engine();
            give(&mut engine, &session, &request);
            engine
        };
        let (expected, n_looks) = stopped_at(usize::MAX, &mut engine(), &request);
        assert_eq!(n_looks, n_steps, "{request:?}");
        let expected = expected.unwrap();
        for n in 1..=n_steps {
            let mut engine = engine();
            let (result, n_looks) = stopped_at(n, &mut engine, &request);
            assert!(matches!(result, Err(Failure::Unwanted)), "{result:?}");
            assert_eq!(n_looks, n, "it went on after it was told to stop");
            // The engine is whole, and goes on from what it has.
            let (found, n_looks) = stopped_at(usize::MAX, &mut engine, &request);
            assert_eq!(n_looks, n_steps - n.min(2));
            match (found.unwrap(), &expected) {
                (Response::Answer(found), Response::Answer(expected)) => {
                    assert_eq!(found.new_runs, 2 - n);
                    assert_eq!(found.rows, expected.rows);
                }
                (found, expected) => assert_eq!(found, *expected),
            }
        }
    }
}

#[test]
fn only_what_is_wanted_most_is_still_wanted() {
    let mut session = live();
    let mut engine = engine();
    let first = session.next_job().unwrap();
    assert!(session.wants(&first));
    session.swap_prompts();
    assert!(!session.wants(&first), "other prompts");
    session.undo();
    assert!(!session.wants(&first), "its answer would be dropped");

    settle(&mut engine, &mut session);
    session.start_map(Operation::INTERCHANGE, (Component::BlockOutput, None), 0.0);
    let map = session.next_job().unwrap();
    assert!(session.wants(&map));
    session.change(|choices| choices.cards[0].is_on = false);
    assert!(!session.wants(&map), "the answer comes first");
    settle(&mut engine, &mut session);
    assert!(session.map.as_ref().unwrap().progress() == 1.0);
    session.start_map(Operation::INTERCHANGE, (Component::BlockOutput, None), 0.0);
    let map = session.next_job().unwrap();
    session.map.as_mut().unwrap().is_running = false;
    assert!(!session.wants(&map), "it was stopped");

    session.swap_prompts();
    let job = session.next_job().unwrap();
    let response = handle(&mut engine, &session, &job.request).unwrap();
    session.take(&job, response, 1.0);
    let lens = session.next_job().unwrap();
    assert!(session.wants(&lens));
    session.picture = Picture::Attention;
    assert!(!session.wants(&lens), "another picture");
}

#[test]
fn links_bring_everything_back() {
    let mut session = live();
    let mut engine = engine();
    let cell = Cursor {
        layer: 0,
        position: 2,
    };
    arm(&mut session, Component::MlpOutput, cell);
    session.move_card(1, 3);
    session.change(|choices| {
        choices.cards[0].strength = 0.5;
        choices.cards[1].is_on = true;
    });
    session.picture = Picture::Attention;
    // A direction that the other side does not have travels in the link.
    session.directions[1].is_embedded = false;
    let expected = answer(&mut engine, &mut session);
    let link = session.fragment();

    let mut other = live();
    other.open_fragment(&link).unwrap();
    assert_eq!(other.picture, Picture::Attention);
    let found = answer(&mut engine, &mut other);
    assert_eq!(
        found,
        Answer {
            new_runs: found.new_runs,
            ..expected
        }
    );
    assert!(other.active().eq(session.active()));

    // Ids that no text gives stay what they are.
    let odd = Prompts {
        base: vec![1, 2, 3],
        source: vec![3, 2, 1],
    };
    session.set_prompts(&odd).unwrap();
    other.open_fragment(&session.fragment()).unwrap();
    assert_eq!(other.choices.prompts(), odd);
}

#[test]
fn links_with_garbage_say_why_and_change_nothing() {
    let mut session = live();
    let good = session.fragment();
    let before = session.choices.clone();
    for link in [
        "plan=%%%".to_owned(),
        "plan=AAAA".to_owned(),
        "plan=".to_owned(),
        good[..good.len() / 2].to_owned(),
        share::encode(r#"{"version":1,"base":{"ids":[[99999]]}}"#),
        share::encode(r#"{"version":7,"base":{"ids":[[1]]}}"#),
        share::encode(
            r#"{"version":1,"base":{"ids":[[1]]},"sources":[{"ids":[[1]]}],"interventions":[{"layer":99,"component":"block_output","source":0,"base_positions":[[0]],"op":{"type":"interchange"}}]}"#,
        ),
        share::encode(
            r#"{"version":1,"base":{"ids":[[1]]},"sources":[{"ids":[[1]]}],"interventions":[{"layer":0,"component":"block_output","source":0,"base_positions":[[0]],"op":{"type":"low_rank","direction":"missing.safetensors"}}]}"#,
        ),
    ] {
        let error = session.open_fragment(&link);
        assert!(error.is_err(), "{link}");
        assert_eq!(session.choices, before);
    }
}

#[test]
fn examples_flip_and_the_model_agrees_with_the_program() {
    let mut session = live();
    let mut engine = engine();
    for example in &EXAMPLES {
        session.open_example(example).unwrap();
        let answer = answer(&mut engine, &mut session);
        assert!(answer.is_flipped(), "{}", example.title);
        let token = session.token(answer.top[1]);
        assert_eq!(
            session.expected(),
            Some(token.as_str()),
            "{}",
            example.title
        );
    }
}

#[test]
fn keystrokes_are_one_change() {
    let mut session = live();
    let before = session.choices.clone();
    for text in ["m", "mi", "milk"] {
        session.type_prompt(Side::Base, text).unwrap();
    }
    assert!(session.undo());
    assert_eq!(session.choices, before);
}

#[test]
fn another_model_switches_off_what_does_not_fit() {
    let mut session = live();
    let mut other = model();
    other.config = Gpt2Config::new(3, 128, 4, 256, 922);
    other.sha256 = "other".to_owned();
    session.set_model(other);
    assert!(session.active().next().is_none());
    assert!(session.choices.cards.iter().all(|card| !card.is_on));
    assert!(session.card_problem(&session.choices.cards[0]).is_some());
    assert!(!session.knows_task());
    assert!(
        session
            .notes()
            .iter()
            .all(|note| note.level != Level::Problem)
    );
}

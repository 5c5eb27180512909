//! Answers, map, lens and attention: what the page shows of a swap.

use std::cell;

use super::{super::map::Metric, *};

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
fn answer_among_some_tokens_is_the_likeliest_of_them() {
    let (mut session, mut engine) = (live(), engine());
    let plain = answer(&mut engine, &mut session);
    let mut request = session.request(Read::Answer {
        beside: session.choices.source.ids.clone(),
        among: vec![plain.rows[2].id, plain.rows[3].id],
    });
    let Response::Answer(among) = handle(&mut engine, &session, &request).unwrap() else {
        panic!("an answer");
    };
    for run in 0..3 {
        let logit = |id: u32| {
            let row = among.rows.iter().find(|row| row.id == id).unwrap();
            row.scores[run].logit
        };
        let [one, other] = [plain.rows[2].id, plain.rows[3].id];
        assert!(logit(among.top[run]) >= logit(one).max(logit(other)));
        assert!([one, other].contains(&among.top[run]));
        // What is likelier than both has its row.
        assert!(logit(plain.top[run]) > logit(among.top[run]));
    }
    // Both of the answers that count anyhow: nothing changes.
    request.read = Read::Answer {
        beside: session.choices.source.ids.clone(),
        among: plain.pair.to_vec(),
    };
    let Response::Answer(same) = handle(&mut engine, &session, &request).unwrap() else {
        panic!("an answer");
    };
    assert_eq!((same.top, same.pair), (plain.top, plain.pair));
    assert_eq!(same.differences, plain.differences);
    request.read = Read::Answer {
        beside: vec![0],
        among: vec![u32::MAX],
    };
    assert!(handle(&mut engine, &session, &request).is_err());
}

#[test]
fn probes_of_the_embedded_directions_pass() {
    let mut session = live();
    let mut engine = engine();
    settle(&mut engine, &mut session);
    assert_eq!(
        session.directions.len(),
        recorded::QUESTIONS[recorded::PROGRAMS].directions.len()
    );
    for idx in 0..session.directions.len() {
        assert_eq!(session.directions[idx].probe, Probe::Same);
        assert_eq!(session.card_warning(&session.choices.cards[idx]), None);
    }
}

#[test]
fn lens_of_the_base_is_read_once_for_all_that_is_done_to_it() {
    let mut session = live();
    session.change(|choices| choices.cards[0].is_on = false);
    let mut engine = engine();
    settle(&mut engine, &mut session);
    let before = session.lens.clone();
    for position in [3, 7] {
        let cell = Cursor { layer: 0, position };
        arm(&mut session, Component::BlockOutput, cell);
        let mut fresh = super::engine();
        while let Some(job) = session.next_job() {
            let looks = cell::Cell::new(0);
            let is_wanted = async || {
                looks.set(looks.get() + 1);
                true
            };
            give(&mut engine, &session, &job.request);
            let response = block_on(engine.handle(0, &job.request, &is_wanted)).unwrap();
            let expected = handle(&mut fresh, &session, &job.request).unwrap();
            if let (Response::Lens(row), Response::Lens(expected)) = (&response, &expected) {
                assert_eq!(row, expected);
                let Read::Lens { layer, .. } = job.request.read else {
                    panic!("{:?}", job.request.read)
                };
                assert_eq!(Some(&row.base), before[layer].as_ref().map(|row| &row.base));
                // Only what the swap can change is read.
                assert_eq!(looks.get(), 1, "layer {layer}");
            }
            session.take(&job, response, 1.0);
        }
    }
}

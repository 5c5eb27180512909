//! What the engine is asked, what is given up, and which answers are dropped.

use std::cell;

use super::{super::map::PatchMap, *};

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
        (prompts, session.partners()),
        1,
        &recorded,
        0.0,
    );
    let scan = map.next_request().unwrap();
    assert_eq!(
        answer.read,
        Read::Answer {
            beside,
            among: Vec::new()
        }
    );
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

/// Tokens without a partner split the map; the others read the source token that belongs to them.
#[test]
fn map_of_two_lengths_reads_the_tokens_that_belong_together() {
    let session = live();
    let recorded = session.answer.clone().unwrap().0;
    let prompts = Prompts {
        base: vec![0; 5],
        source: vec![0; 3],
    };
    let partners = vec![Some(0), None, None, Some(1), Some(2)];
    let at = (Component::BlockInput, None);
    let cell = Cell {
        top: 0,
        probability: 0.5,
        difference: 0.0,
        second: 0.5,
    };
    let of = |operation| {
        let asked = (prompts.clone(), partners.clone());
        let mut map = PatchMap::new(operation, at, asked, 1, &recorded, 0.0);
        let mut all = Vec::new();
        while let Some(request) = map.next_request() {
            let planned = &request.plan.interventions[0];
            let json = serde_json::to_value(planned).unwrap();
            let n = json["base_positions"][0].as_array().unwrap().len();
            all.push([
                json["base_positions"].clone(),
                json["source_positions"].clone(),
            ]);
            map.take(vec![cell; n]);
        }
        all
    };
    let read = of(Operation::INTERCHANGE);
    let expected = serde_json::json!([[[[3, "last"]], [[1, "last"]]], [[[0]], null]]);
    assert_eq!(serde_json::to_value(read).unwrap(), expected);
    // Where none are named, the source is read where the base is. Without a source, every token is there.
    let n: usize = of(Operation::ZERO)
        .iter()
        .map(|[base, _]| base[0].as_array().unwrap().len())
        .sum();
    assert_eq!(n, 5);
}

//! Text behind the base prompt, asked for token by token.

use swivel_core::generate::{Acts, Sampling};

use super::{
    super::text::{N_TOKENS, Wish},
    *,
};

const GREEDY: Wish = Wish {
    acts: Acts::Prompt,
    sampling: Sampling::GREEDY,
    seed: 0,
};

fn ids(session: &Session, run: usize) -> Vec<u32> {
    let tokens = &session.text.as_ref().unwrap().runs[run];
    tokens.iter().map(|token| token.id).collect()
}

/// The likeliest token behind these, by a run of all of them.
fn next(model: &Decoder<Flex>, ids: &[u32]) -> u32 {
    let logits = model.forward(batch(ids), &mut ());
    let last = logits.narrow(1, ids.len() - 1, 1);
    let id: Vec<i64> = last.argmax(2).into_data().iter().collect();
    id[0] as u32
}

#[test]
fn text_is_what_a_run_of_all_tokens_says() {
    let (mut session, mut engine) = (live(), engine());
    session.start_text(GREEDY);
    settle(&mut engine, &mut session);
    let text = session.text.clone().unwrap();
    assert!(!text.is_running);
    assert_eq!(text.runs.len(), 2);
    assert_eq!(text.n_tokens(), N_TOKENS);
    let model = gpt2();
    let mut all = session.choices.base.ids.clone();
    for id in ids(&session, 0) {
        assert_eq!(id, next(&model, &all));
        all.push(id);
    }
    // Behind the prompt both runs say what the table of answers says.
    let top = session.answer.as_ref().unwrap().0.top;
    assert_eq!([0, 1].map(|run| ids(&session, run)[0]), [top[0], top[1]]);
    assert_ne!(ids(&session, 0), ids(&session, 1));
    let first = &text.runs[0][0];
    assert_eq!(first.likeliest[0].0, first.id);
}

#[test]
fn text_of_other_choices_is_dropped() {
    let (mut session, mut engine) = (live(), engine());
    session.start_text(GREEDY);
    settle(&mut engine, &mut session);
    session.toggle_card(0);
    assert!(session.text.is_none());
    // Without interventions there is one run.
    session.start_text(GREEDY);
    settle(&mut engine, &mut session);
    assert_eq!(session.text.as_ref().unwrap().runs.len(), 1);
}

#[test]
fn text_that_is_stopped_stays_and_ends_at_its_end() {
    let (mut session, mut engine) = (live(), engine());
    settle(&mut engine, &mut session);
    session.start_text(GREEDY);
    for _ in 0..3 {
        let job = session.next_job().unwrap();
        let response = handle(&mut engine, &session, &job.request).unwrap();
        session.take(&job, response, 1.0);
    }
    session.stop_text();
    settle(&mut engine, &mut session);
    assert_eq!(ids(&session, 0).len(), 3);

    // The third token of each run ends the text.
    let end = [0, 1].map(|run| ids(&session, run)[2]);
    session.model.as_mut().unwrap().end_tokens = end.to_vec();
    session.start_text(GREEDY);
    settle(&mut engine, &mut session);
    let (tokens, has_ended) = session.run_of_text(0).unwrap();
    assert!(has_ended && tokens.len() <= 2, "{}", tokens.len());
}

#[test]
fn drawn_text_is_that_of_its_seed_and_of_its_place() {
    let (mut session, mut engine) = (live(), engine());
    let mut drawn = |acts, seed| {
        session.start_text(Wish {
            acts,
            sampling: Sampling::new(2.0, None, None).unwrap(),
            seed,
        });
        settle(&mut engine, &mut session);
        [0, 1].map(|run| ids(&session, run))
    };
    let first = drawn(Acts::Prompt, 1);
    assert_eq!(first, drawn(Acts::Prompt, 1));
    assert_ne!(first, drawn(Acts::Prompt, 2));
    let [base, every] = drawn(Acts::Every, 1);
    assert_eq!(base, first[0]);
    assert_ne!(every, first[1]);
}

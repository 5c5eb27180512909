//! The flip table: shares as they are measured elsewhere, rows that open as the page's pair, and the page in between.

use super::{
    super::flips::{FlipTable, N_PAIRS, Swap},
    *,
};

fn table(session: &Session) -> &FlipTable {
    session.flips.as_ref().unwrap()
}

#[test]
fn shares_are_those_of_the_direction_and_its_controls() {
    let (mut session, mut engine) = (live(), engine());
    session.start_flips(0.0).unwrap();
    assert!(table(&session).is_running);
    settle(&mut engine, &mut session);
    let flips = table(&session);
    assert!(!flips.is_running);
    let [done, unknown] = flips.n_done();
    assert_eq!(done, N_PAIRS);
    let facts = &session.directions[0].direction.facts;
    for (swap, expected) in [
        (Swap::Direction, facts.iia),
        (Swap::Whole, facts.controls.full),
        (Swap::Random, facts.controls.random),
    ] {
        let count = flips.count(swap);
        assert_eq!(count.n, N_PAIRS - unknown);
        let [low, high] = count.bounds();
        assert!(
            (low..=high).contains(&expected),
            "{swap:?}: {count:?}, {expected}"
        );
    }
    // Half of the answers must turn, and those that went wrong come first.
    let turn = flips.rows.iter().filter(|row| row.should_turn()).count();
    assert_eq!(turn, N_PAIRS / 2);
    let sorted = flips.sorted();
    assert_eq!(sorted.len(), N_PAIRS - unknown);
    let margins = sorted.iter().map(|idx| flips.rows[*idx].margins[0]);
    assert!(margins.is_sorted());
}

#[test]
fn row_opens_as_the_pair_of_the_page_and_says_the_same() {
    let (mut session, mut engine) = (live(), engine());
    settle(&mut engine, &mut session);
    session.start_flips(0.0).unwrap();
    settle(&mut engine, &mut session);
    for idx in [0, N_PAIRS - 1] {
        let row = table(&session).rows[idx].clone();
        session.open_flip(idx).unwrap();
        assert_eq!(session.choices.prompts(), row.prompts);
        let answer = answer(&mut engine, &mut session);
        assert_eq!(Some([answer.top[0], answer.top[1]]), row.answers);
        assert_eq!(answer.top[1] == row.label, row.margins[0] > Some(0.0));
    }
    session.open_flip(N_PAIRS).unwrap();
    assert_eq!(table(&session).n_done()[0], N_PAIRS);
}

#[test]
fn table_waits_while_a_person_does_something_and_goes_on() {
    let (mut session, mut engine) = (live(), engine());
    settle(&mut engine, &mut session);
    session.start_flips(0.0).unwrap();
    let job = session.next_job().unwrap();
    session.toggle_card(0);
    assert!(!session.wants(&job));
    // Its answer still counts, since the table is about no pair of the page.
    let response = handle(&mut engine, &session, &job.request).unwrap();
    session.take(&job, response, 1.0);
    assert_ne!(session.next_job().unwrap().request, job.request);
    settle(&mut engine, &mut session);
    assert_eq!(table(&session).n_done()[0], N_PAIRS);
    // Without a direction there is nothing to try.
    assert!(session.direction_to_try().is_none());
    session.toggle_card(0);
    session.start_flips(1.0).unwrap();
    assert_eq!(table(&session).n_done(), [0, 0]);
    let first = table(&session).rows[0].prompts.clone();
    session.stop_flips();
    settle(&mut engine, &mut session);
    assert_eq!(table(&session).n_done(), [0, 0]);
    // Each table has pairs of its own.
    session.start_flips(1.0).unwrap();
    assert_ne!(table(&session).rows[0].prompts, first);
    session.set_model(model());
    assert!(session.flips.is_none());
}

#[test]
fn pairs_of_a_table_do_not_push_out_what_a_person_looks_at() {
    let (mut session, mut engine) = (live(), engine());
    settle(&mut engine, &mut session);
    session.start_flips(0.0).unwrap();
    settle(&mut engine, &mut session);
    session.toggle_card(0);
    assert_eq!(answer(&mut engine, &mut session).new_runs, 0);
}

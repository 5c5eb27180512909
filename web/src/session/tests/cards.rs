//! Direction files and cards: which are taken, which cannot be done, what is said of them.

use super::{super::lint::Level, *};
use crate::offered::OFFERED;

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

/// A direction that was learned at a named token goes along to it, in prompts of its form.
#[test]
fn direction_finds_its_token_in_prompts_of_its_form() {
    let mut session = live();
    let mut direction =
        Direction::from_bytes(recorded::QUESTIONS[recorded::PROGRAMS].directions[0].1).unwrap();
    let facts = &mut direction.facts;
    facts.token = Some("B".to_owned());
    facts.task = Some("pairs".to_owned());
    facts.templates = vec!["milk,{B}=".to_owned(), "taxi,{A},{B}=".to_owned()];
    facts.place.site.layer = 1;
    let idx = session.open_direction("named.safetensors", &direction.to_bytes(), false);
    let idx = idx.unwrap();
    let place = |session: &Session| {
        let card = session.choices.cards.last().unwrap();
        (
            card.place.position,
            card.source_position,
            session.is_on_task_of(idx),
        )
    };
    let name = |session: &Session| {
        let card = session.choices.cards.last().unwrap();
        session.token_name(card).map(str::to_owned)
    };
    let learned = direction.facts.place.position;
    assert_eq!(place(&session), (learned, learned, false));
    assert_eq!(name(&session), None);
    let card = session.choices.cards.last().unwrap();
    let warning = session.card_warning(card).unwrap();
    assert!(warning.contains("other prompts than these"), "{warning}");
    session.type_prompt(Side::Base, "milk,woman=").unwrap();
    session
        .type_prompt(Side::Source, "taxi,milk,lady=")
        .unwrap();
    let [second, third] = [2, 4].map(Position::Index);
    assert_eq!(place(&session), (second, third, true));
    assert_eq!(name(&session).as_deref(), Some("B"));
    assert_eq!(
        session.card_warning(session.choices.cards.last().unwrap()),
        None
    );
    session.swap_prompts();
    assert_eq!(place(&session), (third, second, true));
    session.type_prompt(Side::Base, "milk").unwrap();
    assert!(!place(&session).2);
    assert_eq!(name(&session), None);
}

/// Other weights, which may be the same model's in another format: the probe tells, and what can be fetched is offered.
#[test]
fn directions_of_other_weights_are_told_by_their_probe() {
    let mut session = live();
    let mut direction =
        Direction::from_bytes(recorded::QUESTIONS[recorded::PROGRAMS].directions[0].1).unwrap();
    direction.facts.model_sha256 = "00ff".to_owned();
    direction.facts.model = "owner/name:file.gguf".to_owned();
    direction.facts.variable = Some("another".to_owned());
    let idx = session
        .open_direction("x.safetensors", &direction.to_bytes(), false)
        .unwrap();
    let last = |session: &Session| session.choices.cards.last().unwrap().clone();
    let warning = session.card_warning(&last(&session)).unwrap();
    assert!(warning.contains("is not known yet"), "{warning}");

    // It is asked for, although the weights are others.
    let mut engine = engine();
    settle(&mut engine, &mut session);
    assert_eq!(session.directions[idx].probe, Probe::Same);
    assert!(session.is_of_this_model(&session.directions[idx]));
    assert_eq!(session.model_to_open(&last(&session)), None);
    let warning = session.card_warning(&last(&session)).unwrap_or_default();
    assert!(!warning.contains("weights"), "{warning}");

    session.directions[idx].probe = Probe::Different;
    let warning = session.card_warning(&last(&session)).unwrap();
    assert!(
        warning.contains("another model (owner/name:file.gguf)"),
        "{warning}"
    );
    let offered = session.model_to_open(&last(&session));
    assert_eq!(offered.as_deref(), Some("owner/name:file.gguf"));
    // By its hash, where its name says nothing.
    let known = OFFERED
        .iter()
        .find_map(|own| Some((own.id, own.sha256?)))
        .unwrap();
    let shown = &mut session.directions[idx].direction;
    let facts = &mut Arc::make_mut(shown).facts;
    (facts.model, facts.model_sha256) = ("/tmp/x.gguf".to_owned(), known.1.to_owned());
    assert_eq!(
        session.model_to_open(&last(&session)).as_deref(),
        Some(known.0)
    );
}

/// A direction that does not fit the model of the page is shown where its own can be fetched, and refused where not.
#[test]
fn directions_that_do_not_fit_offer_their_model() {
    let mut session = live();
    let mut direction =
        Direction::from_bytes(recorded::QUESTIONS[recorded::PROGRAMS].directions[0].1).unwrap();
    direction.facts.model_sha256 = "00ff".to_owned();
    direction.facts.place.site.layer = 20;
    direction.facts.model = "nowhere".to_owned();
    let bytes = |direction: &Direction| direction.to_bytes();
    let refused = session.open_direction("x", &bytes(&direction), false);
    assert!(refused.is_err());
    direction.facts.model = "owner/name".to_owned();
    session
        .open_direction("x", &bytes(&direction), false)
        .unwrap();
    let card = session.choices.cards.last().unwrap().clone();
    assert!(session.card_problem(&card).unwrap().contains("layer 20"));
    assert_eq!(session.model_to_open(&card).as_deref(), Some("owner/name"));
}

#[test]
fn hostile_directions_are_refused() {
    let mut session = live();
    let good = recorded::QUESTIONS[recorded::PROGRAMS].directions[0].1;
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
    let own =
        Direction::from_bytes(recorded::QUESTIONS[recorded::PROGRAMS].directions[0].1).unwrap();
    let with = |change: &dyn Fn(&mut Direction)| {
        let mut other = own.clone();
        change(&mut other);
        other.to_bytes()
    };
    let learned_here = with(&|other| {
        other.facts.created_by = Some("swivel".to_owned());
        other.facts.controls.shuffled = Some(0.7);
    });
    assert_ne!(
        learned_here,
        recorded::QUESTIONS[recorded::PROGRAMS].directions[0].1
    );
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
fn another_model_switches_off_what_does_not_fit() {
    let mut session = live();
    let mut other = model();
    other.sizes = swivel_core::Sizes::gpt2(3, 128, 4, 256, 922);
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

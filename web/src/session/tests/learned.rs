//! Sweep results that were opened: what they show, and cells that are switched on and off.

mod head;

use swivel_core::{
    Place,
    direction::{Basis, Controls},
    sweep::{Cell, Method, Metrics, SweepFacts, SweepResult},
};

use super::*;
use crate::session::learned::{Facet, OpenedFile, OpenedSweep};

/// A map over the recorded example: the page's own direction at layer 2, and something else elsewhere.
fn map_of(method: Method, change: impl Fn(&mut SweepFacts)) -> SweepResult {
    let prompts = Session::of_question(recorded::PROGRAMS)
        .unwrap()
        .choices
        .prompts();
    let own =
        Direction::from_bytes(recorded::QUESTIONS[recorded::PROGRAMS].directions[0].1).unwrap();
    let mut facts = SweepFacts {
        method,
        model: "solver".to_owned(),
        first_token: None,
        model_sha256: own.facts.model_sha256.clone(),
        task: own.facts.task.clone(),
        templates: Vec::new(),
        train_pairs: None,
        test_pairs: 100,
        validation_pairs: None,
        known: None,
        epochs: None,
        lr: None,
        seed: None,
        base: prompts.base,
        source: prompts.source,
        n_planned: 6,
        part: None,
        run: "{}".to_owned(),
        created_by: None,
    };
    change(&mut facts);
    let last = facts.base.len() - 1;
    let mut result = SweepResult::new(facts).unwrap();
    for (layer, position, iia) in [(2, last, 0.97), (1, last, 0.6), (1, 3, 0.5), (0, 3, 0.4)] {
        let cell = cell(Component::BlockOutput, layer, position, iia, &own);
        result.push(of_method(cell, method)).unwrap();
    }
    result
}

fn cell(component: Component, layer: usize, position: usize, iia: f64, own: &Direction) -> Cell {
    let mut other = vec![0.0; own.width()];
    other[layer] = 1.0;
    let rows = match iia > 0.9 {
        true => own.rows().to_vec(),
        false => other,
    };
    Cell {
        place: Place::new(component.at(layer), Position::Index(position)),
        token: None,
        variable: Some("op5".to_owned()),
        basis: Some(Basis::new(rows, 1).unwrap()),
        iia,
        validation: None,
        turned: None,
        unseen: None,
        controls: Some(Controls {
            random: 0.5,
            full: 1.0,
            ..Controls::default()
        }),
        metrics: Metrics {
            probability: [0.1, iia],
            logit_difference: None,
            kl: 0.0,
        },
        top_1: 258,
        logit: 1.0,
    }
}

fn of_method(mut cell: Cell, method: Method) -> Cell {
    if method != Method::Das {
        (cell.basis, cell.controls) = (None, None);
    }
    cell
}

#[track_caller]
fn open(session: &mut Session, result: &SweepResult) -> usize {
    match session.open_file("map.safetensors", &result.to_bytes()) {
        Ok(OpenedFile::Map(idx)) => {
            session.picture = Picture::Learned(idx);
            idx
        }
        other => panic!("{other:?}"),
    }
}

fn shown(session: &Session) -> &OpenedSweep {
    session.learned().unwrap().1
}

const BEST: Cursor = Cursor {
    layer: 2,
    position: 9,
};
const WEAK: Cursor = Cursor {
    layer: 1,
    position: 3,
};

fn on(session: &Session) -> Vec<String> {
    let cards = session.choices.cards.iter().filter(|card| card.is_on);
    cards.map(|card| session.card_title(card)).collect()
}

#[test]
fn cell_is_switched_on_alone_replaced_and_removed() {
    let mut session = live();
    let mut engine = engine();
    let own = answer(&mut engine, &mut session);
    let map = open(&mut session, &map_of(Method::Das, |_| ()));
    assert_eq!(
        shown(&session).cursor,
        BEST,
        "the cursor starts at the best cell"
    );
    let n_cards = session.choices.cards.len();

    session.toggle_learned(BEST).unwrap();
    assert_eq!(on(&session), ["op5 · layer 2 block_output, token 9"]);
    assert!(session.is_learned_on(map, 0));
    // The direction is the page's own, so the answer is.
    let found = answer(&mut engine, &mut session);
    assert_eq!((found.top, found.differences), (own.top, own.differences));

    session.toggle_learned(WEAK).unwrap();
    assert_eq!(on(&session), ["op5 · layer 1 block_output, token 3"]);
    assert_eq!(session.choices.cards.len(), n_cards + 1);
    assert!(!answer(&mut engine, &mut session).is_flipped());

    session.toggle_learned(WEAK).unwrap();
    assert_eq!(session.choices.cards.len(), n_cards);
    assert!(session.undo() && session.undo() && session.undo());
    assert_eq!(on(&session), ["op5, the output of 07065a"]);
    assert!(session.redo());
    assert!(session.is_learned_on(map, 0));

    // A link takes it along like any other direction.
    let link = session.fragment();
    let mut other = live();
    other.open_fragment(&link).unwrap();
    assert!(other.active().eq(session.active()));
    // And here it is the same card.
    session.toggle_learned(BEST).unwrap();
    session.open_fragment(&link).unwrap();
    assert!(session.is_learned_on(map, 0));
}

#[test]
fn closed_map_leaves_what_was_switched_on_and_opens_again() {
    let mut session = live();
    let result = map_of(Method::Das, |_| ());
    let map = open(&mut session, &result);
    session.toggle_learned(BEST).unwrap();
    let choices = session.choices.clone();
    session.close_map();
    assert_eq!(session.picture, Picture::default());
    assert!(session.sweeps[map].is_closed && session.learned().is_none());
    assert_eq!(session.choices, choices);
    // With nothing open there is nothing to close.
    session.close_map();
    assert_eq!(open(&mut session, &result), map, "the same map again");
    assert!(!session.sweeps[map].is_closed);
    assert!(
        session.is_learned_on(map, 0),
        "the card is still its cell's"
    );
}

#[test]
fn map_shows_its_layers_and_tokens_and_how_much_there_is() {
    let mut session = live();
    open(&mut session, &map_of(Method::Das, |_| ()));
    let map = shown(&session);
    assert_eq!(map.extent(), "4 of 6 cells: the sweep was interrupted");
    assert_eq!(map.positions(), [3, 9]);
    assert_eq!(session.learned_layers(map), [2, 1, 0]);
    assert_eq!(map.best(), Some(0));
    let cells = map.result.cells();
    assert!((map.share(&cells[0]) - 0.94).abs() < 1e-6);
    assert_eq!(map.share(&cells[3]), 0.0, "below chance");
    assert_eq!(session.learned_token(map, 9).text, "=");
    assert!(session.learned_warnings(map).is_empty());
    assert!(map.facets().is_empty());
    let missing = Cursor {
        layer: 0,
        position: 9,
    };
    let error = session.toggle_learned(missing).unwrap_err();
    assert!(error.contains("not computed"), "{error}");

    let complete = map_of(Method::Das, |facts| facts.n_planned = 4);
    assert_eq!(open(&mut session, &complete), 1, "another map");
    assert_eq!(open(&mut session, &complete), 1, "the same map");
    assert_eq!(shown(&session).extent(), "4 cells");
    session.move_in_map(-1, -1);
    assert_eq!(shown(&session).cursor, WEAK);
    session.move_in_map(-5, 0);
    session.move_in_map(0, isize::MAX / 2);
    assert_eq!(shown(&session).cursor, missing);
}

#[test]
fn tables_are_chosen_by_what_cells_differ_in() {
    let mut session = live();
    let own =
        Direction::from_bytes(recorded::QUESTIONS[recorded::PROGRAMS].directions[0].1).unwrap();
    let mut result = map_of(Method::Das, |_| ());
    result
        .push(cell(Component::MlpOutput, 2, 9, 0.7, &own))
        .unwrap();
    let mut other = cell(Component::MlpOutput, 2, 9, 0.8, &own);
    other.variable = Some("op3".to_owned());
    result.push(other).unwrap();
    open(&mut session, &result);
    let names = |session: &Session| -> Vec<(&str, String)> {
        let facets = shown(session).facets().into_iter();
        facets
            .map(|choice| (choice.name, choice.values[choice.current].clone()))
            .collect()
    };
    let text = |variable: &str, component: &str| {
        vec![
            ("variable", variable.to_owned()),
            ("component", component.to_owned()),
        ]
    };
    assert_eq!(names(&session), text("op5", "block_output"));
    let choose = |session: &mut Session, facet: Facet, value: &str| {
        let facets = shown(session).facets().into_iter();
        let mut values = facets.filter(|choice| choice.facet == facet);
        let values = values.next().unwrap().values;
        let idx = values.iter().position(|own| own == value).unwrap();
        session.choose_facet(facet, idx);
    };
    choose(&mut session, Facet::Component, "mlp_output");
    assert_eq!(names(&session), text("op5", "mlp_output"));
    assert_eq!(shown(&session).find(BEST), Some(4));
    choose(&mut session, Facet::Variable, "op3");
    assert_eq!(names(&session), text("op3", "mlp_output"));
    assert_eq!(shown(&session).best(), Some(5));
    // There is no op3 in the stream: the nearest is shown.
    choose(&mut session, Facet::Component, "block_output");
    assert_eq!(names(&session), text("op5", "block_output"));
}

#[test]
fn whole_values_are_swapped_where_nothing_was_learned() {
    for (method, title) in [
        (Method::Interchange, "whole residual vector"),
        (Method::Zero, "zero the residual vector"),
        (Method::Mean, "whole residual vector"),
    ] {
        let mut session = live();
        let map = open(&mut session, &map_of(method, |_| ()));
        session.toggle_learned(BEST).unwrap();
        assert_eq!(on(&session), [title]);
        assert!(session.is_learned_on(map, 0));
        session.toggle_learned(WEAK).unwrap();
        assert_eq!(session.active().count(), 1);
        assert!(session.active().all(|card| card.direction.is_none()));
        session.toggle_learned(WEAK).unwrap();
        assert_eq!(session.active().count(), 0);
        let map = shown(&session);
        assert_eq!(map.share(&map.result.cells()[3]), 0.0, "the weakest");
    }
}

#[test]
fn map_of_longer_prompts_offers_its_pair() {
    let mut session = live();
    session.shots = 3;
    session.new_pair(1).unwrap();
    let long = session.choices.prompts();
    session.undo();
    let result = map_of(Method::Das, |facts| {
        (facts.base, facts.source) = (long.base.clone(), long.source.clone());
    });
    open(&mut session, &result);
    let map = shown(&session);
    assert!(session.has_other_prompts(map));
    let last = long.base.len() - 1;
    assert_eq!(session.learned_token(map, last).text, "=");
    let warnings = session.learned_warnings(map).join(" ");
    assert!(
        warnings.contains("46 tokens, your prompts have 10"),
        "{warnings}"
    );
    let place = Cursor {
        layer: 2,
        position: last,
    };
    let error = session.toggle_learned(place).unwrap_err();
    assert!(error.contains("load its example pair"), "{error}");
    session.toggle_learned(WEAK).unwrap();
    session.load_example_pair().unwrap();
    assert!(!session.has_other_prompts(shown(&session)));
    assert!(session.learned_warnings(shown(&session)).is_empty());
    session.toggle_learned(place).unwrap();
    assert_eq!(session.active().count(), 1);
}

#[test]
fn other_models_and_heads_are_named() {
    let mut session = live();
    let other = map_of(Method::Das, |facts| {
        facts.model_sha256 = "00ff".to_owned();
        facts.model = "another".to_owned();
    });
    open(&mut session, &other);
    let warnings = session.learned_warnings(shown(&session)).join(" ");
    assert!(warnings.contains("other weights (another)"), "{warnings}");
    session.toggle_learned(BEST).unwrap();
    let card = session.choices.cards.last().unwrap();
    assert!(session.card_warning(card).is_some());

    let mut result = map_of(Method::Zero, |_| ());
    let own =
        Direction::from_bytes(recorded::QUESTIONS[recorded::PROGRAMS].directions[0].1).unwrap();
    let mut head = cell(Component::HeadQueryOutput, 1, 9, 0.99, &own);
    head.place.head = Some(3);
    result.push(of_method(head, Method::Zero)).unwrap();
    open(&mut session, &result);
    let map = shown(&session);
    assert!(session.learned_warnings(map).is_empty());
    let place = map.cursor;
    assert_eq!(place.layer, 1);
    session.toggle_learned(place).unwrap();
    assert_eq!(on(&session), ["zero the head_query_output"]);
    assert_eq!(session.active().next().unwrap().place.head, Some(3));

    // A model without these layers: refused, and if it comes later nothing can be switched on.
    let mut small = model();
    small.sizes = swivel_core::Sizes::gpt2(1, 64, 4, 256, 922);
    small.sha256 = "small".to_owned();
    session.set_model(small);
    let warnings = session.learned_warnings(shown(&session)).join(" ");
    assert!(warnings.contains("layer 2 is outside"), "{warnings}");
    assert!(session.toggle_learned(BEST).is_err());
    let another = map_of(Method::Mean, |_| ());
    assert!(session.open_file("b", &another.to_bytes()).is_err());
}

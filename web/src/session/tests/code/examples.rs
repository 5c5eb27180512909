//! What the scripts of the folder were made from.

use swivel_core::Place;

use super::{HOSTILE_NAME, *};

pub fn whole(component: Component, layer: usize, positions: [Position; 2], strength: f32) -> Card {
    let place = Place::new(component.at(layer), positions[0]);
    Card {
        strength,
        ..Card::new(Operation::INTERCHANGE, place, positions[1])
    }
}

/// The same in one head.
fn in_head(head: usize, card: Card) -> Card {
    let place = Place {
        head: Some(head),
        ..card.place
    };
    Card { place, ..card }
}

/// Another operation at the same place.
fn done(name: &str, card: Card) -> Card {
    let operation = name.parse().unwrap();
    Card {
        strength: card.strength,
        ..Card::new(operation, card.place, card.source_position)
    }
}

/// In the subspace of a direction.
fn inside(direction: usize, card: Card) -> Card {
    let direction = Some(direction);
    Card {
        direction,
        ..done("low_rank", card)
    }
}

pub fn set_cards(session: &mut Session, cards: Vec<Card>) {
    session.change(|choices| choices.cards = cards);
}

/// A direction of rank 2, the first of the embedded ones with a second row.
pub fn open_rank_2(session: &mut Session) -> usize {
    let direction = &session.directions[0].direction;
    let mut rows = direction.rows().to_vec();
    let mut second: Vec<f32> = (0..rows.len()).map(|i| (i as f32 * 0.7).sin()).collect();
    let dot = |a: &[f32], b: &[f32]| -> f32 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
    for _ in 0..2 {
        let along = dot(&rows, &second);
        for (value, row) in second.iter_mut().zip(&rows) {
            *value -= along * row;
        }
    }
    let length = dot(&second, &second).sqrt();
    rows.extend(second.iter().map(|value| value / length));
    let direction = Direction::new(rows, 2, direction.facts.clone()).unwrap();
    session
        .open_direction(HOSTILE_NAME, &direction.to_bytes(), false)
        .unwrap()
}

/// A direction of rank 6 of one head's values: rows of the cosine transform.
fn open_in_head(session: &mut Session, head: usize) -> usize {
    let mut facts = session.directions[0].direction.facts.clone();
    facts.place = Place {
        site: Component::HeadValueOutput.at(1),
        head: Some(head),
        position: Position::LAST,
    };
    let width = session.model.as_ref().unwrap().sizes.d_head;
    let rank = 6;
    let step = std::f32::consts::PI / width as f32;
    let scale = (2.0 / width as f32).sqrt();
    let row = |k| (0..width).map(move |i| scale * (step * k as f32 * (i as f32 + 0.5)).cos());
    let rows = (1..=rank).flat_map(row).collect();
    let direction = Direction::new(rows, rank, facts).unwrap();
    session
        .open_direction("head.safetensors", &direction.to_bytes(), false)
        .unwrap()
}

/// What the scripts of the folder were made from.
pub fn examples() -> Vec<(&'static str, Session)> {
    use Component::*;
    use Position::Index;
    const LAST: Position = Position::LAST;

    let recorded = live();

    let mut nothing = live();
    nothing.change(|choices| choices.cards[0].is_on = false);

    let mut two_directions = live();
    two_directions.change(|choices| {
        for (card, strength) in choices.cards.iter_mut().zip([0.7, 1.3]) {
            card.is_on = true;
            card.strength = strength;
        }
    });

    let mut other_length = live();
    set_long_base(&mut other_length);
    let cards = vec![whole(MlpOutput, 0, [Index(44), Index(18)], 1.0)];
    set_cards(&mut other_length, cards);

    let mut one_place = live();
    let idx = open_rank_2(&mut one_place);
    let site = one_place.directions[idx].direction.facts.place.site;
    let mut subspace = whole(site.component, site.layer, [LAST, LAST], 0.8);
    (subspace.operation, subspace.direction) = (Operation::LOW_RANK, Some(idx));
    let part = |position, strength| {
        whole(
            site.component,
            site.layer,
            [LAST, Index(position)],
            strength,
        )
    };
    set_cards(&mut one_place, vec![part(8, 0.5), subspace, part(2, 0.25)]);

    let mut every_component = live();
    set_long_base(&mut every_component);
    let mut cards = Vec::new();
    for (component, ..) in Component::ALL {
        if component.is_per_head() || !every_component.has(component) {
            continue;
        }
        let (layer, positions) = match component {
            Embedding => (0, [Index(38), Index(18)]),
            KeyOutput => (1, [Index(44), Index(18)]),
            ValueOutput => (0, [Index(44), Index(16)]),
            FinalNorm => (2, [LAST, LAST]),
            _ => (1, [LAST, LAST]),
        };
        cards.push(whole(component, layer, positions, 0.2));
    }
    set_cards(&mut every_component, cards);

    let mut heads = live();
    set_long_base(&mut heads);
    let idx = open_in_head(&mut heads, 1);
    let inner = [Index(44), Index(18)];
    let cards = vec![
        // Listed before the tensor that it is a part of, and applied after it.
        in_head(1, whole(HeadQueryOutput, 1, [LAST, LAST], 1.0)),
        whole(QueryOutput, 1, [LAST, Index(18)], 0.6),
        whole(AttentionValueOutput, 2, [LAST, Index(20)], 0.5),
        in_head(3, whole(HeadAttentionValueOutput, 2, [LAST, LAST], 1.0)),
        whole(HeadAttentionValueOutput, 1, [LAST, LAST], 0.7),
        in_head(1, whole(HeadKeyOutput, 1, [Index(36), Index(18)], 1.0)),
        whole(HeadKeyOutput, 0, [Index(40), Index(12)], 1.3),
        in_head(0, whole(HeadValueOutput, 0, inner, 1.0)),
        inside(idx, in_head(1, whole(HeadValueOutput, 1, inner, 1.5))),
        inside(idx, whole(HeadValueOutput, 1, [Index(36), Index(18)], 1.0)),
    ];
    set_cards(&mut heads, cards);

    let mut attention = live();
    let cards = vec![
        in_head(1, whole(AttentionWeight, 1, [LAST, Index(7)], 1.0)),
        whole(AttentionWeight, 0, [Index(6), Index(8)], 0.7),
        done(
            "zero",
            in_head(0, whole(AttentionWeight, 1, [LAST, LAST], 0.5)),
        ),
        done(
            "add",
            in_head(3, whole(AttentionWeight, 2, [LAST, LAST], 1.0)),
        ),
        done(
            "subtract",
            in_head(2, whole(AttentionWeight, 2, [LAST, LAST], 0.4)),
        ),
        done(
            "zero",
            in_head(2, whole(HeadValueOutput, 0, [Index(7), LAST], 1.0)),
        ),
    ];
    set_cards(&mut attention, cards);

    let mut operations = live();
    set_long_base(&mut operations);
    let inner = [Index(44), Index(18)];
    let cards = vec![
        // The source has no such token.
        done("zero", whole(MlpOutput, 0, [Index(40), Index(40)], 1.0)),
        done("add", whole(MlpActivation, 0, inner, 1.0)),
        done("subtract", whole(BlockMiddle, 1, [LAST, Index(18)], 0.3)),
        done("zero", whole(MlpOutput, 1, [LAST, LAST], 0.5)),
        done("add", whole(AttentionOutput, 1, [LAST, LAST], 1.4)),
        inside(0, whole(BlockOutput, 2, [LAST, LAST], 0.5)),
        done("add", whole(BlockOutput, 2, [LAST, LAST], -0.2)),
        done(
            "zero",
            in_head(1, whole(HeadValueOutput, 1, [Index(36), LAST], 1.0)),
        ),
        done(
            "zero",
            whole(HeadAttentionValueOutput, 0, [Index(44), LAST], 0.6),
        ),
        done(
            "subtract",
            in_head(0, whole(HeadQueryOutput, 2, [LAST, LAST], 1.0)),
        ),
        done("add", whole(HeadAttentionValueOutput, 2, [LAST, LAST], 0.5)),
    ];
    set_cards(&mut operations, cards);

    let mut more_operations = live();
    set_long_base(&mut more_operations);
    let mut scaled = done("scale", whole(MlpOutput, 1, [LAST, LAST], 0.5));
    scaled.factor = Some(-1.5);
    let mut noisy = done("noise", in_head(1, whole(HeadValueOutput, 0, inner, 7.0)));
    noisy.seed = 3;
    let cards = vec![
        done("mean", whole(MlpOutput, 0, [Index(44), LAST], 1.0)),
        done(
            "mean",
            whole(HeadAttentionValueOutput, 1, [LAST, LAST], 0.6),
        ),
        done("noise", whole(BlockOutput, 0, [Index(40), LAST], 0.5)),
        noisy,
        scaled,
        done(
            "scale",
            in_head(2, whole(HeadAttentionValueOutput, 2, [LAST, LAST], 1.0)),
        ),
        done("interchange", whole(AttentionOutput, 1, inner, 1.0)),
    ];
    set_cards(&mut more_operations, cards);

    vec![
        ("recorded", recorded),
        ("nothing", nothing),
        ("two_directions", two_directions),
        ("other_length", other_length),
        ("one_place", one_place),
        ("every_component", every_component),
        ("heads", heads),
        ("attention", attention),
        ("operations", operations),
        ("more_operations", more_operations),
    ]
}

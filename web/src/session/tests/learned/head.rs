//! A direction of one head, switched on from a sweep result and from a file of its own.

use swivel_engine::protocol::AnswerRow;

use super::*;

/// The engine, from cached runs, says what a full run says.
#[test]
fn direction_of_a_head_is_swapped_in_that_head() {
    let sizes = model().sizes;
    let own =
        Direction::from_bytes(recorded::QUESTIONS[recorded::PROGRAMS].directions[0].1).unwrap();
    let rows: Vec<f32> = (0..2 * sizes.d_head)
        .map(|idx| {
            if idx % (sizes.d_head + 1) == 3 {
                1.0
            } else {
                0.0
            }
        })
        .collect();
    // Heads that the answer depends on; at the last token, keys and values of both prompts are nearly the same.
    let places = [
        (Component::HeadQueryOutput, 2, 1, 9),
        (Component::HeadKeyOutput, 1, 3, 8),
        (Component::HeadValueOutput, 1, 3, 8),
        (Component::HeadAttentionValueOutput, 2, 1, 9),
    ];
    let mut result = map_of(Method::Das, |facts| facts.n_planned = 8);
    for (component, layer, head, position) in places {
        let mut cell = cell(component, layer, position, 0.99, &own);
        cell.place.head = Some(head);
        cell.basis = Some(Basis::new(rows.clone(), 2).unwrap());
        result.push(cell).unwrap();
    }

    let gpt2 = gpt2();
    let mut session = live();
    let mut engine = engine();
    for (idx, (component, layer, head, position)) in places.into_iter().enumerate() {
        open(&mut session, &result);
        let keys = result.map_keys();
        let key = result.cells()[4 + idx].map_key();
        let shown = keys.iter().position(|own| *own == key).unwrap();
        session.sweeps[0].show(shown);
        session.toggle_learned(Cursor { layer, position }).unwrap();
        let titles = on(&session);
        assert!(
            titles[0].contains(&format!("{component}, head {head}")),
            "{titles:?}"
        );
        let found = answer(&mut engine, &mut session);

        let Prompts { base, source } = session.choices.prompts();
        let site = component.at(layer);
        let units = Units {
            rows: None,
            positions: Some(vec![position]),
            heads: Some(vec![head]),
        };
        let mut recorder = Recorder::new([site]);
        gpt2.forward(batch(&source), &mut recorder);
        let value = recorder.get_heads(site).unwrap().clone();
        let basis = TensorData::new(rows.clone(), [2, sizes.d_head]);
        let basis = Tensor::from_data(basis, &Default::default());
        let edit = Edit {
            site,
            source: Source::Heads(units.select(value)),
            units,
            intervention: Intervention::new(Op::Interchange, Featurizer::Subspace(basis)),
        };
        let mut editor = Editor::new(&sizes, base.len(), vec![edit]).unwrap();
        let logits = gpt2.forward(batch(&base), &mut editor);
        editor.finish().unwrap();
        let last = logits.narrow(1, base.len() - 1, 1);
        let logits: Vec<f32> = last.into_data().into_vec().unwrap();
        for row in &found.rows {
            let (found, expected) = (row.scores[1].logit, logits[row.id as usize]);
            assert!((found - expected).abs() < TOLERANCE, "{found} {expected}");
        }
        let change = |row: &AnswerRow| (row.scores[1].logit - row.scores[0].logit).abs();
        let change = found.rows.iter().map(change).fold(0.0, f32::max);
        assert!(change > 10.0 * TOLERANCE, "{component} moves by {change}");
    }
    // The same from a file of its own.
    let bytes = result.direction(4).unwrap().to_bytes();
    let idx = session.open_direction("head", &bytes, false).unwrap();
    let head = session.directions[idx].direction.facts.place.head;
    assert_eq!(head, Some(places[0].2));
}

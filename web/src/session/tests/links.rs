//! Links: they bring everything back, or say why they cannot.

use super::*;

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

/// A plan that a person wrote counts tokens or names them by their text: the cards are the same.
#[test]
fn links_name_tokens_by_text() {
    let mut session = live();
    let mut cards = |positions: &str| {
        let plan = format!(
            r#"{{"version":1,"base":{{"text":["woman,camera,woman,taxi,woman="]}},"sources":[{{"text":["carpet,rug,carpet="]}}],
                "interventions":[{{"layer":1,"component":"block_output","source":0,{positions},"op":{{"type":"interchange"}}}}]}}"#
        );
        session.open_fragment(&share::encode(&plan)).unwrap();
        session.active().cloned().collect::<Vec<_>>()
    };
    let by_number = cards(r#""base_positions":[[8,"last"]],"source_positions":[[2,"last"]]"#);
    assert_eq!(by_number.len(), 2);
    let by_text = cards(
        r#""base_positions":[{"text":"woman"},{"text":"="}],"source_positions":[[{"text":"rug"},-1]]"#,
    );
    assert_eq!(by_text, by_number);
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

//! The examples: the recorded one is what the model says, and each shows what it promises.

use swivel_core::question::programs::EXAMPLES;

use swivel_core::HeaderReader;

use super::{
    super::recorded::{Example, QUESTIONS, largest_error},
    *,
};

/// Computes the pair of a question anew; with `SWIVEL_WRITE=1` writes it, of these prompts where there are some.
fn check(question: usize, model: Model, engine: &mut Engine<Flex>, texts: Option<[&str; 2]>) {
    let mut session = Session::of_question(recorded::PROGRAMS).unwrap();
    session.open_question(question).unwrap();
    session.set_model(model);
    let is_written = env::var_os("SWIVEL_WRITE").is_some();
    match texts {
        Some([base, source]) if is_written => {
            session.type_prompt(Side::Base, base).unwrap();
            session.type_prompt(Side::Source, source).unwrap();
        }
        None if is_written => {
            session.choices.base = recorded::example(question).unwrap().base;
            session.choices.source = recorded::example(question).unwrap().source;
        }
        _ => (),
    }
    let answer = answer(engine, &mut session);
    let model = session.model.as_ref().unwrap();
    let card = &session.choices.cards[0];
    assert!(card.is_on);
    let positions = match [card.place.position, card.source_position] {
        [Position::Index(base), Position::Index(source)] => Some([base, source]),
        _ => None,
    };
    let example = Example {
        base: session.choices.base.clone(),
        source: session.choices.source.clone(),
        tokens: answer
            .rows
            .iter()
            .map(|row| (row.id, session.token(row.id)))
            .collect::<BTreeMap<_, _>>(),
        answer,
        positions,
        model_sha256: model.sha256.clone(),
        n_layers: model.sizes.n_layers,
    };
    assert!(example.answer.is_flipped(), "the example shows a flip");
    assert!(session.is_on_task());
    let direction = card.direction.unwrap();
    assert_eq!(session.directions[direction].probe, Probe::Same);
    if is_written {
        let json = serde_json::to_string_pretty(&example).unwrap();
        let name = QUESTIONS[question].name;
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("examples/{name}.json"));
        fs::write(path, json + "\n").unwrap();
        return;
    }
    let recorded = recorded::example(question).unwrap();
    assert!(largest_error(&recorded.answer, &example.answer) < TOLERANCE);
    assert_eq!(
        (&recorded.base, &recorded.source),
        (&example.base, &example.source)
    );
    assert_eq!(recorded.tokens, example.tokens);
    assert_eq!(recorded.positions, example.positions);
    assert_eq!(recorded.model_sha256, example.model_sha256);
    assert_eq!(recorded.n_layers, example.n_layers);
}

#[test]
fn recorded_values_are_what_the_model_says() {
    check(recorded::PROGRAMS, model(), &mut engine(), None);
}

/// A real model and its engine; `None` where its weights are not, which `tests/SKIPS.md` says.
fn real(file: &str) -> Option<(Model, Engine<Flex>)> {
    let folder = env::var_os("SWIVEL_REAL")?;
    let bytes = fs::read(PathBuf::from(folder).join(file)).unwrap();
    let stored = HeaderReader::read(&bytes).unwrap();
    let config = Config::from_gguf(&stored).unwrap();
    let tokenizer = Tokenizer::from_gguf(&stored.metadata).unwrap();
    let weights = Weights::with_headers(&[&bytes], vec![stored]);
    let engine = Engine::load(&config, &weights, Default::default()).unwrap();
    let model = Model {
        name: file.to_owned(),
        family: config.family.model_type,
        sha256: weights.sha256().to_owned(),
        program: None,
        choices: task::choices(&tokenizer),
        tokenizer,
        end_tokens: config.end_tokens,
        sizes: config.sizes,
    };
    Some((model, engine))
}

/// The question of a real model.
fn check_real(name: &str, file: &str, texts: [&str; 2]) {
    let Some((model, mut engine)) = real(file) else {
        return;
    };
    let question = QUESTIONS.iter().position(|own| own.name == name).unwrap();
    check(question, model, &mut engine, Some(texts));
}

#[test]
fn recorded_values_are_what_gemma3_says() {
    let texts = ["The keys near the window", "The key near the window"];
    check_real("agreement", "gemma3.gguf", texts);
    let texts = ["Mary was so tired that", "John was so tired that"];
    check_real("gender", "gemma3.gguf", texts);
    let texts = [
        "The capital of Japan is the city of",
        "The capital of Italy is the city of",
    ];
    check_real("capitals", "gemma3.gguf", texts);
}

#[test]
fn recorded_values_are_what_smollm2_says() {
    let texts = [
        "After Brian and Steven came back from the store, Steven handed a ball to",
        "After Kenneth and Thomas came back from the store, Kenneth handed a ball to",
    ];
    check_real("ioi", "smollm2.gguf", texts);
}

#[test]
fn questions_come_and_go_and_keep_what_a_person_opened() {
    let mut session = live();
    let mut engine = engine();
    let cell = session.cursor;
    arm(&mut session, Component::BlockOutput, cell);
    let file = file("docs/drink/gemma3/layer7-S-rank1.safetensors");
    session.model = None;
    let own = session
        .open_direction("mine.safetensors", &file, false)
        .unwrap();
    session.toggle_card(session.choices.cards.len() - 1);
    for (idx, question) in QUESTIONS.iter().enumerate() {
        session.open_question(idx).unwrap();
        assert!(session.is_recorded && session.model.is_none());
        assert!(session.answer.as_ref().unwrap().0.is_flipped());
        let cards = &session.choices.cards;
        assert_eq!(cards.len(), question.directions.len() + 1);
        let on: Vec<bool> = cards.iter().map(|card| card.is_on).collect();
        assert!(on[0] && !on[1..].contains(&true), "{on:?}");
        assert_eq!(cards.last().unwrap().direction, Some(own));
        assert_eq!(session.has_history(), [false, false]);
    }
    // With its model, the question is answered anew.
    session.open_question(recorded::PROGRAMS).unwrap();
    session.set_model(model());
    settle(&mut engine, &mut session);
    assert!(session.is_current && !session.is_recorded);
    session.open_question(recorded::PROGRAMS).unwrap();
    assert!(session.model.is_some());
    settle(&mut engine, &mut session);
    assert!(session.is_current);
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
        assert_eq!(session.expected(), Some(token), "{}", example.title);
    }
}

/// Sentences that a person types: of the form that was measured, and of another one.
#[test]
fn sentences_of_ones_own_flip_in_smollm2() {
    let Some((model, mut engine)) = real("smollm2.gguf") else {
        return;
    };
    let question = recorded::asked_for(Some("ioi"), None, "");
    let mut session = Session::of_question(question).unwrap();
    session.set_model(model);
    session
        .type_prompt(
            Side::Base,
            "When Peter and Anna left the bar, Anna handed the keys to",
        )
        .unwrap();
    let card = session.choices.cards[0].clone();
    assert_eq!(session.placing(&card), Some(("S", [Way::Word, Way::Form])));
    let said = session.said_of_placing(&card).unwrap();
    assert!(said.contains("in the base “␣Anna”, by its word"), "{said}");
    let said = answer(&mut engine, &mut session);
    let tops = [0, 1].map(|run| session.token(said.top[run]));
    assert_eq!(tops, [" Peter", " Anna"]);
    let warning = session.card_warning(&session.choices.cards[0]).unwrap();
    assert!(warning.contains("other prompts than these"), "{warning}");
    // A click says where, and undo takes it back.
    assert!(session.point_at(Side::Base, 3));
    let card = session.choices.cards[0].clone();
    assert_eq!(session.placing(&card).unwrap().1[0], Way::Hand);
    session.undo();
    let card = session.choices.cards[0].clone();
    assert_eq!(session.placing(&card).unwrap().1[0], Way::Word);
    // A menu changes one word, and what must follow from it.
    session.undo();
    let pieces = session.pieces(Side::Base);
    assert!(
        pieces
            .iter()
            .any(|piece| piece.slot == "A" && piece.text == "Brian")
    );
    session.choose_word(Side::Base, 0, "Mary").unwrap();
    assert_eq!(
        session.choices.base.text,
        "After Mary and Steven came back from the store, Steven handed a ball to"
    );
    let said = answer(&mut engine, &mut session);
    assert!(said.is_flipped());
    assert_eq!(session.is_as_expected(said.top[1]), Some(true));
    // New pairs are of the question, and what is swapped is found in each.
    for seed in 0..3 {
        session.new_pair(seed).unwrap();
        assert!(session.is_on_task());
        let card = session.choices.cards[0].clone();
        assert_eq!(session.placing(&card).unwrap().1, [Way::Form; 2]);
    }
    // Names of several tokens: what slots say is matched from its end, and so is what stands between them.
    session
        .type_prompt(
            Side::Base,
            "When Mary Ann Lee and John went to the store, John gave a drink to",
        )
        .unwrap();
    session
        .type_prompt(
            Side::Source,
            "When Mary and John went to the store, Mary gave a drink to",
        )
        .unwrap();
    let partners = session.partners();
    let expected = [Some(0), None, None, Some(1), Some(2), Some(3)];
    assert_eq!(partners[..expected.len()], expected);
    assert_eq!(
        partners.last().unwrap().map(|own| own + 1),
        Some(session.choices.source.ids.len())
    );
    assert!(session.is_matched_by_places());
}

#[test]
fn address_says_which_question_is_asked() {
    fn asked(question: Option<&str>, model: Option<&str>, fragment: &str) -> &'static str {
        QUESTIONS[recorded::asked_for(question, model, fragment)].name
    }
    assert_eq!(asked(None, None, ""), "agreement");
    assert_eq!(asked(Some("gender"), None, ""), "gender");
    assert_eq!(asked(Some("nobody's"), None, ""), "agreement");
    let smollm2 = QUESTIONS[recorded::asked_for(Some("ioi"), None, "")].model;
    assert_eq!(asked(None, Some(smollm2), ""), "ioi");
    assert_eq!(asked(None, Some("models/mine"), ""), "programs");
    // A link holds the model that it was made with.
    let sha256 = model().sha256;
    let link = |digits: &str| format!("plan=abc&model={digits}&view=lens,base");
    assert_eq!(asked(None, None, &link(&sha256[..16])), "programs");
    let gemma = recorded::example(0).unwrap().model_sha256;
    assert_eq!(asked(None, None, &link(&gemma[..16])), "agreement");
    assert_eq!(asked(None, None, &link("0123")), "programs");
}

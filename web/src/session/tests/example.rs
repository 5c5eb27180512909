//! The examples: the recorded one is what the model says, and each shows what it promises.

use swivel_core::question::programs::EXAMPLES;

use super::{
    super::recorded::{Example, largest_error},
    *,
};

#[test]
fn recorded_values_are_what_the_model_says() {
    let mut session = live();
    if env::var_os("SWIVEL_WRITE").is_some() {
        session.new_pair(5).unwrap();
    }
    let mut engine = engine();
    let answer = answer(&mut engine, &mut session);
    let model = session.model.as_ref().unwrap();
    let example = Example {
        base: session.choices.base.clone(),
        source: session.choices.source.clone(),
        tokens: answer
            .rows
            .iter()
            .map(|row| (row.id, session.token(row.id)))
            .collect::<BTreeMap<_, _>>(),
        answer,
        model_sha256: model.sha256.clone(),
        n_layers: model.sizes.n_layers,
    };
    if env::var_os("SWIVEL_WRITE").is_some() {
        let json = serde_json::to_string_pretty(&example).unwrap();
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/recorded.json");
        fs::write(path, json + "\n").unwrap();
        return;
    }
    let recorded = recorded::example().unwrap();
    assert!(largest_error(&recorded.answer, &example.answer) < TOLERANCE);
    assert!(recorded.answer.is_flipped(), "the example shows a flip");
    assert_eq!(
        (&recorded.base, &recorded.source),
        (&example.base, &example.source)
    );
    assert_eq!(recorded.tokens, example.tokens);
    assert_eq!(recorded.model_sha256, example.model_sha256);
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
        assert_eq!(
            session.expected(),
            Some(token.as_str()),
            "{}",
            example.title
        );
    }
}

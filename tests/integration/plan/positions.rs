//! Positions that count from the end, and tokens that a plan says are there.

use swivel_core::Config;

use super::*;

/// A plan on texts for the solver, of two lengths, with its tokenizer or without.
fn check_text(intervention: &str, tokenizer: Option<&Tokenizer>) -> Result<CheckedPlan, PlanError> {
    let json = include_bytes!("../../../models/solver/config.json");
    let sources = match intervention.contains(r#""source": 0"#) {
        true => r#""sources": [{"text": ["carpet,rug,carpet="]}],"#,
        false => "",
    };
    let plan = format!(
        r#"{{"version": 1, "base": {{"text": ["woman,camera,woman,taxi,woman="]}},
            {sources}
            "interventions": [{{"layer": 2, "component": "block_output", {intervention}, "op": {{"type": "interchange"}}}}]}}"#
    );
    let read = |name: &str| Err::<Arc<Direction>, _>(format!("{name} is not there"));
    Plan::from_json(plan.as_bytes())?.check(
        &Config::from_json(json).unwrap().sizes,
        tokenizer,
        read,
    )
}

fn tokenizer() -> Tokenizer {
    Tokenizer::from_json(include_bytes!("../../../models/solver/tokenizer.json")).unwrap()
}

#[test]
fn positions_count_from_the_end_of_their_own_run() {
    let tokenizer = tokenizer();
    let words = |base: &str, source: &str| {
        let positions = format!(r#""base_positions": {base}, "source_positions": {source}"#);
        let checked = check_text(&format!(r#""source": 0, {positions}"#), Some(&tokenizer));
        checked.unwrap().in_words(Some(&tokenizer))
    };
    let expected = words("[[9]]", "[[5]]");
    let has = |text: &str| expected.iter().any(|line| line.contains(text));
    assert!(has("token 9 \"=\"") && has("token 5 \"=\""), "{expected:?}");
    for (base, source) in [
        ("[[-1]]", "[[-1]]"),
        ("[\"last\"]", "[[\"last\"]]"),
        ("[\"last\"]", "[5]"),
    ] {
        assert_eq!(words(base, source), expected, "{base}, {source}");
    }
    // The source's own last token, where its positions are the base's.
    let both = check_text(
        r#""source": 0, "base_positions": ["last"]"#,
        Some(&tokenizer),
    );
    assert_eq!(both.unwrap().in_words(Some(&tokenizer)), expected);
    let plan = Plan::from_json(
        br#"{"version": 1, "base": {"ids": [[1]]}, "interventions": [{"layer": 0, "component": "z",
            "base_positions": [[0, -2, "last", -1]], "op": {"type": "zero"}}]}"#,
    );
    assert!(
        plan.unwrap()
            .to_json()
            .contains(r#"[[0,-2,"last","last"]]"#)
    );
}

#[test]
fn positions_are_found_by_text_in_their_own_run() {
    let tokenizer = tokenizer();
    let words = |positions: &str| {
        let checked = check_text(&format!(r#""source": 0, {positions}"#), Some(&tokenizer));
        checked.unwrap().in_words(Some(&tokenizer))
    };
    for (texts, numbers) in [
        // Where it stands last, and its last token.
        (
            r#""base_positions": [{"text": "woman"}], "source_positions": [{"text": "carpet"}]"#,
            r#""base_positions": [8], "source_positions": [4]"#,
        ),
        (
            r#""base_positions": [[{"text": "camera,woman"}, "last"]], "source_positions": [[1, {"text": "rug"}]]"#,
            r#""base_positions": [[4, 9]], "source_positions": [[1, 2]]"#,
        ),
        (
            r#""base_positions": [{"text": "="}], "token": "=", "source_token": "=""#,
            r#""base_positions": ["last"]"#,
        ),
    ] {
        assert_eq!(words(texts), words(numbers), "{texts}");
    }
}

#[test]
fn text_is_found_in_each_row_of_ids_or_text() {
    let tokenizer = tokenizer();
    let texts = ["woman,camera,taxi=", "camera,taxi,woman="];
    let ids = texts.map(|text| tokenizer.encode(text).unwrap());
    let checked = |base: String, positions: &str| {
        let plan = format!(
            r#"{{"version": 1, "base": {base}, "interventions": [{{"layer": 1, "component": "mlp_output",
                "base_positions": {positions}, "op": {{"type": "zero"}}}}]}}"#
        );
        let plan = Plan::from_json(plan.as_bytes()).unwrap();
        assert_eq!(Plan::from_json(plan.to_json().as_bytes()).unwrap(), plan);
        let read = |name: &str| Err::<Arc<Direction>, _>(format!("{name} is not there"));
        let json = include_bytes!("../../../models/solver/config.json");
        let sizes = Config::from_json(json).unwrap().sizes;
        format!("{:?}", plan.check(&sizes, Some(&tokenizer), read).unwrap())
    };
    let by_number = checked(format!(r#"{{"ids": {ids:?}}}"#), "[[0, 2], [4, 0]]");
    for base in [
        format!(r#"{{"ids": {ids:?}}}"#),
        format!(r#"{{"text": {texts:?}}}"#),
    ] {
        let for_all = r#"[{"text": "woman"}, {"text": "camera"}]"#;
        let one_a_row = r#"[[0, {"text": "camera"}], [{"text": "woman"}, 0]]"#;
        assert_eq!(checked(base.clone(), for_all), by_number);
        assert_eq!(checked(base, one_a_row), by_number);
    }
}

/// The plan that the README runs, whose text begins with a first token.
#[test]
fn example_names_its_tokens() {
    let tokenizer = include_bytes!("../../fixtures/tokenizers/gemma.json");
    let tokenizer = Tokenizer::from_json(tokenizer).unwrap();
    let plan = Plan::from_json(include_bytes!("../../../examples/keys.json")).unwrap();
    let read = |name: &str| Err::<Arc<Direction>, _>(format!("{name} is not there"));
    let sizes = Sizes::gpt2(9, 6, 2, 32, tokenizer.n_tokens());
    let checked = plan.check(&sizes, Some(&tokenizer), read).unwrap();
    let [written, read] = checked.positions(0).map(Option::unwrap);
    for (run, positions, text) in [(1, written, "<bos>The keys"), (0, read, "<bos>The key")] {
        let ids = &checked.run_ids(run)[0];
        let [last] = positions else {
            panic!("one token: {positions:?}");
        };
        assert_eq!(tokenizer.decode(&ids[..=*last]), text);
    }
}

#[test]
fn tokens_are_what_the_plan_says_or_it_is_refused() {
    let tokenizer = tokenizer();
    let at = r#""source": 0, "base_positions": [[1, -2]], "source_positions": [["last", 2]]"#;
    let values = format!(r#""values": [{:?}], "base_positions": ["last"]"#, [0.5; 64]);
    // What the intervention says more, what the message says; nothing where it is right.
    let cases: &[(String, &[&str])] = &[
        (at.to_owned(), &[]),
        (
            format!(r#"{at}, "token": ",""#),
            &["interventions[0].token", "token 8 of row 0", "\",\"", "\"woman\""],
        ),
        (
            r#""source": 0, "base_positions": [[1, 3]], "token": ",", "source_positions": [[1, 3]], "source_token": ",""#
                .to_owned(),
            &[],
        ),
        (
            r#""source": 0, "base_positions": ["last"], "token": "=", "source_token": "=""#.to_owned(),
            &[],
        ),
        (
            r#""source": 0, "base_positions": ["last"], "source_positions": [-2], "source_token": "=""#.to_owned(),
            &["interventions[0].source_token", "token 4 of row 0", "\"carpet\""],
        ),
        (format!(r#"{values}, "token": "=""#), &[]),
        (
            format!(r#"{values}, "source_token": "=""#),
            &["interventions[0].source_token", "no source run"],
        ),
        (
            r#""source": 0, "base_positions": [-11]"#.to_owned(),
            &["interventions[0].base_positions[0]", "position -11", "0 to 9"],
        ),
        (
            r#""source": 0, "base_positions": [-7]"#.to_owned(),
            &["interventions[0].source_positions[0]", "position -7", "0 to 5"],
        ),
        (
            r#""source": 0, "base_positions": ["last", -1]"#.to_owned(),
            &["interventions[0].base_positions[0]", "twice"],
        ),
        (
            r#""source": 0, "base_positions": ["lost"]"#.to_owned(),
            &["interventions[0].base_positions", "expected token positions"],
        ),
        (
            r#""source": 0, "base_positions": [1.5]"#.to_owned(),
            &["interventions[0].base_positions", "expected token positions"],
        ),
        (
            r#""source": 0, "base_positions": [["lost"]]"#.to_owned(),
            &["interventions[0].base_positions", "expected token positions"],
        ),
        (
            r#""source": 0, "base_positions": [{"text": "camera"}]"#.to_owned(),
            &["interventions[0].source_positions[0]", "\"camera\"", "\"carpet,rug,carpet=\""],
        ),
        (
            r#""source": 0, "base_positions": [[{"text": "carpet"}]], "source_positions": [0]"#.to_owned(),
            &["interventions[0].base_positions[0]", "\"carpet\"", "\"woman,camera,woman,taxi,woman=\""],
        ),
        (
            r#""source": 0, "base_positions": [{"text": "woman"}, 8], "source_positions": [0, 1]"#.to_owned(),
            &["interventions[0].base_positions[0]", "8 twice"],
        ),
    ];
    for (intervention, expected) in cases {
        let message = check_text(intervention, Some(&tokenizer))
            .map_or_else(|error| error.to_string(), |_| String::new());
        assert_eq!(
            message.is_empty(),
            expected.is_empty(),
            "{intervention}: {message}"
        );
        for text in *expected {
            assert!(message.contains(text), "`{text}` is not in: {message}");
        }
    }
    // Ids alone say nothing of texts.
    let plan = br#"{"version": 1, "base": {"ids": [[1, 28]]}, "interventions": [{"layer": 0, "component": "mlp_output",
        "base_positions": ["last"], "token": "=", "op": {"type": "zero"}}]}"#;
    let read = |name: &str| Err::<Arc<Direction>, _>(format!("{name} is not there"));
    let plan = Plan::from_json(plan).unwrap();
    let message = plan.check(&sizes(), None, read).unwrap_err().to_string();
    assert!(message.contains("no tokenizer"), "{message}");
    plan.check(&sizes(), Some(&tokenizer), read).unwrap();
    let whole = r#""component": "z", "unit": "h", "heads": [0], "token": "=""#;
    let plan = format!(
        r#"{{"version": 1, "base": {{"ids": [[1]]}}, "interventions": [{{"layer": 0, {whole}, "op": {{"type": "zero"}}}}]}}"#
    );
    let plan = Plan::from_json(plan.as_bytes()).unwrap();
    let message = plan.check(&sizes(), Some(&tokenizer), read).unwrap_err();
    assert!(
        message.to_string().contains("interventions[0].token"),
        "{message}"
    );
}

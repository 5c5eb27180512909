//! `inspect`: maps as tables, plans in words, what weight files hold.

use std::fs;

use serde_json::Value;
use swivel_core::{
    Component, Place, Position,
    sweep::{Cell, Method, Metrics, SweepFacts, SweepResult},
};
use tempfile::TempDir;

use crate::{apply::PLAN, support::*};

/// A map of two of three cells.
fn result() -> SweepResult {
    let mut result = SweepResult::new(SweepFacts {
        method: Method::Zero,
        model: "tiny".to_owned(),
        model_sha256: "00ff".to_owned(),
        first_token: Some("<s>".to_owned()),
        task: None,
        templates: Vec::new(),
        train_pairs: None,
        test_pairs: 40,
        validation_pairs: None,
        known: None,
        epochs: None,
        lr: None,
        seed: None,
        base: vec![1, 2, 3],
        source: vec![4, 5, 6],
        n_planned: 3,
        part: None,
        run: "{}".to_owned(),
        created_by: None,
    })
    .unwrap();
    for (layer, iia) in [(1, 0.25), (0, 0.75)] {
        result
            .push(Cell {
                place: Place::new(Component::MlpOutput.at(layer), Position::Index(2)),
                token: None,
                variable: None,
                basis: None,
                iia,
                validation: None,
                turned: None,
                unseen: None,
                controls: None,
                metrics: Metrics {
                    probability: [0.5, 0.5],
                    logit_difference: None,
                    kl: 0.0,
                },
                top_1: 0,
                logit: 0.0,
            })
            .unwrap();
    }
    result
}

#[test]
fn sweep_result_is_shown_as_a_table() {
    let folder = tempfile::tempdir().unwrap();
    let path = path_in(&folder, "map.safetensors");
    fs::write(&path, result().to_bytes()).unwrap();
    let inspected = ok_json(&["inspect", &path, "--json"]);
    assert_eq!(inspected["kind"], "sweep result");
    assert_eq!(
        (&inspected["best"], &inspected["cells"][1]["iia"]),
        (&1.into(), &0.75.into())
    );
    let text = ok(&["inspect", &path]);
    for line in [
        "sweep      zero, 2 of 3 cells: interrupted",
        "best       layer 0 mlp_output, token 2: IIA 0.750",
        "IIA of mlp_output",
        "layer 1   0.25",
        "token        2",
    ] {
        assert!(text.contains(line), "`{line}` is not in\n{text}");
    }
    check_error(&["eval", &path], &["`zero`", "learns no directions"]);
}

#[test]
fn plan_is_said_in_words_before_it_is_run() {
    let folder = TempDir::new().unwrap();
    let [plan, unnamed] = ["plan.json", "plan"].map(|name| path_in(&folder, name));
    for file in [&plan, &unnamed] {
        fs::write(file, PLAN).unwrap();
    }
    let text = ok(&["inspect", &plan]);
    assert_eq!(ok(&["inspect", &unnamed]), text);
    for part in [
        "base: 1 prompt of 10 tokens",
        "swap layer 2 block_output, token 9 \"=\", with what source has",
        "read: layer 2 block_output, token 9 \"=\"",
        "recorded: layer 1 attention_weight",
        "of 30 layer x token cells",
    ] {
        assert!(text.contains(part), "`{part}` is not in\n{text}");
    }
    // Programs get one event, with the same lines; `apply` says them, too.
    let events = ok(&["inspect", &plan, "--json"]);
    assert_eq!(events.lines().count(), 1, "{events}");
    let event = last_json(&events);
    assert_eq!(
        (&event["kind"], &event["model"]),
        (&"plan".into(), &"solver".into())
    );
    let lines: Vec<&str> = text.lines().skip(1).collect();
    assert_eq!(event["lines"], Value::from(lines.clone()));
    let applied = ok(&["apply", &plan, "--device", "flex"]);
    assert!(lines.iter().all(|line| applied.contains(line)), "{applied}");

    // Tokens by number for a model without a tokenizer, and its sizes are the ones that count.
    let tiny = fixture("tiny");
    let tiny = ["--model", tiny.to_str().unwrap()];
    let ids = PLAN
        .replace(
            r#""text": ["clever,milk,clever,reply,clever="]"#,
            r#""ids": [[1, 2]]"#,
        )
        .replace(
            r#""text": ["lemon,woman,clock,lady,help="]"#,
            r#""ids": [[3, 4]]"#,
        )
        .replace("\"layer\": 2", "\"layer\": 1")
        .replace("[[9]]", "[\"last\"]");
    fs::write(&plan, &ids).unwrap();
    let text = ok(&[&["inspect", &plan], &tiny[..]].concat());
    assert!(
        text.contains("layer 1 block_output, token 1, with"),
        "{text}"
    );
    assert_eq!(files_in(folder.path()), ["plan", "plan.json"]);

    let with_tiny = |file: &str, expected: &[&str]| {
        check_error(&[&["inspect", file], &tiny[..]].concat(), expected);
    };
    with_tiny(&unnamed, &["`base`", "no tokenizer"]);
    with_tiny("solver", &["--model", "solver is no plan"]);
    check_error(&["inspect", &plan, "--cell", "best"], &["--cell", "no map"]);
    check_error(
        &["inspect", &plan, "--model", "no/such/folder"],
        &["no model no/such/folder"],
    );
    for (file, text, expected) in [
        (&plan, "{", &["plan.json", "EOF"][..]),
        (&plan, "", &["plan.json", "EOF"]),
        (&plan, "{\"base\": 1}", &["plan.json", "`version`"]),
        (
            &plan,
            &ids.replace("[\"last\"]", "[-3]"),
            &["`interventions[0].base_positions[0]`", "-3"],
        ),
        (
            &unnamed,
            &PLAN.replace("\"layer\": 2", "\"layer\": 3"),
            &["`interventions[0].layer`", "0 to 2"],
        ),
        (
            &unnamed,
            &PLAN.replace("\"version\": 1", "\"version\": 2"),
            &["`version`", "expected 1"],
        ),
        (&unnamed, "{\"base\": 1}", &["it is a text"]),
        (&unnamed, "", &["safetensors"]),
    ] {
        fs::write(file, text).unwrap();
        check_error(&["inspect", file], expected);
    }
}

#[test]
fn gguf_file_is_said_in_words_or_refused() {
    let blocks = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/fixtures/gguf_blocks.gguf"
    );
    let text = ok(&["inspect", blocks]);
    for line in ["architecture test", "13, 5790 values", "Q6_K 1 (0.0 MB)"] {
        assert!(text.contains(line), "`{line}` is not in\n{text}");
    }
    assert_eq!(
        ok_json(&["inspect", blocks, "--json"])["formats"]["Q4_0"][0],
        1
    );
    check_error(
        &["inspect", blocks, "--cell", "best"],
        &["gguf_blocks.gguf"],
    );
    let folder = tempfile::tempdir().unwrap();
    let cut = path_in(&folder, "cut.gguf");
    fs::write(&cut, &fs::read(blocks).unwrap()[..400]).unwrap();
    check_error(&["inspect", &cut], &["cut.gguf", "within it"]);
}

#[test]
fn weight_files_are_said_in_words_or_refused() {
    let file = |name: &str| fixture(name).to_str().unwrap().to_owned();
    for (name, lines) in [
        (
            "tiny/model.safetensors",
            ["safetensors, 0.0 MB", "28, 11240 values", "F32 28"],
        ),
        ("tiny.bin", ["torch, 0.1 MB", "29, 12704 values", "F32 29"]),
        (
            "torch/state.bin",
            [
                "torch, 0.0 MB",
                "BF16 1",
                "not read   ids (I64), mask (BOOL)",
            ],
        ),
    ] {
        let text = ok(&["inspect", &file(name)]);
        for line in lines {
            assert!(text.contains(line), "`{line}` is not in\n{text}");
        }
    }
    let inspected = ok_json(&["inspect", &file("torch/state.bin"), "--json"]);
    assert_eq!(inspected["kind"], "torch");
    assert_eq!(inspected["unread"]["mask"], "BOOL");
    for (name, expected) in [
        ("torch/old.bin", &["old.bin", "save it again"][..]),
        (
            "torch/module.bin",
            &["module.bin", "torch.nn.modules.linear.Linear"],
        ),
    ] {
        check_error(&["inspect", &file(name)], expected);
    }
    check_error(
        &["inspect", &file("tiny.bin"), "--cell", "best"],
        &["--cell", "no map"],
    );
}

//! Pairs from files: written by `data`, read by `train`.

use std::fs;

use serde_json::{Value, json};
use swivel_core::{Tokenizer, question::Pair};
use tempfile::TempDir;

use crate::support::*;

#[test]
fn pairs_from_a_file_give_the_same_direction_as_sampled_ones() {
    let folder = TempDir::new().unwrap();
    let file = |name: &str| path_in(&folder, name);
    let [train, test, out] = ["train.jsonl", "test.jsonl", "d.safetensors"].map(file);
    ok(&[
        "data", "--out", &train, "--pairs", "30", "--seed", "0", "--shots", "1",
    ]);
    ok(&[
        "data", "--out", &test, "--pairs", "20", "--seed", "1", "--shots", "1",
    ]);
    let done = ran_json(&[
        "train",
        "--json",
        "--train-data",
        &train,
        "--test-data",
        &test,
        "--epochs",
        "1",
        "--out",
        &out,
    ]);
    let sampled = ran_json(&[
        "train",
        "--json",
        "--force",
        "--train-pairs",
        "30",
        "--test-pairs",
        "20",
        "--shots",
        "1",
        "--epochs",
        "1",
        "--out",
        &out,
    ]);
    assert_eq!(done["test_iia"], sampled["test_iia"]);
    let line: Value =
        serde_json::from_str(fs::read_to_string(&train).unwrap().lines().next().unwrap()).unwrap();
    assert_eq!(line["base_position"], 21);
}

/// A text file gives the direction of the ids that it says.
#[test]
fn pairs_as_text_are_those_of_their_ids() {
    let folder = TempDir::new().unwrap();
    let file = |name: &str| path_in(&folder, name);
    let [ids, text] = ["ids.jsonl", "text.jsonl"].map(file);
    ok(&["data", "--out", &ids, "--pairs", "30", "--shots", "0"]);
    let tokenizer = include_bytes!("../../../models/solver/tokenizer.json");
    let tokenizer = Tokenizer::from_json(tokenizer).unwrap();
    let as_text = |line: &str| {
        let pair: Pair = serde_json::from_str(line).unwrap();
        let mut line = json!({
            "base": tokenizer.decode(&pair.base),
            "source": tokenizer.decode(&pair.source),
            "answer": tokenizer.token(pair.label),
            "base_position": {"text": "="},
            "source_position": "last",
        });
        if let Some(label) = pair.base_label {
            line["base_answer"] = tokenizer.token(label).into();
        }
        if let (Some(label), Some(values)) = (pair.source_label, pair.values) {
            line["source_answer"] = tokenizer.token(label).into();
            line["values"] = json!(values);
        }
        line.to_string()
    };
    let lines = fs::read_to_string(&ids).unwrap();
    let lines: Vec<String> = lines.lines().map(as_text).collect();
    fs::write(&text, lines.join("\n")).unwrap();
    let out = file("d.safetensors");
    let learned = |data: &str| {
        let args = ["train", "--train-data", data, "--test-data", data];
        ran(&[&args[..], &["--epochs", "1", "--force", "--out", &out]].concat());
        fs::read(&out).unwrap()
    };
    assert_eq!(learned(&text), learned(&ids));
}

#[test]
fn bad_data_is_refused_with_its_line() {
    let folder = TempDir::new().unwrap();
    let [data, out] = ["pairs.jsonl", "d.safetensors"].map(|name| path_in(&folder, name));
    let good = r#"{"base":[1,2],"source":[3,4],"base_position":1,"source_position":1,"label":5}"#;
    let text = r#"{"base":"woman,rug=","source":"rug=","answer":"True","base_position":{"text":"rug"},"source_position":0}"#;
    let long = format!("[{}]", vec!["1"; 300].join(","));
    for (line, expected) in [
        ("", vec!["holds no pairs"]),
        ("{", vec!["line 1"]),
        (r#"{"base":[1]}"#, vec!["line 1", "source"]),
        (
            &good.replace("\"label\"", "\"lable\""),
            vec!["line 1", "lable"],
        ),
        (&good.replace("[1,2]", "[]"), vec!["empty"]),
        (&good.replace("[1,2]", &long), vec!["300 tokens", "256"]),
        (&good.replace("[1,2]", "[1,99999]"), vec!["99999"]),
        (
            &good.replace("\"label\":5", "\"label\":99999"),
            vec!["99999"],
        ),
        (
            &good.replace("\"base_position\":1", "\"base_position\":2"),
            vec!["position 2"],
        ),
        (
            &format!(
                "{good}\n{}",
                good.replace("\"base_position\":1", "\"base_position\":0")
            ),
            vec!["swapped at different tokens"],
        ),
        (
            &format!("{good}\n{}", text.replace("answer", "anser")),
            vec!["pairs.jsonl, line 2", "anser"],
        ),
        (
            &text.replace(r#"{"text":"rug"}"#, r#"{"text":"lady"}"#),
            vec!["line 1", "`base_position`", "lady", "woman,rug="],
        ),
        (
            &text.replace(r#"{"text":"rug"}"#, r#"["rug"]"#),
            vec!["line 1", "base_position", "expected a token from 0"],
        ),
        (
            &text.replace(r#"_position":0"#, r#"_position":2"#),
            vec!["line 1", "`source_position`", "position 2", "0 to 1"],
        ),
        (
            &text.replace("True", ""),
            vec!["line 1", "`answer`", "no token of its own", "woman,rug="],
        ),
        (
            &text.replace("woman", &"woman,".repeat(200)),
            vec!["line 1", "tokens", "256"],
        ),
    ] {
        fs::write(&data, line).unwrap();
        check_error(
            &[
                "train",
                "--train-data",
                &data,
                "--test-data",
                &data,
                "--out",
                &out,
            ],
            &expected,
        );
    }
    fs::write(&data, text).unwrap();
    let tiny = fixture("tiny");
    let tiny = ["--model", tiny.to_str().unwrap(), "--out", &out];
    let args = ["train", "--train-data", &data, "--test-data", &data];
    check_error(
        &[&args[..], &tiny].concat(),
        &["line 1", "`base`", "no tokenizer"],
    );
    check_error(
        &[
            "train",
            "--train-data",
            &data,
            "--test-data",
            &data,
            "--shots",
            "1",
            "--out",
            &out,
        ],
        &["--shots"],
    );
    // So do numbers of pairs that a file has already.
    for number in ["--train-pairs", "--test-pairs"] {
        let args = ["train", "--train-data", &data, "--test-data", &data];
        let data = number.replace("pairs", "data");
        check_error(
            &[&args[..], &["--out", &out, number, "5"]].concat(),
            &[number, &data],
        );
    }
    check_error(
        &[
            "eval",
            "d.safetensors",
            "--test-data",
            &data,
            "--test-pairs",
            "5",
        ],
        &["--test-pairs", "--test-data"],
    );
    assert_eq!(files_in(folder.path()), ["pairs.jsonl"]);
}

//! `task` and `check`: questions as files, and whether a model knows the answers.

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::*;

/// What the embedded solver computes of lines without synonyms: the third word is the last one, and the last is not the first.
fn question(folder: &TempDir) -> String {
    let path = path_in(folder, "same.json");
    let file = json!({
        "version": 1,
        "name": "same",
        "about": "Is the last word the third one?",
        "templates": ["{D},{B},{A},{C},{E}="],
        "tables": { "words": { "file": "words.csv" } },
        "slots": {
            "A": { "table": "words" },
            "B": { "table": "words", "differs_from": ["A"] },
            "C": { "table": "words", "differs_from": ["A", "B"] },
            "D": { "table": "words", "differs_from": ["A", "B", "C"] },
            "same": { "values": ["yes", "no"] },
            "E": { "pick": ["A", "D"], "by": "same" },
            "answer": { "pick": ["'True'", "'False'"], "by": "same" },
            "foil": { "pick": ["'False'", "'True'"], "by": "same" }
        },
        "answer": "{answer}",
        "foils": ["{foil}"],
        "score": "choice"
    });
    fs::write(&path, file.to_string()).unwrap();
    let words = [
        "text", "silk", "frog", "bicycle", "wind", "milk", "lady", "clock", "taxi",
    ];
    fs::write(path_in(folder, "words.csv"), words.join("\n")).unwrap();
    path
}

#[test]
fn shipped_task_says_what_it_asks() {
    let said = ok_json(&["task", "ioi", "--json"]);
    assert_eq!(said["templates"].as_array().unwrap().len(), 3);
    assert_eq!(said["answers"].as_array().unwrap().len(), 48);
    let share = |name: &str| {
        let variables = said["variables"].as_array().unwrap();
        let variable = variables.iter().find(|variable| variable["name"] == name);
        variable.unwrap()["changes"].as_f64().unwrap()
    };
    assert!((0.4..0.6).contains(&share("order")));
    assert_eq!(share("place"), 0.0);
    let places: Vec<&str> = said["positions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|x| x.as_str().unwrap())
        .collect();
    assert_eq!(places, ["A", "B", "place", "S", "thing", "last"]);
}

#[test]
fn programs_are_shown_as_a_task() {
    let text = ok(&["task", "programs", "--variable", "op3", "--pairs", "1"]);
    for part in [
        "the embedded solver's: op1 = C2==C4",
        "op3 is ",
        "base with the source's op3: ",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    check_error(
        &["task", "programs", "--variable", "op6"],
        &["unknown variable `op6`", "op5"],
    );
}

#[test]
fn task_file_is_shown_in_a_models_tokens_and_checked() {
    let folder = TempDir::new().unwrap();
    let path = question(&folder);
    let text = ok(&["task", &path, "--model", "solver", "--pairs", "2"]);
    for part in [
        "Is the last word the third one?",
        "words",
        "8 rows",
        "same",
        "[A]",
        "[E]",
        "\"True\"",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let args = [
        "check", "--task", &path, "--model", "solver", "--device", "flex", "--json",
    ];
    let said = ok_json(&args);
    assert_eq!(said["prompts"], 200);
    assert!(said["choice"]["share"].as_f64().unwrap() > 0.9, "{said}");
    assert!(said["median_logit_difference"].as_f64().unwrap() > 1.0);
    let [low, high] = [0, 1].map(|idx| said["right"]["interval"][idx].as_f64().unwrap());
    let share = said["right"]["share"].as_f64().unwrap();
    assert!(low < share && share <= high && high <= 1.0);
    let rows = said["by_row"].as_object().unwrap();
    assert_eq!(rows.len(), 8);
    // A stated check that fails.
    text_of(
        &[
            &args[..],
            &["--at-least", "1", "--seed", "1", "--prompts", "400"],
        ]
        .concat(),
        &[0, 1],
    );
}

/// A task of two templates of different lengths is learned by the name of a token.
#[test]
fn direction_is_learned_at_a_named_token_of_prompts_of_two_lengths() {
    let folder = TempDir::new().unwrap();
    let path = question(&folder);
    let text = fs::read_to_string(&path).unwrap();
    let line = "{D},{B},{A},{C},{E}=";
    let two = format!("\"{line}\",\"taxi,milk,lady,wind,lady=True\\n{line}\"");
    fs::write(&path, text.replace(&format!("\"{line}\""), &two)).unwrap();
    let out = path_in(&folder, "same.safetensors");
    let train = |position: &str| {
        let args = [
            "train",
            "--task",
            &path,
            "--variable",
            "same",
            "--layer",
            "2",
            "--position",
            position,
            "--train-pairs",
            "200",
            "--test-pairs",
            "100",
            "--out",
            &out,
            "--force",
            "--json",
            "--device",
            "flex",
        ];
        ran_json(&args)["test_iia"].as_f64().unwrap()
    };
    // The mark behind the last word is the last token.
    let (named, last) = (train("E+1"), train("last"));
    assert_eq!(named, last);
    // Two hundred pairs are few; half are answered right by chance.
    assert!(named > 0.7, "{named}");
    train("E+1");
    let said = ok_json(&["inspect", &out, "--json"]);
    assert_eq!(
        (&said["token"], &said["task"], &said["variable"]),
        (&json!("E+1"), &json!("same"), &json!("same"))
    );
    let args = [
        "eval",
        &out,
        "--task",
        &path,
        "--test-pairs",
        "100",
        "--json",
        "--device",
        "flex",
    ];
    assert!(ran_json(&args)["test_iia"].as_f64().unwrap() > 0.7);
    check_error(
        &["train", "--task", &path, "--position", "Q"],
        &["unknown position `Q`", "E, last"],
    );
    check_error(
        &["train", "--task", &path, "--shots", "3"],
        &["--shots is for --task programs"],
    );
    check_error(
        &["train", "--position", "E"],
        &["a program's tokens have no names"],
    );
    // A map over names tells what a training run tells of the same pairs.
    let map = path_in(&folder, "map.safetensors");
    let counts = "--train-pairs 200 --validation-pairs 200 --test-pairs 100 --hold-out words --device flex --json";
    let counts: Vec<&str> = counts.split_whitespace().collect();
    let swept = [
        &[
            "sweep",
            "--task",
            &path,
            "--variable",
            "same",
            "--out",
            &map,
        ][..],
        &["--layers", "2", "--positions", "E,E+1,last"],
        &counts,
    ];
    ok(&swept.concat());
    let said = ok_json(&["inspect", &map, "--json"]);
    let cells = said["cells"].as_array().unwrap();
    // `E+1` is `last` in every prompt, and comes once.
    let tokens: Vec<&Value> = cells.iter().map(|cell| &cell["token"]).collect();
    assert_eq!(tokens, ["last", "E"]);
    for cell in cells {
        let token = cell["token"].as_str().unwrap();
        let trained = [
            &[
                "train",
                "--task",
                &path,
                "--variable",
                "same",
                "--out",
                &out,
            ][..],
            &["--layer", "2", "--position", token, "--force"],
            &counts,
        ];
        let trained = ran_json(&trained.concat());
        for (own, expected) in [
            (&cell["iia"], &trained["test_iia"]),
            (&cell["controls"]["full"], &trained["controls"]["full"]),
            (&cell["unseen"]["iia"], &trained["unseen"]["all"]["share"]),
        ] {
            let [own, expected] = [own, expected].map(|share| share.as_f64().unwrap());
            assert!(
                (own - expected).abs() < 0.021,
                "{token}: {own} {expected} in {cell}"
            );
        }
    }
    check_error(
        &["sweep", "--task", &path, "--positions", "E,Q"],
        &["unknown position `Q`", "E, last"],
    );
    check_error(
        &["train", "--task", &path, "--hold-out", "nobody"],
        &["cannot hold out `nobody`", "templates, all"],
    );
    let pairs = path_in(&folder, "pairs.jsonl");
    ok(&[
        "data",
        "--task",
        &path,
        "--position",
        "E",
        "--pairs",
        "10",
        "--out",
        &pairs,
    ]);
    let lengths: std::collections::HashSet<usize> = fs::read_to_string(&pairs)
        .unwrap()
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["base"]
                .as_array()
                .unwrap()
                .len()
        })
        .collect();
    assert_eq!(lengths.len(), 2);
}

#[test]
fn bad_tasks_are_refused_with_their_place() {
    let folder = TempDir::new().unwrap();
    let path = question(&folder);
    check_error(&["task", "iot"], &["no task iot", "ioi", "capitals"]);
    check_error(
        &["task", &path, "--variable", "best"],
        &["unknown variable `best`", "same"],
    );
    check_error(
        &["check", "--task", "ioi", "--model", "solver"],
        &["begin with the same token"],
    );
    let text = fs::read_to_string(&path).unwrap();
    let long = format!("{}{{D}},", "milk,".repeat(200));
    fs::write(&path, text.replace("{D},", &long)).unwrap();
    for command in [["check", "--prompts", "8"], ["train", "--train-pairs", "8"]] {
        let args = [&command[..], &["--task", &path]].concat();
        check_error(&args, &["the model reads at most 256"]);
    }
    fs::write(&path, text).unwrap();
    let pairs = path_in(&folder, "pairs.jsonl");
    let line = json!({
        "base": "woman,taxi=", "source": "lady,taxi=", "answer": "True", "base_position": { "text": "milk" },
        "source_position": "last",
    });
    fs::write(&pairs, line.to_string()).unwrap();
    check_error(
        &["train", "--train-data", &pairs, "--test-data", &pairs],
        &["pairs.jsonl, line 1", "\"milk\" is nowhere in the prompt"],
    );
    fs::write(path_in(&folder, "words.csv"), "text\nsilk\nfrog").unwrap();
    check_error(
        &["task", &path],
        &["same.json", "slots.C.differs_from", "has 2"],
    );
    fs::remove_file(path_in(&folder, "words.csv")).unwrap();
    check_error(&["task", &path], &["tables.words.file", "words.csv"]);
    fs::write(&path, "{").unwrap();
    check_error(&["task", &path], &["not a task file"]);
    check_error(
        &["check", "--task", "ioi", "--at-least", "2"],
        &["--at-least is 2"],
    );
}

/// A search is the commands that it names, ends with a report, and is not done twice.
#[test]
fn find_ends_with_a_report_and_goes_on_where_it_stopped() {
    let folder = TempDir::new().unwrap();
    let path = question(&folder);
    let out = path_in(&folder, "found");
    let find = |more: &[&'static str]| {
        let args = [
            "find",
            "--task",
            &path,
            "--out",
            &out,
            "--hold-out",
            "words",
        ];
        let less = ["--epochs", "2", "--train-pairs", "64", "--cells", "1"];
        [&args[..], &less, more].concat()
    };
    let text = ok(&find(&[]));
    for expected in [
        " check --task",
        " sweep --method",
        " train --task",
        "The best file is",
    ] {
        assert!(text.contains(expected), "{text}");
    }
    let page = fs::read_to_string(format!("{out}/report.html")).unwrap();
    assert_eq!(page.matches("<svg").count(), 2);
    assert!(!page.contains("http-equiv") && !page.contains("<script"));
    let again = ok(&find(&[]));
    assert!(
        !again.contains("== ") && again.contains("The best file is"),
        "{again}"
    );
    check_error(
        &find(&["--seed", "1"]),
        &["another search", "--out", "--force"],
    );
    // What nobody can tell the settings of is not taken for this search's.
    fs::remove_file(format!("{out}/find.json")).unwrap();
    check_error(&find(&[]), &["another search", "--out", "--force"]);
}

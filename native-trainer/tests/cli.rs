//! The command line as a person meets it: the main job, round trips, and bad input.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod support;

use std::{fs, path::Path, process::Command};

use serde_json::Value;
use support::*;
use swivel_core::{
    Component, Place, Position,
    bundle::{Bundle, BundleFacts, Cell, Method, Metrics},
};
use tempfile::TempDir;

/// The main job: the README's first command.
#[test]
fn training_finds_the_direction_and_the_file_serves_others() {
    let folder = TempDir::new().unwrap();
    let [first, second] =
        ["first.safetensors", "second.safetensors"].map(|name| path_in(&folder, name));
    let done = ok_json(&["train", "--json", "--device", "flex", "--out", &first]);
    let score = |name: &str| done["controls"][name].as_f64().unwrap();
    assert!(done["test_iia"].as_f64().unwrap() >= 0.98, "{done}");
    assert!(score("random") <= 0.55, "{done}");
    assert!(score("full") >= 0.98, "{done}");
    assert!(done["seconds"].as_f64().unwrap() <= 120.0, "{done}");
    assert!(fs::metadata(&first).unwrap().len() < 8 * 1024);

    // The same seed gives the same file, `train` or not.
    ok(&["--device", "flex", "--out", &second]);
    assert_eq!(fs::read(&first).unwrap(), fs::read(&second).unwrap());

    let eval = ok_json(&["eval", &first, "--json", "--device", "flex", "--seed", "7"]);
    let difference = eval["test_iia"].as_f64().unwrap() - done["test_iia"].as_f64().unwrap();
    assert!(difference.abs() <= 0.02, "{eval}");
    assert_eq!(eval["recorded_iia"], done["test_iia"]);

    // A stated check that fails: status 1.
    let output = swivel(&["eval", &first, "--test-pairs", "50", "--at-least", "1.1"]);
    assert_eq!(output.status.code(), Some(1));

    let inspected = ok_json(&["inspect", &first, "--json"]);
    assert_eq!(
        (&inspected["rank"], &inspected["variable"]),
        (&Value::from(1), &Value::from("op5"))
    );
    let maker = format!("swivel {}", env!("CARGO_PKG_VERSION"));
    assert_eq!(inspected["created_by"], maker);
}

#[test]
fn training_reports_every_step_and_epoch() {
    let folder = TempDir::new().unwrap();
    let out = path_in(&folder, "d.safetensors");
    let args = [
        "train",
        "--json",
        "--out",
        &out,
        "--train-pairs",
        "20",
        "--test-pairs",
        "10",
        "--batch-size",
        "8",
    ];
    let text = ran(&[&args[..], &["--epochs", "2", "--rank", "3", "--shots", "0"]].concat());
    let events: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let count = |key: &str| {
        events
            .iter()
            .filter(|event| event.get(key).is_some())
            .count()
    };
    // 3 steps an epoch, the last of them with 4 pairs.
    assert_eq!((count("step"), count("epoch")), (6, 2));
    assert!(
        events
            .iter()
            .filter_map(|event| event.get("loss"))
            .all(|loss| loss.as_f64().unwrap().is_finite())
    );
}

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

#[test]
fn training_can_start_from_a_file() {
    let folder = TempDir::new().unwrap();
    let [start, out] = ["start.safetensors", "out.safetensors"].map(|name| path_in(&folder, name));
    // Eight steps: the first of all has learning rate 0.
    let small = [
        "--train-pairs",
        "64",
        "--test-pairs",
        "64",
        "--shots",
        "0",
        "--epochs",
        "1",
        "--batch-size",
        "8",
    ];
    ran(&[&["train", "--lr", "0.05", "--out", &start], &small[..]].concat());
    let train = |extra: &[&str]| {
        let args = ["train", "--json", "--force", "--out", &out];
        let text = ran(&[&args, &small[..], extra].concat());
        let step = text.lines().find(|line| line.contains("\"step\""));
        let step: Value = step.map(|s| serde_json::from_str(s).unwrap()).unwrap();
        (step["loss"].as_f64().unwrap(), last_json(&text))
    };
    let [(from_file, with), (from_random, without)] = [train(&["--init", &start]), train(&[])];
    assert!(from_file < from_random);
    assert_ne!(with["test_iia"], without["test_iia"]);
    // The control does not start from what was learned on the labels as they are.
    let shuffled = |done: &Value| done["controls"]["shuffled"].as_f64().unwrap();
    assert_eq!(shuffled(&with), shuffled(&without));
    check_error(
        &["train", "--init", &start, "--rank", "2"],
        &["rank 1", "--rank 2"],
    );
    let wide = ["--component", "mlp_activation", "--init", &start];
    check_error(
        &[&["train"], &wide[..]].concat(),
        &["width 64", "layer 2 mlp_activation", "256"],
    );
}

#[test]
fn a_folder_of_transformers_loads_as_it_is() {
    for folder in ["tiny", "tiny_sharded"] {
        let inspected = ok_json(&["inspect", fixture(folder).to_str().unwrap(), "--json"]);
        assert_eq!(inspected["config"]["n_embd"], 24);
    }
    // Training data without text needs no tokenizer.
    let folder = TempDir::new().unwrap();
    let [data, out] = ["pairs.jsonl", "d.safetensors"].map(|name| path_in(&folder, name));
    let pair = |id: u32| {
        format!(
            r#"{{"base":[1,2,{id}],"source":[4,{id},6],"base_position":1,"source_position":2,"label":{id}}}"#
        )
    };
    fs::write(&data, (7..27).map(pair).collect::<Vec<_>>().join("\n")).unwrap();
    let model = fixture("tiny_sharded");
    let args = [
        "train",
        "--model",
        model.to_str().unwrap(),
        "--train-data",
        &data,
        "--test-data",
        &data,
    ];
    let done = ran_json(
        &[
            &args[..],
            &["--layer", "0", "--epochs", "1", "--json", "--out", &out],
        ]
        .concat(),
    );
    assert!(done["controls"]["full"].is_number(), "{done}");
    let inspected = ok_json(&["inspect", &out, "--json"]);
    assert_eq!(
        (&inspected["layer"], &inspected["position"]),
        (&Value::from(0), &Value::from("1"))
    );
}

/// A copy of the tiny model's folder, changed.
fn broken_model(change: impl Fn(&Path)) -> TempDir {
    let folder = TempDir::new().unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(fixture("tiny").join(name), folder.path().join(name)).unwrap();
    }
    change(folder.path());
    folder
}

fn edit(file: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "{from}");
    fs::write(file, text.replace(from, to)).unwrap();
}

/// Replaces bytes in place.
fn patch(file: &Path, at: usize, bytes: &[u8]) {
    let mut content = fs::read(file).unwrap();
    content[at..at + bytes.len()].copy_from_slice(bytes);
    fs::write(file, content).unwrap();
}

#[test]
fn broken_models_are_refused_with_their_cause() {
    let data = TempDir::new().unwrap();
    let pairs = path_in(&data, "pairs.jsonl");
    let pair = r#"{"base":[1,2],"source":[3,4],"base_position":1,"source_position":1,"label":5}"#;
    fs::write(&pairs, pair).unwrap();
    let solver = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/solver");
    type Change = Box<dyn Fn(&Path)>;
    let cases: Vec<(Change, &[&str])> = vec![
        (
            Box::new(|at| fs::remove_file(at.join("model.safetensors")).unwrap()),
            &["no model.safetensors"],
        ),
        (
            Box::new(|at| fs::remove_file(at.join("config.json")).unwrap()),
            &["config.json"],
        ),
        (
            Box::new(|at| {
                let bytes = fs::read(at.join("model.safetensors")).unwrap();
                fs::write(at.join("model.safetensors"), &bytes[..bytes.len() - 100]).unwrap();
            }),
            &["not a valid safetensors file"],
        ),
        (
            Box::new(|at| {
                edit(
                    &at.join("config.json"),
                    "\"n_inner\": 40",
                    "\"n_inner\": 41",
                )
            }),
            &["c_fc", "[24, 41]", "[24, 40]"],
        ),
        (
            Box::new(|at| edit(&at.join("config.json"), "\"n_layer\": 2", "\"n_layer\": 3")),
            &["h.2.ln_1.weight", "missing"],
        ),
        (
            Box::new(|at| edit(&at.join("config.json"), "\"n_embd\": 24,", "")),
            &["config.json", "n_embd"],
        ),
        (
            Box::new(|at| edit(&at.join("config.json"), "\"n_head\": 3", "\"n_head\": 5")),
            &["n_embd", "multiple of n_head"],
        ),
        (
            Box::new(|at| edit(&at.join("config.json"), "\"n_head\": 3", "\"n_head\": 0")),
            &["n_head"],
        ),
        (
            Box::new(|at| edit(&at.join("config.json"), "gelu_new", "relu")),
            &["activation_function", "relu"],
        ),
        (
            Box::new(|at| fs::write(at.join("config.json"), "{").unwrap()),
            &["config.json"],
        ),
        (
            Box::new(|at| {
                let file = at.join("model.safetensors");
                let len = fs::metadata(&file).unwrap().len() as usize;
                patch(&file, len - 4, &f32::NAN.to_le_bytes());
            }),
            &["NaN"],
        ),
        (
            Box::new(move |at| {
                fs::copy(solver.join("tokenizer.json"), at.join("tokenizer.json")).unwrap();
            }),
            &["does not fit", "61"],
        ),
        (
            Box::new(|at| fs::write(at.join("tokenizer.json"), "[]").unwrap()),
            &["tokenizer"],
        ),
        (
            Box::new(|at| {
                fs::rename(at.join("model.safetensors"), at.join("pytorch_model.bin")).unwrap()
            }),
            &["pytorch_model.bin", "model.safetensors"],
        ),
    ];
    for (change, expected) in cases {
        let folder = broken_model(change);
        let out = path_in(&folder, "out/d.safetensors");
        let model = folder.path().to_str().unwrap();
        check_error(
            &[
                "train",
                "--model",
                model,
                "--train-data",
                &pairs,
                "--test-data",
                &pairs,
                "--out",
                &out,
            ],
            expected,
        );
        // No partial file stays behind.
        let out = folder.path().join("out");
        assert!(
            !out.exists() || files_in(&out).is_empty(),
            "{expected:?}: {:?}",
            files_in(&out)
        );
    }
}

#[test]
fn bad_options_are_refused_with_what_would_be_valid() {
    let folder = TempDir::new().unwrap();
    let out = path_in(&folder, "d.safetensors");
    let cases: &[(&[&str], &[&str])] = &[
        (&["--program", "xyz"], &["unknown program `xyz`", "07065a"]),
        (
            &["--variable", "op6"],
            &["unknown variable `op6`", "C0", "op5"],
        ),
        (
            &["--component", "block_outptu"],
            &["unknown component", "block_output"],
        ),
        (
            &["--component", "attention_weight"],
            &[
                "attention_weight",
                "as wide as the prompt",
                "another component",
            ],
        ),
        (
            &["--component", "head_query_output"],
            &["per head", "--head, 0 to 3"],
        ),
        (
            &["--component", "head_query_output", "--head", "4"],
            &["head 4", "0 to 3"],
        ),
        (&["--head", "0"], &["not per head", "--head"]),
        (&["--memory=-1"], &["--memory is -1"]),
        (&["--layer", "3"], &["layer 3", "0 to 2"]),
        (&["--layer", "top"], &["unknown layer `top`", "last"]),
        (&["--position", "130"], &["position 130", "0 to 129"]),
        (&["--position", "-131"], &["position -131", "0 to 129"]),
        (&["--position", "first"], &["first"]),
        (&["--rank", "0"], &["rank 0", "1 to 64"]),
        (&["--rank", "65"], &["rank 65", "1 to 64"]),
        (&["--epochs", "0"], &["--epochs"]),
        (&["--batch-size", "0"], &["--batch-size"]),
        (&["--train-pairs", "0"], &["--train-pairs"]),
        (&["--lr", "-1"], &[]),
        (&["--lr", "nan"], &["--lr"]),
        (&["--shots", "30"], &["370 tokens", "256", "--shots"]),
        (
            &["--model", "no/such/folder"],
            &["no model folder", "solver"],
        ),
        (&["--device", "tpu"], &["tpu", "flex"]),
        (&["--device", "cuda"], &["cuda", "flex"]),
        (&["--init", "missing.safetensors"], &["missing.safetensors"]),
        (
            &[
                "--train-data",
                "missing.jsonl",
                "--test-data",
                "missing.jsonl",
            ],
            &["missing.jsonl"],
        ),
        (&["--synonyms", "missing.txt"], &["missing.txt"]),
        (&["--frobnicate"], &["--frobnicate"]),
    ];
    for (options, expected) in cases {
        check_error(&[&["train", "--out", &out], *options].concat(), expected);
    }
    assert_no_files(folder.path());
}

#[test]
fn bad_data_is_refused_with_its_line() {
    let folder = TempDir::new().unwrap();
    let [data, out] = ["pairs.jsonl", "d.safetensors"].map(|name| path_in(&folder, name));
    let good = r#"{"base":[1,2],"source":[3,4],"base_position":1,"source_position":1,"label":5}"#;
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
            &format!("{good}\n{}", good.replace("[1,2]", "[1,2,3]")),
            vec!["pair 1"],
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

/// A map of two of three cells.
fn bundle() -> Bundle {
    let mut bundle = Bundle::new(BundleFacts {
        method: Method::Zero,
        model: "tiny".to_owned(),
        model_sha256: "00ff".to_owned(),
        task: None,
        train_pairs: None,
        test_pairs: 40,
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
        bundle
            .push(Cell {
                place: Place::new(Component::MlpOutput.at(layer), Position::Index(2)),
                variable: None,
                basis: None,
                iia,
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
    bundle
}

#[test]
fn bundle_is_shown_as_a_table() {
    let folder = tempfile::tempdir().unwrap();
    let path = path_in(&folder, "map.safetensors");
    fs::write(&path, bundle().to_bytes()).unwrap();
    let inspected = ok_json(&["inspect", &path, "--json"]);
    assert_eq!(inspected["kind"], "bundle");
    assert_eq!(
        (&inspected["best"], &inspected["cells"][1]["iia"]),
        (&1.into(), &0.75.into())
    );
    let text = ok(&["inspect", &path]);
    for line in [
        "bundle     zero, 2 of 3 cells: interrupted",
        "best       layer 0 mlp_output, token 2: IIA 0.750",
        "IIA of mlp_output",
        "layer 1   0.25",
        "token        2",
    ] {
        assert!(text.contains(line), "`{line}` is not in\n{text}");
    }
    check_error(&["eval", &path], &["`zero`", "learns no directions"]);
}

const MAP: [&str; 14] = [
    "--layers",
    "1-2",
    "--positions",
    "last:2",
    "--train-pairs",
    "192",
    "--test-pairs",
    "60",
    "--epochs",
    "4",
    "--batch-size",
    "16",
    "--lr",
    "0.03",
];

/// A small sweep on the solver.
fn sweep<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["sweep", "--json", "--out", out][..], &MAP, more].concat()
}

#[test]
fn sweep_finds_the_place_and_its_cells_serve_others() {
    let folder = TempDir::new().unwrap();
    let [map, again, direction] = ["map.safetensors", "again.safetensors", "d.safetensors"]
        .map(|name| path_in(&folder, name));
    let done = ok_json(&sweep(&map, &["--device", "flex", "--shuffled"]));
    assert_eq!(done["cells"], 4);
    let bundle = Bundle::from_bytes(&fs::read(&map).unwrap()).unwrap();
    assert!(bundle.is_complete());
    let best = &bundle.cells()[bundle.best().unwrap()];
    assert_eq!(
        (best.place.site, best.place.position),
        (Component::BlockOutput.at(2), Position::Index(129))
    );
    let controls = best.controls.as_ref().unwrap();
    assert!(best.iia >= 0.95 && controls.random <= 0.6 && controls.full >= 0.95);
    assert!(controls.shuffled.unwrap() < best.iia);
    // Where only the last token of the last layer is read, nothing else there can matter.
    let beside = bundle
        .cells()
        .iter()
        .find(|cell| (cell.place.site.layer, cell.place.position) == (2, Position::Index(128)));
    assert!(beside.unwrap().metrics.kl < 1e-6);
    let svg = fs::read_to_string(folder.path().join("map.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("layer 2") && svg.contains("129"));

    let found = bundle.direction(bundle.best().unwrap()).unwrap();
    fs::write(&direction, found.to_bytes()).unwrap();
    let eval = ok_json(&["eval", &direction, "--json", "--test-pairs", "200"]);
    assert!(eval["test_iia"].as_f64().unwrap() >= 0.9, "{eval}");

    // Cells that two devices share, and values in a file, make the same map.
    let others = ["--device", "flex,flex", "--memory", "0", "--shuffled"];
    ok(&sweep(&again, &others));
    assert_eq!(fs::read(&map).unwrap(), fs::read(&again).unwrap());
}

#[test]
fn sweep_goes_on_where_it_was_interrupted() {
    let folder = TempDir::new().unwrap();
    let map = path_in(&folder, "map.safetensors");
    let options = ["--device", "flex", "--method", "interchange"];
    ok(&sweep(&map, &options));
    let whole = fs::read(&map).unwrap();
    let bundle = Bundle::from_bytes(&whole).unwrap();
    let mut half = Bundle::new(bundle.facts().clone()).unwrap();
    for cell in &bundle.cells()[1..3] {
        half.push(cell.clone()).unwrap();
    }
    fs::write(&map, half.to_bytes()).unwrap();
    let lines = ok(&sweep(&map, &options));
    let n_computed = lines
        .lines()
        .filter(|line| line.contains("seconds") && line.contains("iia"));
    assert_eq!(n_computed.count(), 2, "{lines}");
    assert_eq!(fs::read(&map).unwrap(), whole);

    // Another sweep does not write over it, unless it is told to.
    let other = ["--device", "flex", "--method", "zero"];
    check_error(
        &sweep(&map, &other),
        &["another map", "method", "--out", "--force"],
    );
    assert_eq!(fs::read(&map).unwrap(), whole);
    ok(&sweep(&map, &[&other[..], &["--force"]].concat()));
    assert_ne!(fs::read(&map).unwrap(), whole);
    fs::write(&map, &whole[..whole.len() - 1]).unwrap();
    check_error(
        &sweep(&map, &options),
        &["cannot be gone on with", "--force"],
    );
}

#[test]
fn bad_sweeps_are_refused_with_what_would_be_valid() {
    let folder = TempDir::new().unwrap();
    let out = path_in(&folder, "map.safetensors");
    let cases: [(&[&str], &[&str]); 12] = [
        (&["--layers", "3"], &["layer 3", "0 to 2"]),
        (&["--layers", "2-1"], &["`2-1`", "0,3-5"]),
        (&["--positions", "130"], &["position 130", "0 to 129"]),
        (&["--positions", "last:0"], &["`last:0`", "last:3"]),
        (
            &["--components", "block_outptu"],
            &["block_outptu", "block_output"],
        ),
        (
            &["--components", "attention_weight"],
            &["as wide as the prompt"],
        ),
        (
            &["--components", "embedding", "--layers", "1"],
            &["no cells", "--components"],
        ),
        (&["--ranks", "65"], &["rank 65", "64"]),
        (&["--variable", "op5,op5"], &["op5", "twice"]),
        (&["--variable", "op6"], &["op6", "op5"]),
        (&["--method", "das"], &["das", "low_rank"]),
        (&["--epochs", "0"], &["--epochs is 0"]),
    ];
    for (options, expected) in cases {
        let args = [&["sweep", "--out", &out, "--device", "flex"][..], options].concat();
        check_error(&args, expected);
        assert_no_files(folder.path());
    }
}

/// Every component is trained at on kept values, in memory or in a file, and the file names its head.
#[test]
fn a_head_is_trained_and_scored() {
    let folder = TempDir::new().unwrap();
    let [first, second] = ["a.safetensors", "b.safetensors"].map(|name| path_in(&folder, name));
    let train = |out: &str, more: &[&str]| {
        let options = ["train", "--json", "--device", "flex", "--component"];
        let at = [
            "head_value_output",
            "--head",
            "2",
            "--layer",
            "1",
            "--train-pairs",
            "64",
        ];
        let pairs = ["--test-pairs", "30", "--epochs", "1", "--out", out];
        ran_json(&[&options[..], &at, &pairs, more].concat())
    };
    train(&first, &[]);
    train(&second, &["--memory", "0"]);
    assert_eq!(fs::read(&first).unwrap(), fs::read(&second).unwrap());
    let text = ok(&["inspect", &first]);
    assert!(
        text.contains("layer 1 head_value_output, head 2, last token"),
        "{text}"
    );
    ran(&["eval", &first, "--device", "flex", "--test-pairs", "30"]);
    let half = train(&second, &["--keep", "f16", "--memory", "0", "--force"]);
    assert!(half["test_iia"].as_f64().is_some());
}

#[test]
fn bad_direction_files_are_refused() {
    let folder = TempDir::new().unwrap();
    let [file, bad] = ["d.safetensors", "bad.safetensors"].map(|name| path_in(&folder, name));
    ran(&[
        "train",
        "--out",
        &file,
        "--train-pairs",
        "64",
        "--test-pairs",
        "20",
        "--shots",
        "0",
        "--epochs",
        "1",
    ]);
    let bytes = fs::read(&file).unwrap();
    let tiny = fixture("tiny");

    check_error(
        &["eval", &path_in(&folder, "missing.safetensors")],
        &["missing.safetensors"],
    );
    check_error(
        &["eval", &file, "--model", tiny.to_str().unwrap()],
        &["layer 2", "0 to 1"],
    );
    fs::write(&bad, &bytes[..bytes.len() - 1]).unwrap();
    check_error(&["eval", &bad], &["not a valid safetensors file"]);
    fs::write(&bad, "<html>").unwrap();
    check_error(&["inspect", &bad], &["not a valid safetensors file"]);
    fs::write(&bad, &bytes).unwrap();
    patch(Path::new(&bad), bytes.len() - 4, &9.0f32.to_le_bytes());
    check_error(&["eval", &bad], &["not orthonormal"]);
    patch(
        Path::new(&bad),
        bytes.len() - 4,
        &f32::INFINITY.to_le_bytes(),
    );
    check_error(&["inspect", &bad], &["inf"]);

    // The same width, other weights: refused, or accepted with a warning.
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let hash = text
        .split("model_sha256\":\"")
        .nth(1)
        .unwrap()
        .get(..8)
        .unwrap()
        .to_owned();
    let at = bytes
        .windows(8)
        .position(|window| window == hash.as_bytes())
        .unwrap();
    fs::write(&bad, &bytes).unwrap();
    patch(Path::new(&bad), at, b"00000000");
    check_error(
        &["eval", &bad, "--shots", "0"],
        &["other weights", "--any-model"],
    );
    let output = swivel(&[
        "eval",
        &bad,
        "--shots",
        "0",
        "--any-model",
        "--test-pairs",
        "20",
    ]);
    assert_ne!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("learned on other weights"));

    // The right weights, another basis: the probe tells.
    let at = bytes.len() - 64 * 4;
    let mut negated = bytes.clone();
    negated[at..]
        .chunks_mut(4)
        .rev()
        .enumerate()
        .for_each(|(idx, value)| {
            value.copy_from_slice(&if idx == 0 { 1.0f32 } else { 0.0 }.to_le_bytes());
        });
    fs::write(&bad, negated).unwrap();
    check_error(&["eval", &bad, "--shots", "0"], &["probe"]);
}

/// A plan for the embedded solver: the whole last layer of one prompt from the other.
const PLAN: &str = r#"{
    "version": 1,
    "base": {"text": ["clever,milk,clever,reply,clever="]},
    "sources": [{"text": ["lemon,woman,clock,lady,help="]}],
    "interventions": [{"layer": 2, "component": "block_output", "source": 0, "base_positions": [[9]],
                       "op": {"type": "interchange"}}],
    "record": [{"layer": 1, "component": "pattern"}]
}"#;

#[test]
fn plan_is_run_and_what_comes_out_is_written() {
    let folder = TempDir::new().unwrap();
    let [plan, out] = ["plan.json", "out.safetensors"].map(|name| path_in(&folder, name));
    fs::write(&plan, PLAN).unwrap();
    let text = ok(&["apply", &plan, "--out", &out, "--json", "--device", "flex"]);
    let events: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let [row, done] = &events[..] else {
        panic!("a row and a summary: {text}");
    };
    assert_eq!(done["file"], out.as_str());
    assert_eq!(row["after"].as_array().unwrap().len(), 5);

    let bytes = fs::read(&out).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut names = file.names();
    names.sort();
    assert_eq!(names, ["logits.base", "logits.intervened", "record.0"]);
    let floats = |name: &str| -> Vec<f32> {
        let bytes = file.tensor(name).unwrap().data();
        bytes
            .chunks(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect()
    };
    let shape = |name: &str| file.tensor(name).unwrap().shape().to_vec();
    assert_eq!(shape("logits.intervened"), [1, 10, 922]);
    assert_eq!(shape("record.0")[2..], [10, 10]);
    let [base, intervened] = ["logits.base", "logits.intervened"].map(floats);
    assert_eq!(base[..9 * 922], intervened[..9 * 922]);
    for (logits, shown) in [(&base, &row["before"]), (&intervened, &row["after"])] {
        let token = shown[0]["token"].as_u64().unwrap() as usize;
        let highest = logits[9 * 922..].iter().copied().fold(f32::MIN, f32::max);
        assert_eq!(logits[9 * 922 + token], highest);
    }

    // The whole last layer comes from the source: its answer, as a plain run of it gives it.
    let swapped = PLAN
        .replace(
            "clever,milk,clever,reply,clever=",
            "lemon,woman,clock,lady,help=",
        )
        .replace(
            "\"type\": \"interchange\"",
            "\"type\": \"interchange\", \"strength\": 0",
        );
    fs::write(&plan, swapped).unwrap();
    let plain = ok(&["apply", &plan, "--json", "--device", "flex"]);
    let plain: Value = serde_json::from_str(plain.lines().next().unwrap()).unwrap();
    // What is computed again from kept values may round differently.
    let [before, after] = ["before", "after"].map(|name| plain[name].as_array().unwrap());
    for (before, after) in before.iter().zip(after) {
        assert_eq!(before["token"], after["token"]);
        let apart = before["logit"].as_f64().unwrap() - after["logit"].as_f64().unwrap();
        assert!(apart.abs() < 1e-4, "{before}, {after}");
    }
    assert_eq!(plain["before"][0]["token"], row["after"][0]["token"]);

    // For people: a block a row.
    let text = ok(&["apply", &plan, "--device", "flex"]);
    assert!(
        text.contains("before") && text.contains("lemon,woman"),
        "{text}"
    );
    assert_eq!(files_in(folder.path()), ["out.safetensors", "plan.json"]);
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
        &["no model folder"],
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
        (&unnamed, "{\"base\": 1}", &["safetensors"]),
        (&unnamed, "", &["safetensors"]),
    ] {
        fs::write(file, text).unwrap();
        check_error(&["inspect", file], expected);
    }
}

#[test]
fn plan_with_a_direction_wants_the_weights_that_it_was_learned_on() {
    let folder = TempDir::new().unwrap();
    let [plan, direction] = ["plan.json", "d.safetensors"].map(|name| path_in(&folder, name));
    ran(&[
        "train",
        "--out",
        &direction,
        "--train-pairs",
        "16",
        "--test-pairs",
        "8",
        "--shots",
        "0",
        "--epochs",
        "1",
    ]);
    // The name is relative to the plan, not to where the command is run.
    let op = r#""type": "low_rank", "direction": "d.safetensors""#;
    fs::write(&plan, PLAN.replace(r#""type": "interchange""#, op)).unwrap();
    let warnings = |plan: &str| {
        let output = swivel(&["inspect", plan]);
        assert!(output.status.success());
        let inspected = output.stderr;
        let output = swivel(&["apply", plan]);
        assert_eq!(output.stderr, inspected);
        assert!(output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    assert_eq!(warnings(&plan), "");
    // Elsewhere than where it was learned: both places are named.
    let elsewhere = path_in(&folder, "elsewhere.json");
    let text = fs::read_to_string(&plan).unwrap();
    fs::write(&elsewhere, text.replace("block_output", "mlp_output")).unwrap();
    let warning = warnings(&elsewhere);
    for part in [
        "warning",
        "interventions[0]",
        "layer 2 block_output",
        "layer 2 mlp_output",
    ] {
        assert!(warning.contains(part), "{warning}");
    }
    fs::remove_file(&elsewhere).unwrap();

    let mut bytes = fs::read(&direction).unwrap();
    let header = String::from_utf8_lossy(&bytes).into_owned();
    let at = header.find("model_sha256\":\"").unwrap() + "model_sha256\":\"".len();
    bytes[at..at + 8].copy_from_slice(b"00000000");
    fs::write(&direction, bytes).unwrap();
    let out = path_in(&folder, "out.safetensors");
    check_error(
        &["apply", &plan, "--out", &out],
        &["other weights", "--any-model"],
    );
    assert_eq!(files_in(folder.path()), ["d.safetensors", "plan.json"]);
    let output = swivel(&["apply", &plan, "--any-model"]);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("warning"));
}

#[test]
fn bad_plans_are_refused_with_the_field() {
    let folder = TempDir::new().unwrap();
    let [plan, out] = ["plan.json", "out/logits.safetensors"].map(|name| path_in(&folder, name));
    let cases: &[(&str, &str, &[&str])] = &[
        (
            r#""version": 1"#,
            r#""version": 9"#,
            &["`version`", "expected 1"],
        ),
        (
            r#""base": {"text""#,
            r#""base": {"txet""#,
            &["`base", "txet"],
        ),
        (
            "lemon,",
            "",
            &["`interventions[0].source_positions[0]`", "0 to 7"],
        ),
        (
            r#""layer": 2"#,
            r#""layer": 3"#,
            &["`interventions[0].layer`", "0 to 2"],
        ),
        (
            "block_output",
            "blok_output",
            &["`interventions[0].component`", "blok_output"],
        ),
        (
            "[[9]]",
            "[[10]]",
            &["`interventions[0].base_positions[0]`", "0 to 9", "10"],
        ),
        (
            "[[9]]",
            "[[]]",
            &["`interventions[0].base_positions[0]`", "none"],
        ),
        (
            "interchange",
            "noise",
            &["`interventions[0].op.type`", "not supported yet"],
        ),
        (
            r#""interchange""#,
            r#""low_rank", "direction": "x.safetensors""#,
            &["`interventions[0].op.direction`", "x.safetensors"],
        ),
        (
            r#""source": 0"#,
            r#""source": 1"#,
            &["`interventions[0].source`", "0 to 0"],
        ),
        (r#""record""#, r#""rekord""#, &["`rekord`", "record"]),
        ("}", "", &["plan.json"]),
    ];
    for (from, to, expected) in cases {
        assert!(PLAN.contains(from), "{from}");
        fs::write(&plan, PLAN.replacen(from, to, 1)).unwrap();
        check_error(&["apply", &plan, "--out", &out], expected);
        let output = swivel(&["apply", &plan, "--out", &out]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert_eq!(files_in(folder.path()), ["plan.json"]);
    }
    check_error(&["apply", "missing.json"], &["missing.json"]);
    let tiny = fixture("tiny");
    fs::write(&plan, PLAN).unwrap();
    check_error(
        &["apply", &plan, "--model", tiny.to_str().unwrap()],
        &["`base`", "no tokenizer"],
    );
}

#[test]
#[cfg(target_os = "linux")]
fn folder_that_cannot_be_written_is_known_before_the_work() {
    let folder = TempDir::new().unwrap();
    let file = path_in(&folder, "file");
    fs::write(&file, "").unwrap();
    check_error(
        &["train", "--out", "/proc/swivel/d.safetensors"],
        &["/proc/swivel", "--out"],
    );
    check_error(
        &["data", "--out", &format!("{file}/pairs.jsonl")],
        &["cannot write"],
    );
    let data = path_in(&folder, "07065a-op5.jsonl");
    fs::create_dir(&data).unwrap();
    check_error(
        &["data", "--out", folder.path().to_str().unwrap()],
        &["07065a-op5.jsonl", "is a folder"],
    );
    // A folder without write permission; root may write there all the same.
    use std::os::unix::fs::PermissionsExt;
    let locked = folder.path().join("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(locked.join("probe"), "").is_err() {
        check_error(
            &[
                "train",
                "--out",
                locked.join("d.safetensors").to_str().unwrap(),
            ],
            &["cannot write"],
        );
    }
}

#[test]
#[cfg(unix)]
fn interrupted_training_says_so_and_leaves_no_file() {
    use std::{io::Read, process::Stdio, thread, time::Duration};
    let folder = TempDir::new().unwrap();
    let out = path_in(&folder, "d.safetensors");
    let mut child = Command::new(env!("CARGO_BIN_EXE_swivel"))
        .args(["train", "--out", &out, "--train-pairs", "5000"])
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    thread::sleep(Duration::from_secs(2));
    press_ctrl_c(&child);
    let status = child.wait().unwrap();
    let mut stderr = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut stderr)
        .unwrap();
    assert_eq!(status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("interrupted"), "{stderr}");
    assert_no_files(folder.path());
}

#[test]
fn pretraining_writes_a_model_that_loads_and_says_when_it_is_not_good_enough() {
    let folder = TempDir::new().unwrap();
    let settings = path_in(&folder, "settings.json");
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/solver/pretrain.json");
    let mut value: Value = serde_json::from_str(&fs::read_to_string(shipped).unwrap()).unwrap();
    for stage in value["stages"].as_array_mut().unwrap() {
        stage["steps"] = 2.into();
        stage["batch"] = 4.into();
    }
    value["test_prompts"] = 10.into();
    fs::write(&settings, value.to_string()).unwrap();
    let run = |name: &str| {
        let out = path_in(&folder, name);
        let output = swivel(&["pretrain", "--settings", &settings, "--out", &out]);
        // Two steps teach nothing: the stated accuracies are missed.
        assert_eq!(
            output.status.code(),
            Some(1),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(String::from_utf8_lossy(&output.stdout).contains("MISSED"));
        out
    };
    let [first, second] = ["first", "second"].map(run);
    assert_eq!(ok_json(&["inspect", &first, "--json"])["kind"], "model");
    for name in [
        "config.json",
        "tokenizer.json",
        "model.safetensors",
        "pretrain.json",
    ] {
        let bytes = |folder: &str| fs::read(Path::new(folder).join(name)).unwrap();
        assert_eq!(bytes(&first), bytes(&second), "{name}");
    }
    fs::write(&settings, "{}").unwrap();
    check_error(
        &["pretrain", "--settings", &settings, "--out", &first],
        &["settings", "program"],
    );
}

/// Training on a GPU finds what training on the CPU finds.
#[cfg(any(feature = "cuda", feature = "wgpu"))]
#[track_caller]
fn check_device(device: &str) {
    let folder = TempDir::new().unwrap();
    let out = path_in(&folder, "d.safetensors");
    // Short prompts, so that it ends in minutes on a software adapter too.
    let args = [
        "train", "--json", "--force", "--shots", "0", "--out", &out, "--device",
    ];
    let [cpu, gpu] = ["flex", device].map(|device| ok_json(&[&args[..], &[device]].concat()));
    let iia = |done: &Value| done["test_iia"].as_f64().unwrap();
    assert!(
        (iia(&cpu) - iia(&gpu)).abs() <= 0.01,
        "flex {cpu}, {device} {gpu}"
    );
    // The probe was recorded on the GPU; the CPU re-runs it.
    ok(&["eval", &out, "--shots", "0", "--device", "flex"]);
}

#[test]
#[cfg(feature = "cuda")]
fn cuda_finds_what_the_cpu_finds() {
    check_device("cuda");
}

#[test]
#[cfg(feature = "wgpu")]
fn wgpu_finds_what_the_cpu_finds() {
    check_device("wgpu");
}

/// A safetensors file that is no such file, a plan that is cut, a Hub that cannot be reached: `check_refused` says which causes
/// are said twice.
#[test]
fn causes_are_said_once_and_in_words() {
    let folder = TempDir::new().unwrap();
    let [direction, plan, data] =
        ["d.safetensors", "plan.json", "pairs.jsonl"].map(|name| path_in(&folder, name));
    fs::write(&direction, "<html>a page in place of the file</html>").unwrap();
    check_error(
        &["eval", &direction],
        &["not a valid safetensors file: header too large\n"],
    );
    fs::write(&plan, r#"{"version": 1, "base": {"text": ["#).unwrap();
    check_error(&["apply", &plan], &["plan: `base", "EOF while parsing"]);
    fs::write(&plan, "{").unwrap();
    check_error(&["apply", &plan], &["plan: EOF while parsing"]);
    let pair = |base: &str| {
        format!(r#"{{"base":{base},"source":[3],"base_position":0,"source_position":0,"label":5}}"#)
    };
    fs::write(&data, [pair("[1,2]"), pair("[1]")].join("\n")).unwrap();
    check_error(
        &["train", "--train-data", &data, "--test-data", &data],
        &["pair 1 has 1 tokens of base, swapped at 0", "pair 0 has 2"],
    );
    let output = Command::new(env!("CARGO_BIN_EXE_swivel"))
        .args(["train", "--model", "nobody/nothing"])
        .env("HF_HOME", folder.path())
        .env("HF_ENDPOINT", "http://127.0.0.1:1")
        .output()
        .unwrap();
    check_refused(
        &output,
        "a Hub without network",
        &["nobody/nothing", "downloading config.json", "onnect"],
    );
}

/// So small that it takes a second, and finds nothing.
const SMALL: [&str; 10] = [
    "--train-pairs",
    "16",
    "--test-pairs",
    "40",
    "--shots",
    "0",
    "--epochs",
    "1",
    "--lr",
    "0.00001",
];

#[test]
fn what_finds_nothing_says_so_and_ends_with_status_1() {
    let folder = TempDir::new().unwrap();
    let out = path_in(&folder, "d.safetensors");
    let output = swivel(&[&["train", "--out", &out], &SMALL[..]].concat());
    assert_eq!(output.status.code(), Some(1));
    let stdout = String::from_utf8(output.stdout).unwrap();
    let row = |name: &str| stdout.lines().find(|line| line.contains(name)).unwrap();
    assert!(row("a random subspace").ends_with("FAILS: it does as well"));
    assert!(row("shuffled labels").contains("FAILS: noise teaches as much; labels alone"));
    assert!(row("the whole vector").ends_with("as it must"));
    assert!(String::from_utf8_lossy(&output.stderr).contains("nothing was found at this site"));
    // The file is there all the same, and scores as badly.
    text_of(&["eval", &out, "--shots", "0", "--test-pairs", "40"], &[1]);
}

#[test]
fn eval_of_another_variable_names_both() {
    let folder = TempDir::new().unwrap();
    let out = path_in(&folder, "d.safetensors");
    ran(&[&["train", "--out", &out], &SMALL[..]].concat());
    let eval = |more: &[&str]| {
        let args = ["eval", &out, "--shots", "0", "--test-pairs", "20"];
        let output = swivel(&[&args, more].concat());
        let [stdout, stderr] =
            [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        let recorded = stdout.lines().find(|line| line.contains("recorded"));
        (recorded.unwrap().to_owned(), stderr)
    };
    let (recorded, stderr) = eval(&["--variable", "op3"]);
    assert!(stderr.contains("stands for op5 of programs/07065a, and is scored as op3 of"));
    assert!(
        recorded.ends_with("for op5 of programs/07065a"),
        "{recorded}"
    );
    let (recorded, stderr) = eval(&["--variable", "op5"]);
    assert!(!stderr.contains("stands for") && !recorded.contains("op5"));
}

/// A file that is there is kept; the work is refused before it begins.
#[test]
fn files_are_replaced_by_force_only() {
    let folder = TempDir::new().unwrap();
    let [plan, out] = ["plan.json", "out"].map(|name| path_in(&folder, name));
    fs::write(&plan, PLAN).unwrap();
    let config = path_in(&folder, "config.json");
    let train = [&["train", "--out", &out], &SMALL[..]].concat();
    let data = ["data", "--pairs", "2", "--shots", "0", "--out", &out];
    let apply = ["apply", &plan, "--out", &out];
    let pretrain = ["pretrain", "--out", folder.path().to_str().unwrap()];
    for (args, file) in [
        (&train[..], &out),
        (&data[..], &out),
        (&apply[..], &out),
        (&pretrain[..], &config),
    ] {
        fs::write(file, "precious").unwrap();
        let output = swivel(args);
        check_refused(
            &output,
            args[0],
            &[file, "is there already", "--out", "--force"],
        );
        assert_eq!(output.stdout, b"", "{args:?}: refused before the work");
        assert_eq!(fs::read(file).unwrap(), b"precious");
        if file == &out {
            ran(&[args, &["--force"]].concat());
            assert_ne!(fs::read(file).unwrap(), b"precious", "{args:?}");
        }
    }
    let others = ["config.json", "out", "plan.json"];
    assert_eq!(files_in(folder.path()), others);
}

/// Settings that are not the default ones are in the name. The same command again gives the same bytes, which is said;
/// a file of this name that has other settings is kept.
#[test]
fn default_names_tell_runs_apart() {
    let folder = TempDir::new().unwrap();
    let run = |more: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_swivel"))
            .args([&SMALL[..], more].concat())
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert_ne!(output.status.code(), None);
        output
    };
    let names = || files_in(&folder.path().join("directions"));
    assert_eq!(run(&[]).status.code(), Some(1));
    let [name] = &names()[..] else {
        panic!("{:?}", names())
    };
    let settings = "pairs16-test40-shots0-epochs1-lr0.00001.safetensors";
    assert_eq!(*name, format!("solver-07065a-op5-layer2-rank1-{settings}"));
    let again = run(&[]);
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stdout).contains("is there already, with the same"));
    let place = ["--component", "value_output", "--position", "3"];
    run(&[
        &place[..],
        &["--seed", "5", "--no-shuffle", "--keep", "f16"],
    ]
    .concat());
    let other = "pairs16-test40-shots0-epochs1-lr0.00001-ordered-f16.safetensors";
    let other = format!("solver-07065a-op5-layer2-value_output-rank1-token3-seed5-{other}");
    assert_eq!(names(), [name.clone(), other]);

    let file = folder.path().join("directions").join(name);
    let whole = fs::read(&file).unwrap();
    let maker = format!("swivel {}", env!("CARGO_PKG_VERSION"));
    let at = whole
        .windows(maker.len())
        .position(|window| window == maker.as_bytes());
    patch(&file, at.unwrap(), b"SWIVEL");
    let refused = run(&[]);
    check_refused(&refused, "another maker", &["is there already", "--force"]);
    assert_eq!(refused.stdout, b"");
    // Other numbers of the same settings, as another device gives them: kept, and said.
    fs::write(&file, &whole).unwrap();
    let at = whole.len() - 4;
    patch(&file, at, &{
        let last = f32::from_le_bytes(whole[at..].try_into().unwrap());
        last.next_up().to_le_bytes()
    });
    let rounded = fs::read(&file).unwrap();
    let kept = run(&[]);
    assert_eq!(kept.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&kept.stdout).contains("was kept"));
    assert_eq!(fs::read(&file).unwrap(), rounded);
    run(&["--force"]);
    assert_eq!(fs::read(&file).unwrap(), whole);
}

#[test]
fn a_folder_that_is_there_gets_the_default_name() {
    let folder = TempDir::new().unwrap();
    let [plan, into] = [
        path_in(&folder, "my.plan.json"),
        folder.path().to_str().unwrap().to_owned(),
    ];
    fs::write(&plan, PLAN).unwrap();
    ran(&[&["train", "--out", &into], &SMALL[..]].concat());
    ok(&[
        "data",
        "--pairs",
        "2",
        "--seed",
        "4",
        "--variable",
        "op3",
        "--out",
        &into,
    ]);
    ok(&["apply", &plan, "--out", &into]);
    assert_eq!(
        files_in(folder.path()),
        [
            "07065a-op3-seed4-pairs2.jsonl",
            "my.plan.json",
            "my.plan.safetensors",
            "solver-07065a-op5-layer2-rank1-pairs16-test40-shots0-epochs1-lr0.00001.safetensors",
        ]
    );
}

/// What is printed as the next command is typed as it stands, and works.
#[test]
#[cfg(unix)]
fn next_command_works_as_printed() {
    let folder = TempDir::new().unwrap();
    let binary = Path::new(env!("CARGO_BIN_EXE_swivel"));
    let pair = |id: u32| {
        format!(
            r#"{{"base":[1,2,{id}],"source":[4,{id},6],"base_position":1,"source_position":2,"label":{id}}}"#
        )
    };
    let pairs = (7..27).map(pair).collect::<Vec<_>>().join("\n");
    fs::write(folder.path().join("my pairs.jsonl"), pairs).unwrap();
    let shell = |command: &str, cargo: Option<&str>| {
        let path = format!(
            "{}:{}",
            binary.parent().unwrap().display(),
            std::env::var("PATH").unwrap()
        );
        let mut shell = Command::new("sh");
        shell
            .args(["-c", command])
            .env("PATH", path)
            .env_remove("CARGO");
        if let Some(cargo) = cargo {
            shell.env("CARGO", cargo);
        }
        let output = shell.current_dir(folder.path()).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(matches!(output.status.code(), Some(0 | 1)), "{stderr}");
        String::from_utf8(output.stdout).unwrap()
    };
    let next = |text: String| text.lines().last().unwrap().trim().to_owned();
    let small = SMALL.join(" ");

    let first = next(shell(&format!("swivel --seed 1 {small}"), None));
    assert!(first.starts_with("swivel eval directions/"), "{first}");
    // Other pairs than those that it was scored on already.
    assert!(first.ends_with(" --seed 2 --shots 0"), "{first}");
    assert!(shell(&first, None).contains("IIA on 1000 held-out pairs"));

    let model = fixture("tiny_sharded");
    let data = "--train-data 'my pairs.jsonl' --test-data 'my pairs.jsonl'";
    let second = next(shell(
        &format!(
            "{} train --model {}/ {data} --layer 0 --epochs 1 --device flex",
            binary.display(),
            model.display()
        ),
        None,
    ));
    assert!(second.starts_with(binary.to_str().unwrap()), "{second}");
    let name = "'directions/tiny_sharded-my pairs-layer0-";
    for option in [
        name,
        "--test-data 'my pairs.jsonl'",
        "--model",
        "--device flex",
    ] {
        assert!(second.contains(option), "{second}");
    }
    assert!(shell(&second, None).contains("IIA on 20 held-out pairs"));

    // Cargo says to what it runs that it runs it.
    let third = next(shell(&format!("swivel --rank 2 {small}"), Some("cargo")));
    let cargo = "cargo run --release -p native-trainer ";
    assert!(
        third.starts_with(cargo) && third.contains("-- eval directions/"),
        "{third}"
    );
}

#[test]
fn help_lists_components_and_groups_options() {
    let help = ok(&["train", "--help"]);
    let words: String = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for (_, name, _) in Component::ALL {
        assert!(words.contains(&format!("{name}, ")) || words.contains(&format!("{name}. ")));
    }
    let at = |text: &str| {
        help.find(text)
            .unwrap_or_else(|| panic!("`{text}` is not in\n{help}"))
    };
    let order = [
        "\nModel:",
        "--model ",
        "\nQuestion:",
        "--variable ",
        "\nPlace:",
        "--layer ",
        "\nLearning:",
        "--rank ",
        "\nOutput:",
        "--out ",
        "\nComponents:",
        "\nExamples:\n  swivel train",
    ];
    assert!(order.map(at).is_sorted(), "{help}");
    assert!(help.lines().all(|line| !line.contains("native-trainer")));
}

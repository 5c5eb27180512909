//! `train`: the main job, its options, its devices.

use std::{fs, process::Command};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::*;

/// So small that it takes a second, and finds nothing.
pub const SMALL: [&str; 10] = [
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
            &["no model no/such/folder", "solver"],
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

/// Every component is trained at on cached values, in memory or in a file, and the file names its head.
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
    let half = train(
        &second,
        &["--cache-dtype", "f16", "--memory", "0", "--force"],
    );
    assert!(half["test_iia"].as_f64().is_some());
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

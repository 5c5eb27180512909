//! Models: folders as they are, and broken ones.

use std::{fs, path::Path};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::*;

#[test]
fn a_folder_of_transformers_loads_as_it_is() {
    for folder in ["tiny", "tiny_sharded"] {
        let inspected = ok_json(&["inspect", fixture(folder).to_str().unwrap(), "--json"]);
        assert_eq!(inspected["sizes"]["d_model"], 24);
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

/// The solver with other numbers in its last tensors, as a folder.
pub fn changed_solver(folder: &Path) -> String {
    let other = folder.join("changed");
    let solver = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/solver");
    fs::create_dir(&other).unwrap();
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        fs::copy(solver.join(name), other.join(name)).unwrap();
    }
    let weights = other.join("model.safetensors");
    let n_bytes = fs::metadata(&weights).unwrap().len() as usize;
    patch(&weights, n_bytes - 100_000, &[0; 100_000]);
    other.to_str().unwrap().to_owned()
}

/// Replaces bytes in place.
pub fn patch(file: &Path, at: usize, bytes: &[u8]) {
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

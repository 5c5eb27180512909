//! `pretrain`: a model from nothing.

use std::{fs, path::Path};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::*;

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

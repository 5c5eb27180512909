//! `import`: vectors that others keep become directions, scored as learned ones.

use std::fs;

use serde_json::json;
use swivel_core::direction::Direction;
use tempfile::TempDir;

use crate::support::*;

const FEW: [&str; 6] = [
    "--device",
    "flex",
    "--train-pairs",
    "400",
    "--test-pairs",
    "100",
];

#[test]
fn a_vector_is_imported_scored_and_used() {
    let folder = TempDir::new().unwrap();
    let [learned, vector, imported] =
        ["learned.safetensors", "vector.json", "imported.safetensors"]
            .map(|name| path_in(&folder, name));
    ok(&[
        &["train", "--epochs", "10", "--lr", "2e-2", "--out", &learned][..],
        &FEW,
    ]
    .concat());
    let own = Direction::from_bytes(&fs::read(&learned).unwrap()).unwrap();
    let twice: Vec<f32> = own.rows().iter().map(|x| -2.0 * x).collect();
    let json = json!({ "vector": twice, "hookName": "blocks.2.hook_resid_post" });
    fs::write(&vector, json.to_string()).unwrap();
    // It says itself where it belongs.
    ok(&[&["import", &vector, "--out", &imported][..], &FEW].concat());
    let found = Direction::from_bytes(&fs::read(&imported).unwrap()).unwrap();
    assert_eq!(found.facts.method, "imported");
    assert_eq!(found.facts.place, own.facts.place);
    // The same swap: what it is multiplied by does not matter.
    assert_eq!(found.facts.iia, own.facts.iia);
    assert!(found.facts.iia > 0.9 && found.facts.controls.random < 0.7);
    assert!(found.facts.controls.mean_difference.is_some());
    for (found, own) in found.rows().iter().zip(own.rows()) {
        assert!((found + own).abs() < 1e-6);
    }
    let said = ok(&[&["eval", &imported][..], &FEW[..2], &FEW[4..]].concat());
    assert!(said.contains("IIA on 100 held-out pairs"), "{said}");

    for (args, cause) in [
        (vec!["import", &vector, "--rank", "2"], "--rank"),
        (vec!["import", &vector, "--layer", "7"], "layer"),
        (
            vec!["import", &vector, "--component", "mlp_activation"],
            "mlp_activation has width 256",
        ),
        (
            vec!["import", &learned, "--layer", "2"],
            "neither a NumPy array",
        ),
    ] {
        check_error(&args, &[cause]);
    }
}

//! `sweep`: maps, whole and interrupted. More of them: `tests/sweep`.

use std::fs;

use swivel_core::{Component, Position, sweep::SweepResult};
use tempfile::TempDir;

use crate::support::*;

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
    let result = SweepResult::from_bytes(&fs::read(&map).unwrap()).unwrap();
    assert!(result.is_complete());
    let best = &result.cells()[result.best().unwrap()];
    assert_eq!(
        (best.place.site, best.place.position),
        (Component::BlockOutput.at(2), Position::Index(129))
    );
    let controls = best.controls.as_ref().unwrap();
    assert!(best.iia >= 0.95 && controls.random <= 0.6 && controls.full >= 0.95);
    assert!(controls.shuffled.unwrap() < best.iia);
    // Where only the last token of the last layer is read, nothing else there can matter.
    let beside = result
        .cells()
        .iter()
        .find(|cell| (cell.place.site.layer, cell.place.position) == (2, Position::Index(128)));
    assert!(beside.unwrap().metrics.kl < 1e-6);
    let svg = fs::read_to_string(folder.path().join("map.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("layer 2") && svg.contains("129"));

    let found = result.direction(result.best().unwrap()).unwrap();
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
    let result = SweepResult::from_bytes(&whole).unwrap();
    let mut half = SweepResult::new(result.facts().clone()).unwrap();
    for cell in &result.cells()[1..3] {
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
        (&["--method", "pca"], &["pca", "das", "interchange"]),
        (&["--epochs", "0"], &["--epochs is 0"]),
    ];
    for (options, expected) in cases {
        let args = [&["sweep", "--out", &out, "--device", "flex"][..], options].concat();
        check_error(&args, expected);
        assert_no_files(folder.path());
    }
}

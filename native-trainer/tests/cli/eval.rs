//! `eval`: direction files and scores, good and bad.

use std::{fs, path::Path};

use tempfile::TempDir;

use crate::{
    model::{changed_solver, patch},
    support::*,
    train::SMALL,
};

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

    // Another hash, the same answer to the probe: the same model in another format.
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
    let scored = ["eval", &bad, "--shots", "0", "--test-pairs", "20"];
    let output = swivel(&scored);
    assert_ne!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let expected = "learned on other weights";
    assert!(
        said.contains(expected) && said.contains("another format"),
        "{said}"
    );

    // The same width and vocabulary, other weights: refused, or accepted with a warning.
    let other = changed_solver(folder.path());
    let other = [&scored[..], &["--model", &other]].concat();
    check_error(&other, &["other weights", "probe gives", "--any-model"]);
    let output = swivel(&[&other[..], &["--any-model", "--keep-wrong"]].concat());
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

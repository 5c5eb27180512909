//! The program as a person calls it, and what every test asks of its answers.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "a test may panic, and no file of tests uses all of this"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;
use tempfile::TempDir;

pub fn swivel(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_swivel"))
        .args(args)
        .output()
        .unwrap()
}

#[track_caller]
pub fn ok(args: &[&str]) -> String {
    let output = swivel(args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{args:?}: {:?}\n{stderr}",
        output.status
    );
    String::from_utf8(output.stdout).unwrap()
}

/// The last JSON line.
#[track_caller]
pub fn ok_json(args: &[&str]) -> Value {
    serde_json::from_str(ok(args).lines().last().unwrap()).unwrap()
}

/// Status 2, one line on stderr that starts with `error:` and holds every given text, no panic.
#[track_caller]
pub fn check_error(args: &[&str], expected: &[&str]) {
    let output = swivel(args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{args:?}\n{stderr}");
    assert!(!stderr.contains("panicked"), "{args:?}\n{stderr}");
    assert!(
        stderr.lines().any(|line| line.starts_with("error:")),
        "{args:?}\n{stderr}"
    );
    for text in expected {
        assert!(
            stderr.contains(text),
            "{args:?}: `{text}` is not in\n{stderr}"
        );
    }
}

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fixtures")
        .join(name)
}

pub fn path_in(folder: &TempDir, name: &str) -> String {
    folder.path().join(name).to_str().unwrap().to_owned()
}

pub fn files_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// No file, whole or partial, was left behind.
#[track_caller]
pub fn assert_no_files(folder: &Path) {
    let names = files_in(folder);
    assert!(names.is_empty(), "{names:?}");
}

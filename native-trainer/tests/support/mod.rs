//! The program as a person calls it, and what every test asks of its answers.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "a test may panic, and no file of tests uses all of this"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output},
};

use serde_json::Value;
use tempfile::TempDir;

/// Tells a program to end as Ctrl-C does.
#[cfg(unix)]
pub fn press_ctrl_c(child: &Child) {
    use nix::{
        sys::signal::{SIGINT, kill},
        unistd::Pid,
    };
    kill(Pid::from_raw(child.id() as i32), SIGINT).unwrap();
}

pub fn swivel(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_swivel"))
        .args(args)
        .output()
        .unwrap()
}

/// Stdout of a run that ended with one of these statuses.
#[track_caller]
pub fn text_of(args: &[&str], statuses: &[i32]) -> String {
    let output = swivel(args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output
            .status
            .code()
            .is_some_and(|code| statuses.contains(&code)),
        "{args:?}: {:?}\n{stderr}",
        output.status
    );
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
pub fn ok(args: &[&str]) -> String {
    text_of(args, &[0])
}

pub fn last_json(text: &str) -> Value {
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

/// The last JSON line.
#[track_caller]
pub fn ok_json(args: &[&str]) -> Value {
    last_json(&ok(args))
}

/// Training or scoring with so few pairs and steps that controls may fail.
#[track_caller]
pub fn ran(args: &[&str]) -> String {
    text_of(args, &[0, 1])
}

#[track_caller]
pub fn ran_json(args: &[&str]) -> Value {
    last_json(&ran(args))
}

/// Status 2, one line on stderr that starts with `error:` and holds every given text, no panic.
#[track_caller]
pub fn check_error(args: &[&str], expected: &[&str]) {
    check_refused(&swivel(args), &format!("{args:?}"), expected);
}

#[track_caller]
pub fn check_refused(output: &Output, args: &str, expected: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{args}\n{stderr}");
    assert!(!stderr.contains("panicked"), "{args}\n{stderr}");
    let error = stderr.lines().find(|line| line.starts_with("error:"));
    let error = error.unwrap_or_else(|| panic!("{args}\n{stderr}"));
    // Each cause once, and no value as only Rust writes it.
    let mut causes: Vec<&str> = error.split(": ").collect();
    causes.sort_unstable();
    let n_causes = causes.len();
    causes.dedup();
    assert_eq!(
        causes.len(),
        n_causes,
        "{args}: a cause is said twice\n{error}"
    );
    for leak in ["..=", " { ", "`?`", "Some(", "Err("] {
        assert!(!error.contains(leak), "{args}: `{leak}` leaks\n{error}");
    }
    for text in expected {
        assert!(
            stderr.contains(text),
            "{args}: `{text}` is not in\n{stderr}"
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

/// Numbers of a tensor of f32.
pub fn floats(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes
        .chunks(4)
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
}

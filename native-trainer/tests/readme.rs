//! What README.md says that training finds is what training finds.
//!
//! `UPDATE_README=1 cargo test --release -p native-trainer --test readme` runs the commands of the results table and writes
//! what they find into it; without the variable, the cells are compared.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::{env, fs, path::Path, process::Command};

use serde_json::Value;
use tempfile::TempDir;

/// IIA that two machines may differ by: their sums differ in the last bits, which decides a pair or two of 1000.
const TOLERANCE: f64 = 0.002;
/// Columns of the table: IIA, its controls, and the command after cargo's part.
const SCORES: [usize; 3] = [4, 5, 6];
const COMMAND: usize = 7;

fn readme() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")
}

/// Stdout of `swivel` in an empty folder. A row of what is not there ends with status 1.
fn swivel(args: &[&str]) -> String {
    let folder = TempDir::new().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_swivel"))
        .args(args)
        .env("CARGO", "cargo")
        .current_dir(folder.path())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        matches!(output.status.code(), Some(0 | 1)),
        "{args:?}\n{stderr}"
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn results_table_is_what_its_commands_find() {
    let text = fs::read_to_string(readme()).unwrap();
    let is_update = env::var_os("UPDATE_README").is_some();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let is_row = |line: &str| line.starts_with("| op") && line.ends_with("` |");
    let mut n_rows = 0;
    for line in lines.iter_mut().filter(|line| is_row(line)) {
        n_rows += 1;
        let mut cells: Vec<String> = line.split('|').map(str::to_owned).collect();
        let command = cells[COMMAND].trim().trim_matches('`').to_owned();
        let args: Vec<&str> = command
            .split(' ')
            .chain(["--json", "--device", "flex"])
            .collect();
        let output = swivel(&args);
        let done: Value = serde_json::from_str(output.lines().last().unwrap()).unwrap();
        let controls = &done["controls"];
        let found = [&done["test_iia"], &controls["random"], &controls["full"]];
        for (column, found) in SCORES.into_iter().zip(found) {
            let found = found.as_f64().unwrap();
            if is_update {
                cells[column] = format!(" {found:.3} ");
            }
            let written: f64 = cells[column].trim().parse().unwrap();
            assert!(
                (written - found).abs() <= TOLERANCE,
                "{command}: README.md has {written}, found {found:.4}"
            );
        }
        *line = cells.join("|");
    }
    assert_eq!(n_rows, 4, "rows of the results table in README.md");
    if is_update {
        fs::write(readme(), lines.join("\n") + "\n").unwrap();
    }
}

/// The example of the first command has its lines in their order; numbers are the business of the table. It shows the build
/// without GPUs, which runs on the CPU.
#[test]
#[cfg(not(any(feature = "cuda", feature = "wgpu")))]
fn first_command_prints_what_is_shown() {
    let text = fs::read_to_string(readme()).unwrap();
    let (_, example) = text
        .split_once("this is what you should see:\n\n```\n")
        .unwrap();
    let (example, _) = example.split_once("```").unwrap();
    // Every number as one digit, however long it is.
    let mask = |line: &str| -> String {
        let mut masked: Vec<char> = line.trim().chars().collect();
        masked
            .iter_mut()
            .filter(|c| c.is_ascii_digit())
            .for_each(|c| *c = '0');
        masked.dedup_by(|a, b| *a == *b && (*a == '0' || *a == ' '));
        masked.into_iter().collect()
    };
    let output = swivel(&["train"]);
    let mut printed = output.lines().map(mask);
    for line in example.lines().filter(|line| line.trim() != "…") {
        let shown = mask(line);
        assert!(
            printed.any(|printed| printed == shown),
            "README.md shows `{line}`, which is not printed there:\n{output}"
        );
    }
}

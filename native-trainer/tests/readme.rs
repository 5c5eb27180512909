//! What README.md says that training finds is what training finds.
//!
//! `UPDATE_README=1 cargo test --release -p native-trainer --test readme` runs the commands of the results table and writes
//! what they find into it; without the variable, the cells are compared.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::{env, fs, path::Path, process::Command};

use serde_json::Value;
use tempfile::TempDir;

/// IIA that two machines may differ by: their sums differ in the last bits, which decides a pair or two of 1000, some of which are
/// not known; and half of the last digit that the README has.
const TOLERANCE: f64 = 2.0 / 990.0 + 0.0005;
/// The same of questions, where a pair is a hundredth.
const QUESTIONS_TOLERANCE: f64 = 0.03;
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

/// Columns of the table of questions: the model, DAS at each rank, what it stands beside, and the command.
const MODEL: usize = 2;
const RANKS: [u64; 3] = [1, 4, 16];
const FIRST_RANK: usize = 4;
const OF_CELL: usize = FIRST_RANK + RANKS.len();

/// Real models answer real questions as the table says; three quarters of an hour on two cores.
#[test]
#[ignore = "three quarters of an hour; SWIVEL_REAL names the folder of real models"]
fn questions_table_is_what_its_commands_find() {
    let real = env::var("SWIVEL_REAL").expect("`cargo xtask real` names the folder");
    let text = fs::read_to_string(readme()).unwrap();
    let is_update = env::var_os("UPDATE_README").is_some();
    let (_, shared) = text
        .split_once("each command of the table ends with\n\n    ")
        .unwrap();
    let shared = shared.lines().next().unwrap();
    let is_row = |line: &&str| line.contains("` |") && line.contains("--task");
    let mut n_rows = 0;
    for line in text.lines().filter(is_row) {
        n_rows += 1;
        let mut cells: Vec<String> = line.split('|').map(str::to_owned).collect();
        let command = cells[cells.len() - 2].trim().trim_matches('`').to_owned();
        let model = format!("{real}/{}.gguf", cells[MODEL].trim());
        let mut args: Vec<&str> = command.split(' ').collect();
        args.extend(["--model", &model, "--json"]);
        let mut found: Vec<(usize, String)> = Vec::new();
        if args[0] == "check" {
            let said: Value = serde_json::from_str(swivel(&args).lines().last().unwrap()).unwrap();
            let share = said["right"]["share"].as_f64().unwrap();
            found.push((FIRST_RANK, format!("knows {share:.2}")));
        } else {
            let folder = TempDir::new().unwrap();
            let map = folder.path().join("map.safetensors").display().to_string();
            args.extend(shared.split(' '));
            args.extend(["--out", &map]);
            swivel(&args);
            let said: Value = serde_json::from_str(&swivel(&["inspect", &map, "--json"])).unwrap();
            let learned = said["cells"].as_array().unwrap();
            assert_eq!(learned.len(), RANKS.len(), "{command}");
            let share = |value: &Value| format!("{:.2}", value.as_f64().unwrap());
            let seen = |cell: &Value| {
                let flag = if cell["beats_whole_vector"] == true {
                    " !"
                } else {
                    ""
                };
                format!(
                    "{} · {}{flag}",
                    share(&cell["iia"]),
                    share(&cell["unseen"]["iia"])
                )
            };
            for (idx, rank) in RANKS.into_iter().enumerate() {
                let cell = learned.iter().find(|cell| cell["rank"] == rank);
                found.push((FIRST_RANK + idx, seen(cell.unwrap())));
            }
            let first = learned.iter().find(|cell| cell["rank"] == 1).unwrap();
            let controls = &first["controls"];
            let full = format!(
                "{} · {}",
                share(&controls["full"]),
                share(&first["unseen"]["full"])
            );
            let others = ["mean_difference", "pca", "unembedding", "random"];
            let others = others.iter().map(|name| share(&controls[name]));
            found.extend((OF_CELL..).zip(std::iter::once(full).chain(others)));
        }
        let shares = |text: &str| -> Vec<f64> {
            let words = text.split_whitespace();
            words
                .filter_map(|word| word.trim_matches(',').parse().ok())
                .collect()
        };
        for (column, found) in found {
            if is_update {
                cells[column] = format!(" {found} ");
            }
            let [written, found] = [shares(&cells[column]), shares(&found)];
            assert_eq!(written.len(), found.len(), "{command}, column {column}");
            for (written, found) in written.iter().zip(found) {
                assert!(
                    (written - found).abs() <= QUESTIONS_TOLERANCE,
                    "{command}: README.md has {written}, found {found}"
                );
            }
        }
        let found = cells.join("|");
        eprintln!("{found}");
        if is_update {
            // Row by row: three quarters of an hour is long enough to lose something.
            let text = fs::read_to_string(readme()).unwrap();
            fs::write(readme(), text.replace(line, &found)).unwrap();
        }
    }
    assert!(n_rows > 0, "rows of the table of questions in README.md");
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

//! Maps on the command line: divided and put together, gone on with, and taken apart.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod cells;
mod parts;
#[path = "../support/mod.rs"]
mod support;

use std::fs;

use swivel_core::sweep::SweepResult;

/// A map in which directions are learned: two variables, three layers, seven tokens of which the last are learned together.
const LEARNED: [&str; 16] = [
    "sweep",
    "--json",
    "--device",
    "flex",
    "--variable",
    "op5,op3",
    "--positions",
    "120,122,124,126-129",
    "--train-pairs",
    "64",
    "--test-pairs",
    "20",
    "--epochs",
    "1",
    "--batch-size",
    "16",
];

/// A map that takes a moment.
const MEASURED: [&str; 10] = [
    "sweep",
    "--json",
    "--device",
    "flex",
    "--method",
    "interchange",
    "--positions",
    "last:2",
    "--test-pairs",
    "10",
];

fn with<'a>(args: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [args, more].concat()
}

fn result(path: &str) -> SweepResult {
    SweepResult::from_bytes(&fs::read(path).unwrap()).unwrap()
}

/// Leaves the first cells of a map only, as an interrupted sweep does.
fn shorten(path: &str, n_cells: usize) {
    let whole = result(path);
    let mut short = SweepResult::new(whole.facts().clone()).unwrap();
    for cell in &whole.cells()[..n_cells] {
        short.push(cell.clone()).unwrap();
    }
    fs::write(path, short.to_bytes()).unwrap();
}

//! GGUF files that were never written by anyone.

use super::mutator::Mutator;
use crate::{fields::Fields, support::fixture};

/// Numbers of value types, and bytes of a value.
const KINDS: [(u64, usize); 11] = [
    (0, 1),
    (1, 1),
    (2, 2),
    (3, 2),
    (4, 4),
    (5, 4),
    (6, 4),
    (7, 1),
    (10, 8),
    (11, 8),
    (12, 8),
];
const TEXT: u64 = 8;
const LIST: u64 = 9;

/// Any file of the format, or one of the Python package `gguf`, changed in a few places or in none.
pub fn file(mutator: &mut Mutator) -> Vec<u8> {
    let file = match mutator.rarely(4) {
        true => {
            let bytes = fixture("gguf_blocks.gguf");
            // Counts, and lengths and offsets of which most are there.
            let numbers = (0..60).map(|idx| 4 + 4 * idx..8 + 4 * idx).collect();
            Fields { bytes, numbers }
        }
        false => any(mutator),
    };
    mutator.mutate(file)
}

fn any(mutator: &mut Mutator) -> Fields {
    let mut file = Fields::default();
    let [n_tensors, n_entries] = [mutator.below(5), mutator.below(6)];
    file.raw(b"GGUF");
    file.number(4, 2 + mutator.below(2) as u64);
    file.number(8, n_tensors as u64);
    file.number(8, n_entries as u64);
    for idx in 0..n_entries {
        let key = mutator.text();
        match mutator.rarely(6) {
            true => text(&mut file, "general.alignment"),
            false => text(&mut file, &format!("{idx}{key}")),
        }
        value(mutator, &mut file);
    }
    let mut offset = 0;
    for idx in 0..n_tensors {
        let name = mutator.text();
        text(&mut file, &format!("{idx}{name}"));
        let n_dims = mutator.below(4);
        file.number(4, n_dims as u64);
        let mut n_values = 1;
        for _ in 0..n_dims {
            let size = mutator.below(5);
            n_values *= size;
            file.number(8, size as u64);
        }
        let (kind, n_bytes) = mutator.pick(&[(0, 4), (1, 2), (30, 2)]);
        file.number(4, kind);
        file.number(8, offset);
        offset += (n_values * n_bytes).next_multiple_of(32) as u64;
    }
    let n_data = offset as usize + 1000;
    file.raw(&vec![0; n_data]);
    file
}

fn text(file: &mut Fields, text: &str) {
    file.number(8, text.len() as u64);
    file.raw(text.as_bytes());
}

fn value(mutator: &mut Mutator, file: &mut Fields) {
    match mutator.below(4) {
        0 => {
            file.number(4, TEXT);
            text(file, &mutator.text());
        }
        1 => {
            file.number(4, LIST);
            let n = mutator.below(30);
            let (kind, n_bytes) = mutator.pick(&KINDS);
            let is_text = mutator.rarely(3);
            file.number(4, if is_text { TEXT } else { kind });
            file.number(8, n as u64);
            for idx in 0..n as u64 {
                match is_text {
                    true => text(file, &mutator.text()),
                    false => file.number(n_bytes, idx),
                }
            }
        }
        _ => {
            let (kind, n_bytes) = mutator.pick(&KINDS);
            file.number(4, kind);
            file.number(n_bytes, 32);
        }
    }
}

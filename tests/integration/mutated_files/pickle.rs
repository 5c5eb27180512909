//! Torch files whose pickle has other instructions, or whose archive says something else than it should.

use std::iter;

use super::mutator::Mutator;
use crate::{
    archive::{Width, unzip, zip},
    support::fixture,
};

/// Instructions that no state dict has, or not there.
const OTHERS: [&[u8]; 34] = [
    b"(",
    b")",
    b"}",
    b"]",
    b"t",
    b"u",
    b"s",
    b"a",
    b"e",
    b"b",
    b"R",
    b"Q",
    b"N",
    b".",
    b"o",
    b"0",
    b"1",
    b"2",
    b"\x81",
    b"\x85",
    b"\x87",
    b"\x93",
    b"\x94",
    b"h\0",
    b"j\xff\xff\xff\xff",
    b"r\xff\xff\xff\xff",
    b"J\xff\xff\xff\xff",
    b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\x8a\xff",
    b"X\xff\xff\xff\xff",
    b"cos\nsystem\n",
    b"ibuiltins\neval\n",
    b"ctorch\nLongStorage\n",
    b"ccollections\nOrderedDict\n",
];

/// A file of torch, changed in a few places or in none.
pub fn file(mutator: &mut Mutator) -> Vec<u8> {
    let name = match mutator.rarely(4) {
        true => mutator.pick(&["transposed", "negated", "nested", "module"]),
        false => mutator.pick(&["state", "protocol_4"]),
    };
    let mut entries = unzip(&fixture(&format!("torch/{name}.bin")));
    for entry in &mut entries {
        match entry.name.ends_with("data.pkl") {
            true => entry.bytes = pickle(mutator, &entry.bytes),
            false if mutator.rarely(100) => mutator.mutate_bytes(&mut entry.bytes),
            false => {}
        }
    }
    if mutator.rarely(20) {
        let at = mutator.below(entries.len());
        match mutator.below(4) {
            0 => drop(entries.remove(at)),
            1 => entries.push(entries[at].clone()),
            2 => entries[at].method = 8,
            _ => entries[at].name = mutator.text(),
        }
    }
    let width = mutator.pick(&[Width::Bits32, Width::Bits64]);
    let file = zip(&entries, width);
    match mutator.rarely(3) {
        true => mutator.mutate(file),
        false => file.bytes,
    }
}

fn pickle(mutator: &mut Mutator, bytes: &[u8]) -> Vec<u8> {
    let mut instructions = instructions(bytes);
    for _ in 0..mutator.below(4) {
        let at = mutator.below(instructions.len());
        let own = instructions[at].clone();
        match mutator.below(8) {
            0 => drop(instructions.remove(at)),
            1 => instructions.insert(at, own),
            2 => {
                let other = mutator.below(instructions.len());
                instructions.swap(at, other);
            }
            3 => instructions[at] = mutator.pick(&OTHERS).to_vec(),
            4 => instructions.insert(at, mutator.pick(&OTHERS).to_vec()),
            5 => {
                let other = mutator.pick(&instructions);
                instructions.insert(at, other);
            }
            6 if own.len() > 1 => mutator.mutate_bytes(&mut instructions[at]),
            6 => {}
            _ => {
                let many = match mutator.rarely(2) {
                    true => own,
                    false => mutator.pick(&OTHERS).to_vec(),
                };
                let n = mutator.below(3000);
                instructions.splice(at..at, iter::repeat_n(many, n));
            }
        }
    }
    let mut bytes = instructions.concat();
    if mutator.rarely(10) {
        mutator.mutate_bytes(&mut bytes);
    }
    bytes
}

/// The instructions of a pickle, each with its operand.
fn instructions(mut pickle: &[u8]) -> Vec<Vec<u8>> {
    let mut instructions = Vec::new();
    while let Some(opcode) = pickle.first() {
        let n_operand = match opcode {
            0x80 | b'K' | b'q' | b'h' => 1,
            b'M' => 2,
            b'J' | b'r' | b'j' => 4,
            0x95 | b'G' => 8,
            0x8a | 0x8c => 1 + usize::from(pickle[1]),
            b'X' => 4 + usize::from(pickle[1]),
            b'c' => {
                let ends = pickle
                    .iter()
                    .enumerate()
                    .filter(|(_, byte)| **byte == b'\n');
                ends.map(|(at, _)| at).nth(1).unwrap()
            }
            _ => 0,
        };
        let (instruction, rest) = pickle.split_at(1 + n_operand);
        instructions.push(instruction.to_vec());
        pickle = rest;
    }
    instructions
}

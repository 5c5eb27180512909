//! Values are those of the Python package `gguf`, to the last bit; whatever is damaged is refused.

use std::collections::BTreeSet;

use safetensors::SafeTensors;

use super::*;

/// Blocks of random bits in every format; `tests/fixtures/make_gguf.py` wrote them, and the values beside them.
const BLOCKS: &[u8] = include_bytes!("../../../../tests/fixtures/gguf_blocks.gguf");
const VALUES: &[u8] = include_bytes!("../../../../tests/fixtures/gguf_blocks.safetensors");

fn read(bytes: &[u8]) -> Result<Gguf, TensorError> {
    match Gguf::read(bytes, bytes.len() as u64)? {
        Header::Ready(gguf) => Ok(*gguf),
        Header::Needs(n_bytes) => panic!("it needs {n_bytes} of {} bytes", bytes.len()),
    }
}

#[test]
fn values_are_those_of_the_python_package() {
    let values = SafeTensors::deserialize(VALUES).unwrap();
    let gguf = read(BLOCKS).unwrap();
    let mut formats = BTreeSet::new();
    for tensor in &gguf.tensors {
        let expected = values.tensor(&tensor.name).unwrap();
        assert_eq!(expected.shape(), tensor.shape, "{}", tensor.name);
        let bytes = &BLOCKS[tensor.bytes.start as usize..tensor.bytes.end as usize];
        let found: Vec<u8> = (tensor.dtype.to_f32(bytes).into_iter())
            .flat_map(f32::to_le_bytes)
            .collect();
        assert_eq!(found, expected.data(), "{}", tensor.name);
        assert_eq!(tensor.dtype.name(), tensor.name);
        formats.insert(tensor.dtype.name());
    }
    assert_eq!(formats.len(), Dtype::names().split(", ").count());
}

/// A file of one tensor and one entry, in which everything stands where it is known.
fn small() -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(3_u32.to_le_bytes());
    bytes.extend(1_u64.to_le_bytes()); // tensors
    bytes.extend(1_u64.to_le_bytes()); // entries
    bytes.extend(text("list"));
    bytes.extend(9_u32.to_le_bytes());
    bytes.extend(4_u32.to_le_bytes());
    bytes.extend(2_u64.to_le_bytes());
    bytes.extend([7_u32.to_le_bytes(), 8_u32.to_le_bytes()].concat());
    bytes.extend(text("x"));
    bytes.extend(2_u32.to_le_bytes());
    bytes.extend([2_u64.to_le_bytes(), 3_u64.to_le_bytes()].concat()); // 3 rows of 2
    bytes.extend(0_u32.to_le_bytes());
    bytes.extend(0_u64.to_le_bytes());
    bytes.resize(bytes.len().next_multiple_of(32), 0);
    bytes.extend((1..=6).flat_map(|value| (value as f32).to_le_bytes()));
    bytes
}

#[test]
fn header_is_read_from_as_few_bytes_as_it_has() {
    let bytes = small();
    let gguf = read(&bytes).unwrap();
    assert_eq!(gguf.metadata["list"], Value::Ints(vec![7, 8]));
    assert_eq!(gguf.tensors[0].shape, [3, 2]);
    let data = gguf.tensors[0].bytes.start as usize;
    for n in 0..data - 32 {
        let header = Gguf::read(&bytes[..n], bytes.len() as u64).unwrap();
        assert!(
            matches!(header, Header::Needs(needed) if needed > n as u64),
            "{n}"
        );
    }
    assert!(matches!(
        Gguf::read(&bytes[..data], bytes.len() as u64),
        Ok(Header::Ready(_))
    ));
}

#[test]
fn damaged_files_are_refused_with_the_cause() {
    let bytes = small();
    let at = |what: &[u8]| {
        bytes
            .windows(what.len())
            .position(|own| own == what)
            .unwrap()
    };
    let (kind, dims) = (at(b"list") + 4, at(b"x\x02\0\0\0") + 1);
    let changed = |at: usize, to: &[u8]| {
        let mut bytes = bytes.clone();
        bytes[at..at + to.len()].copy_from_slice(to);
        bytes
    };
    for (bytes, cause) in [
        (b"<html></html>".to_vec(), "`GGUF`, found <htm"),
        (changed(4, &9_u32.to_le_bytes()), "expected 2 or 3, found 9"),
        (changed(4, &3_u32.to_be_bytes()), "big-endian"),
        (
            changed(8, &u64::MAX.to_le_bytes()),
            "text: expected at most",
        ),
        (changed(16, &u64::MAX.to_le_bytes()), "GGUF: "),
        (changed(kind, &13_u32.to_le_bytes()), "a type from 0 to 12"),
        (changed(kind + 4, &9_u32.to_le_bytes()), "lists in a list"),
        (changed(kind + 8, &u64::MAX.to_le_bytes()), "GGUF: "),
        (changed(dims, &9_u32.to_le_bytes()), "at most 8 dimensions"),
        (changed(dims + 4, &u64::MAX.to_le_bytes()), "2^48 values"),
        (
            changed(dims + 4, &200_u64.to_le_bytes()),
            "bytes inside a file",
        ),
        (changed(dims + 20, &99_u32.to_le_bytes()), "GGUF's type 99"),
        (
            changed(dims + 20, &2_u32.to_le_bytes()),
            "whole blocks of Q4_0",
        ),
        (
            changed(dims + 24, &u64::MAX.to_le_bytes()),
            "GGUF: tensor `x`",
        ),
        (bytes[..bytes.len() - 1].to_vec(), "bytes inside a file"),
        (bytes[..dims].to_vec(), "within it"),
    ] {
        let error = read(&bytes).unwrap_err().to_string();
        assert!(error.contains(cause), "`{cause}` is not in {error}");
    }
}

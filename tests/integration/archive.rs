//! Zip archives as torch writes them, and in the ways that it does not.

use crate::fields::Fields;

/// A file in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    pub bytes: Vec<u8>,
    /// How it is packed; 0 is not at all.
    pub method: u16,
}

impl Entry {
    pub fn new(name: &str, bytes: &[u8]) -> Self {
        Self {
            name: name.to_owned(),
            bytes: bytes.to_vec(),
            method: 0,
        }
    }
}

/// How wide offsets and lengths are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    Bits32,
    /// In the fields for files above 4 GB.
    Bits64,
}

/// An archive of these entries.
pub fn zip(entries: &[Entry], width: Width) -> Fields {
    let mut file = Fields::default();
    let is_long = width == Width::Bits64;
    let short = |number: u64| if is_long { u32::MAX.into() } else { number };
    let mut locals = Vec::new();
    for Entry {
        name,
        bytes,
        method,
    } in entries
    {
        locals.push(file.bytes.len() as u64);
        let [n_bytes, n_name] = [bytes.len() as u64, name.len() as u64];
        file.raw(b"PK\x03\x04\0\0\0\0");
        file.number(2, (*method).into());
        file.raw(&[0; 8]);
        file.number(4, n_bytes);
        file.number(4, n_bytes);
        file.number(2, n_name);
        // torch fills up to 64 bytes here.
        file.number(2, 6);
        file.raw(name.as_bytes());
        file.raw(b"FB\x02\0ZZ");
        file.raw(bytes);
    }
    let directory = file.bytes.len() as u64;
    for (entry, local) in entries.iter().zip(locals) {
        let n_bytes = entry.bytes.len() as u64;
        file.raw(b"PK\x01\x02\0\0\0\0\0\0");
        file.number(2, entry.method.into());
        file.raw(&[0; 8]);
        file.number(4, short(n_bytes));
        file.number(4, short(n_bytes));
        file.number(2, entry.name.len() as u64);
        file.number(2, if is_long { 28 } else { 0 });
        file.raw(&[0; 10]);
        file.number(4, short(local));
        file.raw(entry.name.as_bytes());
        if is_long {
            file.number(2, 1);
            file.number(2, 24);
            for number in [n_bytes, n_bytes, local] {
                file.number(8, number);
            }
        }
    }
    let n_directory = file.bytes.len() as u64 - directory;
    if is_long {
        let record = file.bytes.len() as u64;
        file.raw(b"PK\x06\x06");
        file.number(8, 44);
        file.raw(&[0; 12]);
        for number in [entries.len() as u64; 2] {
            file.number(8, number);
        }
        file.number(8, n_directory);
        file.number(8, directory);
        file.raw(b"PK\x06\x07\0\0\0\0");
        file.number(8, record);
        file.raw(&[1, 0, 0, 0]);
    }
    file.raw(b"PK\x05\x06\0\0\0\0");
    for number in [entries.len() as u64; 2] {
        file.number(2, number);
    }
    file.number(4, short(n_directory));
    file.number(4, short(directory));
    file.number(2, 0);
    file
}

/// The entries of a small archive without a comment.
pub fn unzip(file: &[u8]) -> Vec<Entry> {
    let number = |at: usize, n_bytes: usize| -> usize {
        let bytes = file[at..at + n_bytes].iter().rev();
        bytes.fold(0, |number, byte| number << 8 | usize::from(*byte))
    };
    let end = file.len() - 22;
    let mut at = number(end + 16, 4);
    let mut entries = Vec::new();
    for _ in 0..number(end + 10, 2) {
        let [n_name, n_extra, n_comment] = [28, 30, 32].map(|field| number(at + field, 2));
        let local = number(at + 42, 4);
        let start = local + 30 + number(local + 26, 2) + number(local + 28, 2);
        let name = std::str::from_utf8(&file[at + 46..at + 46 + n_name]).unwrap();
        entries.push(Entry::new(name, &file[start..start + number(at + 24, 4)]));
        at += 46 + n_name + n_extra + n_comment;
    }
    entries
}

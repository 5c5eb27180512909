//! What `torch.save` writes: `pytorch_model.bin`, `.pt`.
//!
//! <https://docs.pytorch.org/docs/stable/notes/serialization.html>: a zip archive that compresses nothing. `NAME/data.pkl` is a
//! pickle of the tensors without their values, which lie in `NAME/data/KEY`, little-endian unless `NAME/byteorder` says
//! otherwise. Several tensors may have values of one such entry: tied weights are two names of one.
//!
//! The pickle is read and never run ([`pickle`]): what it may name is a short list.

mod layout;
mod pickle;
mod zip;

use std::{collections::BTreeMap, ops::Range};

use self::{
    pickle::{Numbers, Tensor},
    zip::{End, Entry},
};
use super::{
    StoredTensor, TensorError,
    names::twice,
    stored::{FileFormat, Step, StoredFile, UnreadTensor},
};

/// Bytes that a pickle may take: a thousand tensors take a fifth of one million. Reading takes up to a hundred times as many.
const MAX_PICKLE_BYTES: u64 = 1 << 23;

/// Bytes that the name of a byte order may take.
const MAX_ORDER_BYTES: u64 = 16;

/// True if a file begins as a zip archive does.
pub(super) fn is_zip(first: &[u8]) -> bool {
    first.starts_with(b"PK\x03\x04")
}

/// True if a file begins as those of torch before 1.6 do: with a pickle of the number 0x1950a86a20f9469cfc6c.
pub(super) fn is_old(first: &[u8]) -> bool {
    first.starts_with(b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46")
}

pub(super) use layout::refused_by_column;

fn wrong(
    what: impl Into<String>,
    expected: impl Into<String>,
    found: impl Into<String>,
) -> TensorError {
    TensorError::Torch {
        what: what.into(),
        expected: expected.into(),
        found: found.into(),
    }
}

/// Reads a torch file, range by range.
#[derive(Debug)]
pub(super) struct Torch {
    n_bytes: u64,
    stage: Stage,
}

/// What the bytes that are wanted next are for.
#[derive(Debug)]
enum Stage {
    /// The last bytes of the file.
    End,
    /// The record that says where the directory is, in 64 bits.
    Record,
    /// The directory, which begins here.
    Directory(u64),
    ByteOrder(Entry, Archive),
    Pickle(Archive),
    /// The local header of the next entry that has values.
    Values(Values),
}

impl Torch {
    /// For a file of `n_bytes` bytes; also says which of them are wanted first.
    pub(super) fn new(n_bytes: u64) -> (Self, Range<u64>) {
        let stage = Stage::End;
        let start = n_bytes.saturating_sub(zip::MAX_END_BYTES);
        (Self { n_bytes, stage }, start..n_bytes)
    }

    /// Takes the bytes that were wanted.
    ///
    /// # Errors
    /// - [`TensorError::Torch`] if the file is damaged, or written in a way that is not read.
    /// - [`TensorError::Global`], [`TensorError::Nested`], [`TensorError::Twice`] if its pickle is not a plain state dict.
    pub(super) fn give(&mut self, bytes: &[u8]) -> Result<Step, TensorError> {
        let n_bytes = self.n_bytes;
        let (stage, wanted) = match std::mem::replace(&mut self.stage, Stage::End) {
            Stage::End => match zip::end(bytes, n_bytes)? {
                End::Record(range) => (Stage::Record, range),
                End::Directory(range) => (Stage::Directory(range.start), range),
            },
            Stage::Record => {
                let range = zip::directory(bytes, n_bytes)?;
                (Stage::Directory(range.start), range)
            }
            Stage::Directory(start) => {
                let mut archive = Archive::new(zip::entries(bytes, start)?, start)?;
                match archive.byte_order.take() {
                    Some(entry) => {
                        let range = entry.whole(start);
                        (Stage::ByteOrder(entry, archive), range)
                    }
                    None => archive.wants_pickle(),
                }
            }
            Stage::ByteOrder(entry, archive) => match content(&entry, bytes, archive.end)? {
                b"little" => archive.wants_pickle(),
                other => {
                    let found = String::from_utf8_lossy(other);
                    return Err(wrong("byte order", "little", found));
                }
            },
            Stage::Pickle(archive) => {
                let pickle = content(&archive.pickle, bytes, archive.end)?;
                match Values::new(pickle::state_dict(pickle)?, archive)?.next(n_bytes) {
                    Ok(wants) => wants,
                    Err(file) => return Ok(Step::Ready(file)),
                }
            }
            Stage::Values(mut values) => {
                values.take(bytes)?;
                match values.next(n_bytes) {
                    Ok(wants) => wants,
                    Err(file) => return Ok(Step::Ready(file)),
                }
            }
        };
        self.stage = stage;
        Ok(Step::Wants(wanted))
    }
}

/// The bytes of an entry, of its bytes and all in front of them; `end` is where the directory begins.
fn content<'a>(entry: &Entry, whole: &'a [u8], end: u64) -> Result<&'a [u8], TensorError> {
    let range = entry.bytes(whole, end)?;
    let [from, to] = [range.start, range.end].map(|at| (at - entry.head().start) as usize);
    let content = whole.get(from..to);
    content.ok_or_else(|| wrong(format!("entry `{}`", entry.name), "its bytes", "fewer"))
}

/// The entries of a torch file that are read.
#[derive(Debug)]
struct Archive {
    /// Where the directory begins, which is behind all entries.
    end: u64,
    pickle: Entry,
    byte_order: Option<Entry>,
    /// Entries of values, in the order of the file.
    values: Vec<Entry>,
    /// Which of them has which key.
    keys: BTreeMap<String, usize>,
}

impl Archive {
    fn new(mut entries: Vec<Entry>, end: u64) -> Result<Self, TensorError> {
        const PICKLE: &str = "/data.pkl";
        if let Some(name) = twice(entries.iter().map(|entry| entry.name.as_str())) {
            return Err(wrong(format!("entry `{name}`"), "it once", "it twice"));
        }
        entries.sort_by_key(|entry| entry.head().start);
        let mut pickles = entries.iter().filter(|entry| entry.name.ends_with(PICKLE));
        let pickle = match (pickles.next(), pickles.next()) {
            (Some(pickle), None) => pickle.clone(),
            (None, _) => return Err(wrong("archive", "an entry data.pkl", "none")),
            (Some(_), Some(_)) => return Err(wrong("archive", "one entry data.pkl", "several")),
        };
        if pickle.n_bytes > MAX_PICKLE_BYTES {
            let expected = format!("at most {MAX_PICKLE_BYTES} bytes");
            return Err(wrong("pickle", expected, pickle.n_bytes.to_string()));
        }
        let folder = pickle.name.trim_end_matches(PICKLE);
        let (mut byte_order, mut values, mut keys) = (None, Vec::new(), BTreeMap::new());
        for entry in entries {
            let name = entry.name.strip_prefix(folder);
            match name.and_then(|name| name.strip_prefix('/')) {
                Some("byteorder") if entry.n_bytes > MAX_ORDER_BYTES => {
                    let found = format!("{} bytes", entry.n_bytes);
                    return Err(wrong("byte order", "little", found));
                }
                Some("byteorder") => byte_order = Some(entry),
                Some(name) => {
                    if let Some(key) = name.strip_prefix("data/") {
                        keys.insert(key.to_owned(), values.len());
                        values.push(entry);
                    }
                }
                None => {}
            }
        }
        Ok(Self {
            end,
            pickle,
            byte_order,
            values,
            keys,
        })
    }

    fn wants_pickle(self) -> (Stage, Range<u64>) {
        let range = self.pickle.whole(self.end);
        (Stage::Pickle(self), range)
    }
}

/// The tensors of a state dict, while it is found out where the entries of their values begin.
#[derive(Debug)]
struct Values {
    /// Where the directory begins.
    end: u64,
    /// Tensors that are read, each with its place in `entries`; their bytes are counted from the entry's.
    tensors: Vec<(usize, StoredTensor)>,
    unread: Vec<UnreadTensor>,
    by_column: Vec<String>,
    entries: Vec<Entry>,
    /// Entries that have values of these tensors, the next one last.
    wanted: Vec<usize>,
    /// Where they begin.
    starts: BTreeMap<usize, u64>,
}

impl Values {
    fn new(state_dict: Vec<(&str, Tensor<'_>)>, archive: Archive) -> Result<Self, TensorError> {
        let mut tensors = Vec::new();
        let (mut unread, mut by_column) = (Vec::new(), Vec::new());
        for (name, tensor) in state_dict {
            let dtype = match tensor.numbers {
                Numbers::Read(dtype) => dtype,
                Numbers::Unread(dtype) => {
                    let (name, dtype) = (name.to_owned(), dtype.to_owned());
                    unread.push(UnreadTensor { name, dtype });
                    continue;
                }
            };
            let entry = archive.keys.get(tensor.key).copied().ok_or_else(|| {
                let expected = format!("an entry data/{}", tensor.key);
                wrong(format!("tensor `{name}`"), expected, "none")
            })?;
            let stored = layout::stored(name, &tensor, dtype, archive.values[entry].n_bytes)?;
            if layout::is_by_column(&tensor) {
                by_column.push(name.to_owned());
            }
            tensors.push((entry, stored));
        }
        let mut wanted: Vec<usize> = tensors.iter().map(|(entry, _)| *entry).collect();
        wanted.sort_unstable_by(|a, b| b.cmp(a));
        wanted.dedup();
        Ok(Self {
            end: archive.end,
            tensors,
            unread,
            by_column,
            entries: archive.values,
            wanted,
            starts: BTreeMap::new(),
        })
    }

    /// The local header that is wanted next, or the file's tensors if there is none.
    fn next(self, n_bytes: u64) -> Result<(Stage, Range<u64>), StoredFile> {
        if let Some(idx) = self.wanted.last() {
            let range = self.entries[*idx].head();
            return Ok((Stage::Values(self), range));
        }
        let placed = self.tensors.into_iter().map(|(entry, mut tensor)| {
            let start = self.starts.get(&entry).copied().unwrap_or_default();
            tensor.bytes = start + tensor.bytes.start..start + tensor.bytes.end;
            tensor
        });
        Err(StoredFile {
            format: FileFormat::Torch,
            n_bytes,
            tensors: placed.collect(),
            unread: self.unread,
            by_column: self.by_column,
            metadata: BTreeMap::new(),
        })
    }

    /// Takes the local header that was wanted.
    fn take(&mut self, head: &[u8]) -> Result<(), TensorError> {
        if let Some(idx) = self.wanted.pop() {
            let range = self.entries[idx].bytes(head, self.end)?;
            self.starts.insert(idx, range.start);
        }
        Ok(())
    }
}

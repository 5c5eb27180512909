//! GGUF: metadata and tensors of a model in one file, llama.cpp's format.
//!
//! <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, versions 2 and 3, little-endian:
//! `GGUF`, version `u32`, number of tensors `u64`, number of entries `u64`; each entry: key, type `u32`, value; each tensor: name,
//! number of dimensions `u32`, the dimensions `u64` from the innermost on, type `u32`, offset `u64` from where the data begin.
//! The data begin at the next multiple of `general.alignment` (32). A string is its length `u64` and its bytes.
//!
//! The reader is given the first bytes of a file and says how many it needs where they are too few; nothing that a header names
//! is allocated before its bytes are there.

mod config;

use std::{collections::BTreeMap, fmt};

use super::{
    Dtype, StoredTensor, TensorError,
    bytes::{Bytes, Short},
    names::twice,
};
use crate::one_line::one_line;

pub use super::metadata::Value;
pub use config::config_json;

/// Bytes that a header may take: the largest vocabularies take a twentieth.
pub const MAX_HEADER_BYTES: u64 = 1 << 28;
/// Dimensions that a tensor may have.
pub(super) const MAX_DIMS: u32 = 8;

/// What a GGUF file says before its data.
#[derive(Clone, Debug)]
pub struct Gguf {
    /// Metadata by key.
    pub metadata: BTreeMap<String, Value>,
    /// The tensors, in the order of the file; shapes from the outermost dimension on, as in Hugging Face's files.
    pub tensors: Vec<StoredTensor>,
}

/// What comes of the first bytes of a file.
#[derive(Clone, Debug)]
pub enum Header {
    /// The header is longer: this many bytes from the start are needed, perhaps more.
    Needs(u64),
    /// Here it is.
    Ready(Box<Gguf>),
}

/// The bytes are too few, or wrong.
enum Stop {
    Short,
    Wrong(TensorError),
}

impl From<TensorError> for Stop {
    fn from(error: TensorError) -> Self {
        Self::Wrong(error)
    }
}

impl From<Short> for Stop {
    fn from(_: Short) -> Self {
        Self::Short
    }
}

fn wrong(what: impl Into<String>, expected: impl fmt::Display, found: impl fmt::Display) -> Stop {
    Stop::Wrong(TensorError::Gguf {
        what: one_line(what.into()),
        expected: expected.to_string(),
        found: one_line(found),
    })
}

impl Gguf {
    /// Reads the header from the first bytes of a file of `n_bytes` bytes.
    ///
    /// # Errors
    /// - [`TensorError::Gguf`] if it is no GGUF file of version 2 or 3, cut off, too long, or says what cannot be.
    /// - [`TensorError::Dtype`] if a tensor is stored in a format that is not read.
    pub fn read(start: &[u8], n_bytes: u64) -> Result<Header, TensorError> {
        let mut bytes = Bytes::new(start);
        match header(&mut bytes, n_bytes) {
            Ok(gguf) => Ok(Header::Ready(Box::new(gguf))),
            Err(Stop::Wrong(error)) => Err(error),
            Err(Stop::Short) => {
                let have = start.len() as u64;
                let most = n_bytes.min(MAX_HEADER_BYTES);
                let found = match have >= most {
                    false => return Ok(Header::Needs((4 * have).max(1 << 16).min(most))),
                    true if have >= n_bytes => "the end of the file within it",
                    true => "a longer one",
                };
                Err(TensorError::Gguf {
                    what: "header".to_owned(),
                    expected: format!("one of at most {MAX_HEADER_BYTES} bytes"),
                    found: found.to_owned(),
                })
            }
        }
    }
}

fn header(bytes: &mut Bytes<'_>, n_bytes: u64) -> Result<Gguf, Stop> {
    let magic = bytes.take(4)?;
    if magic != b"GGUF" {
        return Err(wrong(
            "first bytes",
            "`GGUF`",
            String::from_utf8_lossy(magic).escape_debug(),
        ));
    }
    let version = bytes.u32()?;
    if version.swap_bytes() < 16 {
        return Err(wrong("byte order", "little-endian", "big-endian"));
    }
    if !(2..=3).contains(&version) {
        return Err(wrong("version", "2 or 3", version));
    }
    let [n_tensors, n_entries] = [bytes.u64()?, bytes.u64()?];
    let mut metadata = BTreeMap::new();
    for _ in 0..n_entries {
        let key = text(bytes)?;
        let kind = bytes.u32()?;
        let value = value(bytes, kind, &key)?;
        if metadata.insert(key.clone(), value).is_some() {
            return Err(wrong(format!("metadata `{key}`"), "it once", "it twice"));
        }
    }
    let mut tensors = Vec::new();
    for _ in 0..n_tensors {
        tensors.push(tensor(bytes)?);
    }
    let alignment = match metadata.get("general.alignment") {
        None => 32,
        Some(Value::Int(n)) if (1..=1 << 16).contains(n) => *n as u64,
        Some(other) => {
            return Err(wrong(
                "metadata `general.alignment`",
                "1 to 65536",
                format!("{other:?}"),
            ));
        }
    };
    let start = bytes.n_read().next_multiple_of(alignment);
    for entry in &mut tensors {
        let moved = |at: u64| at.checked_add(start).filter(|at| *at <= n_bytes);
        match (moved(entry.bytes.start), moved(entry.bytes.end)) {
            (Some(from), Some(to)) => entry.bytes = from..to,
            _ => {
                let (what, found) = (format!("tensor `{}`", entry.name), &entry.bytes);
                let found = format!("bytes {} to {} from {start} on", found.start, found.end);
                return Err(wrong(
                    what,
                    format!("bytes inside a file of {n_bytes}"),
                    found,
                ));
            }
        }
    }
    if let Some(name) = twice(tensors.iter().map(|entry| entry.name.as_str())) {
        return Err(wrong(format!("tensor `{name}`"), "it once", "it twice"));
    }
    Ok(Gguf { metadata, tensors })
}

fn tensor(bytes: &mut Bytes<'_>) -> Result<StoredTensor, Stop> {
    let name = text(bytes)?;
    let n_dims = bytes.u32()?;
    if n_dims > MAX_DIMS {
        let expected = format!("at most {MAX_DIMS} dimensions");
        return Err(wrong(format!("tensor `{name}`"), expected, n_dims));
    }
    let mut shape = Vec::new();
    let mut n_values = 1_u64;
    for _ in 0..n_dims {
        let size = bytes.u64()?;
        n_values = n_values
            .checked_mul(size)
            .filter(|n| *n <= 1 << 48)
            .ok_or_else(|| wrong(format!("tensor `{name}`"), "at most 2^48 values", "more"))?;
        shape.push(size as usize);
    }
    let number = bytes.u32()?;
    let offset = bytes.u64()?;
    let dtype = Dtype::of_gguf(number).ok_or_else(|| TensorError::Dtype {
        name: one_line(&name),
        expected: Dtype::names(),
        found: format!("GGUF's type {number}"),
    })?;
    let row = shape.first().copied().unwrap_or(1);
    let end = match row % dtype.block().0 {
        0 => dtype.n_bytes(n_values).and_then(|n| offset.checked_add(n)),
        _ => None,
    };
    let end = end.ok_or_else(|| {
        let expected = format!("rows of whole blocks of {}", dtype.name());
        wrong(
            format!("tensor `{name}`"),
            expected,
            format!("rows of {row} values"),
        )
    })?;
    shape.reverse();
    Ok(StoredTensor {
        name,
        shape,
        dtype,
        bytes: offset..end,
    })
}

fn value(bytes: &mut Bytes<'_>, kind: u32, key: &str) -> Result<Value, Stop> {
    Ok(match kind {
        6 => Value::Float(f32::from_le_bytes(bytes.array()?).into()),
        7 => Value::Bool(bytes.take(1)?[0] != 0),
        8 => Value::Text(text(bytes)?),
        9 => list(bytes, key)?,
        12 => Value::Float(f64::from_le_bytes(bytes.array()?)),
        _ => Value::Int(int(bytes, kind, key)?),
    })
}

fn int(bytes: &mut Bytes<'_>, kind: u32, key: &str) -> Result<i128, Stop> {
    Ok(match kind {
        0 => u8::from_le_bytes(bytes.array()?).into(),
        1 => i8::from_le_bytes(bytes.array()?).into(),
        2 => u16::from_le_bytes(bytes.array()?).into(),
        3 => i16::from_le_bytes(bytes.array()?).into(),
        4 => bytes.u32()?.into(),
        5 => i32::from_le_bytes(bytes.array()?).into(),
        7 => (bytes.take(1)?[0] != 0).into(),
        10 => bytes.u64()?.into(),
        11 => i64::from_le_bytes(bytes.array()?).into(),
        _ => {
            return Err(wrong(
                format!("metadata `{key}`"),
                "a type from 0 to 12",
                kind,
            ));
        }
    })
}

/// Grows with what is read, never with what the file says that there is.
fn list(bytes: &mut Bytes<'_>, key: &str) -> Result<Value, Stop> {
    let kind = bytes.u32()?;
    let n = bytes.u64()?;
    Ok(match kind {
        6 | 12 => {
            let mut values = Vec::new();
            for _ in 0..n {
                values.push(match kind {
                    6 => f32::from_le_bytes(bytes.array()?).into(),
                    _ => f64::from_le_bytes(bytes.array()?),
                });
            }
            Value::Floats(values)
        }
        8 => {
            let mut values = Vec::new();
            for _ in 0..n {
                values.push(text(bytes)?);
            }
            Value::Texts(values)
        }
        9 => {
            return Err(wrong(
                format!("metadata `{key}`"),
                "numbers or texts",
                "lists in a list",
            ));
        }
        _ => {
            let mut values = Vec::new();
            for _ in 0..n {
                let value = i64::try_from(int(bytes, kind, key)?);
                let value = value.map_err(|_| {
                    wrong(
                        format!("metadata `{key}`"),
                        "numbers below 2^63",
                        "a larger one",
                    )
                });
                values.push(value?);
            }
            Value::Ints(values)
        }
    })
}

fn text(bytes: &mut Bytes<'_>) -> Result<String, Stop> {
    let n = bytes.u64()?;
    if n > MAX_HEADER_BYTES {
        let expected = format!("at most {MAX_HEADER_BYTES} bytes");
        return Err(wrong("text", expected, n));
    }
    Ok(String::from_utf8_lossy(bytes.take(n)?).into_owned())
}

#[cfg(test)]
mod tests;

//! Safetensors: the length of a JSON header in 8 bytes, the header, the values.
//!
//! <https://github.com/huggingface/safetensors#format>. The header has at most 100 MB, tensors lie one after the other without
//! holes, and the last one ends with the file. That is checked here as the crate `safetensors` does, but for two things: to the
//! crate the second of two equal names is the only one, and where addresses have 32 bits, it counts the bits of a tensor in 32.

use std::{collections::HashMap, fmt, ops::Range};

use ::safetensors::{Dtype as Stored, SafeTensorError};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};

use super::{
    Dtype, StoredTensor, TensorError,
    metadata::Value,
    names::twice,
    stored::{FileFormat, StoredFile, UnreadTensor},
};

/// Bytes of the header's length.
const N_LENGTH: u64 = 8;
/// Bytes that a header may take: the format's own bound.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// Where the header lies, by the first bytes of a file of `n_bytes`.
///
/// # Errors
/// - [`TensorError::Safetensors`] if the file is too short for a length, or the header empty or too long.
/// - [`TensorError::Length`] if the header would be longer than the file.
pub(super) fn header(first: &[u8], n_bytes: u64) -> Result<Range<u64>, TensorError> {
    let wrong = |cause| TensorError::Safetensors { cause };
    let length = (first.try_into()).map_err(|_| wrong(SafeTensorError::HeaderTooSmall))?;
    let end = match u64::from_le_bytes(length) {
        0 => return Err(wrong(SafeTensorError::HeaderTooSmall)),
        n_header if n_header > MAX_HEADER_BYTES => {
            return Err(wrong(SafeTensorError::HeaderTooLarge));
        }
        n_header => N_LENGTH + n_header,
    };
    match end <= n_bytes {
        true => Ok(N_LENGTH..end),
        false => Err(TensorError::Length {
            expected: end,
            found: n_bytes,
        }),
    }
}

/// What the header of a file of `n_bytes` says.
///
/// # Errors
/// - [`TensorError::Safetensors`] if it is not the format's JSON, or its tensors overlap, have holes or other shapes.
/// - [`TensorError::Twice`] if a name is there twice.
/// - [`TensorError::Length`] if the tensors do not end where the file does.
pub(super) fn read(header: &[u8], n_bytes: u64) -> Result<StoredFile, TensorError> {
    let wrong = |cause| TensorError::Safetensors { cause };
    let json = serde_json::from_slice(header);
    let Json {
        metadata,
        mut tensors,
    } = json.map_err(|cause| wrong(SafeTensorError::InvalidHeaderDeserialization(cause)))?;
    if let Some(name) = twice(tensors.iter().map(|(name, _)| name.as_str())) {
        let name = name.to_owned();
        return Err(TensorError::Twice { name });
    }
    tensors.sort_by_key(|(_, info)| info.data_offsets);
    let start = N_LENGTH + header.len() as u64;
    let end = start.saturating_add(checked(&tensors).map_err(wrong)?);
    if end != n_bytes {
        let (expected, found) = (end, n_bytes);
        return Err(TensorError::Length { expected, found });
    }
    let metadata = metadata
        .into_iter()
        .map(|(key, text)| (key, Value::Text(text)));
    let mut file = StoredFile {
        format: FileFormat::Safetensors,
        n_bytes,
        tensors: Vec::new(),
        unread: Vec::new(),
        by_column: Vec::new(),
        metadata: metadata.collect(),
    };
    for (name, info) in tensors {
        let (from, to) = info.data_offsets;
        match dtype(info.dtype) {
            Some(dtype) => file.tensors.push(StoredTensor {
                name,
                shape: info.shape,
                dtype,
                bytes: start + from..start + to,
            }),
            None => file.unread.push(UnreadTensor {
                name,
                dtype: info.dtype.to_string(),
            }),
        }
    }
    Ok(file)
}

/// What a header says of a tensor.
#[derive(Deserialize)]
struct Info {
    dtype: Stored,
    shape: Vec<usize>,
    data_offsets: (u64, u64),
}

/// Bytes of all tensors, which are in the order of their offsets, one behind the other, each as long as its shape says.
///
/// # Errors
/// - If they are not.
fn checked(tensors: &[(String, Info)]) -> Result<u64, SafeTensorError> {
    let mut at = 0;
    for (name, info) in tensors {
        let (from, to) = info.data_offsets;
        if from != at || to < from {
            return Err(SafeTensorError::InvalidOffset(name.clone()));
        }
        let mut sizes = info.shape.iter().map(|size| *size as u64);
        let n_values = sizes.try_fold(1u64, |n, size| n.checked_mul(size));
        let n_bits = n_values.and_then(|n| n.checked_mul(info.dtype.bitsize() as u64));
        let n_bits = n_bits.ok_or(SafeTensorError::ValidationOverflow)?;
        if !n_bits.is_multiple_of(8) {
            return Err(SafeTensorError::MisalignedSlice);
        }
        if to - from != n_bits / 8 {
            return Err(SafeTensorError::TensorInvalidInfo);
        }
        at = to;
    }
    Ok(at)
}

/// The format that is read, if it is.
fn dtype(stored: Stored) -> Option<Dtype> {
    match stored {
        Stored::F32 => Some(Dtype::F32),
        Stored::F16 => Some(Dtype::F16),
        Stored::BF16 => Some(Dtype::BF16),
        _ => None,
    }
}

/// The header as it is written, every entry of it.
struct Json {
    metadata: HashMap<String, String>,
    tensors: Vec<(String, Info)>,
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Json;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
                const METADATA: &str = "__metadata__";
                let (mut metadata, mut tensors) = (None, Vec::new());
                while let Some(name) = map.next_key::<String>()? {
                    if name != METADATA {
                        tensors.push((name, map.next_value()?));
                    } else if metadata.replace(map.next_value()?).is_some() {
                        return Err(A::Error::duplicate_field(METADATA));
                    }
                }
                let metadata = metadata.unwrap_or_default();
                Ok(Json { metadata, tensors })
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// What a file in memory holds.
///
/// # Errors
/// - Those of [`header`] and [`read`].
pub(super) fn whole(file: &[u8]) -> Result<StoredFile, TensorError> {
    let n_bytes = file.len() as u64;
    let first = &file[..file.len().min(N_LENGTH as usize)];
    let range = header(first, n_bytes)?;
    let cut = || TensorError::Length {
        expected: range.end,
        found: n_bytes,
    };
    let bytes = file.get(range.start as usize..range.end as usize);
    read(bytes.ok_or_else(cut)?, n_bytes)
}

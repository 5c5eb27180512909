//! Which bytes of which files a model needs, and in which order they are asked for.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
};

use super::{
    FileFormat, StoredFile, StoredTensor, TensorError,
    expected::{Expected, Names, ROTATION_FACTORS, rotation_factors},
};
use crate::Config;

/// Values that are decoded at once.
const PIECE_VALUES: usize = 1 << 20;
/// Bytes that are asked for at once where they are only hashed.
const PIECE_BYTES: u64 = 1 << 22;

/// Bytes that are wanted next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Index of the file.
    pub file: usize,
    /// Which of its bytes.
    pub bytes: Range<u64>,
}

/// Bytes that are read at once.
pub(super) struct Piece {
    pub(super) wanted: Wanted,
    /// Number of the tensor that they are of, and the first of its rows that they have; `None` for bytes that are only hashed.
    pub(super) rows: Option<(usize, usize)>,
}

/// A tensor that is wanted, the file that has it, and where.
pub(super) type Found = (Expected, usize, StoredTensor);

/// The tensors of a model, and the names of those that are not part of it.
///
/// # Errors
/// - Those of [`Loader::new`].
pub(super) fn find(
    config: &Config,
    files: &[StoredFile],
) -> Result<(Vec<Found>, Vec<String>), TensorError> {
    let prefix = config.family.prefix;
    let names = match files.first().map(|file| file.format) {
        Some(FileFormat::Gguf) => Names::Gguf,
        _ => Names::Family,
    };
    let is_called = |name: &str, wanted: &str| name.strip_prefix(prefix).unwrap_or(name) == wanted;
    let mut stored: BTreeMap<&str, (usize, &StoredTensor)> = BTreeMap::new();
    for (idx, file) in files.iter().enumerate() {
        for tensor in &file.tensors {
            let name = tensor.name.strip_prefix(prefix).unwrap_or(&tensor.name);
            if stored.insert(name, (idx, tensor)).is_some() {
                return Err(TensorError::Twice {
                    name: tensor.name.clone(),
                });
            }
        }
    }
    let factors = (stored.contains_key(ROTATION_FACTORS) && config.rotary.is_some())
        .then(|| rotation_factors(config));
    let mut found = Vec::new();
    for expected in names.expected(config).into_iter().chain(factors) {
        let Some((file, tensor)) = stored.remove(expected.name.as_str()) else {
            let mut unread = files.iter().flat_map(|file| &file.unread);
            if let Some(tensor) = unread.find(|tensor| is_called(&tensor.name, &expected.name)) {
                return Err(tensor.refused());
            }
            return Err(TensorError::Missing {
                name: expected.name,
                family: config.family.model_type,
            });
        };
        if tensor.shape != expected.shape {
            return Err(TensorError::Shape {
                name: tensor.name.clone(),
                expected: expected.shape,
                found: tensor.shape.clone(),
            });
        }
        found.push((expected, file, tensor.clone()));
    }
    found.sort_by_key(|(_, file, tensor)| (*file, tensor.bytes.start));
    let unused = stored
        .into_keys()
        .filter(|name| !is_known_extra(config, name));
    Ok((found, unused.map(str::to_owned).collect()))
}

/// What checkpoints hold beside the weights: masks and frequencies that are computed, and the head where it is the embedding.
fn is_known_extra(config: &Config, name: &str) -> bool {
    let computed = [
        ".attn.bias",
        ".attn.masked_bias",
        ".attention.bias",
        ".attention.masked_bias",
        ".rotary_emb.inv_freq",
    ];
    let is_head = ["lm_head.weight", "embed_out.weight"].contains(&name);
    is_head && config.is_tied || computed.iter().any(|end| name.ends_with(end))
}

/// All bytes of all files, in order, cut where tensors begin and end.
pub(super) fn pieces(files: &[StoredFile], tensors: &[Found]) -> VecDeque<Piece> {
    let mut queue = VecDeque::new();
    for (file, StoredFile { n_bytes, .. }) in files.iter().enumerate() {
        let mut at = 0;
        let here = tensors
            .iter()
            .enumerate()
            .filter(|(_, found)| found.1 == file);
        for (tensor, (_, _, stored)) in here {
            let Range { start, end } = stored.bytes;
            between(file, at..start, &mut queue);
            queue.extend(rows_at_once(stored).map(|(first, bytes)| Piece {
                wanted: Wanted { file, bytes },
                rows: Some((tensor, first)),
            }));
            at = at.max(end);
        }
        between(file, at..*n_bytes, &mut queue);
    }
    queue
}

/// A tensor's rows, as many at once as are decoded at once: the first of them, and their bytes.
pub(super) fn rows_at_once(stored: &StoredTensor) -> impl Iterator<Item = (usize, Range<u64>)> {
    let Range { start, end } = stored.bytes;
    let (n_rows, n_columns) = match *stored.shape {
        [rows, columns] => (rows, columns),
        _ => (1, stored.shape.iter().product()),
    };
    let row_bytes = (end - start) / n_rows as u64;
    let at_once = (PIECE_VALUES / n_columns).clamp(1, n_rows);
    (0..n_rows).step_by(at_once).map(move |first| {
        let n = at_once.min(n_rows - first) as u64;
        let from = start + first as u64 * row_bytes;
        (first, from..from + n * row_bytes)
    })
}

/// Bytes that are only hashed.
fn between(file: usize, mut bytes: Range<u64>, queue: &mut VecDeque<Piece>) {
    while bytes.start < bytes.end {
        let next = bytes.end.min(bytes.start + PIECE_BYTES);
        queue.push_back(Piece {
            wanted: Wanted {
                file,
                bytes: bytes.start..next,
            },
            rows: None,
        });
        bytes.start = next;
    }
}

//! Weights in several files, as Hugging Face's folders list them.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::TensorError;
use crate::one_line::one_line;

/// What weights are called that are in one file, in the order in which transformers looks for them.
pub const WEIGHT_FILES: [&str; 2] = ["model.safetensors", "pytorch_model.bin"];

/// Name of the list of the files that stand for one of [`WEIGHT_FILES`].
pub fn shard_list(file: &str) -> String {
    format!("{file}.index.json")
}

/// File names of a sharded checkpoint, in order, from the list of this name.
///
/// # Errors
/// - [`TensorError::ShardList`] if it is no such list.
/// - [`TensorError::ShardOutside`] if it names a file outside its folder.
pub fn shards(name: &str, list: &[u8]) -> Result<BTreeSet<String>, TensorError> {
    #[derive(Deserialize)]
    struct List {
        weight_map: BTreeMap<String, String>,
    }
    let list = serde_json::from_slice::<List>(list).map_err(|cause| TensorError::ShardList {
        name: name.to_owned(),
        cause: one_line(cause),
    })?;
    let shards: BTreeSet<String> = list.weight_map.into_values().collect();
    match shards.iter().find(|shard| shard.contains(['/', '\\'])) {
        Some(shard) => Err(TensorError::ShardOutside {
            name: name.to_owned(),
            shard: shard.clone(),
        }),
        None => Ok(shards),
    }
}

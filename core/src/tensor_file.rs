//! What direction files and sweep results have in common: safetensors with metadata, written byte for byte the same each time,
//! and read without trust.

use std::{borrow::Cow, collections::BTreeMap, collections::HashMap};

use safetensors::{SafeTensors, tensor::TensorView};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::{
    intervention::InterventionError,
    load::{TensorError, floats},
    site::PlaceError,
    sizes::PromptError,
};

/// A tensor that is written: name, shape and values, row-major.
pub(crate) type Tensor<'a> = (Cow<'static, str>, [usize; 2], &'a [f32]);

/// The bytes of a file; fields without a value are left out, the others are written in the order of their names.
pub(crate) fn to_bytes(fields: &[(&str, Option<String>)], tensors: &[Tensor<'_>]) -> Vec<u8> {
    let metadata: BTreeMap<&str, &String> = fields
        .iter()
        .filter_map(|(name, value)| Some((*name, value.as_ref()?)))
        .collect();
    // Written here since the safetensors crate keeps metadata in a hash map, whose order differs from run to run.
    let mut header: BTreeMap<&str, serde_json::Value> =
        BTreeMap::from([("__metadata__", json!(metadata))]);
    let mut bytes: Vec<u8> = Vec::new();
    for (name, shape, values) in tensors {
        let start = bytes.len();
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let entry = json!({ "dtype": "F32", "shape": shape, "data_offsets": [start, bytes.len()] });
        header.insert(name, entry);
    }
    let mut header = json!(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    [&(header.len() as u64).to_le_bytes()[..], &header, &bytes].concat()
}

/// A file that is read.
pub(crate) struct TensorFile<'a> {
    /// What it should be, for messages: `direction file`.
    kind: &'static str,
    metadata: HashMap<String, String>,
    tensors: SafeTensors<'a>,
}

impl<'a> TensorFile<'a> {
    /// Parses the header.
    ///
    /// # Errors
    /// - [`TensorError::Safetensors`] if it is no safetensors file, truncated, or longer than its header says.
    pub(crate) fn new(kind: &'static str, bytes: &'a [u8]) -> Result<Self, TensorError> {
        let wrong = |cause| TensorError::Safetensors { cause };
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(wrong)?;
        Ok(Self {
            kind,
            metadata: header.metadata().clone().unwrap_or_default(),
            tensors: SafeTensors::deserialize(bytes).map_err(wrong)?,
        })
    }

    /// A field that may be missing.
    pub(crate) fn optional(&self, name: &'static str) -> Option<&str> {
        self.metadata.get(name).map(String::as_str)
    }

    /// A field that must be there.
    pub(crate) fn text(&self, name: &'static str) -> Result<&str, FileError> {
        let file = self.kind;
        self.optional(name).ok_or(FileError::Field { file, name })
    }

    /// Checks that a field has this value.
    pub(crate) fn expect(&self, name: &'static str, expected: &str) -> Result<(), FileError> {
        match self.text(name)? {
            found if found == expected => Ok(()),
            found => Err(value_error(self.kind, name, expected, found)),
        }
    }

    /// A field that holds JSON: whole numbers, lists, tables.
    pub(crate) fn json<T: DeserializeOwned>(&self, name: &'static str) -> Result<T, FileError> {
        let found = self.text(name)?;
        serde_json::from_str(found).map_err(|source| {
            let expected = format!("JSON of another form ({source})");
            value_error(self.kind, name, &expected, found)
        })
    }

    /// The same, of a field that may be missing.
    pub(crate) fn optional_json<T: DeserializeOwned>(
        &self,
        name: &'static str,
    ) -> Result<Option<T>, FileError> {
        self.optional(name).map(|_| self.json(name)).transpose()
    }

    /// A field that holds a finite number; every digit counts, which JSON's readers do not promise.
    pub(crate) fn number(&self, name: &'static str) -> Result<f64, FileError> {
        let found = self.text(name)?;
        match found.parse() {
            Ok(value) if f64::is_finite(value) => Ok(value),
            _ => Err(value_error(self.kind, name, "a number", found)),
        }
    }

    /// The same, of a field that may be missing.
    pub(crate) fn optional_number(&self, name: &'static str) -> Result<Option<f64>, FileError> {
        self.optional(name).map(|_| self.number(name)).transpose()
    }

    /// True if there is a tensor of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.tensors.tensor(name).is_ok()
    }

    /// Rows of a matrix one after the other, and their number; `name` is its name, `field` what messages call it.
    pub(crate) fn matrix(
        &self,
        name: &str,
        field: &'static str,
    ) -> Result<(Vec<f32>, usize), FileError> {
        let (file, missing) = (self.kind, field);
        let view: TensorView<'_> = (self.tensors.tensor(name)).map_err(|_| FileError::Field {
            file,
            name: missing,
        })?;
        let &[n_rows, _] = view.shape() else {
            let (name, found) = (name.to_owned(), view.shape().to_vec());
            return Err(TensorError::Shape {
                name,
                expected: vec![1, found.iter().product()],
                found,
            }
            .into());
        };
        Ok((floats(name, view.shape(), &view)?, n_rows))
    }
}

/// A field that cannot be read; of a long one the message has the beginning.
pub(crate) fn value_error(
    file: &'static str,
    name: &'static str,
    expected: &str,
    found: &str,
) -> FileError {
    const LONGEST: usize = 60;
    let found = match found.char_indices().nth(LONGEST) {
        None => found.to_owned(),
        Some((end, _)) => format!("{}…", &found[..end]),
    };
    FileError::Value {
        file,
        name,
        expected: expected.to_owned(),
        found,
    }
}

/// Why a direction file or a sweep result was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// It has not a field that a reader needs.
    #[error("{file}: field `{name}` is missing")]
    Field {
        /// What it should be: `direction file` or `sweep result`.
        file: &'static str,
        /// Name of the metadata field or tensor.
        name: &'static str,
    },
    /// A field cannot be read.
    #[error("{file}: field `{name}` is `{found}`, expected {expected}")]
    Value {
        /// What it should be: `direction file` or `sweep result`.
        file: &'static str,
        /// Name of the metadata field.
        name: &'static str,
        /// What would be valid.
        expected: String,
        /// What the file says.
        found: String,
    },
    /// A direction whose rows are not orthonormal.
    #[error(
        "the basis is not orthonormal, rows {row} and {other} have product {found} (expected {expected} to 1e-5)"
    )]
    DirectionBasis {
        /// First row.
        row: usize,
        /// Second row.
        other: usize,
        /// 1 for a row with itself, else 0.
        expected: f32,
        /// The product.
        found: f32,
    },
    /// A direction that was learned on other weights.
    #[error("the direction was learned on other weights ({found}), this model is {expected}")]
    DirectionModel {
        /// Hash of this model's weights.
        expected: String,
        /// Hash in the file.
        found: String,
    },
    /// A direction that was measured on prompts that begin otherwise than the tokenizer's.
    #[error(
        "the direction was measured on prompts with {found} before them, this tokenizer puts {expected} there"
    )]
    DirectionFirstToken {
        /// What this tokenizer puts there.
        expected: String,
        /// What the file says.
        found: String,
    },
    /// A cell of a sweep result that is wrong.
    #[error("sweep result: cell {place}: {cause}")]
    SweepCell {
        /// Where it is.
        place: String,
        /// What is wrong with it.
        cause: Box<FileError>,
    },
    /// A second cell at the place of another one.
    #[error("sweep result: two cells at {place}")]
    SweepTwice {
        /// The place.
        place: String,
    },
    /// A part of a map that there is not.
    #[error("`{found}` is no part of a map; expected I/N with I from 1 to N, as in 1/4")]
    SweepPart {
        /// What was said.
        found: String,
    },
    /// More cells than the map has.
    #[error("sweep result: {found} cells, but the finished map has {n_planned}")]
    SweepFull {
        /// Cells of the finished map.
        n_planned: usize,
        /// Cells that there are, or would be.
        found: usize,
    },
    /// A direction is asked of a map that has none: whole values were changed.
    #[error("sweep result: method `{method}` learns no directions")]
    SweepMethod {
        /// The method.
        method: String,
    },
    /// It is no file of tensors, or a tensor is not what it should be.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// A prompt in it that the model cannot read.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// A place in it that there is not.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// A basis in it that does not fit.
    #[error(transparent)]
    Intervention(#[from] InterventionError),
}

#[cfg(test)]
pub(crate) mod tests {
    /// The file with one text replaced by another of the same length, so that the offsets still fit.
    #[track_caller]
    pub(crate) fn replaced(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
        assert_eq!(from.len(), to.len(), "{from}");
        let mut windows = bytes.windows(from.len());
        let at = windows.position(|window| window == from.as_bytes());
        let at = at.unwrap_or_else(|| panic!("{from} is not in the file"));
        let mut changed = bytes.to_vec();
        changed[at..at + to.len()].copy_from_slice(to.as_bytes());
        changed
    }
}

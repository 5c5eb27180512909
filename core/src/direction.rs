//! Direction files: a learned basis at one site and how it was learned, in one safetensors file of a few KB.
//!
//! A file MUST hold the tensor `basis`, `[k, width]`, f32, rows orthonormal to 1e-5, and in its metadata (strings; JSON
//! where structured):
//!
//! | field | why |
//! |---|---|
//! | `format`, `format_version` | `swivel.direction`, `1`: a reader knows at once whether it can read the rest |
//! | `method` | `das`, how it was learned: distributed alignment search; also read as `low_rank`, pyvene's name. `mean_difference`, `pca` and `unembedding` are computed, not learned |
//! | `model`, `model_sha256` | the weights that it was learned on; on any others its scores mean nothing |
//! | `layer`, `component`, `unit`, `position` | the site: where it is swapped; `unit` is `pos`, or `h.pos` at a component that is per head |
//! | `head` | with unit `h.pos` only: in which head |
//! | `iia`, `controls` | the score on held-out pairs, and beside it what must and must not work |
//! | `probe` | ids of one pair and the intervened answer: a loader re-runs it to know that it has the right thing |
//!
//! It MAY hold `measured`: on how many held-out pairs, how many turned, which share of them the model knows, the score on words
//! or templates that training did not see, the scores by other seeds; and `task`, `templates` (its prompts, slots in braces), `variable`, `train_pairs`, `epochs`, `lr`, `seed`, `created_by`: where it comes from. It MUST hold
//! `first_token`, the text of the token that the tokenizer puts before each prompt, where it did so, and `token`, the name of
//! the swapped token in the task's prompts, where it has one: then `position` is where it is in the probe. Readers MUST ignore fields
//! that they do not know, and MUST refuse an unknown version, a basis that is not orthonormal or not finite, and a file that
//! is longer or shorter than its header says. Nothing in a file is ever executed.
//! The same direction gives the same bytes: fields are written in the order of their names.

mod basis;
mod facts;

use burn::tensor::{Tensor, TensorData, backend::Backend};
use serde_json::json;

use crate::{
    Component, Place, Site, Sizes, Tokenizer,
    tensor_file::{self, FileError, TensorFile, value_error},
};

pub use basis::Basis;
pub use facts::{Controls, Facts, METHODS, Measured, PROBE_TOLERANCE, Probe, Unseen};

/// Value of the metadata field `format`.
pub(crate) const FORMAT: &str = "swivel.direction";
/// What messages call it.
const KIND: &str = "direction file";
/// Distributed alignment search.
pub(crate) const DAS: &str = METHODS[0];
/// pyvene's name for it.
pub(crate) const LOW_RANK: &str = "low_rank";
/// The version that is written and read.
const FORMAT_VERSION: &str = "1";

/// A learned orthonormal basis at one site, and the facts about how it was learned.
#[derive(Clone, Debug, PartialEq)]
pub struct Direction {
    basis: Basis,
    /// Where it is swapped and how it was learned.
    pub facts: Facts,
}

/// Checks that a file was made with these weights.
pub(crate) fn check_sha256(found: &str, expected: &str) -> Result<(), FileError> {
    if found == expected {
        return Ok(());
    }
    Err(FileError::DirectionModel {
        expected: expected.to_owned(),
        found: found.to_owned(),
    })
}

impl Direction {
    /// A direction of this basis, row-major `[rank, width]`.
    ///
    /// # Errors
    /// - those of [`Basis::new`]
    pub fn new(rows: Vec<f32>, rank: usize, facts: Facts) -> Result<Self, FileError> {
        Ok(Self::of_basis(Basis::new(rows, rank)?, facts))
    }

    /// A direction of this basis.
    pub fn of_basis(basis: Basis, facts: Facts) -> Self {
        Self { basis, facts }
    }

    /// Number of rows of the basis.
    pub fn rank(&self) -> usize {
        self.basis.rank()
    }

    /// Width of the site that it belongs to.
    pub fn width(&self) -> usize {
        self.basis.width()
    }

    /// The basis, row-major `[rank, width]`.
    pub fn rows(&self) -> &[f32] {
        self.basis.rows()
    }

    /// The basis on a device.
    ///
    /// # Shapes
    /// - result: `[rank, width]`, rows orthonormal
    pub fn basis<B: Backend>(&self, device: &B::Device) -> Tensor<B, 2> {
        Tensor::from_data(
            TensorData::new(self.rows().to_vec(), [self.rank(), self.width()]),
            device,
        )
    }

    /// Checks that the direction fits a model's sizes.
    ///
    /// # Errors
    /// - those of [`Basis::check`]
    pub fn check(&self, sizes: &Sizes) -> Result<(), FileError> {
        self.basis.check(self.facts.place, sizes)
    }

    /// Checks that the direction was learned on these weights.
    ///
    /// # Errors
    /// - [`FileError::DirectionModel`] if it was not.
    pub fn check_model(&self, sha256: &str) -> Result<(), FileError> {
        check_sha256(&self.facts.model_sha256, sha256)
    }

    /// Checks that a tokenizer puts the same before a prompt as the one that the direction was measured with.
    ///
    /// # Errors
    /// - [`FileError::DirectionFirstToken`] if it does not.
    pub fn check_tokenizer(&self, tokenizer: &Tokenizer) -> Result<(), FileError> {
        let expected = tokenizer.first_text();
        if expected == self.facts.first_token {
            return Ok(());
        }
        let shown =
            |text: Option<&String>| text.map_or("nothing".to_owned(), |text| format!("{text:?}"));
        Err(FileError::DirectionFirstToken {
            expected: shown(expected.as_ref()),
            found: shown(self.facts.first_token.as_ref()),
        })
    }

    /// The file's bytes; the same direction gives the same bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let Facts {
            method,
            model,
            model_sha256,
            first_token,
            place,
            token,
            task,
            variable,
            templates,
            train_pairs,
            epochs,
            lr,
            seed,
            iia,
            controls,
            measured,
            probe,
            created_by,
        } = &self.facts;
        let is_measured = *measured != Measured::default();
        let Place {
            site,
            head,
            position,
        } = place;
        let fields: [(&str, Option<String>); 25] = [
            ("format", Some(FORMAT.to_owned())),
            ("format_version", Some(FORMAT_VERSION.to_owned())),
            ("method", Some(method.clone())),
            ("model", Some(model.clone())),
            ("model_sha256", Some(model_sha256.clone())),
            ("first_token", first_token.clone()),
            ("layer", Some(site.layer.to_string())),
            ("component", Some(site.component.to_string())),
            ("unit", Some(unit(*site).to_owned())),
            ("head", head.map(|head| head.to_string())),
            ("position", Some(position.to_string())),
            ("token", token.clone()),
            ("task", task.clone()),
            ("variable", variable.clone()),
            (
                "templates",
                (!templates.is_empty()).then(|| json!(templates).to_string()),
            ),
            ("train_pairs", train_pairs.map(|value| value.to_string())),
            ("epochs", epochs.map(|value| value.to_string())),
            ("lr", lr.map(|value| value.to_string())),
            ("seed", seed.map(|value| value.to_string())),
            ("iia", Some(iia.to_string())),
            ("controls", Some(json!(controls).to_string())),
            ("measured", is_measured.then(|| json!(measured).to_string())),
            ("probe", Some(json!(probe).to_string())),
            ("created_by", created_by.clone()),
            ("rank", Some(self.rank().to_string())),
        ];
        tensor_file::to_bytes(&fields, &[self.basis.as_tensor("basis")])
    }

    /// Reads a file.
    ///
    /// # Errors
    /// - [`FileError::Tensor`] if it is no safetensors file, truncated, or longer than its header says.
    /// - [`FileError::Field`], [`FileError::Value`] if a field is missing or cannot be read.
    /// - [`FileError::Place`] if there is no such component or position.
    /// - [`FileError::Tensor`], [`FileError::Intervention`], [`FileError::DirectionBasis`] if the basis is not one.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FileError> {
        let file = TensorFile::new(KIND, bytes)?;
        file.expect("format", FORMAT)?;
        file.expect("format_version", FORMAT_VERSION)?;
        let component: Component = file.text("component")?.parse()?;
        let site = component.at(file.json("layer")?);
        file.expect("unit", unit(site))?;
        let head = match component.is_per_head() {
            true => Some(file.json("head")?),
            false => None,
        };
        let owned = |name| file.optional(name).map(str::to_owned);
        let place = Place {
            site,
            head,
            position: file.text("position")?.parse()?,
        };
        let facts = Facts {
            method: match file.text("method")? {
                LOW_RANK => DAS.to_owned(),
                name => name.to_owned(),
            },
            model: file.text("model")?.to_owned(),
            model_sha256: file.text("model_sha256")?.to_owned(),
            first_token: owned("first_token"),
            place,
            token: owned("token"),
            task: owned("task"),
            variable: owned("variable"),
            templates: file.optional_json("templates")?.unwrap_or_default(),
            train_pairs: file.optional_json("train_pairs")?,
            epochs: file.optional_json("epochs")?,
            lr: file.optional_number("lr")?,
            seed: file.optional_json("seed")?,
            iia: file.number("iia")?,
            controls: file.json("controls")?,
            measured: file.optional_json("measured")?.unwrap_or_default(),
            probe: file.json("probe")?,
            created_by: owned("created_by"),
        };
        if !METHODS.contains(&facts.method.as_str()) {
            let expected = METHODS.join(", ");
            return Err(value_error(KIND, "method", &expected, &facts.method));
        }
        let (rows, rank) = file.matrix("basis", "basis")?;
        Self::new(rows, rank, facts)
    }
}

/// pyvene's name of what is swapped at a site: a token, or a head at a token.
fn unit(site: Site) -> &'static str {
    if site.component.is_per_head() {
        "h.pos"
    } else {
        "pos"
    }
}

#[cfg(test)]
pub(crate) mod tests;

//! SweepResults: a map of many cells in one safetensors file, each a place in the model, how well an intervention works there,
//! and, where one was learned, its direction.
//!
//! A file MUST hold in its metadata (strings; JSON where structured):
//!
//! | field | why |
//! |---|---|
//! | `format`, `format_version` | `swivel.bundle`, `1`: a reader tells it from a direction file at once |
//! | `method` | `das`, also read as pyvene's `low_rank`: a learned direction a cell. `interchange`, `zero`, `mean`: no direction, whole values are swapped, zeroed, or replaced by their mean over the source runs |
//! | `model`, `model_sha256` | the weights that it was made with; on any others its scores mean nothing |
//! | `test_pairs` | on how many pairs each score was measured |
//! | `base`, `source` | token ids of one pair: they label the positions, and are the probe of every cell |
//! | `n_planned` | cells of the finished file; fewer in it mean that the sweep was interrupted |
//! | `run` | canonical JSON of the whole map's configuration, opaque here; a sweep that goes on must find its own text |
//! | `cells` | one object a cell, below |
//!
//! A cell MUST hold `layer`, `component`, `position` (a string, as in a direction file), `iia`, `metrics`, and `top_1` and
//! `logit`: what the intervened model answers on the pair. It MUST hold `head` where the component is per head, and only there.
//! With method `das` it MUST hold `controls`, since a score without them says nothing, and the file MUST hold
//! its basis as the tensor `basis.N`, `[rank, width]`, f32, rows orthonormal to 1e-5, `N` being the cell's index. A cell MAY hold
//! `variable`; `token`, the name of its token in the task's prompts, `position` then being where it is in the pair; `turned`, the
//! score on those pairs alone whose answer should turn; `unseen`, the score and the whole vector's on pairs whose words or templates
//! training did not see; `validation`, the score on other pairs, by which the best cell is picked, so
//! that `iia` is of pairs that nothing has looked at. No two cells share site, head, position, rank and variable; all bases at one component have one width;
//! every position is a token of both prompts of the pair.
//!
//! A file MAY be one of N parts of a map: then it MUST hold `part`, `I/N` with I from 1 to N, and its cells are those that stand
//! together at the I-th place in the map. Parts differ in `part`, `n_planned` and cells alone, and the cells of all parts, one
//! after the other, are the map's.
//!
//! A file MAY hold `task`, `templates` (its prompts, slots in braces), `validation_pairs`, `known` (share of the sampled pairs that
//! the model answers right by itself; the others were left out), `train_pairs`, `epochs`, `lr`, `seed`, `created_by`, and MUST hold `first_token`, as a direction file. Readers MUST ignore fields
//! that they do not know, and MUST refuse an unknown version or method, a basis that is not orthonormal or not finite, a share outside
//! 0..1, and a file that is longer or shorter than its header says. Nothing in a file is ever executed.
//! The same sweep result gives the same bytes. Scores are kept to nine decimals: so many every JSON reader gives back exactly.

mod cell;
mod facts;
mod map;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    Component, Place, Position, by_name,
    direction::{self, Basis, Controls, Unseen},
    tensor_file::{self, FileError, TensorFile, value_error},
};

pub use cell::{Cell, MapKey, Metrics};
pub use facts::{Method, Part, SweepFacts};
pub use map::SweepResult;

/// Value of the metadata field `format`.
const FORMAT: &str = "swivel.bundle";
/// The version that is written and read.
const FORMAT_VERSION: &str = "1";
/// What messages call it.
const KIND: &str = "sweep result";

/// What kind of file some bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// One direction: [`Direction::from_bytes`](direction::Direction::from_bytes) reads it.
    Direction,
    /// A map: [`SweepResult::from_bytes`] reads it.
    SweepResult,
}

impl FileKind {
    /// Tells a direction file from a sweep result; the rest of the file may still be wrong.
    ///
    /// # Errors
    /// - [`FileError::Tensor`] if it is no safetensors file, truncated, or longer than its header says.
    /// - [`FileError::Field`], [`FileError::Value`] if it is neither.
    pub fn of_bytes(bytes: &[u8]) -> Result<Self, FileError> {
        let kind = "direction file or sweep result";
        let file = TensorFile::new(kind, bytes)?;
        let format = file.text("format")?;
        Self::of_format(format).ok_or_else(|| {
            let expected = format!("{} or {FORMAT}", direction::FORMAT);
            value_error(kind, "format", &expected, format)
        })
    }

    /// The kind whose files have this `format` in their metadata.
    pub fn of_format(format: &str) -> Option<Self> {
        match format {
            direction::FORMAT => Some(Self::Direction),
            FORMAT => Some(Self::SweepResult),
            _ => None,
        }
    }
}

impl SweepResult {
    /// The file's bytes; the same sweep result gives the same bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let SweepFacts {
            method,
            model,
            model_sha256,
            first_token,
            task,
            templates,
            train_pairs,
            test_pairs,
            validation_pairs,
            known,
            epochs,
            lr,
            seed,
            base,
            source,
            n_planned,
            part,
            run,
            created_by,
        } = self.facts();
        let cells: Vec<Record> = self.cells().iter().map(Record::of).collect();
        let fields: [(&str, Option<String>); 22] = [
            ("format", Some(FORMAT.to_owned())),
            ("format_version", Some(FORMAT_VERSION.to_owned())),
            ("method", Some(method.name().to_owned())),
            ("model", Some(model.clone())),
            ("model_sha256", Some(model_sha256.clone())),
            ("first_token", first_token.clone()),
            ("task", task.clone()),
            (
                "templates",
                (!templates.is_empty()).then(|| json!(templates).to_string()),
            ),
            ("train_pairs", train_pairs.map(|value| value.to_string())),
            ("test_pairs", Some(test_pairs.to_string())),
            (
                "validation_pairs",
                validation_pairs.map(|value| value.to_string()),
            ),
            ("known", known.map(|value| value.to_string())),
            ("epochs", epochs.map(|value| value.to_string())),
            ("lr", lr.map(|value| value.to_string())),
            ("seed", seed.map(|value| value.to_string())),
            ("base", Some(json!(base).to_string())),
            ("source", Some(json!(source).to_string())),
            ("n_planned", Some(n_planned.to_string())),
            ("part", part.map(|part| part.to_string())),
            ("run", Some(run.clone())),
            ("created_by", created_by.clone()),
            ("cells", Some(json!(cells).to_string())),
        ];
        let tensors: Vec<tensor_file::Tensor<'_>> = self
            .cells()
            .iter()
            .enumerate()
            .filter_map(|(idx, cell)| Some(cell.basis.as_ref()?.as_tensor(tensor_name(idx))))
            .collect();
        tensor_file::to_bytes(&fields, &tensors)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// - [`FileError::Tensor`] if it is no safetensors file, truncated, or longer than its header says.
    /// - [`FileError::Field`], [`FileError::Value`] if a field is missing or cannot be read.
    /// - [`FileError::Prompt`] if a prompt of the example pair has no tokens.
    /// - [`FileError::SweepFull`], [`FileError::SweepTwice`], [`FileError::SweepCell`] if a cell is wrong.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FileError> {
        let file = TensorFile::new(KIND, bytes)?;
        file.expect("format", FORMAT)?;
        file.expect("format_version", FORMAT_VERSION)?;
        let name = file.text("method")?;
        let Some(method) = Method::of_name(name) else {
            let expected = Method::ALL.map(|(_, name, _)| name).join(", ");
            let expected = format!("one of {expected}");
            return Err(value_error(KIND, "method", &expected, name));
        };
        let owned = |name| file.optional(name).map(str::to_owned);
        let mut result = Self::new(SweepFacts {
            method,
            model: file.text("model")?.to_owned(),
            model_sha256: file.text("model_sha256")?.to_owned(),
            first_token: owned("first_token"),
            task: owned("task"),
            templates: file.optional_json("templates")?.unwrap_or_default(),
            train_pairs: file.optional_json("train_pairs")?,
            test_pairs: file.json("test_pairs")?,
            validation_pairs: file.optional_json("validation_pairs")?,
            known: file.optional_number("known")?,
            epochs: file.optional_json("epochs")?,
            lr: file.optional_number("lr")?,
            seed: file.optional_json("seed")?,
            base: file.json("base")?,
            source: file.json("source")?,
            n_planned: file.json("n_planned")?,
            part: file.optional("part").map(str::parse).transpose()?,
            run: file.text("run")?.to_owned(),
            created_by: owned("created_by"),
        })?;
        for (idx, record) in file.json::<Vec<Record>>("cells")?.into_iter().enumerate() {
            let mut cell = record.into_cell();
            if method == Method::Das {
                let basis = file
                    .matrix(&tensor_name(idx), "basis")
                    .and_then(|(rows, rank)| Basis::new(rows, rank));
                cell.basis = Some(basis.map_err(|cause| cell.wrong(cause))?);
            }
            result.push(cell)?;
        }
        Ok(result)
    }
}

/// Name of the tensor with a cell's basis.
fn tensor_name(idx: usize) -> String {
    format!("basis.{idx}")
}

/// A cell as the file has it, without its basis.
#[derive(Serialize, Deserialize)]
struct Record {
    layer: usize,
    #[serde(with = "by_name")]
    component: Component,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    head: Option<usize>,
    #[serde(with = "by_name")]
    position: Position,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    variable: Option<String>,
    iia: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    validation: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    turned: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unseen: Option<Unseen>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    controls: Option<Controls>,
    metrics: Metrics,
    top_1: u32,
    logit: f32,
}

impl Record {
    fn of(cell: &Cell) -> Self {
        Self {
            layer: cell.place.site.layer,
            component: cell.place.site.component,
            head: cell.place.head,
            position: cell.place.position,
            token: cell.token.clone(),
            variable: cell.variable.clone(),
            iia: cell.iia,
            validation: cell.validation,
            turned: cell.turned,
            unseen: cell.unseen.clone(),
            controls: cell.controls.clone(),
            metrics: cell.metrics.clone(),
            top_1: cell.top_1,
            logit: cell.logit,
        }
    }

    fn into_cell(self) -> Cell {
        Cell {
            place: Place {
                site: self.component.at(self.layer),
                head: self.head,
                position: self.position,
            },
            token: self.token,
            variable: self.variable,
            basis: None,
            iia: self.iia,
            validation: self.validation,
            turned: self.turned,
            unseen: self.unseen,
            controls: self.controls,
            metrics: self.metrics,
            top_1: self.top_1,
            logit: self.logit,
        }
    }
}

#[cfg(test)]
mod tests;

//! Plan files: one set of runs with interventions, as JSON; the command line runs one, a share link carries one.
//!
//! ```json
//! {
//!   "version": 1,
//!   "base":    { "ids": [[5, 9, 2, 7]] },
//!   "sources": [ { "ids": [[5, 1, 2, 7]] } ],
//!   "interventions": [
//!     { "layer": 1, "component": "block_output", "source": 0, "base_positions": [[2]], "op": { "type": "interchange" } },
//!     { "layer": 0, "component": "head_attention_value_output", "unit": "h.pos", "heads": [1],
//!       "base_positions": [[3]], "op": { "type": "zero" } },
//!     { "layer": 1, "component": "block_output", "source": 0, "base_positions": [[3]],
//!       "op": { "type": "low_rank", "direction": "output.safetensors", "dims": [0], "strength": 0.5 } }
//!   ],
//!   "record": [ { "layer": 0, "component": "mlp_output" } ]
//! }
//! ```
//!
//! | field | meaning |
//! |---|---|
//! | `base`, `sources` | `{"ids": [[…], …]}` or `{"text": ["…", …]}`, one entry a row; rows of one length, as many in each as in `base` |
//! | `first_token` | the text of the token that the model's tokenizer puts before each `text`, empty where it puts none, where the plan's author wants it checked: with another one the same text is other ids |
//! | `mode` | `parallel` (default): each source is a plain run, all interventions are applied in the base run; `serial`: what is read from source N goes into the run of source N + 1, what is read from the last one, and what reads no source, into the base run, as in pyvene |
//! | `unit` | `pos` (default): token positions; `h`: `heads` at all positions; `h.pos`: `heads` at token positions |
//! | `base_positions`, `source_positions` | a list a row, or a single list for all rows; those of `mean` are all tokens where they are absent; a token is a number from 0, `"last"`, counts from the end, as -2, or is the last one of a text where that stands last in the prompt, `{"text": "France"}`; `source_positions` is `base_positions` where absent, each counted or found in its own prompt |
//! | `token`, `source_token` | the text of the token at each of these positions, where the plan's author wants it checked: a word that is cut in two moves all tokens after it by one |
//! | `source`, `values` | index of the source run that is read, or in its place a constant: a vector a position, or a single one for all |
//! | `op.type` | `interchange`, `zero`, `mean`, `add`, `subtract`, `noise`, `scale`, `skip`, `collect`; interchange of features that a direction file holds: `low_rank` (a subspace), `rotated`, `boundless`, `sigmoid_mask`, `sigmoid_mask_rotated`, `pca`, `autoencoder`, `jump_relu_sae` |
//! | `op.factor` | of `scale`: what the value is multiplied by |
//! | `op.seed` | of `noise`, default 0: the same seed is the same noise at a token, in every run |
//! | `op.direction` | of the operations from `low_rank` on, and of the others but `collect` where they are done to such features: the name of a direction file, relative to the plan file, or a `data:application/octet-stream;base64,…` URL that holds the direction file itself ([`data_url`]), as a share link does |
//! | `op.dims` | features of the direction (rows of its basis, latents), or numbers (neurons) of the value without one; all where absent |
//! | `op.drop_rest` | `true`: what the direction's features leave out of the value goes, as in pyvene's autoencoders and principal components; it stays where absent |
//! | `op.strength` | default 1: 0 leaves the base as it is, 1 is the full operation, others interpolate or overshoot |
//! | `record` | sites whose values in the intervened run are wanted, as the interventions leave them |
//!
//! Unknown fields and names are refused, as is whatever would have no effect.

mod check;
mod checked;
mod error;
mod operation;
mod step;
mod words;

use std::{fmt, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};

use crate::{
    Component, NamedPosition, Position, Site, Sizes, Tokenizer, by_name, direction::Direction,
};

pub use checked::{CheckedPlan, Outcome, Record};
pub use error::PlanError;
use error::refuse;
pub use operation::{OPERATIONS, Operation, Reads};

/// What a direction in a URL starts with.
const DATA_URL: &str = "data:application/octet-stream;base64,";

/// A plan as written; [`Plan::check`] makes it one that can be run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The version of the format.
    pub version: Version,
    /// Prompts of the run that is intervened on.
    pub base: Prompts,
    /// Prompts of the runs that values are taken from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<Prompts>,
    /// Text of the token before each text, empty for none, to be checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_token: Option<String>,
    /// Whether the source runs are intervened on too.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mode: Mode,
    /// What is done, in this order at one site.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interventions: Vec<PlannedIntervention>,
    /// Sites whose values in the intervened run are wanted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub record: Vec<PlannedSite>,
}

/// The version that is written and read: 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Version;

/// Rows of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Prompts {
    /// Token ids, one list a row.
    Ids(Vec<Vec<u32>>),
    /// Texts, one a row.
    Text(Vec<String>),
}

/// Whether source runs are intervened on too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Source runs are plain; all interventions are applied in the base run.
    #[default]
    Parallel,
    /// What is read from a source run goes into the next one, what is read from the last one into the base run.
    Serial,
}

/// What of a site's value is edited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    /// Token positions, `pos`.
    #[default]
    #[serde(rename = "pos")]
    Positions,
    /// Heads at all positions, `h`.
    #[serde(rename = "h")]
    Heads,
    /// Heads at token positions, `h.pos`.
    #[serde(rename = "h.pos")]
    HeadsAtPositions,
}

/// One intervention as written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedIntervention {
    /// Layer, from 0.
    pub layer: usize,
    /// Component of that layer.
    #[serde(with = "by_name")]
    pub component: Component,
    /// What of the value is edited.
    #[serde(default, skip_serializing_if = "is_default")]
    pub unit: Unit,
    /// Heads, for the units that have them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heads: Option<Vec<usize>>,
    /// Index of the source run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<usize>,
    /// A constant source: a vector a position, or a single one for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<Vec<f32>>>,
    /// Token positions that are edited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_positions: Option<Positions>,
    /// Text of the token at each of them, to be checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Token positions that the source is read at; `base_positions` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_positions: Option<Positions>,
    /// Text of the token at each of them, to be checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_token: Option<String>,
    /// What is done.
    pub op: PlannedOp,
}

/// Token positions: one list a row, or a single list for all rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "WrittenPositions")]
pub struct Positions(pub Vec<Vec<NamedPosition>>);

/// Positions as people write them.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected token positions: [[2], [\"last\"]], one list a row, or [2] for all rows; tokens count from 0, or from the end, as -1, or are named, as {\"text\":\"France\"}"
)]
enum WrittenPositions {
    Rows(Vec<Vec<NamedPosition>>),
    All(Vec<NamedPosition>),
}

/// An operation as written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedOp {
    /// Which one.
    #[serde(rename = "type", with = "by_name")]
    pub operation: &'static Operation,
    /// Of `scale`: what the value is multiplied by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub factor: Option<f32>,
    /// Of `noise`, default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// The subspace that it is done in: a file name, or a URL made by [`data_url`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<String>,
    /// Dimensions of the operation's basis, or all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dims: Option<Vec<usize>>,
    /// True if what the direction's features leave out of the value goes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub drop_rest: bool,
    /// How far; 0 leaves the base as it is, 1 (the default) is the full operation.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub strength: f32,
}

/// A site as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedSite {
    /// Layer, from 0.
    pub layer: usize,
    /// Component of that layer.
    #[serde(with = "by_name")]
    pub component: Component,
}

impl Plan {
    /// Reads a plan file.
    ///
    /// # Errors
    /// - [`PlanError::Json`] if it is not JSON, or of another version, or a field is unknown, missing or of another type.
    pub fn from_json(bytes: &[u8]) -> Result<Self, PlanError> {
        /// Looked at first: what another version's fields are is unknown.
        #[derive(Deserialize)]
        struct Head {
            #[serde(rename = "version")]
            _version: Version,
        }
        from_json::<Head>(bytes)?;
        let mut plan: Self = from_json(bytes)?;
        plan.drop_defaults();
        Ok(plan)
    }

    /// The plan as JSON in one line, without what is the default.
    pub fn to_json(&self) -> String {
        let mut plan = self.clone();
        plan.drop_defaults();
        serde_json::json!(plan).to_string()
    }

    /// `source_positions` that equal `base_positions` say nothing.
    fn drop_defaults(&mut self) {
        for planned in &mut self.interventions {
            let is_default = planned.op.operation.reads != Reads::Mean;
            if is_default && planned.source_positions == planned.base_positions {
                planned.source_positions = None;
            }
        }
    }

    /// Checks every field against a model's sizes; `read` gives the direction of a name in the plan.
    ///
    /// # Errors
    /// - [`PlanError::Field`] if the model or a prompt has no such layer, position or token, or a direction is not one.
    /// - [`PlanError::Value`] if a field is missing, has no effect, or does not fit another one.
    /// - [`PlanError::File`] if a direction file cannot be read.
    pub fn check<E: fmt::Display>(
        &self,
        sizes: &Sizes,
        tokenizer: Option<&Tokenizer>,
        read: impl Fn(&str) -> Result<Arc<Direction>, E>,
    ) -> Result<CheckedPlan, PlanError> {
        check::check(self, sizes, tokenizer, read)
    }
}

impl PlannedIntervention {
    /// An operation at full strength at these tokens of base and source, in one head or in all; of the first source run, where the
    /// operation reads one. A mean is that of all of its tokens.
    pub fn new(
        operation: &'static Operation,
        (site, head): (Site, Option<usize>),
        [base, source]: [Positions; 2],
    ) -> Self {
        let reads = operation.reads_run();
        Self {
            layer: site.layer,
            component: site.component,
            unit: match head {
                None => Unit::Positions,
                Some(_) => Unit::HeadsAtPositions,
            },
            heads: head.map(|head| vec![head]),
            source: reads.then_some(0),
            values: None,
            token: None,
            source_positions: (operation.reads_token() && source != base).then_some(source),
            base_positions: Some(base),
            source_token: None,
            op: PlannedOp::new(operation),
        }
    }
}

impl PlannedOp {
    /// An operation at full strength, in all dimensions of its basis; one that scales makes twice as much.
    pub fn new(operation: &'static Operation) -> Self {
        Self {
            operation,
            factor: (operation == Operation::SCALE).then_some(2.0),
            seed: None,
            direction: None,
            dims: None,
            drop_rest: false,
            strength: 1.0,
        }
    }
}

impl Positions {
    /// One token, in all rows.
    pub fn one(position: Position) -> Self {
        Self(vec![vec![position.into()]])
    }
}

impl TryFrom<u32> for Version {
    type Error = String;

    fn try_from(version: u32) -> Result<Self, String> {
        match version {
            1 => Ok(Self),
            other => Err(format!("version {other} is unknown; expected 1")),
        }
    }
}

impl From<Version> for u32 {
    fn from(_: Version) -> Self {
        1
    }
}

impl From<WrittenPositions> for Positions {
    fn from(written: WrittenPositions) -> Self {
        match written {
            WrittenPositions::Rows(rows) => Self(rows),
            WrittenPositions::All(list) => Self(vec![list]),
        }
    }
}

/// A direction file as a URL that a plan can hold in place of a file name.
pub fn data_url(direction_file: &[u8]) -> String {
    format!("{DATA_URL}{}", BASE64_STANDARD.encode(direction_file))
}

/// The file in a URL made by [`data_url`]; `None` for a file name.
fn from_data_url(field: &str, url: &str) -> Result<Option<Vec<u8>>, PlanError> {
    if !url.starts_with("data:") {
        return Ok(None);
    }
    let Some(encoded) = url.strip_prefix(DATA_URL) else {
        let found: String = url.chars().take(DATA_URL.len()).collect();
        return refuse(field, format!("`{DATA_URL}…`"), format!("`{found}…`"));
    };
    match BASE64_STANDARD.decode(encoded) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) => refuse(field, "base64 after the comma", error),
    }
}

/// JSON to a type, with the path of the field that is wrong.
fn from_json<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, PlanError> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    // The parser's paths end in `?` where it stopped before it knew the field, and `.` is the whole.
    let wrong = |path: String, cause| PlanError::Json {
        field: path.trim_end_matches(['?', '.']).to_owned(),
        cause,
    };
    let value = serde_path_to_error::deserialize(&mut json)
        .map_err(|error| wrong(error.path().to_string(), error.into_inner()))?;
    json.end().map_err(|cause| wrong(".".to_owned(), cause))?;
    Ok(value)
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn one() -> f32 {
    1.0
}

fn is_one(strength: &f32) -> bool {
    *strength == 1.0
}

#[cfg(test)]
mod tests;

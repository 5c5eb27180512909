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
//! | `mode` | `parallel` (default): each source is a plain run, all interventions are applied in the base run; `serial`: what is read from source N goes into the run of source N + 1, what is read from the last one, and what reads no source, into the base run, as in pyvene |
//! | `unit` | `pos` (default): token positions; `h`: `heads` at all positions; `h.pos`: `heads` at token positions |
//! | `base_positions`, `source_positions` | a list a row, or a single list for all rows; `source_positions` is `base_positions` where absent |
//! | `source`, `values` | index of the source run that is read, or in its place a constant: a vector a position, or a single one for all |
//! | `op.type` | `interchange`, `zero`, `add`, `subtract`, `low_rank` (interchange in a learned subspace) |
//! | `op.direction` | of `low_rank`: the name of a direction file, relative to the plan file, or a `data:application/octet-stream;base64,…` URL that holds the direction file itself ([`data_url`]), as a share link does |
//! | `op.dims` | rows of the direction's basis, or numbers (neurons) of the value for the other operations; all where absent |
//! | `op.strength` | default 1: 0 leaves the base as it is, 1 is the full operation, others interpolate or overshoot |
//! | `record` | sites whose values in the intervened run are wanted, as the interventions leave them |
//!
//! Unknown fields and names are refused, as is whatever would have no effect.

mod checked;

use std::{fmt, str::FromStr};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};

use crate::{Component, Error, Gpt2Config, Result, Tokenizer};

pub use checked::{CheckedPlan, Outcome, Record};

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
    /// Token positions that the source is read at; `base_positions` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_positions: Option<Positions>,
    /// What is done.
    pub op: PlannedOp,
}

/// Token positions: one list a row, or a single list for all rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "WrittenPositions")]
pub struct Positions(pub Vec<Vec<usize>>);

/// Positions as people write them.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected token positions from 0: [[2], [3]], one list a row, or [2] for all rows"
)]
enum WrittenPositions {
    Rows(Vec<Vec<usize>>),
    All(Vec<usize>),
}

/// An operation as written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedOp {
    /// Which one.
    #[serde(rename = "type", with = "by_name")]
    pub name: OpName,
    /// Of `low_rank`: a file name, or a URL made by [`data_url`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<String>,
    /// Dimensions of the operation's basis, or all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dims: Option<Vec<usize>>,
    /// How far; 0 leaves the base as it is, 1 (the default) is the full operation.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub strength: f32,
}

/// Name of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpName {
    /// The source's value takes the place of the base's.
    Interchange,
    /// The value becomes zero.
    Zero,
    /// The source's value is added.
    Add,
    /// The source's value is subtracted.
    Subtract,
    /// Interchange in a learned subspace.
    LowRank,
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
    /// - [`Error::PlanJson`] if it is not JSON, or of another version, or a field is unknown, missing or of another type.
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
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
            if planned.source_positions == planned.base_positions {
                planned.source_positions = None;
            }
        }
    }

    /// Checks every field against a model's sizes; `read` gives the bytes of a direction file that the plan names.
    ///
    /// # Errors
    /// - [`Error::PlanField`] if the model or a prompt has no such layer, position or token, or a direction is not one.
    /// - [`Error::PlanValue`] if a field is missing, has no effect, or does not fit another one.
    /// - [`Error::PlanFile`] if a direction file cannot be read.
    pub fn check<E: fmt::Display>(
        &self,
        config: &Gpt2Config,
        tokenizer: Option<&Tokenizer>,
        read: impl Fn(&str) -> Result<Vec<u8>, E>,
    ) -> Result<CheckedPlan> {
        CheckedPlan::new(self, config, tokenizer, read)
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

impl OpName {
    /// Every operation with its name.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::Interchange, "interchange"),
        (Self::Zero, "zero"),
        (Self::Add, "add"),
        (Self::Subtract, "subtract"),
        (Self::LowRank, "low_rank"),
    ];
    /// Names of the format that nothing here computes yet.
    const UNSUPPORTED: [&'static str; 12] = [
        "mean",
        "noise",
        "scale",
        "skip",
        "collect",
        "rotated",
        "boundless",
        "sigmoid_mask",
        "sigmoid_mask_rotated",
        "pca",
        "autoencoder",
        "jump_relu_sae",
    ];
}

impl fmt::Display for OpName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(Self::ALL[*self as usize].1)
    }
}

impl FromStr for OpName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        if let Some((op, _)) = Self::ALL.iter().find(|(_, own)| *own == name) {
            return Ok(*op);
        }
        let expected = Self::ALL.map(|(_, own)| own).join(", ");
        let name = name.to_owned();
        if Self::UNSUPPORTED.contains(&name.as_str()) {
            return Err(Error::OpUnsupported { name, expected });
        }
        Err(Error::OpUnknown { name, expected })
    }
}

/// A direction file as a URL that a plan can hold in place of a file name.
pub fn data_url(direction_file: &[u8]) -> String {
    format!("{DATA_URL}{}", BASE64_STANDARD.encode(direction_file))
}

/// The file in a URL made by [`data_url`]; `None` for a file name.
fn from_data_url(field: &str, url: &str) -> Result<Option<Vec<u8>>> {
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
fn from_json<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    // The parser's paths end in `?` where it stopped before it knew the field, and `.` is the whole.
    let wrong = |path: String, cause| Error::PlanJson {
        field: path.trim_end_matches(['?', '.']).to_owned(),
        cause,
    };
    let value = serde_path_to_error::deserialize(&mut json)
        .map_err(|error| wrong(error.path().to_string(), error.into_inner()))?;
    json.end().map_err(|cause| wrong(".".to_owned(), cause))?;
    Ok(value)
}

/// A field that is missing, has no effect, or does not fit another one.
fn refuse<T>(
    field: impl Into<String>,
    expected: impl fmt::Display,
    found: impl fmt::Display,
) -> Result<T> {
    Err(Error::PlanValue {
        field: field.into(),
        expected: expected.to_string(),
        found: found.to_string(),
    })
}

/// Says which field an error is about.
fn within(field: impl Into<String>) -> impl FnOnce(Error) -> Error {
    let field = field.into();
    |cause| Error::PlanField {
        field,
        cause: Box::new(cause),
    }
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

/// Names as strings: for serde's `with`.
pub mod by_name {
    use std::{fmt::Display, str::FromStr};

    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    use crate::Error;

    /// Writes the name that people type.
    ///
    /// # Errors
    /// - what the serializer says
    pub fn serialize<T: Display, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    /// Reads it.
    ///
    /// # Errors
    /// - the type's own, if there is no such name
    pub fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
    where
        T: FromStr<Err = Error>,
        D: Deserializer<'de>,
    {
        let name = String::deserialize(from)?;
        name.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::{
        Position,
        direction::{Controls, Facts, Probe},
    };

    const PLAN: &str = r#"{
        "version": 1,
        "base": {"ids": [[5, 9, 2, 7], [1, 2, 3, 4]]},
        "sources": [{"ids": [[5, 1, 2], [4, 3, 2]]}],
        "interventions": [
            {"layer": 1, "component": "block_output", "source": 0, "base_positions": [[2], [3]],
             "source_positions": [[1]], "op": {"type": "low_rank", "direction": "d.safetensors", "dims": [1]}},
            {"layer": 0, "component": "z", "unit": "h.pos", "heads": [1], "base_positions": [3], "op": {"type": "zero"}},
            {"layer": 0, "component": "mlp_output", "values": [[1, 0, 0, 0, 0, 0]], "base_positions": [[2, 3]],
             "op": {"type": "add", "dims": [0, 5], "strength": 0.5}}
        ],
        "record": [{"layer": 0, "component": "mlp_output"}]
    }"#;

    fn direction() -> Vec<u8> {
        let facts = Facts {
            method: "low_rank".to_owned(),
            model: "tiny".to_owned(),
            model_sha256: "00ff".to_owned(),
            site: Component::BlockOutput.at(1),
            head: None,
            position: Position::Last,
            task: None,
            variable: None,
            train_pairs: None,
            epochs: None,
            lr: None,
            seed: None,
            iia: 0.99,
            controls: Controls {
                random: 0.5,
                full: 1.0,
                shuffled: None,
            },
            probe: Probe {
                base: vec![1],
                source: vec![2],
                top_1: 3,
                logit: 1.0,
            },
            created_by: None,
        };
        let basis = [
            [0.6, 0.8, 0.0, 0.0, 0.0, 0.0],
            [0.0, 0.0, 1.0, 0.0, 0.0, 0.0],
        ];
        let direction = crate::direction::Direction::new(basis.concat(), 2, facts);
        direction.unwrap().to_bytes()
    }

    /// Two layers, width 6, two heads, 16 positions, 50 tokens.
    fn check(plan: &Plan) -> Result<CheckedPlan> {
        plan.check(&Gpt2Config::new(2, 6, 2, 16, 50), None, |name| match name {
            "d.safetensors" => Ok(direction()),
            _ => Err("no such file"),
        })
    }

    #[test]
    fn plan_is_read_and_checked() {
        let plan = Plan::from_json(PLAN.as_bytes()).unwrap();
        assert_eq!(
            plan.interventions[1].base_positions,
            Some(Positions(vec![vec![3]]))
        );
        let checked = check(&plan).unwrap();
        assert_eq!(checked.base(), [[5, 9, 2, 7], [1, 2, 3, 4]]);
        assert_eq!(checked.directions().len(), 1);
        let sites: Vec<String> = checked.sites().map(|site| site.to_string()).collect();
        assert_eq!(sites[1], "layer 0 head_attention_value_output");
    }

    #[test]
    fn example_of_the_text_above_is_a_plan() {
        let lines = include_str!("plan.rs").lines();
        let lines = lines.map(|line| line.trim_start_matches("//!").trim());
        let example = lines.skip_while(|line| *line != "```json").skip(1);
        let example: String = example.take_while(|line| *line != "```").collect();
        let plan = Plan::from_json(example.as_bytes()).unwrap();
        assert_eq!(plan.interventions.len(), 3);
    }

    #[test]
    fn direction_travels_in_the_plan() {
        let mut plan = Plan::from_json(PLAN.as_bytes()).unwrap();
        plan.interventions[0].op.direction = Some(data_url(&direction()));
        let plan = Plan::from_json(plan.to_json().as_bytes()).unwrap();
        let found = check(&plan).unwrap().directions()[0].to_bytes();
        assert_eq!(found, direction());
    }

    #[test]
    fn defaults_are_not_written() {
        let full = r#"{"version":1,"base":{"text":["a"]},"sources":[{"text":["b"]}],"mode":"parallel","interventions":[
            {"layer":0,"component":"resid_post","unit":"pos","source":0,"base_positions":[[0]],"source_positions":[[0]],
             "op":{"type":"interchange","strength":1.0}}],"record":[]}"#;
        let short = Plan::from_json(full.as_bytes()).unwrap().to_json();
        for name in [
            "mode",
            "unit",
            "source_positions",
            "strength",
            "record",
            "null",
        ] {
            assert!(!short.contains(name), "{short}");
        }
        assert!(short.contains("block_output"), "{short}");
    }

    /// Any plan of the types, sensible or not.
    fn random_plan(rng: &mut ChaCha8Rng) -> Plan {
        fn list<T>(rng: &mut ChaCha8Rng, one: impl Fn(&mut ChaCha8Rng) -> T) -> Vec<T> {
            (0..rng.next_u32() % 3).map(|_| one(rng)).collect()
        }
        fn maybe<T>(rng: &mut ChaCha8Rng, one: impl Fn(&mut ChaCha8Rng) -> T) -> Option<T> {
            rng.next_u32().is_multiple_of(2).then(|| one(rng))
        }
        let index = |rng: &mut ChaCha8Rng| (rng.next_u32() % 9) as usize;
        let number = |rng: &mut ChaCha8Rng| (rng.next_u32() as f32 - 2e9) / 7e8;
        let text = |rng: &mut ChaCha8Rng| ["", "é\n\"", "data:x", "a/b"][index(rng) % 4].to_owned();
        let component = |rng: &mut ChaCha8Rng| Component::ALL[index(rng)].0;
        let prompts = |rng: &mut ChaCha8Rng| match maybe(rng, |_| ()) {
            Some(()) => Prompts::Text(list(rng, text)),
            None => Prompts::Ids(list(rng, |rng| list(rng, |rng| rng.next_u32()))),
        };
        // Never empty: `[]` is a list of rows and of positions.
        let positions = |rng: &mut ChaCha8Rng| {
            let mut rows = list(rng, |rng| list(rng, index));
            rows.push(vec![index(rng)]);
            Positions(rows)
        };
        let units = [Unit::Positions, Unit::Heads, Unit::HeadsAtPositions];
        let intervention = |rng: &mut ChaCha8Rng| PlannedIntervention {
            layer: index(rng),
            component: component(rng),
            unit: units[index(rng) % 3],
            heads: maybe(rng, |rng| list(rng, index)),
            source: maybe(rng, index),
            values: maybe(rng, |rng| list(rng, |rng| list(rng, number))),
            base_positions: Some(positions(rng)),
            source_positions: maybe(rng, positions),
            op: PlannedOp {
                name: OpName::ALL[index(rng) % 5].0,
                direction: maybe(rng, text),
                dims: maybe(rng, |rng| list(rng, index)),
                strength: maybe(rng, number).unwrap_or(1.0),
            },
        };
        Plan {
            version: Version,
            base: prompts(rng),
            sources: list(rng, prompts),
            mode: maybe(rng, |_| Mode::Serial).unwrap_or_default(),
            interventions: list(rng, intervention),
            record: list(rng, |rng| PlannedSite {
                layer: index(rng),
                component: component(rng),
            }),
        }
    }

    #[test]
    fn written_plan_is_the_plan_that_is_read() {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        for _ in 0..2000 {
            let mut plan = random_plan(&mut rng);
            plan.drop_defaults();
            let json = plan.to_json();
            let read = Plan::from_json(json.as_bytes()).unwrap();
            assert_eq!(read, plan, "{json}");
            assert_eq!(read.to_json(), json);
            // Whatever it says, checking it does not panic.
            drop(check(&read));
        }
    }

    #[test]
    fn every_mistake_is_refused_with_its_field() {
        // What stands in the plan, what is put in its place, what the message says.
        let cases: &[(&str, &str, &[&str])] = &[
            (
                r#""version": 1"#,
                r#""version": 2"#,
                &["`version`", "2", "expected 1"],
            ),
            (r#""version": 1,"#, "", &["version"]),
            (r#""base": {"#, r#""bass": {"#, &["`bass`", "base"]),
            (r#""base": {"ids""#, r#""base": {"idz""#, &["`base", "ids"]),
            (
                "[1, 2, 3, 4]",
                "[1, 2, 3]",
                &["`base.ids`", "row 1 has 3 tokens"],
            ),
            ("[1, 2, 3, 4]", "[1, 2, 3, 50]", &["`base.ids`", "50"]),
            ("[1, 2, 3, 4]", "[1, 2, 3, -4]", &["`base", "-4"]),
            ("[5, 1, 2], ", "", &["`sources[0]`", "1 rows", "2 rows"]),
            (
                r#"{"ids": [[5, 1, 2], [4, 3, 2]]}"#,
                r#"{"text": ["a"]}"#,
                &["`sources[0]`", "tokenizer"],
            ),
            (
                r#"{"ids": [[5, 1, 2], [4, 3, 2]]}"#,
                "",
                &["`interventions[0].source`", "empty"],
            ),
            (
                r#"[4, 3, 2]]}]"#,
                r#"[4, 3, 2]]}, {"ids": [[1], [1]]}]"#,
                &["`sources[1]`", "none reads"],
            ),
            (
                r#""layer": 1"#,
                r#""layer": 2"#,
                &["`interventions[0].layer`", "0 to 1"],
            ),
            (
                r#""layer": 1"#,
                r#""layer": "x""#,
                &["`interventions[0].layer`", "x"],
            ),
            (r#""layer": 1,"#, "", &["`interventions[0]`", "layer"]),
            (
                "block_output",
                "block_outptu",
                &[
                    "`interventions[0].component`",
                    "block_outptu",
                    "block_output",
                ],
            ),
            (
                "block_output",
                "attention_score",
                &["`interventions[0].component`", "recorded"],
            ),
            (
                r#""z", "unit": "h.pos""#,
                r#""z", "unit": "head""#,
                &["`interventions[1].unit`", "`h.pos`"],
            ),
            (
                r#""z""#,
                r#""mlp_output""#,
                &["`interventions[1].unit`", "not per head"],
            ),
            (r#""heads": [1], "#, "", &["`interventions[1].heads`"]),
            (
                r#""heads": [1]"#,
                r#""heads": [2]"#,
                &["`interventions[1].heads`", "0 to 1", "2"],
            ),
            (
                r#""heads": [1]"#,
                r#""heads": []"#,
                &["`interventions[1].heads`", "none"],
            ),
            (
                r#""heads": [1]"#,
                r#""heads": [1, 1]"#,
                &["`interventions[1].heads`", "1 twice"],
            ),
            (
                r#""unit": "h.pos", "#,
                "",
                &["`interventions[1].heads`", "`h.pos`"],
            ),
            (
                r#""unit": "h.pos""#,
                r#""unit": "h""#,
                &["`interventions[1].base_positions`", "all positions"],
            ),
            (
                r#""source": 0"#,
                r#""source": 1"#,
                &["`interventions[0].source`", "0 to 0", "1"],
            ),
            (
                r#""op": {"type": "zero"}"#,
                r#""source": 0, "op": {"type": "zero"}"#,
                &["`interventions[1].source`", "zero"],
            ),
            (
                r#""values": [[1"#,
                r#""source": 0, "values": [[1"#,
                &["`interventions[2].values`", "either"],
            ),
            (
                r#""values": [[1, 0, 0, 0, 0, 0]], "#,
                "",
                &["`interventions[2].source`", "nothing"],
            ),
            (
                "[[1, 0, 0, 0, 0, 0]]",
                "[[1, 0, 0, 0, 0]]",
                &["`interventions[2].values[0]`", "6 numbers", "5"],
            ),
            (
                "[[1, 0, 0, 0, 0, 0]]",
                "[[1e39, 0, 0, 0, 0, 0]]",
                &["`interventions[2].values[0]`", "finite"],
            ),
            (
                "[[1, 0, 0, 0, 0, 0]]",
                "[]",
                &["`interventions[2].values`", "0 vectors"],
            ),
            (
                "[[2], [3]]",
                "[[2], []]",
                &["`interventions[0].base_positions[1]`", "none"],
            ),
            (
                "[[2], [3]]",
                "[]",
                &["`interventions[0].base_positions`", "2 lists"],
            ),
            (
                "[[2], [3]]",
                "[[2], [4]]",
                &["`interventions[0].base_positions[1]`", "0 to 3", "4"],
            ),
            (
                "[[2], [3]]",
                "[[2], [3], [1]]",
                &["`interventions[0].base_positions`", "3 lists"],
            ),
            (
                "[[2], [3]]",
                "[[2], [3, 3]]",
                &["`interventions[0].base_positions[1]`", "3 twice"],
            ),
            (
                "[[2], [3]]",
                "[[2], [-3]]",
                &["`interventions[0].base_positions`", "from 0"],
            ),
            (
                "[[2], [3]]",
                "[[2], [3, 1]]",
                &["`interventions[0].source_positions[1]`", "2 positions"],
            ),
            (
                r#""source_positions": [[1]]"#,
                r#""source_positions": [[3]]"#,
                &["`interventions[0].source_positions[0]`", "0 to 2"],
            ),
            (
                r#""base_positions": [3], "#,
                "",
                &["`interventions[1].base_positions`", "[[2]]"],
            ),
            (
                r#""op": {"type": "zero"}"#,
                r#""source_positions": [[1]], "op": {"type": "zero"}"#,
                &["`interventions[1].source_positions`"],
            ),
            (
                r#""type": "zero""#,
                r#""type": "pca""#,
                &[
                    "`interventions[1].op.type`",
                    "not supported yet",
                    "low_rank",
                ],
            ),
            (
                r#""type": "zero""#,
                r#""type": "zeros""#,
                &["`interventions[1].op.type`", "unknown operation", "zero"],
            ),
            (
                r#""type": "zero""#,
                r#""type": "zero", "direction": "d.safetensors""#,
                &["`interventions[1].op.direction`", "zero"],
            ),
            (
                r#""direction": "d.safetensors", "#,
                "",
                &["`interventions[0].op.direction`", "direction file"],
            ),
            (
                "d.safetensors",
                "e.safetensors",
                &[
                    "`interventions[0].op.direction`",
                    "e.safetensors",
                    "no such file",
                ],
            ),
            (
                "d.safetensors",
                "data:text/plain,x",
                &["`interventions[0].op.direction`", "octet-stream"],
            ),
            (
                "d.safetensors",
                "data:application/octet-stream;base64,A",
                &["`interventions[0].op.direction`", "base64"],
            ),
            (
                "d.safetensors",
                "data:application/octet-stream;base64,AAAA",
                &["`interventions[0].op.direction`", "safetensors"],
            ),
            (
                r#""component": "block_output""#,
                r#""component": "mlp_activation""#,
                &["`interventions[0].op.direction`", "width 6", "24"],
            ),
            (
                r#""dims": [1]"#,
                r#""dims": [2]"#,
                &["`interventions[0].op.dims`", "0 to 1", "2"],
            ),
            (
                r#""dims": [1]"#,
                r#""dims": []"#,
                &["`interventions[0].op.dims`", "none"],
            ),
            (
                r#""dims": [0, 5]"#,
                r#""dims": [0, 6]"#,
                &["`interventions[2].op.dims`", "0 to 5", "6"],
            ),
            (
                r#""strength": 0.5"#,
                r#""strength": 1e39"#,
                &["`interventions[2].op.strength`", "finite"],
            ),
            (
                r#""strength": 0.5"#,
                r#""strenght": 0.5"#,
                &["`interventions[2].op.strenght`", "strength"],
            ),
            (
                r#""record": [{"layer": 0"#,
                r#""record": [{"layer": 7"#,
                &["`record[0].layer`", "0 to 1"],
            ),
            (
                r#""interventions""#,
                r#""mode": "both", "interventions""#,
                &["`mode`", "serial"],
            ),
            (
                r#""mlp_output"}]"#,
                r#""mlp_output"}], "mode": "serial""#,
                &[],
            ),
        ];
        for (from, to, expected) in cases {
            assert!(PLAN.contains(from), "{from}");
            let changed = PLAN.replacen(from, to, 1);
            let result = Plan::from_json(changed.as_bytes()).and_then(|plan| check(&plan));
            if expected.is_empty() {
                result.unwrap();
                continue;
            }
            let message = result.unwrap_err().to_string();
            let names_field = ["plan: `", "plan: missing field `"]
                .iter()
                .any(|start| message.starts_with(start));
            assert!(names_field, "{message}");
            assert!(!message.contains('\n'), "{message}");
            for text in *expected {
                assert!(
                    message.contains(text),
                    "{to}: `{text}` is not in: {message}"
                );
            }
        }
        for text in ["", "{", "[]", "null", &format!("{PLAN} x")] {
            assert!(Plan::from_json(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn whole_positions_need_sources_of_one_length() {
        let whole = PLAN.replacen(
            r#""source": 0, "base_positions": [[2], [3]],
             "source_positions": [[1]], "op": {"type": "low_rank", "direction": "d.safetensors", "dims": [1]}"#,
            r#""source": 0, "base_positions": [[2]], "op": {"type": "interchange"}"#,
            1,
        );
        for (from, to) in [
            (
                r#""component": "block_output""#,
                r#""component": "attention_weight""#,
            ),
            (
                r#""component": "block_output", "source": 0, "base_positions": [[2]]"#,
                r#""component": "z", "unit": "h", "heads": [0], "source": 0"#,
            ),
        ] {
            assert!(whole.contains(from), "{whole}");
            let plan = Plan::from_json(whole.replacen(from, to, 1).as_bytes()).unwrap();
            let message = check(&plan).unwrap_err().to_string();
            assert!(message.contains("`interventions[0].source`"), "{message}");
            assert!(message.contains("4 tokens"), "{message}");
        }
    }
}

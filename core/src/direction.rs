//! Direction files: a learned basis at one site and how it was learned, in one safetensors file of a few KB.
//!
//! A file MUST hold the tensor `basis`, `[k, width]`, f32, rows orthonormal to 1e-5, and in its metadata (strings; JSON
//! where structured):
//!
//! | field | why |
//! |---|---|
//! | `format`, `format_version` | `swivel.direction`, `1`: a reader knows at once whether it can read the rest |
//! | `method` | `low_rank`: which operation the tensors belong to |
//! | `model`, `model_sha256` | the weights that it was learned on; on any others its scores mean nothing |
//! | `layer`, `component`, `unit`, `position` | the site: where it is swapped; `unit` is `pos`, or `h.pos` at a component that is per head |
//! | `head` | with unit `h.pos` only: in which head |
//! | `iia`, `controls` | the score on held-out pairs, and beside it what must and must not work |
//! | `probe` | ids of one pair and the intervened answer: a loader re-runs it to know that it has the right thing |
//!
//! It MAY hold `task`, `variable`, `train_pairs`, `epochs`, `lr`, `seed`, `created_by`: where it comes from. Readers MUST ignore fields
//! that they do not know, and MUST refuse an unknown version, a basis that is not orthonormal or not finite, and a file that
//! is longer or shorter than its header says. Nothing in a file is ever executed.
//! The same direction gives the same bytes: fields are written in the order of their names.

use std::borrow::Cow;

use burn::tensor::{Tensor, TensorData, backend::Backend};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    Component, Error, Gpt2Config, Place, Result, Site,
    tensor_file::{self, TensorFile},
};

/// Value of the metadata field `format`.
pub(crate) const FORMAT: &str = "swivel.direction";
/// What messages call it.
const KIND: &str = "direction file";
/// The only method so far.
pub(crate) const LOW_RANK: &str = "low_rank";
/// The version that is written and read.
const FORMAT_VERSION: &str = "1";
/// Largest difference of a probe's logit from the recorded one, nats.
///
/// The right direction on the right model differs by rounding alone: on the solver, whose logits are about 16, by 3e-6 where
/// f32 is summed in another order and by 4e-4 where values were kept in f16; a GPU that multiplies f32 with ten bits of
/// fraction may add a thousandth of the logit. A random basis in place of a learned one gave another answer each time, and in
/// place of one that had learned nothing, a logit that was 0.08 away or more.
pub const PROBE_TOLERANCE: f32 = 0.05;
/// Largest deviation of `basis basisᵀ` from the identity.
const ORTHONORMAL_TOLERANCE: f32 = 1e-5;

/// Orthonormal rows: a subspace of the values at a site.
#[derive(Clone, Debug, PartialEq)]
pub struct Basis {
    /// Row-major `[rank, width]`.
    rows: Vec<f32>,
    rank: usize,
}

/// A learned orthonormal basis at one site, and the facts about how it was learned.
#[derive(Clone, Debug, PartialEq)]
pub struct Direction {
    basis: Basis,
    /// Where it is swapped and how it was learned.
    pub facts: Facts,
}

/// Everything in a direction file but the basis.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// How the basis was learned: `low_rank` (DAS).
    pub method: String,
    /// Name or hub id of the model.
    pub model: String,
    /// SHA-256 of its weight files.
    pub model_sha256: String,
    /// Where the basis is swapped.
    pub place: Place,
    /// The task, with its program.
    pub task: Option<String>,
    /// The variable of the causal model.
    pub variable: Option<String>,
    /// Number of training pairs.
    pub train_pairs: Option<usize>,
    /// Passes over them.
    pub epochs: Option<usize>,
    /// Highest learning rate.
    pub lr: Option<f64>,
    /// Seed of data, initial basis and shuffling.
    pub seed: Option<u64>,
    /// IIA on held-out pairs, 0..1.
    pub iia: f64,
    /// The same measurement with what must and must not work.
    pub controls: Controls,
    /// One pair, to be re-run by a loader.
    pub probe: Probe,
    /// Program and version that wrote the file.
    pub created_by: Option<String>,
}

/// IIA of what must not work and of what must, on the same pairs, 0..1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Controls {
    /// A random subspace of the same rank.
    pub random: f64,
    /// The whole vector at the site.
    pub full: f64,
    /// A basis learned the same way on shuffled labels.
    pub shuffled: Option<f64>,
}

/// One pair and what the intervened model answers to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// Token ids of the base prompt.
    pub base: Vec<u32>,
    /// Token ids of the source prompt.
    pub source: Vec<u32>,
    /// Top-1 token of the intervened run.
    pub top_1: u32,
    /// Its logit, nats.
    pub logit: f32,
}

impl Probe {
    /// True if a run of the pair gave the recorded answer.
    pub fn agrees(&self, top_1: u32, logit: f32) -> bool {
        top_1 == self.top_1 && (logit - self.logit).abs() <= PROBE_TOLERANCE
    }
}

impl Basis {
    /// A basis of these rows, row-major `[rank, width]`.
    ///
    /// # Errors
    /// - [`Error::DirectionBasis`] if they are not orthonormal.
    /// - [`Error::TensorValue`] if one holds a NaN or an infinity.
    /// - [`Error::Rank`] if there are none, or more rows than columns.
    pub fn new(rows: Vec<f32>, rank: usize) -> Result<Self> {
        let width = rows.len().checked_div(rank).unwrap_or(0);
        if rank == 0 || rank > width || rank * width != rows.len() {
            return Err(Error::Rank {
                rank,
                d_model: width,
            });
        }
        if let Some(index) = rows.iter().position(|value| !value.is_finite()) {
            return Err(Error::TensorValue {
                name: "basis".to_owned(),
                index,
                found: rows[index],
            });
        }
        let vectors: Vec<&[f32]> = rows.chunks(width).collect();
        for (row, left) in vectors.iter().enumerate() {
            for (other, right) in vectors.iter().enumerate().take(row + 1) {
                let found: f64 = left
                    .iter()
                    .zip(*right)
                    .map(|(a, b)| f64::from(*a) * f64::from(*b))
                    .sum();
                let (found, expected) = (found as f32, if row == other { 1.0 } else { 0.0 });
                if (found - expected).abs() > ORTHONORMAL_TOLERANCE {
                    return Err(Error::DirectionBasis {
                        row,
                        other,
                        expected,
                        found,
                    });
                }
            }
        }
        Ok(Self { rows, rank })
    }

    /// Number of rows.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Width of the site that it belongs to.
    pub fn width(&self) -> usize {
        self.rows.len() / self.rank
    }

    /// The rows, row-major `[rank, width]`.
    pub fn rows(&self) -> &[f32] {
        &self.rows
    }

    /// Checks that the basis fits a place of a model.
    ///
    /// # Errors
    /// - those of [`Place::check`]
    /// - [`Error::DirectionWidth`] if the model has another width there.
    pub fn check(&self, place: Place, config: &Gpt2Config) -> Result<()> {
        match place.check(config)?.width(config) {
            Some(width) if width == self.width() => Ok(()),
            width => Err(Error::DirectionWidth {
                site: place.site.to_string(),
                expected: width.unwrap_or(0),
                found: self.width(),
            }),
        }
    }

    /// The tensor as a file has it.
    pub(crate) fn as_tensor(&self, name: impl Into<Cow<'static, str>>) -> tensor_file::Tensor<'_> {
        (name.into(), [self.rank, self.width()], &self.rows)
    }
}

/// Checks that a file was made with these weights.
pub(crate) fn check_sha256(found: &str, expected: &str) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::DirectionModel {
        expected: expected.to_owned(),
        found: found.to_owned(),
    })
}

impl Direction {
    /// A direction of this basis, row-major `[rank, width]`.
    ///
    /// # Errors
    /// - those of [`Basis::new`]
    pub fn new(rows: Vec<f32>, rank: usize, facts: Facts) -> Result<Self> {
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
    pub fn check(&self, config: &Gpt2Config) -> Result<()> {
        self.basis.check(self.facts.place, config)
    }

    /// Checks that the direction was learned on these weights.
    ///
    /// # Errors
    /// - [`Error::DirectionModel`] if it was not.
    pub fn check_model(&self, sha256: &str) -> Result<()> {
        check_sha256(&self.facts.model_sha256, sha256)
    }

    /// The file's bytes; the same direction gives the same bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let Facts {
            method,
            model,
            model_sha256,
            place,
            task,
            variable,
            train_pairs,
            epochs,
            lr,
            seed,
            iia,
            controls,
            probe,
            created_by,
        } = &self.facts;
        let Place {
            site,
            head,
            position,
        } = place;
        let fields: [(&str, Option<String>); 21] = [
            ("format", Some(FORMAT.to_owned())),
            ("format_version", Some(FORMAT_VERSION.to_owned())),
            ("method", Some(method.clone())),
            ("model", Some(model.clone())),
            ("model_sha256", Some(model_sha256.clone())),
            ("layer", Some(site.layer.to_string())),
            ("component", Some(site.component.to_string())),
            ("unit", Some(unit(*site).to_owned())),
            ("head", head.map(|head| head.to_string())),
            ("position", Some(position.to_string())),
            ("task", task.clone()),
            ("variable", variable.clone()),
            ("train_pairs", train_pairs.map(|value| value.to_string())),
            ("epochs", epochs.map(|value| value.to_string())),
            ("lr", lr.map(|value| value.to_string())),
            ("seed", seed.map(|value| value.to_string())),
            ("iia", Some(iia.to_string())),
            ("controls", Some(json!(controls).to_string())),
            ("probe", Some(json!(probe).to_string())),
            ("created_by", created_by.clone()),
            ("rank", Some(self.rank().to_string())),
        ];
        tensor_file::to_bytes(&fields, &[self.basis.as_tensor("basis")])
    }

    /// Reads a file.
    ///
    /// # Errors
    /// - [`Error::Safetensors`] if it is no safetensors file, truncated, or longer than its header says.
    /// - [`Error::FileField`], [`Error::FileValue`] if a field is missing or cannot be read.
    /// - [`Error::TensorShape`], [`Error::TensorDtype`], [`Error::TensorValue`], [`Error::Rank`],
    ///   [`Error::DirectionBasis`] if the basis is not one.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
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
            method: file.text("method")?.to_owned(),
            model: file.text("model")?.to_owned(),
            model_sha256: file.text("model_sha256")?.to_owned(),
            place,
            task: owned("task"),
            variable: owned("variable"),
            train_pairs: file.optional_json("train_pairs")?,
            epochs: file.optional_json("epochs")?,
            lr: file.optional_number("lr")?,
            seed: file.optional_json("seed")?,
            iia: file.number("iia")?,
            controls: file.json("controls")?,
            probe: file.json("probe")?,
            created_by: owned("created_by"),
        };
        file.expect("method", LOW_RANK)?;
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
mod tests {
    use super::*;
    use crate::Position;

    #[test]
    fn probe_tells_rounding_from_another_answer() {
        let probe = Probe {
            base: vec![1],
            source: vec![2],
            top_1: 7,
            logit: 3.0,
        };
        assert!(probe.agrees(7, 3.04) && probe.agrees(7, 2.96));
        assert!(!probe.agrees(7, 3.06) && !probe.agrees(8, 3.0) && !probe.agrees(7, f32::NAN));
    }

    fn direction() -> Direction {
        let facts = Facts {
            method: "low_rank".to_owned(),
            model: "tiny".to_owned(),
            model_sha256: "00ff".to_owned(),
            place: Place::new(Component::BlockOutput.at(1), Position::LAST),
            task: Some("programs/07065a".to_owned()),
            variable: Some("op5".to_owned()),
            train_pairs: Some(800),
            epochs: Some(10),
            lr: Some(1e-3),
            seed: Some(u64::MAX),
            iia: 0.99,
            controls: Controls {
                random: 0.5,
                full: 1.0,
                shuffled: Some(0.49),
            },
            probe: Probe {
                base: vec![1, 2],
                source: vec![3, 4],
                top_1: 5,
                logit: 1.25,
            },
            created_by: None,
        };
        Direction::new(vec![0.6, 0.8, 0.0, 0.0, 0.0, 1.0], 2, facts).unwrap()
    }

    #[test]
    fn file_round_trips_to_the_same_bytes() {
        let bytes = direction().to_bytes();
        let read = Direction::from_bytes(&bytes).unwrap();
        assert_eq!(read, direction());
        assert_eq!(read.to_bytes(), bytes);
    }

    #[test]
    fn direction_of_a_head_round_trips_and_needs_its_head() {
        let mut direction = direction();
        direction.facts.place.site = Component::HeadQueryOutput.at(1);
        direction.facts.place.head = Some(2);
        let bytes = direction.to_bytes();
        assert_eq!(Direction::from_bytes(&bytes).unwrap(), direction);
        direction.facts.place.head = None;
        let error = Direction::from_bytes(&direction.to_bytes()).unwrap_err();
        assert!(error.to_string().contains("head"), "{error}");
    }

    #[test]
    fn truncated_and_extended_files_are_refused() {
        let bytes = direction().to_bytes();
        for len in 0..bytes.len() {
            assert!(Direction::from_bytes(&bytes[..len]).is_err(), "{len} bytes");
        }
        assert!(Direction::from_bytes(&[&bytes[..], b"x"].concat()).is_err());
    }

    #[test]
    fn hostile_basis_is_refused() {
        let facts = direction().facts;
        let new = |basis: &[f32], rank| {
            Direction::new(basis.to_vec(), rank, facts.clone())
                .unwrap_err()
                .to_string()
        };
        assert!(new(&[0.6, 0.9], 1).contains("not orthonormal"));
        assert!(new(&[f32::NAN, 1.0], 1).contains("NaN"));
        assert!(new(&[1.0, 0.0, 1.0, 0.0], 2).contains("not orthonormal"));
        assert!(new(&[1.0, 0.0, 1.0], 2).contains("rank 2"));
        assert!(new(&[], 0).contains("rank 0"));
    }

    #[test]
    fn unknown_version_and_missing_fields_are_refused() {
        let text = String::from_utf8_lossy(&direction().to_bytes()).into_owned();
        for (from, to, name) in [
            (
                r#""format_version":"1""#,
                r#""format_version":"2""#,
                "format_version",
            ),
            (
                r#""format":"swivel.direction""#,
                r#""format":"swivel.directiom""#,
                "format",
            ),
            (r#""layer":"1""#, r#""layer":"x""#, "layer"),
            (r#""position":"last""#, r#""position":"lost""#, "position"),
            (r#""iia":"0.99""#, r#""iib":"0.99""#, "iia"),
            (r#""method":"low_rank""#, r#""method":"low_bank""#, "method"),
        ] {
            assert!(text.contains(from), "{from}");
            // Same length, so that the offsets still fit.
            let bytes = direction().to_bytes();
            let at = bytes
                .windows(from.len())
                .position(|window| window == from.as_bytes())
                .unwrap();
            let mut changed = bytes.clone();
            changed[at..at + to.len()].copy_from_slice(to.as_bytes());
            let error = Direction::from_bytes(&changed).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}

//! Direction files: a learned basis at one site and how it was learned, in one safetensors file of a few KB.
//!
//! A file MUST hold features, as tensors of f32: `basis`, `[k, width]`, rows orthonormal to 1e-5, with `mean` and `std`, `[1, width]`,
//! where coordinates are those of standardized values; or `encoder.weight` `[width, k]`, `encoder.bias` `[1, k]`, `decoder.weight`
//! `[k, width]`, `decoder.bias` `[1, width]` and, of a JumpReLU SAE, `threshold` `[1, k]`; or none, where features are the value's
//! own numbers. With `mask`, `[1, k]`, each feature is swapped to its degree, 0..1. And in its metadata (strings; JSON where
//! structured):
//!
//! | field | why |
//! |---|---|
//! | `format`, `format_version` | `swivel.direction`, `1`: a reader knows at once whether it can read the rest |
//! | `method` | how it was learned: `das`, distributed alignment search, also read as `low_rank`, pyvene's name; `rotated`, `boundless`, `sigmoid_mask`, `sigmoid_mask_rotated`, the same in all dimensions, and with a mask; `autoencoder`, `jump_relu_sae`. `mean_difference`, `pca` and `unembedding` are computed, `imported` were vectors in another format |
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
mod features;

use burn::tensor::{Tensor, TensorData, backend::Backend};
use serde_json::json;

use crate::{
    Component, Place, Site, Sizes, Tokenizer,
    intervention::{Intervention, Op},
    tensor_file::{self, FileError, TensorFile, value_error},
};

pub use basis::Basis;
pub use facts::{Controls, Facts, METHODS, Measured, PROBE_TOLERANCE, Probe, Unseen};
pub use features::{Features, Form, Latents};

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

/// Learned features at one site, and the facts about how they were learned.
#[derive(Clone, Debug, PartialEq)]
pub struct Direction {
    features: Features,
    /// How far each feature is swapped, 0..1; all of them all the way where there is none.
    mask: Option<Vec<f32>>,
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
        Self {
            features: Features::Subspace(basis),
            mask: None,
            facts,
        }
    }

    /// A direction of features, of which each is swapped to its degree where there is a mask.
    ///
    /// # Errors
    /// - those of [`Features::checked`]
    /// - [`FileError::Tensor`] if the mask has not a degree from 0 to 1 for each feature.
    pub fn of_features(
        features: Features,
        mask: Option<Vec<f32>>,
        facts: Facts,
    ) -> Result<Self, FileError> {
        let features = features.checked()?;
        if let Some(mask) = &mask {
            let is_degree = |x: f32| (0.0..=1.0).contains(&x);
            features::check("mask", mask, features.n_features(), is_degree)?;
        }
        Ok(Self {
            features,
            mask,
            facts,
        })
    }

    /// Its features.
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// How far each feature is swapped, where not all are all the way.
    pub fn mask(&self) -> Option<&[f32]> {
        self.mask.as_deref()
    }

    /// What an operation of a plan may ask it to be.
    pub fn form(&self) -> Form {
        match (&self.features, &self.mask) {
            (Features::Values(_), _) => Form::Masked,
            (Features::Subspace(_), Some(_)) => Form::MaskedRotated,
            (Features::Subspace(basis), None) if basis.rank() < basis.width() => Form::LowRank,
            (Features::Subspace(_), None) => Form::Rotated,
            (Features::Standardized { .. }, _) => Form::Pca,
            (Features::Autoencoder(latents), _) => match latents.threshold {
                None => Form::Autoencoder,
                Some(_) => Form::JumpRelu,
            },
        }
    }

    /// Number of features: of a subspace its rank.
    pub fn rank(&self) -> usize {
        self.features.n_features()
    }

    /// About how many dimensions of the value are swapped: the rank of a random subspace to compare with.
    pub fn n_swapped(&self) -> usize {
        let n = match &self.mask {
            None => self.rank(),
            Some(mask) => mask.iter().sum::<f32>().round() as usize,
        };
        n.clamp(1, self.width())
    }

    /// What it is, for people: of a subspace its rank.
    pub fn size_in_words(&self) -> String {
        match self.form() {
            Form::LowRank | Form::Rotated => format!("rank {}", self.rank()),
            form => format!("{} features of {}", self.rank(), form.about()),
        }
    }

    /// Width of the site that it belongs to.
    pub fn width(&self) -> usize {
        self.features.width()
    }

    /// The basis, row-major `[rank, width]`; none where features are not coordinates in one.
    pub fn rows(&self) -> &[f32] {
        self.features.basis().map_or(&[], Basis::rows)
    }

    /// The basis on a device.
    ///
    /// # Shapes
    /// - result: `[rank, width]`, rows orthonormal
    ///
    /// # Panics
    /// If features are not coordinates in a basis.
    pub fn basis<B: Backend>(&self, device: &B::Device) -> Tensor<B, 2> {
        Tensor::from_data(
            TensorData::new(self.rows().to_vec(), [self.rank(), self.width()]),
            device,
        )
    }

    /// An operation on these features, or on some of them.
    pub fn intervention<B: Backend>(
        &self,
        op: Op,
        dims: Option<&[usize]>,
        device: &B::Device,
    ) -> Intervention<B> {
        let own = self.mask.as_ref();
        let mask = match dims {
            None => own.cloned(),
            // The featurizer reads these coordinates alone.
            Some(dims) if self.features.basis().is_some() => {
                own.map(|mask| dims.iter().map(|dim| mask[*dim]).collect())
            }
            Some(dims) => {
                let mut picked = vec![0.0; self.rank()];
                for dim in dims {
                    picked[*dim] = own.map_or(1.0, |mask| mask[*dim]);
                }
                Some(picked)
            }
        };
        let vector = |values: Vec<f32>| {
            let n = values.len();
            Tensor::from_data(TensorData::new(values, [n]), device)
        };
        Intervention {
            mask: mask.map(vector),
            ..Intervention::new(op, self.features.featurizer(dims, device))
        }
    }

    /// Checks that the direction fits a model's sizes.
    ///
    /// # Errors
    /// - those of [`Place::check`]
    /// - [`FileError::Intervention`] if the model has another width there.
    pub fn check(&self, sizes: &Sizes) -> Result<(), FileError> {
        basis::check_width(self.width(), self.facts.place, sizes)
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
        let mut tensors = self.features.tensors();
        let mask = self.mask.as_deref();
        tensors.extend(mask.map(|mask| ("mask".into(), [1, mask.len()], mask)));
        tensor_file::to_bytes(&fields, &tensors)
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
        let mask = match file.has("mask") {
            true => Some(features::vector(&file, "mask")?),
            false => None,
        };
        let features = Features::read(&file, mask.as_ref().map(Vec::len))?;
        Self::of_features(features, mask, facts)
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

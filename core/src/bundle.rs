//! Bundles: a map of many cells in one safetensors file, each a place in the model, how well an intervention works there,
//! and, where one was learned, its direction.
//!
//! A file MUST hold in its metadata (strings; JSON where structured):
//!
//! | field | why |
//! |---|---|
//! | `format`, `format_version` | `swivel.bundle`, `1`: a reader tells it from a direction file at once |
//! | `method` | `low_rank`: a learned direction a cell. `interchange`, `zero`, `mean`: no direction, whole values are swapped, zeroed, or replaced by their mean over the source runs |
//! | `model`, `model_sha256` | the weights that it was made with; on any others its scores mean nothing |
//! | `test_pairs` | on how many pairs each score was measured |
//! | `base`, `source` | token ids of one pair: they label the positions, and are the probe of every cell |
//! | `n_planned` | cells of the finished file; fewer in it mean that the sweep was interrupted |
//! | `run` | canonical JSON of the whole map's configuration, opaque here; a sweep that goes on must find its own text |
//! | `cells` | one object a cell, below |
//!
//! A cell MUST hold `layer`, `component`, `position` (a string, as in a direction file), `iia`, `metrics`, and `top_1` and
//! `logit`: what the intervened model answers on the pair. It MUST hold `head` where the component is per head, and only there.
//! With method `low_rank` it MUST hold `controls`, since a score without them says nothing, and the file MUST hold
//! its basis as the tensor `basis.N`, `[rank, width]`, f32, rows orthonormal to 1e-5, `N` being the cell's index. A cell MAY hold
//! `variable`. No two cells share site, head, position, rank and variable; all bases at one component have one width;
//! every position is a token of both prompts of the pair.
//!
//! A file MAY be one of N parts of a map: then it MUST hold `part`, `I/N` with I from 1 to N, and its cells are those that stand
//! together at the I-th place in the map. Parts differ in `part`, `n_planned` and cells alone, and the cells of all parts, one
//! after the other, are the map's.
//!
//! A file MAY hold `task`, `train_pairs`, `epochs`, `lr`, `seed`, `created_by`, as a direction file. Readers MUST ignore fields
//! that they do not know, and MUST refuse an unknown version or method, a basis that is not orthonormal or not finite, a share outside
//! 0..1, and a file that is longer or shorter than its header says. Nothing in a file is ever executed.
//! The same bundle gives the same bytes. Scores are kept to nine decimals: so many every JSON reader gives back exactly.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    Component, Error, Gpt2Config, Place, Position, Result, by_name,
    direction::{self, Basis, Controls, Direction, Facts, Probe},
    tensor_file::{self, TensorFile, value_error},
};

/// Value of the metadata field `format`.
const FORMAT: &str = "swivel.bundle";
/// The version that is written and read.
const FORMAT_VERSION: &str = "1";
/// What messages call it.
const KIND: &str = "bundle";

/// What kind of file some bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// One direction: [`Direction::from_bytes`] reads it.
    Direction,
    /// A map: [`Bundle::from_bytes`] reads it.
    Bundle,
}

impl FileKind {
    /// Tells a direction file from a bundle; the rest of the file may still be wrong.
    ///
    /// # Errors
    /// - [`Error::Safetensors`] if it is no safetensors file, truncated, or longer than its header says.
    /// - [`Error::FileField`], [`Error::FileValue`] if it is neither.
    pub fn of_bytes(bytes: &[u8]) -> Result<Self> {
        let kind = "direction file or bundle";
        let file = TensorFile::new(kind, bytes)?;
        match file.text("format")? {
            direction::FORMAT => Ok(Self::Direction),
            FORMAT => Ok(Self::Bundle),
            found => {
                let expected = format!("{} or {FORMAT}", direction::FORMAT);
                Err(value_error(kind, "format", &expected, found))
            }
        }
    }
}

/// What is done at every cell of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// A learned direction is swapped, one a cell (DAS).
    LowRank,
    /// The whole value is swapped.
    Interchange,
    /// The whole value becomes zero.
    Zero,
    /// The whole value becomes its mean over the source runs.
    Mean,
}

impl Method {
    /// Every method with its name.
    pub const ALL: [(Method, &'static str); 4] = [
        (Method::LowRank, direction::LOW_RANK),
        (Method::Interchange, "interchange"),
        (Method::Zero, "zero"),
        (Method::Mean, "mean"),
    ];

    /// The name that files store.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// One of several parts that a map is divided into; the first one has number 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    number: usize,
    n_parts: usize,
}

impl Part {
    /// Its number, from 1.
    pub fn number(self) -> usize {
        self.number
    }

    /// Into how many parts the map is divided.
    pub fn n_parts(self) -> usize {
        self.n_parts
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.n_parts)
    }
}

impl FromStr for Part {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let part = text.split_once('/').and_then(|(number, n_parts)| {
            let (number, n_parts) = (number.parse().ok()?, n_parts.parse().ok()?);
            (1..=n_parts)
                .contains(&number)
                .then_some(Self { number, n_parts })
        });
        part.ok_or_else(|| Error::BundlePart {
            found: text.to_owned(),
        })
    }
}

/// A map: what is the same for all cells, and the cells.
#[derive(Clone, Debug, PartialEq)]
pub struct Bundle {
    facts: BundleFacts,
    cells: Vec<Cell>,
    /// Index of the cell at each sheet, layer and token.
    places: BTreeMap<(Sheet, usize, usize), usize>,
    /// Width of the bases at each component.
    widths: BTreeMap<Component, usize>,
}

/// Everything in a bundle but its cells.
#[derive(Clone, Debug, PartialEq)]
pub struct BundleFacts {
    /// What is done at every cell.
    pub method: Method,
    /// Name or hub id of the model.
    pub model: String,
    /// SHA-256 of its weight files.
    pub model_sha256: String,
    /// The task, with its program.
    pub task: Option<String>,
    /// Number of training pairs.
    pub train_pairs: Option<usize>,
    /// Number of held-out pairs that each score is measured on.
    pub test_pairs: usize,
    /// Passes over the training pairs.
    pub epochs: Option<usize>,
    /// Highest learning rate.
    pub lr: Option<f64>,
    /// Seed of data, initial bases and shuffling.
    pub seed: Option<u64>,
    /// Token ids of the example pair's base prompt.
    pub base: Vec<u32>,
    /// Token ids of its source prompt.
    pub source: Vec<u32>,
    /// Cells of the finished file; fewer in it mean that the sweep was interrupted.
    pub n_planned: usize,
    /// Which part of a map the file is; `None` for a whole one.
    pub part: Option<Part>,
    /// Canonical JSON of the whole map's configuration, opaque here.
    pub run: String,
    /// Program and version that wrote the file.
    pub created_by: Option<String>,
}

/// A place in the model and what an intervention does there.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// Where, in base and source alike.
    pub place: Place,
    /// The variable of the causal model.
    pub variable: Option<String>,
    /// The learned direction; `Some` if and only if the method is [`Method::LowRank`].
    pub basis: Option<Basis>,
    /// Share of the pairs whose intervened top-1 is the label, 0..1.
    pub iia: f64,
    /// The same measurement with what must and must not work; always there with [`Method::LowRank`].
    pub controls: Option<Controls>,
    /// How far the answers moved.
    pub metrics: Metrics,
    /// Top-1 token of the intervened run on the example pair.
    pub top_1: u32,
    /// Its logit, nats.
    pub logit: f32,
}

/// How far answers moved, as means over the pairs; of two numbers the first is before, the second after the intervention.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Probability of the label, 0..1.
    pub probability: [f64; 2],
    /// Logit of the label minus logit of the base run's label, nats; `None` where the task has no label for the base run.
    pub logit_difference: Option<[f64; 2]>,
    /// KL divergence of the intervened from the base distribution, nats.
    pub kl: f64,
}

/// What the cells of one layer x position table have in common; a bundle is a stack of such sheets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sheet {
    /// The component.
    pub component: Component,
    /// The head, where the component is per head.
    pub head: Option<usize>,
    /// Rows of the basis, where there is one.
    pub rank: Option<usize>,
    /// The variable of the causal model.
    pub variable: Option<String>,
}

impl fmt::Display for Sheet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(variable) = &self.variable {
            write!(f, "{variable} · ")?;
        }
        write!(f, "{}", self.component)?;
        if let Some(head) = self.head {
            write!(f, ", head {head}")?;
        }
        if let Some(rank) = self.rank {
            write!(f, ", rank {rank}")?;
        }
        Ok(())
    }
}

impl Cell {
    /// The table that the cell stands in.
    pub fn sheet(&self) -> Sheet {
        Sheet {
            component: self.place.site.component,
            head: self.place.head,
            rank: self.basis.as_ref().map(Basis::rank),
            variable: self.variable.clone(),
        }
    }

    /// Its place for people: `op5 · layer 2 block_output, token 129`.
    pub fn title(&self) -> String {
        let variable = self.variable.as_ref().map(|name| format!("{name} · "));
        format!("{}{}", variable.unwrap_or_default(), self.place)
    }

    /// Scores to nine decimals.
    fn rounded(mut self) -> Self {
        let round = |value: &mut f64| *value = (*value * 1e9).round() / 1e9;
        round(&mut self.iia);
        if let Some(controls) = &mut self.controls {
            round(&mut controls.random);
            round(&mut controls.full);
            controls.shuffled.iter_mut().for_each(round);
        }
        self.metrics.probability.iter_mut().for_each(round);
        let differences = self.metrics.logit_difference.iter_mut().flatten();
        differences.for_each(round);
        round(&mut self.metrics.kl);
        self
    }

    fn check(&self, method: Method) -> Result<()> {
        let wrong =
            |name, expected: &str, found: String| Err(value_error(KIND, name, expected, &found));
        let presence = |is_there: bool| if is_there { "there" } else { "missing" };
        let is_low_rank = method == Method::LowRank;
        let Place { site, head, .. } = self.place;
        if head.is_some() != site.component.is_per_head() {
            let expected = presence(site.component.is_per_head());
            return wrong("head", expected, presence(head.is_some()).to_owned());
        }
        if self.basis.is_some() != is_low_rank {
            let expected = format!("{} with this method", presence(is_low_rank));
            return wrong(
                "basis",
                &expected,
                presence(self.basis.is_some()).to_owned(),
            );
        }
        if is_low_rank && self.controls.is_none() {
            return wrong("controls", "there with this method", "missing".to_owned());
        }
        let controls = self.controls.as_ref();
        let [before, after] = self.metrics.probability;
        let shares = [
            ("iia", Some(self.iia)),
            ("controls", controls.map(|controls| controls.random)),
            ("controls", controls.map(|controls| controls.full)),
            ("controls", controls.and_then(|controls| controls.shuffled)),
            ("metrics", Some(before)),
            ("metrics", Some(after)),
        ];
        for (name, share) in shares {
            if let Some(share) = share.filter(|share| !(0.0..=1.0).contains(share)) {
                return wrong(name, "a share from 0 to 1", share.to_string());
            }
        }
        let [before, after] = self.metrics.logit_difference.unwrap_or_default();
        for (name, value) in [
            ("metrics", before),
            ("metrics", after),
            ("metrics", self.metrics.kl),
            ("logit", f64::from(self.logit)),
        ] {
            if !value.is_finite() {
                return wrong(name, "a finite number", value.to_string());
            }
        }
        Ok(())
    }
}

impl Bundle {
    /// A map without cells.
    ///
    /// # Errors
    /// - [`Error::PromptEmpty`] if a prompt of the example pair has no tokens.
    pub fn new(facts: BundleFacts) -> Result<Self> {
        if facts.base.is_empty() || facts.source.is_empty() {
            return Err(Error::PromptEmpty);
        }
        Ok(Self {
            facts,
            cells: Vec::new(),
            places: BTreeMap::new(),
            widths: BTreeMap::new(),
        })
    }

    /// What is the same for all cells.
    pub fn facts(&self) -> &BundleFacts {
        &self.facts
    }

    /// The cells, in the order in which they were added.
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// Adds a cell; its scores are kept to nine decimals.
    ///
    /// # Errors
    /// - [`Error::BundleFull`] if the map is complete already.
    /// - [`Error::BundleTwice`] if there is a cell at its place already.
    /// - [`Error::BundleCell`] if a score is none, its position is outside the example pair, or it has what its method or
    ///   component does not have.
    pub fn push(&mut self, cell: Cell) -> Result<()> {
        let found = self.cells.len() + 1;
        if found > self.facts.n_planned {
            let n_planned = self.facts.n_planned;
            return Err(Error::BundleFull { n_planned, found });
        }
        let in_cell = |cause| Error::BundleCell {
            place: cell.title(),
            cause: Box::new(cause),
        };
        cell.check(self.facts.method).map_err(in_cell)?;
        let Place { site, position, .. } = cell.place;
        let component = site.component;
        if let Some(basis) = &cell.basis
            && let Some(width) = self.widths.get(&component)
            && *width != basis.width()
        {
            return Err(in_cell(Error::TensorShape {
                name: "basis".to_owned(),
                expected: vec![basis.rank(), *width],
                found: vec![basis.rank(), basis.width()],
            }));
        }
        let n_tokens = self.facts.base.len().min(self.facts.source.len());
        position.resolve(n_tokens).map_err(in_cell)?;
        let place = (
            cell.sheet(),
            site.layer,
            position.resolve(self.facts.base.len())?,
        );
        if self.places.contains_key(&place) {
            let place = cell.title();
            return Err(Error::BundleTwice { place });
        }
        self.places.insert(place, self.cells.len());
        let width = cell.basis.as_ref().map(Basis::width);
        self.widths.extend(width.map(|width| (component, width)));
        self.cells.push(cell.rounded());
        Ok(())
    }

    /// True if no cell is missing.
    pub fn is_complete(&self) -> bool {
        self.cells.len() == self.facts.n_planned
    }

    /// The tables that the map consists of, in the order of the forward pass.
    pub fn sheets(&self) -> Vec<Sheet> {
        let sheets: BTreeSet<&Sheet> = self.places.keys().map(|(sheet, ..)| sheet).collect();
        sheets.into_iter().cloned().collect()
    }

    /// Index of the cell of a table at a layer and at a token of the example pair.
    pub fn find(&self, sheet: &Sheet, layer: usize, position: usize) -> Option<usize> {
        self.places.get(&(sheet.clone(), layer, position)).copied()
    }

    /// Index of the cell that works best: highest IIA, then highest probability of the label; the first of equals.
    pub fn best(&self) -> Option<usize> {
        self.best_of(|_| true)
    }

    /// The same among the cells of one table.
    pub fn best_in(&self, sheet: &Sheet) -> Option<usize> {
        self.best_of(|cell| cell.sheet() == *sheet)
    }

    /// The same among some of the cells.
    pub fn best_of(&self, is_wanted: impl Fn(&Cell) -> bool) -> Option<usize> {
        let score = |cell: &Cell| (cell.iia, cell.metrics.probability[1]);
        let mut best: Option<usize> = None;
        for (idx, cell) in self.cells.iter().enumerate() {
            if is_wanted(cell) && best.is_none_or(|best| score(cell) > score(&self.cells[best])) {
                best = Some(idx);
            }
        }
        best
    }

    /// A cell as a direction of its own.
    ///
    /// # Errors
    /// - [`Error::BundleMethod`] if the map's method learns none, or there is no such cell.
    pub fn direction(&self, idx: usize) -> Result<Direction> {
        let facts = &self.facts;
        let learned = self
            .cells
            .get(idx)
            .and_then(|cell| Some((cell, cell.basis.clone()?, cell.controls.clone()?)));
        let Some((cell, basis, controls)) = learned else {
            let method = facts.method.name().to_owned();
            return Err(Error::BundleMethod { method });
        };
        let facts = Facts {
            method: facts.method.name().to_owned(),
            model: facts.model.clone(),
            model_sha256: facts.model_sha256.clone(),
            place: cell.place,
            task: facts.task.clone(),
            variable: cell.variable.clone(),
            train_pairs: facts.train_pairs,
            epochs: facts.epochs,
            lr: facts.lr,
            seed: facts.seed,
            iia: cell.iia,
            controls,
            probe: Probe {
                base: facts.base.clone(),
                source: facts.source.clone(),
                top_1: cell.top_1,
                logit: cell.logit,
            },
            created_by: facts.created_by.clone(),
        };
        Ok(Direction::of_basis(basis, facts))
    }

    /// Checks that the map fits a model's sizes.
    ///
    /// # Errors
    /// - those of [`Gpt2Config::check_ids`] if the model cannot read the example pair.
    /// - [`Error::BundleCell`] if the model has no such layer or head, or another width there.
    pub fn check(&self, config: &Gpt2Config) -> Result<()> {
        config.check_ids(&[&self.facts.base])?;
        config.check_ids(&[&self.facts.source])?;
        for cell in &self.cells {
            match &cell.basis {
                Some(basis) => basis.check(cell.place, config),
                None => cell.place.check(config).map(drop),
            }
            .map_err(|cause| Error::BundleCell {
                place: cell.title(),
                cause: Box::new(cause),
            })?;
        }
        Ok(())
    }

    /// Checks that the map was made with these weights.
    ///
    /// # Errors
    /// - [`Error::DirectionModel`] if it was not.
    pub fn check_model(&self, sha256: &str) -> Result<()> {
        direction::check_sha256(&self.facts.model_sha256, sha256)
    }

    /// The file's bytes; the same bundle gives the same bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let BundleFacts {
            method,
            model,
            model_sha256,
            task,
            train_pairs,
            test_pairs,
            epochs,
            lr,
            seed,
            base,
            source,
            n_planned,
            part,
            run,
            created_by,
        } = &self.facts;
        let cells: Vec<Record> = self.cells.iter().map(Record::of).collect();
        let fields: [(&str, Option<String>); 18] = [
            ("format", Some(FORMAT.to_owned())),
            ("format_version", Some(FORMAT_VERSION.to_owned())),
            ("method", Some(method.name().to_owned())),
            ("model", Some(model.clone())),
            ("model_sha256", Some(model_sha256.clone())),
            ("task", task.clone()),
            ("train_pairs", train_pairs.map(|value| value.to_string())),
            ("test_pairs", Some(test_pairs.to_string())),
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
            .cells
            .iter()
            .enumerate()
            .filter_map(|(idx, cell)| Some(cell.basis.as_ref()?.as_tensor(tensor_name(idx))))
            .collect();
        tensor_file::to_bytes(&fields, &tensors)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// - [`Error::Safetensors`] if it is no safetensors file, truncated, or longer than its header says.
    /// - [`Error::FileField`], [`Error::FileValue`] if a field is missing or cannot be read.
    /// - [`Error::PromptEmpty`] if a prompt of the example pair has no tokens.
    /// - [`Error::BundleFull`], [`Error::BundleTwice`], [`Error::BundleCell`] if a cell is wrong.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let file = TensorFile::new(KIND, bytes)?;
        file.expect("format", FORMAT)?;
        file.expect("format_version", FORMAT_VERSION)?;
        let name = file.text("method")?;
        let method = Method::ALL.iter().find(|(_, own)| *own == name);
        let Some((method, _)) = method else {
            let expected = Method::ALL.map(|(_, name)| name).join(", ");
            let expected = format!("one of {expected}");
            return Err(value_error(KIND, "method", &expected, name));
        };
        let owned = |name| file.optional(name).map(str::to_owned);
        let mut bundle = Self::new(BundleFacts {
            method: *method,
            model: file.text("model")?.to_owned(),
            model_sha256: file.text("model_sha256")?.to_owned(),
            task: owned("task"),
            train_pairs: file.optional_json("train_pairs")?,
            test_pairs: file.json("test_pairs")?,
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
            if *method == Method::LowRank {
                let basis = file
                    .matrix(&tensor_name(idx), "basis")
                    .and_then(|(rows, rank)| Basis::new(rows, rank));
                cell.basis = Some(basis.map_err(|cause| Error::BundleCell {
                    place: cell.title(),
                    cause: Box::new(cause),
                })?);
            }
            bundle.push(cell)?;
        }
        Ok(bundle)
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
    variable: Option<String>,
    iia: f64,
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
            variable: cell.variable.clone(),
            iia: cell.iia,
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
            variable: self.variable,
            basis: None,
            iia: self.iia,
            controls: self.controls,
            metrics: self.metrics,
            top_1: self.top_1,
            logit: self.logit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(method: Method) -> BundleFacts {
        BundleFacts {
            method,
            model: "tiny".to_owned(),
            model_sha256: "00ff".to_owned(),
            task: Some("programs/07065a".to_owned()),
            train_pairs: Some(800),
            test_pairs: 1000,
            epochs: Some(10),
            lr: Some(1e-3 * (768.0f64 / 24.0).sqrt()),
            seed: Some(u64::MAX),
            base: vec![1, 2, 3],
            source: vec![4, 5, 6],
            n_planned: 4,
            part: None,
            run: r#"{"rank":1}"#.to_owned(),
            created_by: None,
        }
    }

    fn cell(layer: usize, position: usize, iia: f64) -> Cell {
        Cell {
            place: Place::new(Component::BlockOutput.at(layer), Position::Index(position)),
            variable: Some("op5".to_owned()),
            basis: Some(Basis::new(vec![0.6, 0.8, 0.0], 1).unwrap()),
            iia,
            controls: Some(Controls {
                random: 0.1 + 0.2,
                full: 1.0,
                shuffled: None,
            }),
            metrics: Metrics {
                probability: [1.0 / 3.0, 2.0 / 3.0],
                logit_difference: Some([-4.0, 3.1234567890123]),
                kl: 1.5,
            },
            top_1: 7,
            logit: 0.1,
        }
    }

    fn bundle() -> Bundle {
        let mut bundle = Bundle::new(facts(Method::LowRank)).unwrap();
        bundle.push(cell(1, 2, 0.9)).unwrap();
        bundle.push(cell(0, 2, 1.0 / 7.0)).unwrap();
        bundle.push(cell(1, 1, 0.9)).unwrap();
        bundle
    }

    #[test]
    fn file_round_trips_to_the_same_bytes() {
        let bytes = bundle().to_bytes();
        let read = Bundle::from_bytes(&bytes).unwrap();
        assert_eq!(read, bundle());
        assert_eq!(read.to_bytes(), bytes);
        assert_eq!(FileKind::of_bytes(&bytes).unwrap(), FileKind::Bundle);
    }

    #[test]
    fn parts_count_from_one() {
        let part: Part = "1/8".parse().unwrap();
        assert_eq!((part.number(), part.n_parts()), (1, 8));
        for text in [
            "0/4", "5/4", "4", "/", "1/0", "0/0", "-1/2", "1/2/3", "a/b", "",
        ] {
            let error = text.parse::<Part>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
    }

    #[test]
    fn part_of_a_map_is_read_as_one() {
        let mut facts = facts(Method::LowRank);
        facts.part = Some("2/4".parse().unwrap());
        let mut part = Bundle::new(facts).unwrap();
        part.push(cell(1, 2, 0.9)).unwrap();
        let bytes = part.to_bytes();
        assert_eq!(Bundle::from_bytes(&bytes).unwrap(), part);
        let field = br#""part":"2/4""#;
        let at = (bytes.windows(field.len())).position(|window| window == field);
        let at = at.unwrap() + br#""part":""#.len();
        let mut changed = bytes.clone();
        changed[at] = b'5';
        let error = Bundle::from_bytes(&changed).unwrap_err().to_string();
        assert!(error.contains("`5/4`") && error.contains("I/N"), "{error}");
    }

    #[test]
    fn every_method_round_trips() {
        for (method, _) in Method::ALL {
            let mut bundle = Bundle::new(facts(method)).unwrap();
            let mut cell = cell(0, 0, 0.5);
            if method != Method::LowRank {
                (cell.basis, cell.controls) = (None, None);
                cell.place.site.component = Component::HeadQueryOutput;
                cell.place.head = Some(3);
                cell.place.position = Position::LAST;
                cell.metrics.logit_difference = None;
            }
            bundle.push(cell).unwrap();
            assert_eq!(Bundle::from_bytes(&bundle.to_bytes()).unwrap(), bundle);
        }
    }

    #[test]
    fn cell_is_a_direction_of_its_own() {
        let direction = bundle().direction(1).unwrap();
        assert_eq!(direction.facts.place.site, Component::BlockOutput.at(0));
        assert_eq!(direction.facts.probe.source, [4, 5, 6]);
        assert_eq!((direction.rank(), direction.width()), (1, 3));
        let bytes = direction.to_bytes();
        assert_eq!(Direction::from_bytes(&bytes).unwrap(), direction);
        assert_eq!(FileKind::of_bytes(&bytes).unwrap(), FileKind::Direction);
        assert!(bundle().direction(3).is_err());
        let whole = Bundle::new(facts(Method::Zero)).unwrap();
        let error = whole.direction(0).unwrap_err().to_string();
        assert!(error.contains("`zero`"), "{error}");
    }

    #[test]
    fn best_cell_and_places_are_found() {
        let mut bundle = bundle();
        assert_eq!(bundle.best(), Some(0), "the first of equals");
        assert!(!bundle.is_complete());
        let mut other = cell(1, 0, 0.9);
        other.metrics.probability[1] = 0.7;
        other.variable = Some("op3".to_owned());
        bundle.push(other).unwrap();
        assert!(bundle.is_complete());
        assert_eq!(bundle.best(), Some(3), "surer of the label");
        let sheets = bundle.sheets();
        assert_eq!(sheets.len(), 2);
        assert_eq!(bundle.best_in(&cell(0, 0, 0.0).sheet()), Some(0));
        assert_eq!(bundle.find(&sheets[1], 1, 1), Some(2));
        assert_eq!(bundle.find(&sheets[0], 1, 1), None);
        let error = bundle.push(cell(0, 0, 0.5)).unwrap_err().to_string();
        assert!(error.contains("5 cells"), "{error}");
    }

    #[test]
    fn truncated_and_extended_files_are_refused() {
        let bytes = bundle().to_bytes();
        for len in 0..bytes.len() {
            assert!(Bundle::from_bytes(&bytes[..len]).is_err(), "{len} bytes");
        }
        assert!(Bundle::from_bytes(&[&bytes[..], b"x"].concat()).is_err());
    }

    #[track_caller]
    fn check_refused(change: impl FnOnce(&mut Cell), part: &str) {
        let mut cell = cell(0, 1, 0.5);
        change(&mut cell);
        let error = bundle().push(cell).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }

    #[test]
    fn hostile_cells_are_refused() {
        check_refused(|cell| cell.iia = 1.01, "iia");
        check_refused(|cell| cell.iia = f64::NAN, "NaN");
        check_refused(|cell| cell.metrics.probability[0] = -0.1, "-0.1");
        check_refused(|cell| cell.metrics.kl = f64::INFINITY, "inf");
        check_refused(|cell| cell.logit = f32::NAN, "logit");
        check_refused(
            |cell| cell.metrics.logit_difference = Some([0.0, f64::NAN]),
            "NaN",
        );
        check_refused(|cell| cell.controls = None, "controls");
        check_refused(|cell| cell.basis = None, "basis");
        check_refused(|cell| cell.place.head = Some(0), "head");
        check_refused(
            |cell| cell.place.site.component = Component::HeadKeyOutput,
            "head",
        );
        check_refused(|cell| cell.place.position = Position::Index(3), "0 to 2");
        check_refused(
            |cell| cell.basis = Some(Basis::new(vec![0.0, 1.0], 1).unwrap()),
            "[1, 3]",
        );
        // The last token is token 2.
        check_refused(|cell| cell.place.position = Position::LAST, "two cells");
        let mut facts = facts(Method::Mean);
        facts.base.clear();
        assert!(Bundle::new(facts).is_err());
    }

    #[test]
    fn hostile_files_are_refused() {
        let bytes = bundle().to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        for (from, to, part) in [
            (
                r#""format_version":"1""#,
                r#""format_version":"2""#,
                "format_version",
            ),
            (
                r#""format":"swivel.bundle""#,
                r#""format":"swivel.bungle""#,
                "format",
            ),
            (
                r#""method":"low_rank""#,
                r#""method":"low_bank""#,
                "low_bank",
            ),
            // Without bases.
            (r#""basis.1":"#, r#""basis.7":"#, "basis"),
            (r#""n_planned":"4""#, r#""n_planned":"2""#, "3 cells"),
            (r#""base":"[1,2,3]""#, r#""base":"[1,2,-]""#, "base"),
            (r#""base":"[1,2,3]""#, r#""base":"[     ]""#, "empty"),
            (
                r#"\"component\":\"block_output\""#,
                r#"\"component\":\"block_outptu\""#,
                "block_outptu",
            ),
            (r#"\"iia\":0.9,"#, r#"\"iia\":1.9,"#, "0 to 1"),
            (r#"\"iia\":0.9,"#, r#"\"iib\":0.9,"#, "iia"),
            (r#"\"logit\":0."#, r#"\"logix\":0."#, "logit"),
            (
                r#"\"position\":\"1\""#,
                r#"\"position\":\"2\""#,
                "two cells",
            ),
            (r#""shape":[1,3]"#, r#""shape":[3,1]"#, "rank 3"),
        ] {
            assert!(text.contains(from), "{from}");
            // Same length, so that the offsets still fit.
            assert_eq!(from.len(), to.len(), "{from}");
            let at = bytes
                .windows(from.len())
                .position(|window| window == from.as_bytes())
                .unwrap();
            let mut changed = bytes.clone();
            changed[at..at + to.len()].copy_from_slice(to.as_bytes());
            let error = Bundle::from_bytes(&changed).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        let mut slanted = bytes.clone();
        let last = slanted.len() - 4;
        slanted[last..].copy_from_slice(&0.5f32.to_le_bytes());
        let error = Bundle::from_bytes(&slanted).unwrap_err().to_string();
        assert!(error.contains("not orthonormal"), "{error}");
        slanted[last..].copy_from_slice(&f32::NAN.to_le_bytes());
        let error = Bundle::from_bytes(&slanted).unwrap_err().to_string();
        assert!(error.contains("NaN"), "{error}");
    }

    #[test]
    fn map_that_does_not_fit_the_model_is_refused() {
        let config = r#"{"model_type": "gpt2", "n_embd": 3, "n_head": 1, "n_layer": 2, "n_positions": 8, "vocab_size": 9}"#;
        let config = Gpt2Config::from_json(config.as_bytes()).unwrap();
        bundle().check(&config).unwrap();
        let check = |change: &dyn Fn(&mut Gpt2Config), part: &str| {
            let mut config = config.clone();
            change(&mut config);
            let error = bundle().check(&config).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        };
        check(&|config| config.n_layers = 1, "layer 1");
        check(&|config| config.d_model = 4, "width 3");
        check(&|config| config.d_vocab = 6, "token id 6");
        check(&|config| config.n_ctx = 2, "at most 2");
        bundle().check_model("00ff").unwrap();
        assert!(bundle().check_model("00fe").is_err());
    }
}

//! A sweep result that was opened: tables of cells, and the one that is shown.

mod opening;
mod switching;

use std::{collections::BTreeSet, sync::Arc};

use swivel_core::{
    Result,
    plan::Operation,
    sweep::{Cell, MapKey, Method, SweepResult},
};

use super::{picture::Cursor, prompt::Prompts};

/// A sweep result that was opened.
#[derive(Clone, Debug)]
pub struct OpenedSweep {
    /// File name.
    pub name: String,
    /// What it holds.
    pub result: SweepResult,
    /// The cell under the cursor.
    pub cursor: Cursor,
    /// True if a person closed it; what was switched on from it stays.
    pub is_closed: bool,
    /// Why the model of the page cannot have such cells, where it cannot.
    pub misfit: Option<String>,
    bytes: Arc<[u8]>,
    keys: Vec<MapKey>,
    /// The one of `keys` that is shown.
    shown: usize,
    /// Index of its best cell.
    best: Option<usize>,
    /// The lowest score of all.
    lowest: f64,
    layers: BTreeSet<usize>,
    positions: BTreeSet<usize>,
}

/// What a file turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenedFile {
    /// A direction, by its index among the opened ones.
    Direction(usize),
    /// A sweep result, by its index among the opened ones.
    Map(usize),
}

/// What cells of a sweep may differ in, beside layer and token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Facet {
    /// Variable of the causal model.
    Variable,
    /// Component.
    Component,
    /// Head.
    Head,
    /// Rank of the direction.
    Rank,
}

impl Facet {
    /// All, with their names.
    pub const ALL: [(Facet, &'static str); 4] = [
        (Facet::Variable, "variable"),
        (Facet::Component, "component"),
        (Facet::Head, "head"),
        (Facet::Rank, "rank"),
    ];

    fn text(self, key: &MapKey) -> String {
        let number = |number: Option<usize>| number.map(|number| number.to_string());
        let text = match self {
            Self::Variable => key.variable.clone(),
            Self::Component => Some(key.component.to_string()),
            Self::Head => number(key.head),
            Self::Rank => number(key.rank),
        };
        text.unwrap_or_else(|| "none".to_owned())
    }
}

/// The values of a facet that the cells differ in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FacetChoice {
    /// Which.
    pub facet: Facet,
    /// Its name.
    pub name: &'static str,
    /// Its values.
    pub values: Vec<String>,
    /// Index of the value that is shown.
    pub current: usize,
}

impl OpenedSweep {
    fn new(name: &str, bytes: &[u8]) -> Result<Self> {
        let result = SweepResult::from_bytes(bytes)?;
        let keys = result.map_keys();
        let n_tokens = result.facts().base.len();
        let places = result.cells().iter().filter_map(|cell| {
            let position = cell.place.position.resolve(n_tokens).ok()?;
            Some((cell.place.site.layer, position))
        });
        let (layers, positions) = places.unzip();
        let mut map = Self {
            name: name.to_owned(),
            cursor: Cursor {
                layer: 0,
                position: n_tokens - 1,
            },
            is_closed: false,
            misfit: None,
            bytes: bytes.into(),
            keys,
            shown: 0,
            best: result.best(),
            lowest: (result.cells().iter()).fold(0.5, |lowest, cell| cell.iia.min(lowest)),
            layers,
            positions,
            result,
        };
        if let Some(best) = map.best {
            let cell = &map.result.cells()[best];
            let key = cell.map_key();
            map.cursor.layer = cell.place.site.layer;
            map.cursor.position = cell.place.position.resolve(n_tokens)?;
            map.shown = (map.keys.iter()).position(|own| *own == key).unwrap_or(0);
        }
        Ok(map)
    }

    /// What it is called on the page: by its file, and by what was done at its cells where that was not learned.
    pub fn title(&self) -> String {
        let name = self.name.trim_end_matches(".safetensors");
        match self.result.facts().method {
            Method::Das => format!("Sweep result: {name}"),
            method => format!("Sweep result ({}): {name}", method.name()),
        }
    }

    /// What is done when a cell is switched on. The mean over other prompts is not known here: a swap stands in its place.
    pub fn operation(&self) -> &'static Operation {
        match self.result.facts().method {
            Method::Das => Operation::LOW_RANK,
            Method::Zero => Operation::ZERO,
            Method::Interchange | Method::Mean => Operation::INTERCHANGE,
        }
    }

    /// The table that is shown; `None` where there are no cells.
    pub fn map_key(&self) -> Option<&MapKey> {
        self.keys.get(self.shown)
    }

    /// What the cells differ in, beside layer and token.
    pub fn facets(&self) -> Vec<FacetChoice> {
        let Some(shown) = self.map_key() else {
            return Vec::new();
        };
        let choices = Facet::ALL.into_iter().filter_map(|(facet, name)| {
            let values = self.values(facet);
            let current = facet.text(shown);
            Some(FacetChoice {
                facet,
                name,
                current: values.iter().position(|value| *value == current)?,
                values,
            })
        });
        choices.filter(|choice| choice.values.len() > 1).collect()
    }

    fn values(&self, facet: Facet) -> Vec<String> {
        let mut values: Vec<String> = Vec::new();
        for key in &self.keys {
            let text = facet.text(key);
            if !values.contains(&text) {
                values.push(text);
            }
        }
        values
    }

    /// Shows the table with another value of one facet, and as far as there is one the same values of the others.
    fn choose(&mut self, facet: Facet, value: usize) {
        let values = self.values(facet);
        let (Some(value), Some(shown)) = (values.get(value), self.map_key()) else {
            return;
        };
        let n_same = |key: &MapKey| {
            let same = |(facet, _): &&(Facet, _)| facet.text(key) == facet.text(shown);
            Facet::ALL.iter().filter(same).count()
        };
        let fitting = self.keys.iter().enumerate();
        let fitting = fitting.filter(|(_, key)| facet.text(key) == *value);
        // The first of equals.
        let nearest = fitting.rev().max_by_key(|(_, key)| n_same(key));
        if let Some((idx, _)) = nearest {
            self.show(idx);
        }
    }

    /// Shows the table with this index.
    pub(super) fn show(&mut self, key: usize) {
        self.shown = key;
        self.best = self.map_key().and_then(|key| self.result.best_in(key));
    }

    /// Tokens that there are cells at.
    pub fn positions(&self) -> Vec<usize> {
        self.positions.iter().copied().collect()
    }

    /// Index of the cell at a place of the table that is shown.
    pub fn find(&self, place: Cursor) -> Option<usize> {
        self.result
            .find(self.map_key()?, place.layer, place.position)
    }

    /// The cell at a place of the table that is shown.
    pub fn cell(&self, place: Cursor) -> Option<&Cell> {
        self.result.cells().get(self.find(place)?)
    }

    /// Index of the best cell of the table that is shown.
    pub fn best(&self) -> Option<usize> {
        self.best
    }

    /// How strong a cell's colour is, 0..1: nothing where a random direction does as well, all of it where the swap works always.
    /// Where there is no such control, the weakest cell of all stands for it.
    pub fn share(&self, cell: &Cell) -> f32 {
        let controls = cell.controls.as_ref();
        let chance = controls.map_or(self.lowest, |controls| controls.random);
        match chance < 1.0 {
            true => ((cell.iia - chance) / (1.0 - chance)).clamp(0.0, 1.0) as f32,
            false => 0.0,
        }
    }

    /// How much of the sweep there is.
    pub fn extent(&self) -> String {
        let (n_cells, n_planned) = (self.result.cells().len(), self.result.facts().n_planned);
        match self.result.is_complete() {
            true => format!("{n_cells} cells"),
            false => format!("{n_cells} of {n_planned} cells: the sweep was interrupted"),
        }
    }

    /// The table that is shown, and how much of the sweep there is.
    pub fn caption(&self) -> String {
        match self.map_key() {
            Some(key) => format!("{key} · {}", self.extent()),
            None => self.extent(),
        }
    }

    /// The sweep result in half a sentence: how much of it there is, and its best cell.
    pub fn summary(&self) -> String {
        let best = self.result.best().map(|idx| &self.result.cells()[idx]);
        let best = best.map(|cell| format!("; best {} ({:.3})", cell.title(), cell.iia));
        format!(
            "a sweep result, {}{}",
            self.extent(),
            best.unwrap_or_default()
        )
    }

    fn prompts(&self) -> Prompts {
        Prompts {
            base: self.result.facts().base.clone(),
            source: self.result.facts().source.clone(),
        }
    }
}

//! The map itself: its cells, added one by one, found by place, compared, and cut out as directions.

use std::collections::{BTreeMap, BTreeSet};

use super::{Cell, MapKey, SweepFacts};
use crate::{
    Component, Place, Position, Sizes,
    direction::{self, Basis, Direction, Facts, Measured, Probe},
    load::TensorError,
    sizes::PromptError,
    tensor_file::FileError,
};

/// A map: what is the same for all cells, and the cells.
#[derive(Clone, Debug, PartialEq)]
pub struct SweepResult {
    facts: SweepFacts,
    cells: Vec<Cell>,
    /// Index of the cell at each key, layer and token.
    places: BTreeMap<(MapKey, usize, usize), usize>,
    /// Width of the bases at each component.
    widths: BTreeMap<Component, usize>,
}

impl SweepResult {
    /// A map without cells.
    ///
    /// # Errors
    /// - [`FileError::Prompt`] if a prompt of the example pair has no tokens.
    pub fn new(facts: SweepFacts) -> Result<Self, FileError> {
        if facts.base.is_empty() || facts.source.is_empty() {
            return Err(PromptError::Empty.into());
        }
        Ok(Self {
            facts,
            cells: Vec::new(),
            places: BTreeMap::new(),
            widths: BTreeMap::new(),
        })
    }

    /// What is the same for all cells.
    pub fn facts(&self) -> &SweepFacts {
        &self.facts
    }

    /// The cells, in the order in which they were added.
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// Adds a cell; its scores are kept to nine decimals.
    ///
    /// # Errors
    /// - [`FileError::SweepFull`] if the map is complete already.
    /// - [`FileError::SweepTwice`] if there is a cell at its place already.
    /// - [`FileError::SweepCell`] if a score is none, its position is outside the example pair, or it has what its method or
    ///   component does not have.
    pub fn push(&mut self, cell: Cell) -> Result<(), FileError> {
        let found = self.cells.len() + 1;
        if found > self.facts.n_planned {
            let n_planned = self.facts.n_planned;
            return Err(FileError::SweepFull { n_planned, found });
        }
        cell.check(self.facts.method)
            .map_err(|cause| cell.wrong(cause))?;
        let Place { site, position, .. } = cell.place;
        let component = site.component;
        if let Some(basis) = &cell.basis
            && let Some(width) = self.widths.get(&component)
            && *width != basis.width()
        {
            return Err(cell.wrong(TensorError::Shape {
                name: "basis".to_owned(),
                expected: vec![basis.rank(), *width],
                found: vec![basis.rank(), basis.width()],
            }));
        }
        let n_tokens = self.facts.base.len().min(self.facts.source.len());
        position
            .resolve(n_tokens)
            .map_err(|cause| cell.wrong(cause))?;
        let place = (
            cell.map_key(),
            site.layer,
            position.resolve(self.facts.base.len())?,
        );
        if self.places.contains_key(&place) {
            let place = cell.title();
            return Err(FileError::SweepTwice { place });
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
    pub fn map_keys(&self) -> Vec<MapKey> {
        let keys: BTreeSet<&MapKey> = self.places.keys().map(|(key, ..)| key).collect();
        keys.into_iter().cloned().collect()
    }

    /// Index of the cell of a table at a layer and at a token of the example pair.
    pub fn find(&self, key: &MapKey, layer: usize, position: usize) -> Option<usize> {
        self.places.get(&(key.clone(), layer, position)).copied()
    }

    /// Index of the cell that works best: highest IIA, on validation pairs where there are some, then highest probability of the
    /// label; the first of equals.
    pub fn best(&self) -> Option<usize> {
        self.best_of(|_| true)
    }

    /// The same among the cells of one table.
    pub fn best_in(&self, key: &MapKey) -> Option<usize> {
        self.best_of(|cell| cell.map_key() == *key)
    }

    /// The same among some of the cells.
    pub fn best_of(&self, is_wanted: impl Fn(&Cell) -> bool) -> Option<usize> {
        let iia = |cell: &Cell| cell.validation.unwrap_or(cell.iia);
        let score = |cell: &Cell| (iia(cell), cell.metrics.probability[1]);
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
    /// - [`FileError::SweepMethod`] if the map's method learns none, or there is no such cell.
    pub fn direction(&self, idx: usize) -> Result<Direction, FileError> {
        let facts = &self.facts;
        let learned = self
            .cells
            .get(idx)
            .and_then(|cell| Some((cell, cell.basis.clone()?, cell.controls.clone()?)));
        let Some((cell, basis, controls)) = learned else {
            let method = facts.method.name().to_owned();
            return Err(FileError::SweepMethod { method });
        };
        // Counted from the end it is the last token of any prompt.
        let is_last = cell.token.as_deref() == Some("last");
        let place = Place {
            position: if is_last {
                Position::LAST
            } else {
                cell.place.position
            },
            ..cell.place
        };
        let facts = Facts {
            method: facts.method.name().to_owned(),
            model: facts.model.clone(),
            model_sha256: facts.model_sha256.clone(),
            first_token: facts.first_token.clone(),
            place,
            token: cell.token.clone().filter(|_| !is_last),
            task: facts.task.clone(),
            variable: cell.variable.clone(),
            templates: facts.templates.clone(),
            train_pairs: facts.train_pairs,
            epochs: facts.epochs,
            lr: facts.lr,
            seed: facts.seed,
            iia: cell.iia,
            controls,
            measured: Measured {
                pairs: Some(facts.test_pairs),
                validation: cell.validation,
                known: facts.known,
                unseen: cell.unseen.clone(),
                ..Measured::default()
            },
            probe: Probe {
                base: facts.base.clone(),
                source: facts.source.clone(),
                source_position: None,
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
    /// - those of [`Sizes::check_ids`] if the model cannot read the example pair.
    /// - [`FileError::SweepCell`] if the model has no such layer or head, or another width there.
    pub fn check(&self, sizes: &Sizes) -> Result<(), FileError> {
        sizes.check_ids(&[&self.facts.base])?;
        sizes.check_ids(&[&self.facts.source])?;
        for cell in &self.cells {
            match &cell.basis {
                Some(basis) => basis.check(cell.place, sizes),
                None => cell.place.check(sizes).map(drop).map_err(FileError::from),
            }
            .map_err(|cause| cell.wrong(cause))?;
        }
        Ok(())
    }

    /// Checks that the map was made with these weights.
    ///
    /// # Errors
    /// - [`FileError::DirectionModel`] if it was not.
    pub fn check_model(&self, sha256: &str) -> Result<(), FileError> {
        direction::check_sha256(&self.facts.model_sha256, sha256)
    }
}

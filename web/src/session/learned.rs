//! Learned maps: bundles that were opened, and their cells as cards.

use std::{collections::BTreeSet, sync::Arc};

use swivel_core::{
    Position, Result,
    bundle::{Bundle, Cell, FileKind, Method, Sheet},
    plan::Operation,
};

use super::{Card, Cursor, Opened, Picture, Prompts, Session, Side, visible};

/// A bundle that was opened.
#[derive(Clone, Debug)]
pub struct LearnedMap {
    /// File name.
    pub name: String,
    /// What it holds.
    pub bundle: Bundle,
    /// The cell under the cursor.
    pub cursor: Cursor,
    /// True if a person closed it; what was switched on from it stays.
    pub is_closed: bool,
    /// Why the model of the page cannot have such cells, where it cannot.
    pub misfit: Option<String>,
    bytes: Arc<[u8]>,
    sheets: Vec<Sheet>,
    /// The one of `sheets` that is shown.
    shown: usize,
    /// Index of its best cell.
    best: Option<usize>,
    /// The lowest score of all.
    lowest: f64,
    layers: BTreeSet<usize>,
    positions: BTreeSet<usize>,
}

/// Where a direction was taken from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    map: usize,
    cell: usize,
    pub(super) title: String,
}

/// What a file turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenedFile {
    /// A direction, by its index in [`Session::directions`].
    Direction(usize),
    /// A map, by its index in [`Session::maps`].
    Map(usize),
}

/// What cells of a map may differ in, beside layer and token.
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

    fn text(self, sheet: &Sheet) -> String {
        let number = |number: Option<usize>| number.map(|number| number.to_string());
        let text = match self {
            Self::Variable => sheet.variable.clone(),
            Self::Component => Some(sheet.component.to_string()),
            Self::Head => number(sheet.head),
            Self::Rank => number(sheet.rank),
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

impl LearnedMap {
    fn new(name: &str, bytes: &[u8]) -> Result<Self> {
        let bundle = Bundle::from_bytes(bytes)?;
        let sheets = bundle.sheets();
        let n_tokens = bundle.facts().base.len();
        let places = bundle.cells().iter().filter_map(|cell| {
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
            sheets,
            shown: 0,
            best: bundle.best(),
            lowest: (bundle.cells().iter()).fold(0.5, |lowest, cell| cell.iia.min(lowest)),
            layers,
            positions,
            bundle,
        };
        if let Some(best) = map.best {
            let cell = &map.bundle.cells()[best];
            let sheet = cell.sheet();
            map.cursor.layer = cell.place.site.layer;
            map.cursor.position = cell.place.position.resolve(n_tokens)?;
            map.shown = (map.sheets.iter())
                .position(|own| *own == sheet)
                .unwrap_or(0);
        }
        Ok(map)
    }

    /// What the cells are called on the page: learned directions, or whole values.
    pub fn title(&self) -> String {
        let name = self.name.trim_end_matches(".safetensors");
        match self.bundle.facts().method {
            Method::LowRank => format!("Learned map: {name}"),
            method => format!("Map ({}): {name}", method.name()),
        }
    }

    /// The table that is shown; `None` in a map without cells.
    pub fn sheet(&self) -> Option<&Sheet> {
        self.sheets.get(self.shown)
    }

    /// What the cells differ in, beside layer and token.
    pub fn facets(&self) -> Vec<FacetChoice> {
        let Some(shown) = self.sheet() else {
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
        for sheet in &self.sheets {
            let text = facet.text(sheet);
            if !values.contains(&text) {
                values.push(text);
            }
        }
        values
    }

    /// Shows the table with another value of one facet, and as far as there is one the same values of the others.
    fn choose(&mut self, facet: Facet, value: usize) {
        let values = self.values(facet);
        let (Some(value), Some(shown)) = (values.get(value), self.sheet()) else {
            return;
        };
        let n_same = |sheet: &Sheet| {
            let same = |(facet, _): &&(Facet, _)| facet.text(sheet) == facet.text(shown);
            Facet::ALL.iter().filter(same).count()
        };
        let fitting = self.sheets.iter().enumerate();
        let fitting = fitting.filter(|(_, sheet)| facet.text(sheet) == *value);
        // The first of equals.
        let nearest = fitting.rev().max_by_key(|(_, sheet)| n_same(sheet));
        if let Some((idx, _)) = nearest {
            self.show(idx);
        }
    }

    /// Shows the table with this index.
    pub(super) fn show(&mut self, sheet: usize) {
        self.shown = sheet;
        self.best = self.sheet().and_then(|sheet| self.bundle.best_in(sheet));
    }

    /// Tokens that the map has cells at.
    pub fn positions(&self) -> Vec<usize> {
        self.positions.iter().copied().collect()
    }

    /// Index of the cell at a place of the table that is shown.
    pub fn find(&self, place: Cursor) -> Option<usize> {
        self.bundle.find(self.sheet()?, place.layer, place.position)
    }

    /// The cell at a place of the table that is shown.
    pub fn cell(&self, place: Cursor) -> Option<&Cell> {
        self.bundle.cells().get(self.find(place)?)
    }

    /// Index of the best cell of the table that is shown.
    pub fn best(&self) -> Option<usize> {
        self.best
    }

    /// How strong a cell's colour is, 0..1: nothing where a random direction does as well, all of it where the swap works always.
    /// Where there is no such control, the weakest cell of the map stands for it.
    pub fn share(&self, cell: &Cell) -> f32 {
        let controls = cell.controls.as_ref();
        let chance = controls.map_or(self.lowest, |controls| controls.random);
        match chance < 1.0 {
            true => ((cell.iia - chance) / (1.0 - chance)).clamp(0.0, 1.0) as f32,
            false => 0.0,
        }
    }

    /// How much of the map there is.
    pub fn extent(&self) -> String {
        let (n_cells, n_planned) = (self.bundle.cells().len(), self.bundle.facts().n_planned);
        match self.bundle.is_complete() {
            true => format!("{n_cells} cells"),
            false => format!("{n_cells} of {n_planned} cells: the sweep was interrupted"),
        }
    }

    /// The table that is shown, and how much of the map there is.
    pub fn caption(&self) -> String {
        match self.sheet() {
            Some(sheet) => format!("{sheet} · {}", self.extent()),
            None => self.extent(),
        }
    }

    /// The map in half a sentence: how much of it there is, and its best cell.
    pub fn summary(&self) -> String {
        let best = self.bundle.best().map(|idx| &self.bundle.cells()[idx]);
        let best = best.map(|cell| format!("; best {} ({:.3})", cell.title(), cell.iia));
        format!("a map, {}{}", self.extent(), best.unwrap_or_default())
    }

    fn prompts(&self) -> Prompts {
        Prompts {
            base: self.bundle.facts().base.clone(),
            source: self.bundle.facts().source.clone(),
        }
    }
}

impl Session {
    /// Opens a direction file or a bundle.
    ///
    /// # Errors
    /// - those of [`FileKind::of_bytes`], [`Session::open_direction`] and [`Bundle::from_bytes`]
    /// - those of [`Bundle::check`] if a model is there and it does not fit
    pub fn open_file(&mut self, name: &str, bytes: &[u8]) -> Result<OpenedFile> {
        match FileKind::of_bytes(bytes)? {
            FileKind::Direction => {
                let idx = self.open_direction(name, bytes, false)?;
                Ok(OpenedFile::Direction(idx))
            }
            FileKind::Bundle => Ok(OpenedFile::Map(self.open_map(name, bytes)?)),
        }
    }

    fn open_map(&mut self, name: &str, bytes: &[u8]) -> Result<usize> {
        if let Some(idx) = self.maps.iter().position(|own| *own.bytes == *bytes) {
            self.maps[idx].is_closed = false;
            return Ok(idx);
        }
        let map = LearnedMap::new(name, bytes)?;
        if let Some(model) = &self.model {
            map.bundle.check(&model.config)?;
        }
        self.maps.push(map);
        Ok(self.maps.len() - 1)
    }

    /// Closes the map that is shown.
    pub fn close_map(&mut self) {
        if let Picture::Learned(idx) = self.picture
            && let Some(map) = self.maps.get_mut(idx)
        {
            map.is_closed = true;
            self.picture = Picture::default();
        }
    }

    /// After another model was taken.
    pub(super) fn check_maps(&mut self) {
        if let Some(model) = &self.model {
            for map in &mut self.maps {
                let checked = map.bundle.check(&model.config);
                map.misfit = checked.err().map(|error| error.to_string());
            }
        }
    }

    /// The map that is shown, and its index.
    pub fn learned(&self) -> Option<(usize, &LearnedMap)> {
        match self.picture {
            Picture::Learned(idx) => Some((idx, self.maps.get(idx)?)),
            _ => None,
        }
    }

    /// Layers of a map, the last one first; of one that was interrupted all layers of the model, since any may be missing.
    pub fn learned_layers(&self, map: &LearnedMap) -> Vec<usize> {
        let mut layers = map.layers.clone();
        if !map.bundle.is_complete() {
            layers.extend(0..self.n_layers());
        }
        layers.into_iter().rev().collect()
    }

    /// Text of a map's token: the page's own where its prompts are as long as the example pair's, else the example's.
    pub fn learned_token(&self, map: &LearnedMap, position: usize) -> String {
        let ids = &map.bundle.facts().base;
        let own = &self.choices.base.pieces;
        let piece = match own.len() == ids.len() {
            true => own.get(position).cloned(),
            false => ids.get(position).map(|id| self.token(*id)),
        };
        visible(&piece.unwrap_or_default())
    }

    /// What a person should know about a map before reading it.
    pub fn learned_warnings(&self, map: &LearnedMap) -> Vec<String> {
        let facts = map.bundle.facts();
        let mut warnings = Vec::new();
        if let Some(misfit) = &map.misfit {
            warnings.push(format!("Made with another model: {misfit}."));
        } else if let Some(model) = &self.model
            && map.bundle.check_model(&model.sha256).is_err()
        {
            warnings.push(format!(
                "Made with other weights ({}): its scores say nothing about this model.",
                facts.model
            ));
        }
        let lengths = [facts.base.len(), facts.source.len()];
        let own = Side::BOTH.map(|side| self.choices.prompt(side).ids.len());
        if own != lengths {
            let text = |[base, source]: [usize; 2]| match base == source {
                true => base.to_string(),
                false => format!("{base} and {source}"),
            };
            let beyond = match own.iter().min() < lengths.iter().min() {
                true => "cells beyond your prompts cannot be switched on",
                false => "the same token number is another place in yours",
            };
            warnings.push(format!(
                "Its example pair has {} tokens, your prompts have {}: {beyond}.",
                text(lengths),
                text(own)
            ));
        }
        warnings
    }

    /// Why a cell cannot be switched on, where it cannot.
    pub fn learned_problem(&self, map: &LearnedMap, cell: &Cell) -> Option<String> {
        if map.misfit.is_some() {
            return Some("this model has no such place".to_owned());
        }
        let [base, source] = Side::BOTH.map(|side| self.choices.prompt(side).ids.len());
        let position = cell.place.position.resolve(base.min(source));
        position.err().map(|_| {
            format!(
                "your prompts end before it, at token {}: load its example pair",
                base.min(source).saturating_sub(1)
            )
        })
    }

    /// True if the cell with this index is switched on.
    pub fn is_learned_on(&self, map: usize, cell: usize) -> bool {
        self.learned_card(map, cell)
            .is_some_and(|idx| self.choices.cards[idx].is_on)
    }

    /// The card of a cell: with its direction, or, where the map has none, with the whole value at its place.
    fn learned_card(&self, map: usize, cell: usize) -> Option<usize> {
        let found = self.maps.get(map)?.bundle.cells().get(cell)?;
        let place = found.place.position.resolve(self.choices.base.ids.len());
        self.choices
            .cards
            .iter()
            .position(|card| match card.direction {
                Some(idx) => self.directions[idx].is_of(map, Some(cell)),
                None => {
                    let own = card.place.position.resolve(self.choices.base.ids.len());
                    found.basis.is_none()
                        && (card.place.site, card.place.head)
                            == (found.place.site, found.place.head)
                        && matches!((own, &place), (Ok(own), Ok(place)) if own == *place)
                }
            })
    }

    /// Moves the cursor of the map that is shown by so many layers up and tokens to the right.
    pub fn move_in_map(&mut self, up: isize, right: isize) {
        let Some((idx, map)) = self.learned() else {
            return;
        };
        let (mut layers, positions) = (self.learned_layers(map), map.positions());
        layers.reverse();
        let moved = |all: &[usize], from: usize, by: isize| {
            let at = all.iter().position(|own| *own == from).unwrap_or(0);
            let last = all.len().saturating_sub(1);
            let to = (at as isize).saturating_add(by).clamp(0, last as isize);
            all.get(to as usize).copied().unwrap_or(from)
        };
        let cursor = Cursor {
            layer: moved(&layers, map.cursor.layer, up),
            position: moved(&positions, map.cursor.position, right),
        };
        self.maps[idx].cursor = cursor;
    }

    /// Puts the cursor of the map that is shown on a cell and switches that cell on, alone; off, if it is on.
    ///
    /// # Errors
    /// - why it cannot be
    pub fn toggle_learned(&mut self, place: Cursor) -> Result<(), String> {
        let Some((map_idx, map)) = self.learned() else {
            return Ok(());
        };
        let found = map.find(place);
        self.maps[map_idx].cursor = place;
        let map = &self.maps[map_idx];
        let cells = map.bundle.cells();
        let Some((cell_idx, cell)) = found.and_then(|idx| Some((idx, cells.get(idx)?))) else {
            return Err("This cell was not computed.".to_owned());
        };
        if let Some(problem) = self.learned_problem(map, cell) {
            return Err(format!(
                "{} cannot be switched on: {problem}.",
                cell.title()
            ));
        }
        if let Some(idx) = self.learned_card(map_idx, cell_idx)
            && self.choices.cards[idx].is_on
        {
            self.remove_card(idx);
            return Ok(());
        }
        let (mut place, position) = (cell.place, cell.place.position);
        let last_is_last = |n_tokens: usize| match position {
            Position::Index(position) => Position::of(position, n_tokens),
            position => position,
        };
        let [base_position, source_position] =
            Side::BOTH.map(|side| last_is_last(self.choices.prompt(side).ids.len()));
        place.position = base_position;
        // The mean over other prompts is not known here: what stands at a cell of such a map is a swap.
        let operation = match map.bundle.facts().method {
            Method::LowRank => Operation::LOW_RANK,
            Method::Zero => Operation::ZERO,
            Method::Interchange | Method::Mean => Operation::INTERCHANGE,
        };
        let direction = match cell.basis {
            Some(_) => Some(self.learned_direction(map_idx, cell_idx)?),
            None => None,
        };
        let card = Card {
            operation,
            direction,
            place,
            source_position,
            strength: 1.0,
            is_on: true,
        };
        let of_map: Vec<bool> = (self.directions.iter())
            .map(|opened| opened.is_of(map_idx, None))
            .collect();
        self.change(|choices| {
            choices.cards.retain(|own| match own.direction {
                Some(idx) => !of_map[idx],
                None => direction.is_some() || own.place.site.component != place.site.component,
            });
            for own in &mut choices.cards {
                own.is_on = false;
            }
            choices.cards.push(card);
        });
        Ok(())
    }

    /// Index of a cell's direction among the opened ones; no card shows it yet.
    fn learned_direction(&mut self, map: usize, cell: usize) -> Result<usize, String> {
        let mut opened = self.directions.iter();
        if let Some(idx) = opened.position(|opened| opened.is_of(map, Some(cell))) {
            return Ok(idx);
        }
        let LearnedMap { name, bundle, .. } = &self.maps[map];
        let direction = bundle.direction(cell).map_err(|error| error.to_string())?;
        let bytes = direction.to_bytes();
        let origin = Origin {
            map,
            cell,
            title: bundle.cells()[cell].title(),
        };
        self.directions.push(Opened {
            origin: Some(origin),
            ..Opened::new(name, direction, &bytes)
        });
        Ok(self.directions.len() - 1)
    }

    /// True if the page has other prompts than a map's example pair.
    pub fn has_other_prompts(&self, map: &LearnedMap) -> bool {
        self.choices.prompts() != map.prompts()
    }

    /// Shows another table of the map that is shown.
    pub fn choose_facet(&mut self, facet: Facet, value: usize) {
        if let Picture::Learned(idx) = self.picture
            && let Some(map) = self.maps.get_mut(idx)
        {
            map.choose(facet, value);
        }
    }

    /// Takes the example pair of the map that is shown as prompts.
    ///
    /// # Errors
    /// - those of [`Session::set_prompts`]
    pub fn load_example_pair(&mut self) -> Result<()> {
        match self.learned().map(|(_, map)| map.prompts()) {
            Some(prompts) => self.set_prompts(&prompts),
            None => Ok(()),
        }
    }
}

impl Opened {
    /// True if it was taken from this map, and from this cell if one is asked for.
    fn is_of(&self, map: usize, cell: Option<usize>) -> bool {
        let origin = self.origin.as_ref();
        origin
            .is_some_and(|origin| origin.map == map && cell.is_none_or(|cell| cell == origin.cell))
    }
}

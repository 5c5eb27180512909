//! Sweep results and direction files are opened; which table of a sweep result is shown, and what should be known about it.

use swivel_core::{
    Result,
    sweep::{Cell, FileKind},
};

use super::{Facet, OpenedFile, OpenedSweep};
use crate::session::{Cursor, Look, Picture, Session, Side};

impl Session {
    /// Opens a direction file or a sweep result.
    ///
    /// # Errors
    /// - those of [`FileKind::of_bytes`], [`Session::open_direction`] and [`swivel_core::sweep::SweepResult::from_bytes`]
    /// - those of [`swivel_core::sweep::SweepResult::check`] if a model is there and it does not fit
    pub fn open_file(&mut self, name: &str, bytes: &[u8]) -> Result<OpenedFile> {
        match FileKind::of_bytes(bytes)? {
            FileKind::Direction => {
                let idx = self.open_direction(name, bytes, false)?;
                Ok(OpenedFile::Direction(idx))
            }
            FileKind::SweepResult => Ok(OpenedFile::Map(self.open_map(name, bytes)?)),
        }
    }

    fn open_map(&mut self, name: &str, bytes: &[u8]) -> Result<usize> {
        if let Some(idx) = self.sweeps.iter().position(|own| *own.bytes == *bytes) {
            self.sweeps[idx].is_closed = false;
            return Ok(idx);
        }
        let map = OpenedSweep::new(name, bytes)?;
        if let Some(model) = &self.model {
            map.result.check(&model.sizes)?;
        }
        self.sweeps.push(map);
        Ok(self.sweeps.len() - 1)
    }

    /// Closes the sweep result that is shown.
    pub fn close_map(&mut self) {
        if let Picture::Learned(idx) = self.picture
            && let Some(map) = self.sweeps.get_mut(idx)
        {
            map.is_closed = true;
            self.picture = Picture::default();
        }
    }

    /// After another model was taken.
    pub(in crate::session) fn check_maps(&mut self) {
        if let Some(model) = &self.model {
            for map in &mut self.sweeps {
                let checked = map.result.check(&model.sizes);
                map.misfit = checked.err().map(|error| error.to_string());
            }
        }
    }

    /// The sweep result that is shown, and its index.
    pub fn learned(&self) -> Option<(usize, &OpenedSweep)> {
        match self.picture {
            Picture::Learned(idx) => Some((idx, self.sweeps.get(idx)?)),
            _ => None,
        }
    }

    /// Layers of a sweep, the last one first; of one that was interrupted all layers of the model, since any may be missing.
    pub fn learned_layers(&self, map: &OpenedSweep) -> Vec<usize> {
        let mut layers = map.layers.clone();
        if !map.result.is_complete() {
            layers.extend(0..self.n_layers());
        }
        layers.into_iter().rev().collect()
    }

    /// A sweep's token: the page's own where its prompts are as long as the example pair's, else the example's.
    pub fn learned_token(&self, map: &OpenedSweep, position: usize) -> Look {
        let ids = &map.result.facts().base;
        let look = match self.choices.base.ids.len() == ids.len() {
            true => self.look_at(Side::Base, position),
            false => ids.get(position).map(|id| self.look(*id)),
        };
        look.unwrap_or_default()
    }

    /// What a person should know about a sweep result before reading it.
    pub fn learned_warnings(&self, map: &OpenedSweep) -> Vec<String> {
        let facts = map.result.facts();
        let mut warnings = Vec::new();
        if let Some(misfit) = &map.misfit {
            warnings.push(format!("Made with another model: {misfit}."));
        } else if let Some(model) = &self.model
            && map.result.check_model(&model.sha256).is_err()
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
    pub fn learned_problem(&self, map: &OpenedSweep, cell: &Cell) -> Option<String> {
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

    /// Moves the cursor of the sweep result that is shown by so many layers up and tokens to the right.
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
        self.sweeps[idx].cursor = cursor;
    }

    /// True if the page has other prompts than a sweep's example pair.
    pub fn has_other_prompts(&self, map: &OpenedSweep) -> bool {
        self.choices.prompts() != map.prompts()
    }

    /// Shows another table of the sweep result that is shown.
    pub fn choose_facet(&mut self, facet: Facet, value: usize) {
        if let Picture::Learned(idx) = self.picture
            && let Some(map) = self.sweeps.get_mut(idx)
        {
            map.choose(facet, value);
        }
    }

    /// Takes the example pair of the sweep result that is shown as prompts.
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

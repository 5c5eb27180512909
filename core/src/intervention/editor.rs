//! The [`Editor`]: applies interventions during a run, and knows where it can be resumed.

use burn::tensor::{Tensor, backend::Backend};

use super::{Intervention, InterventionError, Source, Units, resumes_at};
use crate::{Component, Hook, Position, Site, Sizes};

/// An intervention at a place.
#[derive(Clone, Debug)]
pub struct Edit<B: Backend> {
    /// Where.
    pub site: Site,
    /// On which part of the site's tensor.
    pub units: Units,
    /// What is done.
    pub intervention: Intervention<B>,
    /// With which value.
    pub source: Source<B>,
}

impl<B: Backend> Edit<B> {
    /// The first site that a run must come by: where its value is changed, or read before.
    pub fn first_site(&self) -> Site {
        self.site.first_read(matches!(self.source, Source::Input))
    }
}

/// Applies interventions during a run, several at one site in the order in which they are given.
#[derive(Clone, Debug)]
pub struct Editor<B: Backend> {
    edits: Vec<Edit<B>>,
    applied: Vec<bool>,
    /// What was seen at sites whose values take the place of a module's output.
    inputs: Vec<(Site, Tensor<B, 3>)>,
}

impl<B: Backend> Editor<B> {
    /// An editor for prompts of `n_tokens` tokens.
    ///
    /// # Errors
    /// - [`InterventionError::Place`] if the model or the prompt has no such place, or heads are named at a site that is not per
    ///   head.
    /// - [`InterventionError::PositionsEmpty`] if an edit has no positions.
    /// - [`InterventionError::SourceShape`], [`InterventionError::DirectionWidth`] if a source value or a basis does not fit.
    pub fn new(
        sizes: &Sizes,
        n_tokens: usize,
        edits: Vec<Edit<B>>,
    ) -> Result<Self, InterventionError> {
        for edit in &edits {
            check_edit(sizes, n_tokens, edit)?;
        }
        Ok(Self::of_checked(edits))
    }

    /// An editor whose edits cannot be wrong, since they were made from what was cached of runs.
    pub(crate) fn of_checked(edits: Vec<Edit<B>>) -> Self {
        Self {
            applied: vec![false; edits.len()],
            edits,
            inputs: Vec::new(),
        }
    }

    /// Where a run can be resumed that these interventions change: its first layer ([`Site::resumes_at`]) and its first
    /// position. `None` without interventions.
    pub fn resumes_at(&self, n_layers: usize) -> Option<(usize, usize)> {
        let edits = self.edits.iter();
        resumes_at(edits.map(|edit| (edit.first_site(), &edit.units)), n_layers)
    }

    /// The same interventions in a run that is resumed at the position `start`, where a hook sees the positions from it on.
    ///
    /// # Panics
    /// If there is an earlier position.
    pub fn starting_at(mut self, start: usize) -> Self {
        for edit in &mut self.edits {
            match &mut edit.units.positions {
                None => assert_eq!(start, 0, "all positions are edited"),
                Some(positions) => positions.iter_mut().for_each(|position| *position -= start),
            }
        }
        self
    }

    /// Confirms that every intervention was applied.
    ///
    /// # Errors
    /// - [`InterventionError::Unapplied`] if the run never reached a site.
    pub fn finish(self) -> Result<(), InterventionError> {
        match self.applied.iter().position(|applied| !applied) {
            Some(idx) => Err(InterventionError::Unapplied {
                site: self.edits[idx].site.to_string(),
            }),
            None => Ok(()),
        }
    }

    fn edit<const D: usize>(
        &mut self,
        site: Site,
        mut x: Tensor<B, D>,
        source_of: impl Fn(&Units, &Source<B>) -> Option<Tensor<B, D>>,
    ) -> Tensor<B, D> {
        for (edit, applied) in self
            .edits
            .iter()
            .zip(&mut self.applied)
            .filter(|(edit, _)| edit.site == site)
        {
            let mut base = edit.units.select(x.clone());
            let source = source_of(&edit.units, &edit.source).unwrap_or_else(|| base.zeros_like());
            // A pattern of a run that was computed up to a position only has no later keys, which get no weight.
            let width = source.dims()[D - 1];
            if width < base.dims()[D - 1] {
                base = base.narrow(D - 1, 0, width);
            }
            x = edit.units.replace(x, edit.intervention.apply(base, source));
            *applied = true;
        }
        x
    }
}

fn check_edit<B: Backend>(
    sizes: &Sizes,
    n_tokens: usize,
    edit: &Edit<B>,
) -> Result<(), InterventionError> {
    let Edit {
        site,
        units,
        intervention,
        source,
    } = edit;
    site.check(sizes)?;
    Position::LAST.resolve(n_tokens)?;
    if let Some(positions) = &units.positions {
        if positions.is_empty() {
            return Err(InterventionError::PositionsEmpty {
                site: site.to_string(),
            });
        }
        for position in positions {
            Position::Index(*position).resolve(n_tokens)?;
        }
    }
    site.component.check_heads(units.heads.as_deref(), sizes)?;
    let n_positions = units.positions.as_ref().map_or(n_tokens, Vec::len);
    let width = site.component.width(sizes).unwrap_or(n_tokens);
    let expected = match site.component.n_heads(sizes) {
        Some(n_heads) => {
            let n_heads = units.heads.as_ref().map_or(n_heads, Vec::len);
            vec![n_heads, n_positions, width]
        }
        None => vec![n_positions, width],
    };
    let found = match source {
        Source::Positions(value) => value.dims()[1..].to_vec(),
        Source::Heads(value) => value.dims()[1..].to_vec(),
        Source::Input if site.input().is_none() => {
            return Err(InterventionError::Input {
                site: site.to_string(),
            });
        }
        Source::Input => expected.clone(),
        Source::None if !intervention.op.reads_source() => expected.clone(),
        Source::None => Vec::new(),
    };
    if found != expected {
        return Err(InterventionError::SourceShape {
            site: site.to_string(),
            expected,
            found,
        });
    }
    match intervention.featurizer.width() {
        Some(found) if found != width => Err(InterventionError::DirectionWidth {
            site: site.to_string(),
            expected: width,
            found,
        }),
        _ => Ok(()),
    }
}

impl<B: Backend> Hook<B> for Editor<B> {
    fn at(&mut self, site: Site, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let input = site.input().and_then(|input| {
            let seen = self.inputs.iter().position(|(own, _)| *own == input)?;
            Some(self.inputs[seen].1.clone())
        });
        let x = self.edit(site, x, |units, source| match (source, &input) {
            (Source::Positions(value), _) => Some(value.clone()),
            (Source::Input, Some(input)) => Some(units.select(input.clone())),
            _ => None,
        });
        let is_read = |edit: &Edit<B>| edit.site != site && edit.first_site() == site;
        if self.edits.iter().any(is_read) {
            self.inputs.push((site, x.clone()));
        }
        x
    }

    fn at_heads(&mut self, site: Site, x: Tensor<B, 4>) -> Tensor<B, 4> {
        // Keys that are hidden stay so, and minus infinity less itself is no number.
        let is_score = site.component == Component::AttentionScore;
        let hidden = (is_score && self.edits.iter().any(|edit| edit.site == site))
            .then(|| x.clone().equal_elem(f32::NEG_INFINITY));
        let x = self.edit(site, x, |_, source| match source {
            Source::Heads(value) => Some(value.clone()),
            _ => None,
        });
        match hidden {
            Some(hidden) => x.mask_fill(hidden, f32::NEG_INFINITY),
            None => x,
        }
    }
}

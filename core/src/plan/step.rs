//! One intervention of a plan that cannot be wrong, and the edits that it comes to.

use std::{ops::Range, sync::Arc};

use burn::tensor::{Tensor, TensorData, backend::Backend};

use super::Operation;
use crate::{
    Site,
    direction::Direction,
    intervention::{Edit, Featurizer, Intervention, Op, Source, Units, noise},
};

/// One intervention, checked.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub site: Site,
    pub operation: &'static Operation,
    pub strength: f32,
    /// What the value is multiplied by, of an operation that does so.
    pub factor: Option<f32>,
    /// Features that are changed, or all.
    pub dims: Option<Vec<usize>>,
    /// Whether what features leave out of the value goes.
    pub drops_rest: bool,
    pub direction: Option<Arc<Direction>>,
    pub width: usize,
    pub origin: Origin,
    /// Run that is intervened on.
    pub into: usize,
    /// What is edited: a row, or once for all rows.
    pub base_units: Vec<Units>,
    /// What is read from the source run: a row, or once for all rows.
    pub source_units: Vec<Units>,
}

/// Where a source value comes from.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    Nothing,
    Run(usize),
    /// The mean over rows and tokens of a run.
    Mean(usize),
    Values(Vec<Vec<f32>>),
    /// Noise of a seed.
    Noise(u64),
    /// What the site's module reads.
    Input,
}

impl Origin {
    /// The source run that is read.
    pub fn run(&self) -> Option<usize> {
        match self {
            Self::Run(run) | Self::Mean(run) => Some(*run),
            _ => None,
        }
    }
}

impl Step {
    /// Rows that have the same units and stand together.
    pub fn row_groups(&self, n_rows: usize) -> Vec<Range<usize>> {
        let units = |row: usize| [&self.base_units, &self.source_units].map(|of| of_row(of, row));
        let mut groups: Vec<Range<usize>> = Vec::new();
        for row in 0..n_rows {
            match groups.last_mut() {
                Some(group) if units(group.start) == units(row) => group.end += 1,
                _ => groups.push(row..row + 1),
            }
        }
        groups
    }

    /// The first site that a run must come by.
    pub fn first_site(&self) -> Site {
        self.site.first_read(matches!(self.origin, Origin::Input))
    }

    /// True if it changes nothing, and what is there is wanted.
    pub fn is_kept(&self) -> bool {
        self.operation.op.is_none()
    }

    /// Number of tokens that are edited of a row in a run of `n_tokens` tokens.
    pub fn n_positions(&self, row: usize, n_tokens: usize) -> usize {
        let positions = &of_row(&self.base_units, row).positions;
        positions.as_ref().map_or(n_tokens, Vec::len)
    }

    /// Values of the width of the site on a device.
    ///
    /// # Shapes
    /// - result: `[n, width]`
    fn tensor<B: Backend>(&self, values: Vec<f32>, device: &B::Device) -> Tensor<B, 2> {
        let n = values.len() / self.width;
        Tensor::from_data(TensorData::new(values, [n, self.width]), device)
    }

    /// What a source run has, on average over its rows and the tokens that are read.
    ///
    /// # Shapes
    /// - result: `[1, 1, width]` or `[1, head, 1, width]`
    pub fn mean<B: Backend, E>(
        &self,
        run: usize,
        n_rows: usize,
        value: &mut impl FnMut(usize, Site, &Units) -> Result<Source<B>, E>,
    ) -> Result<Source<B>, E> {
        // A row's tokens in one line, so that rows that differ in number come together.
        let mut all: Option<Source<B>> = None;
        for rows in self.row_groups(n_rows) {
            let units = of_row(&self.source_units, rows.start).in_rows(rows);
            let here = value(run, self.site, &units)?.in_one_row();
            all = Some(match all {
                Some(all) => all.followed_by(here),
                None => here,
            });
        }
        let all = all.unwrap_or(Source::None);
        Ok(all.map(|x| x.mean_dim(1), |x| x.mean_dim(2)))
    }

    /// What goes into rows that have the same units, at so many tokens of each.
    pub fn source<B: Backend, E>(
        &self,
        rows: Range<usize>,
        [n_rows, n_positions]: [usize; 2],
        mean: &Source<B>,
        device: &B::Device,
        value: &mut impl FnMut(usize, Site, &Units) -> Result<Source<B>, E>,
    ) -> Result<Source<B>, E> {
        let units = of_row(&self.base_units, rows.start);
        Ok(match &self.origin {
            Origin::Nothing => Source::None,
            Origin::Input => Source::Input,
            Origin::Mean(_) => mean.expanded([n_rows, n_positions]),
            Origin::Run(run) => {
                let read = of_row(&self.source_units, rows.start).in_rows(rows);
                value(*run, self.site, &read)?
            }
            Origin::Values(values) => {
                let values = self.tensor(values.concat(), device).unsqueeze::<3>(); // [1, n_values, width]
                let values = values.expand([1, n_positions, self.width]);
                let source = match &units.heads {
                    None => Source::Positions(values),
                    Some(heads) => Source::Heads(values.unsqueeze_dim::<4>(1).expand([
                        1,
                        heads.len(),
                        n_positions,
                        self.width,
                    ])),
                };
                source.expanded([n_rows, n_positions])
            }
            Origin::Noise(seed) => {
                let positions = match &units.positions {
                    Some(positions) => positions.clone(),
                    None => (0..n_positions).collect(),
                };
                let source = match &units.heads {
                    None => {
                        let values = self.noise(*seed, None, &positions);
                        Source::Positions(self.tensor(values, device).unsqueeze())
                    }
                    Some(heads) => {
                        let of_head = |head: &usize| self.noise(*seed, Some(*head), &positions);
                        let values = self.tensor(heads.iter().flat_map(of_head).collect(), device);
                        Source::Heads(values.reshape([1, heads.len(), n_positions, self.width]))
                    }
                };
                source.expanded([n_rows, n_positions])
            }
        })
    }

    /// Noise at tokens, one after the other; a row of attention has none for tokens that are not seen yet.
    fn noise(&self, seed: u64, head: Option<usize>, positions: &[usize]) -> Vec<f32> {
        let is_attention = self.site.component.is_over_tokens();
        let of_token = |position: &usize| {
            let mut values = noise(seed, *position, head, self.width);
            if is_attention {
                values[position + 1..].fill(0.0);
            }
            values
        };
        positions.iter().flat_map(of_token).collect()
    }

    /// The edit of rows that have the same units.
    pub fn edit<B: Backend>(
        &self,
        op: Op,
        rows: Range<usize>,
        source: Source<B>,
        device: &B::Device,
    ) -> Edit<B> {
        let dims = self.dims.as_deref();
        let intervention = match (&self.direction, dims) {
            (Some(direction), _) => direction.intervention(op, dims, device),
            (None, None) => Intervention::new(op, Featurizer::Identity),
            (None, Some(dims)) => {
                let mut mask = vec![0.0; self.width];
                dims.iter().for_each(|dim| mask[*dim] = 1.0);
                Intervention {
                    mask: Some(self.tensor(mask, device).squeeze_dim(0)),
                    ..Intervention::new(op, Featurizer::Identity)
                }
            }
        };
        // A value that is multiplied goes a part of the way to zero, or away from it.
        let share = self.factor.map_or(1.0, |factor| 1.0 - factor);
        Edit {
            site: self.site,
            units: of_row(&self.base_units, rows.start).in_rows(rows),
            intervention: Intervention {
                strength: self.strength * share,
                drops_rest: self.drops_rest,
                ..intervention
            },
            source,
        }
    }
}

/// What belongs to a row, in a list of one a row or of a single one for all rows.
pub(super) fn of_row<T>(list: &[T], row: usize) -> &T {
    list.get(row).unwrap_or(&list[0])
}

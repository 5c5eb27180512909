//! A plan that cannot be wrong, and what its runs do.

use std::{ops::Range, sync::Arc};

use burn::tensor::{Tensor, TensorData, backend::Backend};

use super::Operation;
use crate::{
    Decoder, Recorder, Site, Sizes,
    direction::Direction,
    ids_tensor,
    intervention::{Edit, Editor, Featurizer, Intervention, InterventionError, Source, Units},
};

/// A plan that fits a model's sizes: rows of ids, sites that exist, positions inside the prompts.
#[derive(Clone, Debug)]
pub struct CheckedPlan {
    pub(super) sizes: Sizes,
    /// Rows of the sources, then of the base, `[run][row][pos]`.
    pub(super) runs: Vec<Vec<Vec<u32>>>,
    pub(super) steps: Vec<Step>,
    pub(super) record: Vec<Site>,
}

/// One intervention, checked.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub site: Site,
    pub operation: &'static Operation,
    pub strength: f32,
    /// Rows of the subspace, row-major; `None` for the whole space.
    pub basis: Option<Vec<f32>>,
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
    Values(Vec<Vec<f32>>),
}

/// What comes out of a plan.
#[derive(Clone, Debug)]
pub struct Outcome<B: Backend> {
    /// Logits of the plain base run, `[rows, pos, d_vocab]`, nats.
    pub base: Tensor<B, 3>,
    /// Logits of the intervened run, `[rows, pos, d_vocab]`, nats.
    pub intervened: Tensor<B, 3>,
    /// Values in the intervened run, in the order of `record`.
    pub records: Vec<Record<B>>,
}

/// The value of a site in a run.
#[derive(Clone, Debug)]
pub enum Record<B: Backend> {
    /// `[rows, pos, width]`, at a site with a value per position.
    Positions(Tensor<B, 3>),
    /// `[rows, head, pos, …]`, at a site that is per head.
    Heads(Tensor<B, 4>),
}

impl<B: Backend> Record<B> {
    /// The part of it that units mean, as a source.
    pub fn select(&self, units: &Units) -> Source<B> {
        match self {
            Self::Positions(value) => Source::Positions(units.select(value.clone())),
            Self::Heads(value) => Source::Heads(units.select(value.clone())),
        }
    }
}

impl CheckedPlan {
    /// Number of source runs; the base run's index comes after theirs.
    pub fn n_sources(&self) -> usize {
        self.runs.len() - 1
    }

    /// Rows of a run, each a list of ids: of a source by its index, of the base by [`CheckedPlan::n_sources`].
    pub fn run_ids(&self, run: usize) -> &[Vec<u32>] {
        &self.runs[run]
    }

    /// Rows of the base run, each a list of ids.
    pub fn base(&self) -> &[Vec<u32>] {
        &self.runs[self.n_sources()]
    }

    /// The directions that interventions use, in their order.
    pub fn directions(&self) -> impl Iterator<Item = &Direction> {
        self.steps
            .iter()
            .filter_map(|step| step.direction.as_deref())
    }

    /// Sites that are edited, in the order of the interventions.
    pub fn sites(&self) -> impl Iterator<Item = Site> {
        self.steps.iter().map(|step| step.site)
    }

    /// Tokens that an intervention writes and reads in the first row; `None` where these are all.
    pub fn positions(&self, intervention: usize) -> [Option<&[usize]>; 2] {
        let step = &self.steps[intervention];
        [&step.base_units, &step.source_units].map(|units| units[0].positions.as_deref())
    }

    /// Sites whose values are read from a source run.
    pub fn sites_read(&self, run: usize) -> impl Iterator<Item = Site> {
        let reads = move |step: &&Step| matches!(step.origin, Origin::Run(own) if own == run);
        self.steps.iter().filter(reads).map(|step| step.site)
    }

    /// Sites whose values in the intervened run are wanted.
    pub fn record(&self) -> &[Site] {
        &self.record
    }

    /// What interventions do to a run, in their order; `value` gives what a source run has at some units of a site.
    ///
    /// # Errors
    /// - those of `value`
    pub fn edits<B: Backend, E>(
        &self,
        run: usize,
        device: &B::Device,
        mut value: impl FnMut(usize, Site, &Units) -> Result<Source<B>, E>,
    ) -> Result<Vec<Edit<B>>, E> {
        let mut edits = Vec::new();
        for step in self.steps.iter().filter(|step| step.into == run) {
            let rows = &self.runs[run];
            for group in step.row_groups(rows.len()) {
                edits.push(step.edit(group, rows[0].len(), device, &mut value)?);
            }
        }
        Ok(edits)
    }

    /// Runs the sources, the base, and the base with the interventions, each a full forward pass: what a plan means. Faster ways
    /// to the same result resume cached runs.
    ///
    /// # Errors
    /// - [`InterventionError::Unapplied`] if a run never reached an intervention's site.
    /// - Whatever [`Editor::new`] refuses, if the model is not of the sizes that the plan was checked against.
    pub fn run<B: Backend>(&self, model: &Decoder<B>) -> Result<Outcome<B>, InterventionError> {
        let device = model.device();
        let ids = |run: usize| ids_tensor(&self.runs[run], &device);
        let run = |run: usize, sources: &[Recorder<B>], sites: Vec<Site>| {
            let value = |source: usize,
                         site: Site,
                         units: &Units|
             -> Result<Source<B>, InterventionError> {
                Ok(recorded(&sources[source], site).select(units))
            };
            let edits = self.edits(run, &device, value)?;
            let editor = Editor::new(&self.sizes, self.runs[run][0].len(), edits)?;
            let mut hook = (editor, Recorder::new(sites));
            let logits = model.forward(ids(run), &mut hook);
            hook.0.finish()?;
            Ok::<_, InterventionError>((logits, hook.1))
        };
        let base = self.n_sources();
        let mut sources = Vec::with_capacity(base);
        for idx in 0..base {
            let (_, recorder) = run(idx, &sources, self.sites_read(idx).collect())?;
            sources.push(recorder);
        }
        let (intervened, recorder) = run(base, &sources, self.record.clone())?;
        Ok(Outcome {
            base: model.forward(ids(base), &mut ()),
            intervened,
            records: (self.record.iter())
                .map(|site| recorded(&recorder, *site))
                .collect(),
        })
    }
}

impl Step {
    /// Rows that have the same units and stand together.
    fn row_groups(&self, n_rows: usize) -> Vec<Range<usize>> {
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

    /// The edit of rows that have the same units, in a run of `n_tokens` tokens.
    fn edit<B: Backend, E>(
        &self,
        rows: Range<usize>,
        n_tokens: usize,
        device: &B::Device,
        value: &mut impl FnMut(usize, Site, &Units) -> Result<Source<B>, E>,
    ) -> Result<Edit<B>, E> {
        let tensor = |values: Vec<f32>| -> Tensor<B, 2> {
            let n = values.len() / self.width;
            Tensor::from_data(TensorData::new(values, [n, self.width]), device)
        };
        let in_rows = |units: &Units| Units {
            rows: Some(rows.clone()),
            ..units.clone()
        };
        let units = in_rows(of_row(&self.base_units, rows.start));
        let source = match &self.origin {
            Origin::Nothing => Source::None,
            Origin::Run(run) => {
                let read = in_rows(of_row(&self.source_units, rows.start));
                value(*run, self.site, &read)?
            }
            Origin::Values(values) => {
                let n_positions = units.positions.as_ref().map_or(n_tokens, Vec::len);
                let values = tensor(values.concat()).unsqueeze::<3>(); // [1, n_values, width]
                let values = values.expand([rows.len(), n_positions, self.width]);
                match &units.heads {
                    None => Source::Positions(values),
                    Some(heads) => Source::Heads(values.unsqueeze_dim::<4>(1).expand([
                        rows.len(),
                        heads.len(),
                        n_positions,
                        self.width,
                    ])),
                }
            }
        };
        let featurizer = match &self.basis {
            Some(basis) => Featurizer::Subspace(tensor(basis.clone())),
            None => Featurizer::Identity,
        };
        let intervention = Intervention {
            strength: self.strength,
            ..Intervention::new(self.operation.op, featurizer)
        };
        Ok(Edit {
            site: self.site,
            units,
            intervention,
            source,
        })
    }
}

/// What belongs to a row, in a list of one a row or of a single one for all rows.
pub(super) fn of_row<T>(list: &[T], row: usize) -> &T {
    list.get(row).unwrap_or(&list[0])
}

/// The value of a site that a finished run was asked for.
fn recorded<B: Backend>(recorder: &Recorder<B>, site: Site) -> Record<B> {
    match (recorder.get(site), recorder.get_heads(site)) {
        (Some(value), _) => Record::Positions(value.clone()),
        (_, Some(value)) => Record::Heads(value.clone()),
        _ => unreachable!("a run offers every site of the model to its hook"),
    }
}

//! A plan that cannot be wrong, and what its runs do.

use burn::tensor::{Tensor, backend::Backend};

use super::step::{Origin, Step, of_row};
use crate::{
    Decoder, Recorder, Site, Sizes,
    direction::Direction,
    ids_tensor,
    intervention::{Edit, Editor, InterventionError, Source, Units},
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

/// What comes out of a plan.
#[derive(Clone, Debug)]
pub struct Outcome<B: Backend> {
    /// Logits of the plain base run, `[rows, pos, d_vocab]`, nats.
    pub base: Tensor<B, 3>,
    /// Logits of the intervened run, `[rows, pos, d_vocab]`, nats.
    pub intervened: Tensor<B, 3>,
    /// Values in the intervened run: in the order of `record`, then of the interventions that collect some.
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
    /// What a source run, or the intervened one, has.
    ///
    /// # Panics
    /// If it is none.
    fn of(source: Source<B>) -> Self {
        match source {
            Source::Positions(x) => Self::Positions(x),
            Source::Heads(x) => Self::Heads(x),
            Source::Input | Source::None => panic!("a run has a value at every site"),
        }
    }

    /// Rows, one after the other.
    fn cat(rows: Vec<Self>) -> Self {
        let mut positions = Vec::new();
        let mut heads = Vec::new();
        for row in rows {
            match row {
                Self::Positions(x) => positions.push(x),
                Self::Heads(x) => heads.push(x),
            }
        }
        match heads.is_empty() {
            true => Self::Positions(Tensor::cat(positions, 0)),
            false => Self::Heads(Tensor::cat(heads, 0)),
        }
    }

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

    /// Sites of the interventions, in their order.
    pub fn sites(&self) -> impl Iterator<Item = Site> {
        self.steps.iter().map(|step| step.site)
    }

    /// Interventions that collect values, in their order.
    pub fn collecting(&self) -> impl Iterator<Item = usize> {
        (0..self.steps.len()).filter(|idx| self.steps[*idx].is_kept())
    }

    /// Tokens that an intervention writes and reads in the first row; `None` where these are all.
    pub fn positions(&self, intervention: usize) -> [Option<&[usize]>; 2] {
        let step = &self.steps[intervention];
        [&step.base_units, &step.source_units].map(|units| units[0].positions.as_deref())
    }

    /// Sites whose values are read from a source run.
    pub fn sites_read(&self, run: usize) -> impl Iterator<Item = Site> {
        let reads = move |step: &&Step| step.origin.run() == Some(run);
        self.steps.iter().filter(reads).map(|step| step.site)
    }

    /// Sites whose values in the intervened run are wanted.
    pub fn record(&self) -> Vec<Site> {
        let kept = self.steps.iter().filter(|step| step.is_kept());
        let sites = self.record.iter().copied();
        sites.chain(kept.map(|step| step.site)).collect()
    }

    /// What is wanted of the intervened run, as [`Outcome::records`] has it; `value` gives what it has at some units of a site.
    pub fn records<B: Backend>(
        &self,
        mut value: impl FnMut(Site, &Units) -> Source<B>,
    ) -> Vec<Record<B>> {
        let whole = Units::default();
        let mut records: Vec<Record<B>> = (self.record.iter())
            .map(|site| Record::of(value(*site, &whole)))
            .collect();
        for step in self.steps.iter().filter(|step| step.is_kept()) {
            let groups = step.row_groups(self.base().len());
            let rows = groups.into_iter().map(|rows| {
                let units = of_row(&step.base_units, rows.start);
                Record::of(value(step.site, &units.in_rows(rows)))
            });
            records.push(Record::cat(rows.collect()));
        }
        records
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
            let Some(op) = step.operation.op else {
                continue;
            };
            let rows = &self.runs[run];
            let mean = match &step.origin {
                Origin::Mean(source) => step.mean(*source, rows.len(), &mut value)?,
                _ => Source::None,
            };
            for group in step.row_groups(rows.len()) {
                let shape = [group.len(), step.n_positions(group.start, rows[0].len())];
                let source = step.source(group.clone(), shape, &mean, device, &mut value)?;
                edits.push(step.edit(op, group, source, device));
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
        let (intervened, recorder) = run(base, &sources, self.record())?;
        Ok(Outcome {
            base: model.forward(ids(base), &mut ()),
            intervened,
            records: self.records(|site, units| recorded(&recorder, site).select(units)),
        })
    }
}

/// The value of a site that a finished run was asked for.
fn recorded<B: Backend>(recorder: &Recorder<B>, site: Site) -> Record<B> {
    match (recorder.get(site), recorder.get_heads(site)) {
        (Some(value), _) => Record::Positions(value.clone()),
        (_, Some(value)) => Record::Heads(value.clone()),
        _ => unreachable!("a run offers every site of the model to its hook"),
    }
}

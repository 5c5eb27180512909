//! What a device does in a sweep: takes cells from the queue until there are none.

use std::{
    collections::VecDeque,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc::Sender},
    time::Instant,
};

use anyhow::{Context, Result};
use burn::tensor::{
    Tensor,
    backend::{AutodiffBackend, Backend},
};
use swivel_core::{
    Decoder,
    direction::Basis,
    question::Placed,
    sweep::{Cell, Method},
    train::{Rotation, orthonormal},
};

use super::{
    cells::{Planned, Sweep},
    measure::Measure,
    scores::{Reference, Scores, answers},
    sets::{Bucket, Kept, Set},
};
use crate::{
    baseline::Baseline,
    cached::{Cached, batches},
    device::Job,
    interrupt,
    learn::shuffled,
    score::{Bases, swap_along, swap_whole},
    side_by_side::{in_workers, n_workers},
    site::width_at,
    tensors::read_floats,
};

/// Jobs: cells that are computed together, by their indices in the plan.
pub type Queue = Arc<Mutex<VecDeque<Range<usize>>>>;

/// A cell that is done.
pub struct Done {
    /// Its index in the plan.
    pub idx: usize,
    /// What was found.
    pub cell: Cell,
    /// How long it took.
    pub seconds: f64,
}

/// A device's part in a sweep.
pub struct Worker {
    sweep: Arc<Sweep>,
    queue: Queue,
    done: Sender<Done>,
}

impl Worker {
    /// A worker that takes jobs from `queue` and sends what is done.
    pub fn new(sweep: &Arc<Sweep>, queue: &Queue, done: Sender<Done>) -> Self {
        Self {
            sweep: Arc::clone(sweep),
            queue: Arc::clone(queue),
            done,
        }
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Range<usize>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<Range<usize>> {
        self.queue().pop_front()
    }
}

impl Job for Worker {
    type Output = ();

    fn run<A: AutodiffBackend>(self, device: A::Device, _: &str) -> Result<()> {
        type Shared<B> = Mutex<Option<(usize, Arc<CachedVariable<B>>)>>;
        let sweep = &*self.sweep;
        if self.queue().is_empty() {
            return Ok(()); // a map that is complete needs no model
        }
        let (model, _) = sweep.files.load::<A::InnerBackend>(&device, sweep.report)?;
        let shared: Shared<A::InnerBackend> = Mutex::new(None);
        // Cells come variable by variable: the first worker that needs the next one's runs keeps them for all.
        let cached = |variable: usize| -> Result<Arc<CachedVariable<A::InnerBackend>>> {
            let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, cached)) = shared.as_ref().filter(|(of, _)| *of == variable) {
                return Ok(Arc::clone(cached));
            }
            drop(shared.take()); // before the next runs are cached
            let cached = Arc::new(CachedVariable::new(sweep, variable, &model)?);
            *shared = Some((variable, Arc::clone(&cached)));
            Ok(cached)
        };
        in_workers(n_workers::<A::InnerBackend>(&device), || {
            while let Some(job) = self.next() {
                interrupt::check("what is done is kept")?;
                let planned = &sweep.cells[job.clone()];
                let cached = cached(planned[0].variable)?;
                let started = Instant::now();
                let cells = match sweep.method {
                    Method::Das => cached.learn::<A>(sweep, &model, planned)?,
                    _ => cached.measure(sweep, &model, planned)?,
                };
                let seconds = started.elapsed().as_secs_f64() / cells.len() as f64;
                for (idx, cell) in job.zip(cells) {
                    let done = Done { idx, cell, seconds };
                    drop(self.done.send(done)); // nobody listens once the sweep has failed
                }
            }
            Ok(())
        })
    }
}

/// The pairs of one variable.
struct CachedVariable<B: Backend> {
    train: Option<Set<B>>,
    validation: Option<Set<B>>,
    test: Set<B>,
    unseen: Option<Set<B>>,
    /// The map's example pair.
    probe: Set<B>,
    reference: Reference<B>,
    device: B::Device,
}

impl<B: Backend> CachedVariable<B> {
    fn new(sweep: &Sweep, variable: usize, model: &Decoder<B>) -> Result<Self> {
        let sizes = sweep.files.sizes();
        let sets = &sweep.variables[variable].sets;
        let cells = sweep.cells.iter().filter(|cell| cell.variable == variable);
        let mut sites: Vec<_> = cells.map(|cell| cell.site).collect();
        sites.sort_unstable();
        sites.dedup();
        // All that the whole map needs is computed, so that a part has the same bits; what is cached is what cells here need.
        let here = sweep.cells[sweep.here.clone()].iter();
        let first_layer = here
            .filter(|cell| cell.variable == variable)
            .map(|cell| cell.site.resumes_at(sizes.n_layers))
            .min();
        let kept = Kept {
            sweep,
            sites,
            first_layer: first_layer.unwrap_or(0),
        };
        let set = |pairs: &[Placed], what| match pairs.is_empty() {
            true => Ok(None),
            false => Set::new(&kept, model, pairs, false, what).map(Some),
        };
        let train = set(&sets.train, "train")?;
        let validation = set(&sets.validation, "validation")?;
        let test = Set::new(&kept, model, &sets.test, true, "test")?;
        let unseen = set(&sets.unseen, "unseen")?;
        let probe = std::slice::from_ref(&sweep.probe);
        let probe = Set::new(&kept, model, probe, false, "example")?;
        let mut base: Vec<Tensor<B, 3>> = Vec::new();
        for Bucket { runs, n_tokens, .. } in &test.buckets {
            let last = n_tokens - 1;
            for rows in batches(runs.labels.len(), runs.at_once(last)) {
                let base_run = runs.base(&rows, sizes.n_layers, last..=last)?;
                let resumed = base_run.base_at(sizes.n_layers, last);
                base.push(model.resume_to_norm(&resumed, 0, &mut ()));
            }
        }
        let reference = Reference {
            labels: test.by_bucket().map(|pair| pair.label).collect(),
            base: Tensor::cat(base, 0).squeeze_dim(1),
            base_labels: test.by_bucket().map(|pair| pair.base_label).collect(),
            choices: sweep.choices.clone(),
        };
        Ok(Self {
            train,
            validation,
            probe,
            reference,
            device: model.device(),
            test,
            unseen,
        })
    }

    /// Learns the directions of cells that differ in their position only, and scores them with their controls.
    fn learn<A: AutodiffBackend<InnerBackend = B>>(
        &self,
        sweep: &Sweep,
        model: &Decoder<B>,
        cells: &[Planned],
    ) -> Result<Vec<Cell>> {
        let Planned { site, rank, .. } = cells[0];
        let of_train = self.train.as_ref().context("there are no training pairs")?;
        let train = of_train.each(cells)?;
        let width = width_at(site, sweep.files.sizes())?;
        let rule = sweep.learning.at_width(width);
        let learn = |train: &[Cached<B>]| -> Result<Vec<Tensor<B, 2>>> {
            let start = Rotation::random(width, rank, rule.seed, &self.device)?;
            let learned = rule.learn_together::<A>(model, train, start, |_, _, _| Ok(()))?;
            Ok(learned.iter().map(Rotation::basis).collect())
        };
        let bases = learn(&train)?;
        let noises = match sweep.shuffled {
            true => {
                let noise =
                    |cached: &Cached<B>| cached.with_labels(shuffled(&cached.labels, rule.seed));
                learn(&train.iter().map(noise).collect::<Vec<_>>())?
            }
            false => Vec::new(),
        };
        let mut scored = Vec::with_capacity(cells.len());
        for (idx, (cell, basis)) in cells.iter().zip(bases).enumerate() {
            let learned = swap_along(basis.clone());
            let test = self.test.at(cell)?;
            let mut scores = Scores::new(&self.reference, 1);
            // Their batches are in the order of the pairs: a part is a bucket.
            for batch in test.normed(model, &learned) {
                scores.add(model, batch?.1.unsqueeze_dim(1))?;
            }
            let probe = self.probe.at(cell)?.one(0)?.normed(model, &learned);
            let answers = answers(model, probe)?;
            let baseline = Baseline {
                model,
                cached: &train[idx],
                pairs: &of_train.pairs,
                site,
                width,
            };
            let bases = Bases {
                shuffled: noises.get(idx).cloned(),
                ..baseline.bases(rank)?
            };
            let compared = test.controls(model, [width, rank], rule.seed, &bases)?;
            let validation = self
                .validation
                .as_ref()
                .map(|set| set.at(cell)?.iia(model, &learned));
            let validation = validation.transpose()?;
            let unseen = match &self.unseen {
                None => None,
                Some(set) => {
                    let cached = set.at(cell)?;
                    let [iia, full] = [
                        cached.iia(model, &learned)?,
                        cached.iia(model, &swap_whole())?,
                    ];
                    Some(sweep.unseen(set.pairs.len(), [iia, full]))
                }
            };
            let basis = Basis::new(orthonormal(&read_floats(basis)?, width), rank)?;
            for found in scores.cells([(cell, sweep.name(cell))], &answers)? {
                scored.push(Cell {
                    token: sweep.columns[cell.column].token.clone(),
                    basis: Some(basis.clone()),
                    controls: Some(compared.controls()),
                    validation,
                    unseen: unseen.clone(),
                    ..found
                });
            }
        }
        Ok(scored)
    }

    /// Scores whole-value interventions at all tokens of a site.
    fn measure(&self, sweep: &Sweep, model: &Decoder<B>, cells: &[Planned]) -> Result<Vec<Cell>> {
        // From the first column on; jobs come from the last one on.
        let ascending: Vec<Planned> = cells.iter().rev().copied().collect();
        let mut measure = Measure {
            model,
            method: sweep.method,
            cells: &ascending,
            mean: None,
            n_layers: sweep.files.sizes().n_layers,
            device: self.device.clone(),
        };
        if sweep.method == Method::Mean {
            measure.mean = Some(measure.mean(&self.test)?);
        }
        let mut scores = Scores::new(&self.reference, cells.len());
        measure.each(&self.test, |bucket, rows| {
            scores.add(model, measure.normed(bucket, rows)?)
        })?;
        let shares = |set: &Option<Set<B>>| -> Result<Option<Vec<f64>>> {
            set.as_ref()
                .map(|set| measure.shares(set, sweep.choices.as_deref()))
                .transpose()
        };
        let (validation, unseen) = (shares(&self.validation)?, shares(&self.unseen)?);
        let probe = measure.normed(&self.probe.buckets[0], &[0])?;
        let answers = answers(model, probe.squeeze_dim(0))?;
        let planned = ascending.iter().map(|cell| (cell, sweep.name(cell)));
        let found = scores.cells(planned, &answers)?;
        let cell = |(idx, found): (usize, Cell)| Cell {
            token: sweep.columns[ascending[idx].column].token.clone(),
            validation: validation.as_ref().map(|shares| shares[idx]),
            unseen: (self.unseen.as_ref())
                .zip(unseen.as_ref())
                .map(|(set, shares)| sweep.unseen(set.pairs.len(), [shares[idx]; 2])),
            ..found
        };
        let mut cells: Vec<Cell> = found.into_iter().enumerate().map(cell).collect();
        cells.reverse();
        Ok(cells)
    }
}

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
    cone::row_indices,
    direction::Basis,
    intervention::Source,
    sweep::{Cell, Method},
    train::{Rotation, orthonormal},
};

use super::{
    cells::{Planned, Sweep, Variable},
    scores::{Reference, Scores, answers},
};
use crate::{
    cached::{Cached, CachedRuns, Wanted, batches},
    device::Job,
    interrupt,
    learn::shuffled,
    score::{swap_along, swap_whole},
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

/// The pairs of one variable with everything cached that its cells share.
struct CachedVariable<B: Backend> {
    train: Option<CachedRuns<B>>,
    test: CachedRuns<B>,
    /// The map's example pair, which is the first one of the first variable.
    probe: CachedRuns<B>,
    reference: Reference<B>,
    device: B::Device,
}

impl<B: Backend> CachedVariable<B> {
    fn new(sweep: &Sweep, variable: usize, model: &Decoder<B>) -> Result<Self> {
        let sizes = sweep.files.sizes();
        let Variable { train, test, .. } = &sweep.variables[variable];
        let cells = sweep.cells.iter().filter(|cell| cell.variable == variable);
        let mut sites: Vec<_> = cells.clone().map(|cell| cell.site).collect();
        sites.sort_unstable();
        sites.dedup();
        let positions = cells.map(|cell| cell.position);
        let first = positions
            .clone()
            .min()
            .context("a variable without cells")?;
        let last = positions.max().unwrap_or(first);
        let n_tokens = test[0].base.len();
        // All that the whole map needs is computed, so that a part has the same bits; what is cached is what cells here need.
        let here = sweep.cells[sweep.here.clone()].iter();
        let first_layer = here
            .filter(|cell| cell.variable == variable)
            .map(|cell| cell.site.resumes_at(sizes.n_layers))
            .min();
        let wanted = |logits: bool| -> Result<Wanted> {
            Ok(Wanted {
                sites: sites.clone(),
                first_layer: first_layer.unwrap_or(0),
                logits,
                base: first..=if logits { n_tokens - 1 } else { last },
                source: first..=last,
                storage: sweep.cache.storage,
                memory: sweep.cache.memory.n_bytes(),
            })
        };
        let cache = |pairs, logits, what| -> Result<CachedRuns<B>> {
            let wanted = wanted(logits)?;
            let cached = wanted.describe(pairs, sizes)?;
            sweep.report.line(format!("  caching   {what}: {cached}"));
            CachedRuns::run(model, sizes, pairs, &wanted, what)
        };
        let train = match train.is_empty() {
            true => None,
            false => Some(cache(train, false, "train pairs")?),
        };
        let base_labels = test.iter().map(|pair| pair.base_label).collect();
        let test = cache(test, true, "test pairs")?;
        let probe = &sweep.variables[0].test[..1];
        let probe = CachedRuns::run(model, sizes, probe, &wanted(false)?, "probe")?;
        let last = n_tokens - 1;
        let base = batches(test.labels.len(), test.at_once(last)).map(|rows| {
            let base = test.base(&rows, sizes.n_layers, last..=last)?;
            let base = base.base_at(sizes.n_layers, last);
            Ok(model.resume_to_norm(&base, 0, &mut ()))
        });
        let base: Vec<Tensor<B, 3>> = base.collect::<Result<_>>()?;
        let reference = Reference {
            labels: test.labels.clone(),
            base: Tensor::cat(base, 0).squeeze_dim(1),
            base_labels,
        };
        Ok(Self {
            train,
            probe,
            reference,
            device: model.device(),
            test,
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
        let cached = |runs: &CachedRuns<B>| -> Result<Vec<Cached<B>>> {
            let at = |cell: &Planned| runs.at(cell.place(), cell.position);
            cells.iter().map(at).collect()
        };
        let train = cached(self.train.as_ref().context("there are no training pairs")?)?;
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
        let probes = cached(&self.probe)?;
        let mut scored = Vec::with_capacity(cells.len());
        for (idx, (test, basis)) in cached(&self.test)?.iter().zip(bases).enumerate() {
            let learned = swap_along(basis.clone());
            let mut scores = Scores::new(&self.reference, 1);
            // All pairs of a map have one shape: their batches are in order.
            for batch in test.normed(model, &learned) {
                scores.add(model, batch?.1.unsqueeze_dim(1))?;
            }
            let probe = probes[idx].one(0)?.normed(model, &learned);
            let answers = answers(model, probe)?;
            let noise = noises.get(idx).cloned();
            let controls = test.controls(model, [width, rank], rule.seed, noise)?;
            let basis = Basis::new(orthonormal(&read_floats(basis)?, width), rank)?;
            let cell = &cells[idx];
            for found in scores.cells([(cell, sweep.name(cell))], &answers)? {
                scored.push(Cell {
                    basis: Some(basis.clone()),
                    controls: Some(controls.clone()),
                    ..found
                });
            }
        }
        Ok(scored)
    }

    /// Scores whole-value interventions at all positions of a site.
    fn measure(&self, sweep: &Sweep, model: &Decoder<B>, cells: &[Planned]) -> Result<Vec<Cell>> {
        let Planned { site, head, .. } = cells[0];
        let swap = swap_whole();
        let positions = cells.iter().map(|cell| cell.position);
        let (first, last) = (positions.clone().min(), positions.max());
        let (first, last) = first.zip(last).context("a job without cells")?;
        let layer = site.resumes_at(sweep.files.sizes().n_layers);
        let values = |runs: &CachedRuns<B>, rows: &[usize]| {
            let source = runs.source(rows, site, first..last + 1)?;
            let values = source.values(site, head, first..last + 1);
            values.with_context(|| format!("values of {site} were not cached"))
        };
        let mean = match sweep.method {
            Method::Mean => Some(self.mean(self.test.at_once(first), &values)?),
            _ => None,
        };
        // What the head reads, at the positions from the first on.
        let normed = |runs: &CachedRuns<B>, rows: &[usize]| -> Result<Tensor<B, 3>> {
            let base = runs.base(rows, layer, first..=last)?;
            let values = match (&mean, sweep.method) {
                (Some(mean), _) => mean.map(
                    |x| x.repeat_dim(0, rows.len()),
                    |x| x.repeat_dim(0, rows.len()),
                ),
                (None, Method::Zero) => {
                    values(runs, rows)?.map(|x| x.zeros_like(), |x| x.zeros_like())
                }
                _ => values(runs, rows)?,
            };
            let positions = first..last + 1;
            let all = model.intervene_each(&base, &swap, &values, (site, head), positions);
            let cells = cells.iter().map(|cell| cell.position - first);
            Ok(all.select(1, row_indices(&cells.collect::<Vec<_>>(), &self.device)))
        };
        let mut scores = Scores::new(&self.reference, cells.len());
        for rows in batches(self.test.labels.len(), self.test.at_once(first)) {
            scores.add(model, normed(&self.test, &rows)?)?;
        }
        let answers = answers(model, normed(&self.probe, &[0])?.squeeze_dim(0))?;
        let planned = cells.iter().map(|cell| (cell, sweep.name(cell)));
        scores.cells(planned, &answers)
    }

    /// Mean of the source runs' values, one row.
    fn mean(
        &self,
        at_once: usize,
        values: &impl Fn(&CachedRuns<B>, &[usize]) -> Result<Source<B>>,
    ) -> Result<Source<B>> {
        let n = self.test.labels.len() as f64;
        let mut sum: Option<Source<B>> = None;
        for rows in batches(self.test.labels.len(), at_once) {
            let part = values(&self.test, &rows)?.map(|x| x.sum_dim(0) / n, |x| x.sum_dim(0) / n);
            sum = Some(match (sum, part) {
                (Some(Source::Positions(sum)), Source::Positions(part)) => {
                    Source::Positions(sum + part)
                }
                (Some(Source::Heads(sum)), Source::Heads(part)) => Source::Heads(sum + part),
                (_, part) => part,
            });
        }
        sum.context("there are no pairs")
    }
}

//! What a device does in a sweep: takes cells from the queue until there are none.

use std::{
    collections::VecDeque,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc::Sender},
    time::Instant,
};

use anyhow::{Context, Result};
use burn::tensor::{
    Int, Tensor,
    backend::{AutodiffBackend, Backend},
};
use swivel_core::{
    Gpt2,
    bundle::{Cell, Method, Metrics, Part},
    cone::KeptSource,
    direction::{Basis, Controls},
    intervention::{Featurizer, Intervention, Op, Source},
    metric,
    train::{Rotation, orthonormal},
};

use super::{LearnArgs, Planned, Sweep, Variable};
use crate::{
    cmd::width_at,
    device::Job,
    experiment::{n_together, shuffled},
    interrupt,
    kept::{Kept, KeptRuns, SCORE_BATCH, Wanted, label_ids},
    readout::{read_floats, read_ids, top},
    side_by_side::{in_workers, n_workers},
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

/// The jobs that a whole map consists of, in the order of the plan. All positions of a site are one job where nothing is
/// learned, and as many as are learned together best where a direction is. A cell is always computed with the same
/// neighbours, so that its last bit depends on nothing else.
pub fn jobs(
    cells: &[Planned],
    method: Method,
    n_tokens: usize,
    learn: &LearnArgs,
) -> Vec<Range<usize>> {
    let of = |cell: &Planned| (cell.site, cell.head, cell.rank, cell.variable);
    let mut jobs = Vec::new();
    let mut start = 0;
    for mut row in cells.chunk_by(|a, b| of(a) == of(b)) {
        while !row.is_empty() {
            let positions: Vec<usize> = row.iter().map(|cell| cell.position).collect();
            let n = match method {
                Method::LowRank => n_together(&positions, n_tokens, learn.batch_size),
                _ => row.len(),
            };
            jobs.push(start..start + n);
            start += n;
            row = &row[n..];
        }
    }
    jobs
}

/// What a job costs, in a unit of its own: rows that run through blocks, and reading the answer off, a tenth of a block.
pub fn cost(job: &[Planned], n_layers: usize, n_tokens: usize) -> usize {
    let cost = |cell: &Planned| {
        let n_blocks = n_layers - cell.site.resumes_at(n_layers);
        (n_tokens - cell.position) * (10 * n_blocks + 1)
    };
    job.iter().map(cost).sum()
}

/// One part of the jobs, by what they cost: neighbours, which share what is kept, and about as dear as any other part. `None`
/// if there are more parts than jobs.
pub fn share<T>(part: Part, jobs: &[T], cost: impl Fn(&T) -> usize) -> Option<&[T]> {
    let n_spare = jobs.len().checked_sub(part.n_parts())?;
    let ends: Vec<usize> = (jobs.iter())
        .scan(0, |sum, job| {
            *sum += cost(job);
            Some(*sum)
        })
        .collect();
    let total = *ends.last()?;
    let mut bounds = [0, 0];
    for number in 1..=part.number() {
        let until = |end: &usize| end * part.n_parts() <= total * number;
        // Each part has one job at least, and leaves one for each part to come.
        let end = ends.partition_point(until).min(n_spare + number);
        bounds = [bounds[1], end.max(bounds[1] + 1)];
    }
    jobs.get(bounds[0]..bounds[1])
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
        type Shared<B> = Mutex<Option<(usize, Arc<Bench<B>>)>>;
        let sweep = &*self.sweep;
        if self.queue().is_empty() {
            return Ok(()); // a map that is complete needs no model
        }
        let (model, _) = sweep.files.load::<A::InnerBackend>(&device, sweep.report)?;
        let shared: Shared<A::InnerBackend> = Mutex::new(None);
        // Cells come variable by variable: the first worker that needs the next one's runs keeps them for all.
        let bench = |variable: usize| -> Result<Arc<Bench<A::InnerBackend>>> {
            let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, bench)) = shared.as_ref().filter(|(of, _)| *of == variable) {
                return Ok(Arc::clone(bench));
            }
            drop(shared.take()); // before the next runs are kept
            let bench = Arc::new(Bench::new(sweep, variable, &model)?);
            *shared = Some((variable, Arc::clone(&bench)));
            Ok(bench)
        };
        in_workers(n_workers::<A::InnerBackend>(&device), || {
            while let Some(job) = self.next() {
                interrupt::check("what is done is kept")?;
                let planned = &sweep.cells[job.clone()];
                let bench = bench(planned[0].variable)?;
                let started = Instant::now();
                let cells = match sweep.method {
                    Method::LowRank => bench.learn::<A>(sweep, &model, planned)?,
                    _ => bench.measure(sweep, &model, planned)?,
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

/// The pairs of one variable with everything kept that its cells share.
struct Bench<B: Backend> {
    variable: usize,
    train: Option<KeptRuns<B>>,
    test: KeptRuns<B>,
    /// The map's example pair, which is the first one of the first variable.
    probe: KeptRuns<B>,
    /// The base runs' own logits, `[batch, d_vocab]` a batch of test pairs.
    base_logits: Vec<Tensor<B, 2>>,
    /// Token ids of the base's own answers, where they are known.
    base_labels: Option<Vec<u32>>,
    device: B::Device,
}

impl<B: Backend> Bench<B> {
    fn new(sweep: &Sweep, variable: usize, model: &Gpt2<B>) -> Result<Self> {
        let config = &sweep.files.config;
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
        // All that the whole map needs is computed, so that a part has the same bits; what is kept is what cells here need.
        let here = sweep.cells[sweep.here.clone()].iter();
        let first_layer = here
            .filter(|cell| cell.variable == variable)
            .map(|cell| cell.site.resumes_at(config.n_layers))
            .min();
        let wanted = |logits: bool| -> Result<Wanted> {
            Ok(Wanted {
                sites: sites.clone(),
                first_layer: first_layer.unwrap_or(0),
                logits,
                base: first..=if logits { n_tokens - 1 } else { last },
                source: first..=last,
                storage: sweep.keep.storage(),
                memory: sweep.keep.memory()?,
            })
        };
        let keep = |pairs, logits, what| -> Result<KeptRuns<B>> {
            let wanted = wanted(logits)?;
            let kept = wanted.describe(pairs, config)?;
            sweep.report.line(format!("  keeping   {what}: {kept}"));
            KeptRuns::run(model, config, pairs, &wanted, what)
        };
        let train = match train.is_empty() {
            true => None,
            false => Some(keep(train, false, "train pairs")?),
        };
        let base_labels = test.iter().map(|pair| pair.base_label).collect();
        let test = keep(test, true, "test pairs")?;
        let probe = &sweep.variables[0].test[..1];
        let probe = KeptRuns::run(model, config, probe, &wanted(false)?, "probe")?;
        let n_layers = config.n_layers;
        let base_logits = batches(test.labels.len()).map(|rows| {
            let (base, _) = test.select(&rows)?;
            let logits = model.resume(&base.base_at(n_layers, n_tokens - 1), 0, &mut ());
            Ok(logits.squeeze_dim(1))
        });
        Ok(Self {
            variable,
            train,
            probe,
            base_logits: base_logits.collect::<Result<_>>()?,
            base_labels,
            device: model.wte.weight.val().device(),
            test,
        })
    }

    /// Learns the directions of cells that differ in their position only, and scores them with their controls.
    fn learn<A: AutodiffBackend<InnerBackend = B>>(
        &self,
        sweep: &Sweep,
        model: &Gpt2<B>,
        cells: &[Planned],
    ) -> Result<Vec<Cell>> {
        let Planned { site, rank, .. } = cells[0];
        let kept = |runs: &KeptRuns<B>| -> Result<Vec<Kept<B>>> {
            let at = |cell: &Planned| runs.at(cell.place(), cell.position);
            cells.iter().map(at).collect()
        };
        let train = kept(self.train.as_ref().context("there are no training pairs")?)?;
        let width = width_at(site, &sweep.files.config)?;
        let rule = sweep.rule(width);
        let learn = |train: &[Kept<B>]| -> Result<Vec<Tensor<B, 2>>> {
            let start = Rotation::random(width, rank, rule.seed, &self.device)?;
            let learned = rule.learn_together::<A>(model, train, start, |_, _, _| Ok(()))?;
            Ok(learned.iter().map(Rotation::basis).collect())
        };
        let swap = |basis| Intervention::new(Op::Interchange, Featurizer::Subspace(basis));
        let bases = learn(&train)?;
        let noises = match sweep.shuffled {
            true => {
                let noise = |kept: &Kept<B>| kept.with_labels(shuffled(&kept.labels, rule.seed));
                learn(&train.iter().map(noise).collect::<Vec<_>>())?
            }
            false => Vec::new(),
        };
        let probes = kept(&self.probe)?;
        let mut scored = Vec::with_capacity(cells.len());
        for (idx, (test, basis)) in kept(&self.test)?.iter().zip(bases).enumerate() {
            let learned = swap(basis.clone());
            let mut scores = Scores::new(self);
            for logits in test.logits(model, &learned) {
                scores.add(logits?)?;
            }
            let answer = answer(probes[idx].select(&[0])?.logits(model, &learned))?;
            let noise = noises
                .get(idx)
                .map(|noise| test.iia(model, &swap(noise.clone())));
            let controls = Controls {
                random: test.random_iia(model, width, rank, rule.seed)?,
                full: test.full_iia(model)?,
                shuffled: noise.transpose()?,
            };
            let basis = Basis::new(orthonormal(&read_floats(basis)?, width), rank)?;
            scored.push(Cell {
                basis: Some(basis),
                controls: Some(controls),
                ..scores.cell(sweep, &cells[idx], answer)
            });
        }
        Ok(scored)
    }

    /// Scores whole-value interventions at all positions of a site.
    fn measure(&self, sweep: &Sweep, model: &Gpt2<B>, cells: &[Planned]) -> Result<Vec<Cell>> {
        let Planned { site, head, .. } = cells[0];
        let swap = Intervention::new(Op::Interchange, Featurizer::Identity);
        let positions = cells.iter().map(|cell| cell.position);
        let (first, last) = (positions.clone().min(), positions.max());
        let (first, last) = first.zip(last).context("a job without cells")?;
        let mut all: Vec<Scores<B>> = cells.iter().map(|_| Scores::new(self)).collect();
        let values = |source: &KeptSource<B>| {
            let values = source.values(site, head, first..last + 1);
            values.with_context(|| format!("values of {site} were not kept"))
        };
        let mean = match sweep.method {
            Method::Mean => Some(self.mean(&values)?),
            _ => None,
        };
        let logits = |runs: &KeptRuns<B>, rows: &[usize]| -> Result<Tensor<B, 3>> {
            let (base, source) = runs.select(rows)?;
            let values = match (&mean, sweep.method) {
                (Some(mean), _) => mean.map(
                    |x| x.repeat_dim(0, rows.len()),
                    |x| x.repeat_dim(0, rows.len()),
                ),
                (None, Method::Zero) => {
                    values(&source)?.map(|x| x.zeros_like(), |x| x.zeros_like())
                }
                _ => values(&source)?,
            };
            let positions = first..last + 1;
            Ok(model.intervene_each(&base, &swap, &values, (site, head), positions))
        };
        let at = |logits: &Tensor<B, 3>, cell: &Planned| -> Tensor<B, 2> {
            let logits = logits.clone().narrow(1, cell.position - first, 1);
            logits.squeeze_dim(1)
        };
        for rows in batches(self.test.labels.len()) {
            let logits = logits(&self.test, &rows)?;
            for (cell, scores) in cells.iter().zip(&mut all) {
                scores.add(at(&logits, cell))?;
            }
        }
        let probe = logits(&self.probe, &[0])?;
        (cells.iter().zip(all))
            .map(|(cell, scores)| Ok(scores.cell(sweep, cell, answer(at(&probe, cell))?)))
            .collect()
    }

    /// Mean of the source runs' values, one row.
    fn mean(&self, values: &impl Fn(&KeptSource<B>) -> Result<Source<B>>) -> Result<Source<B>> {
        let n = self.test.labels.len() as f64;
        let mut sum: Option<Source<B>> = None;
        for rows in batches(self.test.labels.len()) {
            let (_, source) = self.test.select(&rows)?;
            let part = values(&source)?.map(|x| x.sum_dim(0) / n, |x| x.sum_dim(0) / n);
            sum = Some(match (sum, part) {
                (Some(Source::Stream(sum)), Source::Stream(part)) => Source::Stream(sum + part),
                (Some(Source::Heads(sum)), Source::Heads(part)) => Source::Heads(sum + part),
                (_, part) => part,
            });
        }
        sum.context("there are no pairs")
    }
}

/// Rows of pairs that are scored at once.
fn batches(n_pairs: usize) -> impl Iterator<Item = Vec<usize>> {
    let starts = (0..n_pairs).step_by(SCORE_BATCH);
    starts.map(move |start| (start..n_pairs.min(start + SCORE_BATCH)).collect())
}

/// What a run of one pair answers, and that token's logit.
///
/// # Shapes
/// - `logits`: `[1, d_vocab]`
fn answer<B: Backend>(logits: Tensor<B, 2>) -> Result<(u32, f32)> {
    let top = top(&read_floats(logits)?, 1);
    let top = top.first().context("the model has no tokens")?;
    Ok((top.token, top.logit))
}

/// Scores of a cell, batch by batch.
struct Scores<'a, B: Backend> {
    bench: &'a Bench<B>,
    n_batches: usize,
    n_pairs: usize,
    n_hits: usize,
    probability: [f64; 2],
    logit_difference: [f64; 2],
    kl: f64,
}

impl<'a, B: Backend> Scores<'a, B> {
    fn new(bench: &'a Bench<B>) -> Self {
        Self {
            bench,
            n_batches: 0,
            n_pairs: 0,
            n_hits: 0,
            probability: [0.0; 2],
            logit_difference: [0.0; 2],
            kl: 0.0,
        }
    }

    /// Adds the next batch.
    ///
    /// # Shapes
    /// - `logits`: of the intervened runs, `[batch, d_vocab]`
    fn add(&mut self, logits: Tensor<B, 2>) -> Result<()> {
        let bench = self.bench;
        let n = logits.dims()[0];
        let labels = &bench.test.labels[self.n_pairs..self.n_pairs + n];
        let ids: Tensor<B, 1, Int> = label_ids(labels, &bench.device);
        let others = bench.base_labels.as_ref();
        let others = others
            .map(|others| label_ids::<B>(&others[self.n_pairs..self.n_pairs + n], &bench.device));
        let base = bench.base_logits[self.n_batches].clone();
        let difference = |logits: &Tensor<B, 2>| match &others {
            Some(others) => metric::logit_difference(logits.clone(), ids.clone(), others.clone()),
            None => Tensor::zeros([n], &bench.device),
        };
        let columns = [
            metric::probability(base.clone(), ids.clone()),
            metric::probability(logits.clone(), ids.clone()),
            difference(&base),
            difference(&logits),
            metric::kl(base, logits.clone()),
        ];
        let values = read_floats(Tensor::stack::<2>(columns.to_vec(), 0))?;
        let sum = |column: usize| -> f64 {
            let values = &values[column * n..(column + 1) * n];
            values.iter().map(|value| f64::from(*value)).sum()
        };
        let top_1 = read_ids(metric::top_1(logits))?;
        self.n_hits += top_1
            .iter()
            .zip(labels)
            .filter(|(top_1, label)| top_1 == label)
            .count();
        for (idx, total) in (self.probability.iter_mut())
            .chain(&mut self.logit_difference)
            .chain([&mut self.kl])
            .enumerate()
        {
            *total += sum(idx);
        }
        self.n_pairs += n;
        self.n_batches += 1;
        Ok(())
    }

    /// The cell without what was learned there.
    fn cell(self, sweep: &Sweep, planned: &Planned, (top_1, logit): (u32, f32)) -> Cell {
        let n = self.n_pairs as f64;
        let difference = self.bench.base_labels.as_ref();
        Cell {
            place: planned.place(),
            variable: sweep.variables[self.bench.variable].name.clone(),
            basis: None,
            iia: self.n_hits as f64 / n,
            controls: None,
            metrics: Metrics {
                probability: self.probability.map(|sum| sum / n),
                logit_difference: difference.map(|_| self.logit_difference.map(|sum| sum / n)),
                kl: self.kl / n,
            },
            top_1,
            logit,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[track_caller]
    fn check_parts(costs: &[usize], expected: &[&[usize]]) {
        let n = expected.len();
        let parts = (1..=n).map(|number| {
            let part: Part = format!("{number}/{n}").parse().unwrap();
            share(part, costs, |cost| *cost).unwrap()
        });
        assert_eq!(parts.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn parts_are_neighbours_that_cost_alike_and_leave_nothing_out() {
        check_parts(&[1, 2, 3], &[&[1, 2, 3]]);
        check_parts(&[1, 1, 1, 1], &[&[1, 1], &[1, 1]]);
        check_parts(&[1, 1, 1, 1, 4, 4], &[&[1, 1, 1, 1], &[4], &[4]]);
        check_parts(&[9, 1, 1], &[&[9], &[1], &[1]]);
        check_parts(&[1, 1, 9], &[&[1], &[1], &[9]]);
        check_parts(&[0, 0, 0], &[&[0], &[0], &[0]]);
        assert_eq!(
            share("1/4".parse().unwrap(), &[1, 1, 1], |cost| *cost),
            None
        );
    }
}

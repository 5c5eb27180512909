//! A map while it is being filled.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Range,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::json;
use swivel_core::{
    Place, Position,
    sweep::{Cell, Method, SweepFacts, SweepResult},
};

use super::{
    cells::{Planned, Sweep},
    identity::difference,
    live::Live,
    metric::Metric,
    publish::{picture_path, publish},
    work,
};
use crate::{
    device::{self, DeviceChoice},
    direction_file::read_bytes,
    output::{Existing, Output},
};

/// Least time between two writes of the sweep result while cells are still being computed.
const SAVE_EVERY: Duration = Duration::from_secs(2);

/// The sweep result while it is being filled: cells that are done, in the order of the plan.
pub struct Map {
    path: PathBuf,
    facts: SweepFacts,
    done: BTreeMap<usize, Cell>,
    saved: Instant,
}

impl Map {
    /// A new map, or the one that an interrupted sweep has left at `path`.
    pub fn open(path: &Path, facts: SweepFacts, sweep: &Sweep, existing: Existing) -> Result<Self> {
        let mut map = Self {
            path: path.to_owned(),
            facts,
            done: BTreeMap::new(),
            saved: Instant::now(),
        };
        if existing == Existing::Replace || !path.exists() {
            if map.facts.part.is_none() {
                existing.check(&picture_path(path))?;
            }
            drop(Output::create(path, Existing::Replace)?); // whether it can be written
            return Ok(map);
        }
        let advice = "choose another name with --out, or replace it with --force";
        let begun = SweepResult::from_bytes(&read_bytes(path)?)
            .with_context(|| format!("{} cannot be gone on with; {advice}", path.display()))?;
        if let Some(difference) = difference(begun.facts(), &map.facts) {
            bail!(
                "{} holds another map, which differs in: {difference}; {advice}",
                path.display()
            );
        }
        for cell in begun.cells() {
            let position = cell.place.position.resolve(map.facts.base.len())?;
            let place = Place {
                position: Position::Index(position),
                ..cell.place
            };
            let is_planned = |idx: &usize| {
                let planned = &sweep.cells[*idx];
                let rank = cell.basis.as_ref().map_or(0, |basis| basis.rank());
                (planned.place(), planned.rank) == (place, rank)
                    && sweep.variables[planned.variable].name == cell.variable
            };
            let idx = sweep.here.clone().find(is_planned);
            let idx = idx.with_context(|| {
                format!("{}: {} is not in the plan", path.display(), cell.title())
            })?;
            map.done.insert(idx, cell.clone());
        }
        Ok(map)
    }

    fn result(&self) -> Result<SweepResult> {
        let mut result = SweepResult::new(self.facts.clone())?;
        for cell in self.done.values() {
            result.push(cell.clone())?;
        }
        Ok(result)
    }

    fn save(&mut self) -> Result<()> {
        Output::create(&self.path, Existing::Replace)?.finish(&self.result()?.to_bytes())?;
        self.saved = Instant::now();
        Ok(())
    }

    /// Computes the missing cells on the devices, each taking the next one, and writes sweep result and picture.
    pub fn fill(
        &mut self,
        sweep: Arc<Sweep>,
        jobs: Vec<Range<usize>>,
        devices: &[DeviceChoice],
        metric: Metric,
    ) -> Result<ExitCode> {
        let started = Instant::now();
        let report = sweep.report;
        self.announce(&sweep, devices);
        let (sender, receiver) = mpsc::channel();
        // A job is computed whole even if a cell of it is there: among other neighbours its last bits could be others.
        let is_left = |job: &Range<usize>| job.clone().any(|idx| !self.done.contains_key(&idx));
        let jobs: VecDeque<_> = jobs.into_iter().filter(is_left).collect();
        let queue = Arc::new(Mutex::new(jobs));
        let workers: Vec<_> = (devices.iter().cloned())
            .map(|device| {
                let worker = work::Worker::new(&sweep, &queue, sender.clone());
                thread::spawn(move || device::run(device, worker))
            })
            .collect();
        drop(sender);
        let mut live = Live::new(&sweep);
        self.done
            .iter()
            .for_each(|(idx, cell)| live.show(*idx, cell, metric));
        for work::Done { idx, cell, seconds } in receiver {
            if self.done.contains_key(&idx) {
                continue; // its neighbours were missing
            }
            report.event(&json!({
                "layer": cell.place.site.layer,
                "component": cell.place.site.component.name(),
                "head": cell.place.head,
                "position": sweep.cells[idx].position,
                "rank": sweep.cells[idx].rank,
                "variable": cell.variable,
                "iia": cell.iia,
                "controls": cell.controls,
                "metrics": cell.metrics,
                "seconds": seconds,
            }));
            live.show(idx, &cell, metric);
            self.done.insert(idx, cell);
            if self.saved.elapsed() > SAVE_EVERY {
                self.save()?;
            }
        }
        live.finish();
        let mut failures = workers
            .into_iter()
            .filter_map(|worker| match worker.join() {
                Ok(result) => result.err(),
                Err(_) => Some(anyhow!("a device failed; its message is above")),
            });
        let failure = failures.next();
        if !self.done.is_empty() {
            self.save()?;
        }
        let (n_done, n_planned) = (self.done.len(), self.facts.n_planned);
        if n_done < n_planned {
            let cause = failure.unwrap_or_else(|| anyhow!("the sweep stopped early"));
            if n_done == 0 {
                return Err(cause.context("no cell was finished"));
            }
            return Err(cause.context(format!(
                "{n_done} of {n_planned} cells are in {}; the same command goes on from there",
                self.path.display()
            )));
        }
        if let Some(cause) = failure {
            report.warn(format!("{cause:#}; other devices did its work"));
        }
        publish(&self.result()?, &self.path, metric, report, started)
    }

    fn announce(&self, sweep: &Sweep, devices: &[DeviceChoice]) {
        let report = sweep.report;
        let SweepFacts {
            model,
            method,
            task,
            ..
        } = &self.facts;
        let what = match method {
            Method::Das => "Learning a direction at each place",
            Method::Interchange => "Swapping the whole value at each place",
            Method::Zero => "Setting the value to zero at each place",
            Method::Mean => "Setting the value to its mean at each place",
        };
        let here = &sweep.cells[sweep.here.clone()];
        report.line(format!(
            "{what} of {model}: {}, {}",
            in_words("layer", here.iter().map(|cell| cell.site.layer)),
            sweep.tokens_in_words(here)
        ));
        if let Some(task) = task {
            let names = sweep
                .variables
                .iter()
                .filter_map(|variable| variable.name.as_deref());
            report.line(format!(
                "  task      {task}, {}",
                names.collect::<Vec<_>>().join(", ")
            ));
        }
        let (n_planned, n_done) = (self.facts.n_planned, self.done.len());
        let gone_on = match n_done {
            0 => String::new(),
            n => format!(", {n} of them done before"),
        };
        let of = self.facts.part.map_or(String::new(), |part| {
            format!(" of {}, part {part}", sweep.cells.len())
        });
        report.line(format!("  cells     {n_planned}{of}{gone_on}"));
        if let (Some(n), Some(epochs)) = (self.facts.train_pairs, self.facts.epochs) {
            report.line(format!(
                "  training  {n} pairs, {epochs} epochs, batch {}",
                sweep.learning.batch_size
            ));
        }
        let others = self.facts.validation_pairs.map_or(String::new(), |n| {
            format!("; {n} others pick the best cell")
        });
        report.line(format!(
            "  scores    on {} held-out pairs{others}",
            self.facts.test_pairs
        ));
        let devices: Vec<String> = devices.iter().map(DeviceChoice::to_string).collect();
        report.line(format!("  devices   {}", devices.join(", ")));
        report.event(&json!({
            "event": "config",
            "run": serde_json::from_str::<serde_json::Value>(&self.facts.run).ok(),
            "part": self.facts.part.map(|part| part.to_string()),
            "n_planned": n_planned,
            "n_done": n_done,
            "devices": devices,
        }));
    }
}

impl Sweep {
    /// The tokens of some cells for people: by their names, where they have some.
    fn tokens_in_words(&self, cells: &[Planned]) -> String {
        let columns: BTreeSet<usize> = cells.iter().map(|cell| cell.column).collect();
        let columns = || columns.iter().map(|column| &self.columns[*column]);
        let names: Option<Vec<&str>> = columns().map(|column| column.token.as_deref()).collect();
        match names {
            Some(names) => format!("tokens {}", names.join(", ")),
            None => in_words("token", columns().map(|column| column.position)),
        }
    }
}

/// Numbers for people: `layer 2 alone`, `tokens 3, 120 to 129`.
fn in_words(what: &str, numbers: impl Iterator<Item = usize>) -> String {
    let numbers: Vec<usize> = numbers.collect::<BTreeSet<_>>().into_iter().collect();
    if let [number] = numbers[..] {
        return format!("{what} {number} alone");
    }
    let spans = numbers.chunk_by(|a, b| a + 1 == *b);
    let spans = spans.map(|span| match span {
        [first, .., last] => format!("{first} to {last}"),
        _ => span.iter().map(usize::to_string).collect(),
    });
    format!("{what}s {}", spans.collect::<Vec<_>>().join(", "))
}

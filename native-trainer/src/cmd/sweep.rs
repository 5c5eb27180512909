//! `sweep`: a map of places in the model: how well an intervention works at each layer, position, component, head, rank and
//! variable, in one bundle, with a picture.

mod identity;
mod picture;
mod work;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::{Range, RangeInclusive},
    path::{Path, PathBuf},
    process::ExitCode,
    str::FromStr,
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args as ClapArgs;
use serde_json::json;
use swivel_core::{
    Component, Gpt2Config, Place, Position, Site,
    bundle::{Bundle, BundleFacts, Cell, Method, Part},
    task::{Pair, PairShape},
    train,
};

use super::{
    KeepArgs, LearnArgs, ReportArgs, Task, TaskArgs, check_counts, check_head, heading, help_end,
    short_name, train::CREATED_BY, width_at,
};
use crate::{
    device::{self, DeviceChoice},
    experiment::{Rule, read_pairs},
    model_files::{ModelFiles, SOLVER},
    output::{Existing, Output},
    report::Report,
};
pub use identity::{difference, n_cells};
pub use picture::Metric;

/// Least time between two writes of the bundle while cells are still being computed.
const SAVE_EVERY: Duration = Duration::from_secs(2);

/// Options of `sweep`.
#[derive(ClapArgs, Clone, Debug)]
#[command(after_help = help_end(&[
    "swivel sweep --variable op5,op3",
    "swivel sweep --method interchange --components block_output,head_attention_value_output --positions all",
    "swivel sweep --variable op5,op3 --shard 1/4",
]))]
pub struct Args {
    /// Model: `solver` (embedded), a folder in Hugging Face's layout, or a Hub id [default: solver]
    #[arg(long, value_name = "DIR_OR_HUB_ID", help_heading = heading::MODEL)]
    model: Option<String>,
    /// Devices that share the cells: auto, flex (the CPU), cuda or wgpu; cuda:0,cuda:1 are two GPUs
    #[arg(long, default_values_t = [DeviceChoice::Auto], value_delimiter = ',', help_heading = heading::MODEL)]
    device: Vec<DeviceChoice>,
    #[command(flatten)]
    report: ReportArgs,
    #[command(flatten)]
    task: TaskArgs,
    #[command(flatten)]
    keep: KeepArgs,
    /// What is done at each cell: low_rank learns a direction; interchange, zero and mean need no training
    #[arg(long, default_value = "low_rank", value_parser = Method::ALL.map(|(_, name)| name), help_heading = heading::LEARNING)]
    method: String,
    /// Layers: `all`, `last`, numbers and ranges, as in 0,3-5
    #[arg(long, default_value = "all", value_name = "LIST", help_heading = heading::PLACE)]
    layers: Span,
    /// Positions: numbers from 0 and ranges, as in 3 (token 3 alone) or 120-129; `last:3` (the last three), `last`, `all`
    #[arg(long, default_value = "last:10", value_name = "LIST", help_heading = heading::PLACE)]
    positions: Span,
    /// Components of the sites, separated by commas; those listed below
    #[arg(
        long,
        default_value = "block_output",
        value_delimiter = ',',
        value_name = "NAMES", help_heading = heading::PLACE)]
    components: Vec<String>,
    /// Heads, at components that are per head: `all`, numbers and ranges
    #[arg(long, default_value = "all", value_name = "LIST", help_heading = heading::PLACE)]
    heads: Span,
    /// Ranks of the subspaces, separated by commas
    #[arg(
        long,
        default_value = "1",
        value_delimiter = ',',
        value_name = "NUMBERS", help_heading = heading::LEARNING)]
    ranks: Vec<usize>,
    #[command(flatten)]
    learn: LearnArgs,
    /// Pairs that each direction is learned from
    #[arg(long, default_value_t = 800, conflicts_with = "train_data", help_heading = heading::QUESTION)]
    train_pairs: usize,
    /// Held-out pairs that each cell is scored on
    #[arg(long, default_value_t = 200, conflicts_with = "test_data", help_heading = heading::QUESTION)]
    test_pairs: usize,
    /// Learn each direction a second time on shuffled labels, as a control
    #[arg(long, help_heading = heading::LEARNING)]
    shuffled: bool,
    /// Training pairs from a file (JSON lines) rather than from the task; not needed where nothing is learned
    #[arg(long, value_name = "FILE", requires = "test_data", help_heading = heading::QUESTION)]
    train_data: Option<PathBuf>,
    /// Held-out pairs from a file
    #[arg(long, value_name = "FILE", help_heading = heading::QUESTION)]
    test_data: Option<PathBuf>,
    /// Seed of data, initial bases and shuffling
    #[arg(long, default_value_t = 0, help_heading = heading::LEARNING)]
    seed: u64,
    /// What the picture shows
    #[arg(long, value_enum, default_value_t = Metric::Iia, help_heading = heading::OUTPUT)]
    metric: Metric,
    /// Compute one of N parts of the map, which `merge` puts together: 1/4 is the first of four
    #[arg(long, value_name = "I/N", help_heading = heading::OUTPUT)]
    shard: Option<Part>,
    /// Where the bundle goes; the picture goes beside it, as .svg [default: directions/MODEL-PROGRAM-VARIABLE-METHOD-map.safetensors, of a part …-map-1of4.safetensors]
    #[arg(long, value_name = "FILE", help_heading = heading::OUTPUT)]
    out: Option<PathBuf>,
    /// Replace the file if it is there; without, the same command goes on with the map in it
    #[arg(long, help_heading = heading::OUTPUT)]
    force: bool,
}

/// A list of numbers as typed: `all`, `last`, `last:3`, `0,3-5`.
#[derive(Clone, Debug)]
struct Span(Vec<Numbers>);

#[derive(Clone, Debug)]
enum Numbers {
    All,
    Last(usize),
    Range(RangeInclusive<usize>),
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no list; expected `all`, `last`, `last:3`, or numbers and ranges as in 0,3-5"
            )
        };
        let part = |part: &str| match part.trim() {
            "all" => Some(Numbers::All),
            "last" => Some(Numbers::Last(1)),
            part => {
                if let Some(n) = part.strip_prefix("last:") {
                    return n.parse().ok().filter(|n| *n > 0).map(Numbers::Last);
                }
                let (first, last) = part.split_once('-').unwrap_or((part, part));
                let (first, last) = (first.parse().ok()?, last.parse().ok()?);
                (first <= last).then_some(Numbers::Range(first..=last))
            }
        };
        let parts: Option<Vec<Numbers>> = text.split(',').map(part).collect();
        parts.map(Self).ok_or_else(wrong)
    }
}

impl Span {
    /// The numbers that are meant among the first `n`, each once, in order.
    fn resolve(&self, n: usize, what: &str) -> Result<Vec<usize>> {
        let mut numbers: Vec<usize> = Vec::new();
        for part in &self.0 {
            let range = match part {
                Numbers::All => 0..=n - 1,
                Numbers::Last(last) => n.saturating_sub(*last)..=n - 1,
                Numbers::Range(range) => range.clone(),
            };
            if *range.end() >= n {
                bail!("{what} {} is outside; expected 0 to {}", range.end(), n - 1);
            }
            numbers.extend(range);
        }
        numbers.sort_unstable();
        numbers.dedup();
        Ok(numbers)
    }
}

/// A cell that is to be computed.
#[derive(Clone, Copy, Debug)]
pub struct Planned {
    /// Where.
    pub site: Site,
    /// In which head, where the component is per head.
    pub head: Option<usize>,
    /// At which token, of base and source alike.
    pub position: usize,
    /// Rank of the subspace that is learned; 0 where none is.
    pub rank: usize,
    /// Index of the variable.
    pub variable: usize,
}

impl Planned {
    /// Where, in base and source alike.
    pub fn place(&self) -> Place {
        Place {
            site: self.site,
            head: self.head,
            position: Position::Index(self.position),
        }
    }

    /// The row of the table that it stands in: `layer 2 head_value_output, head 1`.
    pub fn row(&self) -> String {
        let head = self.head.map(|head| format!(", head {head}"));
        format!("{}{}", self.site, head.unwrap_or_default())
    }
}

/// Pairs of one variable.
pub struct Variable {
    /// Its name; `None` for pairs from files.
    pub name: Option<String>,
    /// Pairs to learn from; none where nothing is learned.
    pub train: Vec<Pair>,
    /// Pairs to score on.
    pub test: Vec<Pair>,
}

/// Everything that the cells of a sweep depend on.
pub struct Sweep {
    /// The model.
    pub files: ModelFiles,
    /// What is done at each cell.
    pub method: Method,
    /// Pairs, one set a variable.
    pub variables: Vec<Variable>,
    /// The cells of the whole map, the cheapest first.
    pub cells: Vec<Planned>,
    /// Those of them that are computed here: all, or a part.
    pub here: Range<usize>,
    /// How directions are learned.
    learn: LearnArgs,
    seed: u64,
    /// Whether each direction is learned on shuffled labels, too.
    pub shuffled: bool,
    /// How values are kept.
    pub keep: KeepArgs,
    /// Where text goes.
    pub report: Report,
}

impl Sweep {
    /// The rule at a place of this width.
    pub fn rule(&self, width: usize) -> Rule {
        self.learn.rule(width, true, self.seed)
    }
}

/// Runs `sweep`.
pub fn run(args: Args) -> Result<ExitCode> {
    let report = args.report.report();
    let Some((method, _)) = (Method::ALL.into_iter()).find(|(_, name)| *name == args.method) else {
        bail!("unknown method `{}`", args.method);
    };
    let is_learned = method == Method::LowRank;
    args.learn.check()?;
    check_counts(&[
        ("--train-pairs", args.train_pairs),
        ("--test-pairs", args.test_pairs),
    ])?;
    if args.test_data.is_some() && args.train_data.is_none() && is_learned {
        bail!("--test-data needs --train-data: directions are learned from it");
    }
    let files = ModelFiles::open(args.model.as_deref().unwrap_or(SOLVER))?;
    let (variables, task) = variables(&args, &files, is_learned)?;
    let cells = plan(&args, &files.config, &variables, is_learned)?;
    let first = &variables[0];
    let n_tokens = first.test[0].base.len();
    let jobs = work::jobs(&cells, method, n_tokens, &args.learn);
    let jobs = match args.shard {
        None => jobs,
        Some(part) => {
            let (n_jobs, n_cells) = (jobs.len(), cells.len());
            let cost = |job: &Range<usize>| {
                work::cost(&cells[job.clone()], files.config.n_layers, n_tokens)
            };
            let jobs = work::share(part, &jobs, cost).with_context(|| {
                format!(
                    "--shard {part}: this map of {n_cells} cells has at most {n_jobs} parts, since some cells are computed together"
                )
            })?;
            jobs.to_vec()
        }
    };
    let here = (jobs.first().zip(jobs.last())).map(|(first, last)| first.start..last.end);
    let here = here.context("there are no cells")?;
    let rule = args.learn.rule(files.config.d_model, true, args.seed);
    let rule = is_learned.then_some(rule);
    let facts = BundleFacts {
        method,
        model: files.name.clone(),
        model_sha256: files.sha256()?,
        run: identity::run(&args, task.as_deref(), &variables, &cells, rule)?,
        task,
        train_pairs: is_learned.then_some(first.train.len()),
        test_pairs: first.test.len(),
        epochs: rule.map(|rule| rule.epochs),
        lr: rule.map(|rule| rule.lr),
        seed: Some(args.seed),
        base: first.test[0].base.clone(),
        source: first.test[0].source.clone(),
        n_planned: here.len(),
        part: args.shard,
        created_by: Some(CREATED_BY.to_owned()),
    };
    let out = match &args.out {
        Some(out) => out.clone(),
        None => default_path(&facts, &variables),
    };
    let sweep = Sweep {
        files,
        method,
        variables,
        cells,
        here,
        learn: args.learn,
        seed: args.seed,
        shuffled: args.shuffled,
        keep: args.keep,
        report,
    };
    let mut map = Map::open(&out, facts, &sweep, Existing::of(args.force))?;
    map.fill(Arc::new(sweep), jobs, &args.device, args.metric)
}

/// Where a map goes if nobody says: parts have names of their own.
fn default_path(facts: &BundleFacts, variables: &[Variable]) -> PathBuf {
    let model = short_name(&facts.model);
    let names: Vec<&str> = (variables.iter())
        .filter_map(|variable| variable.name.as_deref())
        .collect();
    let what = match &facts.task {
        Some(task) => format!("{}-{}", task.replace("programs/", ""), names.join("-")),
        None => "data".to_owned(),
    };
    let part = facts.part.map_or(String::new(), |part| {
        format!("-{}of{}", part.number(), part.n_parts())
    });
    PathBuf::from(format!(
        "directions/{model}-{what}-{}-map{part}.safetensors",
        facts.method.name()
    ))
}

/// The pairs of each variable, and the task's name.
fn variables(
    args: &Args,
    files: &ModelFiles,
    is_learned: bool,
) -> Result<(Vec<Variable>, Option<String>)> {
    if let Some(test) = &args.test_data {
        if let Some(name) = args.task.given() {
            bail!(
                "{name} says which pairs to sample, and --test-data has them already; leave one out"
            );
        }
        let train = args.train_data.as_deref().filter(|_| is_learned);
        let read = |path: &Path| read_pairs(path, &files.config);
        let variable = Variable {
            name: None,
            train: train.map(read).transpose()?.unwrap_or_default(),
            test: read(test)?,
        };
        return Ok((vec![variable], None));
    }
    let names = args
        .task
        .variable
        .clone()
        .unwrap_or_else(|| "op5".to_owned());
    let mut variables: Vec<Variable> = Vec::new();
    let mut name_of_task = None;
    for name in names.split(',').map(str::trim) {
        if variables
            .iter()
            .any(|other| other.name.as_deref() == Some(name))
        {
            bail!("--variable names {name} twice");
        }
        let task = TaskArgs {
            variable: Some(name.to_owned()),
            ..args.task.clone()
        };
        let task = task.resolve(&files.config, files.tokenizer()?, ("07065a", "op5"))?;
        name_of_task = Some(task.name());
        let [train_seed, test_seed] = Task::seeds(args.seed);
        let mut sampler = task.sampler()?;
        let train = match is_learned {
            true => sampler.pairs(args.train_pairs, train_seed)?,
            false => Vec::new(),
        };
        variables.push(Variable {
            name: Some(name.to_owned()),
            train,
            test: sampler.pairs(args.test_pairs, test_seed)?,
        });
    }
    Ok((variables, name_of_task))
}

/// The cells, from the last layer and token on: those that cost least come first.
fn plan(
    args: &Args,
    config: &Gpt2Config,
    variables: &[Variable],
    is_learned: bool,
) -> Result<Vec<Planned>> {
    let n_tokens = {
        let shape = PairShape::of(&variables[0].test, config)?;
        for variable in variables {
            for pairs in [&variable.train, &variable.test] {
                if pairs.is_empty() {
                    continue;
                }
                let PairShape {
                    n_base, n_source, ..
                } = PairShape::of(pairs, config)?;
                if [n_base, n_source] != [shape.n_base; 2] {
                    bail!(
                        "a map over positions needs prompts of one length, and there are some of {} and {n_base} and {n_source} tokens",
                        shape.n_base
                    );
                }
            }
        }
        shape.n_base
    };
    let ranks = match is_learned {
        true => args.ranks.clone(),
        false => vec![0],
    };
    let positions = args.positions.resolve(n_tokens, "position")?;
    let layers = args.layers.resolve(config.n_layers, "layer")?;
    let mut cells = Vec::new();
    for variable in 0..variables.len() {
        for name in &args.components {
            let component: Component = name.trim().parse()?;
            let heads = match component.is_per_head() {
                true => args
                    .heads
                    .resolve(config.n_heads, "head")?
                    .into_iter()
                    .map(Some)
                    .collect(),
                false => vec![None],
            };
            for layer in layers.iter().rev() {
                let Ok(site) = component.at(*layer).check(config) else {
                    continue; // the embedding and the final norm are in one layer only
                };
                for head in &heads {
                    check_head(site, *head, config)?;
                    for rank in &ranks {
                        if is_learned {
                            train::check_rank(width_at(site, config)?, *rank)?;
                        }
                        for position in positions.iter().rev() {
                            cells.push(Planned {
                                site,
                                head: *head,
                                position: *position,
                                rank: *rank,
                                variable,
                            });
                        }
                    }
                }
            }
        }
    }
    if cells.is_empty() {
        bail!("there are no cells: none of --components is in one of --layers");
    }
    Ok(cells)
}

/// The bundle while it is being filled: cells that are done, in the order of the plan.
struct Map {
    path: PathBuf,
    facts: BundleFacts,
    done: BTreeMap<usize, Cell>,
    saved: Instant,
}

impl Map {
    /// A new map, or the one that an interrupted sweep has left at `path`.
    fn open(path: &Path, facts: BundleFacts, sweep: &Sweep, existing: Existing) -> Result<Self> {
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
        let begun = Bundle::from_bytes(&super::read_direction_bytes(path)?)
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

    fn bundle(&self) -> Result<Bundle> {
        let mut bundle = Bundle::new(self.facts.clone())?;
        for cell in self.done.values() {
            bundle.push(cell.clone())?;
        }
        Ok(bundle)
    }

    fn save(&mut self) -> Result<()> {
        Output::create(&self.path, Existing::Replace)?.finish(&self.bundle()?.to_bytes())?;
        self.saved = Instant::now();
        Ok(())
    }

    /// Computes the missing cells on the devices, each taking the next one, and writes bundle and picture.
    fn fill(
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
        let mut live = picture::Live::new(&sweep);
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
        publish(&self.bundle()?, &self.path, metric, report, started)
    }

    fn announce(&self, sweep: &Sweep, devices: &[DeviceChoice]) {
        let report = sweep.report;
        let BundleFacts {
            model,
            method,
            task,
            ..
        } = &self.facts;
        let what = match method {
            Method::LowRank => "Learning a direction at each place",
            Method::Interchange => "Swapping the whole value at each place",
            Method::Zero => "Setting the value to zero at each place",
            Method::Mean => "Setting the value to its mean at each place",
        };
        let here = &sweep.cells[sweep.here.clone()];
        report.line(format!(
            "{what} of {model}: {}, {}",
            in_words("layer", here.iter().map(|cell| cell.site.layer)),
            in_words("token", here.iter().map(|cell| cell.position))
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
                sweep.learn.batch_size
            ));
        }
        report.line(format!(
            "  scores    on {} held-out pairs",
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

/// Where the picture of a map goes.
pub fn picture_path(map: &Path) -> PathBuf {
    map.with_extension("svg")
}

/// Shows a finished map and, of a whole one, writes the picture beside its file.
pub fn publish(
    bundle: &Bundle,
    path: &Path,
    metric: Metric,
    report: Report,
    started: Instant,
) -> Result<ExitCode> {
    for sheet in bundle.sheets() {
        for line in super::inspect::table(bundle, &sheet) {
            report.line(line);
        }
    }
    let best = bundle.best();
    if let Some(best) = best.map(|idx| &bundle.cells()[idx]) {
        let controls = best.controls.as_ref().map_or(String::new(), |controls| {
            format!(
                " (random {:.3}, whole vector {:.3})",
                controls.random, controls.full
            )
        });
        report.line(format!(
            "\nBest: {}, IIA {:.3}{controls}",
            best.title(),
            best.iia
        ));
    }
    let part = bundle.facts().part;
    let picture = match part {
        Some(_) => None,
        None => {
            let picture = picture::svg(bundle, metric)?;
            Some(
                Output::create(&picture_path(path), Existing::Replace)?
                    .finish(picture.as_bytes())?,
            )
        }
    };
    let seconds = started.elapsed().as_secs_f64();
    let (file, n_cells) = (path.display(), bundle.cells().len());
    report.line(match (&picture, part) {
        (Some(picture), _) => format!(
            "Wrote {file} and {} after {seconds:.1} s; drop the first on the page to see where it is, and turn it.",
            picture.display()
        ),
        (None, part) => format!(
            "Wrote {file}, {n_cells} cells, after {seconds:.1} s; `merge` makes one map of all {} parts.",
            part.map_or(1, Part::n_parts)
        ),
    });
    report.event(&json!({
        "event": "done",
        "file": path,
        "picture": picture,
        "part": part.map(|part| part.to_string()),
        "cells": n_cells,
        "best": best,
        "seconds": seconds,
    }));
    Ok(ExitCode::SUCCESS)
}

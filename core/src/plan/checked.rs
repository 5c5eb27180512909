//! A plan that cannot be wrong, and its run.

use std::{collections::BTreeSet, fmt, ops::Range};

use burn::tensor::{Int, Tensor, TensorData, backend::Backend};

use super::{
    Mode, OpName, Plan, PlannedIntervention, Positions, Prompts, Unit, from_data_url, refuse,
    within,
};
use crate::{
    Component, Error, Gpt2, Gpt2Config, Recorder, Result, Site, Tokenizer,
    direction::Direction,
    intervention::{Edit, Editor, Featurizer, Intervention, Op, Source, Units},
};

/// A plan that fits a model's sizes: rows of ids, sites that exist, positions inside the prompts.
#[derive(Clone, Debug)]
pub struct CheckedPlan {
    config: Gpt2Config,
    /// Rows of the sources, then of the base, `[run][row][pos]`.
    runs: Vec<Vec<Vec<u32>>>,
    steps: Vec<Step>,
    directions: Vec<Direction>,
    record: Vec<Site>,
}

/// One intervention, checked.
#[derive(Clone, Debug)]
struct Step {
    site: Site,
    op: Op,
    strength: f32,
    /// Rows of the subspace, row-major; `None` for the whole space.
    basis: Option<Vec<f32>>,
    width: usize,
    origin: Origin,
    /// Run that is intervened on.
    into: usize,
    /// What is edited, a row.
    base_units: Vec<Units>,
    /// What is read from the source run, a row.
    source_units: Vec<Units>,
}

/// Where a source value comes from.
#[derive(Clone, Debug)]
enum Origin {
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
    /// `[rows, pos, width]`, at a site of the stream.
    Stream(Tensor<B, 3>),
    /// `[rows, head, pos, …]`, at a site that is per head.
    Heads(Tensor<B, 4>),
}

impl CheckedPlan {
    /// Checks a plan; see [`Plan::check`].
    pub(super) fn new<E: fmt::Display>(
        plan: &Plan,
        config: &Gpt2Config,
        tokenizer: Option<&Tokenizer>,
        read: impl Fn(&str) -> Result<Vec<u8>, E>,
    ) -> Result<Self> {
        let base = rows("base", &plan.base, config, tokenizer)?;
        let mut runs = Vec::with_capacity(plan.sources.len() + 1);
        for (idx, source) in plan.sources.iter().enumerate() {
            let field = format!("sources[{idx}]");
            let rows = rows(&field, source, config, tokenizer)?;
            if rows.len() != base.len() {
                let expected = format!("{} rows, as in `base`", base.len());
                return refuse(field, expected, format!("{} rows", rows.len()));
            }
            runs.push(rows);
        }
        runs.push(base);
        let mut steps = Vec::with_capacity(plan.interventions.len());
        let mut directions = Vec::new();
        for (idx, planned) in plan.interventions.iter().enumerate() {
            let checker = Checker {
                idx,
                planned,
                config,
                runs: &runs,
            };
            let direction = checker.direction(&read)?;
            steps.push(checker.step(plan.mode, direction.as_ref())?);
            directions.extend(direction);
        }
        for idx in 0..plan.sources.len() {
            if !plan.interventions.iter().any(|i| i.source == Some(idx)) {
                let expected = "a source that an intervention reads";
                return refuse(format!("sources[{idx}]"), expected, "one that none reads");
            }
        }
        let mut record = Vec::with_capacity(plan.record.len());
        for (idx, site) in plan.record.iter().enumerate() {
            let site = site.component.at(site.layer).check(config);
            record.push(site.map_err(within(format!("record[{idx}].layer")))?);
        }
        let config = config.clone();
        Ok(Self {
            config,
            runs,
            steps,
            directions,
            record,
        })
    }

    /// Rows of the base run, each a list of ids.
    pub fn base(&self) -> &[Vec<u32>] {
        &self.runs[self.runs.len() - 1]
    }

    /// The directions that interventions use, in their order.
    pub fn directions(&self) -> &[Direction] {
        &self.directions
    }

    /// Sites that are edited, in the order of the interventions.
    pub fn sites(&self) -> impl Iterator<Item = Site> {
        self.steps.iter().map(|step| step.site)
    }

    /// Runs the sources, the base, and the base with the interventions.
    ///
    /// # Errors
    /// - [`Error::InterventionUnapplied`] if a run never reached an intervention's site.
    /// - Whatever [`Editor::new`] refuses, if the model is not of the config that the plan was checked against.
    pub fn run<B: Backend>(&self, model: &Gpt2<B>) -> Result<Outcome<B>> {
        let batches = self.batches().into_iter();
        let parts: Vec<Outcome<B>> = batches
            .map(|rows| self.run_rows(model, &rows))
            .collect::<Result<_>>()?;
        let record = |idx: usize| {
            let (mut stream, mut heads) = (Vec::new(), Vec::new());
            for part in &parts {
                match &part.records[idx] {
                    Record::Stream(value) => stream.push(value.clone()),
                    Record::Heads(value) => heads.push(value.clone()),
                }
            }
            if heads.is_empty() {
                Record::Stream(Tensor::cat(stream, 0))
            } else {
                Record::Heads(Tensor::cat(heads, 0))
            }
        };
        Ok(Outcome {
            base: Tensor::cat(parts.iter().map(|part| part.base.clone()).collect(), 0),
            intervened: Tensor::cat(
                parts.iter().map(|part| part.intervened.clone()).collect(),
                0,
            ),
            records: (0..self.record.len()).map(record).collect(),
        })
    }

    /// Consecutive rows whose interventions are at the same positions run at once.
    fn batches(&self) -> Vec<Range<usize>> {
        let n_rows = self.base().len();
        let differ = |units: &[Units], row: usize| units[row] != units[row - 1];
        let is_start = |row: &usize| {
            *row == 0
                || self
                    .steps
                    .iter()
                    .any(|step| differ(&step.base_units, *row) || differ(&step.source_units, *row))
        };
        let starts: Vec<usize> = (0..n_rows).filter(is_start).collect();
        let ends = starts[1..].iter().copied().chain([n_rows]);
        let ranges = starts.iter().zip(ends);
        ranges.map(|(start, end)| *start..end).collect()
    }

    fn run_rows<B: Backend>(&self, model: &Gpt2<B>, rows: &Range<usize>) -> Result<Outcome<B>> {
        let device = model.wte.weight.val().device();
        let ids = |run: usize| -> Tensor<B, 2, Int> {
            let rows = &self.runs[run][rows.clone()];
            let ids: Vec<i64> = rows.iter().flatten().map(|id| i64::from(*id)).collect();
            Tensor::from_data(TensorData::new(ids, [rows.len(), rows[0].len()]), &device)
        };
        let run = |run: usize, sources: &[Recorder<B>], sites: Vec<Site>| {
            let ids = ids(run);
            let [n_rows, n_tokens] = ids.dims();
            let into = self.steps.iter().filter(|step| step.into == run);
            let edits =
                into.map(|step| step.edit(sources, rows.start, [n_rows, n_tokens], &device));
            let editor = Editor::new(&self.config, n_tokens, edits.collect())?;
            let mut hook = (editor, Recorder::new(sites));
            let logits = model.forward(ids, &mut hook);
            hook.0.finish()?;
            Ok::<_, Error>((logits, hook.1))
        };
        let base = self.runs.len() - 1;
        let mut sources = Vec::with_capacity(base);
        for idx in 0..base {
            let reads = |step: &&Step| matches!(step.origin, Origin::Run(run) if run == idx);
            let sites = self.steps.iter().filter(reads).map(|step| step.site);
            let (_, recorder) = run(idx, &sources, sites.collect())?;
            sources.push(recorder);
        }
        let (intervened, recorder) = run(base, &sources, self.record.clone())?;
        Ok(Outcome {
            base: model.forward(ids(base), &mut ()),
            intervened,
            records: self
                .record
                .iter()
                .map(|site| recorded(&recorder, *site))
                .collect(),
        })
    }
}

impl Step {
    /// The edit of a batch of `n_rows` rows from `row` on, which have the same units.
    fn edit<B: Backend>(
        &self,
        sources: &[Recorder<B>],
        row: usize,
        [n_rows, n_tokens]: [usize; 2],
        device: &B::Device,
    ) -> Edit<B> {
        let tensor = |values: Vec<f32>| -> Tensor<B, 2> {
            let n = values.len() / self.width;
            Tensor::from_data(TensorData::new(values, [n, self.width]), device)
        };
        let featurizer = match &self.basis {
            Some(basis) => Featurizer::Rotation(tensor(basis.clone())),
            None => Featurizer::Identity,
        };
        let units = self.base_units[row].clone();
        let source = match &self.origin {
            Origin::Nothing => Source::None,
            Origin::Run(run) => {
                let read = &self.source_units[row];
                match recorded(&sources[*run], self.site) {
                    Record::Stream(value) => Source::Stream(read.select(value)),
                    Record::Heads(value) => Source::Heads(read.select(value)),
                }
            }
            Origin::Values(values) => {
                let n_positions = units.positions.as_ref().map_or(n_tokens, Vec::len);
                let values = tensor(values.concat()).unsqueeze::<3>(); // [1, n_values, width]
                let values = values.expand([n_rows, n_positions, self.width]);
                match &units.heads {
                    None => Source::Stream(values),
                    Some(heads) => Source::Heads(values.unsqueeze_dim::<4>(1).expand([
                        n_rows,
                        heads.len(),
                        n_positions,
                        self.width,
                    ])),
                }
            }
        };
        let intervention = Intervention {
            strength: self.strength,
            ..Intervention::new(self.op, featurizer)
        };
        Edit {
            site: self.site,
            units,
            intervention,
            source,
        }
    }
}

/// Checks one intervention.
struct Checker<'a> {
    idx: usize,
    planned: &'a PlannedIntervention,
    config: &'a Gpt2Config,
    /// Rows of the sources, then of the base.
    runs: &'a [Vec<Vec<u32>>],
}

impl Checker<'_> {
    fn field(&self, name: &str) -> String {
        format!("interventions[{}].{name}", self.idx)
    }

    fn n_tokens(&self, run: usize) -> usize {
        self.runs[run][0].len()
    }

    /// The base run comes after the sources.
    fn base(&self) -> usize {
        self.runs.len() - 1
    }

    fn direction<E: fmt::Display>(
        &self,
        read: impl Fn(&str) -> Result<Vec<u8>, E>,
    ) -> Result<Option<Direction>> {
        let field = self.field("op.direction");
        let op = &self.planned.op;
        let name = match (op.name, &op.direction) {
            (OpName::LowRank, Some(name)) => name,
            (OpName::LowRank, None) => return refuse(field, "a direction file", "nothing"),
            (_, None) => return Ok(None),
            (name, Some(_)) => {
                return refuse(field, format!("nothing: `{name}` has no direction"), "one");
            }
        };
        let bytes = match from_data_url(&field, name)? {
            Some(bytes) => bytes,
            None => read(name).map_err(|error| Error::PlanFile {
                field: field.clone(),
                name: name.clone(),
                reason: format!("{error:#}"),
            })?,
        };
        let direction = Direction::from_bytes(&bytes).map_err(within(field))?;
        Ok(Some(direction))
    }

    fn step(&self, mode: Mode, direction: Option<&Direction>) -> Result<Step> {
        let PlannedIntervention {
            layer,
            component,
            op,
            ..
        } = self.planned;
        let site = component.at(*layer).check(self.config);
        let site = site.map_err(within(self.field("layer")))?;
        if *component == Component::AttentionScore {
            // A masked score is -inf, and the displacement from it not a number.
            let expected = "a component other than this, which can only be recorded";
            return refuse(self.field("component"), expected, component);
        }
        let origin = self.origin()?;
        let into = match (mode, &origin) {
            (Mode::Serial, Origin::Run(run)) => run + 1,
            _ => self.base(),
        };
        let width = component.width(self.config);
        let width = width.unwrap_or(self.n_tokens(into));
        let [base_units, source_units] = self.units(&origin, into)?;
        if let Origin::Values(values) = &origin {
            self.check_values(values, width, &base_units, into)?;
        }
        if let Some(direction) = direction.filter(|direction| direction.width() != width) {
            return Err(within(self.field("op.direction"))(Error::DirectionWidth {
                site: site.to_string(),
                expected: width,
                found: direction.width(),
            }));
        }
        if let Some(dims) = &op.dims {
            let n_dims = direction.map_or(width, Direction::rank);
            check_distinct(&self.field("op.dims"), dims, n_dims)?;
        }
        if !op.strength.is_finite() {
            return refuse(self.field("op.strength"), "a finite number", op.strength);
        }
        Ok(Step {
            site,
            op: match op.name {
                OpName::Interchange | OpName::LowRank => Op::Interchange,
                OpName::Zero => Op::Zero,
                OpName::Add => Op::Add,
                OpName::Subtract => Op::Subtract,
            },
            strength: op.strength,
            basis: basis(direction, op.dims.as_deref(), width),
            width,
            origin,
            into,
            base_units,
            source_units,
        })
    }

    fn origin(&self) -> Result<Origin> {
        let PlannedIntervention {
            op, source, values, ..
        } = self.planned;
        match (op.name, source, values) {
            (OpName::Zero, None, None) => Ok(Origin::Nothing),
            (OpName::Zero, source, _) => {
                let name = if source.is_some() { "source" } else { "values" };
                refuse(self.field(name), "nothing: `zero` has no source", "one")
            }
            (_, Some(_), Some(_)) => {
                refuse(self.field("values"), "either `source` or `values`", "both")
            }
            (_, None, Some(values)) => Ok(Origin::Values(values.clone())),
            (_, Some(run), None) if *run < self.base() => Ok(Origin::Run(*run)),
            (_, source, None) => {
                let expected = match self.base() {
                    0 => "`values`, or an index into `sources`, which is empty".to_owned(),
                    n => format!("an index into `sources`, 0 to {}, or `values`", n - 1),
                };
                let found = source.map_or("nothing".to_owned(), |run| run.to_string());
                refuse(self.field("source"), expected, found)
            }
        }
    }

    /// What is edited and what is read, a row.
    fn units(&self, origin: &Origin, into: usize) -> Result<[Vec<Units>; 2]> {
        let PlannedIntervention {
            component,
            unit,
            base_positions,
            source_positions,
            ..
        } = self.planned;
        let heads = self.heads()?;
        let from = match origin {
            Origin::Run(run) => Some(*run),
            _ => None,
        };
        if from.is_none() && source_positions.is_some() {
            let expected = "nothing: no source run is read";
            return refuse(self.field("source_positions"), expected, "positions");
        }
        let is_whole = *unit == Unit::Heads || component.width(self.config).is_none();
        let n_tokens = self.n_tokens(into);
        match from.map(|run| self.n_tokens(run)) {
            Some(found) if is_whole && found != n_tokens => {
                let expected = format!("a run of {n_tokens} tokens, as the one it goes into");
                return refuse(self.field("source"), expected, format!("{found} tokens"));
            }
            _ => {}
        }
        let units = |positions: Option<Vec<usize>>| Units {
            positions,
            heads: heads.clone(),
        };
        let n_rows = self.runs[self.base()].len();
        if *unit == Unit::Heads {
            for (name, positions) in [
                ("base_positions", base_positions),
                ("source_positions", source_positions),
            ] {
                if positions.is_some() {
                    let expected = "nothing: unit `h` is all positions";
                    return refuse(self.field(name), expected, "positions");
                }
            }
            return Ok([vec![units(None); n_rows], vec![units(None); n_rows]]);
        }
        let name = self.field("base_positions");
        let Some(base_positions) = base_positions else {
            return refuse(name, "positions such as [[2]]", "nothing");
        };
        let base = positions(&name, base_positions, n_tokens, n_rows)?;
        for (row, list) in base.iter().enumerate() {
            check_distinct(&format!("{name}[{row}]"), list, n_tokens)?;
        }
        let name = self.field("source_positions");
        let source = match from {
            None => base.clone(),
            Some(run) => {
                let source = source_positions.as_ref().unwrap_or(base_positions);
                positions(&name, source, self.n_tokens(run), n_rows)?
            }
        };
        for (row, (base, source)) in base.iter().zip(&source).enumerate() {
            if base.len() != source.len() {
                let expected = format!("{} positions, as in `base_positions`", base.len());
                return refuse(format!("{name}[{row}]"), expected, source.len());
            }
        }
        Ok([base, source].map(|rows| rows.into_iter().map(|list| units(Some(list))).collect()))
    }

    /// Heads that are edited; `None` at sites that are not per head.
    fn heads(&self) -> Result<Option<Vec<usize>>> {
        let PlannedIntervention {
            component,
            unit,
            heads,
            ..
        } = self.planned;
        let n_heads = self.config.n_heads;
        match (unit, heads) {
            (Unit::Positions, None) => Ok(component.is_per_head().then(|| (0..n_heads).collect())),
            (Unit::Positions, Some(_)) => {
                let expected = "nothing with unit `pos`; units with heads are `h` and `h.pos`";
                refuse(self.field("heads"), expected, "heads")
            }
            _ if !component.is_per_head() => {
                let expected = format!("`pos`, since {component} is not per head");
                refuse(self.field("unit"), expected, "a unit with heads")
            }
            (_, None) => refuse(self.field("heads"), "heads such as [0]", "nothing"),
            (_, Some(heads)) => {
                check_distinct(&self.field("heads"), heads, n_heads)?;
                Ok(Some(heads.clone()))
            }
        }
    }

    fn check_values(
        &self,
        values: &[Vec<f32>],
        width: usize,
        units: &[Units],
        into: usize,
    ) -> Result<()> {
        let field = self.field("values");
        let n_positions = |units: &Units| {
            let positions = units.positions.as_ref();
            positions.map_or(self.n_tokens(into), Vec::len)
        };
        let fits = |units| values.len() == 1 || values.len() == n_positions(units);
        if !units.iter().all(fits) {
            let expected = "a vector a position, or a single one for all";
            return refuse(field, expected, format!("{} vectors", values.len()));
        }
        for (idx, vector) in values.iter().enumerate() {
            let field = format!("{field}[{idx}]");
            if vector.len() != width {
                return refuse(field, format!("{width} numbers"), vector.len());
            }
            if let Some(value) = vector.iter().find(|value| !value.is_finite()) {
                return refuse(field, "finite numbers", value);
            }
        }
        Ok(())
    }
}

/// The value of a site that a finished run was asked for.
fn recorded<B: Backend>(recorder: &Recorder<B>, site: Site) -> Record<B> {
    match (recorder.get(site), recorder.get_heads(site)) {
        (Some(value), _) => Record::Stream(value.clone()),
        (_, Some(value)) => Record::Heads(value.clone()),
        _ => unreachable!("a run offers every site of the model to its hook"),
    }
}

/// Ids of rows that the model can run as one batch.
fn rows(
    field: &str,
    prompts: &Prompts,
    config: &Gpt2Config,
    tokenizer: Option<&Tokenizer>,
) -> Result<Vec<Vec<u32>>> {
    let (field, rows) = match (prompts, tokenizer) {
        (Prompts::Ids(ids), _) => (format!("{field}.ids"), Ok(ids.clone())),
        (Prompts::Text(texts), Some(tokenizer)) => {
            let rows = texts.iter().map(|text| tokenizer.encode(text)).collect();
            (format!("{field}.text"), rows)
        }
        (Prompts::Text(_), None) => {
            let expected = "`ids`, since the model has no tokenizer";
            return refuse(field, expected, "`text`");
        }
    };
    rows.and_then(|rows| config.check_ids(&rows).map(|_| rows))
        .map_err(within(field))
}

/// The positions of each row.
fn positions(
    field: &str,
    positions: &Positions,
    n_tokens: usize,
    n_rows: usize,
) -> Result<Vec<Vec<usize>>> {
    for (row, list) in positions.0.iter().enumerate() {
        check_list(&format!("{field}[{row}]"), list, n_tokens)?;
    }
    match positions.0.as_slice() {
        [list] => Ok(vec![list.clone(); n_rows]),
        lists if lists.len() == n_rows => Ok(lists.to_vec()),
        lists => {
            let expected = format!("{n_rows} lists, one a row, or a single one for all rows");
            refuse(field, expected, format!("{} lists", lists.len()))
        }
    }
}

/// Indices below `n`, at least one.
fn check_list(field: &str, list: &[usize], n: usize) -> Result<()> {
    let expected = format!("numbers from 0 to {}", n - 1);
    match list.iter().find(|idx| **idx >= n) {
        Some(idx) => refuse(field, expected, idx),
        None if list.is_empty() => refuse(field, expected, "none"),
        None => Ok(()),
    }
}

/// Indices below `n`, at least one, none twice.
fn check_distinct(field: &str, list: &[usize], n: usize) -> Result<()> {
    check_list(field, list, n)?;
    let mut seen = BTreeSet::new();
    match list.iter().find(|idx| !seen.insert(**idx)) {
        Some(idx) => refuse(field, "every number once", format!("{idx} twice")),
        None => Ok(()),
    }
}

/// Rows of the subspace, row-major; `None` for the whole space.
fn basis(direction: Option<&Direction>, dims: Option<&[usize]>, width: usize) -> Option<Vec<f32>> {
    let rows = direction.map(Direction::rows);
    let Some(dims) = dims else {
        return rows.map(<[f32]>::to_vec);
    };
    let row = |dim: &usize| match rows {
        Some(rows) => rows[dim * width..(dim + 1) * width].to_vec(),
        None => {
            let is_dim = |idx: usize| if idx == *dim { 1.0 } else { 0.0 };
            (0..width).map(is_dim).collect()
        }
    };
    Some(dims.iter().flat_map(row).collect())
}

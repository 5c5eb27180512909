//! From a plan as written to one that cannot be wrong.

use std::{collections::BTreeSet, fmt, sync::Arc};

use super::{
    CheckedPlan, Mode, Plan, PlannedIntervention, PlannedOp, Positions, Prompts, Unit,
    checked::{Origin, Step, of_row},
    from_data_url, refuse, within,
};
use crate::{
    Component, Error, Gpt2Config, Position, Result, Tokenizer, direction::Direction,
    intervention::Units,
};

/// Checks a plan; see [`Plan::check`].
pub(super) fn check<E: fmt::Display>(
    plan: &Plan,
    config: &Gpt2Config,
    tokenizer: Option<&Tokenizer>,
    read: impl Fn(&str) -> Result<Arc<Direction>, E>,
) -> Result<CheckedPlan> {
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
    for (idx, planned) in plan.interventions.iter().enumerate() {
        let checker = Checker {
            idx,
            planned,
            config,
            tokenizer,
            runs: &runs,
        };
        let direction = checker.direction(&read)?;
        steps.push(checker.step(plan.mode, direction)?);
    }
    let read: BTreeSet<usize> = plan.interventions.iter().filter_map(|i| i.source).collect();
    for idx in 0..plan.sources.len() {
        if !read.contains(&idx) {
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
    Ok(CheckedPlan {
        config,
        runs,
        steps,
        record,
    })
}

/// Checks one intervention.
struct Checker<'a> {
    idx: usize,
    planned: &'a PlannedIntervention,
    config: &'a Gpt2Config,
    tokenizer: Option<&'a Tokenizer>,
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
        read: impl Fn(&str) -> Result<Arc<Direction>, E>,
    ) -> Result<Option<Arc<Direction>>> {
        let field = self.field("op.direction");
        let PlannedOp {
            operation,
            direction,
            ..
        } = &self.planned.op;
        let name = match (operation.is_learned, direction) {
            (true, Some(name)) => name,
            (true, None) => return refuse(field, "a direction file", "nothing"),
            (false, None) => return Ok(None),
            (false, Some(_)) => {
                let expected = format!("nothing: `{operation}` has no direction");
                return refuse(field, expected, "one");
            }
        };
        let direction = match from_data_url(&field, name)? {
            Some(bytes) => Arc::new(Direction::from_bytes(&bytes).map_err(within(field))?),
            None => read(name).map_err(|error| Error::PlanFile {
                field: field.clone(),
                name: name.clone(),
                reason: format!("{error:#}"),
            })?,
        };
        Ok(Some(direction))
    }

    fn step(&self, mode: Mode, direction: Option<Arc<Direction>>) -> Result<Step> {
        let PlannedIntervention {
            layer,
            component,
            op,
            ..
        } = self.planned;
        let site = component.at(*layer).check(self.config);
        let site = site.map_err(within(self.field("layer")))?;
        if *component == Component::AttentionScore {
            self.check_whole_scores()?;
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
        let found = direction.as_deref();
        if let Some(direction) = found.filter(|direction| direction.width() != width) {
            return Err(within(self.field("op.direction"))(Error::DirectionWidth {
                site: site.to_string(),
                expected: width,
                found: direction.width(),
            }));
        }
        if let Some(dims) = &op.dims {
            let n_dims = found.map_or(width, Direction::rank);
            check_distinct(&self.field("op.dims"), dims, n_dims)?;
        }
        if !op.strength.is_finite() {
            return refuse(self.field("op.strength"), "a finite number", op.strength);
        }
        Ok(Step {
            site,
            operation: op.operation,
            strength: op.strength,
            basis: basis(found, op.dims.as_deref(), width),
            direction,
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
        let operation = op.operation;
        match (operation.op.reads_source(), source, values) {
            (false, None, None) => Ok(Origin::Nothing),
            (false, source, _) => {
                let name = if source.is_some() { "source" } else { "values" };
                let expected = format!("nothing: `{operation}` has no source");
                refuse(self.field(name), expected, "one")
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

    /// Scores of later tokens are -inf, of which no part in a subspace is a number.
    fn check_whole_scores(&self) -> Result<()> {
        let PlannedOp {
            operation, dims, ..
        } = &self.planned.op;
        let expected =
            "nothing: scores of later tokens are -inf, and only whole rows of scores are changed";
        if dims.is_some() {
            return refuse(self.field("op.dims"), expected, "dimensions");
        }
        if operation.is_learned {
            return refuse(self.field("op.direction"), expected, "a direction");
        }
        Ok(())
    }

    /// Scores read at an earlier token are -inf where they go: a token does not look beyond itself.
    fn check_scores_seen(&self, name: &str, base: &[usize], source: &[usize]) -> Result<()> {
        match base.iter().zip(source).find(|(base, source)| source < base) {
            Some((base, source)) if self.planned.component == Component::AttentionScore => {
                let expected = format!(
                    "token {base} or a later one, whose scores reach as far as those they go to"
                );
                refuse(name, expected, source)
            }
            _ => Ok(()),
        }
    }

    /// What is edited and what is read: a row, or once for all rows.
    fn units(&self, origin: &Origin, into: usize) -> Result<[Vec<Units>; 2]> {
        let PlannedIntervention {
            component,
            unit,
            base_positions,
            token,
            source_positions,
            source_token,
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
            rows: None,
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
            for (name, text) in [("token", token), ("source_token", source_token)] {
                if text.is_some() {
                    let expected = "nothing: unit `h` is all positions";
                    return refuse(self.field(name), expected, "a text");
                }
            }
            return Ok([vec![units(None)], vec![units(None)]]);
        }
        let name = self.field("base_positions");
        let Some(base_positions) = base_positions else {
            return refuse(name, "positions such as [[2]]", "nothing");
        };
        let base = positions(&name, base_positions, n_tokens, n_rows)?;
        for (row, list) in base.iter().enumerate() {
            check_distinct(&format!("{name}[{row}]"), list, n_tokens)?;
        }
        self.check_token("token", token.as_deref(), into, &base)?;
        let name = self.field("source_positions");
        let source = match from {
            None => base.clone(),
            Some(run) => {
                let source = source_positions.as_ref().unwrap_or(base_positions);
                positions(&name, source, self.n_tokens(run), n_rows)?
            }
        };
        for row in 0..base.len().max(source.len()) {
            let (base, source) = (of_row(&base, row), of_row(&source, row));
            if base.len() != source.len() {
                let expected = format!("{} positions, as in `base_positions`", base.len());
                return refuse(format!("{name}[{row}]"), expected, source.len());
            }
            self.check_scores_seen(&format!("{name}[{row}]"), base, source)?;
        }
        match (from, source_token) {
            (Some(run), text) => self.check_token("source_token", text.as_deref(), run, &source)?,
            (None, None) => {}
            (None, Some(_)) => {
                let expected = "nothing: no source run is read";
                return refuse(self.field("source_token"), expected, "a text");
            }
        }
        Ok([base, source].map(|rows| rows.into_iter().map(|list| units(Some(list))).collect()))
    }

    /// Checks that these positions of a run have the text that the plan's author meant.
    fn check_token(
        &self,
        name: &str,
        text: Option<&str>,
        run: usize,
        positions: &[Vec<usize>],
    ) -> Result<()> {
        let Some(text) = text else {
            return Ok(());
        };
        let field = self.field(name);
        let Some(tokenizer) = self.tokenizer else {
            return refuse(field, "nothing, since the model has no tokenizer", "a text");
        };
        for (row, ids) in self.runs[run].iter().enumerate() {
            for position in of_row(positions, row) {
                let found = tokenizer.decode(&[ids[*position]]);
                if found != text {
                    let expected = format!("token {position} of row {row} to be {text:?}");
                    return refuse(field, expected, format!("{found:?}"));
                }
            }
        }
        Ok(())
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

/// The positions: a list a row, or a single one for all rows. That one is not copied for each of them, since rows and
/// positions may be as many as the plan is long.
fn positions(
    field: &str,
    positions: &Positions,
    n_tokens: usize,
    n_rows: usize,
) -> Result<Vec<Vec<usize>>> {
    let resolve = |(row, list): (usize, &Vec<Position>)| -> Result<Vec<usize>> {
        let field = format!("{field}[{row}]");
        if list.is_empty() {
            return refuse(field, format!("numbers from 0 to {}", n_tokens - 1), "none");
        }
        let list = list.iter().map(|position| position.resolve(n_tokens));
        list.collect::<Result<_>>().map_err(within(field))
    };
    let lists: Vec<Vec<usize>> = (positions.0.iter().enumerate())
        .map(resolve)
        .collect::<Result<_>>()?;
    if lists.len() == 1 || lists.len() == n_rows {
        return Ok(lists);
    }
    let expected = format!("{n_rows} lists, one a row, or a single one for all rows");
    refuse(field, expected, format!("{} lists", lists.len()))
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

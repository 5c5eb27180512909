//! From a plan as written to one that cannot be wrong.

mod operation;
mod units;

use std::{collections::BTreeSet, fmt, sync::Arc};

use super::{
    CheckedPlan, Mode, Plan, PlanError, PlannedIntervention, PlannedOp, Prompts,
    error::{refuse, within},
    from_data_url,
    step::{Origin, Step},
};
use crate::{
    Component, Sizes, Tokenizer,
    direction::Direction,
    intervention::{InterventionError, Units},
};

use units::check_distinct;

/// Checks a plan; see [`Plan::check`].
pub(super) fn check<E: fmt::Display>(
    plan: &Plan,
    sizes: &Sizes,
    tokenizer: Option<&Tokenizer>,
    read: impl Fn(&str) -> Result<Arc<Direction>, E>,
) -> Result<CheckedPlan, PlanError> {
    let base = rows("base", &plan.base, sizes, tokenizer)?;
    let mut runs = Vec::with_capacity(plan.sources.len() + 1);
    for (idx, source) in plan.sources.iter().enumerate() {
        let field = format!("sources[{idx}]");
        let rows = rows(&field, source, sizes, tokenizer)?;
        if rows.len() != base.len() {
            let expected = format!("{} rows, as in `base`", base.len());
            return refuse(field, expected, format!("{} rows", rows.len()));
        }
        runs.push(rows);
    }
    runs.push(base);
    check_first_token(plan, tokenizer)?;
    let mut steps = Vec::with_capacity(plan.interventions.len());
    for (idx, planned) in plan.interventions.iter().enumerate() {
        let checker = Checker {
            idx,
            planned,
            sizes,
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
        let site = site.component.at(site.layer).check(sizes);
        record.push(site.map_err(within(format!("record[{idx}].layer")))?);
    }
    let sizes = sizes.clone();
    Ok(CheckedPlan {
        sizes,
        runs,
        steps,
        record,
    })
}

/// Checks that the tokenizer puts before each text what the plan's author meant.
fn check_first_token(plan: &Plan, tokenizer: Option<&Tokenizer>) -> Result<(), PlanError> {
    let Some(text) = &plan.first_token else {
        return Ok(());
    };
    let mut prompts = plan.sources.iter().chain([&plan.base]);
    let has_text = prompts.any(|prompts| matches!(prompts, Prompts::Text(_)));
    let Some(tokenizer) = tokenizer.filter(|_| has_text) else {
        let expected = "nothing: `ids` are all that is run";
        return refuse("first_token", expected, format!("{text:?}"));
    };
    let own = tokenizer.first_text().unwrap_or_default();
    match own == *text {
        true => Ok(()),
        false => refuse(
            "first_token",
            format!("{own:?}, as the tokenizer has it"),
            format!("{text:?}"),
        ),
    }
}

/// Checks one intervention.
struct Checker<'a> {
    idx: usize,
    planned: &'a PlannedIntervention,
    sizes: &'a Sizes,
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
    ) -> Result<Option<Arc<Direction>>, PlanError> {
        let field = self.field("op.direction");
        let PlannedOp {
            operation,
            direction,
            ..
        } = &self.planned.op;
        let name = match (operation.is_learned(), direction) {
            (true, Some(name)) => name,
            (true, None) => return refuse(field, "a direction file", "nothing"),
            (false, None) => return Ok(None),
            (false, Some(_)) if operation.op.is_none() => {
                let expected = format!("nothing: `{operation}` keeps whole values");
                return refuse(field, expected, "one");
            }
            (false, Some(name)) => name,
        };
        let direction = match from_data_url(&field, name)? {
            Some(bytes) => Arc::new(Direction::from_bytes(&bytes).map_err(within(field))?),
            None => read(name).map_err(|error| PlanError::File {
                field: field.clone(),
                name: name.clone(),
                reason: format!("{error:#}"),
            })?,
        };
        Ok(Some(direction))
    }

    fn step(&self, mode: Mode, direction: Option<Arc<Direction>>) -> Result<Step, PlanError> {
        let PlannedIntervention {
            layer,
            component,
            op,
            ..
        } = self.planned;
        let site = component.at(*layer).check(self.sizes);
        let site = site.map_err(within(self.field("layer")))?;
        self.check_component()?;
        if *component == Component::AttentionScore {
            self.check_whole_scores()?;
        }
        let origin = self.origin()?;
        let into = match (mode, origin.run()) {
            (Mode::Serial, Some(run)) => run + 1,
            _ => self.base(),
        };
        let width = component.width(self.sizes);
        let width = width.unwrap_or(self.n_tokens(into));
        let [base_units, source_units] = self.units(&origin, into)?;
        if op.operation.op.is_none() {
            self.check_alike(&base_units)?;
        }
        if let Origin::Values(values) = &origin {
            self.check_values(values, width, &base_units, into)?;
        }
        let found = direction.as_deref();
        if let Some(direction) = found.filter(|direction| direction.width() != width) {
            return Err(within(self.field("op.direction"))(
                InterventionError::DirectionWidth {
                    site: site.to_string(),
                    expected: width,
                    found: direction.width(),
                },
            ));
        }
        let forms = op.operation.forms;
        let is_other =
            |direction: &&Direction| !forms.is_empty() && !forms.contains(&direction.form());
        if let Some(direction) = found.filter(is_other) {
            let expected: Vec<&str> = forms.iter().map(|form| form.about()).collect();
            let expected = expected.join(", or ");
            return refuse(
                self.field("op.direction"),
                expected,
                direction.form().about(),
            );
        }
        if op.drop_rest && direction.is_none() {
            let expected = "nothing: without a direction nothing is left out";
            return refuse(self.field("op.drop_rest"), expected, true);
        }
        if op.dims.is_some() && op.operation.op.is_none() {
            let expected = format!("nothing: `{}` keeps whole values", op.operation);
            return refuse(self.field("op.dims"), expected, "dimensions");
        }
        if let Some(dims) = &op.dims {
            let n_dims = found.map_or(width, Direction::rank);
            check_distinct(&self.field("op.dims"), dims, n_dims)?;
        }
        self.check_numbers()?;
        Ok(Step {
            site,
            operation: op.operation,
            strength: op.strength,
            factor: op.factor,
            dims: op.dims.clone(),
            drops_rest: op.drop_rest,
            direction,
            width,
            origin,
            into,
            base_units,
            source_units,
        })
    }

    fn check_values(
        &self,
        values: &[Vec<f32>],
        width: usize,
        units: &[Units],
        into: usize,
    ) -> Result<(), PlanError> {
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
    sizes: &Sizes,
    tokenizer: Option<&Tokenizer>,
) -> Result<Vec<Vec<u32>>, PlanError> {
    let (field, rows) = match (prompts, tokenizer) {
        (Prompts::Ids(ids), _) => (format!("{field}.ids"), ids.clone()),
        (Prompts::Text(texts), Some(tokenizer)) => {
            let field = format!("{field}.text");
            let rows = texts.iter().map(|text| tokenizer.encode(text));
            let rows = rows.collect::<Result<_, _>>().map_err(within(&field))?;
            (field, rows)
        }
        (Prompts::Text(_), None) => {
            let expected = "`ids`, since the model has no tokenizer";
            return refuse(field, expected, "`text`");
        }
    };
    sizes.check_ids(&rows).map_err(within(field))?;
    Ok(rows)
}

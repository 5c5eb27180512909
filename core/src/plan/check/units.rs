//! Which tokens and heads of its runs an intervention means.

use std::collections::BTreeSet;

use super::Checker;
use crate::{
    Component, NamedPosition, Tokens,
    intervention::Units,
    plan::{
        PlanError, PlannedIntervention, Positions, Unit,
        error::{refuse, within},
        step::{Origin, of_row},
    },
};

impl Checker<'_> {
    /// Scores read at an earlier token are -inf where they go: a token does not look beyond itself.
    fn check_scores_seen(
        &self,
        name: &str,
        base: &[usize],
        source: &[usize],
    ) -> Result<(), PlanError> {
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
    pub(super) fn units(&self, origin: &Origin, into: usize) -> Result<[Vec<Units>; 2], PlanError> {
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
        let from = origin.run();
        if from.is_none() && source_positions.is_some() {
            let expected = "nothing: no source run is read";
            return refuse(self.field("source_positions"), expected, "positions");
        }
        let is_mean = matches!(origin, Origin::Mean(_));
        let is_whole = *unit == Unit::Heads || component.width(self.sizes).is_none();
        let n_tokens = self.n_tokens(into);
        match from.filter(|_| !is_mean).map(|run| self.n_tokens(run)) {
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
        let base = self.positions(&name, base_positions, into)?;
        for (row, list) in base.iter().enumerate() {
            let written = row.min(base_positions.0.len() - 1);
            check_distinct(&format!("{name}[{written}]"), list, n_tokens)?;
        }
        self.check_token("token", token.as_deref(), into, &base)?;
        let name = self.field("source_positions");
        let source = match (from, source_positions) {
            (None, _) => base.clone(),
            (Some(run), None) if is_mean => vec![(0..self.n_tokens(run)).collect()],
            (Some(run), source) => {
                let source = source.as_ref().unwrap_or(base_positions);
                self.positions(&name, source, run)?
            }
        };
        let rows = if is_mean {
            0
        } else {
            base.len().max(source.len())
        };
        for row in 0..rows {
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

    /// Positions in the rows of a run: a list a row, or a single one for all rows. That one is not copied for each of them, since
    /// rows and positions may be as many as the plan is long, unless a text in it may be elsewhere in each.
    fn positions(
        &self,
        name: &str,
        Positions(lists): &Positions,
        run: usize,
    ) -> Result<Vec<Vec<usize>>, PlanError> {
        let n_rows = self.runs[run].len();
        let is_text = |position: &NamedPosition| matches!(position, NamedPosition::Text(_));
        let n_lists = match &lists[..] {
            [list] if list.iter().any(is_text) => n_rows,
            lists if lists.len() == 1 || lists.len() == n_rows => lists.len(),
            lists => {
                let expected = format!("{n_rows} lists, one a row, or a single one for all rows");
                return refuse(name, expected, format!("{} lists", lists.len()));
            }
        };
        let list = |row: usize| {
            let list = row.min(lists.len() - 1);
            self.list(&format!("{name}[{list}]"), &lists[list], [run, row])
        };
        (0..n_lists).map(list).collect()
    }

    /// Positions in a row of a run.
    fn list(
        &self,
        field: &str,
        list: &[NamedPosition],
        [run, row]: [usize; 2],
    ) -> Result<Vec<usize>, PlanError> {
        let n_tokens = self.n_tokens(run);
        if list.is_empty() {
            return refuse(field, format!("numbers from 0 to {}", n_tokens - 1), "none");
        }
        // No token is written twice, and as many are read.
        let most = self.runs.iter().map(|rows| rows[0].len()).max();
        if most < Some(list.len()) {
            return refuse(field, "at most one a token", list.len());
        }
        let mut tokens = None;
        let mut resolve = |position: &NamedPosition| match (position, self.tokenizer) {
            (NamedPosition::Counted(position), _) => {
                position.resolve(n_tokens).map_err(within(field))
            }
            (NamedPosition::Text(text), Some(tokenizer)) => tokens
                .get_or_insert_with(|| Tokens::of_ids(&self.runs[run][row], tokenizer))
                .of_text(text)
                .map_err(within(field)),
            (NamedPosition::Text(text), None) => {
                let expected = "numbers, since the model has no tokenizer";
                refuse(field, expected, format!("the text {text:?}"))
            }
        };
        list.iter().map(&mut resolve).collect()
    }

    /// Checks that these positions of a run have the text that the plan's author meant.
    fn check_token(
        &self,
        name: &str,
        text: Option<&str>,
        run: usize,
        positions: &[Vec<usize>],
    ) -> Result<(), PlanError> {
        let Some(text) = text else {
            return Ok(());
        };
        let field = self.field(name);
        let Some(tokenizer) = self.tokenizer else {
            return refuse(field, "nothing, since the model has no tokenizer", "a text");
        };
        for (row, ids) in self.runs[run].iter().enumerate() {
            for position in of_row(positions, row) {
                let found = tokenizer.token(ids[*position]);
                if found != text {
                    let expected = format!("token {position} of row {row} to be {text:?}");
                    return refuse(field, expected, format!("{found:?}"));
                }
            }
        }
        Ok(())
    }

    /// Heads that are edited; `None` at sites that are not per head.
    fn heads(&self) -> Result<Option<Vec<usize>>, PlanError> {
        let PlannedIntervention {
            component,
            unit,
            heads,
            ..
        } = self.planned;
        let n_heads = component.n_heads(self.sizes);
        match (unit, heads) {
            (Unit::Positions, None) => Ok(n_heads.map(|n_heads| (0..n_heads).collect())),
            (Unit::Positions, Some(_)) => {
                let expected = "nothing with unit `pos`; units with heads are `h` and `h.pos`";
                refuse(self.field("heads"), expected, "heads")
            }
            (_, heads) => {
                let Some(n_heads) = n_heads else {
                    let expected = format!("`pos`, since {component} is not per head");
                    return refuse(self.field("unit"), expected, "a unit with heads");
                };
                let Some(heads) = heads else {
                    return refuse(self.field("heads"), "heads such as [0]", "nothing");
                };
                check_distinct(&self.field("heads"), heads, n_heads)?;
                Ok(Some(heads.clone()))
            }
        }
    }
}

/// Indices below `n`, at least one.
fn check_list(field: &str, list: &[usize], n: usize) -> Result<(), PlanError> {
    let expected = format!("numbers from 0 to {}", n - 1);
    match list.iter().find(|idx| **idx >= n) {
        Some(idx) => refuse(field, expected, idx),
        None if list.is_empty() => refuse(field, expected, "none"),
        None => Ok(()),
    }
}

/// Indices below `n`, at least one, none twice.
pub(super) fn check_distinct(field: &str, list: &[usize], n: usize) -> Result<(), PlanError> {
    check_list(field, list, n)?;
    let mut seen = BTreeSet::new();
    match list.iter().find(|idx| !seen.insert(**idx)) {
        Some(idx) => refuse(field, "every number once", format!("{idx} twice")),
        None => Ok(()),
    }
}

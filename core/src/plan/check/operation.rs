//! What an operation takes: a source, numbers, a component that it can be done to.

use super::Checker;
use crate::{
    Component,
    intervention::Units,
    plan::{
        Operation, PlanError, PlannedIntervention, PlannedOp, Reads, error::refuse, step::Origin,
    },
};

impl Checker<'_> {
    pub(super) fn origin(&self) -> Result<Origin, PlanError> {
        let PlannedIntervention {
            op, source, values, ..
        } = self.planned;
        let operation = op.operation;
        if op.seed.is_some() && operation.reads != Reads::Noise {
            let expected = format!("nothing: `{operation}` is not random");
            return refuse(self.field("op.seed"), expected, "one");
        }
        match (operation.reads, source, values) {
            (Reads::Nothing, None, None) => Ok(Origin::Nothing),
            (Reads::Noise, None, None) => Ok(Origin::Noise(op.seed.unwrap_or(0))),
            (Reads::Input, None, None) => Ok(Origin::Input),
            (Reads::Nothing | Reads::Noise | Reads::Input, source, _) => {
                let name = if source.is_some() { "source" } else { "values" };
                let expected = format!("nothing: `{operation}` has no source");
                refuse(self.field(name), expected, "one")
            }
            (Reads::Mean, _, Some(_)) => {
                let expected = format!("nothing: `{operation}` is that of a source run");
                refuse(self.field("values"), expected, "some")
            }
            (Reads::Source, Some(_), Some(_)) => {
                refuse(self.field("values"), "either `source` or `values`", "both")
            }
            (Reads::Source, None, Some(values)) => Ok(Origin::Values(values.clone())),
            (Reads::Source, Some(run), None) if *run < self.base() => Ok(Origin::Run(*run)),
            (Reads::Mean, Some(run), None) if *run < self.base() => Ok(Origin::Mean(*run)),
            (reads, source, None) => {
                let or_values = match reads {
                    Reads::Source => ", or `values`",
                    _ => "",
                };
                let expected = match self.base() {
                    0 => format!("an index into `sources`, which is empty{or_values}"),
                    n => format!("an index into `sources`, 0 to {}{or_values}", n - 1),
                };
                let found = source.map_or("nothing".to_owned(), |run| run.to_string());
                refuse(self.field("source"), expected, found)
            }
        }
    }

    /// Checks that there is what the operation reads at this component.
    pub(super) fn check_component(&self) -> Result<(), PlanError> {
        let PlannedIntervention {
            layer,
            component,
            op,
            ..
        } = self.planned;
        let acts_at = |component: Component| op.operation.acts_at(component.at(*layer));
        if acts_at(*component) {
            return Ok(());
        }
        let all = Component::ALL.into_iter().map(|(component, ..)| component);
        let expected: Vec<&str> = all
            .filter(|own| acts_at(*own))
            .map(Component::name)
            .collect();
        let expected = format!("with `{}` one of {}", op.operation, expected.join(", "));
        refuse(self.field("component"), expected, component)
    }

    /// Checks that as many tokens are meant in each row: what is collected is one tensor.
    pub(super) fn check_alike(&self, units: &[Units]) -> Result<(), PlanError> {
        let n_positions = |units: &Units| units.positions.as_ref().map(Vec::len);
        let first = n_positions(&units[0]);
        match units.iter().find(|own| n_positions(own) != first) {
            None => Ok(()),
            Some(other) => {
                let expected = format!("{} tokens in each row", first.unwrap_or(0));
                let found = n_positions(other).unwrap_or(0);
                refuse(self.field("base_positions"), expected, found)
            }
        }
    }

    /// Checks strength and factor.
    pub(super) fn check_numbers(&self) -> Result<(), PlanError> {
        let PlannedOp {
            operation,
            factor,
            strength,
            ..
        } = self.planned.op;
        if !strength.is_finite() {
            return refuse(self.field("op.strength"), "a finite number", strength);
        }
        if operation.op.is_none() && strength != 1.0 {
            let expected = format!("nothing: `{operation}` changes nothing");
            return refuse(self.field("op.strength"), expected, strength);
        }
        let is_scaled = operation == Operation::SCALE;
        match factor {
            None if is_scaled => refuse(self.field("op.factor"), "a number such as 2", "nothing"),
            None => Ok(()),
            Some(factor) if !is_scaled => {
                let expected = format!("nothing: `{operation}` has no factor");
                refuse(self.field("op.factor"), expected, factor)
            }
            Some(factor) if factor.is_finite() => Ok(()),
            Some(factor) => refuse(self.field("op.factor"), "a finite number", factor),
        }
    }

    /// Scores of later tokens are -inf, of which no part in a subspace is a number.
    pub(super) fn check_whole_scores(&self) -> Result<(), PlanError> {
        let PlannedOp {
            direction, dims, ..
        } = &self.planned.op;
        let expected =
            "nothing: scores of later tokens are -inf, and only whole rows of scores are changed";
        if dims.is_some() {
            return refuse(self.field("op.dims"), expected, "dimensions");
        }
        if direction.is_some() {
            return refuse(self.field("op.direction"), expected, "a direction");
        }
        Ok(())
    }
}

//! A card, an intervention that can be switched on, as a plan has it; and the direction files that cards use.

use std::sync::Arc;

use swivel_core::{
    Place, Position,
    direction::Direction,
    plan::{Operation, PlannedIntervention, PlannedOp, Positions},
    question,
};
use swivel_engine::direction_name;

/// An intervention that can be switched on.
#[derive(Clone, Debug, PartialEq)]
pub struct Card {
    /// What is done.
    pub operation: &'static Operation,
    /// Inside which subspace, by its index among the opened directions; `None` for the whole value.
    pub direction: Option<usize>,
    /// Where in the base run; without a head, in all of them.
    pub place: Place,
    /// Token of the source prompt that is read, where one is.
    pub source_position: Position,
    /// 0 leaves the base as it is, 1 is the full operation.
    pub strength: f32,
    /// What the value is multiplied by, of an operation that does so.
    pub factor: Option<f32>,
    /// Of noise.
    pub seed: u64,
    /// True if it is done.
    pub is_on: bool,
}

/// How the re-run of a direction's probe came out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Probe {
    /// Not yet.
    Unknown,
    /// The same answer as when it was learned.
    Same,
    /// Another answer: the direction does not do here what it did there.
    Different,
}

/// A direction file that was opened.
#[derive(Clone, Debug)]
pub struct Opened {
    /// File name.
    pub name: String,
    /// What it holds.
    pub direction: Arc<Direction>,
    /// The file, so that a link can carry it.
    pub bytes: Arc<[u8]>,
    /// What plans for the engine call it: the hash of the file.
    pub engine_name: String,
    /// True if it comes with the page: a link needs its name only.
    pub is_embedded: bool,
    /// How its probe came out.
    pub probe: Probe,
    /// Where it was taken from, if that is a sweep result.
    pub origin: Option<Origin>,
}

/// The cell of a sweep result that a direction was taken from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub(super) map: usize,
    pub(super) cell: usize,
    pub(super) title: String,
}

impl Opened {
    /// A direction of a file of this name.
    pub(super) fn new(name: &str, direction: Direction, bytes: &[u8]) -> Self {
        Self {
            name: name.to_owned(),
            direction: Arc::new(direction),
            engine_name: direction_name(bytes),
            bytes: bytes.into(),
            is_embedded: false,
            probe: Probe::Unknown,
            origin: None,
        }
    }

    /// Its name for people: its cell where it is from a sweep result, variable and task where they are known, else the file's name.
    pub fn title(&self) -> String {
        if let Some(origin) = &self.origin {
            return origin.title.clone();
        }
        let facts = &self.direction.facts;
        match (facts.variable.as_deref(), &facts.task) {
            (Some(variable), Some(task)) => question::title(variable, task),
            _ => self.name.clone(),
        }
    }

    /// True if it was taken from this sweep result, and from this cell if one is asked for.
    pub(super) fn is_of(&self, map: usize, cell: Option<usize>) -> bool {
        let origin = self.origin.as_ref();
        origin
            .is_some_and(|origin| origin.map == map && cell.is_none_or(|cell| cell == origin.cell))
    }
}

impl Card {
    /// A direction at its own place, at full strength, switched off.
    pub(super) fn of_direction(idx: usize, direction: &Direction) -> Self {
        let place = direction.facts.place;
        Self {
            direction: Some(idx),
            is_on: false,
            ..Self::new(Operation::swapping(direction), place, place.position)
        }
    }

    /// An operation on the whole value of a place, at full strength, switched on.
    pub(super) fn new(
        operation: &'static Operation,
        place: Place,
        source_position: Position,
    ) -> Self {
        let PlannedOp {
            strength, factor, ..
        } = PlannedOp::new(operation);
        Self {
            operation,
            direction: None,
            place,
            source_position,
            strength,
            factor,
            seed: 0,
            is_on: true,
        }
    }

    /// Moves it to tokens of base and source, where there are some.
    pub(super) fn put_at(&mut self, positions: Option<[usize; 2]>) {
        if let Some([base, source]) = positions.map(|own| own.map(Position::Index)) {
            self.place.position = base;
            self.source_position = source;
        }
    }

    /// The intervention of a plan, which calls the card's direction by this name.
    pub(super) fn planned(&self, direction: Option<String>) -> PlannedIntervention {
        let Place { site, head, .. } = self.place;
        let tokens = [self.place.position, self.source_position].map(Positions::one);
        let mut planned = PlannedIntervention::new(self.operation, (site, head), tokens);
        planned.op.direction = direction;
        planned.op.strength = self.strength;
        planned.op.factor = self.factor;
        planned.op.seed = (self.seed > 0).then_some(self.seed);
        planned
    }
}

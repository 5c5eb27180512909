//! Cells of sweep results are switched on and off, as cards.

use swivel_core::Position;

use super::OpenedSweep;
use crate::session::{Card, Cursor, Opened, Session, Side, card::Origin};

impl Session {
    /// True if the cell with this index is switched on.
    pub fn is_learned_on(&self, map: usize, cell: usize) -> bool {
        self.learned_card(map, cell)
            .is_some_and(|idx| self.choices.cards[idx].is_on)
    }

    /// The card of a cell: with its direction, or, where it has none, with the whole value at its place.
    fn learned_card(&self, map: usize, cell: usize) -> Option<usize> {
        let found = self.sweeps.get(map)?.result.cells().get(cell)?;
        let place = found.place.position.resolve(self.choices.base.ids.len());
        self.choices
            .cards
            .iter()
            .position(|card| match card.direction {
                Some(idx) => self.directions[idx].is_of(map, Some(cell)),
                None => {
                    let own = card.place.position.resolve(self.choices.base.ids.len());
                    found.basis.is_none()
                        && (card.place.site, card.place.head)
                            == (found.place.site, found.place.head)
                        && matches!((own, &place), (Ok(own), Ok(place)) if own == *place)
                }
            })
    }

    /// Puts the cursor of the sweep result that is shown on a cell and switches that cell on, alone; off, if it is on.
    ///
    /// # Errors
    /// - why it cannot be
    pub fn toggle_learned(&mut self, place: Cursor) -> Result<(), String> {
        let Some((map_idx, map)) = self.learned() else {
            return Ok(());
        };
        let found = map.find(place);
        self.sweeps[map_idx].cursor = place;
        let map = &self.sweeps[map_idx];
        let cells = map.result.cells();
        let Some((cell_idx, cell)) = found.and_then(|idx| Some((idx, cells.get(idx)?))) else {
            return Err("This cell was not computed.".to_owned());
        };
        if let Some(problem) = self.learned_problem(map, cell) {
            return Err(format!(
                "{} cannot be switched on: {problem}.",
                cell.title()
            ));
        }
        if let Some(idx) = self.learned_card(map_idx, cell_idx)
            && self.choices.cards[idx].is_on
        {
            self.remove_card(idx);
            return Ok(());
        }
        let (mut place, position) = (cell.place, cell.place.position);
        let last_is_last = |n_tokens: usize| match position {
            Position::Index(position) => Position::of(position, n_tokens),
            position => position,
        };
        let [base_position, source_position] =
            Side::BOTH.map(|side| last_is_last(self.choices.prompt(side).ids.len()));
        place.position = base_position;
        let operation = map.operation();
        let direction = match cell.basis {
            Some(_) => Some(self.learned_direction(map_idx, cell_idx)?),
            None => None,
        };
        let card = Card {
            direction,
            ..Card::new(operation, place, source_position)
        };
        let of_map: Vec<bool> = (self.directions.iter())
            .map(|opened| opened.is_of(map_idx, None))
            .collect();
        self.change(|choices| {
            choices.cards.retain(|own| match own.direction {
                Some(idx) => !of_map[idx],
                None => direction.is_some() || own.place.site.component != place.site.component,
            });
            for own in &mut choices.cards {
                own.is_on = false;
            }
            choices.cards.push(card);
        });
        Ok(())
    }

    /// Index of a cell's direction among the opened ones; no card shows it yet.
    fn learned_direction(&mut self, map: usize, cell: usize) -> Result<usize, String> {
        let mut opened = self.directions.iter();
        if let Some(idx) = opened.position(|opened| opened.is_of(map, Some(cell))) {
            return Ok(idx);
        }
        let OpenedSweep { name, result, .. } = &self.sweeps[map];
        let direction = result.direction(cell).map_err(|error| error.to_string())?;
        let bytes = direction.to_bytes();
        let origin = Origin {
            map,
            cell,
            title: result.cells()[cell].title(),
        };
        self.directions.push(Opened {
            origin: Some(origin),
            ..Opened::new(name, direction, &bytes)
        });
        Ok(self.directions.len() - 1)
    }
}

//! A cell of a map by its name on the command line: `op5.layer2.block_output@129`, of which as much is said as tells it from
//! the others.

use anyhow::{Result, bail};
use swivel_core::sweep::{Cell, SweepResult};

/// Part of a name that stands for the best one of all cells with the rest of the name.
pub const BEST: &str = "best";

/// The whole name of a cell.
pub fn name(cell: &Cell) -> String {
    format!("{}@{}", parts(cell).join("."), token(cell))
}

/// The name of its token, or where it is.
fn token(cell: &Cell) -> String {
    let position = cell.place.position;
    cell.token.clone().unwrap_or_else(|| position.to_string())
}

fn parts(cell: &Cell) -> Vec<String> {
    let key = cell.map_key();
    let parts = [
        key.variable,
        Some(format!("layer{}", cell.place.site.layer)),
        Some(cell.place.site.component.to_string()),
        key.head.map(|head| format!("head{head}")),
        key.rank.map(|rank| format!("rank{rank}")),
    ];
    parts.into_iter().flatten().collect()
}

/// Index of the cell that is meant: its name, or as many parts of it as only this cell has, in any order.
///
/// # Errors
/// - If no cell is meant, or several; the message names them, or those that there are.
pub fn find(result: &SweepResult, text: &str) -> Result<usize> {
    let (place, position) = match text.rsplit_once('@') {
        Some((place, position)) => (place, Some(position)),
        None => (text, None),
    };
    let said: Vec<&str> = place.split('.').filter(|part| !part.is_empty()).collect();
    let is_meant = |cell: &&Cell| {
        let parts = parts(cell);
        let has = |said: &&str| *said == BEST || parts.iter().any(|part| part == said);
        said.iter().all(has) && position.is_none_or(|position| position == token(cell))
    };
    let cells = || result.cells().iter();
    let meant: Vec<usize> = (cells().enumerate())
        .filter_map(|(idx, cell)| is_meant(&cell).then_some(idx))
        .collect();
    match meant[..] {
        [] => bail!("the map has no cell `{text}`; it has {}", list(cells())),
        [idx] => Ok(idx),
        _ if said.contains(&BEST) => {
            let best = result.best_of(|cell| is_meant(&cell));
            Ok(best.unwrap_or(meant[0]))
        }
        _ => bail!(
            "`{text}` is the name of {} cells; say which: {}, or {BEST} for the best of them",
            meant.len(),
            list(meant.iter().map(|idx| &result.cells()[*idx]))
        ),
    }
}

/// Names of cells; of many, the first ones.
fn list<'a>(cells: impl Iterator<Item = &'a Cell>) -> String {
    const MOST: usize = 12;
    let names: Vec<String> = cells.map(name).collect();
    match names.len().checked_sub(MOST) {
        None | Some(0) => names.join(", "),
        Some(n_more) => format!("{} and {n_more} more", names[..MOST].join(", ")),
    }
}

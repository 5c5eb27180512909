//! The tables of a map: layers upwards, positions to the right.

use std::collections::{BTreeMap, BTreeSet};

use swivel_core::sweep::{MapKey, SweepResult};

use crate::verdict::BEATS_WHOLE_VECTOR;

/// Stands at a direction that does clearly better than the whole vector.
pub const FLAG: char = '!';

/// The rows and columns of a table.
pub struct Grid {
    /// Which table.
    pub key: MapKey,
    /// Layers, the last one first.
    pub layers: Vec<usize>,
    /// Positions in the example pair, from the first token on.
    pub positions: Vec<usize>,
    /// What each is called: its number, or its name in the task's prompts.
    pub names: Vec<String>,
}

impl Grid {
    /// Characters of the longest name.
    pub fn name_width(&self) -> usize {
        let widths = self.names.iter().map(|name| name.chars().count());
        widths.max().unwrap_or(0)
    }
}

/// All tables of a map.
pub fn grids(result: &SweepResult) -> Vec<Grid> {
    let n_tokens = result.facts().base.len();
    let grid = |key: MapKey| {
        let cells = result.cells().iter().filter(|cell| cell.map_key() == key);
        let layers: BTreeSet<usize> = cells.clone().map(|cell| cell.place.site.layer).collect();
        let positions: BTreeMap<usize, String> = cells
            .filter_map(|cell| {
                let position = cell.place.position.resolve(n_tokens).ok()?;
                let name = cell.token.clone().unwrap_or_else(|| position.to_string());
                Some((position, name))
            })
            .collect();
        let (positions, names) = positions.into_iter().unzip();
        Grid {
            layers: layers.into_iter().rev().collect(),
            positions,
            names,
            key,
        }
    };
    result.map_keys().into_iter().map(grid).collect()
}

/// IIA of all tables, as many positions beside each other as a terminal shows.
pub fn tables(result: &SweepResult) -> Vec<String> {
    const N_COLUMNS: usize = 14;
    const WIDTH: usize = 70;
    let mut lines = Vec::new();
    let mut has_flag = false;
    for grid in grids(result) {
        let width = (grid.name_width() + 1).max(6);
        let row = |name: String, texts: Vec<String>| {
            let texts: String = texts.iter().map(|text| format!("{text:>width$}")).collect();
            format!("{name:<9}{texts}").trim_end().to_owned()
        };
        lines.extend([String::new(), format!("IIA of {}", grid.key)]);
        let n_columns = (WIDTH / width).clamp(1, N_COLUMNS);
        let named = grid.names.chunks(n_columns);
        for (columns, names) in grid.positions.chunks(n_columns).zip(named) {
            for layer in &grid.layers {
                let texts = columns.iter().map(|position| {
                    let idx = result.find(&grid.key, *layer, *position);
                    idx.map_or("- ".to_owned(), |idx| {
                        let cell = &result.cells()[idx];
                        has_flag |= cell.beats_whole_vector();
                        let flag = if cell.beats_whole_vector() { FLAG } else { ' ' };
                        format!("{:.2}{flag}", cell.iia)
                    })
                });
                lines.push(row(format!("layer {layer}"), texts.collect()));
            }
            let texts = names.iter().map(|name| format!("{name} ")).collect();
            lines.push(row("token".to_owned(), texts));
        }
    }
    if has_flag {
        lines.push(format!("{FLAG} {BEATS_WHOLE_VECTOR}"));
    }
    lines
}

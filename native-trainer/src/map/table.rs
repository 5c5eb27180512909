//! The tables of a map: layers upwards, positions to the right.

use std::collections::BTreeSet;

use swivel_core::sweep::{MapKey, SweepResult};

/// The rows and columns of a table.
pub struct Grid {
    /// Which table.
    pub key: MapKey,
    /// Layers, the last one first.
    pub layers: Vec<usize>,
    /// Positions in the example pair, from the first token on.
    pub positions: Vec<usize>,
}

/// All tables of a map.
pub fn grids(result: &SweepResult) -> Vec<Grid> {
    let n_tokens = result.facts().base.len();
    let grid = |key: MapKey| {
        let cells = result.cells().iter().filter(|cell| cell.map_key() == key);
        let layers: BTreeSet<usize> = cells.clone().map(|cell| cell.place.site.layer).collect();
        let positions: BTreeSet<usize> = cells
            .filter_map(|cell| cell.place.position.resolve(n_tokens).ok())
            .collect();
        Grid {
            layers: layers.into_iter().rev().collect(),
            positions: positions.into_iter().collect(),
            key,
        }
    };
    result.map_keys().into_iter().map(grid).collect()
}

/// IIA of all tables, as many positions beside each other as a terminal shows.
pub fn tables(result: &SweepResult) -> Vec<String> {
    const N_COLUMNS: usize = 14;
    let row = |name: String, texts: Vec<String>| {
        let texts: String = texts.iter().map(|text| format!("{text:>5}")).collect();
        format!("{name:<9}{texts}")
    };
    let mut lines = Vec::new();
    for grid in grids(result) {
        lines.extend([String::new(), format!("IIA of {}", grid.key)]);
        for columns in grid.positions.chunks(N_COLUMNS) {
            for layer in &grid.layers {
                let texts = columns.iter().map(|position| {
                    let idx = result.find(&grid.key, *layer, *position);
                    idx.map_or("-".to_owned(), |idx| {
                        format!("{:.2}", result.cells()[idx].iia)
                    })
                });
                lines.push(row(format!("layer {layer}"), texts.collect()));
            }
            let texts = columns.iter().map(usize::to_string).collect();
            lines.push(row("token".to_owned(), texts));
        }
    }
    lines
}

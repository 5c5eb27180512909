//! The map as an SVG.

use anyhow::{Result, anyhow};
use plotters::prelude::*;
use swivel_core::sweep::SweepResult;

use super::{
    metric::{Metric, colour, is_dark},
    table::{FLAG, Grid, grids},
};

/// The map as an SVG: a table a map, layers upwards, positions to the right.
pub fn svg(result: &SweepResult, metric: Metric) -> Result<String> {
    const HEIGHT: i32 = 26;
    const LETTER: i32 = 7;
    const MARGIN: (i32, i32) = (84, 64);
    let grids = grids(result);
    let cell_of = |grid: &Grid| (38.max(grid.name_width() as i32 * LETTER + 8), HEIGHT);
    let width = grids
        .iter()
        .map(|grid| grid.positions.len() as i32 * cell_of(grid).0)
        .max();
    let width = (width.unwrap_or(0) + MARGIN.0 + 24).max(460);
    let height: i32 = grids
        .iter()
        .map(|grid| grid.layers.len() as i32 * HEIGHT + MARGIN.1 + 36)
        .sum();
    let values = result.cells().iter().filter_map(|cell| metric.of(cell));
    let scale = values.fold(1e-9, |most: f64, value| most.max(value.abs()));
    let mut text = String::new();
    {
        let area =
            SVGBackend::with_string(&mut text, (width as u32, height as u32)).into_drawing_area();
        let draw = |result: Result<(), DrawingAreaErrorKind<_>>| {
            result.map_err(|error| anyhow!("drawing the map: {error}"))
        };
        draw(area.fill(&WHITE))?;
        let font = |size: i32, ink: [u8; 3]| {
            let ink = RGBColor(ink[0], ink[1], ink[2]);
            ("sans-serif", size).into_font().color(&ink)
        };
        use plotters::style::text_anchor::{HPos, Pos, VPos};
        let at = |h: HPos| Pos::new(h, VPos::Center);
        let mut top = 0;
        for grid in &grids {
            let cell_size = cell_of(grid);
            let Grid {
                key,
                layers,
                positions,
                names,
            } = grid;
            let title = format!("{key}: {}", metric.title());
            draw(area.draw(&Text::new(
                title,
                (12, top + 24),
                font(14, [32; 3]).pos(at(HPos::Left)),
            )))?;
            let best = result.best_in(key);
            let first_row = top + MARGIN.1 - 16;
            for (row, layer) in layers.iter().enumerate() {
                let y = first_row + row as i32 * cell_size.1;
                let name = Text::new(
                    format!("layer {layer}"),
                    (MARGIN.0 - 10, y + cell_size.1 / 2),
                    font(12, [64; 3]).pos(at(HPos::Right)),
                );
                draw(area.draw(&name))?;
                for (column, position) in positions.iter().enumerate() {
                    let x = MARGIN.0 + column as i32 * cell_size.0;
                    let idx = result.find(key, *layer, *position);
                    let cell = idx.map(|idx| &result.cells()[idx]);
                    let Some((cell, value)) = cell.and_then(|cell| Some((cell, metric.of(cell)?)))
                    else {
                        continue;
                    };
                    let fill = colour(metric.shade(cell, scale));
                    let corners = [(x, y), (x + cell_size.0 - 2, y + cell_size.1 - 2)];
                    draw(area.draw(&Rectangle::new(
                        corners,
                        RGBColor(fill[0], fill[1], fill[2]).filled(),
                    )))?;
                    if idx == best {
                        draw(area.draw(&Rectangle::new(
                            corners,
                            RGBColor(217, 95, 2).stroke_width(3),
                        )))?;
                    }
                    let ink = if is_dark(fill) { [255; 3] } else { [32; 3] };
                    let flag = if cell.beats_whole_vector() {
                        FLAG.into()
                    } else {
                        String::new()
                    };
                    let text = Text::new(
                        metric.text(value) + &flag,
                        (x + cell_size.0 / 2 - 1, y + cell_size.1 / 2 - 1),
                        font(11, ink).pos(at(HPos::Center)),
                    );
                    draw(area.draw(&text))?;
                }
            }
            let y = first_row + layers.len() as i32 * cell_size.1 + 10;
            for (column, name) in names.iter().enumerate() {
                let x = MARGIN.0 + column as i32 * cell_size.0 + cell_size.0 / 2 - 1;
                draw(area.draw(&Text::new(
                    name.clone(),
                    (x, y),
                    font(11, [64; 3]).pos(at(HPos::Center)),
                )))?;
            }
            draw(area.draw(&Text::new(
                "token",
                (MARGIN.0 - 10, y),
                font(12, [64; 3]).pos(at(HPos::Right)),
            )))?;
            top += layers.len() as i32 * cell_size.1 + MARGIN.1 + 36;
        }
        draw(area.present())?;
    }
    Ok(text)
}

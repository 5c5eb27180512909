//! A map as a picture: coloured rows in the terminal while it is being filled, and an SVG.

use std::{collections::BTreeSet, io::IsTerminal};

use anyhow::{Result, anyhow};
use clap::ValueEnum;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use plotters::prelude::*;
use swivel_core::{
    bundle::{Bundle, Cell, Sheet},
    direction::Controls,
};

use super::{Planned, Sweep};
use crate::{
    readout::short,
    report::{self, Report},
};

/// What a picture shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Metric {
    /// Share of the pairs whose intervened top-1 is the label.
    Iia,
    /// Probability of the label.
    Probability,
    /// Logit of the label minus logit of the base's own.
    LogitDifference,
    /// KL divergence from the base run.
    Kl,
}

impl Metric {
    /// Its value in a cell; `None` where the task does not know the base's label.
    fn of(self, cell: &Cell) -> Option<f64> {
        match self {
            Self::Iia => Some(cell.iia),
            Self::Probability => Some(cell.metrics.probability[1]),
            Self::LogitDifference => cell.metrics.logit_difference.map(|[_, after]| after),
            Self::Kl => Some(cell.metrics.kl),
        }
    }

    /// How strongly a cell is coloured, -1..1; `scale` is the largest value that is no share. An accuracy counts from the one
    /// that a random subspace has: chance is pale.
    fn shade(self, cell: &Cell, scale: f64) -> f64 {
        match (self, &cell.controls, self.of(cell)) {
            (_, _, None) => 0.0,
            (Self::Iia, Some(Controls { random, .. }), Some(iia)) => {
                ((iia - random) / (1.0 - random).max(1e-9)).max(0.0)
            }
            (_, _, Some(value)) if self.is_share() => value,
            (_, _, Some(value)) => value / scale,
        }
    }

    /// Its name for people, with its unit.
    fn title(self) -> &'static str {
        match self {
            Self::Iia => "interchange intervention accuracy",
            Self::Probability => "probability of the label",
            Self::LogitDifference => "logit of the label minus logit of the base's own, nats",
            Self::Kl => "KL divergence from the base run, nats",
        }
    }

    /// Whether its values are shares.
    fn is_share(self) -> bool {
        matches!(self, Self::Iia | Self::Probability)
    }

    fn text(self, value: f64) -> String {
        match self.is_share() {
            true => short(value),
            false => format!("{value:+.1}"),
        }
    }
}

/// White to blue for 0 to 1, white to orange for 0 to -1: readable by colour-blind people.
fn colour(value: f64) -> [u8; 3] {
    let end = if value < 0.0 {
        [217.0, 95.0, 2.0]
    } else {
        [8.0, 81.0, 156.0]
    };
    let share = value.abs().min(1.0);
    end.map(|end: f64| (255.0 + (end - 255.0) * share) as u8)
}

/// Whether white text is easier to read on a colour than black.
fn is_dark([r, g, b]: [u8; 3]) -> bool {
    0.299 * f64::from(r) + 0.587 * f64::from(g) + 0.114 * f64::from(b) < 140.0
}

/// The map in the terminal: one line a layer, drawn again as cells are done. Where stderr is no terminal, a line a cell.
pub struct Live<'a> {
    report: Report,
    cells: &'a [Planned],
    drawing: Option<Drawing>,
}

struct Drawing {
    bars: MultiProgress,
    total: ProgressBar,
    rows: Vec<Row>,
}

/// One layer of one table.
struct Row {
    name: String,
    /// Indices of its cells in the plan, by position.
    cells: Vec<usize>,
    texts: Vec<Option<(String, [u8; 3])>>,
    bar: ProgressBar,
}

impl<'a> Live<'a> {
    /// A map of the cells that are computed here.
    pub fn new(sweep: &'a Sweep) -> Self {
        /// Rows that fit into a terminal; larger maps show the number of cells only.
        const MOST_ROWS: usize = 36;
        let cells = &sweep.cells;
        let drawing = std::io::stderr().is_terminal().then(|| {
            let bars = MultiProgress::new();
            let mut rows: Vec<Row> = Vec::new();
            let of = |cell: &Planned| (cell.variable, cell.site, cell.head, cell.rank);
            for idx in sweep.here.clone() {
                let cell = &cells[idx];
                match rows
                    .last_mut()
                    .filter(|row| of(&cells[row.cells[0]]) == of(cell))
                {
                    Some(row) => row.cells.insert(0, idx),
                    None => rows.push(Row {
                        name: cell.row(),
                        cells: vec![idx],
                        texts: Vec::new(),
                        bar: ProgressBar::hidden(),
                    }),
                }
            }
            if rows.len() > MOST_ROWS {
                rows.clear();
            }
            for row in &mut rows {
                row.texts = vec![None; row.cells.len()];
                row.bar = bars.add(ProgressBar::new(0));
                let style = ProgressStyle::with_template("{msg}");
                row.bar
                    .set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
                row.draw();
            }
            let total = bars.add(report::progress("cells", sweep.here.len()));
            Drawing { bars, total, rows }
        });
        Self {
            report: sweep.report,
            cells,
            drawing,
        }
    }

    /// Shows a cell that is done.
    pub fn show(&mut self, idx: usize, cell: &Cell, metric: Metric) {
        let value = metric.of(cell);
        let text = value.map_or("-".to_owned(), |value| metric.text(value));
        let Some(drawing) = &mut self.drawing else {
            let rank = match self.cells[idx].rank {
                0 => String::new(),
                rank => format!(", rank {rank}"),
            };
            let controls = cell.controls.as_ref().map_or(String::new(), |controls| {
                format!(
                    "   random {:.3}, whole vector {:.3}",
                    controls.random, controls.full
                )
            });
            self.report.line(format!(
                "  {}{rank}: IIA {:.3}{controls}",
                cell.title(),
                cell.iia
            ));
            return;
        };
        let shade = metric.shade(cell, 10.0);
        for row in &mut drawing.rows {
            if let Some(place) = row.cells.iter().position(|other| *other == idx) {
                row.texts[place] = Some((text.clone(), colour(shade)));
                row.draw();
            }
        }
        drawing.total.inc(1);
    }

    /// Takes the drawing away.
    pub fn finish(&mut self) {
        if let Some(drawing) = &self.drawing {
            drop(drawing.bars.clear());
        }
    }
}

impl Row {
    fn draw(&self) {
        let cells: String = (self.texts.iter())
            .map(|text| match text {
                None => "   · ".to_owned(),
                Some((text, [r, g, b])) => {
                    let ink = if is_dark([*r, *g, *b]) { 97 } else { 30 };
                    format!("\x1b[{ink};48;2;{r};{g};{b}m{text:>4} \x1b[0m")
                }
            })
            .collect();
        self.bar.set_message(format!("{:>24}  {cells}", self.name));
        self.bar.tick();
    }
}

/// The map as an SVG: a table a sheet, layers upwards, positions to the right.
pub fn svg(bundle: &Bundle, metric: Metric) -> Result<String> {
    const CELL: (i32, i32) = (38, 26);
    const MARGIN: (i32, i32) = (84, 64);
    let sheets: Vec<(Sheet, Vec<usize>, Vec<usize>)> = (bundle.sheets().into_iter())
        .map(|sheet| {
            let cells = bundle.cells().iter().filter(|cell| cell.sheet() == sheet);
            let layers: BTreeSet<usize> = cells.clone().map(|cell| cell.place.site.layer).collect();
            let n_tokens = bundle.facts().base.len();
            let positions: BTreeSet<usize> = cells
                .filter_map(|cell| cell.place.position.resolve(n_tokens).ok())
                .collect();
            (
                sheet,
                layers.into_iter().rev().collect(),
                positions.into_iter().collect(),
            )
        })
        .collect();
    let width = sheets
        .iter()
        .map(|(.., positions)| positions.len() as i32 * CELL.0)
        .max();
    let width = (width.unwrap_or(0) + MARGIN.0 + 24).max(460);
    let height: i32 = sheets
        .iter()
        .map(|(_, layers, _)| layers.len() as i32 * CELL.1 + MARGIN.1 + 36)
        .sum();
    let values = bundle.cells().iter().filter_map(|cell| metric.of(cell));
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
        for (sheet, layers, positions) in &sheets {
            let title = format!("{sheet}: {}", metric.title());
            draw(area.draw(&Text::new(
                title,
                (12, top + 24),
                font(14, [32; 3]).pos(at(HPos::Left)),
            )))?;
            let best = bundle.best_in(sheet);
            let first_row = top + MARGIN.1 - 16;
            for (row, layer) in layers.iter().enumerate() {
                let y = first_row + row as i32 * CELL.1;
                let name = Text::new(
                    format!("layer {layer}"),
                    (MARGIN.0 - 10, y + CELL.1 / 2),
                    font(12, [64; 3]).pos(at(HPos::Right)),
                );
                draw(area.draw(&name))?;
                for (column, position) in positions.iter().enumerate() {
                    let x = MARGIN.0 + column as i32 * CELL.0;
                    let idx = bundle.find(sheet, *layer, *position);
                    let cell = idx.map(|idx| &bundle.cells()[idx]);
                    let Some((cell, value)) = cell.and_then(|cell| Some((cell, metric.of(cell)?)))
                    else {
                        continue;
                    };
                    let fill = colour(metric.shade(cell, scale));
                    let corners = [(x, y), (x + CELL.0 - 2, y + CELL.1 - 2)];
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
                    let text = Text::new(
                        metric.text(value),
                        (x + CELL.0 / 2 - 1, y + CELL.1 / 2 - 1),
                        font(11, ink).pos(at(HPos::Center)),
                    );
                    draw(area.draw(&text))?;
                }
            }
            let y = first_row + layers.len() as i32 * CELL.1 + 10;
            for (column, position) in positions.iter().enumerate() {
                let x = MARGIN.0 + column as i32 * CELL.0 + CELL.0 / 2 - 1;
                draw(area.draw(&Text::new(
                    position.to_string(),
                    (x, y),
                    font(11, [64; 3]).pos(at(HPos::Center)),
                )))?;
            }
            draw(area.draw(&Text::new(
                "token",
                (MARGIN.0 - 10, y),
                font(12, [64; 3]).pos(at(HPos::Right)),
            )))?;
            top += layers.len() as i32 * CELL.1 + MARGIN.1 + 36;
        }
        draw(area.present())?;
    }
    Ok(text)
}

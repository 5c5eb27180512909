//! The map in the terminal, while it is being filled.

use std::io::IsTerminal;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use swivel_core::sweep::Cell;

use super::{
    cells::{Planned, Sweep},
    metric::{Metric, colour, is_dark},
};
use crate::report::{self, Report};

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
                "  {}{rank}: IIA {:.3}{controls}{}",
                cell.title(),
                cell.iia,
                if cell.beats_whole_vector() { " !" } else { "" }
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

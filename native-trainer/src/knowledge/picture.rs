//! What a model knows of a task as an SVG: a bar for each share, with its interval.

use anyhow::{Result, anyhow};
use plotters::{
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};
use swivel_core::{
    metric::wilson,
    question::{Score, Task},
};

use super::{Count, Knowledge};

/// Rows of tables that are drawn, those of which the model knows least.
const ROWS: usize = 16;

impl Knowledge {
    /// All prompts, then by template, then the rows that it knows least.
    ///
    /// # Errors
    /// - If it cannot be drawn.
    pub fn svg(&self, task: &Task, model: &str) -> Result<String> {
        const WIDTH: i32 = 760;
        const LEFT: i32 = 330;
        const BAR: i32 = 330;
        const LINE: i32 = 22;
        let score = match task.score {
            Score::Top1 => "the likeliest token of all",
            Score::Choice => "likelier than the other answers",
        };
        let mut bars: Vec<(Option<&str>, String, Count)> = vec![
            (Some("all prompts"), format!("right: {score}"), self.right),
            (None, "the likeliest token of all".to_owned(), self.top),
        ];
        let mut heading = Some("by template");
        for (template, count) in &self.by_template {
            bars.push((heading.take(), template.clone(), *count));
        }
        let mut heading = Some("words that it knows least");
        for (row, count) in self.failed_rows().into_iter().take(ROWS) {
            bars.push((heading.take(), row.clone(), *count));
        }
        let n_headings = bars
            .iter()
            .filter(|(heading, ..)| heading.is_some())
            .count() as i32;
        let height = 48 + LINE * (bars.len() as i32 + n_headings) + 12;
        let draw = |result: Result<(), DrawingAreaErrorKind<_>>| {
            result.map_err(|error| anyhow!("drawing what is known: {error}"))
        };
        let mut text = String::new();
        {
            let size = (WIDTH as u32, height as u32);
            let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
            draw(area.fill(&WHITE))?;
            let write = |text: String, at: (i32, i32), size: i32, ink: u8, h: HPos| {
                let font = ("sans-serif", size)
                    .into_font()
                    .color(&RGBColor(ink, ink, ink));
                draw(area.draw(&Text::new(text, at, font.pos(Pos::new(h, VPos::Center)))))
            };
            let title = format!("Does {} know {}?", short(model, 40), task.name);
            write(title, (12, 22), 15, 32, HPos::Left)?;
            let mut y = 48;
            for (heading, name, count) in bars {
                if let Some(heading) = heading {
                    write(heading.to_owned(), (12, y + LINE / 2), 12, 110, HPos::Left)?;
                    y += LINE;
                }
                let middle = y + LINE / 2;
                write(short(&name, 50), (LEFT - 10, middle), 12, 48, HPos::Right)?;
                let at = |share: f64| LEFT + (share * f64::from(BAR)) as i32;
                let bar = |to: f64, ink: RGBColor| {
                    let corners = [(LEFT, middle - 6), (at(to), middle + 6)];
                    draw(area.draw(&Rectangle::new(corners, ink.filled())))
                };
                bar(1.0, RGBColor(238, 242, 246))?;
                bar(count.share(), RGBColor(8, 81, 156))?;
                let [low, high] = wilson(count.n_right, count.n).map(at);
                let line = PathElement::new(
                    vec![(low, middle), (high, middle)],
                    RGBColor(217, 95, 2).stroke_width(2),
                );
                draw(area.draw(&line))?;
                let share = format!("{:.2}  of {}", count.share(), count.n);
                write(share, (LEFT + BAR + 10, middle), 12, 48, HPos::Left)?;
                y += LINE;
            }
            draw(area.present())?;
        }
        Ok(text)
    }
}

/// The end of a text that is too long, or all of it.
fn short(text: &str, most: usize) -> String {
    let n = text.chars().count();
    match n > most {
        true => format!("…{}", text.chars().skip(n - most + 1).collect::<String>()),
        false => text.to_owned(),
    }
}

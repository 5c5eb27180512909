//! Pictures that a person keeps: their names, the lines that say what they show, and their numbers with all digits, as CSV.

use std::fmt::Display;

use super::{Cursor, Picture, Session, Side, flips::Swap, map::Metric};

/// A part of the page that can be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// What the model says.
    Answer,
    /// The picture of the inside that is shown.
    Inside,
    /// The text that was generated.
    Text,
    /// The table of pairs.
    Flips,
    /// The causal model.
    Program,
}

/// Lines of a table.
struct Csv(String);

impl Csv {
    fn new(caption: &[String], names: &[&str]) -> Self {
        let mut csv = Self(String::new());
        for line in caption {
            // Whatever it says, it is one line.
            let line: String = line
                .chars()
                .map(|c| if c == '\n' { ' ' } else { c })
                .collect();
            csv.0 += &format!("# {line}\n");
        }
        csv.line(names.iter().map(|name| (*name).to_owned()));
        csv
    }

    fn line(&mut self, fields: impl IntoIterator<Item = String>) {
        let fields: Vec<String> = fields.into_iter().map(|own| quoted(&own)).collect();
        self.0 += &fields.join(",");
        self.0.push('\n');
    }
}

/// A field as CSV has it (RFC 4180).
fn quoted(field: &str) -> String {
    match field.contains(['"', ',', '\n', '\r']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field.to_owned(),
    }
}

fn text<T: Display>(value: T) -> String {
    value.to_string()
}

/// Nothing where there is none.
fn maybe<T: Display>(value: Option<T>) -> String {
    value.map_or_else(String::new, text)
}

impl Kept {
    /// What its file is called, without model and ending.
    fn name(self, session: &Session) -> &'static str {
        match (self, session.picture) {
            (Self::Answer, _) => "answers",
            (Self::Text, _) => "text",
            (Self::Flips, _) => "pairs",
            (Self::Program, _) => "causal-model",
            (Self::Inside, Picture::Lens) => "logit-lens",
            (Self::Inside, Picture::Map) => "map",
            (Self::Inside, Picture::Attention) => "attention",
            (Self::Inside, Picture::Learned(_)) => "learned-map",
        }
    }
}

impl Session {
    /// The name of a file of a part of the page, without its ending: `gemma3-logit-lens`.
    pub fn kept_name(&self, kept: Kept) -> String {
        let model = self.model.as_ref().map_or("recorded", |model| &model.name);
        let stem = model.rsplit('/').next().unwrap_or(model);
        let stem = stem.trim_end_matches(".gguf");
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == '.';
        let stem: String = stem
            .chars()
            .map(|c| if is_plain(c) { c } else { '-' })
            .collect();
        format!("{stem}-{}", kept.name(self))
    }

    /// What a kept picture shows: model, prompts, interventions.
    pub fn caption(&self) -> Vec<String> {
        let model = match &self.model {
            Some(model) => format!(
                "{}, weights {}",
                model.name,
                &model.sha256[..16.min(model.sha256.len())]
            ),
            None => "recorded".to_owned(),
        };
        let mut lines = vec![format!("Swivel; model {model}")];
        for side in Side::BOTH {
            let text = self.choices.prompt(side).text.replace('\n', "⏎");
            lines.push(format!("{}: {text}", side.name()));
        }
        let on = self.choices.cards.iter().filter(|card| card.is_on);
        let on: Vec<String> = on
            .map(|card| {
                let strength = match card.strength {
                    1.0 => String::new(),
                    strength => format!(", strength {strength}"),
                };
                let from = match card.operation.reads_token() {
                    true => format!(" from source {}", card.source_position),
                    false => String::new(),
                };
                let (verb, title) = (card.operation.verb, self.card_title(card));
                format!("{verb} {title} at {}{from}{strength}", card.place)
            })
            .collect();
        lines.push(match on.is_empty() {
            true => "no intervention".to_owned(),
            false => on.join("; "),
        });
        lines
    }

    /// The numbers of a part of the page, with all digits; the caption stands in front, behind `#`.
    pub fn csv(&self, kept: Kept) -> String {
        let caption = self.caption();
        let csv = match kept {
            Kept::Answer => self.answer_csv(&caption),
            Kept::Text => self.text_csv(&caption),
            Kept::Flips => self.flips_csv(&caption),
            Kept::Program => self.program_csv(&caption),
            Kept::Inside => match self.picture {
                Picture::Lens => self.lens_csv(&caption),
                Picture::Map => self.map_csv(&caption),
                Picture::Attention => self.attention_csv(&caption),
                Picture::Learned(_) => self.learned_csv(&caption),
            },
        };
        csv.0
    }

    fn answer_csv(&self, caption: &[String]) -> Csv {
        let names = [
            "token",
            "id",
            "base_logit",
            "intervened_logit",
            "source_logit",
            "base_probability",
            "intervened_probability",
            "source_probability",
        ];
        let mut csv = Csv::new(caption, &names);
        let rows = self.answer.iter().flat_map(|(answer, _)| &answer.rows);
        for row in rows {
            let logits = row.scores.map(|score| text(score.logit));
            let probabilities = row.scores.map(|score| text(score.probability));
            let names = [self.token(row.id), text(row.id)];
            csv.line(names.into_iter().chain(logits).chain(probabilities));
        }
        csv
    }

    fn text_csv(&self, caption: &[String]) -> Csv {
        let mut csv = Csv::new(caption, &["run", "index", "id", "token", "probability"]);
        for (run, name) in ["base", "intervened"].into_iter().enumerate() {
            let Some((tokens, _)) = self.run_of_text(run) else {
                continue;
            };
            for (idx, token) in tokens.iter().enumerate() {
                let known = token.likeliest.iter().find(|(id, _)| *id == token.id);
                csv.line([
                    name.to_owned(),
                    text(idx),
                    text(token.id),
                    self.token(token.id),
                    maybe(known.map(|(_, p)| p)),
                ]);
            }
        }
        csv
    }

    fn flips_csv(&self, caption: &[String]) -> Csv {
        let names = [
            "base",
            "source",
            "wanted",
            "before",
            "after",
            "should_turn",
            "known",
            "direction_nats",
            "whole_vector_nats",
            "random_nats",
        ];
        let mut csv = Csv::new(caption, &names);
        for row in self.flips.iter().flat_map(|flips| &flips.rows) {
            let answers = row.answers.map(|answers| answers.map(|id| self.token(id)));
            let [before, after] = answers.unwrap_or_default();
            let margins = Swap::ALL.map(|swap| maybe(row.margins[swap as usize]));
            let prompts = [&row.prompts.base, &row.prompts.source].map(|ids| self.text_of(ids));
            let rest = [
                self.token(row.label),
                before,
                after,
                text(row.should_turn()),
                text(row.is_known),
            ];
            csv.line(prompts.into_iter().chain(rest).chain(margins));
        }
        csv
    }

    fn program_csv(&self, caption: &[String]) -> Csv {
        let mut csv = Csv::new(caption, &["variable", "follows_from", "base", "source"]);
        let sides = Side::BOTH.map(|side| self.variables(side).unwrap_or_default());
        let [base, source] = sides;
        for (own, other) in base.into_iter().zip(source) {
            let equation = own.equation.unwrap_or_default();
            csv.line([own.name, equation, own.value, other.value]);
        }
        csv
    }

    /// The first columns of a cell: layer, token and its text.
    fn place_of(&self, Cursor { layer, position }: Cursor) -> [String; 3] {
        [text(layer), text(position), self.base_token(position)]
    }

    /// Text of a base token.
    fn base_token(&self, position: usize) -> String {
        let pieces = &self.choices.base.pieces;
        pieces.get(position).cloned().unwrap_or_default()
    }

    /// Layers from the top, and the tokens of the base.
    fn cells(&self) -> impl Iterator<Item = Cursor> + use<> {
        let n_tokens = self.choices.base.ids.len();
        let layers = (0..self.n_layers()).rev();
        layers.flat_map(move |layer| (0..n_tokens).map(move |position| Cursor { layer, position }))
    }

    fn lens_csv(&self, caption: &[String]) -> Csv {
        let names = [
            "layer",
            "position",
            "token",
            "base_top",
            "base_probability",
            "base_difference_nats",
            "intervened_top",
            "intervened_probability",
            "intervened_difference_nats",
        ];
        let mut csv = Csv::new(caption, &names);
        for at in self.cells() {
            let Some((base, intervened)) = self.lens_cell(at) else {
                continue;
            };
            let said = [base, intervened].into_iter().flat_map(|cell| {
                let numbers = [text(cell.probability), text(cell.difference)];
                std::iter::once(self.token(cell.top)).chain(numbers)
            });
            csv.line(self.place_of(at).into_iter().chain(said));
        }
        csv
    }

    fn map_csv(&self, caption: &[String]) -> Csv {
        let names = [
            "layer",
            "position",
            "token",
            "recovered_share",
            "difference_nats",
            "top",
            "probability",
        ];
        let mut caption = caption.to_vec();
        if let Some(map) = &self.map {
            let head = map
                .head
                .map_or(String::new(), |head| format!(", head {head}"));
            caption.push(format!(
                "each cell: {} its {}{head}",
                map.operation.verb, map.component
            ));
        }
        let mut csv = Csv::new(&caption, &names);
        for at in self.cells() {
            let Some((map, cell)) = self
                .map
                .as_ref()
                .and_then(|map| Some((map, map.cell(at.layer, at.position)?)))
            else {
                continue;
            };
            let said = [
                text(map.value(cell, Metric::Recovered)),
                text(map.value(cell, Metric::Difference)),
                self.token(cell.top),
                text(cell.probability),
            ];
            csv.line(self.place_of(at).into_iter().chain(said));
        }
        csv
    }

    fn attention_csv(&self, caption: &[String]) -> Csv {
        let mut caption = caption.to_vec();
        if let Some((from, _)) = &self.attention {
            let Cursor { layer, position } = from;
            caption.push(format!("layer {layer}, from token {position}"));
        }
        let names = ["head", "position", "token", "base", "intervened"];
        let mut csv = Csv::new(&caption, &names);
        let Some((_, rows)) = &self.attention else {
            return csv;
        };
        for (head, row) in rows.base.iter().enumerate() {
            for (position, base) in row.iter().enumerate() {
                let changed = rows.intervened.as_ref();
                let changed = changed.and_then(|rows| rows.get(head)?.get(position));
                csv.line([
                    text(head),
                    text(position),
                    self.base_token(position),
                    text(base),
                    text(changed.unwrap_or(base)),
                ]);
            }
        }
        csv
    }

    fn learned_csv(&self, caption: &[String]) -> Csv {
        let names = [
            "layer",
            "position",
            "token",
            "score",
            "random",
            "whole_vector",
        ];
        let mut caption = caption.to_vec();
        let Some((_, map)) = self.learned() else {
            return Csv::new(&caption, &names);
        };
        caption.push(format!("{}: {}", map.title(), map.caption()));
        let mut csv = Csv::new(&caption, &names);
        for layer in self.learned_layers(map) {
            for position in map.positions() {
                let Some(cell) = map.cell(Cursor { layer, position }) else {
                    continue;
                };
                let controls = cell.controls.as_ref();
                csv.line([
                    text(layer),
                    text(position),
                    self.learned_token(map, position).text,
                    text(cell.iia),
                    maybe(controls.map(|own| own.random)),
                    maybe(controls.map(|own| own.full)),
                ]);
            }
        }
        csv
    }
}

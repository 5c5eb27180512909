//! How a plan goes wrong: fields dropped, doubled and swapped, other names, types and numbers, bytes flipped.

use std::iter;

use rand::{Rng as _, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use swivel_core::{
    Component, NamedPosition, Position,
    plan::{
        Mode, OPERATIONS, Plan, PlannedIntervention, PlannedOp, PlannedSite, Positions, Prompts,
        Unit, Version, data_url,
    },
};

use super::{OP5, check_written};

/// Around a text that is written as JSON without quotes: a number or nesting that no [`Value`] holds.
const RAW: char = '\u{1}';
/// At the end of a field's name: another field has that name.
const AGAIN: char = '\u{2}';

/// Names of fields.
const FIELDS: [&str; 23] = [
    "version",
    "base",
    "sources",
    "ids",
    "text",
    "mode",
    "interventions",
    "layer",
    "component",
    "unit",
    "heads",
    "source",
    "values",
    "base_positions",
    "source_positions",
    "token",
    "source_token",
    "op",
    "type",
    "direction",
    "dims",
    "strength",
    "record",
];

/// Names of operations that are none, of units, modes, files and tokens.
const NAMES: [&str; 16] = [
    "mean",
    "pca",
    "zeros",
    "ZERO",
    "pos",
    "h",
    "h.pos",
    "serial",
    "parallel",
    "last",
    "-1",
    "op5.safetensors",
    "../no.safetensors",
    "data:text/plain,x",
    "=",
    ",",
];

/// Everything that is drawn for one plan.
pub struct Mutator {
    rng: ChaCha8Rng,
}

impl Mutator {
    pub fn new(seed: u64) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(seed);
        Self { rng }
    }

    /// One of these plans, or any plan that there is, changed in a few places or in none.
    pub fn plan(&mut self, real: &[Value]) -> Vec<u8> {
        let mut plan = match self.rarely(6) {
            true => {
                let plan = any_plan(&mut self.rng);
                check_written(&plan);
                json!(plan)
            }
            false => real[self.below(real.len())].clone(),
        };
        for _ in 0..self.below(4) {
            self.mutate(&mut plan);
        }
        let mut bytes = written(&plan).into_bytes();
        if self.rarely(8) {
            for _ in 0..=self.below(4) {
                self.mutate_bytes(&mut bytes);
            }
        }
        bytes
    }

    fn below(&mut self, n: usize) -> usize {
        self.rng.random_range(0..n)
    }

    /// True once in `n` times.
    fn rarely(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    /// Changes something at a random place.
    fn mutate(&mut self, value: &mut Value) {
        let is_here = self.rarely(8);
        match value {
            Value::Array(list) if !list.is_empty() => {
                let idx = self.below(list.len());
                match is_here {
                    true => self.mutate_list(list, idx),
                    false => self.mutate(&mut list[idx]),
                }
            }
            Value::Object(fields) if !fields.is_empty() => {
                let idx = self.below(fields.len());
                let Some((name, inner)) = fields.iter_mut().nth(idx) else {
                    return;
                };
                match is_here {
                    true => {
                        let name = name.clone();
                        self.mutate_field(fields, &name);
                    }
                    false => self.mutate(inner),
                }
            }
            leaf => *leaf = self.other(leaf),
        }
    }

    fn mutate_list(&mut self, list: &mut Vec<Value>, idx: usize) {
        match self.below(6) {
            0 => drop(list.remove(idx)),
            1 => list.insert(idx, list[idx].clone()),
            2 => {
                let other = self.below(list.len());
                list.swap(idx, other);
            }
            3 => list.insert(idx, self.junk()),
            4 => list[idx] = self.junk(),
            _ => {
                let most = 100_000 / (1 + list[idx].to_string().len());
                let n = self.below(1 + most.min(3000));
                list.extend(iter::repeat_n(list[idx].clone(), n));
            }
        }
    }

    fn mutate_field(&mut self, fields: &mut serde_json::Map<String, Value>, name: &str) {
        let other = self.pick(&FIELDS).to_owned();
        let value = fields.get(name).cloned().unwrap_or_default();
        let junk = self.junk();
        match self.below(6) {
            0 => drop(fields.remove(name)),
            1 => drop(fields.insert(format!("{name}{AGAIN}"), value)),
            2 => {
                // The two change places.
                fields.remove(name);
                if let Some(value) = fields.insert(other, value) {
                    fields.insert(name.to_owned(), value);
                }
            }
            3 => drop(fields.insert(other, junk)),
            4 => drop(fields.insert(self.text(), value)),
            _ => drop(fields.insert(name.to_owned(), junk)),
        }
    }

    /// Something in place of a text, a number or another value, more often than not of the same kind.
    fn other(&mut self, leaf: &Value) -> Value {
        match leaf {
            _ if self.rarely(8) => self.junk(),
            Value::Number(_) if self.rarely(3) => self.number(),
            Value::Number(_) => json!(self.rng.random_range(-5..12)),
            Value::String(text) if OPERATIONS.iter().any(|own| own.name == text) => {
                json!(OPERATIONS[self.below(OPERATIONS.len())].name)
            }
            Value::String(text) if text.parse::<Component>().is_ok() => json!(self.component()),
            Value::String(_) => json!(self.text()),
            _ => self.junk(),
        }
    }

    fn component(&mut self) -> &'static str {
        let (_, name, aliases) = self.pick(&Component::ALL);
        aliases.first().unwrap_or(&name)
    }

    fn number(&mut self) -> Value {
        let small = self.rng.random_range(-5..70);
        let any: i64 = self.rng.random();
        let power = 1_u64 << self.below(64);
        let raw = self.pick(&[
            "1e999",
            "-0",
            "00",
            "99999999999999999999",
            "1.0",
            "NaN",
            "-",
            "1_0",
        ]);
        let digits = "9".repeat(self.below(5000));
        self.pick(&[
            json!(small),
            json!(small % 4),
            json!(any),
            json!(power),
            json!(i64::MIN),
            json!(i64::MIN + 1),
            json!(u64::MAX),
            json!(0.5),
            json!(1e39),
            json!(-1e-320),
            json!(format!("{RAW}{raw}{RAW}")),
            json!(format!("{RAW}1{digits}{RAW}")),
        ])
    }

    fn text(&mut self) -> String {
        let n = self.below(20);
        match self.below(8) {
            0 => (0..n).map(|_| self.rng.random::<char>()).collect(),
            1 => ["é\n\"", "a", "🍋\u{2028}\u{202e}", "\0\t\\"][n % 4].repeat(self.below(3000)),
            2 => OPERATIONS[n % OPERATIONS.len()].name.to_owned(),
            3 => self.component().to_owned(),
            4 | 5 => {
                let mut bytes = OP5.to_vec();
                self.mutate_bytes(&mut bytes);
                data_url(&bytes)
            }
            _ => self.pick(&NAMES).to_owned(),
        }
    }

    fn junk(&mut self) -> Value {
        let (number, text, n) = (self.number(), self.text(), self.below(20));
        let depth = self.pick(&[2, 100, 126, 127, 128, 129, 5000]);
        let (open, close) = self.pick(&[("[", "]"), ("{\"ids\":[", "]}"), ("{\"op\":", "")]);
        let nested = [open.repeat(depth), close.repeat(depth)].concat();
        self.pick(&[
            number.clone(),
            json!(text),
            json!(null),
            json!(true),
            json!([]),
            json!({}),
            json!([[number]]),
            json!([["last", number]]),
            json!([[{"text": text}]]),
            json!(vec![number.clone(); n]),
            json!({"ids": [[number]]}),
            json!({"text": [text]}),
            json!({"type": text}),
            json!(format!("{RAW}{nested}{RAW}")),
        ])
    }

    fn mutate_bytes(&mut self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let at = self.below(bytes.len());
        let end = bytes.len().min(at + self.below(40));
        match self.below(6) {
            0 => bytes[at] = self.rng.random(),
            1 => bytes[at] ^= 1 << self.below(8),
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..end)),
            4 => drop(bytes.splice(at..at, "\u{feff}\u{202e}é\0".bytes())),
            _ => {
                let part = bytes[at..end].to_vec();
                let to = self.below(bytes.len());
                bytes.splice(to..to, part);
            }
        }
    }
}

/// The text of a plan, with what is no [`Value`].
fn written(plan: &Value) -> String {
    let text = plan.to_string().replace("\\u0002", "");
    let text = text
        .replace("\"\\u0001", "\u{1}")
        .replace("\\u0001\"", "\u{1}");
    let parts = text.split(RAW).enumerate();
    let parts = parts.map(|(idx, part)| match idx % 2 {
        0 => part.to_owned(),
        _ => part.replace("\\\"", "\""),
    });
    parts.collect()
}

/// Any plan of the types, sensible or not.
fn any_plan(rng: &mut ChaCha8Rng) -> Plan {
    fn list<T>(rng: &mut ChaCha8Rng, one: impl Fn(&mut ChaCha8Rng) -> T) -> Vec<T> {
        (0..rng.next_u32() % 3).map(|_| one(rng)).collect()
    }
    fn maybe<T>(rng: &mut ChaCha8Rng, one: impl Fn(&mut ChaCha8Rng) -> T) -> Option<T> {
        rng.next_u32().is_multiple_of(2).then(|| one(rng))
    }
    let index = |rng: &mut ChaCha8Rng| (rng.next_u32() % 9) as usize;
    let number = |rng: &mut ChaCha8Rng| (rng.next_u32() as f32 - 2e9) / 7e8;
    let text = |rng: &mut ChaCha8Rng| ["", "é\n\"", "data:x", "a/b"][index(rng) % 4].to_owned();
    let component =
        |rng: &mut ChaCha8Rng| Component::ALL[rng.next_u32() as usize % Component::ALL.len()].0;
    let prompts = |rng: &mut ChaCha8Rng| match maybe(rng, |_| ()) {
        Some(()) => Prompts::Text(list(rng, text)),
        None => Prompts::Ids(list(rng, |rng| list(rng, |rng| rng.next_u32()))),
    };
    let position = |rng: &mut ChaCha8Rng| match rng.next_u32() % 3 {
        0 => Position::Index(index(rng)).into(),
        1 => Position::FromEnd(index(rng) + 1).into(),
        _ => NamedPosition::Text(text(rng)),
    };
    // Never empty: `[]` is a list of rows and of positions.
    let positions = |rng: &mut ChaCha8Rng| {
        let mut rows = list(rng, |rng| list(rng, position));
        rows.push(vec![position(rng)]);
        Positions(rows)
    };
    let units = [Unit::Positions, Unit::Heads, Unit::HeadsAtPositions];
    let intervention = |rng: &mut ChaCha8Rng| {
        let base = positions(rng);
        PlannedIntervention {
            layer: index(rng),
            component: component(rng),
            unit: units[index(rng) % 3],
            heads: maybe(rng, |rng| list(rng, index)),
            source: maybe(rng, index),
            values: maybe(rng, |rng| list(rng, |rng| list(rng, number))),
            token: maybe(rng, text),
            // Where they are the base's, they are not written.
            source_positions: maybe(rng, positions).filter(|own| *own != base),
            base_positions: Some(base),
            source_token: maybe(rng, text),
            op: PlannedOp {
                operation: &OPERATIONS[index(rng) % OPERATIONS.len()],
                factor: maybe(rng, number),
                seed: maybe(rng, |rng| index(rng) as u64),
                direction: maybe(rng, text),
                dims: maybe(rng, |rng| list(rng, index)),
                drop_rest: maybe(rng, |_| true).unwrap_or(false),
                strength: maybe(rng, number).unwrap_or(1.0),
            },
        }
    };
    Plan {
        version: Version,
        base: prompts(rng),
        sources: list(rng, prompts),
        mode: maybe(rng, |_| Mode::Serial).unwrap_or_default(),
        interventions: list(rng, intervention),
        record: list(rng, |rng| PlannedSite {
            layer: index(rng),
            component: component(rng),
        }),
        first_token: maybe(rng, text),
    }
}

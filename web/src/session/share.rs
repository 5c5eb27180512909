//! The view as a link: a plan (ENGINE section 6) and the page's settings in the address' fragment.
//!
//! `plan=` base64url of the plan file's JSON; a direction that does not come with the page travels in it as a data URL.
//! `model=` the first digits of its weights' SHA-256. `source=` ids, where nothing is switched on and the plan has no use for a source run. `view=` picture and run shown.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use swivel_core::{
    Position,
    plan::{
        Mode, OpName, Plan, PlannedIntervention, PlannedOp, Positions, Prompts as PlanPrompts,
        Unit, Version, data_url,
    },
};

use super::{Card, Picture, Session, Shown, What, recorded};
use crate::protocol::Prompts;

/// Digits of the weights' SHA-256 that a link carries: it holds token ids, which mean other words to another model.
const MODEL_DIGITS: usize = 16;
/// Names of the settings, as the link has them.
const PICTURES: [(Picture, &str); 3] = [
    (Picture::Lens, "lens"),
    (Picture::Map, "map"),
    (Picture::Attention, "attention"),
];
const SHOWN: [(Shown, &str); 3] = [
    (Shown::Base, "base"),
    (Shown::Intervened, "intervened"),
    (Shown::Difference, "difference"),
];

/// A plan as the fragment holds it.
pub fn encode(plan: &str) -> String {
    format!("plan={}", URL_SAFE_NO_PAD.encode(plan))
}

/// Name of a setting's value.
fn name_of<T: PartialEq>(names: &[(T, &'static str)], value: &T) -> &'static str {
    let found = names.iter().find(|(own, _)| own == value);
    found.map_or("", |(_, name)| name)
}

fn value_of<T: Copy>(names: &[(T, &'static str)], name: &str) -> Option<T> {
    names
        .iter()
        .find(|(_, own)| *own == name)
        .map(|(value, _)| *value)
}

impl Session {
    /// What is on the page as a plan.
    pub fn plan(&self) -> Plan {
        let Prompts { base, source } = self.choices.prompts();
        let (n_base, n_source) = (base.len(), source.len());
        let interventions: Vec<PlannedIntervention> = self
            .choices
            .cards
            .iter()
            .filter(|card| card.is_on)
            .filter_map(|card| {
                let position = |position: Position, n_tokens| {
                    Some(Positions(vec![vec![position.resolve(n_tokens).ok()?]]))
                };
                let (name, direction) = match card.what {
                    What::Whole => (OpName::Interchange, None),
                    What::Direction(idx) => {
                        let opened = &self.directions[idx];
                        let direction = match opened.is_embedded {
                            true => opened.name.clone(),
                            false => data_url(&opened.bytes),
                        };
                        (OpName::LowRank, Some(direction))
                    }
                };
                Some(PlannedIntervention {
                    layer: card.site.layer,
                    component: card.site.component,
                    unit: Unit::Positions,
                    heads: None,
                    source: Some(0),
                    values: None,
                    base_positions: Some(position(card.base_position, n_base)?),
                    source_positions: Some(position(card.source_position, n_source)?),
                    op: PlannedOp {
                        name,
                        direction,
                        dims: None,
                        strength: card.strength,
                    },
                })
            })
            .collect();
        Plan {
            version: Version,
            base: PlanPrompts::Ids(vec![base]),
            sources: match interventions.is_empty() {
                true => Vec::new(),
                false => vec![PlanPrompts::Ids(vec![source])],
            },
            mode: Mode::default(),
            interventions,
            record: Vec::new(),
        }
    }

    /// The view as an address' fragment, without `#`.
    pub fn fragment(&self) -> String {
        let plan = self.plan();
        let mut fragment = encode(&plan.to_json());
        if plan.sources.is_empty() {
            let ids: Vec<String> = self.choices.source.ids.iter().map(u32::to_string).collect();
            fragment += &format!("&source={}", ids.join(","));
        }
        if let Some(model) = &self.model {
            fragment += &format!(
                "&model={}",
                &model.sha256[..MODEL_DIGITS.min(model.sha256.len())]
            );
        }
        // A map is a file, which a link does not carry.
        let picture = match self.picture {
            Picture::Learned(_) => Picture::default(),
            picture => picture,
        };
        let picture = name_of(&PICTURES, &picture);
        let shown = name_of(&SHOWN, &self.shown);
        fragment + &format!("&view={picture},{shown}")
    }

    /// Brings back what a fragment holds; changes nothing if it cannot.
    ///
    /// # Errors
    /// - what is wrong with it, if it is no link of this page, or does not fit the model
    pub fn open_fragment(&mut self, fragment: &str) -> Result<(), String> {
        let model = self.model.as_ref().ok_or("no model is loaded yet")?;
        let mut encoded = None;
        let (mut source, mut view, mut made_with) = (None, None, None);
        for part in fragment.split('&').filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                Some(("plan", value)) => encoded = Some(value),
                Some(("source", value)) => source = Some(value),
                Some(("view", value)) => view = Some(value),
                Some(("model", value)) => made_with = Some(value),
                _ => return Err(format!("unknown part `{}`", short(part))),
            }
        }
        if made_with.is_some_and(|digits| !model.sha256.starts_with(digits)) {
            return Err(format!(
                "it was made with another model than {}, to which its tokens are other words; open that model first",
                model.name
            ));
        }
        let json = URL_SAFE_NO_PAD
            .decode(encoded.ok_or("it has no plan")?)
            .map_err(|error| format!("its plan was cut or changed on the way ({error})"))?;
        let plan = Plan::from_json(&json).map_err(|error| error.to_string())?;
        let read = |name: &str| -> Result<Vec<u8>, String> {
            let known = recorded::DIRECTIONS.iter().find(|(own, _)| *own == name);
            let opened = self.directions.iter().find(|opened| opened.name == name);
            known
                .map(|(_, bytes)| bytes.to_vec())
                .or_else(|| opened.map(|opened| opened.bytes.to_vec()))
                .ok_or_else(|| "this page does not have the file; open it first".to_owned())
        };
        let checked = plan
            .check(&model.config, Some(&model.tokenizer), read)
            .map_err(|error| error.to_string())?;
        let base = match checked.base() {
            [ids] => ids.clone(),
            rows => return Err(format!("it has {} rows, the page shows one", rows.len())),
        };
        let source = match (plan.sources.first(), source) {
            (Some(PlanPrompts::Ids(rows)), _) => rows.first().cloned().unwrap_or_default(),
            (Some(PlanPrompts::Text(rows)), _) => {
                let text = rows.first().map(String::as_str).unwrap_or_default();
                let ids = model.tokenizer.encode(text);
                ids.map_err(|error| error.to_string())?
            }
            (None, Some(list)) => list
                .split(',')
                .map(|id| {
                    id.parse()
                        .map_err(|_| format!("`{}` is no token id", short(id)))
                })
                .collect::<Result<_, _>>()?,
            (None, None) => base.clone(),
        };
        for ids in [&base, &source] {
            let checked = model.config.check_ids(&[ids]);
            checked.map_err(|error| error.to_string())?;
        }

        let (n_base, n_source) = (base.len(), source.len());
        let mut opened = checked.directions().iter();
        let mut cards = Vec::new();
        let mut files = Vec::new();
        for planned in &plan.interventions {
            let is_simple = planned.unit == Unit::Positions
                && planned.source == Some(0)
                && plan.sources.len() == 1
                && planned.op.dims.is_none()
                && plan.record.is_empty();
            if !is_simple || !matches!(planned.op.name, OpName::Interchange | OpName::LowRank) {
                return Err("it holds more than this page can show: swaps of one source run at token positions; `swivel apply` runs it".to_owned());
            }
            let direction = match planned.op.name {
                OpName::LowRank => opened.next(),
                _ => None,
            };
            if let Some(direction) = direction {
                let name = planned.op.direction.as_deref().unwrap_or_default();
                let name = match name.starts_with("data:") {
                    true => "from a link",
                    false => name,
                };
                files.push((name.to_owned(), direction.to_bytes()));
            }
            let list = |positions: &Option<Positions>| -> Vec<usize> {
                let rows = positions.as_ref().and_then(|positions| positions.0.first());
                rows.cloned().unwrap_or_default()
            };
            let written = list(&planned.base_positions);
            let read = match &planned.source_positions {
                None => written.clone(),
                positions => list(positions),
            };
            for (base_position, source_position) in written.into_iter().zip(read) {
                let last = |position: usize, n_tokens: usize| match position + 1 == n_tokens {
                    true => Position::LAST,
                    false => Position::Index(position),
                };
                cards.push(Card {
                    what: match direction {
                        None => What::Whole,
                        // Its place among the files of this link; the session's own index is known below.
                        Some(_) => What::Direction(files.len() - 1),
                    },
                    site: planned.component.at(planned.layer),
                    base_position: last(base_position, n_base),
                    source_position: last(source_position, n_source),
                    strength: planned.op.strength,
                    is_on: true,
                });
            }
        }

        let mut indices = Vec::new();
        for (name, bytes) in &files {
            let embedded = recorded::DIRECTIONS.iter().find(|(_, own)| own == bytes);
            let idx = self.open_direction(name, bytes, embedded.is_some());
            indices.push(idx.map_err(|error| error.to_string())?);
        }
        for card in &mut cards {
            if let What::Direction(idx) = &mut card.what {
                *idx = indices[*idx];
            }
        }
        self.set_prompts(&Prompts { base, source })
            .map_err(|error| error.to_string())?;
        self.amend(|choices| {
            // A direction's own card takes the place that it has; others follow.
            for card in &mut choices.cards {
                card.is_on = false;
            }
            choices.cards.retain(|card| card.what != What::Whole);
            for card in cards {
                let own = |other: &&mut Card| other.what == card.what && !other.is_on;
                match choices.cards.iter_mut().find(own) {
                    Some(other) if card.what != What::Whole => *other = card,
                    _ => choices.cards.push(card),
                }
            }
        });
        if let Some((picture, shown)) = view.and_then(|view| view.split_once(',')) {
            self.picture = value_of(&PICTURES, picture).unwrap_or_default();
            self.shown = value_of(&SHOWN, shown).unwrap_or_default();
        }
        Ok(())
    }
}

fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

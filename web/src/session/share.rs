//! The view as a link: a plan (ENGINE section 6) and the page's settings in the address' fragment.
//!
//! `plan=` base64url of the plan file's JSON; a direction that does not come with the page travels in it as a data URL.
//! `model=` the first digits of its weights' SHA-256. `source=` ids, where nothing is switched on and the plan has no use for a source run. `view=` picture and run shown.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use swivel_core::{
    Place, Position,
    direction::Direction,
    plan::{Plan, PlannedIntervention, PlannedOp, Prompts as PlanPrompts, Unit, data_url},
};

use super::{Card, Opened, Picture, Prompts, Session, Shown, recorded};

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
        let cards = self.choices.cards.iter().filter(|card| card.is_on);
        let (n_base, n_source) = (self.choices.base.ids.len(), self.choices.source.ids.len());
        let is_there = |card: &&Card| {
            let reads = card.operation.reads_token();
            card.place.position.resolve(n_base).is_ok()
                && (!reads || card.source_position.resolve(n_source).is_ok())
        };
        let cards: Vec<&Card> = cards.filter(is_there).collect();
        self.plan_of(&cards, |opened| match opened.is_embedded {
            true => opened.name.clone(),
            false => data_url(&opened.bytes),
        })
    }

    /// Some cards as a plan; `name` is what it calls a direction.
    pub(super) fn plan_of(&self, cards: &[&Card], name: impl Fn(&Opened) -> String) -> Plan {
        let planned = cards.iter().map(|card| {
            let direction = card.direction.map(|idx| name(&self.directions[idx]));
            card.planned(direction)
        });
        self.choices.prompts().plan(planned.collect())
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
        let read = |name: &str| -> Result<Arc<Direction>, String> {
            if let Some((_, bytes)) = recorded::directions().find(|(own, _)| *own == name) {
                let direction = Direction::from_bytes(bytes);
                return direction.map(Arc::new).map_err(|error| error.to_string());
            }
            let opened = self.directions.iter().find(|opened| opened.name == name);
            opened
                .map(|opened| Arc::clone(&opened.direction))
                .ok_or_else(|| "this page does not have the file; open it first".to_owned())
        };
        let checked = plan
            .check(&model.sizes, Some(&model.tokenizer), read)
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
            let checked = model.sizes.check_ids(&[ids]);
            checked.map_err(|error| error.to_string())?;
        }

        let mut opened = checked.directions();
        let mut cards = Vec::new();
        let mut files = Vec::new();
        for (idx, planned) in plan.interventions.iter().enumerate() {
            let direction = planned.op.direction.as_ref().and_then(|_| opened.next());
            if let Some(direction) = direction {
                let name = planned.op.direction.as_deref().unwrap_or_default();
                let name = match name.starts_with("data:") {
                    true => "from a link",
                    false => name,
                };
                files.push((name.to_owned(), direction.to_bytes()));
            }
            // Its place among the files of this link; the session's own index is known below.
            let direction = direction.map(|_| files.len() - 1);
            let n_tokens = [base.len(), source.len()];
            let planned = cards_of(planned, direction, checked.positions(idx), n_tokens);
            let is_simple = plan.sources.len() <= 1 && plan.record.is_empty();
            cards.extend(planned.filter(|_| is_simple).ok_or(
                "it holds more than this page can show: operations at single tokens, from one source run; `swivel apply` runs it",
            )?);
        }

        let mut indices = Vec::new();
        for (name, bytes) in &files {
            let embedded = recorded::directions().find(|(_, own)| own == bytes);
            let idx = self.open_direction(name, bytes, embedded.is_some());
            indices.push(idx.map_err(|error| error.to_string())?);
        }
        for card in &mut cards {
            if let Some(idx) = &mut card.direction {
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
            choices.cards.retain(|card| card.direction.is_some());
            for card in cards {
                let own = |other: &&mut Card| other.direction == card.direction && !other.is_on;
                match choices.cards.iter_mut().find(own) {
                    Some(other) if card.direction.is_some() => *other = card,
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

/// The cards of an intervention, one a head and token; `None` if it is more than a card can say.
fn cards_of(
    planned: &PlannedIntervention,
    direction: Option<usize>,
    [written, read]: [Option<&[usize]>; 2],
    [n_base, n_source]: [usize; 2],
) -> Option<Vec<Card>> {
    let PlannedOp {
        operation,
        strength,
        factor,
        seed,
        ref dims,
        ..
    } = planned.op;
    let is_mean_of_some = !operation.reads_token() && planned.source_positions.is_some();
    let is_more =
        planned.values.is_some() || dims.is_some() || is_mean_of_some || planned.op.drop_rest;
    if planned.unit == Unit::Heads || operation.op.is_none() || is_more {
        return None;
    }
    let list = |positions: &[usize], n_tokens: usize| -> Vec<Position> {
        let positions = positions.iter();
        positions.map(|at| Position::of(*at, n_tokens)).collect()
    };
    let written = list(written?, n_base);
    let read = match operation.reads_token() {
        false => written.clone(),
        true => list(read?, n_source),
    };
    let heads: Vec<Option<usize>> = match &planned.heads {
        None => vec![None],
        Some(heads) => heads.iter().copied().map(Some).collect(),
    };
    let site = planned.component.at(planned.layer);
    let places = written.into_iter().zip(read);
    let cards = places.flat_map(|(position, source_position)| {
        heads.iter().map(move |head| {
            let place = Place {
                site,
                head: *head,
                position,
            };
            Card {
                direction,
                strength,
                factor,
                seed: seed.unwrap_or(0),
                ..Card::new(operation, place, source_position)
            }
        })
    });
    Some(cards.collect())
}

fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

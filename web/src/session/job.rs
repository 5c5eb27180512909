//! What to ask the engine next, and what to do with its answers.

use swivel_core::{Component, Place, Position, plan::Operation};
use swivel_engine::protocol::{Answer, Read, Request, Response};

use super::{
    Card, Cursor, Model, Opened, Picture, Probe, Prompts, Session, Side,
    map::PatchMap,
    recorded::{Example, QUESTIONS},
};

/// Something to ask the engine.
#[derive(Clone, Debug)]
pub struct Job {
    /// The question.
    pub request: Request,
    kind: JobKind,
    revision: u64,
}

#[derive(Clone, Copy, Debug)]
enum JobKind {
    Answer,
    Probe(usize),
    Lens(usize),
    Attention(Cursor),
    Text,
    Map,
    Flips,
}

impl Session {
    /// What to ask the engine next, the most wanted first; `None` if everything on the page is up to date.
    pub fn next_job(&self) -> Option<Job> {
        let model = self.model.as_ref()?;
        let (kind, request) = self
            .answer_job()
            .or_else(|| Some((JobKind::Text, self.request(self.next_of_text()?))))
            .or_else(|| self.picture_job())
            .or_else(|| self.probe_job(model))
            .or_else(|| Some((JobKind::Map, self.map.as_ref()?.next_request()?)))
            .or_else(|| Some((JobKind::Flips, self.next_of_flips()?)))?;
        let revision = self.revision;
        Some(Job {
            request,
            kind,
            revision,
        })
    }

    /// True if a job that was asked is still what is wanted most. The engine need not end any other.
    pub fn wants(&self, job: &Job) -> bool {
        let next = self.next_job();
        next.is_some_and(|next| next.revision == job.revision && next.request == job.request)
    }

    /// True if the model can read both prompts.
    pub(super) fn is_readable(&self) -> bool {
        let is_readable = |side| {
            let ids = &self.choices.prompt(side).ids;
            let model = self.model.as_ref();
            model.is_none_or(|model| model.sizes.check_ids(&[ids]).is_ok())
        };
        Side::BOTH.into_iter().all(is_readable)
    }

    fn answer_job(&self) -> Option<(JobKind, Request)> {
        let is_wanted = !self.is_current && self.refusal.is_none();
        (is_wanted && self.is_readable()).then(|| {
            let beside = self.choices.source.ids.clone();
            let among = self.among();
            (
                JobKind::Answer,
                self.request(Read::Answer { beside, among }),
            )
        })
    }

    fn picture_job(&self) -> Option<(JobKind, Request)> {
        if !self.is_current {
            return None;
        }
        match self.picture {
            Picture::Map | Picture::Learned(_) => None,
            Picture::Lens => {
                let layer = self.lens.iter().rposition(Option::is_none)?;
                let pair = self.pair()?;
                Some((
                    JobKind::Lens(layer),
                    self.request(Read::Lens { layer, pair }),
                ))
            }
            Picture::Attention => {
                let cursor = self.cursor;
                if matches!(&self.attention, Some((from, _)) if *from == cursor) {
                    return None;
                }
                let Cursor { layer, position } = cursor;
                let read = Read::Attention { layer, position };
                Some((JobKind::Attention(cursor), self.request(read)))
            }
        }
    }

    fn probe_job(&self, model: &Model) -> Option<(JobKind, Request)> {
        // Also where the weights are others: they may be the same model's in another format.
        let idx = self.directions.iter().position(|opened| {
            let facts = &opened.direction.facts;
            let prompts = [&facts.probe.base, &facts.probe.source];
            opened.probe == Probe::Unknown
                && opened.direction.check(&model.sizes).is_ok()
                && prompts
                    .iter()
                    .all(|ids| model.sizes.check_ids(&[ids]).is_ok())
        })?;
        Some((JobKind::Probe(idx), self.probe_request(idx)?))
    }

    /// Takes the engine's answer to a job; one to an older question is dropped.
    pub fn take(&mut self, job: &Job, response: Response, ms: f64) {
        let is_stale = job.revision != self.revision;
        match (job.kind, response) {
            (JobKind::Probe(idx), Response::Answer(answer)) => self.set_probe(idx, &answer),
            (JobKind::Map, Response::Each(cells)) => {
                if let Some(map) = &mut self.map
                    && map.next_request().as_ref() == Some(&job.request)
                {
                    map.take(cells);
                }
            }
            (JobKind::Flips, response) => self.take_flip(&job.request, response),
            _ if is_stale => {}
            (JobKind::Answer, Response::Answer(answer)) => {
                self.answer = Some((answer, ms));
                self.is_recorded = false;
                self.is_current = true;
            }
            (JobKind::Text, Response::Next(next)) => self.take_next(next, ms),
            (JobKind::Lens(layer), Response::Lens(row)) => self.lens[layer] = Some(row),
            (JobKind::Attention(from), Response::Attention(rows)) => {
                self.attention = Some((from, rows));
            }
            _ => {}
        }
    }

    /// Takes the engine's refusal of a job, so that it is not asked again and again.
    pub fn refuse(&mut self, job: &Job, cause: &str) {
        match job.kind {
            JobKind::Probe(idx) => {
                if let Some(opened) = self.directions.get_mut(idx) {
                    opened.probe = Probe::Different;
                }
            }
            JobKind::Map => self.stop_map(),
            JobKind::Flips => {
                self.stop_flips();
                self.refusal = Some(cause.to_owned());
            }
            _ if job.revision != self.revision => {}
            JobKind::Answer => self.refusal = Some(cause.to_owned()),
            JobKind::Text => {
                self.stop_text();
                self.refusal = Some(cause.to_owned());
            }
            JobKind::Lens(_) | JobKind::Attention(_) => {
                self.picture = Picture::Map;
                self.refusal = Some(cause.to_owned());
            }
        }
    }

    /// True if a map of what an operation does at every cell is wanted, is not there or under way, and takes no time that a person
    /// would notice.
    pub fn wants_small_map(
        &self,
        operation: &'static Operation,
        at: (Component, Option<usize>),
    ) -> bool {
        /// Products of numbers that a tab does in well below a second.
        const MOST_PRODUCTS: usize = 1_000_000_000;
        let is_asked = self.picture == Picture::Map && self.is_current;
        let Some(model) = self.model.as_ref().filter(|_| is_asked) else {
            return false;
        };
        let is_it = |map: &PatchMap| map.operation == operation && (map.component, map.head) == at;
        let (sizes, n_tokens) = (&model.sizes, self.choices.base.ids.len());
        // Of each cell, half of the layers and half of the tokens.
        let n_cells = sizes.n_layers * n_tokens;
        n_cells
            .saturating_mul(n_cells / 4)
            .saturating_mul(sizes.products_a_token())
            <= MOST_PRODUCTS
            && !self.map.as_ref().is_some_and(is_it)
    }

    /// Starts a map of what an operation on the whole value does at every cell, in one head or in all; false if there is no
    /// answer yet to compare with.
    pub fn start_map(
        &mut self,
        operation: &'static Operation,
        at: (Component, Option<usize>),
        now: f64,
    ) -> bool {
        let Some((answer, _)) = self.answer.as_ref().filter(|_| self.is_current) else {
            return false;
        };
        let (prompts, n_layers) = ((self.choices.prompts(), self.partners()), self.n_layers());
        self.map = Some(PatchMap::new(operation, at, prompts, n_layers, answer, now));
        true
    }

    /// Stops the map that is under way; what is there of it stays.
    pub fn stop_map(&mut self) {
        if let Some(map) = &mut self.map {
            map.is_running = false;
        }
    }

    /// A question about what is on the page.
    pub(super) fn request(&self, read: Read) -> Request {
        let cards: Vec<&Card> = self.active().collect();
        let plan = self.plan_of(&cards, |opened| opened.engine_name.clone());
        Request { plan, read }
    }

    /// The question that re-runs the probe of a direction.
    fn probe_request(&self, idx: usize) -> Option<Request> {
        let opened = self.directions.get(idx)?;
        let probe = &opened.direction.facts.probe;
        let prompts = Prompts {
            base: probe.base.clone(),
            source: probe.source.clone(),
        };
        let mut card = Card::of_direction(idx, &opened.direction);
        if let Some(position) = probe.source_position {
            card.source_position = Position::Index(position);
        }
        Some(self.request_of(&card, opened, &prompts))
    }

    /// What a direction does at its own place in other prompts than those of the page.
    pub fn learned_request(&self, idx: usize, prompts: &Prompts) -> Request {
        let opened = &self.directions[idx];
        let card = Card::of_direction(idx, &opened.direction);
        self.request_of(&card, opened, prompts)
    }

    /// The question that was recorded; `None` where its direction was never opened here.
    pub fn recorded_request(&self, question: usize, example: &Example) -> Option<Request> {
        let name = QUESTIONS[question].directions[0].0;
        let is_it = |own: &Opened| own.is_embedded && own.name == name;
        let idx = self.directions.iter().position(is_it)?;
        let opened = &self.directions[idx];
        let mut card = Card::of_direction(idx, &opened.direction);
        card.put_at(example.positions);
        let prompts = Prompts {
            base: example.base.ids.clone(),
            source: example.source.ids.clone(),
        };
        Some(self.request_of(&card, opened, &prompts))
    }

    /// What a card does in other prompts than those of the page.
    fn request_of(&self, card: &Card, opened: &Opened, prompts: &Prompts) -> Request {
        let planned = card.planned(Some(opened.engine_name.clone()));
        Request {
            plan: prompts.plan(vec![planned]),
            read: Read::Answer {
                beside: prompts.source.clone(),
                among: Vec::new(),
            },
        }
    }

    /// What a device is tested with where nothing was recorded: half a swap at the last token of the first layer.
    pub fn test_request(&self) -> Request {
        let prompts = self.choices.prompts();
        let place = Place::new(Component::BlockOutput.at(0), Position::LAST);
        let card = Card {
            strength: 0.5,
            ..Card::new(Operation::INTERCHANGE, place, Position::LAST)
        };
        Request {
            plan: prompts.plan(vec![card.planned(None)]),
            read: Read::Answer {
                beside: prompts.source,
                among: Vec::new(),
            },
        }
    }

    /// The file of a direction that a plan for the engine names.
    pub fn direction_file(&self, engine_name: &str) -> Option<&[u8]> {
        let mut opened = self.directions.iter();
        let found = opened.find(|opened| opened.engine_name == engine_name);
        found
            .map(|opened| &*opened.bytes)
            .or_else(|| self.random_file(engine_name))
    }

    /// Takes the answer to [`Session::probe_request`].
    fn set_probe(&mut self, idx: usize, answer: &Answer) {
        let Some(opened) = self.directions.get_mut(idx) else {
            return;
        };
        let probe = &opened.direction.facts.probe;
        let row = answer.rows.iter().find(|row| row.id == answer.top[1]);
        let agrees = row.is_some_and(|row| probe.agrees(row.id, row.scores[1].logit));
        opened.probe = match agrees {
            true => Probe::Same,
            false => Probe::Different,
        };
    }
}

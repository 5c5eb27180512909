//! The flip table: what a direction does in many pairs of its task, beside the whole vector and a random subspace of its rank.

use std::sync::Arc;

use swivel_core::{
    Error, Result,
    direction::{Controls, Direction},
    metric::Count,
    plan::{Operation, PlannedIntervention},
    question::{Placed, TokenName},
    train::random_rows,
};
use swivel_engine::{
    direction_name,
    protocol::{Read, Request, Response, TokenScores},
};

use super::{Card, Prompts, Session, numbers::seconds_left};

/// Pairs of a table.
pub const N_PAIRS: usize = 100;
/// Of the pairs of the first table, and of its random subspace; each table after it has another.
const FIRST_SEED: u64 = 1000;

/// What is swapped in a pair, one after the other; before that, the source is asked by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swap {
    /// The content of the direction.
    Direction,
    /// The whole vector at its place.
    Whole,
    /// That of a random subspace of the same rank.
    Random,
}

impl Swap {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Direction, Self::Whole, Self::Random];
}

/// A pair of the table.
#[derive(Clone, Debug, PartialEq)]
pub struct FlipRow {
    /// Token ids.
    pub prompts: Prompts,
    /// What the base must be answered with, once the variable has the source's value.
    pub label: u32,
    /// What the base is answered with by itself, and with the direction swapped: the likeliest of what counts.
    pub answers: Option<[u32; 2]>,
    /// By swap: logit of the label less that of the likeliest other token that counts, nats. Above zero the swap did as it should.
    pub margins: [Option<f32>; 3],
    /// False where the model answers one of the prompts wrong by itself: nobody knows what a swap should do there.
    pub is_known: bool,
    /// What base and source are answered with by rights.
    own_labels: [Option<u32>; 2],
    /// Tokens of base and source that are swapped.
    tokens: [usize; 2],
}

impl FlipRow {
    /// A pair, whose tokens were asked for by one name.
    fn new(Placed { pair, tokens }: Placed) -> Self {
        Self {
            label: pair.label,
            own_labels: [pair.base_label, pair.source_label],
            tokens: tokens[0],
            prompts: Prompts {
                base: pair.base,
                source: pair.source,
            },
            answers: None,
            margins: [None; 3],
            is_known: true,
        }
    }

    /// True if the answer must be another one than the base's own.
    pub fn should_turn(&self) -> bool {
        self.own_labels[0] != Some(self.label)
    }

    /// True where nothing is left to ask.
    fn is_done(&self) -> bool {
        !self.is_known || self.margins[2].is_some()
    }
}

/// A table, finished or under way.
#[derive(Clone, Debug)]
pub struct FlipTable {
    /// What the direction is called.
    pub title: String,
    /// Pairs, in the order in which they were drawn.
    pub rows: Vec<FlipRow>,
    /// True while pairs are still being asked for.
    pub is_running: bool,
    /// When it was started, milliseconds.
    pub started: f64,
    /// The direction at its place, switched on.
    card: Card,
    /// What plans call the direction, and a random subspace of its rank, whose file is there.
    names: [String; 2],
    random: Arc<[u8]>,
    /// Tokens of which the likeliest is the answer; none where it is the likeliest of all.
    choices: Option<Vec<u32>>,
    /// The source of the pair that is asked about was answered.
    has_source: bool,
}

impl FlipTable {
    /// The pair that is asked about.
    fn row(&self) -> Option<usize> {
        self.rows.iter().position(|row| !row.is_done())
    }

    /// The next question; `None` when all are answered or it was stopped.
    fn next_request(&self) -> Option<Request> {
        let row = &self.rows[self.row().filter(|_| self.is_running)?];
        let mut of = vec![row.label];
        of.extend(row.own_labels.into_iter().flatten());
        of.dedup();
        let read = Read::Scores {
            among_all: self.choices.is_none(),
            of: self.choices.clone().unwrap_or(of),
        };
        if !self.has_source {
            let alone = Prompts {
                base: row.prompts.source.clone(),
                source: Vec::new(),
            };
            return Some(Request {
                plan: alone.plan(Vec::new()),
                read,
            });
        }
        let swap = row.margins.iter().position(Option::is_none)?;
        let planned = self.planned(Swap::ALL[swap], row.tokens);
        Some(Request {
            plan: row.prompts.plan(vec![planned]),
            read,
        })
    }

    fn planned(&self, swap: Swap, tokens: [usize; 2]) -> PlannedIntervention {
        let mut card = self.card.clone();
        card.put_at(Some(tokens));
        let [learned, random] = self.names.clone();
        match swap {
            Swap::Direction => card.planned(Some(learned)),
            Swap::Random => {
                card.operation = Operation::LOW_RANK;
                card.planned(Some(random))
            }
            Swap::Whole => {
                card.operation = Operation::INTERCHANGE;
                card.planned(None)
            }
        }
    }

    fn take(&mut self, [before, after]: [TokenScores; 2]) {
        let Some(idx) = self.row() else { return };
        let of = self.choices.clone();
        let row = &mut self.rows[idx];
        let [base_label, source_label] = row.own_labels;
        let likeliest =
            |scores: &TokenScores| scores.likeliest.first().map_or(u32::MAX, |(id, _)| *id);
        if !self.has_source {
            row.is_known = source_label.is_none_or(|label| label == likeliest(&before));
            self.has_source = row.is_known;
        } else if let Some(swap) = row.margins.iter().position(Option::is_none) {
            let label = match &of {
                Some(of) => of.iter().position(|id| *id == row.label),
                None => Some(0),
            };
            let mut others = after.likeliest.iter().filter(|(id, _)| *id != row.label);
            let other = others.next().map_or(f32::NEG_INFINITY, |(_, logit)| *logit);
            let label = label.and_then(|idx| after.logits.get(idx));
            row.margins[swap] = Some(label.copied().unwrap_or(f32::NEG_INFINITY) - other);
            if Swap::ALL[swap] == Swap::Direction {
                row.is_known = base_label.is_none_or(|label| label == likeliest(&before));
                row.answers = Some([likeliest(&before), likeliest(&after)]);
            }
        }
        if row.is_done() {
            self.has_source = false;
        }
        self.is_running &= self.row().is_some();
    }

    /// How many pairs a swap did right, of those that the model answers right by itself.
    pub fn count(&self, swap: Swap) -> Count {
        let known = self.rows.iter().filter(|row| row.is_known);
        let margins = known.filter_map(|row| row.margins[swap as usize]);
        Count::of(margins.map(|margin| margin > 0.0))
    }

    /// True once all pairs are done and the direction clearly did better than the whole vector.
    pub fn is_suspect(&self) -> bool {
        let [direction, full] = [Swap::Direction, Swap::Whole].map(|swap| self.count(swap).share());
        let controls = Controls {
            full,
            ..Controls::default()
        };
        self.row().is_none() && controls.are_beaten_by(direction)
    }

    /// Pairs that are done, and of them those that the model does not answer right by itself.
    pub fn n_done(&self) -> [usize; 2] {
        let done = self.rows.iter().filter(|row| row.is_done());
        let unknown = done.clone().filter(|row| !row.is_known);
        [done.count(), unknown.count()]
    }

    /// Numbers of the pairs that are answered, those that went most clearly wrong first.
    pub fn sorted(&self) -> Vec<usize> {
        let margin = |idx: usize| self.rows[idx].margins[0].filter(|_| self.rows[idx].is_known);
        let mut all: Vec<(usize, f32)> = (0..self.rows.len())
            .filter_map(|idx| Some((idx, margin(idx)?)))
            .collect();
        all.sort_by(|(_, left), (_, right)| left.total_cmp(right));
        all.into_iter().map(|(idx, _)| idx).collect()
    }

    /// Seconds that the rest will take at the pace so far.
    pub fn seconds_left(&self, now: f64) -> Option<f64> {
        let [done, _] = self.n_done();
        let left = self.rows.len() - done;
        seconds_left(now - self.started, done as f64 / (done + left) as f64)
    }
}

impl Session {
    /// The direction that a table would be about: the first that is on and that was learned for a task that the page has.
    pub fn direction_to_try(&self) -> Option<&Card> {
        let is_live = self.model.is_some() && self.has_task();
        let mut active = self.active();
        active.find(|card| {
            is_live && {
                let direction = card.direction.map(|idx| &self.directions[idx].direction);
                direction.is_some_and(|direction| direction.facts.task.is_some())
            }
        })
    }

    /// Starts a table; one that is there is replaced, by one of other pairs.
    ///
    /// # Errors
    /// - [`Error::Task`] if there are no pairs, or the direction's token is not in them.
    pub fn start_flips(&mut self, now: f64) -> Result<()> {
        let (Some(question), Some(card)) = (self.asked(), self.direction_to_try().cloned()) else {
            return Ok(());
        };
        let Some(opened) = card.direction.map(|idx| &self.directions[idx]) else {
            return Ok(());
        };
        let facts = &opened.direction.facts;
        let name = match &facts.token {
            Some(name) => name.parse().map_err(Error::from)?,
            None => TokenName::Counted(facts.place.position),
        };
        let seed = FIRST_SEED + self.n_tables;
        let variable = self.asked_variable(&question)?;
        let mut sampler = question.sampler(&variable)?;
        let pairs = sampler.at_most(N_PAIRS, seed, &[name])?;
        let (rank, width) = (opened.direction.n_swapped(), opened.direction.width());
        let rows = random_rows(width, rank, seed);
        let random = Direction::new(rows, rank, facts.clone())?.to_bytes();
        self.n_tables += 1;
        self.flips = Some(FlipTable {
            title: opened.title(),
            rows: pairs.into_iter().map(FlipRow::new).collect(),
            is_running: true,
            started: now,
            names: [opened.engine_name.clone(), direction_name(&random)],
            random: random.into(),
            choices: question.choices()?,
            has_source: false,
            card: Card {
                strength: 1.0,
                ..card
            },
        });
        Ok(())
    }

    /// Stops the table that is under way; what is there of it stays.
    pub fn stop_flips(&mut self) {
        if let Some(flips) = &mut self.flips {
            flips.is_running = false;
        }
    }

    /// Shows a pair of the table as the page's own.
    ///
    /// # Errors
    /// - those of [`Session::set_prompts`]
    pub fn open_flip(&mut self, row: usize) -> Result<()> {
        let row = self.flips.as_ref().and_then(|flips| flips.rows.get(row));
        match row.map(|row| row.prompts.clone()) {
            Some(prompts) => self.set_prompts(&prompts),
            None => Ok(()),
        }
    }

    /// The text of a prompt: its last line, without what stands in front as demonstrations.
    pub fn text_of(&self, ids: &[u32]) -> String {
        let text = self.model.as_ref().map(|model| model.tokenizer.decode(ids));
        let text = text.unwrap_or_default();
        let line = text.lines().next_back().unwrap_or_default();
        line.to_owned()
    }

    pub(super) fn next_of_flips(&self) -> Option<Request> {
        self.flips.as_ref()?.next_request()
    }

    pub(super) fn take_flip(&mut self, request: &Request, response: Response) {
        if let (Some(flips), Response::Scores(scores)) = (&mut self.flips, response)
            && flips.next_request().as_ref() == Some(request)
        {
            flips.take(scores);
        }
    }

    /// The file of the random subspace of a table.
    pub(super) fn random_file(&self, engine_name: &str) -> Option<&[u8]> {
        let flips = self.flips.as_ref()?;
        (flips.names[1] == engine_name).then_some(&flips.random[..])
    }
}

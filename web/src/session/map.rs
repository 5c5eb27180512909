//! The map of patches: every layer x every token, how far does an operation on the whole value there move the answer towards the
//! source? (Activation patching; Meng et al. 2022, <https://arxiv.org/abs/2202.05262>.)

use swivel_core::{
    Component, Position, Site,
    plan::{Operation, PlannedIntervention, Positions},
};
use swivel_engine::protocol::{Answer, Cell, Read, Request};

use super::{
    numbers::{nats, seconds_left, signed_share},
    prompt::Prompts,
};

/// Cells that are computed in one batch: small enough that a person sees progress.
const CHUNK: usize = 8;

/// What a cell of the map says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Metric {
    /// Recovered share, the normalised logit difference: how much of that between base and source came back, 0 base, 1 source.
    #[default]
    Recovered,
    /// Change of the logit difference, nats.
    Difference,
    /// Change of the probability of the source's answer.
    Probability,
}

impl Metric {
    /// A value with its sign and a fixed number of digits.
    pub fn text(self, value: f32) -> String {
        match self {
            Self::Difference => nats(value),
            Self::Recovered | Self::Probability => signed_share(value),
        }
    }
}

/// The values that cells are compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Ends {
    difference: [f32; 2],
    second: [f32; 2],
}

/// A map, finished or under way.
#[derive(Clone, Debug, PartialEq)]
pub struct PatchMap {
    /// What is done at each cell.
    pub operation: &'static Operation,
    /// To which value.
    pub component: Component,
    /// In which head; `None` for all, and where the component is not per head.
    pub head: Option<usize>,
    /// Prompts that it belongs to.
    pub prompts: Prompts,
    /// Two tokens whose logits are compared.
    pub pair: [u32; 2],
    /// True while cells are still being asked for.
    pub is_running: bool,
    /// When it was started, milliseconds.
    pub started: f64,
    /// Of each base token, the source token that belongs to it.
    partners: Vec<Option<usize>>,
    ends: Ends,
    cells: Vec<Vec<Option<Cell>>>,
    /// Chunks that are still to do, next one last.
    queue: Vec<(usize, [usize; 2])>,
    n_chunks: usize,
}

impl PatchMap {
    /// An empty map; `answer` says where base and source are.
    pub fn new(
        operation: &'static Operation,
        (component, head): (Component, Option<usize>),
        (prompts, partners): (Prompts, Vec<Option<usize>>),
        n_layers: usize,
        answer: &Answer,
        started: f64,
    ) -> Self {
        let n_tokens = prompts.base.len();
        let reads = operation.reads_token();
        let mut queue = Vec::new();
        for layer in (0..n_layers).rev() {
            // What the answer does not depend on is not computed, nor base tokens that have no partner in the source prompt.
            let site: Site = component.at(layer);
            let is_computed = |at: usize| {
                site.reaches_logits(at, n_layers, n_tokens - 1)
                    && (!reads || partners[at].is_some())
            };
            let mut end = n_tokens;
            while end > 0 {
                let least = end.saturating_sub(CHUNK);
                let start = (least..end).rev().take_while(|at| is_computed(*at)).last();
                match start {
                    Some(start) => {
                        queue.push((layer, [start, end]));
                        end = start;
                    }
                    None => end -= 1,
                }
            }
        }
        queue.reverse();
        let second = answer.rows.iter().find(|row| row.id == answer.pair[1]);
        let second = second.map_or([0.0, 1.0], |row| {
            [row.scores[0].probability, row.scores[2].probability]
        });
        Self {
            operation,
            component,
            head,
            prompts,
            partners,
            pair: answer.pair,
            is_running: true,
            started,
            ends: Ends {
                difference: [answer.differences[0], answer.differences[2]],
                second,
            },
            cells: vec![vec![None; n_tokens]; n_layers],
            n_chunks: queue.len(),
            queue,
        }
    }

    /// The request for the next cells; `None` when all are done or it was stopped.
    pub fn next_request(&self) -> Option<Request> {
        let (layer, positions) = self.queue.last().filter(|_| self.is_running)?;
        let [start, end] = *positions;
        let list = |positions: Vec<usize>, n_tokens: usize| {
            let positions = positions.into_iter();
            // Counted from the end, the last token stays the last.
            let counted = positions.map(|at| Position::of(at, n_tokens).into());
            Positions(vec![counted.collect()])
        };
        let base: Vec<usize> = (start..end).collect();
        let partner = |at: usize| self.partners[at].unwrap_or(0);
        let source: Vec<usize> = (start..end).map(partner).collect();
        let tokens = [
            list(base, self.prompts.base.len()),
            list(source, self.prompts.source.len()),
        ];
        let at = (self.component.at(*layer), self.head);
        let planned = PlannedIntervention::new(self.operation, at, tokens);
        Some(Request {
            plan: self.prompts.plan(vec![planned]),
            read: Read::Each { pair: self.pair },
        })
    }

    /// Takes the answer to [`PatchMap::next_request`].
    pub fn take(&mut self, cells: Vec<Cell>) {
        if let Some((layer, [start, _])) = self.queue.pop() {
            for (idx, cell) in cells.into_iter().enumerate() {
                self.cells[layer][start + idx] = Some(cell);
            }
        }
        self.is_running &= !self.queue.is_empty();
    }

    /// Share of the cells that are done, 0..1.
    pub fn progress(&self) -> f64 {
        1.0 - self.queue.len() as f64 / self.n_chunks.max(1) as f64
    }

    /// Seconds that the rest will take at the pace so far.
    pub fn seconds_left(&self, now: f64) -> Option<f64> {
        seconds_left(now - self.started, self.progress())
    }

    /// A cell that is done.
    pub fn cell(&self, layer: usize, position: usize) -> Option<Cell> {
        *self.cells.get(layer)?.get(position)?
    }

    /// What a cell says.
    pub fn value(&self, cell: Cell, metric: Metric) -> f32 {
        let [base, source] = self.ends.difference;
        match metric {
            Metric::Recovered if (source - base).abs() < 1e-3 => 0.0,
            Metric::Recovered => (cell.difference - base) / (source - base),
            Metric::Difference => cell.difference - base,
            Metric::Probability => cell.second - self.ends.second[0],
        }
    }

    /// The value that has the full colour.
    pub fn full_scale(&self, metric: Metric) -> f32 {
        let [base, source] = self.ends.difference;
        match metric {
            Metric::Recovered | Metric::Probability => 1.0,
            Metric::Difference => (source - base).abs().max(1e-3),
        }
    }
}

//! Runs that are cached, shared by whoever asks.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use burn::tensor::{Tensor, backend::Backend};
use swivel_core::{Decoder, cone::CachedRun};

use crate::compare::Said;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Asker {
    /// One of those who share the engine.
    pub page: u32,
    /// True where the prompts are looked at once, one after the other: they are cached as if another one asked, so that they do not
    /// push out what a person looks at.
    pub is_passing: bool,
}

impl Asker {
    /// Somebody who looks at a pair.
    pub fn of_page(page: u32) -> Self {
        Self {
            page,
            is_passing: false,
        }
    }
}

/// Runs of some prompts of one length, cached.
pub(crate) struct Run<B: Backend> {
    /// Token ids, one list a row.
    pub ids: Vec<Vec<u32>>,
    pub cached: CachedRun<B>,
    /// What it says after the last token, once that was asked for: it is the same each time that something is compared with it.
    said: OnceLock<Said<B>>,
}

impl<B: Backend> Run<B> {
    /// A run that was cached.
    pub fn new(ids: Vec<Vec<u32>>, cached: CachedRun<B>) -> Self {
        Self {
            ids,
            cached,
            said: OnceLock::new(),
        }
    }

    /// What it says after its last token.
    pub fn said(&self, model: &Decoder<B>) -> &Said<B> {
        let compute = || {
            let normed = self.normed(model).unsqueeze_dim(1);
            Said::of(model.head(normed).squeeze_dim(1))
        };
        self.said.get_or_init(compute)
    }

    /// What the head reads after the last token.
    ///
    /// # Shapes
    /// - result: `[rows, d_model]`
    pub fn normed(&self, model: &Decoder<B>) -> Tensor<B, 2> {
        let stream = self.cached.stream(model.n_layers());
        let last = stream.narrow(1, self.cached.n_tokens() - 1, 1);
        model.norm.forward(last, &model.kernels).squeeze_dim(1)
    }
}

/// How much is cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Runs.
    pub n_runs: usize,
    /// Bytes of all of them.
    pub n_bytes: usize,
}

impl Limits {
    /// For one page: its pair, the one before, and probes.
    pub const PAGE: Self = Self {
        n_runs: 12,
        n_bytes: 256 << 20,
    };
    /// Runs of one asker that stay in any case: those of one pair.
    const LEAST_RUNS: usize = 2;
}

/// Cached runs, latest first, each with who asked for it last.
pub(crate) struct Cache<B: Backend> {
    runs: Vec<(Asker, Arc<Run<B>>)>,
    limits: Limits,
}

impl<B: Backend> Cache<B> {
    pub fn new(limits: Limits) -> Self {
        Self {
            runs: Vec::new(),
            limits,
        }
    }

    pub fn has(&self, ids: &[Vec<u32>]) -> bool {
        self.runs.iter().any(|(_, run)| run.ids == ids)
    }

    /// The run of these prompts, which is then the latest one of this asker.
    pub fn get(&mut self, asker: Asker, ids: &[Vec<u32>]) -> Option<Arc<Run<B>>> {
        let idx = self.runs.iter().position(|(_, run)| run.ids == ids)?;
        let (_, run) = self.runs.remove(idx);
        self.runs.insert(0, (asker, Arc::clone(&run)));
        Some(run)
    }

    /// Caches a run. Where that is too much, the oldest run goes of whoever has the most: one who asks much takes nothing from
    /// those who ask little.
    pub fn put(&mut self, asker: Asker, run: Run<B>) -> Arc<Run<B>> {
        let run = Arc::new(run);
        self.runs.insert(0, (asker, Arc::clone(&run)));
        while self.is_full() {
            let mut n_runs: BTreeMap<Asker, usize> = BTreeMap::new();
            for (asker, _) in &self.runs {
                *n_runs.entry(*asker).or_default() += 1;
            }
            let most = n_runs.into_iter().max_by_key(|(_, n)| *n);
            let Some((most, n)) = most else { break };
            if n <= Limits::LEAST_RUNS {
                break;
            }
            if let Some(idx) = self.runs.iter().rposition(|(own, _)| *own == most) {
                self.runs.remove(idx);
            }
        }
        run
    }

    /// Drops the runs that this page asked for last.
    pub fn forget(&mut self, page: u32) {
        self.runs.retain(|(own, _)| own.page != page);
    }

    fn is_full(&self) -> bool {
        let n_bytes: usize = self.runs.iter().map(|(_, run)| run.cached.n_bytes()).sum();
        self.runs.len() > self.limits.n_runs || n_bytes > self.limits.n_bytes
    }
}

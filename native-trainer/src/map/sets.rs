//! Pairs of a map with what cells share of their runs: prompts of several lengths are several buckets.

use anyhow::{Context, Result};
use burn::tensor::backend::Backend;
use swivel_core::{
    Decoder, Place, Position, Site,
    question::{Pair, Placed},
};

use super::cells::{Planned, Sweep};
use crate::cached::{Cached, CachedRuns, Wanted, in_words};

/// Pairs of one set with everything cached that cells share, those of one shape together.
pub struct Set<B: Backend> {
    pub buckets: Vec<Bucket<B>>,
    /// The pairs.
    pub pairs: Vec<Pair>,
    /// Of each pair, its bucket and its row there.
    at: Vec<(usize, usize)>,
    choices: Option<Vec<u32>>,
}

/// Pairs whose prompts have one length and each column's token at one place.
pub struct Bucket<B: Backend> {
    pub runs: CachedRuns<B>,
    /// Of each column, its token in base and source.
    pub tokens: Vec<[usize; 2]>,
    /// Tokens of a base prompt.
    pub n_tokens: usize,
}

/// What of the runs of a variable's pairs is cached.
pub struct Kept<'a> {
    pub sweep: &'a Sweep,
    pub sites: Vec<Site>,
    pub first_layer: usize,
}

impl<B: Backend> Set<B> {
    pub fn new(
        kept: &Kept<'_>,
        model: &Decoder<B>,
        placed: &[Placed],
        has_logits: bool,
        what: &'static str,
    ) -> Result<Self> {
        let (sweep, sizes) = (kept.sweep, kept.sweep.files.sizes());
        let mut shapes: Vec<(Vec<[usize; 2]>, Vec<Pair>)> = Vec::new();
        let shape = |pair: &Pair| [pair.base.len(), pair.source.len()];
        let mut at = Vec::new();
        for Placed { pair, tokens } in placed {
            let is_it = |(own, members): &(Vec<[usize; 2]>, Vec<Pair>)| {
                own == tokens && shape(&members[0]) == shape(pair)
            };
            let bucket = shapes.iter().position(is_it).unwrap_or(shapes.len());
            if bucket == shapes.len() {
                shapes.push((tokens.clone(), Vec::new()));
            }
            let (_, members) = &mut shapes[bucket];
            at.push((bucket, members.len()));
            members.push(pair.clone());
        }
        let mut buckets = Vec::new();
        let (mut n_bytes, mut is_file) = (0, false);
        for (tokens, pairs) in &shapes {
            let span = |side: usize| {
                let tokens = tokens.iter().map(|token| token[side]);
                let (first, last) = (tokens.clone().min(), tokens.max());
                first.zip(last).context("a map without tokens")
            };
            let ((first, last), (source_first, source_last)) = (span(0)?, span(1)?);
            let n_tokens = pairs[0].base.len();
            let wanted = Wanted {
                sites: kept.sites.clone(),
                first_layer: kept.first_layer,
                logits: has_logits,
                base: first..=if has_logits { n_tokens - 1 } else { last },
                source: source_first..=source_last,
                storage: sweep.cache.storage,
                memory: sweep.cache.memory.n_bytes(),
            };
            let runs = CachedRuns::run(model, sizes, pairs, &wanted, what)?;
            n_bytes += runs.n_bytes();
            is_file |= runs.is_file();
            buckets.push(Bucket {
                runs,
                tokens: tokens.clone(),
                n_tokens,
            });
        }
        sweep.report.line(format!(
            "  caching   {what} pairs: {}",
            in_words(placed.len(), n_bytes as u64, is_file, shapes.len())
        ));
        Ok(Self {
            buckets,
            pairs: placed.iter().map(|placed| placed.pair.clone()).collect(),
            at,
            choices: sweep.choices.clone(),
        })
    }

    /// What resumed runs need at a cell.
    pub fn at(&self, cell: &Planned) -> Result<Cached<B>> {
        let at = |bucket: &Bucket<B>| {
            let [base, source] = bucket.tokens[cell.column];
            let position = Position::Index(base);
            bucket.runs.at(
                Place {
                    position,
                    ..cell.place()
                },
                source,
            )
        };
        let sets = self.buckets.iter().map(at).collect::<Result<Vec<_>>>()?;
        Ok(Cached::joined(sets, &self.at).with_choices(self.choices.clone()))
    }

    /// The pairs one bucket after the other, as batches have them.
    pub fn by_bucket(&self) -> impl Iterator<Item = &Pair> {
        let of = |bucket: usize| {
            let pairs = self.pairs.iter().zip(&self.at);
            pairs.filter(move |(_, at)| at.0 == bucket)
        };
        (0..self.buckets.len()).flat_map(of).map(|(pair, _)| pair)
    }

    pub fn each(&self, cells: &[Planned]) -> Result<Vec<Cached<B>>> {
        cells.iter().map(|cell| self.at(cell)).collect()
    }
}

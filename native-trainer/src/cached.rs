//! Cached runs of pairs: computed once, on the device where they fit into memory and else in a temporary file; then cut out for
//! one place in the model.

mod row_file;
mod wanted;

use std::{
    fmt::Display,
    ops::{Range, RangeInclusive},
    sync::Arc,
};

use anyhow::{Context, Result};
use burn::tensor::{Int, Tensor, backend::Backend};
use swivel_core::{
    Decoder, Place, Position, Site, Sizes,
    cone::{CachedRun, CachedSource, row_indices},
    ids_tensor,
    question::{Pair, PairShape},
    train::CachedPairs,
};

use crate::{interrupt, report, side_by_side::side_by_side, tensors::label_ids};
use row_file::RowFile;
pub use wanted::{CacheConfig, Memory, Wanted, in_words};

/// Rows of pairs, so many at once.
pub fn batches(n_pairs: usize, at_once: usize) -> impl Iterator<Item = Vec<usize>> {
    let starts = (0..n_pairs).step_by(at_once);
    starts.map(move |start| (start..n_pairs.min(start + at_once)).collect())
}

/// Base and source runs of pairs, cached wherever they are wanted.
pub struct CachedRuns<B: Backend> {
    store: Store<B>,
    /// Token ids of the counterfactual answers.
    pub labels: Vec<u32>,
    /// Whether the answer should turn, where that is known.
    turns: Vec<Option<bool>>,
    /// Tokens of a base prompt.
    n_tokens: usize,
    sizes: Sizes,
    device: B::Device,
}

enum Store<B: Backend> {
    Memory {
        base: CachedRun<B>,
        source: CachedSource<B>,
    },
    File(Arc<RowFile<B>>),
}

impl<B: Backend> CachedRuns<B> {
    /// Runs each prompt once.
    pub fn run(
        model: &Decoder<B>,
        sizes: &Sizes,
        pairs: &[Pair],
        wanted: &Wanted,
        what: &'static str,
    ) -> Result<Self> {
        let shape = PairShape::of(pairs, sizes)?;
        let device = model.device();
        let is_file = wanted.n_bytes(sizes, shape, pairs.len())? > wanted.memory;
        let cone = wanted.cone(sizes)?;
        let bar = report::progress(what, pairs.len());
        let n_tokens = shape.n_base.max(shape.n_source);
        let n_most = sizes.rows_at_once(n_tokens, n_tokens);
        // Batches of one size, and an even number of them: cores are done at the same time.
        let n_batches = pairs.len().div_ceil(n_most).next_multiple_of(2);
        let n_pairs = pairs.len().div_ceil(n_batches).max(1);
        let batches: Vec<&[Pair]> = pairs.chunks(n_pairs).collect();
        let cache = |batch: &[Pair]| {
            let base = ids_tensor(batch.iter().map(|pair| pair.base.as_slice()), &device);
            let source = ids_tensor(batch.iter().map(|pair| pair.source.as_slice()), &device);
            let base = model.cache_run(base, &cone).stored(wanted.storage);
            let source = model.cache_source(source, &wanted.sites, wanted.source.clone());
            (base, source.stored(wanted.storage))
        };
        let mut cached: Vec<Option<(CachedRun<B>, CachedSource<B>)>> = vec![None; batches.len()];
        let mut file: Option<RowFile<B>> = None;
        let cache = |batch: &&[Pair]| Ok(cache(batch));
        side_by_side::<B, _, _>(&device, &batches, cache, |idx, (base, source)| {
            interrupt::check("the runs that were being cached are given up")?;
            bar.inc(batches[idx].len() as u64);
            match (is_file, &mut file) {
                (false, _) => cached[idx] = Some((base, source)),
                (true, Some(file)) => file.write(idx * n_pairs, &base, &source)?,
                (true, None) => {
                    let new = RowFile::create(base.clone(), source.clone(), pairs.len())?;
                    new.write(idx * n_pairs, &base, &source)?;
                    file = Some(new);
                }
            }
            Ok(())
        })?;
        bar.finish_and_clear();
        let (bases, sources) = cached.into_iter().flatten().unzip();
        let store = match file {
            Some(file) => Store::File(Arc::new(file)),
            None => Store::Memory {
                base: CachedRun::cat(bases).context("there are no pairs")?,
                source: CachedSource::cat(sources).context("there are no pairs")?,
            },
        };
        Ok(Self {
            store,
            labels: pairs.iter().map(|pair| pair.label).collect(),
            turns: pairs.iter().map(turns).collect(),
            n_tokens: shape.n_base,
            sizes: sizes.clone(),
            device,
        })
    }

    /// Bytes that are cached, in memory or in a file.
    pub fn n_bytes(&self) -> usize {
        match &self.store {
            Store::Memory { base, source } => base.n_bytes() + source.n_bytes(),
            Store::File(file) => file.n_bytes(),
        }
    }

    /// Whether it is a file.
    pub fn is_file(&self) -> bool {
        matches!(self.store, Store::File(_))
    }

    /// Pairs that are run at once where runs start from this position.
    pub fn at_once(&self, start: usize) -> usize {
        let n_tokens = self.n_tokens;
        self.sizes.rows_at_once(n_tokens - start, n_tokens)
    }

    /// What base runs of some of the pairs need that resume with `layer` at some positions.
    pub fn base(
        &self,
        rows: &[usize],
        layer: usize,
        starts: RangeInclusive<usize>,
    ) -> Result<CachedRun<B>> {
        match &self.store {
            Store::Memory { base, .. } => Ok(base
                .at_layer(layer)
                .select(&row_indices(rows, &self.device))),
            Store::File(file) => file.base(rows, layer, starts, &self.device),
        }
    }

    /// The source values of some of the pairs at one site and some positions.
    pub fn source(
        &self,
        rows: &[usize],
        site: Site,
        positions: Range<usize>,
    ) -> Result<CachedSource<B>> {
        let source = match &self.store {
            Store::Memory { source, .. } => {
                let rows = row_indices(rows, &self.device);
                source.at_site(site).map(|source| source.select(&rows))
            }
            Store::File(file) => file.source(rows, site, positions, &self.device)?,
        };
        source.with_context(|| not_cached(site))
    }

    /// What resumed runs need at a place of the base runs and this position of the source runs.
    pub fn at(&self, place: Place, source_position: usize) -> Result<Cached<B>> {
        let start = place.position.resolve(self.n_tokens)?;
        let n_layers = self.sizes.n_layers;
        let rows = match &self.store {
            Store::Memory { base, source } => {
                let labels = label_ids(&self.labels, &self.device);
                Rows::Memory(cut(base, source, place, source_position, labels, n_layers)?)
            }
            Store::File(file) => Rows::File(FileRows {
                file: Arc::clone(file),
                place,
                start,
                source_position,
                n_layers,
                device: self.device.clone(),
            }),
        };
        let part = Part {
            rows,
            labels: self.labels.clone(),
            at_once: self.at_once(start),
        };
        Ok(Cached::of_part(part, self.turns.clone()))
    }
}

/// Whether the answer of a pair should turn, where that is known.
fn turns(pair: &Pair) -> Option<bool> {
    pair.base_label.map(|base_label| base_label != pair.label)
}

fn cut<B: Backend>(
    base: &CachedRun<B>,
    source: &CachedSource<B>,
    place: Place,
    source_position: usize,
    labels: Tensor<B, 1, Int>,
    n_layers: usize,
) -> Result<CachedPairs<B>> {
    let pairs = CachedPairs::at(base, source, place, source_position, labels, n_layers);
    pairs.with_context(|| not_cached(place))
}

fn not_cached(what: impl Display) -> String {
    format!("values of {what} were not cached")
}

/// Cached runs of pairs at one place, and the pairs' labels. Pairs of one shape are a part; prompts of several lengths are
/// several parts.
pub struct Cached<B: Backend> {
    parts: Vec<Part<B>>,
    /// Of each pair, its part and its row there.
    at: Vec<(usize, usize)>,
    /// Token ids of the counterfactual answers.
    pub labels: Vec<u32>,
    /// Whether the answer should turn, where that is known.
    pub turns: Vec<Option<bool>>,
    /// Tokens of which the likeliest is the answer; `None` where it is the likeliest of all.
    pub choices: Option<Vec<u32>>,
}

/// Pairs of one shape.
struct Part<B: Backend> {
    rows: Rows<B>,
    labels: Vec<u32>,
    /// Pairs that are run at once.
    at_once: usize,
}

enum Rows<B: Backend> {
    Memory(CachedPairs<B>),
    File(FileRows<B>),
}

/// Rows of a file at one place.
#[derive(Clone)]
struct FileRows<B: Backend> {
    file: Arc<RowFile<B>>,
    place: Place,
    /// Its position in the base runs.
    start: usize,
    source_position: usize,
    n_layers: usize,
    device: B::Device,
}

impl<B: Backend> Part<B> {
    fn with_labels(&self, labels: Vec<u32>) -> Self {
        let rows = match &self.rows {
            Rows::Memory(pairs) => Rows::Memory(CachedPairs {
                labels: label_ids(&labels, &pairs.source.device()),
                ..pairs.clone()
            }),
            Rows::File(rows) => Rows::File(rows.clone()),
        };
        Self {
            rows,
            labels,
            at_once: self.at_once,
        }
    }

    /// Some of the pairs, in the given order.
    fn select(&self, rows: &[usize]) -> Result<CachedPairs<B>> {
        match &self.rows {
            Rows::Memory(pairs) => Ok(pairs.select(rows)),
            Rows::File(at) => {
                let site = at.place.site;
                let layer = site.resumes_at(at.n_layers);
                let base = (at.file).base(rows, layer, at.start..=at.start, &at.device)?;
                let positions = at.source_position..at.source_position + 1;
                let source = at.file.source(rows, site, positions, &at.device)?;
                let source = source.with_context(|| not_cached(at.place))?;
                let labels: Vec<u32> = rows.iter().map(|row| self.labels[*row]).collect();
                let labels = label_ids(&labels, &at.device);
                cut(
                    &base,
                    &source,
                    at.place,
                    at.source_position,
                    labels,
                    at.n_layers,
                )
            }
        }
    }
}

impl<B: Backend> Cached<B> {
    fn of_part(part: Part<B>, turns: Vec<Option<bool>>) -> Self {
        Self {
            at: (0..part.labels.len()).map(|row| (0, row)).collect(),
            labels: part.labels.clone(),
            turns,
            parts: vec![part],
            choices: None,
        }
    }

    /// The pairs of several sets of one shape each; `at` has the set of each pair and its row there, which ascend in a set.
    pub fn joined(sets: Vec<Self>, at: &[(usize, usize)]) -> Self {
        let labels = at.iter().map(|(set, row)| sets[*set].labels[*row]);
        let turns = at.iter().map(|(set, row)| sets[*set].turns[*row]);
        Self {
            labels: labels.collect(),
            turns: turns.collect(),
            at: at.to_vec(),
            choices: sets.first().and_then(|set| set.choices.clone()),
            parts: sets.into_iter().flat_map(|set| set.parts).collect(),
        }
    }

    /// Runs pairs once, for the positions that they name at this site and head; also says how many bytes are cached.
    pub fn run(
        model: &Decoder<B>,
        sizes: &Sizes,
        place: Place,
        pairs: &[Pair],
        cache: CacheConfig,
        what: &'static str,
    ) -> Result<(Self, usize)> {
        let (mut parts, mut n_bytes) = (Vec::new(), 0);
        let mut at = vec![(0, 0); pairs.len()];
        for (shape, members) in PairShape::each(pairs, sizes)? {
            for (row, pair) in members.iter().enumerate() {
                at[*pair] = (parts.len(), row);
            }
            let own: Vec<Pair> = members.iter().map(|pair| pairs[*pair].clone()).collect();
            let wanted = Wanted::at(place.site, shape, cache);
            let runs = CachedRuns::run(model, sizes, &own, &wanted, what)?;
            let position = Position::Index(shape.base_position);
            let cached = runs.at(Place { position, ..place }, shape.source_position)?;
            n_bytes += runs.n_bytes();
            parts.extend(cached.parts);
        }
        let cached = Self {
            parts,
            at,
            labels: pairs.iter().map(|pair| pair.label).collect(),
            turns: pairs.iter().map(turns).collect(),
            choices: None,
        };
        Ok((cached, n_bytes))
    }

    /// Number of pairs.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// The same runs with other labels.
    pub fn with_labels(&self, labels: Vec<u32>) -> Self {
        let of_part = |(idx, part)| {
            let own = self.pairs_of(idx).map(|pair| labels[pair]);
            Part::with_labels(part, own.collect())
        };
        Self {
            parts: self.parts.iter().enumerate().map(of_part).collect(),
            at: self.at.clone(),
            labels,
            turns: self.turns.clone(),
            choices: self.choices.clone(),
        }
    }

    /// The same runs, where the answer is the likeliest of these tokens.
    pub fn with_choices(self, choices: Option<Vec<u32>>) -> Self {
        Self { choices, ..self }
    }

    /// The pairs of a part, in the order of its rows.
    fn pairs_of(&self, part: usize) -> impl Iterator<Item = usize> {
        (0..self.len()).filter(move |pair| self.at[*pair].0 == part)
    }

    /// All pairs, those together that are run at once: of one shape, as many as fit.
    pub fn batches(&self) -> impl Iterator<Item = (Vec<usize>, Result<CachedPairs<B>>)> {
        self.parts.iter().enumerate().flat_map(|(idx, part)| {
            let pairs: Vec<usize> = self.pairs_of(idx).collect();
            batches(pairs.len(), part.at_once).map(move |rows| {
                let own = rows.iter().map(|row| pairs[*row]).collect();
                (own, part.select(&rows))
            })
        })
    }

    /// Rows of some pairs, part by part.
    fn by_part(&self, pairs: &[usize]) -> Vec<(usize, Vec<usize>)> {
        let rows = |part: usize| {
            let own = pairs.iter().filter(|pair| self.at[**pair].0 == part);
            (part, own.map(|pair| self.at[*pair].1).collect::<Vec<_>>())
        };
        let parts = (0..self.parts.len()).map(rows);
        parts.filter(|(_, rows)| !rows.is_empty()).collect()
    }

    /// One pair.
    pub fn one(&self, pair: usize) -> Result<CachedPairs<B>> {
        let (part, row) = self.at[pair];
        self.parts[part].select(&[row])
    }

    /// Some of the pairs at several positions of one site of the same runs, those of one shape together.
    pub fn select_together(places: &[Self], pairs: &[usize]) -> Result<Vec<Vec<CachedPairs<B>>>> {
        let first = places.first().context("no place was named")?;
        let of_part = |(part, rows): (usize, Vec<usize>)| {
            let parts = places.iter().map(|cached| &cached.parts[part]);
            let in_memory: Vec<&CachedPairs<B>> = (parts.clone())
                .filter_map(|part| match &part.rows {
                    Rows::Memory(pairs) => Some(pairs),
                    Rows::File(_) => None,
                })
                .collect();
            match in_memory.len() == places.len() {
                true => Ok(CachedPairs::select_together(&in_memory, &rows)),
                false => parts.map(|part| part.select(&rows)).collect(),
            }
        };
        first.by_part(pairs).into_iter().map(of_part).collect()
    }
}

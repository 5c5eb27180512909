//! Kept runs of pairs: computed once, on the device where they fit into memory and else in a temporary file; then cut out for
//! one place in the model, trained on and scored.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
    ops::RangeInclusive,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result};
use burn::tensor::{Int, Tensor, TensorData, backend::Backend};
use swivel_core::{
    Gpt2, Gpt2Config, Place, Site,
    cone::{Cone, KeptRun, KeptSource, Storage, row_indices},
    direction::Probe,
    intervention::{Featurizer, Intervention, Op},
    metric,
    task::{Pair, PairShape},
    train::{KeptPairs, random_rows},
};

use crate::{
    cmd::KeepArgs,
    interrupt,
    readout::{Swap, read_floats, read_ids, top},
    report,
    side_by_side::side_by_side,
};

/// Values of the widest activation of a batch of prompts while runs are kept: more do not make a product of matrices faster,
/// but leave the processor's caches, and the allocator hands such large blocks back to the system each time.
const KEEP_VALUES: usize = 3 << 20;
/// Random subspaces that a control is the mean of.
const RANDOM_BASES: u64 = 5;
/// Resumed runs that are scored at once.
pub const SCORE_BATCH: usize = 250;

/// Where values are wanted, and how they are kept.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Sites of interventions.
    pub sites: Vec<Site>,
    /// Lowest layer that runs are resumed with, where that is not the sites' lowest: what lies below is not kept.
    pub first_layer: usize,
    /// Whether the base runs' own logits are wanted, too.
    pub logits: bool,
    /// Positions that are written in the base runs.
    pub base: RangeInclusive<usize>,
    /// Positions that are read in the source runs.
    pub source: RangeInclusive<usize>,
    /// Number format.
    pub storage: Storage,
    /// Most bytes in memory; more go to a temporary file.
    pub memory: u64,
}

impl Wanted {
    /// One site, at the positions that the pairs name.
    pub fn at(site: Site, pairs: &[Pair], config: &Gpt2Config, keep: &KeepArgs) -> Result<Self> {
        let shape = PairShape::of(pairs, config)?;
        Ok(Self {
            sites: vec![site],
            first_layer: 0,
            logits: false,
            base: shape.base_position..=shape.base_position,
            source: shape.source_position..=shape.source_position,
            storage: keep.storage(),
            memory: keep.memory()?,
        })
    }

    /// The first of the positions, in base and source runs.
    pub fn positions(&self) -> [usize; 2] {
        [*self.base.start(), *self.source.start()]
    }

    /// What is kept of pairs, for people: `1600 runs, 4.9 MB in memory`.
    pub fn describe(&self, pairs: &[Pair], config: &Gpt2Config) -> Result<String> {
        let n_bytes = self.n_bytes(config, pairs)?;
        let (mb, n_runs) = (n_bytes as f64 / 1e6, 2 * pairs.len());
        let place = match n_bytes > self.memory {
            true => "in a temporary file",
            false => "in memory",
        };
        Ok(format!("{n_runs} runs, {mb:.1} MB {place}"))
    }

    /// Bytes that are kept of pairs.
    fn n_bytes(&self, config: &Gpt2Config, pairs: &[Pair]) -> Result<u64> {
        let shape = PairShape::of(pairs, config)?;
        let base = self
            .cone(config)?
            .n_bytes(config, shape.n_base, self.storage);
        let n_positions = self.source.end() + 1 - self.source.start();
        let sites = self.sites.iter();
        let source: usize = sites
            .map(|site| site.n_values(config, shape.n_source))
            .sum();
        let pair = base + source * n_positions * self.storage.n_bytes();
        Ok((pair * pairs.len()) as u64)
    }

    fn cone(&self, config: &Gpt2Config) -> Result<Cone> {
        let cone = Cone::of(&self.sites, self.base.clone(), config.n_layers);
        let Cone { layers, starts } = cone.context("no site was named")?;
        let layers = self.first_layer.max(*layers.start())..=*layers.end();
        let cone = Cone { layers, starts };
        Ok(match self.logits {
            true => cone.with_logits(config.n_layers),
            false => cone,
        })
    }
}

/// Base and source runs of pairs, kept wherever they are wanted.
pub struct KeptRuns<B: Backend> {
    store: Store<B>,
    /// Token ids of the counterfactual answers.
    pub labels: Vec<u32>,
    n_layers: usize,
    device: B::Device,
}

enum Store<B: Backend> {
    Memory {
        base: KeptRun<B>,
        source: KeptSource<B>,
    },
    File(Arc<RowFile<B>>),
}

impl<B: Backend> KeptRuns<B> {
    /// Runs each prompt once.
    pub fn run(
        model: &Gpt2<B>,
        config: &Gpt2Config,
        pairs: &[Pair],
        wanted: &Wanted,
        what: &'static str,
    ) -> Result<Self> {
        let shape = PairShape::of(pairs, config)?;
        let device = model.wte.weight.val().device();
        let is_file = wanted.n_bytes(config, pairs)? > wanted.memory;
        let cone = wanted.cone(config)?;
        let bar = report::progress(what, pairs.len());
        let n_tokens = shape.n_base.max(shape.n_source);
        let n_pairs = (KEEP_VALUES / (config.d_mlp() * n_tokens)).max(1);
        let batches: Vec<&[Pair]> = pairs.chunks(n_pairs).collect();
        let keep = |batch: &[Pair]| {
            let base = ids_tensor(batch.iter().map(|pair| pair.base.as_slice()), &device);
            let source = ids_tensor(batch.iter().map(|pair| pair.source.as_slice()), &device);
            let base = model.keep_run(base, &cone).stored(wanted.storage);
            let source = model.keep_source(source, &wanted.sites, wanted.source.clone());
            (base, source.stored(wanted.storage))
        };
        let mut kept: Vec<Option<(KeptRun<B>, KeptSource<B>)>> = vec![None; batches.len()];
        let mut file: Option<RowFile<B>> = None;
        let keep = |batch: &&[Pair]| Ok(keep(batch));
        side_by_side::<B, _, _>(&device, &batches, keep, |idx, (base, source)| {
            interrupt::check("the runs that were being kept are given up")?;
            bar.inc(batches[idx].len() as u64);
            match (is_file, &mut file) {
                (false, _) => kept[idx] = Some((base, source)),
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
        let (bases, sources) = kept.into_iter().flatten().unzip();
        let store = match file {
            Some(file) => Store::File(Arc::new(file)),
            None => Store::Memory {
                base: KeptRun::cat(bases).context("there are no pairs")?,
                source: KeptSource::cat(sources).context("there are no pairs")?,
            },
        };
        Ok(Self {
            store,
            labels: pairs.iter().map(|pair| pair.label).collect(),
            n_layers: config.n_layers,
            device,
        })
    }

    /// Bytes that are kept, in memory or in a file.
    pub fn n_bytes(&self) -> usize {
        match &self.store {
            Store::Memory { base, source } => base.n_bytes() + source.n_bytes(),
            Store::File(file) => file.n_bytes(),
        }
    }

    /// The runs of some of the pairs.
    pub fn select(&self, rows: &[usize]) -> Result<(KeptRun<B>, KeptSource<B>)> {
        match &self.store {
            Store::Memory { base, source } => {
                let rows = row_indices(rows, &self.device);
                Ok((base.select(&rows), source.select(&rows)))
            }
            Store::File(file) => file.select(rows, &self.device),
        }
    }

    /// What resumed runs need at a place of the base runs and this position of the source runs.
    pub fn at(&self, place: Place, source_position: usize) -> Result<Kept<B>> {
        let rows = match &self.store {
            Store::Memory { base, source } => {
                let labels = label_ids(&self.labels, &self.device);
                Rows::Memory(cut(
                    base,
                    source,
                    place,
                    source_position,
                    labels,
                    self.n_layers,
                )?)
            }
            Store::File(file) => Rows::File(FileRows {
                file: Arc::clone(file),
                place,
                source_position,
                n_layers: self.n_layers,
                device: self.device.clone(),
            }),
        };
        let labels = self.labels.clone();
        Ok(Kept { rows, labels })
    }
}

fn cut<B: Backend>(
    base: &KeptRun<B>,
    source: &KeptSource<B>,
    place: Place,
    source_position: usize,
    labels: Tensor<B, 1, Int>,
    n_layers: usize,
) -> Result<KeptPairs<B>> {
    let pairs = KeptPairs::at(base, source, place, source_position, labels, n_layers);
    pairs.with_context(|| format!("values of {place} were not kept"))
}

/// Labels as a tensor.
pub fn label_ids<B: Backend>(labels: &[u32], device: &B::Device) -> Tensor<B, 1, Int> {
    let ids: Vec<i64> = labels.iter().map(|label| i64::from(*label)).collect();
    let n = ids.len();
    Tensor::from_data(TensorData::new(ids, [n]), device)
}

/// Token ids as a tensor.
///
/// # Shapes
/// - result: `[batch, pos]`
pub fn ids_tensor<'a, B: Backend>(
    rows: impl Iterator<Item = &'a [u32]>,
    device: &B::Device,
) -> Tensor<B, 2, Int> {
    let rows: Vec<&[u32]> = rows.collect();
    let pos = rows.first().map_or(0, |ids| ids.len());
    let ids: Vec<i64> = rows
        .iter()
        .flat_map(|ids| ids.iter().map(|id| i64::from(*id)))
        .collect();
    Tensor::from_data(TensorData::new(ids, [rows.len(), pos]), device)
}

/// Kept values in a temporary file that goes when it is closed: one part a tensor, one row a pair.
struct RowFile<B: Backend> {
    file: Mutex<File>,
    base: KeptRun<B>,
    source: KeptSource<B>,
    /// Bytes of a row of each part, base first.
    row_bytes: Vec<usize>,
    n_pairs: usize,
}

impl<B: Backend> RowFile<B> {
    /// A file for `n_pairs` pairs of this form.
    fn create(base: KeptRun<B>, source: KeptSource<B>, n_pairs: usize) -> Result<Self> {
        let parts = base.rows().into_iter().chain(source.rows());
        let row_bytes = parts.map(|x| x.dims()[1] * x.dtype().size()).collect();
        Ok(Self {
            file: Mutex::new(tempfile::tempfile().context("creating a temporary file")?),
            base,
            source,
            row_bytes,
            n_pairs,
        })
    }

    fn n_bytes(&self) -> usize {
        self.row_bytes.iter().sum::<usize>() * self.n_pairs
    }

    /// Where each part begins.
    fn offsets(&self) -> impl Iterator<Item = usize> {
        self.row_bytes.iter().scan(0, |offset, row_bytes| {
            let here = *offset;
            *offset += row_bytes * self.n_pairs;
            Some(here)
        })
    }

    /// Writes pairs from the one with index `first` on.
    fn write(&self, first: usize, base: &KeptRun<B>, source: &KeptSource<B>) -> Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let parts = base.rows().into_iter().chain(source.rows());
        for ((part, offset), row_bytes) in parts.zip(self.offsets()).zip(&self.row_bytes) {
            let at = offset + first * row_bytes;
            file.seek(SeekFrom::Start(at as u64))
                .and_then(|_| file.write_all(part.into_data().as_bytes()))
                .context("writing kept values to a temporary file; --memory and --keep f16 need less of it")?;
        }
        Ok(())
    }

    /// Some of the pairs, in the given order.
    fn select(&self, rows: &[usize], device: &B::Device) -> Result<(KeptRun<B>, KeptSource<B>)> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let like: Vec<Tensor<B, 2>> = self
            .base
            .rows()
            .into_iter()
            .chain(self.source.rows())
            .collect();
        let mut parts = Vec::with_capacity(like.len());
        for ((like, offset), row_bytes) in like.iter().zip(self.offsets()).zip(&self.row_bytes) {
            let mut bytes = vec![0u8; rows.len() * row_bytes];
            for (row, into) in rows.iter().zip(bytes.chunks_mut(*row_bytes)) {
                file.seek(SeekFrom::Start((offset + row * row_bytes) as u64))
                    .and_then(|_| file.read_exact(into))
                    .context("reading kept values from a temporary file")?;
            }
            let data =
                TensorData::from_bytes_vec(bytes, [rows.len(), like.dims()[1]], like.dtype());
            parts.push(Tensor::from_data(data, device));
        }
        let source = parts.split_off(self.base.rows().len());
        Ok((self.base.with_rows(parts), self.source.with_rows(source)))
    }
}

/// Kept runs of pairs at one place, and the pairs' labels.
pub struct Kept<B: Backend> {
    rows: Rows<B>,
    /// Token ids of the counterfactual answers.
    pub labels: Vec<u32>,
}

enum Rows<B: Backend> {
    Memory(KeptPairs<B>),
    File(FileRows<B>),
}

/// Rows of a file at one place.
#[derive(Clone)]
struct FileRows<B: Backend> {
    file: Arc<RowFile<B>>,
    place: Place,
    source_position: usize,
    n_layers: usize,
    device: B::Device,
}

impl<B: Backend> Kept<B> {
    /// Number of pairs.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// The same runs with other labels.
    pub fn with_labels(&self, labels: Vec<u32>) -> Self {
        let rows = match &self.rows {
            Rows::Memory(pairs) => Rows::Memory(KeptPairs {
                labels: label_ids(&labels, &pairs.source.device()),
                ..pairs.clone()
            }),
            Rows::File(rows) => Rows::File(rows.clone()),
        };
        Self { rows, labels }
    }

    /// Some of the pairs, in the given order.
    pub fn select(&self, rows: &[usize]) -> Result<KeptPairs<B>> {
        match &self.rows {
            Rows::Memory(pairs) => Ok(pairs.select(rows)),
            Rows::File(at) => {
                let (base, source) = at.file.select(rows, &at.device)?;
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

    /// Some of the pairs at several positions of one site of the same runs.
    pub fn select_together(places: &[Self], rows: &[usize]) -> Result<Vec<KeptPairs<B>>> {
        let in_memory: Vec<&KeptPairs<B>> = (places.iter())
            .filter_map(|kept| match &kept.rows {
                Rows::Memory(pairs) => Some(pairs),
                Rows::File(_) => None,
            })
            .collect();
        match in_memory.len() == places.len() {
            true => Ok(KeptPairs::select_together(&in_memory, rows)),
            false => places.iter().map(|kept| kept.select(rows)).collect(),
        }
    }

    /// Logits of every pair's resumed run at the last position, `[batch, d_vocab]` a batch of pairs.
    pub fn logits<'a>(
        &'a self,
        model: &'a Gpt2<B>,
        intervention: &'a Intervention<B>,
    ) -> impl Iterator<Item = Result<Tensor<B, 2>>> + 'a {
        let rows: Vec<usize> = (0..self.len()).collect();
        let batches: Vec<Vec<usize>> = rows.chunks(SCORE_BATCH).map(<[usize]>::to_vec).collect();
        let logits = move |rows: Vec<usize>| Ok(self.select(&rows)?.logits(model, intervention));
        batches.into_iter().map(logits)
    }

    /// Interchange intervention accuracy, 0..1.
    pub fn iia(&self, model: &Gpt2<B>, intervention: &Intervention<B>) -> Result<f64> {
        let top_1: Vec<_> = self
            .logits(model, intervention)
            .map(|logits| logits.map(metric::top_1))
            .collect::<Result<_>>()?;
        Ok(metric::accuracy(
            &read_ids(Tensor::cat(top_1, 0))?,
            &self.labels,
        ))
    }

    /// IIA of the whole vector.
    pub fn full_iia(&self, model: &Gpt2<B>) -> Result<f64> {
        let whole = Intervention::new(Op::Interchange, Featurizer::Identity);
        self.iia(model, &whole)
    }

    /// IIA of random subspaces of this rank of a site of this width, the mean over [`RANDOM_BASES`] of them.
    pub fn random_iia(&self, model: &Gpt2<B>, width: usize, rank: usize, seed: u64) -> Result<f64> {
        let device = model.wte.weight.val().device();
        let mut sum = 0.0;
        for idx in 0..RANDOM_BASES {
            // Other seeds than the one that training starts from.
            let rows = random_rows(width, rank, !seed.wrapping_add(idx));
            let basis = Tensor::from_data(TensorData::new(rows, [rank, width]), &device);
            sum += self.iia(
                model,
                &Intervention::new(Op::Interchange, Featurizer::Subspace(basis)),
            )?;
        }
        Ok(sum / RANDOM_BASES as f64)
    }

    /// What each pair's model says before and after an intervention.
    pub fn swaps(
        &self,
        model: &Gpt2<B>,
        intervention: &Intervention<B>,
        pairs: &[Pair],
    ) -> Result<Vec<Swap>> {
        let untouched = Intervention {
            strength: 0.0,
            ..intervention.clone()
        };
        let mut swaps = Vec::with_capacity(pairs.len());
        let batches = self
            .logits(model, &untouched)
            .zip(self.logits(model, intervention));
        for (before, after) in batches {
            let (before, after) = (before?, after?);
            let [n_rows, d_vocab] = after.dims();
            let (before, after) = (read_floats(before)?, read_floats(after)?);
            for row in 0..n_rows {
                let pair = &pairs[swaps.len()];
                let row = row * d_vocab..(row + 1) * d_vocab;
                let [before, after] =
                    [&before[row.clone()], &after[row]].map(|logits| top(logits, 3));
                let (top_1, logit) = (after[0].token, after[0].logit);
                let probe = Probe {
                    base: pair.base.clone(),
                    source: pair.source.clone(),
                    top_1,
                    logit,
                };
                swaps.push(Swap {
                    probe,
                    label: pair.label,
                    before,
                    after,
                });
            }
        }
        Ok(swaps)
    }
}

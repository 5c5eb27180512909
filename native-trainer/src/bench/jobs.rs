//! Our side of the benchmark: each job runs in a process of its own and prints its figures as one JSON object.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result};
use burn::{
    module::Module,
    tensor::{
        Distribution, Tensor,
        backend::{AutodiffBackend, Backend},
    },
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use swivel_core::{
    Component, Decoder, Place, Position, Site,
    cone::{Cone, Storage},
    ids_tensor,
    question::Pair,
    train::{Rotation, losses_and_gradient},
};

use super::{shape::Shape, table::median};
use crate::{
    cached::{CachedRuns, Wanted},
    device,
    learn::{Rule, n_together},
    model_files::ModelFiles,
    pairs::read_pairs,
    report::Report,
    score::swap_whole,
    side_by_side::side_by_side,
    tensors::{label_ids, read_floats},
};

/// A job and what it is done on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Job {
    /// Keeps pairs once and learns a direction at `block_output` of each of some layers, at each of some positions.
    Das {
        model: PathBuf,
        pairs: PathBuf,
        n_pairs: usize,
        sites: Vec<usize>,
        positions: RangeInclusive<usize>,
        epochs: usize,
        batch_size: usize,
    },
    /// Swaps the whole value at every layer and position of one pair.
    Map { model: PathBuf, pairs: PathBuf },
    /// Times the parametrisation of the basis against a step.
    Orthogonalisation {
        model: PathBuf,
        pairs: PathBuf,
        ranks: Vec<usize>,
        runs: usize,
    },
    /// Times the head's part of a training step, and its two products alone.
    Head {
        model: PathBuf,
        n_rows: usize,
        runs: usize,
    },
    /// Times a forward pass of random prompts, shape by shape.
    Forward {
        model: PathBuf,
        shapes: Vec<Shape>,
        n_passes: usize,
    },
    /// Loads a model and does nothing with it.
    Load { model: PathBuf },
    /// Times a matrix product and a copy.
    Ceilings,
}

/// Writes random pairs, the intervention at the last token.
pub fn write_pairs(path: &Path, n_pairs: usize, n_tokens: usize) -> Result<()> {
    const D_VOCAB: u32 = 50257;
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut text = String::new();
    for _ in 0..n_pairs {
        let mut ids = || {
            (0..n_tokens)
                .map(|_| rng.random_range(0..D_VOCAB))
                .collect::<Vec<u32>>()
        };
        let pair = Pair {
            base: ids(),
            source: ids(),
            base_position: n_tokens - 1,
            source_position: n_tokens - 1,
            label: ids()[0],
            ..Pair::default()
        };
        writeln!(text, "{}", json!(pair))?;
    }
    std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

impl device::Job for Job {
    type Output = Value;

    fn run<A: AutodiffBackend>(self, device: A::Device, _: &str) -> Result<Value> {
        match self {
            Self::Das {
                model,
                pairs,
                n_pairs,
                sites,
                positions,
                epochs,
                batch_size,
            } => {
                let started = Instant::now();
                let (files, model) = open::<A::InnerBackend>(&model, &device)?;
                let load = started.elapsed().as_secs_f64();
                let mut pairs = read_pairs(&pairs, &files)?;
                pairs.truncate(n_pairs);
                let sites: Vec<Site> = sites
                    .into_iter()
                    .map(|l| Component::BlockOutput.at(l))
                    .collect();
                let wanted = wanted(&sites, positions.clone());
                let started = Instant::now();
                let cached = CachedRuns::run(&model, files.sizes(), &pairs, &wanted, "pairs")?;
                sync(&model)?;
                let cache = started.elapsed().as_secs_f64();
                let rule = rule(epochs, batch_size);
                let started = Instant::now();
                let mut losses = Vec::new();
                let mut cells: Vec<(Site, Vec<usize>)> = Vec::new();
                for site in sites {
                    let mut rest: Vec<usize> = positions.clone().rev().collect();
                    while !rest.is_empty() {
                        let later =
                            rest.split_off(n_together(&rest, pairs[0].base.len(), batch_size));
                        cells.push((site, std::mem::replace(&mut rest, later)));
                    }
                }
                let learn = |(site, positions): &(Site, Vec<usize>)| {
                    let places: Vec<_> = (positions.iter())
                        .map(|position| {
                            cached.at(Place::new(*site, Position::Index(*position)), *position)
                        })
                        .collect::<Result<_>>()?;
                    let start = Rotation::random(files.sizes().d_model, 1, 0, &device)?;
                    let mut losses = Vec::new();
                    rule.learn_together::<A>(&model, &places, start, |_, of_epoch, _| {
                        losses.extend(of_epoch);
                        Ok(())
                    })?;
                    Ok(losses)
                };
                side_by_side::<A::InnerBackend, _, _>(&device, &cells, learn, |_, of_cell| {
                    losses.extend(of_cell);
                    Ok(())
                })?;
                let train = started.elapsed().as_secs_f64();
                Ok(json!({
                    "load": load, "cache": cache, "train": train, "cached_bytes": cached.n_bytes(),
                    "peak_bytes": peak_bytes(), "first_loss": losses.first(), "last_loss": losses.last(),
                }))
            }
            Self::Map { model, pairs } => {
                let (files, model) = open::<A::InnerBackend>(&model, &device)?;
                let pairs = read_pairs(&pairs, &files)?;
                map(&model, &files, &pairs[0])?; // warm, as the peer is
                let started = Instant::now();
                let cells = map(&model, &files, &pairs[0])?;
                let seconds = started.elapsed().as_secs_f64();
                Ok(json!({ "seconds": seconds, "peak_bytes": peak_bytes(), "probability": cells }))
            }
            Self::Load { model } => {
                let started = Instant::now();
                let (_, model) = open::<A::InnerBackend>(&model, &device)?;
                let seconds = started.elapsed().as_secs_f64();
                let held = model.num_params() * size_of::<f32>();
                Ok(json!({ "seconds": seconds, "held_bytes": held, "peak_bytes": peak_bytes() }))
            }
            Self::Orthogonalisation {
                model,
                pairs,
                ranks,
                runs,
            } => {
                let (files, model) = open::<A::InnerBackend>(&model, &device)?;
                let pairs = read_pairs(&pairs, &files)?;
                let site = Component::BlockOutput.at(files.sizes().n_layers - 1);
                let last = pairs[0].base.len() - 1;
                let wanted = wanted(&[site], last..=last);
                let cached = CachedRuns::run(&model, files.sizes(), &pairs, &wanted, "pairs")?;
                let cached = cached.at(Place::new(site, Position::LAST), last)?;
                let mut shares: BTreeMap<String, Vec<f64>> = BTreeMap::new();
                for rank in ranks {
                    let start = Rotation::random(files.sizes().d_model, rank, 0, &device)?;
                    for _ in 0..=runs {
                        const STEPS: usize = 5;
                        let started = Instant::now();
                        rule(STEPS, pairs.len()).learn::<A>(
                            &model,
                            &cached,
                            start.clone(),
                            |_, _, _| Ok(()),
                        )?;
                        let step = started.elapsed().as_secs_f64();
                        let started = Instant::now();
                        for _ in 0..STEPS {
                            basis_and_gradient::<A>(&start)?;
                        }
                        let basis = started.elapsed().as_secs_f64();
                        shares
                            .entry(format!("{rank:>2}"))
                            .or_default()
                            .push(basis / step);
                    }
                }
                for shares in shares.values_mut() {
                    shares.remove(0); // the first turn warms up
                }
                Ok(json!(shares))
            }
            Self::Head {
                model,
                n_rows,
                runs,
            } => {
                let (_, model) = open::<A::InnerBackend>(&model, &device)?;
                head(&model, n_rows, runs)
            }
            Self::Forward {
                model,
                shapes,
                n_passes,
            } => {
                let (files, model) = open::<A::InnerBackend>(&model, &device)?;
                let mut figures = serde_json::Map::new();
                for shape in shapes {
                    let seconds = forward(&model, files.sizes().d_vocab, shape, n_passes)?;
                    figures.insert(shape.to_string(), json!(seconds));
                }
                figures.insert("peak_bytes".to_owned(), json!(peak_bytes()));
                Ok(Value::Object(figures))
            }
            Self::Ceilings => Ok(json!({
                "flops": product_flops::<A::InnerBackend>(&device)?,
                "bytes": copy_bytes::<A::InnerBackend>(&device)?,
            })),
        }
    }
}

fn open<B: Backend>(model: &Path, device: &B::Device) -> Result<(ModelFiles, Decoder<B>)> {
    let files = ModelFiles::open(&model.to_string_lossy())?;
    let (model, _) = files.load::<B>(device, Report::Json)?;
    sync(&model)?;
    Ok((files, model))
}

/// Waits until the device has done what it was told.
fn sync<B: Backend>(model: &Decoder<B>) -> Result<()> {
    let device = model.device();
    B::sync(&device).map_err(|error| anyhow::anyhow!("waiting for the device: {error:?}"))
}

/// Seconds of a forward pass, the median; the first pass is not counted.
fn forward<B: Backend>(
    model: &Decoder<B>,
    d_vocab: usize,
    Shape { batch, pos }: Shape,
    n_passes: usize,
) -> Result<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut prompt = || -> Vec<u32> {
        (0..pos)
            .map(|_| rng.random_range(0..d_vocab as u32))
            .collect()
    };
    let ids = ids_tensor::<B>((0..batch).map(|_| prompt()), &model.device());
    let mut seconds = Vec::new();
    for _ in 0..=n_passes {
        let started = Instant::now();
        let logits = model.forward(ids.clone(), &mut ());
        sync(model)?;
        seconds.push(started.elapsed().as_secs_f64());
        drop(logits);
    }
    Ok(median(&seconds[1..]))
}

fn wanted(sites: &[Site], positions: RangeInclusive<usize>) -> Wanted {
    Wanted {
        sites: sites.to_vec(),
        first_layer: 0,
        logits: false,
        base: positions.clone(),
        source: positions,
        storage: Storage::F32,
        memory: 12 << 30,
    }
}

fn rule(epochs: usize, batch_size: usize) -> Rule {
    Rule {
        epochs,
        batch_size,
        lr: 1e-3,
        shuffle: true,
        seed: 0,
    }
}

/// Probability of the label after each swap, layer by layer.
fn map<B: Backend>(model: &Decoder<B>, files: &ModelFiles, pair: &Pair) -> Result<Vec<Vec<f32>>> {
    let device = model.device();
    let (n_layers, n_tokens) = (files.sizes().n_layers, pair.base.len());
    let ids = |ids: &[u32]| ids_tensor::<B>([ids], &device);
    let base = model.cache_run(ids(&pair.base), &Cone::whole(n_layers, n_tokens));
    let sites: Vec<Site> = (0..n_layers)
        .map(|l| Component::BlockOutput.at(l))
        .collect();
    let source = model.cache_source(ids(&pair.source), &sites, 0..=n_tokens - 1);
    let swap = swap_whole();
    let mut rows = Vec::new();
    for site in sites {
        let values = source
            .values(site, None, 0..n_tokens)
            .context("the source was not cached")?;
        let normed = model
            .intervene_each(
                &base,
                &swap,
                &values,
                (site, None),
                &(0..n_tokens).collect::<Vec<_>>(),
            )
            .squeeze_dim(0);
        let labels = label_ids::<B>(&vec![pair.label; n_tokens], &device);
        let answers = model.read_tokens(normed, &labels.unsqueeze_dim(1));
        rows.push(read_floats(answers.probability(0))?);
    }
    Ok(rows)
}

/// Seconds of loss and gradient of some rows, and of one product with the head forward and one back, in turns.
fn head<B: Backend>(model: &Decoder<B>, n_rows: usize, runs: usize) -> Result<Value> {
    let device = model.device();
    let weight = model.head_weight(); // [d_vocab, d_model]
    let d_model = weight.dims()[1];
    let normed = Tensor::<B, 2>::random([n_rows, d_model], Distribution::Default, &device);
    let labels = label_ids::<B>(&(0..n_rows as u32).collect::<Vec<_>>(), &device);
    let (mut steps, mut products) = (Vec::new(), Vec::new());
    for _ in 0..=runs {
        let started = Instant::now();
        let rows = normed.clone().unsqueeze_dim(1);
        read_floats(losses_and_gradient(model, rows, labels.clone()).1)?;
        steps.push(started.elapsed().as_secs_f64());
        let started = Instant::now();
        let logits = normed.clone().matmul(weight.clone().transpose());
        read_floats(logits.matmul(weight.clone()))?;
        products.push(started.elapsed().as_secs_f64());
    }
    // The first turn warms up.
    Ok(json!({ "step": steps[1..], "products": products[1..], "peak_bytes": peak_bytes() }))
}

/// A basis from its parameter, and the gradient back to it.
fn basis_and_gradient<A: AutodiffBackend>(start: &Rotation<A::InnerBackend>) -> Result<()> {
    let original = Tensor::<A, 2>::from_inner(start.original.clone()).require_grad();
    let base = Tensor::from_inner(start.base.clone());
    let basis = Rotation::<A>::new(original.clone(), base).basis();
    let weight = Tensor::from_inner(basis.clone().inner());
    let gradients = (basis * weight).sum().backward();
    let gradient = original
        .grad(&gradients)
        .context("the basis has no gradient")?;
    read_floats(gradient).map(drop)
}

/// Operations a second of a product of matrices as large as the MLP's on 1,024 tokens, the best of some.
fn product_flops<B: Backend>(device: &B::Device) -> Result<f64> {
    let [rows, inner, columns] = [1024, 768, 3072];
    let random = |shape: [usize; 2]| Tensor::<B, 2>::random(shape, Distribution::Default, device);
    let (left, right) = (random([rows, inner]), random([inner, columns]));
    let seconds = best_of(|| {
        let product = left.clone().matmul(right.clone());
        read_floats(product.narrow(0, 0, 1).narrow(1, 0, 1)).map(drop)
    })?;
    Ok(2.0 * (rows * inner * columns) as f64 / seconds)
}

/// Bytes a second that a sum of two large tensors reads and writes, the best of some.
fn copy_bytes<B: Backend>(device: &B::Device) -> Result<f64> {
    const N: usize = 16 << 20;
    let x = Tensor::<B, 1>::random([N], Distribution::Default, device);
    let seconds = best_of(|| {
        let copy = x.clone() + 1.0;
        read_floats(copy.narrow(0, 0, 1)).map(drop)
    })?;
    Ok((2 * 4 * N) as f64 / seconds)
}

fn best_of(mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..20 {
        let started = Instant::now();
        work()?;
        best = best.min(started.elapsed().as_secs_f64());
    }
    Ok(best)
}

/// Most memory that this process has held, bytes; `None` where the system does not say.
fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

//! What can be timed, and how both sides are asked for it.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::NamedTempFile;

use super::{
    jobs::Job,
    real,
    roofline::Needed,
    sides::{Sides, field, numbers},
    table::{Row, Turns},
};

/// Pairs and epochs of the reference tutorial's job.
const TUTORIAL: [f64; 2] = [800.0, 10.0];
/// Pairs, epochs and cells of the map of the IOI tutorial.
const MAP: [f64; 3] = [200.0, 10.0, 60.0];

/// What can be timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// pyvene's tutorial "Trainable Interventions", at a layer.
    Tutorial(usize),
    /// Directions for 12 layers x the last 5 of 18 positions.
    IoiMap,
    /// Whole-value interchange at every layer and position of one pair of 18 tokens.
    InterchangeMap,
    /// The default job on the embedded solver.
    Solver,
    /// Share of a training step that makes the basis orthonormal.
    Orthogonalisation,
    /// The head's part of a training step, against its two products alone.
    Head,
    /// Loading, and the memory that it takes.
    Loading,
    /// Ceilings of the machine.
    Roofline,
    /// Forward passes of any model.
    Forward,
    /// A direction on indirect object identification, on a real model.
    Ioi,
}

impl Work {
    /// All of it, each with its name.
    pub const ALL: [(Work, &'static str); 12] = [
        (Work::Loading, "loading"),
        (Work::Roofline, "roofline"),
        (Work::Tutorial(11), "tutorial"),
        (Work::Tutorial(6), "tutorial-layer-6"),
        (Work::Tutorial(0), "tutorial-layer-0"),
        (Work::IoiMap, "ioi-map"),
        (Work::InterchangeMap, "interchange-map"),
        (Work::Solver, "solver"),
        (Work::Orthogonalisation, "orthogonalisation"),
        (Work::Head, "head"),
        (Work::Forward, "forward"),
        (Work::Ioi, "ioi"),
    ];

    /// True if it is timed where nothing else is said: of a GGUF file, what real models are timed by, of a folder all that a
    /// random GPT-2 small is timed by.
    pub fn suits(self, model: &Path) -> bool {
        match model.extension().is_some_and(|end| end == "gguf") {
            true => matches!(self, Self::Forward | Self::Ioi),
            false => self != Self::Ioi,
        }
    }

    /// Times it on both sides.
    pub fn time(self, sides: &Sides) -> Result<()> {
        match self {
            Self::Tutorial(layer) => tutorial(sides, layer),
            Self::IoiMap => ioi_map(sides),
            Self::InterchangeMap => interchange_map(sides),
            Self::Solver => solver(sides),
            Self::Orthogonalisation => orthogonalisation(sides),
            Self::Head => head(sides),
            Self::Loading => loading(sides),
            Self::Roofline => roofline(sides),
            Self::Forward => real::forward(sides),
            Self::Ioi => real::ioi(sides),
        }
    }
}

fn loading(sides: &Sides) -> Result<()> {
    let (mut seconds, mut held, mut peak) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..sides.runs {
        let job = Job::Load {
            model: sides.model.clone(),
        };
        let ours = sides.ours(&job)?;
        seconds.push(field(&ours, "seconds")?);
        held.push(field(&ours, "held_bytes")? / 1e9);
        peak.push(field(&ours, "peak_bytes")? / 1e9);
    }
    let ratios = peak.iter().zip(&held).map(|(peak, held)| peak / held);
    let ratios = ratios.collect();
    Row::ours("loading", "s", seconds, "").show(sides.report);
    Row::ours("weights in f32", "GB", held, "").show(sides.report);
    Row::ours("peak memory", "GB", peak, "of the whole process").show(sides.report);
    Row::ours("peak memory / weights", "", ratios, "at most 1.2").show(sides.report);
    Ok(())
}

fn tutorial(sides: &Sides, layer: usize) -> Result<()> {
    let n_pairs = sides.pairs;
    let pairs = sides.pairs(n_pairs.max(192), 130)?;
    let pairs = pairs.path().to_string_lossy();
    let model = sides.model.to_string_lossy();
    let epochs = TUTORIAL[1] as usize;
    let (mut whole, mut epoch, mut memory) = (Turns::default(), Turns::default(), Turns::default());
    let mut floor = Vec::new();
    for _ in 0..sides.runs {
        let job = Job::Das {
            model: sides.model.clone(),
            pairs: pairs.as_ref().into(),
            n_pairs,
            sites: vec![layer],
            positions: 129..=129,
            epochs,
            batch_size: 64,
        };
        let ours = sides.ours(&job)?;
        let [load, cache, train] = ["load", "cache", "train"].map(|name| field(&ours, name));
        let scale = TUTORIAL[0] / n_pairs as f64;
        let an_epoch = train? / epochs as f64 * scale;
        let cache = cache? * scale;
        whole.ours.push(load? + cache + an_epoch * TUTORIAL[1]);
        epoch.ours.push(an_epoch);
        memory.ours.push(field(&ours, "peak_bytes")? / 1e9);
        floor.push(whole.ours[whole.ours.len() - 1] / cache);
        let layer = layer.to_string();
        let options = [
            model.as_ref(),
            &pairs,
            "--layer",
            &layer,
            "--position",
            "129",
            "--batch",
            "64",
            "--batches",
            "1",
            "--warm-up",
            "1",
        ];
        if let Some(peer) = sides.peer("pyvene_das.py", &options)? {
            let a_pair = field(&peer, "seconds_per_pair")?;
            whole.peer.push(a_pair * TUTORIAL[0] * TUTORIAL[1]);
            epoch.peer.push(a_pair * TUTORIAL[0]);
            memory.peer.push(field(&peer, "peak_rss_bytes")? / 1e9);
        }
    }
    let note = match n_pairs as f64 == TUTORIAL[0] {
        true => "ours whole; the peer timed on one batch of 64 and scaled",
        false => "both sides scaled: ours by its pairs, the peer from one batch of 64",
    };
    whole
        .row("800 pairs x 10 epochs, whole", "s", note)
        .show(sides.report);
    epoch
        .row("an epoch after caching", "s", note)
        .show(sides.report);
    memory.row("peak memory", "GB", "").show(sides.report);
    Row::ours(
        "whole job / one pass over the data",
        "",
        floor,
        "1 is the floor",
    )
    .show(sides.report);
    Ok(())
}

fn ioi_map(sides: &Sides) -> Result<()> {
    let [n_pairs, epochs, n_cells] = MAP;
    let pairs = sides.pairs(n_pairs as usize, 18)?;
    let pairs = pairs.path().to_string_lossy();
    let mut whole = Turns::default();
    for _ in 0..sides.runs {
        let ours = sides.ours(&Job::Das {
            model: sides.model.clone(),
            pairs: pairs.as_ref().into(),
            n_pairs: n_pairs as usize,
            sites: (0..12).collect(),
            positions: 13..=17,
            epochs: 1,
            batch_size: 20,
        })?;
        let [load, cache, train] = ["load", "cache", "train"].map(|name| field(&ours, name));
        whole.ours.push(load? + cache? + train? * epochs);
        let cells = "0:13,0:17,6:15,11:13,11:17";
        let model = sides.model.to_string_lossy();
        let options = [
            model.as_ref(),
            &pairs,
            "--cells",
            cells,
            "--batch",
            "20",
            "--batches",
            "3",
            "--warm-up",
            "1",
            "--lr",
            "1e-2",
        ];
        if let Some(peer) = sides.peer("pyvene_das.py", &options)? {
            let timed = peer
                .as_array()
                .cloned()
                .unwrap_or_else(|| vec![peer.clone()]);
            let mean = timed
                .iter()
                .map(|cell| field(cell, "seconds_per_pair"))
                .sum::<Result<f64>>()?
                / timed.len() as f64;
            whole.peer.push(mean * n_pairs * epochs * n_cells);
        }
    }
    whole
        .row(
            "60 directions, 200 pairs x 10 epochs",
            "s",
            "ours: all cells, one epoch x 10; the peer: five cells, 3 batches each, scaled",
        )
        .show(sides.report);
    Ok(())
}

fn interchange_map(sides: &Sides) -> Result<()> {
    let pairs = sides.pairs(1, 18)?;
    let pairs = pairs.path().to_string_lossy();
    let written = NamedTempFile::new().context("creating a temporary file")?;
    let written = written.path().to_string_lossy();
    let model = sides.model.to_string_lossy();
    let options = [
        model.as_ref(),
        &pairs,
        "--runs",
        "1",
        "--out",
        written.as_ref(),
    ];
    let mut map = Turns::default();
    let mut differences = Vec::new();
    for _ in 0..sides.runs {
        let ours = sides.ours(&Job::Map {
            model: sides.model.clone(),
            pairs: pairs.as_ref().into(),
        })?;
        map.ours.push(field(&ours, "seconds")?);
        if let Some(peer) = sides.peer("transformer_lens_map.py", &options)? {
            map.peer.push(field(&peer, "seconds")?);
            let text = std::fs::read_to_string(written.as_ref()).context("reading its map")?;
            let theirs: Value = serde_json::from_str(&text).context("reading its map")?;
            let [ours, theirs] = [&ours, &theirs].map(|map| numbers(&map["probability"]));
            differences.push(largest_difference(&ours, &theirs)?);
        }
    }
    map.row(
        "12 layers x 18 positions, one pair",
        "s",
        "whole, without loading",
    )
    .show(sides.report);
    if !differences.is_empty() {
        Row::ours(
            "relative difference of its numbers",
            "",
            differences,
            "largest of the label's probabilities",
        )
        .show(sides.report);
    }
    Ok(())
}

fn solver(sides: &Sides) -> Result<()> {
    let folder = tempfile::tempdir().context("creating a temporary folder")?;
    let out = folder.path().join("direction.safetensors");
    let out = out.to_string_lossy();
    let mut seconds = Vec::new();
    for _ in 0..sides.runs {
        let done = sides.program(&["train", "--keep-wrong", "--json", "--force", "--out", &out])?;
        seconds.push(field(&done, "seconds_caching")? + field(&done, "seconds_training")?);
    }
    Row::ours(
        "the default job, caching + training",
        "s",
        seconds,
        "2,000 pairs, 10 epochs",
    )
    .show(sides.report);
    Ok(())
}

fn orthogonalisation(sides: &Sides) -> Result<()> {
    let pairs = sides.pairs(64, 130)?;
    let figures = sides.ours(&Job::Orthogonalisation {
        model: sides.model.clone(),
        pairs: pairs.path().into(),
        ranks: vec![1, 4, 16],
        runs: sides.runs.max(3),
    })?;
    for (rank, shares) in figures.as_object().into_iter().flatten() {
        let shares = shares
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_f64)
            .collect();
        let what = format!("share of a step at layer 11, rank {rank}");
        Row::ours(&what, "", shares, "basis and its gradient").show(sides.report);
    }
    Ok(())
}

fn head(sides: &Sides) -> Result<()> {
    const N_ROWS: usize = 64;
    let figures = sides.ours(&Job::Head {
        model: sides.model.clone(),
        n_rows: N_ROWS,
        runs: sides.runs.max(3),
    })?;
    let [step, products] = ["step", "products"].map(|name| numbers(&figures[name]));
    let ratios = step
        .iter()
        .zip(&products)
        .map(|(step, products)| step / products);
    let ratios = ratios.collect();
    Row::ours("loss and gradient of 64 rows", "s", step, "").show(sides.report);
    Row::ours(
        "a product with the head forward and one back",
        "s",
        products,
        "",
    )
    .show(sides.report);
    Row::ours("the one / the other", "", ratios, "1 is the floor").show(sides.report);
    Ok(())
}

fn roofline(sides: &Sides) -> Result<()> {
    let pairs = sides.pairs(sides.pairs.min(64), 130)?;
    let (mut products, mut copies) = (Vec::new(), Vec::new());
    let mut shares = [Vec::new(), Vec::new()];
    for _ in 0..sides.runs {
        let ceilings = sides.ours(&Job::Ceilings)?;
        let [product, copy] = ["flops", "bytes"].map(|name| field(&ceilings, name));
        let (product, copy) = (product?, copy?);
        products.push(product / 1e9);
        copies.push(copy / 1e9);
        let n_pairs = sides.pairs.min(64);
        let ours = sides.ours(&Job::Das {
            model: sides.model.clone(),
            pairs: pairs.path().into(),
            n_pairs,
            sites: vec![11],
            positions: 129..=129,
            epochs: 3,
            batch_size: 64,
        })?;
        let needed = Needed::tutorial(11, 130);
        let cache = needed.cache_flops * n_pairs as f64 / product;
        let step = (needed.step_flops * n_pairs as f64 / product).max(needed.step_bytes / copy);
        shares[0].push(cache / field(&ours, "cache")?);
        shares[1].push(step * 3.0 / field(&ours, "train")?);
    }
    Row::ours("matrix product, 1,024 rows", "GFLOP/s", products, "ceiling").show(sides.report);
    Row::ours("copy", "GB/s", copies, "ceiling, bytes read and written").show(sides.report);
    let [cache, step] = shares;
    Row::ours(
        "caching at layer 11",
        "",
        cache,
        "share of the ceiling that is reached",
    )
    .show(sides.report);
    Row::ours(
        "a training step of 64 pairs",
        "",
        step,
        "share of the ceiling that is reached",
    )
    .show(sides.report);
    Ok(())
}

fn largest_difference(ours: &[f64], theirs: &[f64]) -> Result<f64> {
    if ours.len() != theirs.len() || ours.is_empty() {
        bail!("{} cells against the peer's {}", ours.len(), theirs.len());
    }
    let differences = ours.iter().zip(theirs).map(|(a, b)| ((a - b) / b).abs());
    Ok(differences.fold(0.0, f64::max))
}

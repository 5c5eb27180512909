//! Any model, real ones above all, against transformers and pyvene.

use anyhow::{Context, Result, bail};

use super::{
    jobs::Job,
    shape::Shape,
    sides::{Sides, field},
    table::Turns,
};
use crate::{model_files::ModelFiles, pairs::read_pairs};

/// Pairs, epochs and pairs a step of the job on indirect object identification.
const IOI: [usize; 3] = [200, 10, 20];

/// A forward pass with the logits of all positions, against transformers.
pub fn forward(sides: &Sides) -> Result<()> {
    /// Timed passes of a shape in a turn; the figure of the turn is their median.
    const N_PASSES: usize = 7;
    let model = sides.model.to_string_lossy();
    let shapes: Vec<String> = sides.shapes.iter().map(Shape::to_string).collect();
    let (names, passes) = (shapes.join(","), N_PASSES.to_string());
    let options = [model.as_ref(), "--shapes", &names, "--runs", &passes];
    let mut turns: Vec<Turns> = shapes.iter().map(|_| Turns::default()).collect();
    let mut memory = Turns::default();
    for _ in 0..sides.runs {
        let ours = sides.ours(&Job::Forward {
            model: sides.model.clone(),
            shapes: sides.shapes.clone(),
            n_passes: N_PASSES,
        })?;
        for (shape, turns) in shapes.iter().zip(&mut turns) {
            turns.ours.push(field(&ours, shape)?);
        }
        memory.ours.push(field(&ours, "peak_bytes")? / 1e9);
        if let Some(peer) = sides.peer("transformers_forward.py", &options)? {
            let results = peer.as_array().context("expected a result a shape")?;
            // Logits of all positions and those of the last alone take turns.
            for (result, turns) in results.iter().step_by(2).zip(&mut turns) {
                turns.peer.push(field(result, "seconds")?);
            }
            let last = results.last().context("expected a result")?;
            memory.peer.push(field(last, "peak_rss_bytes")? / 1e9);
        }
    }
    for (shape, turns) in shapes.iter().zip(turns) {
        let what = format!("forward {shape}, all logits");
        turns.row(&what, "s", "median of 7").show(sides.report);
    }
    memory.row("peak memory", "GB", "").show(sides.report);
    Ok(())
}

/// A direction at `block_output` two thirds up the model, at the second subject's token, against pyvene.
pub fn ioi(sides: &Sides) -> Result<()> {
    let [n_pairs, epochs, batch_size] = IOI;
    let files = ModelFiles::open(&sides.model.to_string_lossy())?;
    let layer = files.sizes().n_layers * 2 / 3;
    let model = sides.model.to_string_lossy();
    let pairs = tempfile::Builder::new()
        .suffix(".jsonl")
        .tempfile()
        .context("creating a temporary file")?;
    let path = pairs.path().to_string_lossy();
    sides.write("ioi_pairs.py", &[model.as_ref(), &path])?;
    let places = read_pairs(pairs.path(), &files)?;
    let position = match places.first() {
        Some(pair) if places.len() == n_pairs => pair.base_position,
        _ => bail!("ioi_pairs.py wrote {} pairs", places.len()),
    };
    let (mut whole, mut memory) = (Turns::default(), Turns::default());
    for _ in 0..sides.runs {
        let ours = sides.ours(&Job::Das {
            model: sides.model.clone(),
            pairs: pairs.path().into(),
            n_pairs,
            sites: vec![layer],
            positions: position..=position,
            epochs,
            batch_size,
        })?;
        let [load, cache, train] = ["load", "cache", "train"].map(|name| field(&ours, name));
        whole.ours.push(load? + cache? + train?);
        memory.ours.push(field(&ours, "peak_bytes")? / 1e9);
        let (layer, batch_size) = (layer.to_string(), batch_size.to_string());
        let options = [
            model.as_ref(),
            &path,
            "--layer",
            &layer,
            "--batch",
            &batch_size,
            "--batches",
            "5",
            "--lr",
            "1e-2",
        ];
        if let Some(peer) = sides.peer("pyvene_das.py", &options)? {
            let a_pair = field(&peer, "seconds_per_pair")?;
            whole.peer.push(a_pair * (n_pairs * epochs) as f64);
            memory.peer.push(field(&peer, "peak_rss_bytes")? / 1e9);
        }
    }
    let note = "ours whole, with loading; the peer from 5 steps, scaled to 100";
    whole
        .row("IOI, 200 pairs x 10 epochs", "s", note)
        .show(sides.report);
    memory.row("peak memory", "GB", "").show(sides.report);
    Ok(())
}

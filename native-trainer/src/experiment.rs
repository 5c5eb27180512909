//! What `train` and `eval` share: pairs of a task, kept runs of them, IIA and its controls.

use std::{
    io::{BufRead, BufReader},
    path::Path,
};

use anyhow::{Context, Result, bail};
use burn::tensor::{Int, Tensor, TensorData, backend::Backend};
use serde::Serialize;
use swivel_core::{
    Gpt2, Gpt2Config, Tokenizer,
    cone::KeptBase,
    direction::{Controls, Probe},
    intervention::{Featurizer, Intervention, Op},
    metric,
    task::{Pair, PairShape},
    train::{KeptPairs, intervened_logits, random_rows},
};

use crate::{
    interrupt,
    report::{self, Report},
};

/// Prompts that are run at once while values are kept.
const KEEP_BATCH: usize = 50;
/// Random subspaces that a control is the mean of.
const RANDOM_BASES: u64 = 5;
/// IIA that two scores must differ by to be told apart.
const MARGIN: f64 = 0.05;
/// Resumed runs that are scored at once.
const SCORE_BATCH: usize = 250;

/// Reads pairs from a training data file.
pub fn read_pairs(path: &Path, config: &Gpt2Config) -> Result<Vec<Pair>> {
    let file = std::fs::File::open(path).with_context(|| format!("reading {}", path.display()))?;
    let mut pairs = Vec::new();
    for (idx, line) in BufReader::new(file).lines().enumerate() {
        let place = || format!("{}, line {}", path.display(), idx + 1);
        let line = line.with_context(place)?;
        if !line.trim().is_empty() {
            pairs.push(serde_json::from_str(&line).with_context(place)?);
        }
    }
    if pairs.is_empty() {
        bail!("{} holds no pairs", path.display());
    }
    PairShape::of(&pairs, config).with_context(|| path.display().to_string())?;
    Ok(pairs)
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

/// Kept runs of pairs at `block_output` of one layer, and the pairs' labels.
pub struct Kept<B: Backend> {
    /// Values on the device.
    pub pairs: KeptPairs<B>,
    /// Token ids of the counterfactual answers.
    pub labels: Vec<u32>,
}

impl<B: Backend> Kept<B> {
    /// Runs each prompt once and keeps what resumed runs at `block_output` of `layer` need.
    pub fn run(
        model: &Gpt2<B>,
        config: &Gpt2Config,
        pairs: &[Pair],
        layer: usize,
        what: &'static str,
    ) -> Result<Self> {
        let shape = PairShape::of(pairs, config)?;
        let device = model.wte.weight.val().device();
        let bar = report::progress(what, pairs.len());
        let (mut base, mut source) = (Vec::new(), Vec::new());
        for batch in pairs.chunks(KEEP_BATCH) {
            interrupt::check("nothing was written")?;
            let base_ids = ids_tensor(batch.iter().map(|pair| pair.base.as_slice()), &device);
            let source_ids = ids_tensor(batch.iter().map(|pair| pair.source.as_slice()), &device);
            base.push(model.keep_base(base_ids, layer, shape.base_position));
            source.push(model.keep_source(source_ids, layer, shape.source_position));
            bar.inc(batch.len() as u64);
        }
        bar.finish_and_clear();
        let labels: Vec<u32> = pairs.iter().map(|pair| pair.label).collect();
        let label_ids: Vec<i64> = labels.iter().map(|label| i64::from(*label)).collect();
        let pairs = KeptPairs {
            base: KeptBase::cat(base),
            source: Tensor::cat(source, 0),
            labels: Tensor::from_data(TensorData::new(label_ids, [labels.len()]), &device),
        };
        Ok(Self { pairs, labels })
    }

    /// Number of pairs.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Logits of every pair's resumed run at the last position, `[batch, d_vocab]` a batch of pairs.
    fn logits<'a>(
        &'a self,
        model: &'a Gpt2<B>,
        intervention: &'a Intervention<B>,
    ) -> impl Iterator<Item = Tensor<B, 2>> + 'a {
        let rows: Vec<usize> = (0..self.len()).collect();
        let batches: Vec<Vec<usize>> = rows.chunks(SCORE_BATCH).map(<[usize]>::to_vec).collect();
        batches.into_iter().map(move |rows| {
            let batch = self.pairs.select(&rows);
            intervened_logits(model, &batch.base, batch.source, intervention)
        })
    }

    /// Interchange intervention accuracy, 0..1.
    pub fn iia(&self, model: &Gpt2<B>, intervention: &Intervention<B>) -> Result<f64> {
        let top_1 = Tensor::cat(
            self.logits(model, intervention)
                .map(metric::top_1)
                .collect(),
            0,
        );
        Ok(metric::accuracy(&read_ids(top_1)?, &self.labels))
    }

    /// IIA of random subspaces of this rank, the mean over [`RANDOM_BASES`] of them.
    pub fn random_iia(&self, model: &Gpt2<B>, rank: usize, seed: u64) -> Result<f64> {
        let [_, _, d_model] = self.pairs.source.dims();
        let device = self.pairs.source.device();
        let mut sum = 0.0;
        for idx in 0..RANDOM_BASES {
            // Other seeds than the one that training starts from.
            let rows = random_rows(d_model, rank, !seed.wrapping_add(idx));
            let basis = Tensor::from_data(TensorData::new(rows, [rank, d_model]), &device);
            sum += self.iia(
                model,
                &Intervention::new(Op::Interchange, Featurizer::Rotation(basis)),
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

/// A token that the model may answer.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Candidate {
    /// Token id.
    pub token: u32,
    /// Its logit, nats.
    pub logit: f32,
    /// Its probability, 0..1.
    pub probability: f32,
}

/// What the model says to one pair before and after an intervention.
#[derive(Clone, Debug, Serialize)]
pub struct Swap {
    /// The pair and the intervened answer.
    pub probe: Probe,
    /// The counterfactual answer.
    pub label: u32,
    /// The three likeliest tokens of the base run.
    pub before: Vec<Candidate>,
    /// The three likeliest tokens of the intervened run.
    pub after: Vec<Candidate>,
}

impl Swap {
    /// True if the answer changed.
    pub fn is_flipped(&self) -> bool {
        self.before[0].token != self.after[0].token
    }

    /// True if the intervened answer is the counterfactual one.
    pub fn is_hit(&self) -> bool {
        self.after[0].token == self.label
    }

    /// True if the answer had to change.
    pub fn should_flip(&self) -> bool {
        self.before[0].token != self.label
    }

    /// The swap in two lines: the ends of the prompts, then what the model says.
    pub fn describe(&self, tokenizer: Option<&Tokenizer>) -> String {
        let verdict = match (self.is_flipped(), self.is_hit()) {
            (true, true) => "FLIPPED, as it should",
            (false, true) => "kept, as it should",
            (true, false) => "flipped, and should not have",
            (false, false) => "kept, and should not have been",
        };
        let Probe { base, source, .. } = &self.probe;
        format!(
            "{:<44} source {}\n      {}  ->  {}  {verdict}",
            tail(tokenizer, base),
            tail(tokenizer, source),
            describe_top(tokenizer, &self.before),
            describe_top(tokenizer, &self.after)
        )
    }
}

fn text(tokenizer: Option<&Tokenizer>, ids: &[u32]) -> String {
    match tokenizer {
        Some(tokenizer) => tokenizer.decode(ids),
        None => format!("{ids:?}"),
    }
}

/// The last line of a prompt, which is its query; of a long one, its end.
pub fn tail(tokenizer: Option<&Tokenizer>, ids: &[u32]) -> String {
    let prompt = text(tokenizer, &ids[ids.len().saturating_sub(24)..]);
    prompt.rsplit('\n').next().unwrap_or_default().to_owned()
}

/// Tokens with their probabilities.
pub fn describe_top(tokenizer: Option<&Tokenizer>, candidates: &[Candidate]) -> String {
    let shown = candidates.iter().map(|c| {
        format!(
            "{} {}",
            text(tokenizer, &[c.token]).escape_debug(),
            short(f64::from(c.probability))
        )
    });
    shown.collect::<Vec<_>>().join("  ")
}

/// A share or probability in three characters or four: `.97`, `1.00`.
pub fn short(share: f64) -> String {
    let text = format!("{share:.2}");
    text.strip_prefix('0').map_or(text.clone(), str::to_owned)
}

/// The `n` likeliest tokens.
pub fn top(logits: &[f32], n: usize) -> Vec<Candidate> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = logits.iter().map(|logit| (logit - max).exp()).sum();
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
    let candidate = |idx: usize| Candidate {
        token: idx as u32,
        logit: logits[idx],
        probability: (logits[idx] - max).exp() / sum,
    };
    order.into_iter().take(n).map(candidate).collect()
}

/// A few swaps that show what there is: answers that had to flip, one that had to stay, and one that went wrong.
pub fn varied(swaps: &[Swap]) -> impl Iterator<Item = &Swap> {
    let flips = swaps
        .iter()
        .filter(|swap| swap.should_flip() && swap.is_hit())
        .take(3);
    let stays = swaps
        .iter()
        .filter(|swap| !swap.should_flip() && swap.is_hit())
        .take(1);
    let misses = swaps.iter().filter(|swap| !swap.is_hit()).take(1);
    flips.chain(stays).chain(misses)
}

/// Says how often it works, with the controls beside it and what they mean together.
pub fn report_scores(report: Report, iia: f64, controls: &Controls, rank: usize, swaps: &[Swap]) {
    let n_should = swaps.iter().filter(|swap| swap.should_flip()).count();
    let n_flipped = swaps
        .iter()
        .filter(|swap| swap.should_flip() && swap.is_hit())
        .count();
    let Controls {
        random,
        full,
        shuffled,
    } = controls;
    let row = |label: String, iia: f64, note: &str| {
        report.line(format!("{label:<34}{iia:.3}   {note}").trim_end())
    };
    row(format!("IIA on {} held-out pairs", swaps.len()), iia, "");
    row(
        format!("  a random subspace of rank {rank}"),
        *random,
        "must fail",
    );
    if let Some(shuffled) = shuffled {
        row(
            "  learned on shuffled labels".to_owned(),
            *shuffled,
            "must be worse",
        );
    }
    row("  the whole vector".to_owned(), *full, "should work");
    let numbers = if rank == 1 {
        "one number".to_owned()
    } else {
        format!("{rank} numbers")
    };
    report.line(format!("Swapping {numbers} flipped the answer in {n_flipped} of the {n_should} pairs in which it should."));
    if iia > full + MARGIN {
        report.warn(
            "the subspace does better than the whole vector: either the vector carries other variables too, or the \
             subspace acts through directions that the model itself does not use (Makelov et al. 2023, arXiv:2311.17030)",
        );
    }
    if iia < random + MARGIN {
        report.warn("a random subspace does as well: nothing was found at this site");
    }
}

/// Reads token ids back from the device.
pub fn read_ids<B: Backend>(ids: Tensor<B, 1, Int>) -> Result<Vec<u32>> {
    let ids = ids.into_data().convert::<i64>().to_vec::<i64>();
    let ids =
        ids.map_err(|error| anyhow::anyhow!("reading token ids from the device: {error:?}"))?;
    Ok(ids.into_iter().map(|id| id as u32).collect())
}

/// Reads numbers back from the device.
pub fn read_floats<B: Backend, const D: usize>(values: Tensor<B, D>) -> Result<Vec<f32>> {
    let values = values.into_data().convert::<f32>().to_vec::<f32>();
    values.map_err(|error| anyhow::anyhow!("reading numbers from the device: {error:?}"))
}

//! Pairs whose prompts the model answers right by itself: of the others nobody knows what a swap should do.

use std::collections::HashMap;

use anyhow::{Result, bail};
use burn::tensor::backend::Backend;
use serde_json::json;
use swivel_core::{Decoder, Sizes, question::Pair};

use crate::{question, report::Report};

/// Pairs that are too few to learn from, or to score on.
const TOO_FEW: usize = 8;

/// Sets of pairs, each with what it is for: `train`, `test`.
pub type Sets<'a, P> = [(&'static str, &'a mut Vec<P>)];

/// Leaves out the pairs of which the model does not answer both prompts right, as far as their answers are known; says how many
/// that left, and gives the share. `None` where no answer is known.
///
/// # Errors
/// - If too few are left of a set.
pub fn keep<B: Backend, P: AsRef<Pair>>(
    model: &Decoder<B>,
    sizes: &Sizes,
    sets: &mut Sets<'_, P>,
    choices: Option<&[u32]>,
    report: Report,
) -> Result<Option<f64>> {
    let known = Known::of(model, sizes, sets, choices)?;
    let (mut n_known, mut n_all, mut words) = (0, 0, Vec::new());
    for (what, pairs) in sets.iter_mut() {
        let n = pairs.len();
        pairs.retain(|pair| known.both(pair.as_ref()));
        let n_left = pairs.len();
        if n_left < TOO_FEW.min(n.div_ceil(2)) {
            bail!(
                "the model answers both prompts of only {n_left} of {n} {what} pairs right: too few; `swivel check` says where it \
                 fails. Ask another model or task, or more pairs, or --keep-wrong to take them all"
            );
        }
        if n > 0 {
            words.push(format!("{n_left} of {n} {what}"));
        }
        (n_known, n_all) = (n_known + n_left, n_all + n);
    }
    if known.is_empty() {
        return Ok(None);
    }
    let share = n_known as f64 / n_all.max(1) as f64;
    report.line(format!(
        "  known     {} pairs: the model answers both prompts right; the others are left out",
        words.join(", ")
    ));
    report.event(&json!({ "event": "known", "share": share, "pairs": n_known, "of": n_all }));
    if 2 * n_known < n_all {
        report.warn(format!(
            "the model answers both prompts of {n_known} of {n_all} pairs right, fewer than half: what is found says little of the task"
        ));
    }
    Ok(Some(share))
}

/// Which prompts a model answers right.
struct Known(HashMap<Vec<u32>, bool>);

impl Known {
    /// Asks each prompt once whose answer is known.
    fn of<B: Backend, P: AsRef<Pair>>(
        model: &Decoder<B>,
        sizes: &Sizes,
        sets: &Sets<'_, P>,
        choices: Option<&[u32]>,
    ) -> Result<Self> {
        let mut labels: HashMap<&[u32], u32> = HashMap::new();
        for pair in sets.iter().flat_map(|(_, pairs)| pairs.iter()) {
            let pair = pair.as_ref();
            let base = pair.base_label.map(|label| (pair.base.as_slice(), label));
            let source = pair
                .source_label
                .map(|label| (pair.source.as_slice(), label));
            labels.extend(base.into_iter().chain(source));
        }
        let prompts: Vec<&[u32]> = labels.keys().copied().collect();
        let answers = question::answers(model, sizes, &prompts, choices)?;
        let known = prompts.iter().zip(answers);
        let known = known.map(|(prompt, answer)| (prompt.to_vec(), answer == labels[prompt]));
        Ok(Self(known.collect()))
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True if no answer to one of its prompts is wrong.
    fn both(&self, pair: &Pair) -> bool {
        let is_right = |prompt: &Vec<u32>| self.0.get(prompt).copied().unwrap_or(true);
        is_right(&pair.base) && is_right(&pair.source)
    }
}

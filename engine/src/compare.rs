//! The table of answers from logits.

use crate::protocol::{Answer, AnswerRow, Score};

/// Tokens of each run that the table of answers shows at least.
const TOP_K: usize = 4;
/// Rows of the table of answers.
const N_ROWS: usize = 6;

/// The table of answers from the logits of base, intervened and source run.
pub(crate) fn compare(logits: [&[f32]; 3]) -> Answer {
    let probabilities = logits.map(softmax);
    let tops = logits.map(|logits| largest(logits, TOP_K.max(2)));
    let mut ids: Vec<u32> = tops.iter().flatten().copied().collect();
    ids.sort_unstable();
    ids.dedup();
    let highest = |id: u32| {
        let all = probabilities.iter().map(|p| p[id as usize]);
        all.fold(0.0, f32::max)
    };
    ids.sort_by(|left, right| highest(*right).total_cmp(&highest(*left)));
    // Every run's top answer has a row, however many rows there are.
    ids.sort_by_key(|id| !tops.iter().any(|top| top[0] == *id));
    ids.truncate(N_ROWS);
    let rows = ids
        .into_iter()
        .map(|id| AnswerRow {
            id,
            scores: [0, 1, 2].map(|run| Score {
                logit: logits[run][id as usize],
                probability: probabilities[run][id as usize],
            }),
        })
        .collect();
    let top = [tops[0][0], tops[1][0], tops[2][0]];
    let other = match top[2] == top[0] {
        true => tops[0].get(1).copied().unwrap_or(top[0]),
        false => top[2],
    };
    let pair = [top[0], other];
    let [base, intervened, _] = &probabilities;
    let kl = base
        .iter()
        .zip(intervened)
        .filter(|(base, _)| **base > 0.0)
        .map(|(base, intervened)| base * (base / intervened.max(f32::MIN_POSITIVE)).ln())
        .sum();
    Answer {
        rows,
        top,
        pair,
        differences: logits.map(|logits| logits[pair[1] as usize] - logits[pair[0] as usize]),
        kl,
        computed: [0; 2],
        new_runs: 0,
    }
}

fn softmax(logits: &[f32]) -> Vec<f32> {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights: Vec<f32> = logits.iter().map(|logit| (logit - highest).exp()).collect();
    let sum: f32 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / sum).collect()
}

/// Ids of the `k` largest logits, largest first; of equal ones the lowest id first.
fn largest(logits: &[f32], k: usize) -> Vec<u32> {
    let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
    let k = k.min(ids.len());
    let by_logit = |left: &u32, right: &u32| {
        let order = logits[*right as usize].total_cmp(&logits[*left as usize]);
        order.then(left.cmp(right))
    };
    if k < ids.len() {
        ids.select_nth_unstable_by(k, by_logit);
        ids.truncate(k);
    }
    ids.sort_by(by_logit);
    ids
}

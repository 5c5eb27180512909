//! The table of answers from logits.

use burn::tensor::{Tensor, backend::Backend};
use swivel_core::{
    ids_tensor,
    metric::{Divergence, Reading, columns},
};

use crate::{
    failure::Result,
    protocol::{Answer, AnswerRow, Score},
    readback::read,
};

/// Tokens of each run that the table of answers shows at least.
const TOP_K: usize = 4;
/// Rows of the table of answers.
const N_ROWS: usize = 6;
/// Base, intervened and source run.
const N_RUNS: usize = 3;

/// The table of answers from the logits of base, intervened and source run; an answer is the likeliest token of `among`, where there
/// are some. Only the tokens that it may show are read back.
///
/// # Shapes
/// - `logits`: `[3, d_vocab]`
pub(crate) async fn compare<B: Backend>(logits: Tensor<B, 2>, among: &[u32]) -> Result<Answer> {
    let run = |idx: usize| logits.clone().narrow(0, idx, 1);
    let answers = Reading::of(logits.clone(), 0, TOP_K);
    let [_, k] = answers.top.ids.dims();
    let mut n = N_RUNS * k;
    // What one run answers is asked of every run.
    let mut ids = answers.top.ids.clone().reshape([1, n]); // [1, n]
    if !among.is_empty() {
        ids = Tensor::cat(vec![ids, ids_tensor([among], &logits.device())], 1);
        n += among.len();
    }
    let shown = columns(logits.clone(), 0, &ids.clone().repeat_dim(0, N_RUNS)); // [3, n]
    let kl = Divergence::of(run(0), run(1).unsqueeze_dim(1));
    let kl = kl.kl(answers.log_sum().narrow(0, 1, 1)); // [1, 1]
    let parts = vec![
        ids.float().reshape([n]),
        shown.clone().reshape([N_RUNS * n]),
        answers.probabilities(shown).reshape([N_RUNS * n]),
        kl.reshape([1]),
    ];
    let values = read(Tensor::cat(parts, 0)).await?;
    let (ids, values) = values.split_at(n);
    let ids: Vec<u32> = ids.iter().map(|id| *id as u32).collect();
    let (logits, values) = values.split_at(N_RUNS * n);
    let (probabilities, kl) = values.split_at(N_RUNS * n);
    let at = |column: usize| {
        [0, 1, 2].map(|run| Score {
            logit: logits[run * n + column],
            probability: probabilities[run * n + column],
        })
    };
    let likeliest = [0, k, 2 * k];
    // Columns that count, likeliest first, of each run.
    let counted = |run: usize| {
        let mut columns: Vec<usize> = match among.is_empty() {
            true => (run * k..(run + 1) * k).collect(),
            false => (N_RUNS * k..n).collect(),
        };
        columns.sort_by(|left, right| at(*right)[run].logit.total_cmp(&at(*left)[run].logit));
        columns
    };
    let counted = [0, 1, 2].map(counted);
    let top = [0, 1, 2].map(|run| counted[run][0]);
    let other = match ids[top[2]] == ids[top[0]] {
        true => counted[0][1.min(counted[0].len() - 1)],
        false => top[2],
    };
    let [first, second] = [at(top[0]), at(other)];
    Ok(Answer {
        rows: rows(&ids, [likeliest, top].as_flattened(), at),
        top: top.map(|column| ids[column]),
        pair: [ids[top[0]], ids[other]],
        differences: [0, 1, 2].map(|run| second[run].logit - first[run].logit),
        kl: kl[0],
        computed: [0; 2],
        new_runs: 0,
    })
}

/// The rows of the table, likeliest anywhere first; the columns `top` are the runs' answers and likeliest tokens.
fn rows(ids: &[u32], top: &[usize], at: impl Fn(usize) -> [Score; N_RUNS]) -> Vec<AnswerRow> {
    let mut rows: Vec<AnswerRow> = (ids.iter().enumerate())
        .map(|(column, id)| AnswerRow {
            id: *id,
            scores: at(column),
        })
        .collect();
    rows.sort_by_key(|row| row.id);
    rows.dedup_by_key(|row| row.id);
    let highest = |row: &AnswerRow| {
        let all = row.scores.iter().map(|score| score.probability);
        all.fold(0.0, f32::max)
    };
    rows.sort_by(|left, right| highest(right).total_cmp(&highest(left)));
    // Every run's answer and likeliest token has a row, however many rows there are.
    rows.sort_by_key(|row| !top.iter().any(|column| ids[*column] == row.id));
    rows.truncate(N_ROWS);
    rows
}

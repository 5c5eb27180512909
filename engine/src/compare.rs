//! The table of answers from logits.

use std::sync::OnceLock;

use burn::tensor::{Tensor, backend::Backend};
use swivel_core::{ids_tensor, metric::Reading};

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

/// What a run says after its last token.
#[derive(Clone)]
pub(crate) struct Said<B: Backend> {
    /// Nats, `[rows, d_vocab]`.
    logits: Tensor<B, 2>,
    reading: Reading<B>,
    /// 0..1, `[rows, d_vocab]`, once something was compared with it.
    probabilities: OnceLock<Tensor<B, 2>>,
}

impl<B: Backend> Said<B> {
    /// # Shapes
    /// - `logits`: `[rows, d_vocab]`, nats
    pub fn of(logits: Tensor<B, 2>) -> Self {
        Self {
            reading: Reading::of(logits.clone(), 0, TOP_K),
            logits,
            probabilities: OnceLock::new(),
        }
    }

    /// Logarithm of the sum of all exponentials, nats.
    ///
    /// # Shapes
    /// - result: `[rows, 1]`
    pub fn log_sum(&self) -> Tensor<B, 2> {
        self.reading.log_sum()
    }

    /// Probabilities of the whole vocabulary.
    fn probabilities(&self) -> Tensor<B, 2> {
        let compute = || self.reading.probabilities(self.logits.clone());
        self.probabilities.get_or_init(compute).clone()
    }
}

/// The table of answers from what base, intervened and source run say, a row each; an answer is the likeliest token of `among`, where there are
/// some. Only the tokens that it may show are read back.
pub(crate) async fn compare<B: Backend>(runs: [&Said<B>; N_RUNS], among: &[u32]) -> Result<Answer> {
    let [base, intervened, _] = runs;
    let device = base.logits.device();
    // What one run answers is asked of every run.
    let mut ids = runs.map(|run| run.reading.top.ids.clone()).to_vec(); // [1, k] each
    let k = ids[0].dims()[1];
    let mut n = N_RUNS * k;
    if !among.is_empty() {
        ids.push(ids_tensor([among], &device));
        n += among.len();
    }
    let ids = Tensor::cat(ids, 1); // [1, n]
    let of_each = |part: &dyn Fn(&Said<B>) -> Tensor<B, 2>| Tensor::cat(runs.map(part).to_vec(), 0);
    let shown = of_each(&|run| run.logits.clone().gather(1, ids.clone())); // [3, n]
    let probabilities = of_each(&|run| {
        let logits = run.logits.clone().gather(1, ids.clone());
        run.reading.probabilities(logits)
    });
    // KL(base ‖ intervened): the sum of p (b - log_sum_b - f + log_sum_f).
    let apart = base.logits.clone() - intervened.logits.clone();
    let kl = (apart * base.probabilities()).sum_dim(1) + (intervened.log_sum() - base.log_sum()); // [1, 1]
    let parts = vec![
        ids.float().reshape([n]),
        shown.reshape([N_RUNS * n]),
        probabilities.reshape([N_RUNS * n]),
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

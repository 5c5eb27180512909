//! Prompts of the solver's task, line by line, and what a model answers in each line.

use std::collections::HashSet;

use burn::tensor::{Int, Tensor, TensorData, backend::Backend};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use swivel_core::{
    Decoder, ids_tensor,
    question::programs::{Lexicon, P_OPS, Program},
};

use super::settings::Stage;

/// Tokens of a line with its answer and the newline.
pub const LINE: usize = 12;
/// Place of `=` in a line: there the answer is predicted.
const EQUALS: usize = 9;

/// Lines that were trained on, by their words.
pub type Trained = HashSet<[usize; 5]>;

/// Where prompts come from.
pub struct Lines {
    /// What is computed.
    pub program: Program,
    /// Words as tokens.
    pub lexicon: Lexicon,
}

/// A batch of prompts of one length.
pub struct Batch {
    ids: Vec<Vec<u32>>,
    /// Line that each prompt starts at.
    first_lines: Vec<usize>,
    /// Answers of all lines, prompt by prompt.
    pub answers: Vec<u32>,
}

impl Lines {
    /// The next batch of a stage, at the place of any of `n_slots` lines; what it asks is added to what was trained on.
    pub fn batch(
        &self,
        stage: &Stage,
        n_slots: usize,
        rng: &mut ChaCha8Rng,
        trained: &mut Trained,
    ) -> Batch {
        let mut batch = Batch {
            ids: Vec::new(),
            first_lines: Vec::new(),
            answers: Vec::new(),
        };
        for _ in 0..stage.batch {
            let lines: Vec<[usize; 5]> = (0..stage.lines)
                .map(|_| {
                    self.program
                        .sample_line(&self.lexicon.words, stage.p_ops, rng)
                })
                .collect();
            trained.extend(&lines);
            batch
                .first_lines
                .push(rng.random_range(0..=n_slots - stage.lines));
            batch
                .answers
                .extend(lines.iter().map(|line| self.answer(line)));
            batch.ids.extend(
                lines
                    .split_last()
                    .map(|(query, shots)| self.lexicon.prompt(&self.program, shots, query)),
            );
        }
        batch
    }

    /// Token id of the answer to a line.
    fn answer(&self, line: &[usize; 5]) -> u32 {
        let [.., op5] = self.program.ops(&self.lexicon.words, line);
        self.lexicon.answer(op5)
    }

    /// Prompts with so many demonstrations whose queries were never trained on, and the answers to them.
    pub fn held_out(
        &self,
        n_prompts: usize,
        shots: usize,
        rng: &mut ChaCha8Rng,
        trained: &Trained,
    ) -> (Vec<Vec<u32>>, Vec<u32>) {
        let words = &self.lexicon.words;
        let (mut prompts, mut answers) = (Vec::new(), Vec::new());
        while prompts.len() < n_prompts {
            let query = self.program.sample_line(words, P_OPS, rng);
            if trained.contains(&query) {
                continue;
            }
            let demonstrations: Vec<[usize; 5]> = (0..shots)
                .map(|_| self.program.sample_line(words, P_OPS, rng))
                .collect();
            prompts.push(self.lexicon.prompt(&self.program, &demonstrations, &query));
            answers.push(self.answer(&query));
        }
        (prompts, answers)
    }
}

/// Logits at the `=` of every line.
///
/// # Shapes
/// - result: `[batch * lines, d_vocab]`
pub fn answer_logits<B: Backend>(model: &Decoder<B>, batch: &Batch, lines: usize) -> Tensor<B, 2> {
    let device = model.device();
    let ids = ids_tensor::<B>(&batch.ids, &device);
    let [n_rows, pos] = ids.dims();
    let positions: Vec<i64> = batch
        .first_lines
        .iter()
        .flat_map(|line| (0..pos).map(move |position| (line * LINE + position) as i64))
        .collect();
    let positions =
        Tensor::<B, 2, Int>::from_data(TensorData::new(positions, [n_rows, pos]), &device);
    let mut x = model.embed_tokens.forward(ids, &model.kernels); // [batch, pos, d_model]
    if let Some(embedding) = &model.embed_positions {
        x = x + embedding.forward(positions);
    }
    for (l, layer) in model.layers.iter().enumerate() {
        (x, _) = layer.forward(x, None, l, &mut ());
    }
    let equals: Vec<i64> = (0..lines)
        .map(|line| (line * LINE + EQUALS) as i64)
        .collect();
    let x = x.select(
        1,
        Tensor::from_data(TensorData::new(equals, [lines]), &device),
    ); // [batch, lines, d_model]
    let logits = model.unembed(x, &mut ()); // [batch, lines, d_vocab]
    let d_vocab = logits.dims()[2];
    logits.reshape([n_rows * lines, d_vocab])
}

//! Counterfactual pairs of a program and one of its variables, sampled.

use std::collections::HashSet;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{Lexicon, P_OPS, Program, VARIABLES};
use crate::question::{
    Pair, TaskError,
    causal::{CausalModel, Value},
};

/// How often sampling may fail for each pair that is asked for, before it is given up.
const TRIES_PER_PAIR: usize = 2000;

/// Counterfactual pairs of one program and one variable.
pub struct Sampler<'a> {
    program: &'a Program,
    lexicon: &'a Lexicon,
    causal_model: CausalModel,
    variable: usize,
    /// Demonstrations in front of each query.
    shots: usize,
    seen: HashSet<([usize; 5], [usize; 5])>,
}

impl<'a> Sampler<'a> {
    /// Pairs for `variable`, with `shots` demonstrations in front of each line.
    ///
    /// # Errors
    /// - [`TaskError::VariableUnknown`] if the program has no such variable.
    pub fn new(
        program: &'a Program,
        lexicon: &'a Lexicon,
        variable: &str,
        shots: usize,
    ) -> Result<Self, TaskError> {
        let causal_model = program.causal_model(&lexicon.words);
        let variable = causal_model.variable(variable)?;
        Ok(Self {
            program,
            lexicon,
            causal_model,
            variable,
            shots,
            seen: HashSet::new(),
        })
    }

    /// `n_pairs` pairs that this sampler has not given before: in the first half the counterfactual label differs from the
    /// base's answer, in the second half it equals it. A function of the seed and of what was sampled before.
    ///
    /// # Errors
    /// - [`TaskError::PairsExhausted`] if there are not that many different pairs.
    pub fn pairs(&mut self, n_pairs: usize, seed: u64) -> Result<Vec<Pair>, TaskError> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut pairs = Vec::with_capacity(n_pairs);
        let mut tries = TRIES_PER_PAIR * n_pairs;
        while pairs.len() < n_pairs {
            if tries == 0 {
                return Err(TaskError::PairsExhausted {
                    wanted: n_pairs,
                    found: pairs.len(),
                    variable: VARIABLES[self.variable].to_owned(),
                });
            }
            tries -= 1;
            let wants_change = pairs.len() < n_pairs / 2;
            pairs.extend(self.pair(wants_change, &mut rng));
        }
        Ok(pairs)
    }

    fn pair(&mut self, wants_change: bool, rng: &mut ChaCha8Rng) -> Option<Pair> {
        let Self {
            program, lexicon, ..
        } = *self;
        let words = &lexicon.words;
        let [base, source] = [(); 2].map(|()| program.sample_line(words, P_OPS, rng));
        let worlds = [base, source].map(|line| self.causal_model.run(&line.map(Value::Word)));
        let values = worlds.map(|values| match values[self.variable] {
            Value::Word(word) => words.word(word).to_owned(),
            Value::Truth(truth) => truth.to_string(),
        });
        let label = self.causal_model.interchange(
            &base.map(Value::Word),
            &source.map(Value::Word),
            self.variable,
        );
        let label = label[VARIABLES.len() - 1] == Value::Truth(true);
        let [.., answer] = program.ops(words, &base);
        let [.., source_answer] = program.ops(words, &source);
        if (label != answer) != wants_change || !self.seen.insert((base, source)) {
            return None;
        }
        let [base, source] = [base, source].map(|line| {
            let shots: Vec<[usize; 5]> = (0..self.shots)
                .map(|_| program.sample_line(words, P_OPS, rng))
                .collect();
            lexicon.prompt(program, &shots, &line)
        });
        Some(Pair {
            base_position: base.len() - 1,
            source_position: source.len() - 1,
            base,
            source,
            label: lexicon.answer(label),
            base_label: Some(lexicon.answer(answer)),
            source_label: Some(lexicon.answer(source_answer)),
            values: Some(values),
        })
    }
}

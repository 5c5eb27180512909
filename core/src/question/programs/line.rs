//! Five words at random, for which the operations of a program come out as wanted.

use rand::{RngExt, seq::IndexedRandom};

use super::{Program, Relation, Words};

/// Probabilities with which op1, op2 and op3 are true in the task's lines.
pub const P_OPS: [f64; 3] = [0.5; 3];
/// Probability that an unequal word is a synonym of the one it is compared with.
const P_SYNONYM: f64 = 0.25;
/// Probability that an unequal word is one that the line already has.
const P_REPEATED: f64 = 0.25;

impl Program {
    /// Five words for which op1, op2 and op3 are true with these probabilities, independently; the task has 1/2 each.
    pub fn sample_line(&self, words: &Words, p_ops: [f64; 3], rng: &mut impl RngExt) -> [usize; 5] {
        let [op1, op2, op3] = p_ops.map(|p| rng.random_bool(p));
        let mut line: [Option<usize>; 5] = [None; 5];
        // Either group first, so that either can repeat a word of the other.
        if rng.random_bool(0.5) {
            self.sample_compared(words, &mut line, [op1, op2], rng);
            self.sample_synonyms(words, &mut line, op3, rng);
        } else {
            self.sample_synonyms(words, &mut line, op3, rng);
            self.sample_compared(words, &mut line, [op1, op2], rng);
        }
        line.map(|word| {
            word.unwrap_or_else(|| unreachable!("a program uses each of the five words"))
        })
    }

    fn sample_compared(
        &self,
        words: &Words,
        line: &mut [Option<usize>; 5],
        ops: [bool; 2],
        rng: &mut impl RngExt,
    ) {
        let [i1, i2, i3] = self.compared;
        let middle = words.repeated(line, rng).unwrap_or_else(|| words.any(rng));
        line[i2] = Some(middle);
        for ((idx, relation), op) in [i1, i3].into_iter().zip(self.relations).zip(ops) {
            let is_equal = op == (relation == Relation::Equal);
            line[idx] = Some(if is_equal {
                middle
            } else {
                words.unequal(middle, line, rng)
            });
        }
    }

    fn sample_synonyms(
        &self,
        words: &Words,
        line: &mut [Option<usize>; 5],
        op3: bool,
        rng: &mut impl RngExt,
    ) {
        let [left, right] = self.synonyms;
        if op3 {
            let word = words.any_with_synonym(rng);
            line[left] = Some(word);
            line[right] = Some(words.any_synonym(word, rng));
        } else {
            let word = words.repeated(line, rng).unwrap_or_else(|| words.any(rng));
            line[left] = Some(word);
            line[right] = Some(words.unrelated(word, line, rng));
        }
    }
}

impl Words {
    fn any(&self, rng: &mut impl RngExt) -> usize {
        rng.random_range(0..self.len())
    }

    fn any_with_synonym(&self, rng: &mut impl RngExt) -> usize {
        self.paired()[rng.random_range(0..self.paired().len())]
    }

    fn any_synonym(&self, word: usize, rng: &mut impl RngExt) -> usize {
        self.synonyms(word).choose(rng).copied().unwrap_or(word)
    }

    /// With probability [`P_REPEATED`], a word that the line already has.
    fn repeated(&self, line: &[Option<usize>], rng: &mut impl RngExt) -> Option<usize> {
        let taken: Vec<usize> = line.iter().flatten().copied().collect();
        rng.random_bool(P_REPEATED)
            .then(|| taken.choose(rng).copied())
            .flatten()
    }

    fn unequal(&self, word: usize, line: &[Option<usize>], rng: &mut impl RngExt) -> usize {
        if !self.synonyms(word).is_empty() && rng.random_bool(P_SYNONYM) {
            return self.any_synonym(word, rng);
        }
        self.differing(line, rng, |candidate| candidate != word)
    }

    fn unrelated(&self, word: usize, line: &[Option<usize>], rng: &mut impl RngExt) -> usize {
        self.differing(line, rng, |candidate| {
            candidate != word && !self.are_synonyms(candidate, word)
        })
    }

    fn differing(
        &self,
        line: &[Option<usize>],
        rng: &mut impl RngExt,
        fits: impl Fn(usize) -> bool,
    ) -> usize {
        if let Some(word) = self
            .repeated(line, rng)
            .filter(|candidate| fits(*candidate))
        {
            return word;
        }
        loop {
            let word = self.any(rng);
            if fits(word) {
                return word;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::question::programs::program;

    #[test]
    fn operations_are_true_half_of_the_time_and_independent() {
        let words = Words::embedded().unwrap();
        let program = program("07065a").unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let mut counts = [0; 8];
        for _ in 0..8000 {
            let line = program.sample_line(&words, P_OPS, &mut rng);
            let [op1, op2, op3, ..] = program.ops(&words, &line);
            counts[usize::from(op1) + 2 * usize::from(op2) + 4 * usize::from(op3)] += 1;
        }
        // Each of the 8 combinations is expected 1000 times with a standard deviation of 30.
        assert!(
            counts.iter().all(|count| (850..1150).contains(count)),
            "{counts:?}"
        );
    }
}

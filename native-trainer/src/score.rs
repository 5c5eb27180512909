//! How well an intervention works on cached pairs: IIA, its controls, and what the model says before and after.

use std::ops::Add;

use anyhow::{Context, Result};
use burn::tensor::{Int, Tensor, TensorData, backend::Backend};
use serde_json::{Value, json};
use swivel_core::{
    Decoder,
    direction::{Controls, Probe},
    ids_tensor,
    intervention::{Featurizer, Intervention, Op},
    metric::TokenReading,
    question::Pair,
    train::random_rows,
};

use swivel_core::metric::Count;

use crate::{
    cached::Cached,
    question::answers_of,
    readout::{Candidate, Swap, candidates},
    tensors::read_floats,
};

/// Tokens that are shown of what a model says, likeliest first.
const SHOWN: usize = 3;
/// Random subspaces that a control is the mean of.
const RANDOM_BASES: u64 = 5;

/// The swap of what lies in a subspace.
///
/// # Shapes
/// - `basis`: `[rank, width]`
pub fn swap_along<B: Backend>(basis: Tensor<B, 2>) -> Intervention<B> {
    Intervention::new(Op::Interchange, Featurizer::Subspace(basis))
}

/// The swap of whole vectors.
pub fn swap_whole<B: Backend>() -> Intervention<B> {
    Intervention::new(Op::Interchange, Featurizer::Identity)
}

/// How often an intervened model gives the label.
#[derive(Clone, Copy, Debug, Default)]
pub struct Score {
    /// In all pairs: IIA.
    pub all: Count,
    /// In those whose answer should turn, as far as that is known.
    pub turn: Count,
}

impl Score {
    /// Of hits in pairs of which some should turn.
    pub fn of(hits: &[bool], turns: &[Option<bool>]) -> Self {
        let turning = hits.iter().zip(turns);
        let turning = turning.filter(|(_, turns)| **turns == Some(true));
        Self {
            all: Count::of(hits.iter().copied()),
            turn: Count::of(turning.map(|(hit, _)| *hit)),
        }
    }

    /// Those that turned of those that should; `None` where it is not known which.
    pub fn turned(self) -> Option<[usize; 2]> {
        let Count { n_right, n } = self.turn;
        (n > 0).then_some([n, n_right])
    }

    /// All that, for programs.
    pub fn json(self) -> Value {
        json!({ "all": self.all.json(), "turn": self.turn.json() })
    }
}

impl Add for Score {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            all: self.all + other.all,
            turn: self.turn + other.turn,
        }
    }
}

/// Bases that a learned one is compared with.
#[derive(Clone, Debug)]
pub struct Bases<B: Backend> {
    /// Learned on shuffled labels.
    pub shuffled: Option<Tensor<B, 2>>,
    /// Of the means of the variable's values.
    pub mean_difference: Option<Tensor<B, 2>>,
    /// Of source less base.
    pub pca: Option<Tensor<B, 2>>,
    /// Of the answers' unembeddings.
    pub unembedding: Option<Tensor<B, 2>>,
}

impl<B: Backend> Default for Bases<B> {
    fn default() -> Self {
        Self {
            shuffled: None,
            mean_difference: None,
            pca: None,
            unembedding: None,
        }
    }
}

/// Scores of what must not work, of what must, and of what is cheap, on the same pairs.
#[derive(Clone, Copy, Debug)]
pub struct Compared {
    /// Random subspaces.
    pub random: Score,
    /// The whole vector.
    pub full: Score,
    /// Learned on shuffled labels.
    pub shuffled: Option<Score>,
    /// The means of the variable's values.
    pub mean_difference: Option<Score>,
    /// Principal components of source less base.
    pub pca: Option<Score>,
    /// The answers' unembeddings.
    pub unembedding: Option<Score>,
}

impl Compared {
    /// What files keep of it.
    pub fn controls(&self) -> Controls {
        let share = |score: &Option<Score>| score.map(|score| score.all.share());
        Controls {
            random: self.random.all.share(),
            full: self.full.all.share(),
            shuffled: share(&self.shuffled),
            mean_difference: share(&self.mean_difference),
            pca: share(&self.pca),
            unembedding: share(&self.unembedding),
        }
    }

    /// All that, for programs.
    pub fn json(&self) -> Value {
        let Self {
            random,
            full,
            shuffled,
            mean_difference,
            pca,
            unembedding,
        } = self;
        let mut json = json!({ "random": random.json(), "full": full.json() });
        for (name, score) in [
            ("shuffled", shuffled),
            ("mean_difference", mean_difference),
            ("pca", pca),
            ("unembedding", unembedding),
        ] {
            if let Some(score) = score {
                json[name] = score.json();
            }
        }
        json
    }
}

/// What a model says: the likeliest token of all, and the likeliest of those that are answers.
type Said = (Candidate, Vec<Candidate>);

/// The same tokens for each row.
fn choice_ids<B: Backend>(choices: &[u32], normed: &Tensor<B, 2>) -> Tensor<B, 2, Int> {
    ids_tensor(
        std::iter::repeat_n(choices, normed.dims()[0]),
        &normed.device(),
    )
}

impl<B: Backend> Cached<B> {
    /// What the head reads at the last position of every pair's resumed run, `[batch, d_model]` a batch of pairs, and which
    /// pairs these are.
    pub fn normed<'a>(
        &'a self,
        model: &'a Decoder<B>,
        intervention: &'a Intervention<B>,
    ) -> impl Iterator<Item = Result<(Vec<usize>, Tensor<B, 2>)>> + 'a {
        self.batches()
            .map(move |(batch, pairs)| Ok((batch, pairs?.normed(model, intervention))))
    }

    /// In which pairs the intervened model answers with the label.
    pub fn hits(&self, model: &Decoder<B>, intervention: &Intervention<B>) -> Result<Vec<bool>> {
        let mut hits = vec![false; self.len()];
        for batch in self.normed(model, intervention) {
            let (pairs, normed) = batch?;
            let answers = answers_of(model, normed, self.choices.as_deref())?;
            for (pair, answer) in pairs.into_iter().zip(answers) {
                hits[pair] = answer == self.labels[pair];
            }
        }
        Ok(hits)
    }

    /// How often the intervened model answers with the label.
    pub fn score(&self, model: &Decoder<B>, intervention: &Intervention<B>) -> Result<Score> {
        Ok(Score::of(&self.hits(model, intervention)?, &self.turns))
    }

    /// Interchange intervention accuracy, 0..1.
    pub fn iia(&self, model: &Decoder<B>, intervention: &Intervention<B>) -> Result<f64> {
        Ok(self.score(model, intervention)?.all.share())
    }

    /// What a subspace is compared with, at a place of this width: random ones of its rank, the whole vector, and these bases.
    pub fn controls(
        &self,
        model: &Decoder<B>,
        [width, rank]: [usize; 2],
        seed: u64,
        bases: &Bases<B>,
    ) -> Result<Compared> {
        let along = |basis: &Option<Tensor<B, 2>>| {
            let basis = basis.clone();
            let score = basis.map(|basis| self.score(model, &swap_along(basis)));
            score.transpose()
        };
        Ok(Compared {
            random: self.random(model, [width, rank], seed)?,
            full: self.score(model, &swap_whole())?,
            shuffled: along(&bases.shuffled)?,
            mean_difference: along(&bases.mean_difference)?,
            pca: along(&bases.pca)?,
            unembedding: along(&bases.unembedding)?,
        })
    }

    /// How often random subspaces of this rank of a site of this width do it, the sum over [`RANDOM_BASES`] of them.
    fn random(&self, model: &Decoder<B>, [width, rank]: [usize; 2], seed: u64) -> Result<Score> {
        let device = model.device();
        let mut sum = Score::default();
        for idx in 0..RANDOM_BASES {
            // Other seeds than the one that training starts from.
            let rows = random_rows(width, rank, !seed.wrapping_add(idx));
            let basis = Tensor::from_data(TensorData::new(rows, [rank, width]), &device);
            sum = sum + self.score(model, &swap_along(basis))?;
        }
        Ok(sum)
    }

    /// The likeliest token of all, and the likeliest of those that are answers, likeliest first.
    ///
    /// # Shapes
    /// - `normed`: `[rows, d_model]`
    fn said(&self, model: &Decoder<B>, normed: Tensor<B, 2>) -> Result<Vec<Said>> {
        let Some(choices) = &self.choices else {
            let rows = candidates(&model.read(normed, SHOWN))?.into_iter();
            return Ok(rows.map(|row| (row[0], row)).collect());
        };
        let ids = choice_ids(choices, &normed);
        let TokenReading { reading, logits } = model.read_tokens(normed, &ids);
        let tops = candidates(&reading)?.into_iter().map(|row| row[0]);
        let probabilities = reading.probabilities(logits.clone());
        let (logits, probabilities) = (read_floats(logits)?, read_floats(probabilities)?);
        let rows = logits
            .chunks(choices.len())
            .zip(probabilities.chunks(choices.len()));
        let row = |(logits, probabilities): (&[f32], &[f32])| {
            let all = choices.iter().zip(logits).zip(probabilities);
            let mut all: Vec<Candidate> = all
                .map(|((token, logit), probability)| Candidate {
                    token: *token,
                    logit: *logit,
                    probability: *probability,
                })
                .collect();
            all.sort_by(|a, b| b.logit.total_cmp(&a.logit));
            all.truncate(SHOWN);
            all
        };
        Ok(tops.zip(rows.map(row)).collect())
    }

    /// What each pair's model says before and after an intervention.
    pub fn swaps(
        &self,
        model: &Decoder<B>,
        intervention: &Intervention<B>,
        pairs: &[Pair],
    ) -> Result<Vec<Swap>> {
        let untouched = Intervention {
            strength: 0.0,
            ..intervention.clone()
        };
        let mut swaps = vec![None; pairs.len()];
        let batches = self
            .normed(model, &untouched)
            .zip(self.normed(model, intervention));
        for (before, after) in batches {
            let ((batch, before), (_, after)) = (before?, after?);
            let [before, after] = [self.said(model, before)?, self.said(model, after)?];
            let said = before.into_iter().zip(after);
            for (idx, ((_, before), (top, after))) in batch.into_iter().zip(said) {
                let pair = &pairs[idx];
                // What a loader of the file runs again: the likeliest token of all.
                let probe = Probe {
                    base: pair.base.clone(),
                    source: pair.source.clone(),
                    source_position: (pair.source_position != pair.base_position)
                        .then_some(pair.source_position),
                    top_1: top.token,
                    logit: top.logit,
                };
                swaps[idx] = Some(Swap {
                    probe,
                    label: pair.label,
                    before,
                    after,
                });
            }
        }
        swaps
            .into_iter()
            .collect::<Option<_>>()
            .context("a pair was not run")
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn_flex::Flex;
    use swivel_core::{
        Component, Place, Position,
        cone::Storage,
        question::programs::{Lexicon, Sampler, program},
    };

    use super::*;
    use crate::{
        cached::{CacheConfig, Memory},
        model_files::{ModelFiles, SOLVER},
        report::Report,
    };

    /// Prompts of several lengths in one set answer as each length by itself does, and learn the same.
    #[test]
    fn prompts_of_several_lengths_run_as_each_by_itself() {
        let files = ModelFiles::open(SOLVER).unwrap();
        let (model, _) = files
            .load::<Flex>(&Default::default(), Report::Json)
            .unwrap();
        let lexicon = Lexicon::embedded(files.tokenizer().unwrap()).unwrap();
        let program = program("07065a").unwrap();
        let sets: Vec<Vec<Pair>> = (0..3)
            .map(|shots| {
                Sampler::new(&program, &lexicon, "op5", shots)
                    .unwrap()
                    .pairs(8, 3)
                    .unwrap()
            })
            .collect();
        // One of each length after the other.
        let mixed: Vec<Pair> = (0..24).map(|idx| sets[idx % 3][idx / 3].clone()).collect();
        let place = Place::new(Component::BlockOutput.at(1), Position::LAST);
        let cache = CacheConfig {
            storage: Storage::F32,
            memory: Memory::HalfOfFree,
        };
        let cached = |pairs: &[Pair]| {
            Cached::run(&model, files.sizes(), place, pairs, cache, "pairs")
                .unwrap()
                .0
        };
        let swap = swap_whole();
        let whole = cached(&mixed);
        let labels: Vec<u32> = (0..24).collect();
        assert_eq!(whole.with_labels(labels.clone()).labels, labels);
        let found = whole.swaps(&model, &swap, &mixed).unwrap();
        for (shots, set) in sets.iter().enumerate() {
            let expected = cached(set).swaps(&model, &swap, set).unwrap();
            for (idx, expected) in expected.iter().enumerate() {
                let found = &found[3 * idx + shots];
                assert_eq!(found.label, expected.label);
                for (a, b) in [
                    (&found.before, &expected.before),
                    (&found.after, &expected.after),
                ] {
                    assert_eq!(a[0].token, b[0].token);
                    assert!((a[0].logit - b[0].logit).abs() < 1e-4, "{a:?} {b:?}");
                }
            }
        }
        // Answers by choice are those of the likeliest of the choices.
        let [no, yes] = [false, true].map(|truth| lexicon.answer(truth));
        let chosen = whole.with_choices(Some(vec![no, yes]));
        let swaps = chosen.swaps(&model, &swap, &mixed).unwrap();
        let n_hits = swaps.iter().filter(|swap| swap.is_hit()).count();
        let iia = chosen.iia(&model, &swap).unwrap();
        assert_eq!(iia, n_hits as f64 / 24.0);
        assert!(
            swaps
                .iter()
                .all(|swap| [no, yes].contains(&swap.after[0].token))
        );
    }
}

//! How well an intervention works on cached pairs: IIA, its controls, and what the model says before and after.

use anyhow::{Context, Result};
use burn::tensor::{Int, Tensor, TensorData, backend::Backend};
use swivel_core::{
    Decoder,
    direction::{Controls, Probe},
    ids_tensor,
    intervention::{Featurizer, Intervention, Op},
    metric::{self, TokenReading},
    question::Pair,
    train::random_rows,
};

use crate::{
    cached::Cached,
    readout::{Candidate, Swap, candidates},
    tensors::{read_floats, read_ids},
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

    /// Interchange intervention accuracy, 0..1.
    pub fn iia(&self, model: &Decoder<B>, intervention: &Intervention<B>) -> Result<f64> {
        let (mut labels, mut top_1) = (Vec::new(), Vec::<Tensor<B, 2, Int>>::new());
        for batch in self.normed(model, intervention) {
            let (pairs, normed) = batch?;
            labels.extend(pairs.into_iter().map(|pair| self.labels[pair]));
            top_1.push(match &self.choices {
                None => model.top(normed, 1).ids,
                Some(choices) => {
                    let ids = choice_ids(choices, &normed);
                    let best = model.read_tokens(normed, &ids).logits.argmax(1); // [rows, 1]
                    ids.gather(1, best)
                }
            });
        }
        let top_1 = read_ids(Tensor::cat(top_1, 0).squeeze_dim(1))?;
        Ok(metric::accuracy(&top_1, &labels))
    }

    /// IIA that a subspace of this rank is compared with, at a place of this width; `noise` is a basis that was learned on
    /// shuffled labels.
    pub fn controls(
        &self,
        model: &Decoder<B>,
        [width, rank]: [usize; 2],
        seed: u64,
        noise: Option<Tensor<B, 2>>,
    ) -> Result<Controls> {
        let noise = noise.map(|basis| self.iia(model, &swap_along(basis)));
        Ok(Controls {
            random: self.random_iia(model, [width, rank], seed)?,
            full: self.iia(model, &swap_whole())?,
            shuffled: noise.transpose()?,
        })
    }

    /// IIA of random subspaces of this rank of a site of this width, the mean over [`RANDOM_BASES`] of them.
    fn random_iia(&self, model: &Decoder<B>, [width, rank]: [usize; 2], seed: u64) -> Result<f64> {
        let device = model.device();
        let mut sum = 0.0;
        for idx in 0..RANDOM_BASES {
            // Other seeds than the one that training starts from.
            let rows = random_rows(width, rank, !seed.wrapping_add(idx));
            let basis = Tensor::from_data(TensorData::new(rows, [rank, width]), &device);
            sum += self.iia(model, &swap_along(basis))?;
        }
        Ok(sum / RANDOM_BASES as f64)
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

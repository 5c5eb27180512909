//! What scores and their controls say together, and how that is said.

use std::{collections::HashMap, process::ExitCode};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use swivel_core::{Tokenizer, direction::Controls};

use crate::{
    readout::Swap,
    report::Report,
    score::{Compared, Score},
};

/// IIA that two scores must differ by to be told apart: more than twice 0.022, the standard error of the difference of two
/// shares of 1000 pairs, which is greatest at one half.
const MARGIN: f64 = 0.05;

/// What a direction is suspected of that does clearly better than the whole vector.
pub const BEATS_WHOLE_VECTOR: &str = "the subspace does clearly better than the whole vector: either the vector carries other variables too, or the subspace acts \
     through directions that the model itself does not use (Makelov et al. 2023, arXiv:2311.17030)";

/// Swaps of the examples that are drawn from those whose answer should turn, and from those whose answer should stay.
const EXAMPLES: [usize; 2] = [3, 2];

/// Swaps whose answer should turn, and swaps whose answer should stay.
fn by_duty(swaps: &[Swap]) -> [Vec<&Swap>; 2] {
    let (turn, stay) = swaps.iter().partition(|swap| swap.should_flip());
    [turn, stay]
}

/// A few of these swaps, drawn at random, whatever became of them.
fn draw<'a>(swaps: &[&'a Swap], n: usize, rng: &mut ChaCha8Rng) -> Vec<&'a Swap> {
    let drawn = rand::seq::index::sample(rng, swaps.len(), n.min(swaps.len()));
    drawn.into_iter().map(|idx| swaps[idx]).collect()
}

/// Shows a few held-out pairs, which the seed draws.
pub fn show_examples(report: Report, swaps: &[Swap], seed: u64, tokenizer: Option<&Tokenizer>) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let duties = by_duty(swaps);
    let drawn = [0, 1].map(|idx| draw(&duties[idx], EXAMPLES[idx], &mut rng));
    report.line(format!(
        "{} of {} held-out pairs, drawn at random: {} that should turn, {} that should stay",
        drawn[0].len() + drawn[1].len(),
        swaps.len(),
        drawn[0].len(),
        drawn[1].len()
    ));
    for swap in drawn.into_iter().flatten() {
        report.line(format!("  {}", swap.describe(tokenizer)));
        report.event(&json!({ "example": swap }));
    }
}

/// Share of pairs that nothing has to be done for: the base's own answer is the counterfactual one.
fn untouched(swaps: &[Swap]) -> f64 {
    let [_, stay] = by_duty(swaps);
    stay.len() as f64 / swaps.len() as f64
}

/// IIA that one may have about who knows the labels, but not which pair has which; the greater of two:
/// - always the most frequent label;
/// - as if from a coin: right in all pairs whose answer stays, since base and source agree there and whatever is swapped
///   between them says the same, and right in half of the others. A direction learned on shuffled labels comes to that where
///   the answer itself can be swapped: each label is as often wrong as right, so that the loss is least where the model is
///   undecided, which is half way from the base's answer to the source's. There a small turn decides many pairs at once, and
///   the score may lie some hundredths to either side.
fn labels_alone(swaps: &[Swap]) -> f64 {
    let mut counts: HashMap<u32, usize> = HashMap::new();
    for swap in swaps {
        *counts.entry(swap.label).or_default() += 1;
    }
    let most = counts.into_values().max().unwrap_or(0) as f64 / swaps.len() as f64;
    let stays = untouched(swaps);
    most.max(stays + (1.0 - stays) / 2.0)
}

/// What IIA and controls say together.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// True if every control is as it must be.
    pub is_sound: bool,
    /// IIA that labels alone give, about.
    pub labels_alone: f64,
}

impl Found {
    /// 0 if every control is as it must be, 1 if one is not.
    pub fn exit_code(self) -> ExitCode {
        match self.is_sound {
            true => ExitCode::SUCCESS,
            false => ExitCode::from(1),
        }
    }
}

/// A control or a baseline beside the score.
struct Check {
    name: String,
    share: f64,
    /// What it must do; nothing where it is a baseline.
    must: &'static str,
    /// What is wrong, where it is not as it must be.
    failure: Option<&'static str>,
    note: String,
}

/// The controls of a score, each with its verdict, then what is cheap.
fn checks(iia: f64, controls: &Controls, rank: usize, swaps: &[Swap]) -> Vec<Check> {
    let Controls {
        random,
        full,
        shuffled,
        mean_difference,
        pca,
        unembedding,
    } = *controls;
    let mut checks = vec![Check {
        name: format!("a random subspace of rank {rank}"),
        share: random,
        must: "must fail",
        failure: (iia < random + MARGIN).then_some("it does as well"),
        note: String::new(),
    }];
    checks.extend(shuffled.map(|shuffled| Check {
        name: "learned on shuffled labels".to_owned(),
        share: shuffled,
        must: "must be worse",
        failure: (iia < shuffled + MARGIN).then_some("noise teaches as much"),
        note: format!("; labels alone may reach about {:.2}", labels_alone(swaps)),
    }));
    checks.push(Check {
        name: "the whole vector".to_owned(),
        share: full,
        must: "must work",
        failure: if full < untouched(swaps) + MARGIN {
            Some("no better than no swap")
        } else {
            (iia > full + MARGIN).then_some("its subspace does better")
        },
        note: String::new(),
    });
    let cheap = [
        ("difference of means", mean_difference),
        ("principal components", pca),
        ("the answers' unembeddings", unembedding),
    ];
    let cheap = cheap.into_iter().filter_map(|(name, share)| {
        let share = share?;
        let is_as_good = share + MARGIN > iia && iia > random + MARGIN;
        let note = match is_as_good {
            true => "does as well: nothing has to be learned for this",
            false => "",
        };
        Some(Check {
            name: format!("not learned: {name}"),
            share,
            must: "",
            failure: None,
            note: note.to_owned(),
        })
    });
    checks.extend(cheap);
    checks
}

/// Says how often it works, and of each control whether it is as it must be.
pub fn report_scores(
    report: Report,
    score: Score,
    compared: &Compared,
    rank: usize,
    swaps: &[Swap],
) -> Found {
    let [turn, _] = by_duty(swaps);
    let n_flipped = turn.iter().filter(|swap| swap.is_hit()).count();
    let iia = score.all.share();
    report.line(format!(
        "{}{}",
        name(&format!("IIA on {} held-out pairs", swaps.len())),
        score.all.text()
    ));
    let controls = compared.controls();
    let checks = checks(iia, &controls, rank, swaps);
    for check in &checks {
        let Check {
            share, must, note, ..
        } = check;
        let verdict = match (check.failure, *must) {
            (_, "") => String::new(),
            (None, _) => "as it must".to_owned(),
            (Some(why), _) => format!("FAILS: {why}"),
        };
        let name = name(&format!("  {}", check.name));
        let line = match *must {
            "" => format!("{name}{share:.3}   {note}"),
            must => format!("{name}{share:.3}   {must:<15}{verdict}{note}"),
        };
        report.line(line.trim_end());
    }
    let numbers = if rank == 1 {
        "one number".to_owned()
    } else {
        format!("{rank} numbers")
    };
    report.line(format!(
        "Swapping {numbers} flipped the answer in {n_flipped} of the {} pairs in which it should.",
        turn.len()
    ));
    if controls.are_beaten_by(iia) {
        report.warn(BEATS_WHOLE_VECTOR);
    }
    if iia < controls.random + MARGIN {
        report.warn("a random subspace does as well: nothing was found at this site");
    }
    Found {
        is_sound: checks.iter().all(|check| check.failure.is_none()),
        labels_alone: labels_alone(swaps),
    }
}

/// A name in a column of its own.
fn name(name: &str) -> String {
    format!("{name:<42}")
}

/// Says how scores by several seeds spread.
pub fn report_seeds(report: Report, seeds: &[f64]) {
    if seeds.len() < 2 {
        return;
    }
    let mean = seeds.iter().sum::<f64>() / seeds.len() as f64;
    let [least, most] = [f64::min, f64::max].map(|pick| seeds.iter().copied().reduce(pick));
    report.line(format!(
        "{}{mean:.3}  {:.3} to {:.3}",
        name(&format!("By {} seeds, mean and range", seeds.len())),
        least.unwrap_or(mean),
        most.unwrap_or(mean)
    ));
}

/// Says how it is on what training did not see.
pub fn report_unseen(report: Report, unseen: Score, full: Score, held_out: &[String]) {
    let what = format!("IIA on {} unseen pairs", unseen.all.n);
    report.line(format!("{}{}", name(&what), unseen.all.text()));
    let (full, held_out) = (full.all.share(), held_out.join(", "));
    report.line(format!(
        "{}{full:.3}   held out: {held_out}",
        name("  the whole vector")
    ));
}

#[cfg(test)]
mod tests {
    use swivel_core::direction::Probe;

    use super::*;
    use crate::readout::Candidate;

    /// A swap whose answer is `after` in place of 0, and should be `label`.
    fn swap(label: u32, after: u32) -> Swap {
        let answer = |token| Candidate {
            token,
            logit: 0.0,
            probability: 1.0,
        };
        Swap {
            probe: Probe {
                base: vec![1],
                source: vec![2],
                source_position: None,
                top_1: after,
                logit: 0.0,
            },
            label,
            before: vec![answer(0)],
            after: vec![answer(after)],
        }
    }

    /// Of 500 pairs that should turn, `n_hits` did; 500 should stay, and did.
    fn swaps(n_hits: usize) -> Vec<Swap> {
        let turns = (0..500).map(|idx| swap(1, u32::from(idx < n_hits)));
        turns.chain((0..500).map(|_| swap(0, 0))).collect()
    }

    #[test]
    fn examples_are_drawn_whatever_became_of_them() {
        let swaps = swaps(100);
        let [turn, stay] = by_duty(&swaps);
        assert_eq!((turn.len(), stay.len()), (500, 500));
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let n_hits = (0..1000)
            .flat_map(|_| draw(&turn, 3, &mut rng))
            .filter(|swap| swap.is_hit())
            .count();
        // A fifth of 3000, give or take four standard deviations.
        assert!(n_hits.abs_diff(600) < 88, "{n_hits}");
        assert_eq!(draw(&turn[..2], 3, &mut rng).len(), 2);
    }

    #[test]
    fn labels_alone_reach_what_a_coin_or_the_most_frequent_label_does() {
        let check = |swaps: &[Swap], expected: f64| {
            assert!((labels_alone(swaps) - expected).abs() < 1e-9);
        };
        check(&swaps(500), 0.75);
        check(&swaps(0), 0.75); // whatever was learned
        check(&swaps(500)[..500], 1.0); // one label only
        let many: Vec<Swap> = (1..=100).map(|label| swap(label, 0)).collect();
        check(&many, 0.5);
    }

    #[test]
    fn every_control_has_a_verdict() {
        let swaps = swaps(500);
        let failures = |iia: f64, random: f64, shuffled: f64, full: f64| {
            let controls = Controls {
                random,
                full,
                shuffled: Some(shuffled),
                ..Controls::default()
            };
            let checks = checks(iia, &controls, 1, &swaps);
            checks.iter().map(|check| check.failure).collect::<Vec<_>>()
        };
        assert_eq!(failures(0.999, 0.5, 0.806, 1.0), [None, None, None]);
        let nothing = Some("it does as well");
        let noise = Some("noise teaches as much");
        assert_eq!(failures(0.52, 0.5, 0.4, 1.0), [nothing, None, None]);
        assert_eq!(failures(0.999, 0.5, 0.98, 1.0), [None, noise, None]);
        let [no_swap, subspace] = ["no better than no swap", "its subspace does better"].map(Some);
        assert_eq!(failures(0.56, 0.5, 0.4, 0.422), [None, None, no_swap]);
        assert_eq!(failures(0.9, 0.5, 0.4, 0.7), [None, None, subspace]);
    }
}

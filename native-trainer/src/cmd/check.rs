//! `check`: whether a model knows what a task asks.

use std::{collections::BTreeMap, process::ExitCode, time::Instant};

use anyhow::{Result, bail};
use burn::tensor::backend::AutodiffBackend;
use clap::Args as ClapArgs;
use serde_json::json;
use swivel_core::{
    metric::wilson,
    question::{AskedPrompt, Asker, Score, Task},
};

use super::options::{Common, ReportArgs, check_counts, examples, heading};
use crate::{
    device::{self, Job},
    model_files::ModelFiles,
    question::{self, Said},
    report::Report,
};

/// Wrong answers that are named.
const NAMED: usize = 5;
/// Rows of a table that are named, those of which the model knows least.
const ROWS: usize = 8;

/// Options of `check`.
#[derive(ClapArgs, Clone, Debug)]
#[command(after_help = examples(&["swivel check --task agreement --model target/real/gemma3.gguf"]))]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Task: agreement, agreement-distractor, capitals, gender, ioi, or a task file
    #[arg(long, value_name = "NAME|FILE", help_heading = heading::QUESTION)]
    task: String,
    /// Prompts to ask, at most
    #[arg(long, default_value_t = 200, help_heading = heading::QUESTION)]
    prompts: usize,
    /// Seed of the prompts
    #[arg(long, default_value_t = 0, help_heading = heading::QUESTION)]
    seed: u64,
    /// Exit with status 1 if the share that is right is lower than this, from 0 to 1
    #[arg(long, value_name = "SHARE", help_heading = heading::OUTPUT)]
    at_least: Option<f64>,
    #[command(flatten)]
    report: ReportArgs,
}

struct Check {
    files: ModelFiles,
    task: Task,
    prompts: Vec<AskedPrompt>,
    /// First tokens of all answers and foils, in the order of their ids.
    tokens: Vec<u32>,
    /// Those of answers.
    labels: Vec<u32>,
    at_least: Option<f64>,
    report: Report,
}

/// Runs `check`.
pub fn run(args: Args) -> Result<ExitCode> {
    let Args {
        common,
        task,
        prompts,
        seed,
        at_least,
        report,
    } = args;
    check_counts(&[("--prompts", prompts)])?;
    if let Some(share) = at_least.filter(|share| !(0.0..=1.0).contains(share)) {
        bail!("--at-least is {share}; expected a share from 0 to 1");
    }
    let task = question::open(&task)?;
    let files = common.open()?;
    let mut asker = Asker::new(&task, files.tokenizer()?)?;
    let prompts = asker.prompts(prompts, seed)?;
    let labels = asker.labels().all();
    let foils = prompts
        .iter()
        .flat_map(|prompt| prompt.foils.iter().copied());
    let mut tokens: Vec<u32> = labels.iter().copied().chain(foils).collect();
    tokens.sort_unstable();
    tokens.dedup();
    let report = report.report();
    device::run(
        common.device,
        Check {
            files,
            prompts,
            tokens,
            labels,
            at_least,
            report,
            task,
        },
    )
}

/// How a model did at a prompt.
struct Outcome {
    is_top: bool,
    is_chosen: bool,
    /// Logit of the answer less that of the likeliest foil, nats.
    difference: Option<f32>,
    said: u32,
}

impl Job for Check {
    type Output = ExitCode;

    fn run<A: AutodiffBackend>(self, device: A::Device, device_name: &str) -> Result<ExitCode> {
        let started = Instant::now();
        let (model, _) = self.files.load::<A::InnerBackend>(&device, self.report)?;
        let asked: Vec<_> = self
            .prompts
            .iter()
            .map(|prompt| prompt.asked.clone())
            .collect();
        let said = question::say(&model, self.files.sizes(), &asked, &self.tokens)?;
        let outcomes: Vec<Outcome> = self
            .prompts
            .iter()
            .zip(&said)
            .map(|(prompt, said)| self.outcome(prompt, said))
            .collect();
        let share = self.report_outcomes(&outcomes)?;
        self.report.line(format!(
            "in {:.1} s on {device_name}",
            started.elapsed().as_secs_f64()
        ));
        Ok(match self.at_least.is_some_and(|least| share < least) {
            true => ExitCode::from(1),
            false => ExitCode::SUCCESS,
        })
    }
}

impl Check {
    fn outcome(&self, prompt: &AskedPrompt, said: &Said) -> Outcome {
        let logit = |token: u32| {
            let at = self.tokens.binary_search(&token).ok()?;
            said.logits.get(at).copied()
        };
        let own = logit(prompt.label);
        let others = self.labels.iter().filter(|label| **label != prompt.label);
        let foils = prompt.foils.iter().filter_map(|foil| logit(*foil));
        let foil = foils.reduce(f32::max);
        Outcome {
            is_top: said.top == prompt.label,
            is_chosen: others
                .copied()
                .filter_map(logit)
                .all(|other| own > Some(other)),
            difference: own.zip(foil).map(|(own, foil)| own - foil),
            said: said.top,
        }
    }

    /// Says how the model did, and returns the share that is right by the task's score.
    fn report_outcomes(&self, outcomes: &[Outcome]) -> Result<f64> {
        let Self {
            task,
            files,
            report,
            prompts,
            ..
        } = self;
        let is_right = |outcome: &Outcome| match task.score {
            Score::Top1 => outcome.is_top,
            Score::Choice => outcome.is_chosen,
        };
        let n = outcomes.len();
        report.line(format!(
            "Does {} know {}? Asked {n} prompts",
            files.name, task.name
        ));
        let line = |what: &str, n_hits: usize, n: usize| {
            let [low, high] = wilson(n_hits, n);
            let share = n_hits as f64 / n as f64;
            report.line(format!("  {share:.3}  {low:.3} to {high:.3}  {what}"));
        };
        let n_right = outcomes.iter().filter(|outcome| is_right(outcome)).count();
        let n_chosen = outcomes.iter().filter(|outcome| outcome.is_chosen).count();
        let n_top = outcomes.iter().filter(|outcome| outcome.is_top).count();
        let mark = |score: Score| {
            if task.score == score {
                ", the task's score"
            } else {
                ""
            }
        };
        report.line("Right, with the interval that holds the true share 95 times of 100");
        let others = match self.labels.len() {
            2 => "other answer".to_owned(),
            n => format!("other {} answers", n.saturating_sub(1)),
        };
        line(
            &format!("likelier than the {others}{}", mark(Score::Choice)),
            n_chosen,
            n,
        );
        line(
            &format!("the likeliest token of all{}", mark(Score::Top1)),
            n_top,
            n,
        );
        let mut differences: Vec<f32> = outcomes.iter().filter_map(|o| o.difference).collect();
        differences.sort_by(f32::total_cmp);
        let median = differences.get(differences.len() / 2);
        if let Some(median) = median {
            report.line(format!(
                "Logit of the answer less that of the likeliest foil: {median:+.2} nats, the median"
            ));
        }

        let group = |key: &dyn Fn(&AskedPrompt) -> Vec<String>| {
            let mut groups: BTreeMap<String, [usize; 2]> = BTreeMap::new();
            for (prompt, outcome) in prompts.iter().zip(outcomes) {
                for key in key(prompt) {
                    let [n_hits, n] = groups.entry(key).or_default();
                    (*n_hits, *n) = (*n_hits + usize::from(is_right(outcome)), *n + 1);
                }
            }
            groups
        };
        let templates: Vec<&str> = task.templates().collect();
        let by_template =
            group(&|prompt| vec![templates[prompt.asked.filling.template].to_owned()]);
        report.line("By template");
        by_template
            .iter()
            .for_each(|(name, [n_hits, n])| line(&format!("{name}  ({n})"), *n_hits, *n));
        let by_row = group(&|prompt| {
            let rows = task.rows(&prompt.asked.filling).into_iter();
            let mut names: Vec<String> = rows
                .map(|(table, text)| format!("{table}: {text}"))
                .collect();
            names.dedup();
            names
        });
        let mut worst: Vec<(&String, &[usize; 2])> = by_row
            .iter()
            .filter(|(_, [n_hits, n])| n_hits < n)
            .collect();
        worst.sort_by(|(_, a), (_, b)| (a[0] * b[1]).cmp(&(b[0] * a[1])).then(b[1].cmp(&a[1])));
        if !worst.is_empty() {
            report.line("By row, those that it knows least");
            let shown = worst.iter().take(ROWS);
            shown.for_each(|(name, [n_hits, n])| line(&format!("{name}  ({n})"), *n_hits, *n));
        }

        let mut wrong: BTreeMap<u32, usize> = BTreeMap::new();
        for outcome in outcomes.iter().filter(|outcome| !outcome.is_top) {
            *wrong.entry(outcome.said).or_default() += 1;
        }
        let mut wrong: Vec<(u32, usize)> = wrong.into_iter().collect();
        wrong.sort_by_key(|(token, count)| (std::cmp::Reverse(*count), *token));
        let tokenizer = files.tokenizer()?;
        let instead = wrong
            .iter()
            .take(NAMED)
            .map(|(token, count)| (tokenizer.token(*token), *count));
        let instead: Vec<(String, usize)> = instead.collect();
        if !instead.is_empty() {
            let shown: Vec<String> = instead
                .iter()
                .map(|(text, count)| format!("{text:?} {count}"))
                .collect();
            report.line(format!("Says instead: {}", shown.join(", ")));
        }
        let share = n_right as f64 / n as f64;
        if share < 0.5 {
            report.warn(
                "the model gets fewer than half right: an intervention has little to turn here",
            );
        }
        report.event(&json!({
            "task": task.name,
            "model": files.name,
            "prompts": n,
            "share": share,
            "interval": wilson(n_right, n),
            "choice": n_chosen as f64 / n as f64,
            "top1": n_top as f64 / n as f64,
            "median_logit_difference": median,
            "by_template": by_template,
            "by_row": by_row,
            "says_instead": instead,
        }));
        Ok(share)
    }
}

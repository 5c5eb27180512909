//! Whether a model knows what a task asks: shares that are right, where it fails, and what it says instead.

mod picture;

use std::{cmp::Reverse, collections::BTreeMap};

use burn::tensor::backend::Backend;
use serde_json::{Value, json};
use swivel_core::{
    Decoder, Sizes, Tokenizer,
    question::{AskedPrompt, Labels, Score, Task},
};

use swivel_core::metric::Count;

use crate::{question, report::Report};

/// Wrong answers that are named.
const NAMED: usize = 5;
/// Rows of tables that are named, those of which the model knows least.
const ROWS: usize = 8;

/// What a model knows of a task.
#[derive(Clone, Debug)]
pub struct Knowledge {
    /// By the task's score.
    pub right: Count,
    /// The answer is likelier than the task's other answers.
    pub chosen: Count,
    /// The answer is the likeliest token of all.
    pub top: Count,
    /// Logit of the answer less that of the likeliest foil, nats, the median; `None` where there are no foils.
    pub median_difference: Option<f32>,
    /// By template, as it is written.
    pub by_template: BTreeMap<String, Count>,
    /// By table and text of a row.
    pub by_row: BTreeMap<String, Count>,
    /// The likeliest tokens where these are not the answer, and how often, the commonest first.
    pub says_instead: Vec<(u32, usize)>,
}

/// How a model did at a prompt.
struct Outcome {
    is_top: bool,
    is_chosen: bool,
    difference: Option<f32>,
    said: u32,
}

impl Knowledge {
    /// Asks a model some prompts.
    ///
    /// # Errors
    /// - If a prompt cannot be run, or the person gives up.
    pub fn of<B: Backend>(
        model: &Decoder<B>,
        sizes: &Sizes,
        task: &Task,
        labels: &Labels,
        prompts: &[AskedPrompt],
    ) -> anyhow::Result<Self> {
        let labels = labels.all();
        let foils = prompts.iter().flat_map(|prompt| &prompt.foils);
        let mut tokens: Vec<u32> = labels.iter().chain(foils).copied().collect();
        tokens.sort_unstable();
        tokens.dedup();
        let asked = prompts.iter().map(|prompt| &*prompt.asked.tokens.ids);
        let asked: Vec<&[u32]> = asked.collect();
        let said = question::say(model, sizes, &asked, &tokens)?;
        let outcome = |(prompt, said): (&AskedPrompt, question::Said)| {
            let logit = |token: &u32| Some(said.logits[tokens.binary_search(token).ok()?]);
            let own = logit(&prompt.label);
            let mut others = labels.iter().filter(|label| **label != prompt.label);
            let foil = prompt.foils.iter().filter_map(logit).reduce(f32::max);
            Outcome {
                is_top: said.top == prompt.label,
                is_chosen: others.all(|other| own > logit(other)),
                difference: own.zip(foil).map(|(own, foil)| own - foil),
                said: said.top,
            }
        };
        let outcomes: Vec<Outcome> = prompts.iter().zip(said).map(outcome).collect();
        Ok(Self::from_outcomes(task, prompts, &outcomes))
    }

    fn from_outcomes(task: &Task, prompts: &[AskedPrompt], outcomes: &[Outcome]) -> Self {
        let is_right = |outcome: &Outcome| match task.score {
            Score::Top1 => outcome.is_top,
            Score::Choice => outcome.is_chosen,
        };
        let templates: Vec<&str> = task.templates().collect();
        let (mut by_template, mut by_row) = (BTreeMap::new(), BTreeMap::new());
        for (prompt, outcome) in prompts.iter().zip(outcomes) {
            let filling = &prompt.asked.filling;
            let count = by_template.entry(templates[filling.template].to_owned());
            count.or_insert_with(Count::default).one(is_right(outcome));
            let rows = task.rows(filling).into_iter();
            let mut rows: Vec<String> = rows
                .map(|(table, text)| format!("{table}: {text}"))
                .collect();
            rows.sort();
            rows.dedup();
            for row in rows {
                by_row
                    .entry(row)
                    .or_insert_with(Count::default)
                    .one(is_right(outcome));
            }
        }
        let mut differences: Vec<f32> = outcomes.iter().filter_map(|o| o.difference).collect();
        differences.sort_by(f32::total_cmp);
        let mut wrong: BTreeMap<u32, usize> = BTreeMap::new();
        for outcome in outcomes.iter().filter(|outcome| !outcome.is_top) {
            *wrong.entry(outcome.said).or_default() += 1;
        }
        let mut says_instead: Vec<(u32, usize)> = wrong.into_iter().collect();
        says_instead.sort_by_key(|(_, count)| Reverse(*count));
        Self {
            right: Count::of(outcomes.iter().map(is_right)),
            chosen: Count::of(outcomes.iter().map(|outcome| outcome.is_chosen)),
            top: Count::of(outcomes.iter().map(|outcome| outcome.is_top)),
            median_difference: differences.get(differences.len() / 2).copied(),
            by_template,
            by_row,
            says_instead,
        }
    }

    /// Rows of tables with a prompt that it answers wrong, those that it knows least first.
    fn failed_rows(&self) -> Vec<(&String, &Count)> {
        let rows = self.by_row.iter();
        let failed = rows.filter(|(_, count)| count.n_right < count.n);
        let mut failed: Vec<(&String, &Count)> = failed.collect();
        failed.sort_by(|(_, a), (_, b)| a.share().total_cmp(&b.share()).then(b.n.cmp(&a.n)));
        failed
    }

    /// Says it to people.
    pub fn report(&self, task: &Task, n_answers: usize, tokenizer: &Tokenizer, report: Report) {
        let line = |count: Count, what: &str| report.line(format!("  {}  {what}", count.text()));
        let counted =
            |(what, count): (&String, &Count)| line(*count, &format!("{what}  ({})", count.n));
        let mark = |score: Score| match task.score == score {
            true => ", the task's score",
            false => "",
        };
        let others = match n_answers {
            2 => "other answer".to_owned(),
            n => format!("other {} answers", n.saturating_sub(1)),
        };
        report.line("Right, with the interval that holds the true share 95 times of 100");
        line(
            self.chosen,
            &format!("likelier than the {others}{}", mark(Score::Choice)),
        );
        line(
            self.top,
            &format!("the likeliest token of all{}", mark(Score::Top1)),
        );
        if let Some(median) = self.median_difference {
            report.line(format!(
                "Logit of the answer less that of the likeliest foil: {median:+.2} nats, the median"
            ));
        }
        report.line("By template");
        self.by_template.iter().for_each(counted);
        let failed = self.failed_rows();
        if !failed.is_empty() {
            report.line("By row, those that it knows least");
            failed.into_iter().take(ROWS).for_each(counted);
        }
        let instead = self.says_instead.iter().take(NAMED);
        let instead: Vec<String> = instead
            .map(|(token, n)| format!("{:?} {n}", tokenizer.token(*token)))
            .collect();
        if !instead.is_empty() {
            report.line(format!("Says instead: {}", instead.join(", ")));
        }
        if self.right.share() < 0.5 {
            report.warn(
                "the model gets fewer than half right: an intervention has little to turn here",
            );
        }
    }

    /// Says it to programs.
    pub fn json(&self, tokenizer: &Tokenizer) -> Value {
        let counts = |counts: &BTreeMap<String, Count>| -> Value {
            counts
                .iter()
                .map(|(name, count)| (name.clone(), count.json()))
                .collect()
        };
        let instead = self.says_instead.iter().take(NAMED);
        json!({
            "prompts": self.right.n,
            "right": self.right.json(),
            "choice": self.chosen.json(),
            "top1": self.top.json(),
            "median_logit_difference": self.median_difference,
            "by_template": counts(&self.by_template),
            "by_row": counts(&self.by_row),
            "says_instead": instead.map(|(token, n)| json!({ "token": tokenizer.token(*token), "times": n })).collect::<Vec<_>>(),
        })
    }
}

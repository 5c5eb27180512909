//! A plan in words: what is read where and written where, in which order.

use super::{
    CheckedPlan,
    step::{Origin, Step},
};
use crate::{
    Tokenizer,
    direction::Form,
    intervention::{Units, resumes_at},
};

impl CheckedPlan {
    /// What each run does, a line each, in the order in which it happens; with a tokenizer, tokens with their text.
    pub fn in_words(&self, tokenizer: Option<&Tokenizer>) -> Vec<String> {
        let mut lines = Vec::new();
        let base = self.n_sources();
        for run in 0..=base {
            let rows = &self.runs[run];
            lines.push(format!(
                "{}: {} of {} tokens",
                self.name_of(run),
                counted(rows.len(), "prompt"),
                rows[0].len()
            ));
            let mut steps: Vec<&Step> = self.steps.iter().filter(|step| step.into == run).collect();
            // The forward pass comes by the sites in this order; at one site the plan's order holds.
            steps.sort_by_key(|step| step.site);
            for (idx, step) in steps.iter().enumerate() {
                let number = idx + 1;
                lines.push(format!(
                    "  {number}. {}",
                    self.step_in_words(step, tokenizer)
                ));
            }
            for step in &self.steps {
                if step.origin.run() == Some(run) {
                    let units = &step.source_units;
                    let place = self.place_in_words(step, units, run, tokenizer);
                    lines.push(format!("  read: {place}"));
                }
            }
        }
        for site in &self.record {
            lines.push(format!("  recorded: {site}"));
        }
        let n_layers = self.sizes.n_layers;
        let steps = self.steps.iter().filter(|step| step.into == base);
        let edits = steps.filter(|step| step.operation.op.is_some());
        let edits = edits.flat_map(|step| {
            let units = step.base_units.iter();
            units.map(move |units| (step.first_site(), units))
        });
        if let Some((layer, start)) = resumes_at(edits, n_layers) {
            let n_tokens = self.base()[0].len();
            let rest = n_tokens - start;
            let (cells, all) = ((n_layers - layer) * rest, n_layers * n_tokens);
            lines.push(format!(
                "computed again for the intervened run: {cells} of {all} layer x token cells, norm and head"
            ));
        }
        lines
    }

    fn name_of(&self, run: usize) -> String {
        match self.n_sources() {
            base if run == base => "base".to_owned(),
            1 => "source".to_owned(),
            _ => format!("source {run}"),
        }
    }

    fn step_in_words(&self, step: &Step, tokenizer: Option<&Tokenizer>) -> String {
        let place = self.place_in_words(step, &step.base_units, step.into, tokenizer);
        let mut text = format!("{} {place}", step.operation.verb);
        if let Some(direction) = &step.direction {
            let rank = step.dims.as_ref().map_or(direction.rank(), Vec::len);
            let of = direction.facts.variable.as_deref();
            let of = of.map_or(String::new(), |variable| format!(" of {variable}"));
            text += &match direction.form() {
                Form::LowRank | Form::Rotated => {
                    format!(", inside a learned subspace of rank {rank}{of}")
                }
                form => format!(", in {rank} features of {}{of}", form.about()),
            };
            if step.drops_rest {
                text += ", without what these leave out";
            }
        } else if let Some(dims) = &step.dims {
            text += &format!(", in {} dimensions", dims.len());
        }
        text += &match &step.origin {
            Origin::Nothing => String::new(),
            Origin::Values(_) => ", with the plan's values".to_owned(),
            Origin::Run(run) => format!(", with what {} has", self.name_of(*run)),
            Origin::Mean(run) => format!(", with what {} has on average", self.name_of(*run)),
            Origin::Noise(seed) => format!(", of seed {seed}"),
            Origin::Input => ", with what its module reads".to_owned(),
        };
        if let Some(factor) = step.factor {
            text += &format!(", by {factor}");
        }
        if step.strength != 1.0 {
            text += &format!(", at strength {}", step.strength);
        }
        text
    }

    /// Site, heads and tokens, those of the first row where rows differ.
    fn place_in_words(
        &self,
        step: &Step,
        units: &[Units],
        run: usize,
        tokenizer: Option<&Tokenizer>,
    ) -> String {
        let Units {
            positions, heads, ..
        } = &units[0];
        let mut text = step.site.to_string();
        if let Some(heads) = heads {
            match Some(heads.len()) == step.site.component.n_heads(&self.sizes) {
                true => text += ", all heads",
                false => text += &format!(", {}", listed("head", heads.iter())),
            }
        }
        let Some(positions) = positions else {
            return text + ", all tokens";
        };
        let token = |position: &usize| match tokenizer {
            None => position.to_string(),
            Some(tokenizer) => {
                let text = tokenizer.token(self.runs[run][0][*position]);
                format!("{position} {text:?}")
            }
        };
        text += &format!(", {}", listed("token", positions.iter().map(token)));
        if units.iter().any(|own| own != &units[0]) {
            text += " (elsewhere in other rows)";
        }
        text
    }
}

fn counted(n: usize, what: &str) -> String {
    match n {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    }
}

/// `token 3`, `tokens 3, 4`.
fn listed(what: &str, items: impl ExactSizeIterator<Item = impl ToString>) -> String {
    let n = items.len();
    let items: Vec<String> = items.map(|item| item.to_string()).collect();
    format!(
        "{what}{} {}",
        if n == 1 { "" } else { "s" },
        items.join(", ")
    )
}

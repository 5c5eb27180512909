//! Plan files of `apply` and `inspect`.

use std::{
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result};
use burn::tensor::backend::Backend;
use serde::{Deserialize, de::IgnoredAny};
use swivel_core::{
    Decoder, Place, Site,
    plan::{CheckedPlan, Mode, Plan, Prompts, Version},
};

use crate::{
    direction_file, input,
    model_files::ModelFiles,
    probe::{self, LearnedOn},
    report::Report,
};

/// A plan file, checked against a model.
pub struct PlanFile {
    /// Where it is.
    pub path: PathBuf,
    /// The plan as written.
    pub plan: Plan,
    /// The plan, which fits the model.
    pub checked: CheckedPlan,
    /// The model.
    pub files: ModelFiles,
}

impl PlanFile {
    /// Reads a plan file and checks it against a model; names of directions are relative to the file.
    pub fn open(path: PathBuf, files: ModelFiles) -> Result<Self> {
        let cannot = || format!("reading {}", path.display());
        let plan = Plan::from_json(&input::read(&path)?).with_context(cannot)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let read = |name: &str| direction_file::read(&folder.join(name)).map(Arc::new);
        let checked = plan.check(files.sizes(), files.tokenizer().ok(), read);
        let checked = checked.with_context(cannot)?;
        Ok(Self {
            path,
            plan,
            checked,
            files,
        })
    }

    /// A plan that is in no file: a prompt without interventions.
    pub fn of_prompt(prompt: &str, files: ModelFiles) -> Result<Self> {
        let plan = Plan {
            version: Version,
            base: Prompts::Text(vec![prompt.to_owned()]),
            sources: Vec::new(),
            first_token: None,
            mode: Mode::default(),
            interventions: Vec::new(),
            record: Vec::new(),
        };
        let checked = plan.check(files.sizes(), Some(files.tokenizer()?), |_| {
            Err("a prompt names none")
        });
        Ok(Self {
            path: PathBuf::new(),
            checked: checked.context("the prompt")?,
            plan,
            files,
        })
    }

    /// True if a file is a plan and nothing else: it is called so, or is JSON that has what every plan has.
    pub fn is_one(path: &Path) -> bool {
        #[derive(Deserialize)]
        struct Head {
            #[serde(rename = "version")]
            _version: IgnoredAny,
            #[serde(rename = "base")]
            _base: IgnoredAny,
        }
        let is_named = path.extension().is_some_and(|own| own == "json");
        // Of another file, no more is read than what cannot be JSON.
        let head =
            || serde_json::from_reader::<_, Head>(BufReader::new(File::open(path).ok()?)).ok();
        is_named || head().is_some()
    }

    /// On which weights each direction was learned; says which one is put elsewhere.
    ///
    /// # Errors
    /// - If the model's weights cannot be read.
    pub fn learned_on(&self, report: Report) -> Result<Vec<LearnedOn>> {
        let directions = self.checked.directions();
        let learned_on = directions.map(|direction| LearnedOn::of(direction, &self.files, report));
        let learned_on = learned_on.collect::<Result<_>>()?;
        self.warn_of_other_places(report);
        Ok(learned_on)
    }

    /// A direction means something where it was learned; elsewhere it is an experiment, which is said.
    fn warn_of_other_places(&self, report: Report) {
        let planned = self.plan.interventions.iter().zip(self.checked.sites());
        let with_direction =
            (planned.enumerate()).filter(|(_, (planned, _))| planned.op.direction.is_some());
        for ((idx, (planned, site)), direction) in with_direction.zip(self.checked.directions()) {
            let Place {
                site: learned,
                head,
                ..
            } = direction.facts.place;
            let heads = planned.heads.as_deref().unwrap_or_default();
            if (site, heads) != (learned, head.as_slice()) {
                report.warn(format!(
                    "interventions[{idx}]: its direction was learned at {}, and is put at {}",
                    in_heads(learned, head.as_slice()),
                    in_heads(site, heads)
                ));
            }
        }
    }

    /// Puts the model on a device; a direction that was learned on other weights must agree with these, unless `any_model`.
    ///
    /// # Errors
    /// - If the model cannot be loaded, or a direction does not belong to it.
    pub fn load<B: Backend>(
        &self,
        learned_on: &[LearnedOn],
        any_model: bool,
        device: &B::Device,
        report: Report,
    ) -> Result<Decoder<B>> {
        let (model, _) = self.files.load::<B>(device, report)?;
        self.check_directions(&model, learned_on, any_model, report)?;
        Ok(model)
    }

    /// Checks that directions of other weights agree with a model, unless `any_model`.
    ///
    /// # Errors
    /// - If one does not belong to it.
    pub fn check_directions<B: Backend>(
        &self,
        model: &Decoder<B>,
        learned_on: &[LearnedOn],
        any_model: bool,
        report: Report,
    ) -> Result<()> {
        for (direction, learned_on) in self.checked.directions().zip(learned_on) {
            if let LearnedOn::Others(_) = learned_on {
                let sizes = self.files.sizes();
                probe::check(model, sizes, direction, learned_on, any_model, report)?;
            }
        }
        Ok(())
    }

    /// What the plan does, a line each.
    pub fn in_words(&self) -> Vec<String> {
        self.checked.in_words(self.files.tokenizer().ok())
    }
}

/// `layer 0 head_value_output, head 1, 2`.
fn in_heads(site: Site, heads: &[usize]) -> String {
    let heads: Vec<String> = heads.iter().map(usize::to_string).collect();
    match heads.is_empty() {
        true => site.to_string(),
        false => format!("{site}, head {}", heads.join(", ")),
    }
}

//! Whether a direction belongs to a model: its weights are those that it was learned on, or the pair that its file carries has
//! the recorded answer.

use anyhow::{Result, bail};
use burn::tensor::backend::Backend;
use serde_json::json;
use swivel_core::{
    Decoder, Position, Sizes, cone::Storage, direction::Direction, intervention::Op, question::Pair,
};

use crate::{
    cached::{CacheConfig, Cached, Memory},
    model_files::ModelFiles,
    pairs::place,
    report::Report,
};

/// Which weights a direction was learned on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LearnedOn {
    /// Those of the model.
    These,
    /// Others, as this sentence says: of another model, or of the same one in another format.
    Others(String),
}

impl LearnedOn {
    /// Compares hashes. Warns where prompts begin otherwise.
    ///
    /// # Errors
    /// - If the weights cannot be read.
    pub fn of(direction: &Direction, files: &ModelFiles, report: Report) -> Result<Self> {
        if let Ok(tokenizer) = files.tokenizer()
            && let Err(error) = direction.check_tokenizer(tokenizer)
        {
            report.warn(error.to_string());
        }
        Ok(match direction.check_model(&files.sha256()?) {
            Ok(()) => Self::These,
            Err(error) => Self::Others(error.to_string()),
        })
    }
}

/// Runs the pair that a direction's file carries. The right file on the right model gives the recorded answer, also where the
/// model's weights are in another format: that is said. Other weights are accepted only where that was asked for.
///
/// # Errors
/// - If it gives another answer.
pub fn check<B: Backend>(
    model: &Decoder<B>,
    sizes: &Sizes,
    direction: &Direction,
    learned_on: &LearnedOn,
    any_model: bool,
    report: Report,
) -> Result<()> {
    let difference = difference(model, sizes, direction)?;
    match (learned_on, difference) {
        (LearnedOn::These, None) => {}
        (LearnedOn::These, Some(difference)) => {
            bail!("{difference}: this direction does not belong to this model")
        }
        (LearnedOn::Others(why), None) => {
            report.line(format!(
                "{why}; its probe gives the recorded answer here: the same model in another format"
            ));
            report.event(&json!({ "event": "other_weights", "probe_agrees": true }));
        }
        (LearnedOn::Others(why), Some(difference)) if any_model => {
            report.warn(format!("{why}, and {difference}"));
        }
        (LearnedOn::Others(why), Some(difference)) => {
            bail!("{why}, and {difference}; --any-model accepts it")
        }
    }
    Ok(())
}

/// What the probe gives instead of the recorded answer, if that is something else.
fn difference<B: Backend>(
    model: &Decoder<B>,
    sizes: &Sizes,
    direction: &Direction,
) -> Result<Option<String>> {
    let probe = &direction.facts.probe;
    let prompts = [&probe.base, &probe.source];
    let is_readable = prompts
        .iter()
        .all(|ids| ids.len() <= sizes.n_ctx && ids.iter().all(|id| (*id as usize) < sizes.d_vocab));
    if !is_readable {
        return Ok(Some(
            "the file's probe has no prompts of this model".to_owned(),
        ));
    }
    let mut pair = [Pair {
        base: probe.base.clone(),
        source: probe.source.clone(),
        label: probe.top_1,
        ..Pair::default()
    }];
    place(&mut pair, direction.facts.place.position)?;
    if let Some(position) = probe.source_position {
        pair[0].source_position = Position::Index(position).resolve(probe.source.len())?;
    }
    let learned = direction.intervention(Op::Interchange, None, &model.device());
    let cache = CacheConfig {
        storage: Storage::F32,
        memory: Memory::HalfOfFree,
    };
    let cached = Cached::run(model, sizes, direction.facts.place, &pair, cache, "probe")?.0;
    let found = &cached.swaps(model, &learned, &pair)?[0].probe;
    Ok((!probe.agrees(found.top_1, found.logit)).then(|| {
        format!(
            "the file's probe gives token {} with logit {:.3}, recorded were {} and {:.3}",
            found.top_1, found.logit, probe.top_1, probe.logit
        )
    }))
}

//! Text under interventions: what a model goes on with, beside what it goes on with by itself.
//!
//! 1. [`Generator::new`] takes plain runs of the prompts that are cached ([`Cone::growing`](crate::cone::Cone::growing)) and runs
//!    again what the interventions change.
//! 2. [`Generator::logits`] are read, and a token is chosen of each row ([`Sampling`]).
//! 3. [`Generator::step`] takes the tokens; nothing before them is computed again.

mod sampling;

use burn::tensor::{Tensor, backend::Backend};
use serde::{Deserialize, Serialize};

use crate::{
    Decoder, Sizes,
    cone::{CachedRun, KvCache},
    ids_tensor,
    intervention::{Edit, Editor, InterventionError, Units},
};
pub use sampling::{Draws, Sampling, SamplingError, likeliest};

/// Where interventions act in a text that is generated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Acts {
    /// In the prompt, at the tokens that the plan says.
    #[default]
    Prompt,
    /// At each token that was generated, as the model reads it; the prompt is left as it is.
    New,
    /// At each token of the prompt, and at each that was generated.
    Every,
}

impl Acts {
    /// All of them, and their names.
    pub const ALL: [(Self, &'static str); 3] = [
        (Self::Prompt, "prompt"),
        (Self::New, "new"),
        (Self::Every, "every"),
    ];

    /// The one of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        let row = Self::ALL.into_iter().find(|row| row.1 == name);
        row.map(|row| row.0)
    }
}

/// Prompts that go on, first all by themselves, then, where there are interventions, all as these make them.
#[derive(Clone, Debug)]
pub struct Generator<B: Backend> {
    n_ctx: usize,
    cache: KvCache<B>,
    /// What is done at each new token.
    edits: Vec<Edit<B>>,
    /// What the head reads, `[rows, d_model]`.
    normed: Tensor<B, 2>,
}

impl<B: Backend> Generator<B> {
    /// Reads the prompts. `edits` are those of the plan's base run ([`CheckedPlan::edits`](crate::plan::CheckedPlan::edits)).
    ///
    /// # Errors
    /// - [`InterventionError::EveryToken`] if an intervention acts at new tokens, and has not the value of one token for them.
    /// - Those of [`Editor::new`].
    ///
    /// # Panics
    /// If `base` was cached for less than [`Cone::growing`](crate::cone::Cone::growing).
    pub fn new(
        model: &Decoder<B>,
        sizes: &Sizes,
        base: &CachedRun<B>,
        edits: Vec<Edit<B>>,
        acts: Acts,
    ) -> Result<Self, InterventionError> {
        let (n_layers, n_tokens) = (sizes.n_layers, base.n_tokens());
        let n_prompts = base.n_rows();
        let plain = base.stream(n_layers).narrow(1, n_tokens - 1, 1);
        let plain = model.final_norm(plain, &mut ()).squeeze_dim(1);
        let mut generator = Self {
            n_ctx: sizes.n_ctx,
            cache: base.kv_cache(),
            edits: Vec::new(),
            normed: plain,
        };
        if edits.is_empty() {
            return Ok(generator);
        }
        if acts != Acts::Prompt {
            let each = edits.iter();
            let new = each.map(|edit| at_each(edit, sizes, 1, n_prompts, n_prompts));
            generator.edits = new.collect::<Result<_, _>>()?;
        }
        let in_prompt = match acts {
            Acts::Prompt => edits,
            Acts::New => Vec::new(),
            Acts::Every => {
                let each = edits.iter();
                let all = each.map(|edit| at_each(edit, sizes, n_tokens, n_prompts, 0));
                all.collect::<Result<_, _>>()?
            }
        };
        let editor = Editor::new(sizes, n_tokens, in_prompt)?;
        let (normed, cache) = match editor.resumes_at(n_layers) {
            None => (generator.normed.clone(), generator.cache.clone()),
            Some((layer, start)) => {
                let mut editor = editor.starting_at(start);
                let prefilled = model.prefill(base, (layer, start), &mut editor);
                editor.finish()?;
                prefilled
            }
        };
        generator.cache = generator.cache.followed_by(cache);
        generator.normed = Tensor::cat(vec![generator.normed, normed], 0);
        Ok(generator)
    }

    /// Rows: as many as prompts, or twice as many.
    pub fn n_rows(&self) -> usize {
        self.normed.dims()[0]
    }

    /// How many tokens more the model can read.
    pub fn room(&self) -> usize {
        self.n_ctx - self.cache.n_tokens()
    }

    /// What comes next.
    ///
    /// # Shapes
    /// - result: `[rows, d_vocab]`, nats
    pub fn logits(&self, model: &Decoder<B>) -> Tensor<B, 2> {
        model.head(self.normed.clone().unsqueeze()).squeeze_dim(0)
    }

    /// Takes the next token of each row.
    ///
    /// # Errors
    /// - [`InterventionError::Unapplied`] if the model has not reached an intervention's site.
    ///
    /// # Panics
    /// If there is no room, or not one token a row.
    pub fn step(&mut self, model: &Decoder<B>, tokens: &[u32]) -> Result<(), InterventionError> {
        assert!(self.room() > 0, "the context is full");
        assert_eq!(tokens.len(), self.n_rows(), "one token a row");
        let ids = ids_tensor(tokens.iter().map(|token| [*token]), &self.normed.device());
        let mut editor = Editor::of_checked(self.edits.clone());
        self.normed = model.decode(ids, &mut self.cache, &mut editor);
        editor.finish()
    }
}

/// An intervention at each of `n_tokens` tokens with the one value that it has, in rows that come `shift` later.
fn at_each<B: Backend>(
    edit: &Edit<B>,
    sizes: &Sizes,
    n_tokens: usize,
    n_prompts: usize,
    shift: usize,
) -> Result<Edit<B>, InterventionError> {
    let refused = |found: String| InterventionError::EveryToken {
        site: edit.site.to_string(),
        found,
    };
    if edit.site.component.width(sizes).is_none() {
        return Err(refused("a row of an attention pattern".to_owned()));
    }
    let source = &edit.source;
    if source.n_positions() > 1 {
        return Err(refused(format!("those of {} tokens", source.n_positions())));
    }
    let rows = edit.units.rows.clone().unwrap_or(0..n_prompts);
    Ok(Edit {
        units: Units {
            rows: Some(rows.start + shift..rows.end + shift),
            positions: Some((0..n_tokens).collect()),
            heads: edit.units.heads.clone(),
        },
        source: source.map(|x| x.repeat_dim(1, n_tokens), |x| x.repeat_dim(2, n_tokens)),
        ..edit.clone()
    })
}

//! Cached runs of pairs at one place, and what an intervention there makes the model answer.

use std::ops::Range;

use burn::tensor::{
    Int, Tensor,
    backend::{AutodiffBackend, Backend},
};

use crate::{
    Decoder, Place, Recorder,
    cone::{CachedBase, CachedRun, CachedSource, row_indices},
    intervention::{Edit, Editor, Intervention, Source, Units},
};

/// Cached base and source runs of pairs at one place, and their labels.
#[derive(Clone, Debug)]
pub struct CachedPairs<B: Backend> {
    /// Where the intervention is.
    pub place: Place,
    /// Cached base runs, resumed at the intervened position.
    pub base: CachedBase<B>,
    /// The source's value there, `[batch, 1, width]`.
    pub source: Tensor<B, 3>,
    /// Token ids of the counterfactual answers, `[batch]`.
    pub labels: Tensor<B, 1, Int>,
}

impl<B: Backend> CachedPairs<B> {
    /// Pairs of cached runs, at a place of the base run and this position of the source run; `None` if the base prompts have no such
    /// place, or the source's values were not cached there.
    ///
    /// # Panics
    /// If the place is outside the cone of the base runs.
    pub fn at(
        base: &CachedRun<B>,
        source: &CachedSource<B>,
        place: Place,
        source_position: usize,
        labels: Tensor<B, 1, Int>,
        n_layers: usize,
    ) -> Option<Self> {
        let Place { site, head, .. } = place;
        let start = place.position.resolve(base.n_tokens()).ok()?;
        let positions = source_position..source_position + 1;
        let source = match source.values(site, head, positions)? {
            Source::Positions(x) => x,
            Source::Heads(x) if head.is_some() => x.squeeze_dim(1),
            Source::Heads(_) | Source::Input | Source::None => return None,
        };
        Some(Self {
            place,
            base: base.base_at(site.resumes_at(n_layers), start),
            source,
            labels,
        })
    }

    /// Some of the pairs, in the given order.
    pub fn select(&self, rows: &[usize]) -> Self {
        let rows = row_indices(rows, &self.source.device());
        Self {
            base: self.base.select(&rows),
            source: self.source.clone().select(0, rows.clone()),
            labels: self.labels.clone().select(0, rows),
            ..*self
        }
    }

    /// Some of the pairs at several positions of one site, of the same runs: what they share is selected once.
    ///
    /// # Panics
    /// If `places` is empty, or they are not of one site of the same runs.
    pub fn select_together(places: &[&Self], rows: &[usize]) -> Vec<Self> {
        let Some(first) = places.iter().min_by_key(|pairs| pairs.base.start) else {
            panic!("no places to select pairs at");
        };
        let rows = row_indices(rows, &first.source.device());
        let base = first.base.select(&rows);
        let at = |pairs: &&Self| Self {
            base: base.starting_at(pairs.base.start),
            source: pairs.source.clone().select(0, rows.clone()),
            labels: pairs.labels.clone().select(0, rows.clone()),
            ..**pairs
        };
        places.iter().map(at).collect()
    }

    /// Neighbouring pairs; nothing is copied.
    pub fn narrow(&self, rows: Range<usize>) -> Self {
        let (start, n) = (rows.start, rows.len());
        Self {
            base: self.base.narrow(rows),
            source: self.source.clone().narrow(0, start, n),
            labels: self.labels.clone().narrow(0, start, n),
            ..*self
        }
    }

    pub(super) fn to_autodiff<A: AutodiffBackend<InnerBackend = B>>(&self) -> CachedPairs<A> {
        CachedPairs {
            place: self.place,
            base: self.base.to_autodiff(),
            source: Tensor::from_inner(self.source.clone()),
            labels: Tensor::from_inner(self.labels.clone()),
        }
    }

    /// The intervention on these pairs, which are the `idx`th block of rows of a run.
    fn edit(&self, idx: usize, intervention: &Intervention<B>) -> Edit<B> {
        let (n, Place { site, head, .. }) = (self.base.n_rows(), self.place);
        let source = self.source.clone();
        Edit {
            site,
            units: Units {
                rows: Some(idx * n..(idx + 1) * n),
                positions: Some(vec![self.base.start]),
                heads: head.map(|head| vec![head]),
            },
            intervention: intervention.clone(),
            source: match head {
                None => Source::Positions(source),
                Some(_) => Source::Heads(source.unsqueeze_dim(1)),
            },
        }
    }

    /// What the base runs have at the place, `[batch, width]`.
    pub fn base_values(&self, model: &Decoder<B>) -> Option<Tensor<B, 2>> {
        let Place { site, head, .. } = self.place;
        let mut recorder = Recorder::new([site]);
        let last = self.base.n_positions() - 1;
        drop(model.resume_to_norm(&self.base, last, &mut recorder));
        match head {
            None => Some(recorder.get(site)?.clone().narrow(1, 0, 1).squeeze_dim(1)),
            Some(head) => {
                let x = recorder.get_heads(site)?.clone().narrow(1, head, 1); // [batch, 1, pos, width]
                Some(x.squeeze_dim::<3>(1).narrow(1, 0, 1).squeeze_dim(1))
            }
        }
    }

    /// What the source runs have there, `[batch, width]`.
    pub fn source_values(&self) -> Tensor<B, 2> {
        self.source.clone().squeeze_dim(1)
    }

    /// What the head reads at the last position after the intervention.
    ///
    /// # Shapes
    /// - result: `[batch, d_model]`
    pub fn normed(&self, model: &Decoder<B>, intervention: &Intervention<B>) -> Tensor<B, 2> {
        let (pairs, interventions) = (
            std::slice::from_ref(self),
            std::slice::from_ref(intervention),
        );
        normed(model, pairs, interventions).squeeze_dim(1)
    }
}

/// What the head reads at the last position after an intervention at each of several places: one batch that starts from the
/// earliest of their positions.
///
/// # Shapes
/// - result: `[places * batch, 1, d_model]`
pub(super) fn normed<B: Backend>(
    model: &Decoder<B>,
    places: &[CachedPairs<B>],
    interventions: &[Intervention<B>],
) -> Tensor<B, 3> {
    let Some(first) = places.iter().min_by_key(|pairs| pairs.base.start) else {
        panic!("no places to intervene at");
    };
    let base = first.base.tile(places.len());
    let read = base.n_positions() - 1;
    let edits = places.iter().zip(interventions).enumerate();
    let edits = edits.map(|(idx, (pairs, intervention))| pairs.edit(idx, intervention));
    let mut editor = Editor::of_checked(edits.collect()).starting_at(base.start);
    model.resume_to_norm(&base, read, &mut editor)
}

//! The runs of a plan: plain ones from the cache, and what interventions change of them.

use std::sync::Arc;

use burn::tensor::{Tensor, backend::Backend};
use swivel_core::{
    Component, Decoder, Recorder, Result, Site, Sizes,
    intervention::{Edit, Editor, Source, Units},
    plan::CheckedPlan,
};

use crate::cache::Run;

/// A run of a plan.
pub(crate) struct Stage<B: Backend> {
    /// The run without interventions.
    pub plain: Arc<Run<B>>,
    /// What they change, where there are any.
    pub changed: Option<Changed<B>>,
}

/// What interventions change of a run.
#[derive(Clone)]
pub(crate) struct Changed<B: Backend> {
    /// First layer that was computed again; the number of layers where only norm and head were.
    pub layer: usize,
    /// First token that was.
    pub start: usize,
    /// Values at the sites that were asked for, from that token on; those below the layer are missing.
    pub values: Recorder<B>,
    /// What the head reads, `[rows, pos, d_model]`: of as many of the last tokens as were asked for.
    pub normed: Tensor<B, 3>,
}

/// Of which tokens it is wanted what the head reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logits {
    /// Of the last.
    Last,
    /// Of all that may change.
    All,
}

/// A model with what runs need that go on from cached ones.
pub(crate) struct Stages<'a, B: Backend> {
    pub model: &'a Decoder<B>,
    pub sizes: &'a Sizes,
    pub device: &'a B::Device,
    pub plan: &'a CheckedPlan,
}

impl<B: Backend> Stages<'_, B> {
    /// The source runs of the plan, of which the plain ones are `runs`, in their order.
    pub fn sources(&self, runs: &[Arc<Run<B>>]) -> Result<Vec<Stage<B>>> {
        let mut sources = Vec::with_capacity(runs.len());
        for (idx, plain) in runs.iter().enumerate() {
            let sites: Vec<Site> = self.plan.sites_read(idx).collect();
            sources.push(self.run(idx, plain, &sources, &sites, Logits::Last)?);
        }
        Ok(sources)
    }

    /// A run of the plan from its plain run; `sites` are recorded as the interventions leave them.
    pub fn run(
        &self,
        idx: usize,
        plain: &Arc<Run<B>>,
        sources: &[Stage<B>],
        sites: &[Site],
        logits: Logits,
    ) -> Result<Stage<B>> {
        let mut stage = Stage {
            plain: Arc::clone(plain),
            changed: None,
        };
        let edits = self.edits(idx, sources)?;
        let n_layers = self.sizes.n_layers;
        let editor = Editor::new(self.sizes, plain.cached.n_tokens(), edits)?;
        let Some((layer, start)) = editor.resumes_at(n_layers) else {
            return Ok(stage);
        };
        let cached = plain.cached.base_at(layer, start);
        let read = match logits {
            Logits::Last => cached.n_positions() - 1,
            Logits::All => 0,
        };
        let mut hooks = (
            editor.starting_at(start),
            Recorder::new(sites.iter().copied()),
        );
        let normed = self.model.resume_to_norm(&cached, read, &mut hooks);
        let (editor, values) = hooks;
        editor.finish()?;
        stage.changed = Some(Changed {
            layer,
            start,
            values,
            normed,
        });
        Ok(stage)
    }

    /// What interventions do to a run of the plan, with what the sources before it have.
    pub fn edits(&self, idx: usize, sources: &[Stage<B>]) -> Result<Vec<Edit<B>>> {
        let value = |source: usize, site: Site, units: &Units| {
            Ok::<_, swivel_core::Error>(self.value(&sources[source], site, units))
        };
        self.plan.edits(idx, self.device, value)
    }

    /// What a run has at some units of a site, as its interventions leave it.
    pub fn value(&self, stage: &Stage<B>, site: Site, units: &Units) -> Source<B> {
        let from = units.first_position();
        let units = Units {
            positions: (units.positions.as_ref())
                .map(|positions| positions.iter().map(|position| position - from).collect()),
            ..units.clone()
        };
        let plain = || self.plain(&stage.plain, site, from);
        let changed = stage.changed.as_ref().and_then(|changed| {
            let values = Source::recorded(&changed.values, site)?;
            Some((changed.start, values))
        });
        let n_tokens = stage.plain.cached.n_tokens();
        let values = match changed {
            None => plain(),
            Some((start, changed)) if from < start => plain()
                .narrow_positions(0, start - from)
                .followed_by(changed),
            Some((start, changed)) => changed.narrow_positions(from - start, n_tokens - from),
        };
        values.map(|x| units.select(x), |x| units.select(x))
    }

    /// What a plain run has at a site from a token on: `[rows, pos, width]` or `[rows, head, pos, …]`.
    pub fn plain(&self, run: &Run<B>, site: Site, from: usize) -> Source<B> {
        let rest = run.cached.n_tokens() - from;
        let stream =
            |layer: usize| Source::Positions(run.cached.stream(layer).narrow(1, from, rest));
        match site.component {
            Component::Embedding | Component::BlockInput => return stream(site.layer),
            Component::BlockOutput => return stream(site.layer + 1),
            Component::FinalNorm => {
                let x = run.cached.stream(self.sizes.n_layers).narrow(1, from, rest);
                return Source::Positions(self.model.norm.forward(x, &self.model.kernels));
            }
            _ => {}
        }
        let mut recorder = Recorder::new([site]);
        self.model
            .replay(&run.cached, site.layer, from, &mut recorder);
        match Source::recorded(&recorder, site) {
            Some(value) => value,
            None => unreachable!("a block offers all of its sites to the hook"),
        }
    }
}

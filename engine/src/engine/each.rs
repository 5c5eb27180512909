//! One intervention at many tokens, each in a run of its own.

use std::sync::Arc;

use burn::tensor::backend::Backend;
use swivel_core::{
    Error, Site,
    intervention::{Source, Units},
};

use super::{Asked, Engine};
use crate::{
    failure::{Result, refused},
    protocol::Cell,
    readback::cells,
    stage::Stage,
};

impl<B: Backend> Engine<B> {
    /// The plan's only intervention at each of its tokens, one run a token.
    pub(super) async fn each(
        &mut self,
        asked: &Asked<'_>,
        pair: [u32; 2],
        is_wanted: &impl AsyncFn() -> bool,
    ) -> Result<Vec<Cell>> {
        self.sizes.check_ids(&[pair]).map_err(Error::from)?;
        let plan = asked.checked;
        let (base, sources) = self.runs_of(asked.asker, plan, is_wanted).await?;
        let stages = self.stages(plan);
        let sources = stages.sources(&sources)?;
        let value = |source: usize, site: Site, units: &Units| -> Result<Source<B>> {
            Ok(stages.value(&sources[source], site, units))
        };
        let mut edits = plan.edits(plan.n_sources(), &self.device, value)?;
        let (Some(edit), true) = (edits.pop(), edits.is_empty()) else {
            let found = plan.sites().count();
            return Err(refused("interventions", "one intervention", found));
        };
        let positions = edit.units.positions.unwrap_or_default();
        let (Some(first), Some(last)) = (positions.first(), positions.last()) else {
            return Err(refused("base_positions", "tokens", "all at once"));
        };
        let range = *first..last + 1;
        if !range.clone().eq(positions.iter().copied()) {
            let found = format!("{positions:?}");
            return Err(refused(
                "base_positions",
                "tokens side by side, first to last",
                found,
            ));
        }
        let head = match edit.units.heads.as_deref() {
            None => None,
            Some([head]) => Some(*head),
            Some(heads) if Some(heads.len()) == edit.site.component.n_heads(&self.sizes) => None,
            Some(heads) => return Err(refused("heads", "one head or all", format!("{heads:?}"))),
        };
        // An operation without a source needs the shape of one.
        let source = match edit.source {
            Source::None => {
                let units = Units {
                    positions: Some(positions.clone()),
                    heads: edit.units.heads.clone(),
                    rows: None,
                };
                let stage = Stage {
                    plain: Arc::clone(&base),
                    changed: None,
                };
                stages.value(&stage, edit.site, &units)
            }
            source => source,
        };
        let normed = self.model.intervene_each(
            &base.cached,
            &edit.intervention,
            &source,
            (edit.site, head),
            &positions,
        );
        cells(&self.model, normed.squeeze_dim(0), pair).await
    }
}

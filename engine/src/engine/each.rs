//! One intervention at many tokens, each in a run of its own.

use std::{ops::Range, sync::Arc};

use burn::tensor::{Tensor, backend::Backend};
use swivel_core::{
    Error, Site,
    intervention::{Source, Units},
};

use super::{Asked, Engine};
use crate::{
    failure::{Result, look, refused},
    protocol::Cell,
    readback::cells,
    stage::Stage,
};

/// Products of numbers after which it is asked whether the answer is still wanted: a toggle waits for them.
const STEP_PRODUCTS: usize = 2_000_000_000;

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
        let (base, sources) = self.stages_of(asked.asker, plan, is_wanted).await?;
        let stages = self.stages(plan);
        let mut edits = stages.edits(plan.n_sources(), &sources)?;
        let (Some(edit), true) = (edits.pop(), edits.is_empty()) else {
            let found = plan.sites().count();
            return Err(refused("interventions", "one intervention", found));
        };
        let first_site = edit.first_site();
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
        let n_products = self.products_above(first_site);
        let mut normed = Vec::new();
        for step in steps(&positions, base.cached.n_tokens(), n_products) {
            if step.start > 0 {
                look(is_wanted).await?;
            }
            normed.push(self.model.intervene_each(
                &base.cached,
                &edit.intervention,
                &source.narrow_positions(step.start, step.len()),
                (edit.site, head),
                &positions[step],
            ));
        }
        let normed = Tensor::cat(normed, 1);
        cells(&self.model, normed.squeeze_dim(0), pair).await
    }

    /// About how many products of numbers a token costs in the layers from a site on, which an intervention that comes by it can change.
    fn products_above(&self, site: Site) -> usize {
        let n_layers = self.sizes.n_layers;
        let layers = n_layers - site.resumes_at(n_layers).min(n_layers);
        layers * self.sizes.products_a_token()
    }
}

/// Which of the positions are computed in one step, where a token costs so many products: as many as the first of them allows,
/// at least one.
fn steps(positions: &[usize], n_tokens: usize, n_products: usize) -> Vec<Range<usize>> {
    let mut steps = Vec::new();
    let mut done = 0;
    while let Some(first) = positions.get(done) {
        let n = STEP_PRODUCTS / (n_products * (n_tokens - first)).max(1);
        let n = n.clamp(1, positions.len() - done);
        steps.push(done..done + n);
        done += n;
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_costs_much_is_computed_in_small_steps() {
        let all: Vec<usize> = (32..40).collect();
        assert_eq!(steps(&all, 40, 1000), vec![0..8; 1]);
        assert_eq!(steps(&all, 40, 0), vec![0..8; 1]);
        let half = STEP_PRODUCTS / 12;
        assert_eq!(steps(&all, 40, half), [0..1, 1..2, 2..4, 4..7, 7..8]);
        let each = steps(&all, 40, STEP_PRODUCTS);
        assert_eq!(each, (0..8).map(|at| at..at + 1).collect::<Vec<_>>());
        assert!(steps(&[], 40, 1).is_empty());
    }
}

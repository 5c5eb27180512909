//! Inside the model: the logit lens, and attention.

use std::collections::BTreeMap;

use burn::tensor::{Tensor, backend::Backend};
use swivel_core::{Component, Error, Position, Recorder, Site, plan::Plan};

use super::{Asked, Engine};
use crate::{
    failure::{Result, look},
    protocol::{AttentionRows, Cell, LensRow},
    readback::{cells, read},
    stage::Changed,
};

/// Residual vectors that are read at once, at most and at least: after them it is asked whether the answer is still wanted.
const LENS_CHUNK: [usize; 2] = [64, 8];
/// Products of numbers in between, where a vocabulary is large: a toggle waits for them.
const LENS_PRODUCTS: usize = 500_000_000;
/// Intervened runs whose streams are cached, since the lens asks for them layer by layer.
const MOST_STREAMS: usize = 4;

/// What an intervened run has after each layer.
pub(super) struct Streams<B: Backend> {
    plan: Plan,
    changed: Option<Changed<B>>,
    /// What the base run says above layers that were read: another intervention on the same prompt does not read it again.
    said: BTreeMap<(usize, [u32; 2]), Vec<Cell>>,
}

impl<B: Backend> Engine<B> {
    /// The logit lens of a layer: what each token's residual stream would say if it were the last one.
    pub(super) async fn lens(
        &mut self,
        asked: &Asked<'_>,
        layer: usize,
        pair: [u32; 2],
        is_wanted: &impl AsyncFn() -> bool,
    ) -> Result<LensRow> {
        let site = Component::BlockOutput
            .at(layer)
            .check(&self.sizes)
            .map_err(Error::from)?;
        self.sizes.check_ids(&[pair]).map_err(Error::from)?;
        let changed = self.streams(asked, is_wanted).await?;
        let cells = self.said(asked, (layer, pair), is_wanted).await?;
        let x =
            changed.and_then(|changed| Some((changed.start, changed.values.get(site)?.clone())));
        let intervened = match x {
            None => None,
            Some((start, x)) => {
                look(is_wanted).await?;
                Some((start, self.lens_cells(x, pair, is_wanted).await?))
            }
        };
        Ok(LensRow {
            base: cells,
            intervened,
        })
    }

    /// What the base run says above a layer, of a pair of tokens.
    async fn said(
        &mut self,
        asked: &Asked<'_>,
        at: (usize, [u32; 2]),
        is_wanted: &impl AsyncFn() -> bool,
    ) -> Result<Vec<Cell>> {
        let same = (self.streams.iter()).filter(|own| own.plan.base == asked.plan.base);
        let known = same.filter_map(|own| own.said.get(&at)).next().cloned();
        let cells = match known {
            Some(cells) => cells,
            None => {
                let (layer, pair) = at;
                let (base, _) = self.runs_of(asked.asker, asked.checked, is_wanted).await?;
                let stream = base.cached.stream(layer + 1);
                self.lens_cells(stream, pair, is_wanted).await?
            }
        };
        let mut all = self.streams.iter_mut();
        if let Some(own) = all.find(|own| own.plan == *asked.plan) {
            own.said.insert(at, cells.clone());
        }
        Ok(cells)
    }

    /// # Shapes
    /// - `x`: `[1, pos, d_model]`
    async fn lens_cells(
        &self,
        x: Tensor<B, 3>,
        pair: [u32; 2],
        is_wanted: &impl AsyncFn() -> bool,
    ) -> Result<Vec<Cell>> {
        let pos = x.dims()[1];
        let mut row = Vec::with_capacity(pos);
        let [most, least] = LENS_CHUNK;
        let n_products = self.sizes.d_vocab * self.sizes.d_model;
        let chunk = (LENS_PRODUCTS / n_products).clamp(least, most);
        for start in (0..pos).step_by(chunk) {
            if start > 0 {
                look(is_wanted).await?;
            }
            let x = x.clone().narrow(1, start, chunk.min(pos - start));
            let normed = self
                .model
                .norm
                .forward(x, &self.model.kernels)
                .squeeze_dim(0); // [pos, d_model]
            row.extend(cells(&self.model, normed, pair).await?);
        }
        Ok(row)
    }

    /// What a token looks at, in each head of a layer.
    pub(super) async fn attention(
        &mut self,
        asked: &Asked<'_>,
        [layer, position]: [usize; 2],
        is_wanted: &impl AsyncFn() -> bool,
    ) -> Result<AttentionRows> {
        let site = Component::AttentionWeight
            .at(layer)
            .check(&self.sizes)
            .map_err(Error::from)?;
        let n_tokens = asked.checked.base()[0].len();
        Position::Index(position)
            .resolve(n_tokens)
            .map_err(Error::from)?;
        let stage = self.intervened(asked, &[site], is_wanted).await?;
        let mut recorder = Recorder::new([site]);
        self.model
            .replay(&stage.plain.cached, layer, position, &mut recorder);
        let base = attention_rows(&recorder, site, 0, position).await?;
        let changed = stage.changed.filter(|changed| {
            changed.start <= position && changed.values.get_heads(site).is_some()
        });
        let intervened = match changed {
            None => None,
            Some(Changed { start, values, .. }) => {
                Some(attention_rows(&values, site, position - start, position).await?)
            }
        };
        Ok(AttentionRows { base, intervened })
    }

    /// What the intervened run has after each layer that the interventions change; computed once for all layers.
    async fn streams(
        &mut self,
        asked: &Asked<'_>,
        is_wanted: &impl AsyncFn() -> bool,
    ) -> Result<Option<Changed<B>>> {
        if let Some(streams) = (self.streams.iter()).find(|own| own.plan == *asked.plan) {
            return Ok(streams.changed.clone());
        }
        let layers = 0..self.sizes.n_layers;
        let sites: Vec<Site> = layers.map(|l| Component::BlockOutput.at(l)).collect();
        let changed = self.intervened(asked, &sites, is_wanted).await?.changed;
        self.streams.push_front(Streams {
            plan: asked.plan.clone(),
            changed: changed.clone(),
            said: BTreeMap::new(),
        });
        self.streams.truncate(MOST_STREAMS);
        Ok(changed)
    }
}

/// Weights of all heads from the query with index `query` of the recorded ones, up to the token `position`, which it is.
async fn attention_rows<B: Backend>(
    recorder: &Recorder<B>,
    site: Site,
    query: usize,
    position: usize,
) -> Result<Vec<Vec<f32>>> {
    let Some(weight) = recorder.get_heads(site) else {
        return Ok(Vec::new());
    };
    let k_pos = weight.dims()[3];
    let weight = weight.clone().narrow(2, query, 1); // [1, head, 1, k_pos]
    let values = read(weight).await?;
    let rows = values.chunks(k_pos);
    Ok(rows.map(|row| row[..=position].to_vec()).collect())
}

//! The only caller of the core that runs a model for questions.

use std::{collections::VecDeque, fmt, sync::Arc};

use burn::tensor::{Int, Tensor, TensorData, activation, backend::Backend};
use sha2::{Digest, Sha256};
use swivel_core::{
    Component, Error, Gpt2, Gpt2Config, Position, Recorder, Site, Weights,
    cone::Cone,
    direction::Direction,
    hex,
    intervention::{Source, Units},
    kernel::Kernels,
    plan::{CheckedPlan, Outcome, Plan, PlanError, Record},
};

use crate::{
    answer::compare,
    cache::{Cache, Limits, Run},
    protocol::{Answer, AttentionRows, Cell, LensRow, Read, Request, Response},
    stage::{Changed, Logits, Stage, Stages},
};

/// Residual vectors whose logits are computed at once: bounds the memory for a large vocabulary.
const LENS_CHUNK: usize = 64;
/// Intervened runs whose streams are cached, since the lens asks for them layer by layer.
const MOST_STREAMS: usize = 4;
/// Directions that an engine keeps: a few KB each.
pub const MOST_DIRECTIONS: usize = 1024;

/// Why a question has no answer.
#[derive(Debug)]
pub enum Failure {
    /// What was asked for is impossible.
    Request(Error),
    /// The device did not compute, or did not hand out what it computed.
    Device(String),
    /// It was not wanted any more.
    Unwanted,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(error) => error.fmt(f),
            Self::Device(error) => f.write_str(error),
            Self::Unwanted => f.write_str("not wanted any more"),
        }
    }
}

impl std::error::Error for Failure {}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Request(error)
    }
}

type Result<T> = std::result::Result<T, Failure>;

/// Ends a job between two of its steps if its answer is not wanted any more.
async fn look(is_wanted: &impl AsyncFn() -> bool) -> Result<()> {
    match is_wanted().await {
        true => Ok(()),
        false => Err(Failure::Unwanted),
    }
}

/// A model on a device.
pub struct Engine<B: Backend> {
    config: Gpt2Config,
    model: Gpt2<B>,
    device: B::Device,
    runs: Cache<B>,
    /// Latest last, by name.
    directions: VecDeque<(String, Arc<Direction>)>,
    /// Latest first.
    streams: VecDeque<Streams<B>>,
}

/// What an intervened run has after each layer.
struct Streams<B: Backend> {
    plan: Plan,
    changed: Option<Changed<B>>,
}

impl<B: Backend> Engine<B> {
    /// Puts a model on a device.
    ///
    /// # Errors
    /// - [`Failure::Request`] if the files hold no such model.
    pub fn load(config: Gpt2Config, weights: &Weights<'_>, device: B::Device) -> Result<Self> {
        let model = Gpt2::load(&config, weights, &device).map_err(Error::from)?;
        Ok(Self::new(config, model, Limits::PAGE))
    }

    /// An engine of a model that is on a device.
    pub fn new(config: Gpt2Config, model: Gpt2<B>, limits: Limits) -> Self {
        Self {
            device: model.wte.weight.val().device(),
            config,
            model,
            runs: Cache::new(limits),
            directions: VecDeque::new(),
            streams: VecDeque::new(),
        }
    }

    /// Has the model compute with these kernels.
    pub fn set_kernels(&mut self, kernels: Kernels<B>) {
        self.model = self.model.clone().with_kernels(kernels);
    }

    /// Takes a direction file, so that plans can name it; gives its name, `sha256:…` of its bytes.
    ///
    /// # Errors
    /// - [`Failure::Request`] if it is none, or does not fit the model.
    pub fn take_direction(&mut self, bytes: &[u8]) -> Result<String> {
        let name = direction_name(bytes);
        if !self.directions.iter().any(|(own, _)| *own == name) {
            let direction = Direction::from_bytes(bytes).map_err(Error::from)?;
            direction.check(&self.config).map_err(Error::from)?;
            self.directions
                .push_back((name.clone(), Arc::new(direction)));
            if self.directions.len() > MOST_DIRECTIONS {
                self.directions.pop_front();
            }
        }
        Ok(name)
    }

    /// Drops what is cached for an asker alone.
    pub fn forget(&mut self, asker: u32) {
        self.runs.forget(asker);
    }

    /// Computes a whole run of `n_tokens` tokens and keeps nothing: for measuring.
    ///
    /// # Errors
    /// - [`Failure::Device`] if the device fails.
    pub async fn rehearse(&self, n_tokens: usize) -> Result<()> {
        let ids = vec![0; n_tokens.clamp(1, self.config.n_ctx)];
        self.compute(&[ids]).await.map(drop)
    }

    /// Answers one question; `asker` tells those apart who share the engine. After each step that takes time and is not the last,
    /// it asks whether the answer is still wanted; what was computed until then is cached.
    ///
    /// # Errors
    /// - [`Failure::Request`] if the plan does not fit the model, has several rows, or what is to be read is not there.
    /// - [`Failure::Device`] if the device fails.
    /// - [`Failure::Unwanted`] if the answer is not wanted any more.
    pub async fn handle(
        &mut self,
        asker: u32,
        request: &Request,
        is_wanted: &impl AsyncFn() -> bool,
    ) -> Result<Response> {
        let Request { plan, read } = request;
        let checked = self.check(plan)?;
        if checked.base().len() != 1 {
            return Err(refused("base", "one prompt", checked.base().len()));
        }
        let asked = Asked {
            asker,
            plan,
            checked: &checked,
        };
        Ok(match read {
            Read::Answer { beside } => {
                Response::Answer(self.answer(&asked, beside, is_wanted).await?)
            }
            Read::Lens { layer, pair } => {
                Response::Lens(self.lens(&asked, *layer, *pair, is_wanted).await?)
            }
            Read::Attention { layer, position } => {
                let at = [*layer, *position];
                Response::Attention(self.attention(&asked, at, is_wanted).await?)
            }
            Read::Each { pair } => Response::Each(self.each(&asked, *pair, is_wanted).await?),
        })
    }

    /// Runs a plan of any number of rows: its source runs and base runs are cached, and what interventions change is computed
    /// from there.
    ///
    /// # Errors
    /// - those of [`Engine::handle`]
    pub async fn outcome(
        &mut self,
        asker: u32,
        plan: &CheckedPlan,
        is_wanted: &impl AsyncFn() -> bool,
    ) -> Result<Outcome<B>> {
        let (base, sources) = self.runs_of(asker, plan, is_wanted).await?;
        let stages = self.stages(plan);
        let sources = stages.sources(&sources)?;
        let stage = stages.run(
            plan.n_sources(),
            &base,
            &sources,
            plan.record(),
            Logits::All,
        )?;
        let stream = base.cached.stream(self.config.n_layers);
        let before = self.model.unembed(stream, &mut ());
        let intervened = match &stage.changed {
            None => before.clone(),
            Some(Changed {
                start: 0, logits, ..
            }) => logits.clone(),
            Some(Changed { start, logits, .. }) => {
                Tensor::cat(vec![before.clone().narrow(1, 0, *start), logits.clone()], 1)
            }
        };
        let record = |site: &Site| match stages.value(&stage, *site, &Units::default()) {
            Source::Positions(x) => Record::Positions(x),
            Source::Heads(x) => Record::Heads(x),
            Source::None => unreachable!("every site has a value"),
        };
        let records = plan.record().iter().map(record).collect();
        Ok(Outcome {
            base: before,
            intervened,
            records,
        })
    }

    fn check(&self, plan: &Plan) -> Result<CheckedPlan> {
        let read = |name: &str| {
            let found = self.directions.iter().find(|(own, _)| own == name);
            found
                .map(|(_, direction)| Arc::clone(direction))
                .ok_or("the engine was not given it")
        };
        Ok(plan.check(&self.config, None, read).map_err(Error::from)?)
    }

    fn stages<'a>(&'a self, plan: &'a CheckedPlan) -> Stages<'a, B> {
        Stages {
            model: &self.model,
            config: &self.config,
            device: &self.device,
            plan,
        }
    }

    /// The base run of a plan as its interventions leave it, and the plain one.
    async fn intervened(
        &mut self,
        asked: &Asked<'_>,
        sites: &[Site],
        is_wanted: &impl AsyncFn() -> bool,
    ) -> Result<Stage<B>> {
        let plan = asked.checked;
        let (base, sources) = self.runs_of(asked.asker, plan, is_wanted).await?;
        let stages = self.stages(plan);
        let sources = stages.sources(&sources)?;
        Ok(stages.run(plan.n_sources(), &base, &sources, sites, Logits::Last)?)
    }

    /// The next token after base, intervened run, and the run that is shown beside them.
    async fn answer(
        &mut self,
        asked: &Asked<'_>,
        beside: &[u32],
        is_wanted: &impl AsyncFn() -> bool,
    ) -> Result<Answer> {
        let beside = [beside.to_vec()];
        let mut prompts: Vec<&[Vec<u32>]> = (0..=asked.checked.n_sources())
            .map(|run| asked.checked.run_ids(run))
            .chain([&beside[..]])
            .filter(|ids| !self.runs.has(ids))
            .collect();
        prompts.sort_unstable();
        prompts.dedup();
        let new_runs = prompts.len();
        let source = self.run(asked.asker, &beside, is_wanted).await?;
        let stage = self.intervened(asked, &[], is_wanted).await?;
        let n_layers = self.config.n_layers;
        let n_tokens = stage.plain.cached.n_tokens();
        let (intervened, computed) = match stage.changed {
            None => (stage.plain.logits.clone(), 0),
            Some(changed) => {
                let computed = (n_layers - changed.layer) * (n_tokens - changed.start);
                (read(changed.logits).await?, computed)
            }
        };
        Ok(Answer {
            computed: [computed, n_layers * n_tokens],
            new_runs,
            ..compare([&stage.plain.logits, &intervened, &source.logits])
        })
    }

    async fn lens(
        &mut self,
        asked: &Asked<'_>,
        layer: usize,
        pair: [u32; 2],
        is_wanted: &impl AsyncFn() -> bool,
    ) -> Result<LensRow> {
        let site = Component::BlockOutput
            .at(layer)
            .check(&self.config)
            .map_err(Error::from)?;
        self.config.check_ids(&[pair]).map_err(Error::from)?;
        let (base, _) = self.runs_of(asked.asker, asked.checked, is_wanted).await?;
        let stream = base.cached.stream(layer + 1);
        let cells = self.lens_cells(stream, pair, is_wanted).await?;
        let changed = self.streams(asked, is_wanted).await?;
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

    /// # Shapes
    /// - `x`: `[1, pos, d_model]`
    async fn lens_cells(
        &self,
        x: Tensor<B, 3>,
        pair: [u32; 2],
        is_wanted: &impl AsyncFn() -> bool,
    ) -> Result<Vec<Cell>> {
        let pos = x.dims()[1];
        let mut cells = Vec::with_capacity(pos);
        for start in (0..pos).step_by(LENS_CHUNK) {
            if start > 0 {
                look(is_wanted).await?;
            }
            let x = x.clone().narrow(1, start, LENS_CHUNK.min(pos - start));
            let logits = self.model.unembed(x, &mut ()).squeeze_dim(0); // [pos, d_vocab]
            cells.extend(self.cells(logits, pair).await?);
        }
        Ok(cells)
    }

    async fn attention(
        &mut self,
        asked: &Asked<'_>,
        [layer, position]: [usize; 2],
        is_wanted: &impl AsyncFn() -> bool,
    ) -> Result<AttentionRows> {
        let site = Component::AttentionWeight
            .at(layer)
            .check(&self.config)
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
        let layers = 0..self.config.n_layers;
        let sites: Vec<Site> = layers.map(|l| Component::BlockOutput.at(l)).collect();
        let changed = self.intervened(asked, &sites, is_wanted).await?.changed;
        self.streams.push_front(Streams {
            plan: asked.plan.clone(),
            changed: changed.clone(),
        });
        self.streams.truncate(MOST_STREAMS);
        Ok(changed)
    }

    /// The plan's only intervention at each of its tokens, one run a token.
    async fn each(
        &mut self,
        asked: &Asked<'_>,
        pair: [u32; 2],
        is_wanted: &impl AsyncFn() -> bool,
    ) -> Result<Vec<Cell>> {
        self.config.check_ids(&[pair]).map_err(Error::from)?;
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
            Some(heads) if heads.len() == self.config.n_heads => None,
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
        let logits = self.model.intervene_each(
            &base.cached,
            &edit.intervention,
            &source,
            (edit.site, head),
            range,
        );
        self.cells(logits.squeeze_dim(0), pair).await
    }

    /// # Shapes
    /// - `logits`: `[cell, d_vocab]`
    async fn cells(&self, logits: Tensor<B, 2>, [first, second]: [u32; 2]) -> Result<Vec<Cell>> {
        let probabilities = activation::softmax(logits.clone(), 1);
        let (probability, top) = probabilities.clone().max_dim_with_indices(1); // [cell, 1]
        let column = |x: &Tensor<B, 2>, id: u32| x.clone().narrow(1, id as usize, 1);
        let difference = column(&logits, second) - column(&logits, first);
        let columns = vec![
            top.float(),
            probability,
            difference,
            column(&probabilities, second),
        ];
        let values = read(Tensor::cat(columns, 1)).await?;
        Ok(values
            .chunks(4)
            .map(|cell| Cell {
                top: cell[0] as u32,
                probability: cell[1],
                difference: cell[2],
                second: cell[3],
            })
            .collect())
    }

    /// The plain runs of a plan, the base's and the sources', computed where they are not cached.
    async fn runs_of(
        &mut self,
        asker: u32,
        plan: &CheckedPlan,
        is_wanted: &impl AsyncFn() -> bool,
    ) -> Result<(Arc<Run<B>>, Vec<Arc<Run<B>>>)> {
        let base = self.run(asker, plan.base(), is_wanted).await?;
        let mut sources = Vec::with_capacity(plan.n_sources());
        for run in 0..plan.n_sources() {
            sources.push(self.run(asker, plan.run_ids(run), is_wanted).await?);
        }
        Ok((base, sources))
    }

    async fn run(
        &mut self,
        asker: u32,
        ids: &[Vec<u32>],
        is_wanted: &impl AsyncFn() -> bool,
    ) -> Result<Arc<Run<B>>> {
        if let Some(run) = self.runs.get(asker, ids) {
            return Ok(run);
        }
        self.config.check_ids(ids).map_err(Error::from)?;
        let run = self.compute(ids).await?;
        let run = self.runs.put(asker, run);
        look(is_wanted).await?;
        Ok(run)
    }

    async fn compute(&self, ids: &[Vec<u32>]) -> Result<Run<B>> {
        let (n_rows, n_tokens) = (ids.len(), ids[0].len());
        let values: Vec<i32> = ids.iter().flatten().map(|id| *id as i32).collect();
        let tensor: Tensor<B, 2, Int> =
            Tensor::from_data(TensorData::new(values, [n_rows, n_tokens]), &self.device);
        let cone = Cone::whole(self.config.n_layers, n_tokens);
        let cached = self.model.cache_run(tensor, &cone);
        let stream = cached.stream(self.config.n_layers);
        let last = stream.narrow(1, n_tokens - 1, 1);
        let logits = read(self.model.unembed(last, &mut ())).await?;
        let ids = ids.to_vec();
        Ok(Run {
            ids,
            cached,
            logits,
        })
    }
}

/// A plan that was asked about.
struct Asked<'a> {
    asker: u32,
    plan: &'a Plan,
    checked: &'a CheckedPlan,
}

/// The name of a direction file in plans for an engine: SHA-256 of its bytes.
pub fn direction_name(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

fn refused(field: &str, expected: &str, found: impl fmt::Display) -> Failure {
    let error = PlanError::Value {
        field: field.to_owned(),
        expected: expected.to_owned(),
        found: found.to_string(),
    };
    Failure::Request(error.into())
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

/// Reads a tensor back.
async fn read<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Result<Vec<f32>> {
    let data = tensor
        .into_data_async()
        .await
        .map_err(|error| Failure::Device(error.to_string()))?;
    let values: Vec<f32> = data
        .into_vec()
        .map_err(|error| Failure::Device(format!("{error:?}")))?;
    match values.iter().all(|value| !value.is_nan()) {
        true => Ok(values),
        false => Err(Failure::Device("the device computed NaN".to_owned())),
    }
}

//! The only caller of the core that runs a model for questions; how each kind is answered is a file of `engine/`.

mod answer;
mod each;
mod inside;
mod next;
mod scores;

use std::{collections::VecDeque, sync::Arc};

use burn::tensor::{Tensor, backend::Backend};
use sha2::{Digest, Sha256};
use swivel_core::{
    Config, Decoder, Error, Site, Sizes, Weights,
    cone::Cone,
    direction::Direction,
    generate::{Acts, Generator},
    hex, ids_tensor,
    kernel::Kernels,
    plan::{CheckedPlan, Outcome, Plan},
};

use crate::{
    cache::{Asker, Cache, Limits, Run},
    failure::{Result, look, refused},
    protocol::{Read, Request, Response},
    readback::read,
    stage::{Logits, Stage, Stages},
};
use inside::Streams;
use next::Text;

/// Directions that an engine keeps: a few KB each.
pub const MOST_DIRECTIONS: usize = 1024;

/// A model on a device.
pub struct Engine<B: Backend> {
    sizes: Sizes,
    model: Decoder<B>,
    device: B::Device,
    runs: Cache<B>,
    /// Latest last, by name.
    directions: VecDeque<(String, Arc<Direction>)>,
    /// Latest first.
    streams: VecDeque<Streams<B>>,
    /// Texts that are generated, latest first.
    texts: VecDeque<Text<B>>,
}

impl<B: Backend> Engine<B> {
    /// Puts a model on a device.
    ///
    /// # Errors
    /// - [`crate::Failure::Request`] if the files hold no such model.
    pub fn load(config: &Config, weights: &Weights<'_>, device: B::Device) -> Result<Self> {
        let model = Decoder::load(config, weights, &device).map_err(Error::from)?;
        Ok(Self::new(config.sizes.clone(), model, Limits::PAGE))
    }

    /// An engine of a model that is on a device.
    pub fn new(sizes: Sizes, model: Decoder<B>, limits: Limits) -> Self {
        Self {
            device: model.device(),
            sizes,
            model,
            runs: Cache::new(limits),
            directions: VecDeque::new(),
            streams: VecDeque::new(),
            texts: VecDeque::new(),
        }
    }

    /// Has the model compute with these kernels.
    pub fn set_kernels(&mut self, kernels: Kernels<B>) {
        self.model.set_kernels(kernels);
    }

    /// Takes a direction file, so that plans can name it; gives its name, `sha256:…` of its bytes.
    ///
    /// # Errors
    /// - [`crate::Failure::Request`] if it is none, or does not fit the model.
    pub fn take_direction(&mut self, bytes: &[u8]) -> Result<String> {
        let name = direction_name(bytes);
        if !self.directions.iter().any(|(own, _)| *own == name) {
            let direction = Direction::from_bytes(bytes).map_err(Error::from)?;
            direction.check(&self.sizes).map_err(Error::from)?;
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
        self.texts.retain(|text| !text.is_of(asker));
    }

    /// Computes a whole run of `n_tokens` tokens and keeps nothing: for measuring.
    ///
    /// # Errors
    /// - [`crate::Failure::Device`] if the device fails.
    pub async fn rehearse(&self, n_tokens: usize) -> Result<()> {
        let ids = vec![0; n_tokens.clamp(1, self.sizes.n_ctx)];
        let run = self.compute(&[ids]);
        read(run.said(&self.model).log_sum()).await.map(drop)
    }

    /// Answers one question; `asker` tells those apart who share the engine. After each step that takes time and is not the last,
    /// it asks whether the answer is still wanted; what was computed until then is cached.
    ///
    /// # Errors
    /// - [`crate::Failure::Request`] if the plan does not fit the model, has several rows, or what is to be read is not there.
    /// - [`crate::Failure::Device`] if the device fails.
    /// - [`crate::Failure::Unwanted`] if the answer is not wanted any more.
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
            asker: Asker {
                page: asker,
                is_passing: matches!(read, Read::Scores { .. }),
            },
            plan,
            checked: &checked,
        };
        Ok(match read {
            Read::Answer { beside, among } => {
                let beside = [beside.clone()];
                Response::Answer(self.answer(&asked, &beside, among, is_wanted).await?)
            }
            Read::Lens { layer, pair } => {
                Response::Lens(self.lens(&asked, *layer, *pair, is_wanted).await?)
            }
            Read::Attention { layer, position } => {
                let at = [*layer, *position];
                Response::Attention(self.attention(&asked, at, is_wanted).await?)
            }
            Read::Next(go_on) => Response::Next(self.next(&asked, go_on, is_wanted).await?),
            Read::Scores { of, among_all } => {
                Response::Scores(self.scores(&asked, of, *among_all, is_wanted).await?)
            }
            Read::Each { pair } => Response::Each(self.each(&asked, *pair, is_wanted).await?),
        })
    }

    /// Runs a plan of any number of rows: its source runs and base runs are cached, and what interventions change is computed
    /// from there. The outcome has the logits that are asked for.
    ///
    /// # Errors
    /// - those of [`Engine::handle`]
    pub async fn outcome(
        &mut self,
        asker: u32,
        plan: &CheckedPlan,
        logits: Logits,
        is_wanted: &impl AsyncFn() -> bool,
    ) -> Result<Outcome<B>> {
        let asker = Asker::of_page(asker);
        let (base, sources) = self.stages_of(asker, plan, is_wanted).await?;
        let stages = self.stages(plan);
        let sites = plan.record();
        let stage = stages.run(plan.n_sources(), &base, &sources, &sites, logits)?;
        let stream = base.cached.stream(self.sizes.n_layers);
        let n_tokens = base.cached.n_tokens();
        let n_wanted = match logits {
            Logits::Last => 1,
            Logits::All => n_tokens,
        };
        let wanted = stream.narrow(1, n_tokens - n_wanted, n_wanted);
        let before = self.model.unembed(wanted, &mut ());
        let intervened = match &stage.changed {
            None => before.clone(),
            Some(changed) => {
                let changed = self.model.head(changed.normed.clone());
                match n_wanted - changed.dims()[1] {
                    0 => changed,
                    n_kept => {
                        let kept = before.clone().narrow(1, 0, n_kept);
                        Tensor::cat(vec![kept, changed], 1)
                    }
                }
            }
        };
        Ok(Outcome {
            base: before,
            intervened,
            records: plan.records(|site, units| stages.value(&stage, site, units)),
        })
    }

    /// Reads the base prompts of a plan, by themselves and as its interventions make them, so that text can be generated behind
    /// them ([`Engine::model`] goes on).
    ///
    /// # Errors
    /// - those of [`Engine::handle`]
    pub async fn begin(
        &mut self,
        asker: u32,
        plan: &CheckedPlan,
        acts: Acts,
        is_wanted: &impl AsyncFn() -> bool,
    ) -> Result<Generator<B>> {
        let asker = Asker::of_page(asker);
        let (base, sources) = self.stages_of(asker, plan, is_wanted).await?;
        let stages = self.stages(plan);
        let edits = stages.edits(plan.n_sources(), &sources)?;
        let generator = Generator::new(&self.model, &self.sizes, &base.cached, edits, acts);
        Ok(generator.map_err(Error::from)?)
    }

    /// The model.
    pub fn model(&self) -> &Decoder<B> {
        &self.model
    }

    fn check(&self, plan: &Plan) -> Result<CheckedPlan> {
        let read = |name: &str| {
            let found = self.directions.iter().find(|(own, _)| own == name);
            found
                .map(|(_, direction)| Arc::clone(direction))
                .ok_or("the engine was not given it")
        };
        Ok(plan.check(&self.sizes, None, read).map_err(Error::from)?)
    }

    fn stages<'a>(&'a self, plan: &'a CheckedPlan) -> Stages<'a, B> {
        Stages {
            model: &self.model,
            sizes: &self.sizes,
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
        let (base, sources) = self.stages_of(asked.asker, plan, is_wanted).await?;
        let stages = self.stages(plan);
        Ok(stages.run(plan.n_sources(), &base, &sources, sites, Logits::Last)?)
    }

    /// The base's plain run, and the sources' as their interventions leave them.
    async fn stages_of(
        &mut self,
        asker: Asker,
        plan: &CheckedPlan,
        is_wanted: &impl AsyncFn() -> bool,
    ) -> Result<(Arc<Run<B>>, Vec<Stage<B>>)> {
        let (base, sources) = self.runs_of(asker, plan, is_wanted).await?;
        let sources = self.stages(plan).sources(&sources)?;
        Ok((base, sources))
    }

    /// The plain runs of a plan, the base's and the sources', computed where they are not cached.
    async fn runs_of(
        &mut self,
        asker: Asker,
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
        asker: Asker,
        ids: &[Vec<u32>],
        is_wanted: &impl AsyncFn() -> bool,
    ) -> Result<Arc<Run<B>>> {
        if let Some(run) = self.runs.get(asker, ids) {
            return Ok(run);
        }
        self.sizes.check_ids(ids).map_err(Error::from)?;
        let run = self.compute(ids);
        // Whether the device computed is known once something was read back. Of prompts that pass hardly any logit is.
        match asker.is_passing {
            true => read(run.normed(&self.model).sum()).await?,
            false => read(run.said(&self.model).log_sum()).await?,
        };
        let run = self.runs.put(asker, run);
        look(is_wanted).await?;
        Ok(run)
    }

    fn compute(&self, ids: &[Vec<u32>]) -> Run<B> {
        let n_tokens = ids[0].len();
        let cone = Cone::growing(self.sizes.n_layers, n_tokens);
        let cached = self.model.cache_run(ids_tensor(ids, &self.device), &cone);
        Run::new(ids.to_vec(), cached)
    }
}

/// A plan that was asked about.
struct Asked<'a> {
    asker: Asker,
    plan: &'a Plan,
    checked: &'a CheckedPlan,
}

/// The name of a direction file in plans for an engine: SHA-256 of its bytes.
pub fn direction_name(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

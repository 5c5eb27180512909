//! The engine: owns device and model and is the only caller of the core that runs it.
//!
//! Runs of prompts are kept, so that a toggle computes only the cone of what it can change.

use std::{collections::VecDeque, fmt, rc::Rc};

use burn::tensor::{Int, Tensor, TensorData, activation, backend::Backend};
use swivel_core::{
    Component, Error, Gpt2, Gpt2Config, Recorder, Site, Weights,
    cone::{Cone, KeptBase, KeptRun},
    intervention::{Edit, Editor, Featurizer, Intervention, Op, Source, Units},
};

use crate::protocol::{
    Answer, AnswerRow, AttentionRows, Cell, Interchange, LensRow, Prompts, Request, Response, Score,
};

/// Tokens of each run that the table of answers shows at least.
const TOP_K: usize = 4;
/// Rows of the table of answers.
const N_ROWS: usize = 6;
/// Runs that are kept: the pair, the one before, and probes.
const MOST_RUNS: usize = 12;
/// Bytes of the runs that are kept; those of one pair are kept in any case.
const MOST_BYTES: usize = 256 << 20;
/// Residual vectors whose logits are computed at once: bounds the memory for a large vocabulary.
const LENS_CHUNK: usize = 64;

/// Why a request has no answer.
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

/// A prompt's run, kept.
struct Run<B: Backend> {
    ids: Vec<u32>,
    kept: KeptRun<B>,
    /// After the last token, `[d_vocab]`, nats.
    logits: Vec<f32>,
}

/// A model on a device.
pub struct Engine<B: Backend> {
    config: Gpt2Config,
    model: Gpt2<B>,
    device: B::Device,
    /// Latest first.
    runs: VecDeque<Rc<Run<B>>>,
    /// The intervened run that layers were last asked of.
    streams: Option<Streams<B>>,
}

/// What an intervened run has after each layer, kept since the lens asks layer by layer.
struct Streams<B: Backend> {
    prompts: Prompts,
    interchanges: Vec<Interchange>,
    /// First token that changed, and the streams from there on; `None` without interchanges.
    changed: Option<(usize, Recorder<B>)>,
}

impl<B: Backend> Engine<B> {
    /// Puts a model on a device.
    ///
    /// # Errors
    /// - [`Failure::Request`] if the files hold no such model.
    pub fn load(config: Gpt2Config, weights: &Weights<'_>, device: B::Device) -> Result<Self> {
        let model = Gpt2::load(&config, weights, &device)?;
        Ok(Self {
            config,
            model,
            device,
            runs: VecDeque::new(),
            streams: None,
        })
    }

    /// Computes a whole run of `n_tokens` tokens and keeps nothing: for measuring.
    ///
    /// # Errors
    /// - [`Failure::Device`] if the device fails.
    pub async fn rehearse(&self, n_tokens: usize) -> Result<()> {
        let ids = vec![0; n_tokens.clamp(1, self.config.n_ctx)];
        self.compute(&ids).await.map(drop)
    }

    /// Answers one request. After each step that takes time and is not the last, it asks whether the answer is still wanted;
    /// what was computed until then is kept.
    ///
    /// # Errors
    /// - [`Failure::Request`] if a prompt, a site or a position does not fit the model.
    /// - [`Failure::Device`] if the device fails.
    /// - [`Failure::Unwanted`] if the answer is not wanted any more.
    pub async fn handle(
        &mut self,
        request: &Request,
        is_wanted: &impl AsyncFn() -> bool,
    ) -> Result<Response> {
        Ok(match request {
            Request::Answer {
                prompts,
                interchanges,
            } => Response::Answer(self.answer(prompts, interchanges, is_wanted).await?),
            Request::Lens {
                prompts,
                interchanges,
                layer,
                pair,
            } => {
                let (layer, pair) = (*layer, *pair);
                Response::Lens(
                    self.lens(prompts, interchanges, layer, pair, is_wanted)
                        .await?,
                )
            }
            Request::Attention {
                prompts,
                interchanges,
                layer,
                position,
            } => {
                let [layer, position] = [*layer, *position];
                Response::Attention(
                    self.attention(prompts, interchanges, layer, position, is_wanted)
                        .await?,
                )
            }
            Request::Scan {
                prompts,
                layer,
                component,
                positions,
                pair,
            } => {
                let site = component.at(*layer).check(&self.config)?;
                Response::Scan(
                    self.scan(prompts, site, *positions, *pair, is_wanted)
                        .await?,
                )
            }
        })
    }

    /// The next token after base, intervened and source run.
    async fn answer(
        &mut self,
        prompts: &Prompts,
        interchanges: &[Interchange],
        is_wanted: &impl AsyncFn() -> bool,
    ) -> Result<Answer> {
        let is_kept = |ids: &Vec<u32>| self.runs.iter().any(|run| run.ids == *ids);
        let new_runs = [&prompts.base, &prompts.source]
            .into_iter()
            .filter(|ids| !is_kept(ids))
            .count();
        let [base, source] = self.runs(prompts, is_wanted).await?;
        let whole = self.config.n_layers * base.ids.len();
        let (intervened, computed) = if interchanges.is_empty() {
            (base.logits.clone(), 0)
        } else {
            let (kept, mut editor) = self.resumed(&base, &source, interchanges)?;
            let rest = kept.n_positions();
            let logits = self.model.resume(&kept, rest - 1, &mut editor);
            editor.finish()?;
            let computed = (self.config.n_layers - kept.layer) * rest;
            (read(logits).await?, computed)
        };
        Ok(Answer {
            computed: [computed, whole],
            new_runs,
            ..compare([&base.logits, &intervened, &source.logits])
        })
    }

    async fn lens(
        &mut self,
        prompts: &Prompts,
        interchanges: &[Interchange],
        layer: usize,
        pair: [u32; 2],
        is_wanted: &impl AsyncFn() -> bool,
    ) -> Result<LensRow> {
        let site = Component::BlockOutput.at(layer).check(&self.config)?;
        self.config.check_ids(&[pair])?;
        let [base, source] = self.runs(prompts, is_wanted).await?;
        let stream = base.kept.stream(layer + 1);
        let cells = self.lens_cells(stream, pair, is_wanted).await?;
        let changed = self.streams(prompts, &base, &source, interchanges)?;
        let intervened = match changed {
            None => None,
            Some((start, recorder)) => match recorder.get(site) {
                None => None,
                Some(x) => {
                    look(is_wanted).await?;
                    Some((start, self.lens_cells(x.clone(), pair, is_wanted).await?))
                }
            },
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
        prompts: &Prompts,
        interchanges: &[Interchange],
        layer: usize,
        position: usize,
        is_wanted: &impl AsyncFn() -> bool,
    ) -> Result<AttentionRows> {
        let site = Component::AttentionWeight.at(layer).check(&self.config)?;
        let [base, source] = self.runs(prompts, is_wanted).await?;
        check_position(position, &base)?;
        let mut recorder = Recorder::new([site]);
        self.model
            .replay(&base.kept, layer, position, &mut recorder);
        let rows = attention_rows(&recorder, site, 0, position).await?;
        let changed = self.recorded(&base, &source, interchanges, &[site])?;
        let intervened = match changed.filter(|(start, _)| *start <= position) {
            None => None,
            Some((start, recorder)) => {
                Some(attention_rows(&recorder, site, position - start, position).await?)
            }
        };
        Ok(AttentionRows {
            base: rows,
            intervened,
        })
    }

    /// The first token that interchanges change, and what the intervened run has after each layer that they change; computed
    /// once for all layers.
    fn streams(
        &mut self,
        prompts: &Prompts,
        base: &Run<B>,
        source: &Run<B>,
        interchanges: &[Interchange],
    ) -> Result<Option<(usize, Recorder<B>)>> {
        let is_same = |streams: &&Streams<B>| {
            streams.prompts == *prompts && streams.interchanges == interchanges
        };
        if let Some(streams) = self.streams.as_ref().filter(is_same) {
            return Ok(streams.changed.clone());
        }
        let layers = 0..self.config.n_layers;
        let sites: Vec<Site> = layers.map(|l| Component::BlockOutput.at(l)).collect();
        let changed = self.recorded(base, source, interchanges, &sites)?;
        self.streams = Some(Streams {
            prompts: prompts.clone(),
            interchanges: interchanges.to_vec(),
            changed: changed.clone(),
        });
        Ok(changed)
    }

    /// The first token that interchanges can change, and what the intervened run has at some sites from there on; `None` where
    /// they change none of them.
    fn recorded(
        &self,
        base: &Run<B>,
        source: &Run<B>,
        interchanges: &[Interchange],
        sites: &[Site],
    ) -> Result<Option<(usize, Recorder<B>)>> {
        if interchanges.is_empty() {
            return Ok(None);
        }
        let (kept, editor) = self.resumed(base, source, interchanges)?;
        let n_layers = self.config.n_layers;
        if sites
            .iter()
            .all(|site| site.resumes_at(n_layers) < kept.layer)
        {
            return Ok(None);
        }
        let rest = kept.n_positions();
        let mut hooks = (editor, Recorder::new(sites.iter().copied()));
        self.model.resume(&kept, rest - 1, &mut hooks);
        let (editor, recorder) = hooks;
        editor.finish()?;
        Ok(Some((base.ids.len() - rest, recorder)))
    }

    async fn scan(
        &mut self,
        prompts: &Prompts,
        site: Site,
        [start, end]: [usize; 2],
        pair: [u32; 2],
        is_wanted: &impl AsyncFn() -> bool,
    ) -> Result<Vec<Cell>> {
        self.config.check_ids(&[pair])?;
        let [base, source] = self.runs(prompts, is_wanted).await?;
        check_position(end.saturating_sub(1), &base)?;
        let rest = base.ids.len() - start;
        let read_from = source
            .ids
            .len()
            .checked_sub(rest)
            .ok_or(Error::PositionOutside {
                position: rest,
                last: source.ids.len() - 1,
            })?;
        let value = self.value_from(&source, site, read_from)?;
        let value = Source::Stream(value.narrow(1, 0, end - start));
        let logits = self
            .model
            .interchange_each(&base.kept, &value, site, None, start..end);
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

    /// Base and source run, computed where they are not kept.
    async fn runs(
        &mut self,
        prompts: &Prompts,
        is_wanted: &impl AsyncFn() -> bool,
    ) -> Result<[Rc<Run<B>>; 2]> {
        let base = self.run(&prompts.base, is_wanted).await?;
        Ok([base, self.run(&prompts.source, is_wanted).await?])
    }

    async fn run(&mut self, ids: &[u32], is_wanted: &impl AsyncFn() -> bool) -> Result<Rc<Run<B>>> {
        if let Some(idx) = self.runs.iter().position(|run| run.ids == ids) {
            if let Some(run) = self.runs.remove(idx) {
                self.runs.push_front(run);
            }
        } else {
            self.config.check_ids(&[ids])?;
            let run = self.compute(ids).await?;
            self.runs.push_front(Rc::new(run));
            let mut n_bytes = 0;
            let fits = |run: &Rc<Run<B>>| {
                n_bytes += run.kept.n_bytes();
                n_bytes <= MOST_BYTES
            };
            let n_runs = self.runs.iter().map(fits).take_while(|fits| *fits).count();
            self.runs.truncate(n_runs.clamp(2, MOST_RUNS));
            look(is_wanted).await?;
        }
        Ok(Rc::clone(&self.runs[0]))
    }

    async fn compute(&self, ids: &[u32]) -> Result<Run<B>> {
        let tensor: Tensor<B, 2, Int> = Tensor::from_data(
            TensorData::new(ids.iter().map(|id| *id as i32).collect(), [1, ids.len()]),
            &self.device,
        );
        let cone = Cone::whole(self.config.n_layers, ids.len());
        let kept = self.model.keep_run(tensor, &cone);
        let stream = kept.stream(self.config.n_layers);
        let last = stream.narrow(1, ids.len() - 1, 1);
        let logits = read(self.model.unembed(last, &mut ())).await?;
        let ids = ids.to_vec();
        Ok(Run { ids, kept, logits })
    }

    /// What a run starts from that the interchanges resume, and the editor that makes them.
    fn resumed(
        &self,
        base: &Run<B>,
        source: &Run<B>,
        interchanges: &[Interchange],
    ) -> Result<(KeptBase<B>, Editor<B>)> {
        let mut edits = Vec::with_capacity(interchanges.len());
        for interchange in interchanges {
            let site = interchange.site().check(&self.config)?;
            check_position(interchange.base_position, base)?;
            check_position(interchange.source_position, source)?;
            let value = self
                .value_from(source, site, interchange.source_position)?
                .narrow(1, 0, 1);
            let featurizer = match &interchange.basis {
                None => Featurizer::Identity,
                Some((rows, rank)) => {
                    let width = rows.len() / rank.max(&1);
                    let data = TensorData::new(rows.clone(), [*rank, width]);
                    Featurizer::Rotation(Tensor::from_data(data, &self.device))
                }
            };
            edits.push(Edit {
                site,
                units: Units::positions([interchange.base_position]),
                intervention: Intervention {
                    op: Op::Interchange,
                    featurizer,
                    strength: interchange.strength,
                },
                source: Source::Stream(value),
            });
        }
        let editor = Editor::new(&self.config, base.ids.len(), edits)?;
        let (layer, start) = editor.resumes_at(self.config.n_layers).unwrap_or_default();
        Ok((base.kept.base_at(layer, start), editor.starting_at(start)))
    }

    /// The value at a site of the stream at the tokens from `start` on, `[1, pos, width]`.
    fn value_from(&self, run: &Run<B>, site: Site, start: usize) -> Result<Tensor<B, 3>> {
        let rest = run.ids.len() - start;
        let stream = |layer: usize| run.kept.stream(layer).narrow(1, start, rest);
        let mut recorder = Recorder::new([site]);
        match site.component {
            Component::Embedding | Component::BlockInput => return Ok(stream(site.layer)),
            Component::BlockOutput => return Ok(stream(site.layer + 1)),
            Component::FinalNorm => {
                return Ok(self.model.ln_f.forward(stream(self.config.n_layers)));
            }
            _ => self
                .model
                .replay(&run.kept, site.layer, start, &mut recorder),
        }
        recorder.get(site).cloned().ok_or_else(|| {
            Failure::Request(Error::ComponentUnsupported {
                name: site.component.to_string(),
                expected: "a component of the stream, not one that is per head".to_owned(),
            })
        })
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

fn check_position<B: Backend>(position: usize, run: &Run<B>) -> Result<()> {
    let last = run.ids.len() - 1;
    if position > last {
        return Err(Error::PositionOutside { position, last }.into());
    }
    Ok(())
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

/// The table of answers from the logits of base, intervened and source run.
fn compare(logits: [&[f32]; 3]) -> Answer {
    let probabilities = logits.map(softmax);
    let tops = logits.map(|logits| largest(logits, TOP_K.max(2)));
    let mut ids: Vec<u32> = tops.iter().flatten().copied().collect();
    ids.sort_unstable();
    ids.dedup();
    let highest = |id: u32| {
        let all = probabilities.iter().map(|p| p[id as usize]);
        all.fold(0.0, f32::max)
    };
    ids.sort_by(|left, right| highest(*right).total_cmp(&highest(*left)));
    // Every run's top answer has a row, however many rows there are.
    ids.sort_by_key(|id| !tops.iter().any(|top| top[0] == *id));
    ids.truncate(N_ROWS);
    let rows = ids
        .into_iter()
        .map(|id| AnswerRow {
            id,
            scores: [0, 1, 2].map(|run| Score {
                logit: logits[run][id as usize],
                probability: probabilities[run][id as usize],
            }),
        })
        .collect();
    let top = [tops[0][0], tops[1][0], tops[2][0]];
    let other = match top[2] == top[0] {
        true => tops[0].get(1).copied().unwrap_or(top[0]),
        false => top[2],
    };
    let pair = [top[0], other];
    let [base, intervened, _] = &probabilities;
    let kl = base
        .iter()
        .zip(intervened)
        .filter(|(base, _)| **base > 0.0)
        .map(|(base, intervened)| base * (base / intervened.max(f32::MIN_POSITIVE)).ln())
        .sum();
    Answer {
        rows,
        top,
        pair,
        differences: logits.map(|logits| logits[pair[1] as usize] - logits[pair[0] as usize]),
        kl,
        computed: [0; 2],
        new_runs: 0,
    }
}

fn softmax(logits: &[f32]) -> Vec<f32> {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights: Vec<f32> = logits.iter().map(|logit| (logit - highest).exp()).collect();
    let sum: f32 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / sum).collect()
}

/// Ids of the `k` largest logits, largest first; of equal ones the lowest id first.
fn largest(logits: &[f32], k: usize) -> Vec<u32> {
    let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
    let k = k.min(ids.len());
    let by_logit = |left: &u32, right: &u32| {
        let order = logits[*right as usize].total_cmp(&logits[*left as usize]);
        order.then(left.cmp(right))
    };
    if k < ids.len() {
        ids.select_nth_unstable_by(k, by_logit);
        ids.truncate(k);
    }
    ids.sort_by(by_logit);
    ids
}

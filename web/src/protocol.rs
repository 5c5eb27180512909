//! What the page asks of the engine and what the engine answers; both cross the border to a Web Worker as JSON.

use serde::{Deserialize, Serialize};
use swivel_core::{Component, Site, direction::Direction, plan::by_name};

/// The two prompts of an experiment, as token ids.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prompts {
    /// The run that is changed.
    pub base: Vec<u32>,
    /// The run that values are taken from.
    pub source: Vec<u32>,
}

/// An interchange between the two runs: of a subspace, or of the whole vector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interchange {
    /// Layer, from 0.
    pub layer: usize,
    /// Component of that layer.
    #[serde(with = "by_name")]
    pub component: Component,
    /// Token of the base prompt that is written.
    pub base_position: usize,
    /// Token of the source prompt that is read.
    pub source_position: usize,
    /// Orthonormal rows `[rank, width]` one after the other, and the rank; `None` for the whole vector.
    pub basis: Option<(Vec<f32>, usize)>,
    /// 0 leaves the base as it is, 1 swaps, others interpolate or overshoot.
    pub strength: f32,
}

impl Interchange {
    /// A learned direction at its own place, at full strength; `None` if a prompt does not have that token.
    pub fn learned(direction: &Direction, prompts: &Prompts) -> Option<Self> {
        let facts = &direction.facts;
        Some(Self {
            layer: facts.site.layer,
            component: facts.site.component,
            base_position: facts.position.resolve(prompts.base.len()).ok()?,
            source_position: facts.position.resolve(prompts.source.len()).ok()?,
            basis: Some((direction.rows().to_vec(), direction.rank())),
            strength: 1.0,
        })
    }

    /// Where it is done.
    pub fn site(&self) -> Site {
        self.component.at(self.layer)
    }
}

/// What the page asks of the engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// The next token after base, intervened and source run.
    Answer {
        /// The two prompts.
        prompts: Prompts,
        /// What is swapped; nothing leaves the base run as it is.
        interchanges: Vec<Interchange>,
    },
    /// What the residual stream would answer above one layer, at every token.
    Lens {
        /// The two prompts.
        prompts: Prompts,
        /// What is swapped.
        interchanges: Vec<Interchange>,
        /// The layer whose `block_output` is read.
        layer: usize,
        /// Two tokens whose logits are compared.
        pair: [u32; 2],
    },
    /// Where the heads of one layer look from one token.
    Attention {
        /// The two prompts.
        prompts: Prompts,
        /// What is swapped.
        interchanges: Vec<Interchange>,
        /// The layer.
        layer: usize,
        /// The token that looks.
        position: usize,
    },
    /// A plain interchange at each of some tokens of one layer, one run a token.
    Scan {
        /// The two prompts.
        prompts: Prompts,
        /// The layer.
        layer: usize,
        /// Component of that layer.
        #[serde(with = "by_name")]
        component: Component,
        /// Base tokens, from and to (not included); the source token has the same distance from its prompt's end.
        positions: [usize; 2],
        /// Two tokens whose logits are compared.
        pair: [u32; 2],
    },
}

/// What the engine answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Response {
    /// To [`Request::Answer`].
    Answer(Answer),
    /// To [`Request::Lens`].
    Lens(LensRow),
    /// To [`Request::Attention`].
    Attention(AttentionRows),
    /// To [`Request::Scan`], one cell a token.
    Scan(Vec<Cell>),
}

/// How likely a token is to come next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Nats.
    pub logit: f32,
    /// 0..1.
    pub probability: f32,
}

/// One token of the table of answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnswerRow {
    /// Token id.
    pub id: u32,
    /// After the base, the intervened and the source run.
    pub scores: [Score; 3],
}

/// The next token after base, intervened and source run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The likeliest tokens of each run, likeliest anywhere first.
    pub rows: Vec<AnswerRow>,
    /// Top-1 token after base, intervened and source run.
    pub top: [u32; 3],
    /// Base's answer and source's answer (where they are one, base's second): the pair whose logits are compared.
    pub pair: [u32; 2],
    /// Logit of the second of the pair minus logit of the first, in base, intervened and source run, nats.
    pub differences: [f32; 3],
    /// KL divergence of the intervened from the base distribution, nats.
    pub kl: f32,
    /// Layer x token cells that were computed for the intervened run, and those of a whole run.
    pub computed: [usize; 2],
    /// Prompts whose runs were not kept from before.
    #[serde(default)]
    pub new_runs: usize,
}

impl Answer {
    /// True if the top answer of the intervened run is another than the base's.
    pub fn is_flipped(&self) -> bool {
        self.top[0] != self.top[1]
    }
}

/// One cell of a layer x token picture.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// Likeliest token.
    pub top: u32,
    /// Its probability.
    pub probability: f32,
    /// Logit of the second of the pair minus logit of the first, nats.
    pub difference: f32,
    /// Probability of the second of the pair.
    pub second: f32,
}

/// One layer of the logit lens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LensRow {
    /// One cell a base token.
    pub base: Vec<Cell>,
    /// First token that the interchanges can change in this layer, and the cells from there on.
    pub intervened: Option<(usize, Vec<Cell>)>,
}

/// Attention weights of the heads of one layer from one token, 0..1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttentionRows {
    /// `[head][token]`
    pub base: Vec<Vec<f32>>,
    /// The same in the intervened run; `None` where it cannot differ.
    pub intervened: Option<Vec<Vec<f32>>>,
}

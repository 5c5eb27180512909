//! What is asked of an engine and what it answers; both travel as JSON, to a Web Worker or over a socket.

use serde::{Deserialize, Serialize};
use swivel_core::{
    generate::{Acts, Sampling},
    plan::Plan,
};

/// A question: what is done, and what is to be read of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// One prompt and its interventions. A direction is named by the hash of its file, which the engine was given before
    /// ([`direction_name`](crate::direction_name)), or stands in the plan as a URL.
    pub plan: Plan,
    /// What is to be read.
    pub read: Read,
}

/// What is to be read of a plan's runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Read {
    /// The next token after the base run, the intervened one, and the plain run of a prompt that is shown beside them: the source.
    Answer {
        /// Token ids of that prompt.
        beside: Vec<u32>,
        /// Tokens of which the likeliest is the answer; where there are none, it is the likeliest of all.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        among: Vec<u32>,
    },
    /// What the residual stream would answer above one layer, at every token.
    Lens {
        /// The layer whose `block_output` is read.
        layer: usize,
        /// Two tokens whose logits are compared.
        pair: [u32; 2],
    },
    /// Where the heads of one layer look from one token.
    Attention {
        /// The layer.
        layer: usize,
        /// The token that looks.
        position: usize,
    },
    /// The next token of a text that is generated behind the prompt, and of the same under the interventions.
    Next(GoOn),
    /// Logits of some tokens after the base run and the intervened one, and the two likeliest: of a pair of many, which are looked at
    /// one after the other.
    Scores {
        /// Those tokens.
        of: Vec<u32>,
        /// The likeliest are those of the whole vocabulary, not of these tokens alone.
        among_all: bool,
    },
    /// The plan's only intervention at each of its tokens, which stand side by side, one run a token.
    Each {
        /// Two tokens whose logits are compared.
        pair: [u32; 2],
    },
}

/// What the engine answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Response {
    /// To [`Read::Answer`].
    Answer(Answer),
    /// To [`Read::Lens`].
    Lens(LensRow),
    /// To [`Read::Attention`].
    Attention(AttentionRows),
    /// To [`Read::Each`], one cell a token.
    Each(Vec<Cell>),
    /// To [`Read::Scores`]: of the base run and of the intervened one.
    Scores([TokenScores; 2]),
    /// To [`Read::Next`]: of the base run, and of the intervened one where there are interventions.
    Next(Vec<NextToken>),
}

/// What a run says of some tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TokenScores {
    /// Their logits, nats.
    pub logits: Vec<f32>,
    /// The two likeliest and their logits, likeliest first; one where there is no other.
    pub likeliest: Vec<(u32, f32)>,
}

/// How a text goes on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GoOn {
    /// Where the interventions act.
    pub acts: Acts,
    /// Tokens behind the prompt so far, as many of each run.
    pub so_far: Vec<Vec<u32>>,
    /// How the next one is chosen.
    pub sampling: Sampling,
    /// What it is drawn by, 0..1, alike in both runs.
    pub random: f64,
}

/// What comes next in a text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NextToken {
    /// The chosen token.
    pub id: u32,
    /// The likeliest ones, and their probabilities.
    pub likeliest: Vec<(u32, f32)>,
    /// True if the model can read it, so that there is one behind it.
    pub has_room: bool,
}

/// What the host of an engine is sent, with a number that its answer carries back. A number alone takes that message back: nobody
/// waits for its answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ToEngine {
    /// Take a direction file, base64, so that plans can name it by its hash.
    Direction(String),
    /// Answer.
    Ask(Request),
}

/// What the host of an engine sends back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum FromEngine {
    /// The host listens; no model is there yet.
    Ready,
    /// The model is there.
    Loaded {
        /// SHA-256 of the weight files.
        sha256: String,
        /// What the device calls itself.
        adapter: String,
        /// True where a processor plays the graphics processor.
        is_software: bool,
    },
    /// The direction was taken.
    Taken,
    /// The answer and what it cost.
    Answered(Response, Cost),
    /// There is no answer to this one, but the engine goes on.
    Refused(String),
    /// The engine is gone: device lost, memory used up, a fault of ours.
    Died(String),
}

/// What an answer cost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Milliseconds in the engine.
    pub ms: f64,
    /// Bytes of the host's memory.
    pub bytes: f64,
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
    /// The likeliest tokens of each run and the answers, likeliest anywhere first.
    pub rows: Vec<AnswerRow>,
    /// Top-1 token after base, intervened and source run, of those that count.
    pub top: [u32; 3],
    /// Base's answer and source's answer (where they are one, base's second): the pair whose logits are compared.
    pub pair: [u32; 2],
    /// Logit of the second of the pair minus logit of the first, in base, intervened and source run, nats.
    pub differences: [f32; 3],
    /// KL divergence of the intervened from the base distribution, nats.
    pub kl: f32,
    /// Layer x token cells that were computed for the intervened run, and those of a whole run.
    pub computed: [usize; 2],
    /// Prompts whose runs were not cached from before.
    #[serde(default)]
    pub new_runs: usize,
}

impl Answer {
    /// The same without interventions: the intervened run is the base.
    pub fn untouched(&self) -> Self {
        let mut answer = self.clone();
        for row in &mut answer.rows {
            row.scores[1] = row.scores[0];
        }
        answer.top[1] = answer.top[0];
        answer.differences[1] = answer.differences[0];
        answer.kl = 0.0;
        answer
    }

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
    /// First token that the interventions can change in this layer, and the cells from there on.
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

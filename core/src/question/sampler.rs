//! Counterfactual pairs of a task and one of its variables, sampled, as tokens.

use std::collections::{HashMap, HashSet};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{
    TaskError,
    entry::{Entry, Filling},
    task::Task,
    template::Written,
};
use crate::{Tokenizer, Tokens};

/// How often sampling may fail for each pair that is asked for, before it is given up.
const TRIES_PER_PAIR: usize = 2000;

/// A prompt of a task, as text and as tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// What its slots are.
    pub filling: Filling,
    /// What it says, and which slot wrote what.
    pub written: Written,
    /// What the model reads.
    pub tokens: Tokens,
}

/// Base, source, and the answers as tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedPair {
    /// The base run's prompt.
    pub base: Asked,
    /// The source run's.
    pub source: Asked,
    /// Token id of the counterfactual answer.
    pub label: u32,
    /// Token id of the base's own answer.
    pub base_label: u32,
    /// Token id of the source's own answer.
    pub source_label: u32,
    /// The variable's value in base and source.
    pub values: [String; 2],
}

/// A task's answers as tokens.
#[derive(Clone, Debug)]
pub struct Labels {
    ids: HashMap<String, u32>,
}

impl Labels {
    /// First tokens of all answers of a task.
    ///
    /// # Errors
    /// - [`TaskError::Answers`] if two answers begin with the same token.
    /// - [`TaskError::Answer`] if an answer has no token of its own behind a prompt.
    pub fn new(task: &Task, tokenizer: &Tokenizer) -> Result<Self, TaskError> {
        let mut ids = HashMap::new();
        let mut answers: HashMap<u32, String> = HashMap::new();
        for answer in task.answers()? {
            let first = tokenizer.encode_inside(&answer)?.first().copied();
            let Some(id) = first else {
                let prompt = task.templates().next().unwrap_or_default().to_owned();
                return Err(TaskError::Answer { answer, prompt });
            };
            if let Some(other) = answers.insert(id, answer.clone()) {
                return Err(TaskError::Answers {
                    first: other,
                    second: answer,
                    token: tokenizer.token(id),
                });
            }
            ids.insert(answer, id);
        }
        Ok(Self { ids })
    }

    /// The label of an answer.
    pub fn of(&self, answer: &str) -> Option<u32> {
        self.ids.get(answer).copied()
    }

    /// All labels, in the order of their ids.
    pub fn all(&self) -> Vec<u32> {
        let mut all: Vec<u32> = self.ids.values().copied().collect();
        all.sort_unstable();
        all
    }
}

/// A prompt, and what the model should and must not say to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedPrompt {
    /// The prompt.
    pub asked: Asked,
    /// Token id of the answer.
    pub label: u32,
    /// Token ids of the foils.
    pub foils: Vec<u32>,
}

/// Puts a task's prompts into the words of a tokenizer.
pub struct Asker<'a> {
    task: &'a Task,
    tokenizer: &'a Tokenizer,
    labels: Labels,
    /// Answers that were seen behind a prompt of each template.
    checked: HashSet<(usize, u32)>,
}

impl<'a> Asker<'a> {
    /// # Errors
    /// - those of [`Labels::new`]
    pub fn new(task: &'a Task, tokenizer: &'a Tokenizer) -> Result<Self, TaskError> {
        Ok(Self {
            labels: Labels::new(task, tokenizer)?,
            task,
            tokenizer,
            checked: HashSet::new(),
        })
    }

    /// The task's answers as tokens.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// Up to `n` different prompts, fewer where the task has fewer. A function of the seed.
    ///
    /// # Errors
    /// - [`TaskError::Answer`] if the tokenizer joins an answer with the prompt before it.
    pub fn prompts(&mut self, n: usize, seed: u64) -> Result<Vec<AskedPrompt>, TaskError> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (mut prompts, mut seen, mut failed) = (Vec::new(), HashSet::new(), 0);
        while prompts.len() < n && failed < TRIES_PER_PAIR {
            let filling = self.task.any(&mut rng);
            let Some(filling) = filling.filter(|filling| !seen.contains(filling)) else {
                failed += 1;
                continue;
            };
            failed = 0;
            seen.insert(filling.clone());
            let (answer, foils) = (self.task.answer(&filling), self.task.foils(&filling));
            let asked = self.asked(filling)?;
            let foil = |foil: &String| Ok(self.tokenizer.encode_inside(foil)?.first().copied());
            let foils = foils
                .iter()
                .map(foil)
                .collect::<Result<Vec<_>, TaskError>>()?;
            prompts.push(AskedPrompt {
                label: self.label(&asked, &answer)?,
                foils: foils.into_iter().flatten().collect(),
                asked,
            });
        }
        Ok(prompts)
    }

    /// A filling as text and tokens.
    ///
    /// # Errors
    /// - those of [`Tokens::of`]
    pub fn asked(&self, filling: Filling) -> Result<Asked, TaskError> {
        let written = self.task.prompt(&filling);
        let tokens = Tokens::of(&written.text, self.tokenizer)?;
        Ok(Asked {
            filling,
            written,
            tokens,
        })
    }

    /// First token of an answer behind a prompt.
    ///
    /// # Errors
    /// - [`TaskError::Answer`] if the tokenizer joins it with the prompt.
    pub fn label(&mut self, prompt: &Asked, answer: &str) -> Result<u32, TaskError> {
        let joined = || TaskError::Answer {
            answer: answer.to_owned(),
            prompt: prompt.written.text.clone(),
        };
        let label = self.labels.of(answer).ok_or_else(joined)?;
        if self.checked.insert((prompt.filling.template, label)) {
            let found = prompt.tokens.first_behind(answer, self.tokenizer)?;
            if found != Some(label) {
                return Err(joined());
            }
        }
        Ok(label)
    }
}

/// Pairs of one variable.
pub struct TaskSampler<'a> {
    asker: Asker<'a>,
    variable: Entry,
    seen: HashSet<(Filling, Filling)>,
}

impl<'a> TaskSampler<'a> {
    /// Pairs for a variable.
    ///
    /// # Errors
    /// - [`TaskError::VariableUnknown`] if the task has no such variable.
    /// - those of [`Labels::new`]
    pub fn new(
        task: &'a Task,
        tokenizer: &'a Tokenizer,
        variable: &str,
    ) -> Result<Self, TaskError> {
        Ok(Self {
            variable: task.variable(variable)?,
            asker: Asker::new(task, tokenizer)?,
            seen: HashSet::new(),
        })
    }

    /// The task's answers as tokens.
    pub fn labels(&self) -> &Labels {
        &self.asker.labels
    }

    /// `n_pairs` pairs that this sampler has not given before: in the first half the counterfactual label differs from the
    /// base's answer, in the second half it equals it, as far as there are such pairs of two prompts: where a variable is all that
    /// a prompt says, there are none, and the label differs in all. A function of the seed and of what was sampled before.
    ///
    /// # Errors
    /// - [`TaskError::VariableIdle`] if the variable never changes the answer.
    /// - [`TaskError::PairsExhausted`] if there are not that many different pairs.
    /// - [`TaskError::Answer`] if the tokenizer joins an answer with the prompt before it.
    pub fn pairs(&mut self, n_pairs: usize, seed: u64) -> Result<Vec<AskedPair>, TaskError> {
        let pairs = self.at_most(n_pairs, seed)?;
        match pairs.len() < n_pairs {
            false => Ok(pairs),
            true => Err(TaskError::PairsExhausted {
                wanted: n_pairs,
                found: pairs.len(),
                variable: self.asker.task.entry_name(&self.variable),
            }),
        }
    }

    /// As [`TaskSampler::pairs`], fewer where there are not so many.
    ///
    /// # Errors
    /// - as there
    pub fn at_most(&mut self, n_pairs: usize, seed: u64) -> Result<Vec<AskedPair>, TaskError> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut pairs = Vec::new();
        self.extend(&mut pairs, n_pairs.div_ceil(2), true, &mut rng)?;
        if pairs.is_empty() && n_pairs > 0 {
            return Err(TaskError::VariableIdle {
                name: self.asker.task.entry_name(&self.variable),
            });
        }
        pairs.truncate(n_pairs / 2);
        self.extend(&mut pairs, n_pairs, false, &mut rng)?;
        self.extend(&mut pairs, n_pairs, true, &mut rng)?;
        Ok(pairs)
    }

    /// Adds pairs of one kind until there are so many in all, or no more are found.
    fn extend(
        &mut self,
        pairs: &mut Vec<AskedPair>,
        n_pairs: usize,
        wants_change: bool,
        rng: &mut ChaCha8Rng,
    ) -> Result<(), TaskError> {
        let mut failed = 0;
        while pairs.len() < n_pairs && failed < TRIES_PER_PAIR {
            match self.pair(wants_change, rng)? {
                Some(pair) => {
                    pairs.push(pair);
                    failed = 0;
                }
                None => failed += 1,
            }
        }
        Ok(())
    }

    fn pair(
        &mut self,
        wants_change: bool,
        rng: &mut ChaCha8Rng,
    ) -> Result<Option<AskedPair>, TaskError> {
        let task = self.asker.task;
        let Some(sampled) = task.counterfactual(&self.variable, rng) else {
            return Ok(None);
        };
        let is_changed = sampled.answer != sampled.base_answer;
        let key = (sampled.base.clone(), sampled.source.clone());
        if is_changed != wants_change || sampled.base == sampled.source || !self.seen.insert(key) {
            return Ok(None);
        }
        let source_answer = task.answer(&sampled.source);
        let asker = &mut self.asker;
        let base = asker.asked(sampled.base)?;
        let source = asker.asked(sampled.source)?;
        Ok(Some(AskedPair {
            label: asker.label(&base, &sampled.answer)?,
            base_label: asker.label(&base, &sampled.base_answer)?,
            source_label: asker.label(&source, &source_answer)?,
            values: sampled.values,
            base,
            source,
        }))
    }
}

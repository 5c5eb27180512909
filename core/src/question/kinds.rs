//! What a model is asked: a program of five words, or a task on language. Everything but their own files knows them by this alone.

use super::{
    Asked, Labels, Pair, Score, Task, TaskError, TaskSampler, TokenName,
    programs::{self, AskedProgram, Sampler},
};
use crate::{Position, Tokenizer};

/// What the names of programs begin with in files.
const PROGRAMS: &str = "programs/";

/// A question in the words of a tokenizer.
pub enum Question {
    /// A program of five words.
    Program(AskedProgram),
    /// A task on language.
    Language {
        /// The task.
        task: Task,
        /// What its prompts are read with.
        tokenizer: Tokenizer,
    },
}

/// A pair, and where its named tokens are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The pair, swapped at the first of the names.
    pub pair: Pair,
    /// Of each name, its token in base and source.
    pub tokens: Vec<[usize; 2]>,
}

/// Pairs of one variable of a question; none is given twice.
pub enum PairSampler<'a> {
    /// Of a program.
    Program(Sampler<'a>),
    /// Of a task on language.
    Language(&'a Task, TaskSampler<'a>),
}

impl Question {
    /// `programs/07065a`, `agreement`.
    pub fn name(&self) -> String {
        match self {
            Self::Program(asked) => format!("{PROGRAMS}{}", asked.program.id),
            Self::Language { task, .. } => task.name.clone(),
        }
    }

    /// Its name in the names of files.
    pub fn short_name(&self) -> &str {
        match self {
            Self::Program(asked) => &asked.program.id,
            Self::Language { task, .. } => &task.name,
        }
    }

    /// What it is, in a word.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Program { .. } => "program",
            Self::Language { .. } => "task",
        }
    }

    /// What it asks, in words.
    pub fn about(&self) -> String {
        match self {
            Self::Program(asked) => asked.program.to_string(),
            Self::Language { task, .. } => task.about.clone(),
        }
    }

    /// Names of its variables.
    pub fn variables(&self) -> Vec<String> {
        match self {
            Self::Program { .. } => programs::VARIABLES.map(str::to_owned).to_vec(),
            Self::Language { task, .. } => {
                let variables = task.variables().into_iter();
                variables.map(|entry| task.entry_name(&entry)).collect()
            }
        }
    }

    /// The variable that is meant where none is named: the output of a program; of a task, the first choice between values that
    /// changes the answer, else the first row of a table that does.
    ///
    /// # Errors
    /// - [`TaskError::VariableIdle`] if none changes the answer.
    pub fn default_variable(&self) -> Result<String, TaskError> {
        match self {
            Self::Program { .. } => Ok(programs::OUTPUT.to_owned()),
            Self::Language { task, .. } => {
                let found = task.default_variable();
                let found = found.map(|entry| task.entry_name(&entry));
                found.ok_or_else(|| TaskError::VariableIdle {
                    name: self.variables().join(", "),
                })
            }
        }
    }

    /// Whether it has a variable of this name.
    ///
    /// # Errors
    /// - [`TaskError::VariableUnknown`], with those that it has.
    pub fn check_variable(&self, name: &str) -> Result<(), TaskError> {
        let names = self.variables();
        match names.iter().any(|own| own == name) {
            true => Ok(()),
            false => Err(TaskError::VariableUnknown {
                name: name.to_owned(),
                expected: names.join(", "),
            }),
        }
    }

    /// Names of the tokens that all its prompts have, in their order; a program's have none but `last`.
    pub fn token_names(&self) -> Vec<TokenName> {
        match self {
            Self::Program { .. } => vec![TokenName::Counted(Position::LAST)],
            Self::Language { task, .. } => task.token_names_of_all(),
        }
    }

    /// Its prompts as they are written, slots in braces; a program has none.
    pub fn templates(&self) -> Vec<String> {
        match self {
            Self::Program { .. } => Vec::new(),
            Self::Language { task, .. } => task.templates().map(str::to_owned).collect(),
        }
    }

    /// Tokens of which the likeliest is the answer; `None` where it is the likeliest of all.
    ///
    /// # Errors
    /// - [`TaskError::Answers`] if two answers begin with the same token.
    pub fn choices(&self) -> Result<Option<Vec<u32>>, TaskError> {
        match self {
            Self::Language { task, tokenizer } if task.score == Score::Choice => {
                Ok(Some(Labels::new(task, tokenizer)?.all()))
            }
            _ => Ok(None),
        }
    }

    /// Pairs of a variable.
    ///
    /// # Errors
    /// - [`TaskError::VariableUnknown`] if there is no such one.
    /// - those of [`TaskSampler::new`]
    pub fn sampler(&self, variable: &str) -> Result<PairSampler<'_>, TaskError> {
        Ok(match self {
            Self::Program(asked) => PairSampler::Program(asked.sampler(variable)?),
            Self::Language { task, tokenizer } => {
                PairSampler::Language(task, TaskSampler::new(task, tokenizer, variable)?)
            }
        })
    }

    /// The same question about what training sees, and about what it does not: of these tables, or of the templates, a quarter is
    /// held out, which the seed draws.
    ///
    /// # Errors
    /// - [`TaskError::HoldOut`] if there is no such table, or too little of it.
    pub fn holding_out(&self, what: &[String], seed: u64) -> Result<[Self; 2], TaskError> {
        match self {
            Self::Program { .. } => Err(TaskError::HoldOut {
                name: what.join(","),
                expected: "a task with tables; a program has none".to_owned(),
            }),
            Self::Language { task, tokenizer } => {
                let parts = task.holding_out(what, seed)?;
                Ok(parts.map(|task| Self::Language {
                    task,
                    tokenizer: tokenizer.clone(),
                }))
            }
        }
    }
}

/// A variable of a task in a file, for people: `op3 of 07065a`, `op5, the output of 07065a`.
pub fn title(variable: &str, task: &str) -> String {
    match program_of(task) {
        Some(id) if variable == programs::OUTPUT => format!("{variable}, the output of {id}"),
        Some(id) => format!("{variable} of {id}"),
        None => format!("{variable} of {task}"),
    }
}

/// The program's id in the name of a task in a file; `None` of tasks on language.
pub fn program_of(task: &str) -> Option<&str> {
    task.strip_prefix(PROGRAMS)
}

impl PairSampler<'_> {
    /// So many pairs, and where these tokens are in them. A function of the seed and of what was sampled before.
    ///
    /// # Errors
    /// - [`TaskError::PairsExhausted`] if there are not so many.
    /// - [`TaskError::PositionUnknown`] if it has no token of such a name.
    /// - those of [`Task::token`]
    pub fn pairs(
        &mut self,
        n_pairs: usize,
        seed: u64,
        names: &[TokenName],
    ) -> Result<Vec<Placed>, TaskError> {
        match self {
            Self::Program(sampler) => {
                let pairs = sampler.pairs(n_pairs, seed)?;
                pairs.into_iter().map(|pair| counted(pair, names)).collect()
            }
            Self::Language(task, sampler) => all_named(task, sampler.pairs(n_pairs, seed)?, names),
        }
    }

    /// As [`PairSampler::pairs`], fewer where there are not so many.
    ///
    /// # Errors
    /// - as there
    pub fn at_most(
        &mut self,
        n_pairs: usize,
        seed: u64,
        names: &[TokenName],
    ) -> Result<Vec<Placed>, TaskError> {
        match self {
            Self::Program(_) => self.pairs(n_pairs, seed, names),
            Self::Language(task, sampler) => {
                all_named(task, sampler.at_most(n_pairs, seed)?, names)
            }
        }
    }
}

/// A pair of a program, whose tokens have no names.
fn counted(mut pair: Pair, names: &[TokenName]) -> Result<Placed, TaskError> {
    let at = |name: &TokenName| match name {
        TokenName::Counted(position) => Ok([
            position.resolve(pair.base.len())?,
            position.resolve(pair.source.len())?,
        ]),
        TokenName::Slot(_) => Err(TaskError::PositionUnknown {
            name: name.to_string(),
            expected: "none; a program's tokens have no names".to_owned(),
        }),
    };
    let tokens = names.iter().map(at).collect::<Result<Vec<_>, _>>()?;
    if let Some([base, source]) = tokens.first() {
        (pair.base_position, pair.source_position) = (*base, *source);
    }
    Ok(Placed { pair, tokens })
}

/// Pairs of a task on language.
fn all_named(
    task: &Task,
    pairs: Vec<super::AskedPair>,
    names: &[TokenName],
) -> Result<Vec<Placed>, TaskError> {
    let placed = pairs.into_iter().map(|pair| named(task, pair, names));
    placed.collect()
}

/// A pair of a task on language.
fn named(task: &Task, pair: super::AskedPair, names: &[TokenName]) -> Result<Placed, TaskError> {
    let at = |name: &TokenName, asked: &Asked| task.token(name, &asked.written, &asked.tokens);
    let tokens = |name| Ok([at(name, &pair.base)?, at(name, &pair.source)?]);
    let tokens = names
        .iter()
        .map(tokens)
        .collect::<Result<Vec<_>, TaskError>>()?;
    let [base_ids, source_ids] = [pair.base.tokens.ids, pair.source.tokens.ids];
    let last = [base_ids.len() - 1, source_ids.len() - 1];
    let [base_position, source_position] = tokens.first().copied().unwrap_or(last);
    let pair = Pair {
        base_position,
        source_position,
        base: base_ids,
        source: source_ids,
        label: pair.label,
        base_label: Some(pair.base_label),
        source_label: Some(pair.source_label),
        values: Some(pair.values),
    };
    Ok(Placed { pair, tokens })
}

impl AsRef<Pair> for Placed {
    fn as_ref(&self) -> &Pair {
        &self.pair
    }
}

impl AsRef<Pair> for Pair {
    fn as_ref(&self) -> &Pair {
        self
    }
}

//! The cells of a map, and the pairs that they are about.

use std::{ops::Range, path::Path};

use anyhow::{Result, bail};
use swivel_core::{
    Component, Gpt2Config, Place, Position, Site,
    bundle::Method,
    task::{Pair, PairShape},
    train,
};

use super::{
    super::{KeepArgs, LearnArgs, Task, TaskArgs, check_head, width_at},
    Args,
};
use crate::{
    experiment::{Rule, read_pairs},
    model_files::ModelFiles,
    report::Report,
};

/// A cell that is to be computed.
#[derive(Clone, Copy, Debug)]
pub struct Planned {
    /// Where.
    pub site: Site,
    /// In which head, where the component is per head.
    pub head: Option<usize>,
    /// At which token, of base and source alike.
    pub position: usize,
    /// Rank of the subspace that is learned; 0 where none is.
    pub rank: usize,
    /// Index of the variable.
    pub variable: usize,
}

impl Planned {
    /// Where, in base and source alike.
    pub fn place(&self) -> Place {
        Place {
            site: self.site,
            head: self.head,
            position: Position::Index(self.position),
        }
    }

    /// The row of the table that it stands in: `layer 2 head_value_output, head 1`.
    pub fn row(&self) -> String {
        let head = self.head.map(|head| format!(", head {head}"));
        format!("{}{}", self.site, head.unwrap_or_default())
    }
}

/// Pairs of one variable.
pub struct Variable {
    /// Its name; `None` for pairs from files.
    pub name: Option<String>,
    /// Pairs to learn from; none where nothing is learned.
    pub train: Vec<Pair>,
    /// Pairs to score on.
    pub test: Vec<Pair>,
}

/// Everything that the cells of a sweep depend on.
pub struct Sweep {
    /// The model.
    pub files: ModelFiles,
    /// What is done at each cell.
    pub method: Method,
    /// Pairs, one set a variable.
    pub variables: Vec<Variable>,
    /// The cells of the whole map, the cheapest first.
    pub cells: Vec<Planned>,
    /// Those of them that are computed here: all, or a part.
    pub here: Range<usize>,
    /// How directions are learned.
    pub learn: LearnArgs,
    /// Seed of data, initial bases and shuffling.
    pub seed: u64,
    /// Whether each direction is learned on shuffled labels, too.
    pub shuffled: bool,
    /// How values are kept.
    pub keep: KeepArgs,
    /// Where text goes.
    pub report: Report,
}

impl Sweep {
    /// The rule at a place of this width.
    pub fn rule(&self, width: usize) -> Rule {
        self.learn.rule(width, true, self.seed)
    }
}

/// The pairs of each variable, and the task's name.
pub fn variables(
    args: &Args,
    files: &ModelFiles,
    is_learned: bool,
) -> Result<(Vec<Variable>, Option<String>)> {
    if let Some(test) = &args.test_data {
        if let Some(name) = args.task.given() {
            bail!(
                "{name} says which pairs to sample, and --test-data has them already; leave one out"
            );
        }
        let train = args.train_data.as_deref().filter(|_| is_learned);
        let read = |path: &Path| read_pairs(path, &files.config);
        let variable = Variable {
            name: None,
            train: train.map(read).transpose()?.unwrap_or_default(),
            test: read(test)?,
        };
        return Ok((vec![variable], None));
    }
    let names = args
        .task
        .variable
        .clone()
        .unwrap_or_else(|| "op5".to_owned());
    let mut variables: Vec<Variable> = Vec::new();
    let mut name_of_task = None;
    for name in names.split(',').map(str::trim) {
        if variables
            .iter()
            .any(|other| other.name.as_deref() == Some(name))
        {
            bail!("--variable names {name} twice");
        }
        let task = TaskArgs {
            variable: Some(name.to_owned()),
            ..args.task.clone()
        };
        let task = task.resolve(&files.config, files.tokenizer()?, ("07065a", "op5"))?;
        name_of_task = Some(task.name());
        let [train_seed, test_seed] = Task::seeds(args.seed);
        let mut sampler = task.sampler()?;
        let train = match is_learned {
            true => sampler.pairs(args.train_pairs, train_seed)?,
            false => Vec::new(),
        };
        variables.push(Variable {
            name: Some(name.to_owned()),
            train,
            test: sampler.pairs(args.test_pairs, test_seed)?,
        });
    }
    Ok((variables, name_of_task))
}

/// The cells, from the last layer and token on: those that cost least come first.
pub fn plan(
    args: &Args,
    config: &Gpt2Config,
    variables: &[Variable],
    is_learned: bool,
) -> Result<Vec<Planned>> {
    let n_tokens = {
        let shape = PairShape::of(&variables[0].test, config)?;
        for variable in variables {
            for pairs in [&variable.train, &variable.test] {
                if pairs.is_empty() {
                    continue;
                }
                let PairShape {
                    n_base, n_source, ..
                } = PairShape::of(pairs, config)?;
                if [n_base, n_source] != [shape.n_base; 2] {
                    bail!(
                        "a map over positions needs prompts of one length, and there are some of {} and {n_base} and {n_source} tokens",
                        shape.n_base
                    );
                }
            }
        }
        shape.n_base
    };
    let ranks = match is_learned {
        true => args.ranks.clone(),
        false => vec![0],
    };
    let positions = args.positions.resolve(n_tokens, "position")?;
    let layers = args.layers.resolve(config.n_layers, "layer")?;
    let mut cells = Vec::new();
    for variable in 0..variables.len() {
        for name in &args.components {
            let component: Component = name.trim().parse()?;
            let heads = match component.is_per_head() {
                true => args
                    .heads
                    .resolve(config.n_heads, "head")?
                    .into_iter()
                    .map(Some)
                    .collect(),
                false => vec![None],
            };
            for layer in layers.iter().rev() {
                let Ok(site) = component.at(*layer).check(config) else {
                    continue; // the embedding and the final norm are in one layer only
                };
                for head in &heads {
                    check_head(site, *head, config)?;
                    for rank in &ranks {
                        if is_learned {
                            train::check_rank(width_at(site, config)?, *rank)?;
                        }
                        for position in positions.iter().rev() {
                            cells.push(Planned {
                                site,
                                head: *head,
                                position: *position,
                                rank: *rank,
                                variable,
                            });
                        }
                    }
                }
            }
        }
    }
    if cells.is_empty() {
        bail!("there are no cells: none of --components is in one of --layers");
    }
    Ok(cells)
}

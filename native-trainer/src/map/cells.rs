//! The cells of a map, and the pairs that they are about.

use std::ops::Range;

use anyhow::{Result, bail};
use swivel_core::{
    Component, Place, PlaceError, Position, Site, Sizes,
    question::{Pair, PairShape},
    sweep::Method,
    train::check_rank,
};

use crate::{
    cached::CacheConfig,
    learn::{Learning, Rule},
    model_files::ModelFiles,
    report::Report,
    site::{check_head, width_at},
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
    /// How directions are learned, and the seed of data, initial bases and shuffling.
    pub learning: Learning,
    /// Whether each direction is learned on shuffled labels, too.
    pub shuffled: bool,
    /// How values are cached.
    pub cache: CacheConfig,
    /// Where text goes.
    pub report: Report,
}

impl Sweep {
    /// The rule of the whole map, where directions are learned.
    pub fn rule(&self) -> Option<Rule> {
        let rule = self.learning.at_width(self.files.sizes().d_model);
        (self.method == Method::Das).then_some(rule)
    }

    /// Name of the variable that a cell is about.
    pub fn name(&self, cell: &Planned) -> Option<String> {
        self.variables[cell.variable].name.clone()
    }
}

/// Tokens of the prompts, all of one length.
///
/// # Errors
/// - If they are of several lengths.
pub fn n_tokens(variables: &[Variable], sizes: &Sizes) -> Result<usize> {
    let shape = PairShape::of(&variables[0].test, sizes)?;
    for variable in variables {
        for pairs in [&variable.train, &variable.test] {
            if pairs.is_empty() {
                continue;
            }
            let PairShape {
                n_base, n_source, ..
            } = PairShape::of(pairs, sizes)?;
            if [n_base, n_source] != [shape.n_base; 2] {
                bail!(
                    "a map over positions needs prompts of one length, and there are some of {} and {n_base} and {n_source} tokens",
                    shape.n_base
                );
            }
        }
    }
    Ok(shape.n_base)
}

/// Where cells are: in each combination of these that the model has.
pub struct Places {
    /// Layers, upwards.
    pub layers: Vec<usize>,
    /// Positions, from the first token on.
    pub positions: Vec<usize>,
    /// Components, each with its heads; one that is not per head has none of them, once.
    pub components: Vec<(Component, Vec<Option<usize>>)>,
    /// Ranks of the subspaces, where directions are learned.
    pub ranks: Vec<usize>,
}

/// The cells, from the last layer and token on: those that cost least come first.
pub fn plan(
    places: &Places,
    method: Method,
    n_variables: usize,
    sizes: &Sizes,
) -> Result<Vec<Planned>> {
    let Places {
        layers,
        positions,
        components,
        ranks,
    } = places;
    let is_learned = method == Method::Das;
    let ranks = if is_learned { ranks.as_slice() } else { &[0] };
    let mut cells = Vec::new();
    for variable in 0..n_variables {
        for (component, heads) in components {
            for layer in layers.iter().rev() {
                let site = match component.at(*layer).check(sizes) {
                    // The embedding and the final norm are in one layer only.
                    Err(PlaceError::LayerOutside { .. }) => continue,
                    site => site?,
                };
                for head in heads {
                    check_head(site, *head, sizes)?;
                    for rank in ranks {
                        if is_learned {
                            check_rank(width_at(site, sizes)?, *rank)?;
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

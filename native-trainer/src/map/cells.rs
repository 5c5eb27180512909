//! The cells of a map, and the pairs that they are about.

use std::ops::Range;

use anyhow::{Result, bail};
use swivel_core::{
    Component, Place, PlaceError, Position, Site, Sizes, direction::Unseen, question::Placed,
    sweep::Method, train::check_rank,
};

use crate::{
    cached::CacheConfig,
    learn::{Learning, Rule},
    model_files::ModelFiles,
    pairs::Sets,
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
    /// Index of the column: which token.
    pub column: usize,
    /// Where the token is in the example pair, in base and source alike.
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

/// A token of each prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name in the task's prompts, where it has one.
    pub token: Option<String>,
    /// Where it is in the example pair, in base and source alike.
    pub position: usize,
}

/// Pairs of one variable; their tokens are those of the columns.
pub struct Variable {
    /// Its name; `None` for pairs from files.
    pub name: Option<String>,
    /// Its pairs by what they are for; none to learn from where nothing is learned.
    pub sets: Sets,
}

/// Everything that the cells of a sweep depend on.
pub struct Sweep {
    /// The model.
    pub files: ModelFiles,
    /// What is done at each cell.
    pub method: Method,
    /// Pairs, one set a variable.
    pub variables: Vec<Variable>,
    /// The example pair: it labels the columns, and is the probe of every cell.
    pub probe: Placed,
    /// The tokens.
    pub columns: Vec<Column>,
    /// Tokens of which the likeliest is the answer, where it is not the likeliest of all.
    pub choices: Option<Vec<u32>>,
    /// Share of the sampled pairs that the model answers right by itself.
    pub known: Option<f64>,
    /// The cells of the whole map, the cheapest first.
    pub cells: Vec<Planned>,
    /// Those of them that are computed here: all, or a part.
    pub here: Range<usize>,
    /// How directions are learned, and the seed of data, initial bases and shuffling.
    pub learning: Learning,
    /// Tables, or `templates`, of which training sees a part.
    pub hold_out: Vec<String>,
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

    /// A cell's scores on so many pairs of what training did not see: its own, and the whole vector's.
    pub fn unseen(&self, pairs: usize, [iia, full]: [f64; 2]) -> Unseen {
        let held_out = self.hold_out.clone();
        Unseen {
            held_out,
            pairs,
            iia,
            full,
        }
    }

    /// Name of the variable that a cell is about.
    pub fn name(&self, cell: &Planned) -> Option<String> {
        self.variables[cell.variable].name.clone()
    }
}

/// Where cells are: in each combination of these that the model has.
pub struct Places {
    /// Layers, upwards.
    pub layers: Vec<usize>,
    /// The tokens, from the first one of the example pair on.
    pub columns: Vec<Column>,
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
        columns,
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
                        for (column, Column { position, .. }) in columns.iter().enumerate().rev() {
                            cells.push(Planned {
                                site,
                                head: *head,
                                column,
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

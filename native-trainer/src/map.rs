//! A map of places in the model: how well an intervention works at each layer, position, component, head, rank and variable,
//! in one sweep result, with a picture.

pub mod cell_name;
mod cells;
mod filling;
mod identity;
mod jobs;
mod live;
mod measure;
mod metric;
mod publish;
mod scores;
mod sets;
mod svg;
mod table;
mod tokens;
mod work;

pub use cells::{Column, Places, Planned, Sweep, Variable, plan};
pub use filling::Map;
pub use identity::{difference, facts, n_cells};
pub use jobs::{cost, jobs, share};
pub use metric::Metric;
pub use publish::{picture_path, publish};
pub use table::tables;
pub use tokens::{KeepKnown, drop_twins, n_tokens, probe};

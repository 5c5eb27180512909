//! One module per subcommand, each with its `Args` and `run`.

pub mod demo;
pub mod list_directions;
pub mod setup;
pub mod test;

//! One module per subcommand, each with its `Args` and `run`.

pub mod demo;
pub mod dist;
pub mod page;
pub mod real;
pub mod setup;
pub mod test;

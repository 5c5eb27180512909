//! Swivel's page: what it shows and what computes it. The part without a browser is tested on this machine.

pub mod engine;
pub mod protocol;
pub mod session;

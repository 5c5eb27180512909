//! The command line as a person meets it: the main job, round trips, and bad input; a file a command.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod apply;
mod convert;
mod data;
mod eval;
mod formats;
mod generate;
mod gguf;
mod import;
mod inspect;
mod model;
mod output;
mod pretrain;
#[path = "../support/mod.rs"]
mod support;
mod sweep;
mod task;
mod train;

//! `serve` as a browser meets it, and as one who means harm does; a file a subject.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod connections;
mod directions;
mod engine;
mod garbage;
#[allow(dead_code, reason = "the command line's tests use all of it")]
#[path = "../cli/gguf.rs"]
mod gguf;
mod guard;
mod models;
mod page;
mod paths;
mod process;
mod server;
#[cfg(unix)]
#[path = "../support/mod.rs"]
mod support;
mod tab;
mod tabs;

//! swivel-core against Hugging Face transformers and pyvene, on a two-layer random GPT-2 whose widths all differ.
//!
//! `fixtures/make_reference.py` wrote what is compared with; see `fixtures/README.md`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod archive;
mod cone;
mod das;
mod documents;
mod families;
mod fields;
mod interventions;
mod laws;
mod mutated_files;
mod mutated_plans;
mod operations;
mod parity;
mod plan;
mod pyvene;
mod questions;
mod real;
mod support;
mod tokenizers;
mod vocabulary;
mod weight_files;

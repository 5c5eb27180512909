//! The built page in a real Chromium, and the harness itself on a page of its own.
//!
//! `cargo xtask test` builds the page first and leaves these tests out where there is no Chromium.

mod harness;
mod stub;

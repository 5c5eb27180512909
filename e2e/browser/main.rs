//! The built page in a real Chromium, and the harness itself on a page of its own.
//!
//! `cargo xtask test` builds the page first and leaves these tests out where there is no Chromium.

#![allow(clippy::unwrap_used, reason = "all of this program is tests")]

mod explorer;
mod harness;

//! Ctrl-C ends the work between two steps, so that nothing is left half done.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on, Ctrl-C is noticed by [`check`]; a second one ends the program at once.
pub fn install() -> Result<()> {
    ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::SeqCst) {
            std::process::exit(2);
        }
    })
    .context("listening for Ctrl-C")
}

/// An error once Ctrl-C was pressed; `kept` says what became of the work.
pub fn check(kept: &str) -> Result<()> {
    if INTERRUPTED.load(Ordering::SeqCst) {
        anyhow::bail!("interrupted; {kept}");
    }
    Ok(())
}

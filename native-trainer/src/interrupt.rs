//! Ctrl-C ends the work between two steps, so that nothing is left half done.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use tokio::sync::Notify;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Wakes who waits for Ctrl-C.
static PRESSED: Notify = Notify::const_new();

/// From now on, Ctrl-C is noticed by [`check`] and [`pressed`]; a second one ends the program at once.
pub fn install() -> Result<()> {
    ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::SeqCst) {
            std::process::exit(2);
        }
        PRESSED.notify_one();
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

/// Waits for Ctrl-C, for work that ends in no other way: then it is done, and nothing was cut short.
pub async fn pressed() {
    PRESSED.notified().await;
}

//! What the browser reports of the page: the console, measures, pictures; and how a test fails with them.

use std::{env, fs, panic::Location, path::PathBuf, thread};

use anyhow::{Context, Result};
use serde_json::json;

use super::{PATIENCE, Page};

/// One line of the browser's console.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    is_error: bool,
    text: String,
}

impl Page<'_> {
    /// Milliseconds from navigation to the first text or picture.
    #[track_caller]
    #[must_use]
    pub fn first_contentful_paint_ms(&self) -> f64 {
        let entry = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime";
        let value = self.wait_script(entry, PATIENCE);
        value.as_f64().unwrap_or(f64::NAN)
    }

    /// Bytes of JavaScript objects on the page after a garbage collection; wasm and workers are not among them.
    #[track_caller]
    #[must_use]
    pub fn js_heap_bytes(&self) -> f64 {
        self.cdp("HeapProfiler.collectGarbage", json!({}));
        let usage = self.cdp("Runtime.getHeapUsage", json!({}));
        usage["usedSize"].as_f64().unwrap_or(f64::NAN)
    }

    /// Errors in the console since the browser started:
    /// exceptions, `console.error`, failed requests, violations of the Content-Security-Policy.
    #[track_caller]
    #[must_use]
    pub fn console_errors(&self) -> Vec<String> {
        let result = self.read_console();
        self.ok(result, || "cannot read the console".to_owned());
        let console = self.console.borrow();
        let errors = console.iter().filter(|entry| entry.is_error);
        errors.map(|entry| entry.text.clone()).collect()
    }

    /// Fails if the console has an error.
    #[track_caller]
    pub fn assert_clean_console(&self) {
        let errors = self.console_errors();
        if !errors.is_empty() {
            self.fail(&format!("the console has errors:\n{}", errors.join("\n")));
        }
    }

    /// Writes what is in the window as `NAME.png` into `$SWIVEL_SCREENSHOTS`, by default `target/screenshots`,
    /// and returns its path.
    #[track_caller]
    pub fn screenshot(&self, name: &str) -> PathBuf {
        let result = self.try_screenshot(name);
        self.ok(result, || format!("cannot write the screenshot {name}"))
    }

    /// Fails the test here, with the address, the console and a screenshot.
    #[track_caller]
    pub fn fail(&self, message: &str) -> ! {
        let place = Location::caller();
        let url = self
            .run(async |driver| driver.current_url().await)
            .map_or_else(|error| format!("nowhere ({error:#})"), String::from);
        let test = thread::current()
            .name()
            .unwrap_or("test")
            .replace("::", "-");
        let screenshot = self
            .try_screenshot(&format!("failed-{test}-line-{}", place.line()))
            .map_or_else(
                |error| format!("none ({error:#})"),
                |path| path.display().to_string(),
            );
        let _ = self.read_console();
        let console = self.console.borrow();
        let console: Vec<_> = console.iter().map(|entry| entry.text.as_str()).collect();
        panic!(
            "{message}\n  page        {url}\n  screenshot  {screenshot}\n  console     {}",
            if console.is_empty() {
                "empty".to_owned()
            } else {
                console.join("\n              ")
            }
        )
    }

    fn try_screenshot(&self, name: &str) -> Result<PathBuf> {
        let folder = screenshots()?;
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        let path = folder.join(format!("{name}.png"));
        self.run(async |driver| driver.screenshot(&path).await)?;
        Ok(path)
    }

    fn read_console(&self) -> Result<()> {
        let entries = self.run(async |driver| driver.browser_log().await)?;
        self.console
            .borrow_mut()
            .extend(entries.into_iter().map(|entry| Entry {
                is_error: entry.level == "SEVERE",
                text: format!("{} {}", entry.level, entry.message),
            }));
        Ok(())
    }
}

/// The folder for screenshots: beside what cargo builds, which has this program in `PROFILE/deps`.
fn screenshots() -> Result<PathBuf> {
    if let Some(folder) = env::var_os("SWIVEL_SCREENSHOTS") {
        return Ok(folder.into());
    }
    let program = env::current_exe()?;
    let target = program.ancestors().nth(3).context("not started by cargo")?;
    Ok(target.join("screenshots"))
}

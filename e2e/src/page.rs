//! The page of a browser: where it is, and how a test reaches into it.
//!
//! `page/sight.rs` is what a person sees on it, `page/hands.rs` what a person does, `page/surroundings.rs` what it is shown
//! on, `page/report.rs` what the browser reports of it.

mod hands;
mod report;
mod sight;
mod surroundings;

use std::{
    cell::RefCell,
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use serde_json::Value;
use thirtyfour::{By, WebDriver, WebElement};

use crate::{browser::Browser, server::Server};

/// How long an element that is acted on or read may take to appear.
const PATIENCE: Duration = Duration::from_secs(5);

const POLL_EVERY: Duration = Duration::from_millis(25);

/// The page of one browser.
///
/// Every helper that takes a CSS selector means the first element that matches and waits some seconds for it.
/// Every helper panics if the browser does not do what is asked.
#[derive(Debug)]
pub struct Page<'a> {
    browser: &'a Browser,
    /// `None` where the page comes from elsewhere.
    server: Option<&'a Server>,
    origin: String,
    console: RefCell<Vec<report::Entry>>,
}

impl Browser {
    /// The browser's one page, with `server` as its host.
    ///
    /// # Panics
    /// - if the browser is gone
    #[track_caller]
    #[must_use]
    pub fn page<'a>(&'a self, server: &'a Server) -> Page<'a> {
        Page::new(self, Some(server), server.origin())
    }

    /// The page of another host, at an address without a slash at its end.
    #[track_caller]
    pub fn page_at<'a>(&'a self, origin: &str) -> Page<'a> {
        Page::new(self, None, origin.to_owned())
    }
}

impl<'a> Page<'a> {
    #[track_caller]
    fn new(browser: &'a Browser, server: Option<&'a Server>, origin: String) -> Page<'a> {
        let page = Page {
            browser,
            server,
            origin,
            console: RefCell::default(),
        };
        page.viewport(1280, 800);
        page
    }

    /// Navigates to a path with what may follow it, as `/` or `/#plan`, and waits until the document has loaded.
    /// Where only the fragment changes, the browser stays on the page: that is a person who edits the address.
    #[track_caller]
    pub fn open(&self, path_and_fragment: &str) {
        let url = match path_and_fragment.starts_with("http") {
            true => path_and_fragment.to_owned(),
            false => format!("{}{path_and_fragment}", self.origin),
        };
        let result = self.run(async |driver| driver.goto(url.as_str()).await);
        self.ok(result, || format!("cannot open {url}"));
    }

    /// Loads the page again.
    #[track_caller]
    pub fn reload(&self) {
        let result = self.run(async |driver| driver.refresh().await);
        self.ok(result, || "cannot reload".to_owned());
    }

    /// The address, with its fragment.
    #[track_caller]
    #[must_use]
    pub fn url(&self) -> String {
        let result = self.run(async |driver| driver.current_url().await);
        self.ok(result, || "cannot read the address".to_owned())
            .into()
    }

    /// Runs the body of a function of JavaScript with `arguments`, and returns its value or that of its promise.
    #[track_caller]
    pub fn script(&self, js: &str, arguments: &[Value]) -> Value {
        let result = self.try_script(js, arguments);
        self.ok(result, || format!("the script failed: {js}"))
    }

    /// One command of the DevTools protocol.
    #[track_caller]
    pub fn cdp(&self, method: &str, parameters: Value) -> Value {
        let result = self.try_cdp(method, parameters);
        self.ok(result, || format!("{method} failed"))
    }

    // Below: what the helpers are made of.

    fn run<T, E: Into<anyhow::Error>>(
        &self,
        command: impl AsyncFnOnce(&'a WebDriver) -> Result<T, E>,
    ) -> Result<T> {
        self.browser.run(command)
    }

    #[track_caller]
    fn ok<T>(&self, result: Result<T>, what: impl FnOnce() -> String) -> T {
        match result {
            Ok(value) => value,
            Err(error) => self.fail(&format!("{}: {error:#}", what())),
        }
    }

    fn poll<T>(&self, timeout: Duration, ask: impl Fn() -> Option<T>) -> Option<T> {
        let start = Instant::now();
        loop {
            if let Some(answer) = ask() {
                return Some(answer);
            }
            if start.elapsed() >= timeout {
                return None;
            }
            thread::sleep(POLL_EVERY);
        }
    }

    /// Does something with the first element that matches, again if it was replaced meanwhile.
    #[track_caller]
    fn with<T>(
        &self,
        css: &str,
        verb: &str,
        action: impl AsyncFn(WebElement) -> thirtyfour::error::WebDriverResult<T>,
    ) -> T {
        let error = RefCell::new(None);
        let done = self.poll(PATIENCE, || {
            let result = self.run(async |driver| action(driver.find(By::Css(css)).await?).await);
            result.map_err(|e| *error.borrow_mut() = Some(e)).ok()
        });
        done.unwrap_or_else(|| {
            let error = error.into_inner().map(|error| format!("{error:#}"));
            self.fail(&format!(
                "cannot {verb} `{css}` within {PATIENCE:?}: {}",
                error.unwrap_or_default()
            ))
        })
    }

    #[track_caller]
    fn wait_present(&self, css: &str) {
        self.wait_until(&format!("`{css}`"), PATIENCE, || {
            self.run(async |driver| driver.find(By::Css(css)).await)
                .ok()
        });
    }

    fn try_script(&self, js: &str, arguments: &[Value]) -> Result<Value> {
        let returned = self.run(async |driver| driver.execute(js, arguments).await)?;
        Ok(returned.json().clone())
    }

    fn try_cdp(&self, method: &str, parameters: Value) -> Result<Value> {
        self.run(async |driver| driver.cdp().send_raw(method, parameters).await)
    }
}

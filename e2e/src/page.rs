//! What a person does with the page and sees on it, and what the browser reports of it.

use std::{
    cell::RefCell,
    env, fs,
    panic::Location,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use thirtyfour::{By, Key, TypingData, WebDriver, WebElement};

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
    console: RefCell<Vec<Entry>>,
}

/// One line of the browser's console.
#[derive(Clone, Debug)]
struct Entry {
    is_error: bool,
    text: String,
}

impl<'a> Page<'a> {
    #[track_caller]
    pub(crate) fn new(
        browser: &'a Browser,
        server: Option<&'a Server>,
        origin: String,
    ) -> Page<'a> {
        let page = Page {
            browser,
            server,
            origin,
            console: RefCell::default(),
        };
        page.viewport(1280, 800);
        page
    }

    // Where the page is.

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

    // What a person sees.

    /// Waits until an element is there and visible.
    #[track_caller]
    pub fn wait_for(&self, css: &str, timeout: Duration) {
        self.wait_until(&format!("`{css}` to be visible"), timeout, || {
            self.is_visible(css).then_some(())
        });
    }

    /// Waits until no element is there and visible.
    #[track_caller]
    pub fn wait_gone(&self, css: &str, timeout: Duration) {
        self.wait_until(&format!("`{css}` to go"), timeout, || {
            (!self.is_visible(css)).then_some(())
        });
    }

    /// Waits until an element's visible text is as wanted, and returns it.
    #[track_caller]
    pub fn wait_text(&self, css: &str, timeout: Duration, is_it: impl Fn(&str) -> bool) -> String {
        let last = RefCell::new(None);
        let found = self.poll(timeout, || {
            let text = self.try_text(css);
            let found = text.clone().filter(|text| is_it(text));
            *last.borrow_mut() = text;
            found
        });
        found.unwrap_or_else(|| {
            let last = last.into_inner();
            let what = last.map_or_else(
                || format!("there is no `{css}`"),
                |text| format!("the text of `{css}` is {text:?}, not as wanted,"),
            );
            self.fail(&format!("{what} after {timeout:?}"))
        })
    }

    /// Waits until an expression of JavaScript is true, which may be a promise, and returns its value.
    #[track_caller]
    pub fn wait_script(&self, expression: &str, timeout: Duration) -> Value {
        let js = format!("return ({expression});");
        self.wait_until(&format!("`{expression}`"), timeout, || {
            let value = self.try_script(&js, &[]).ok()?;
            let is_falsy = matches!(value, Value::Null | Value::Bool(false))
                || value.as_f64() == Some(0.0)
                || value.as_str() == Some("");
            (!is_falsy).then_some(value)
        })
    }

    /// Asks again and again until there is an answer.
    #[track_caller]
    pub fn wait_until<T>(&self, what: &str, timeout: Duration, ask: impl Fn() -> Option<T>) -> T {
        match self.poll(timeout, ask) {
            Some(answer) => answer,
            None => self.fail(&format!("waited {timeout:?} in vain for {what}")),
        }
    }

    /// How many elements match, visible or not; this one does not wait.
    #[track_caller]
    #[must_use]
    pub fn count(&self, css: &str) -> usize {
        let result = self.run(async |driver| driver.find_all(By::Css(css)).await);
        self.ok(result, || format!("cannot count `{css}`")).len()
    }

    /// Whether an element is there and visible; this one does not wait.
    #[must_use]
    pub fn is_visible(&self, css: &str) -> bool {
        self.run(async |driver| driver.find(By::Css(css)).await?.is_displayed().await)
            .unwrap_or(false)
    }

    /// The visible text of an element.
    #[track_caller]
    #[must_use]
    pub fn text(&self, css: &str) -> String {
        self.with(css, "read", async |element| element.text().await)
    }

    /// An attribute of an element, if it has it.
    #[track_caller]
    #[must_use]
    pub fn attr(&self, css: &str, name: &str) -> Option<String> {
        self.with(css, "read", async |element| element.attr(name).await)
    }

    /// A property of an element as text, such as `value` or `checked`, if it has it.
    #[track_caller]
    #[must_use]
    pub fn prop(&self, css: &str, name: &str) -> Option<String> {
        self.with(css, "read", async |element| element.prop(name).await)
    }

    // What a person does.

    /// Clicks in the middle of an element, which must not be covered.
    #[track_caller]
    pub fn click(&self, css: &str) {
        self.with(css, "click", async |element| element.click().await);
    }

    /// Replaces what is in a field, as a person who selects all and pastes.
    #[track_caller]
    pub fn type_into(&self, css: &str, text: &str) {
        self.focus(css);
        let select = "const e = document.activeElement; e.select ? e.select() : getSelection().selectAllChildren(e);";
        self.script(select, &[]);
        if text.is_empty() {
            self.press(Key::Delete);
        } else {
            self.cdp("Input.insertText", json!({ "text": text }));
        }
    }

    /// Sets a slider or another field that is not typed into, with the events that a person's hand makes.
    #[track_caller]
    pub fn set_value(&self, css: &str, value: &str) {
        self.wait_present(css);
        self.script(
            "const e = document.querySelector(arguments[0]);
             e.value = arguments[1];
             for (const type of ['input', 'change']) e.dispatchEvent(new Event(type, { bubbles: true }));",
            &[json!(css), json!(value)],
        );
    }

    /// Puts the keyboard's focus on an element.
    #[track_caller]
    pub fn focus(&self, css: &str) {
        self.with(css, "focus", async |element| element.focus().await);
    }

    /// Presses keys where the focus is: `Key::Tab`, `"word"`, `Key::Control + "a"`.
    #[track_caller]
    pub fn press(&self, keys: impl Into<TypingData>) {
        let keys = keys.into();
        let result = self.run(async |driver| driver.active_element().await?.send_keys(keys).await);
        self.ok(result, || "cannot press keys".to_owned());
    }

    /// Chooses files, or the folder that a folder field takes, in an `<input type=file>`, visible or not.
    #[track_caller]
    pub fn upload(&self, css: &str, paths: &[&Path]) {
        self.wait_present(css);
        let result = self.try_upload(css, paths);
        self.ok(result, || format!("cannot choose {paths:?} in `{css}`"));
    }

    /// Drags files or folders from outside onto the middle of an element and lets them fall.
    #[track_caller]
    pub fn drop_files(&self, css: &str, paths: &[&Path]) {
        let middle = self.with(css, "drop on", async |element| {
            element.scroll_into_view().await?;
            element.rect().await
        });
        let scroll = self.script("return [scrollX, scrollY];", &[]);
        let of = |i: usize| scroll.get(i).and_then(Value::as_f64).unwrap_or(0.0);
        let files = self.ok(absolute(paths), || format!("cannot drop {paths:?}"));
        for kind in ["dragEnter", "dragOver", "drop"] {
            self.cdp(
                "Input.dispatchDragEvent",
                json!({
                    "type": kind,
                    "x": middle.x + middle.width / 2.0 - of(0),
                    "y": middle.y + middle.height / 2.0 - of(1),
                    "data": { "items": [], "files": files, "dragOperationsMask": 1 },
                }),
            );
        }
    }

    // What the page is shown on.

    /// A window of so many CSS pixels, one device pixel each.
    #[track_caller]
    pub fn viewport(&self, width: u32, height: u32) {
        self.metrics(width, height, 1, false);
    }

    /// A phone held upright: 390 x 844 CSS pixels, three device pixels each, with touch.
    #[track_caller]
    pub fn phone(&self) {
        self.metrics(390, 844, 3, true);
        self.cdp(
            "Emulation.setTouchEmulationEnabled",
            json!({ "enabled": true }),
        );
    }

    /// A person who prefers dark pages.
    #[track_caller]
    pub fn emulate_dark(&self) {
        self.emulate_preference("prefers-color-scheme", "dark");
    }

    /// One preference as a media feature; those set before are as they were at the start.
    #[track_caller]
    pub fn emulate_preference(&self, feature: &str, value: &str) {
        self.cdp(
            "Emulation.setEmulatedMedia",
            json!({ "features": [{ "name": feature, "value": value }] }),
        );
    }

    /// Runs a script in every document that is opened from now on, before the document's own.
    #[track_caller]
    pub fn before_load(&self, js: &str) {
        self.cdp(
            "Page.addScriptToEvaluateOnNewDocument",
            json!({ "source": js }),
        );
    }

    /// Takes the network away: the page is told that it is offline, and the server is gone for good.
    #[track_caller]
    pub fn go_offline(&self) {
        if let Some(server) = self.server {
            server.stop();
        }
        self.cdp("Network.enable", json!({}));
        self.cdp(
            "Network.emulateNetworkConditions",
            json!({ "offline": true, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1 }),
        );
    }

    /// Ends Chromium's GPU process: every WebGPU device of the page and of its workers is lost.
    pub fn lose_gpu(&self) {
        // The process ends before it could answer.
        let _ = self.try_cdp("Browser.crashGpuProcess", json!({}));
    }

    // What the browser reports.

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

    // Below: the same without panics.

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

    fn try_text(&self, css: &str) -> Option<String> {
        self.run(async |driver| driver.find(By::Css(css)).await?.text().await)
            .ok()
    }

    fn try_script(&self, js: &str, arguments: &[Value]) -> Result<Value> {
        let returned = self.run(async |driver| driver.execute(js, arguments).await)?;
        Ok(returned.json().clone())
    }

    fn try_cdp(&self, method: &str, parameters: Value) -> Result<Value> {
        self.run(async |driver| driver.cdp().send_raw(method, parameters).await)
    }

    #[track_caller]
    fn metrics(&self, width: u32, height: u32, scale: u32, mobile: bool) {
        self.cdp(
            "Emulation.setDeviceMetricsOverride",
            json!({ "width": width, "height": height, "deviceScaleFactor": scale, "mobile": mobile }),
        );
    }

    fn try_upload(&self, css: &str, paths: &[&Path]) -> Result<()> {
        let expression = format!("document.querySelector({})", json!(css));
        let found = self.try_cdp("Runtime.evaluate", json!({ "expression": expression }))?;
        self.try_cdp(
            "DOM.setFileInputFiles",
            json!({ "files": absolute(paths)?, "objectId": found["result"]["objectId"] }),
        )?;
        Ok(())
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

/// The browser asks for absolute paths.
fn absolute(paths: &[&Path]) -> Result<Vec<PathBuf>> {
    let absolute = |path: &&Path| {
        ensure!(path.exists(), "there is no {}", path.display());
        Ok(path.canonicalize()?)
    };
    paths.iter().map(absolute).collect()
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

//! What a person sees on the page, once it is there.

use std::{cell::RefCell, time::Duration};

use serde_json::Value;
use thirtyfour::By;

use super::Page;

impl Page<'_> {
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

    fn try_text(&self, css: &str) -> Option<String> {
        self.run(async |driver| driver.find(By::Css(css)).await?.text().await)
            .ok()
    }
}

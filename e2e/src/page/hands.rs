//! What a person does with the page.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use thirtyfour::{Key, TypingData};

use super::Page;

impl Page<'_> {
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

    fn try_upload(&self, css: &str, paths: &[&Path]) -> Result<()> {
        let expression = format!("document.querySelector({})", json!(css));
        let found = self.try_cdp("Runtime.evaluate", json!({ "expression": expression }))?;
        self.try_cdp(
            "DOM.setFileInputFiles",
            json!({ "files": absolute(paths)?, "objectId": found["result"]["objectId"] }),
        )?;
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

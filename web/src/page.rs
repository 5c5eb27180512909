//! The page until the explorer is here: what Swivel's core can read, listed by the core itself.

use swivel_core::Component;
use wasm_bindgen::JsValue;
use web_sys::{Document, Node};

/// The command that learns a direction, as in the README.
const LEARN_COMMAND: &str = "cargo run --release -p native-trainer";

/// Writes the page into the element `app` of `index.html`.
///
/// # Errors
/// - if the document has no such element, or the browser refuses a node
pub fn mount() -> Result<(), JsValue> {
    let document = web_sys::window()
        .and_then(|window| window.document())
        .ok_or("no document")?;
    let app = document
        .get_element_by_id("app")
        .ok_or("index.html has no element `app`")?;
    app.set_text_content(None);

    append(&document, &app, "h1", "Swivel")?;
    append(
        &document,
        &app,
        "p",
        "The explorer is not here yet. What works today is the command line, which learns a direction in the model:",
    )?;
    let command = append(&document, &app, "pre", "")?;
    append(&document, &command, "code", LEARN_COMMAND)?;
    append(
        &document,
        &app,
        "p",
        "The core already runs in this browser. It can read and change a model at these places:",
    )?;
    let list = append(&document, &app, "ul", "")?;
    for (_, name, _) in Component::ALL {
        let item = append(&document, &list, "li", "")?;
        append(&document, &item, "code", name)?;
    }
    Ok(())
}

/// Appends an element that holds `text` as text, never as HTML, and returns it.
fn append(document: &Document, parent: &Node, tag: &str, text: &str) -> Result<Node, JsValue> {
    let element = document.create_element(tag)?;
    element.set_text_content(Some(text));
    parent.append_child(&element)
}

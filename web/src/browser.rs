//! The browser: the worker that computes, files and addresses, and the small services of a window.

pub mod client;
pub mod fetch;
pub mod files;
pub mod model;
pub mod picture;
pub mod window;
pub mod worker;

use wasm_bindgen::JsValue;

/// What a JavaScript error says.
pub fn error_text(error: &JsValue) -> String {
    let message = js_sys::Reflect::get(error, &JsValue::from_str("message"));
    message
        .ok()
        .and_then(|message| message.as_string())
        .or_else(|| error.as_string())
        .unwrap_or_else(|| format!("{error:?}"))
}

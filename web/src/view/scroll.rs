//! What matters in a scrolled element is scrolled into sight.

use std::time::Duration;

use leptos::prelude::set_timeout;
use wasm_bindgen::JsCast;
use web_sys::HtmlElement;

/// By then, what a change repaints is repainted.
const SHOWN_AFTER: Duration = Duration::from_millis(50);

/// Scrolls an element, and not the page, so that what a selector names in it can be seen; a little later, when it is there.
pub fn show_inside(frame: &HtmlElement, selector: &'static str) {
    let frame = frame.clone();
    let show = move || {
        let found = frame.query_selector(selector).ok().flatten();
        let Some(found) = found.and_then(|found| found.dyn_into::<HtmlElement>().ok()) else {
            return;
        };
        let (top, left) = (found.offset_top(), found.offset_left());
        // The names of the rows stay where they are and cover what is under them.
        let names = frame.query_selector("th[scope=row]").ok().flatten();
        let names = names.and_then(|names| names.dyn_into::<HtmlElement>().ok());
        let covered = names.map_or(0, |names| names.offset_width());
        if top < frame.scroll_top()
            || top + found.offset_height() > frame.scroll_top() + frame.client_height()
        {
            frame.set_scroll_top(top - frame.client_height() / 2);
        }
        if left < frame.scroll_left() + covered
            || left + found.offset_width() > frame.scroll_left() + frame.client_width()
        {
            frame.set_scroll_left(left - frame.client_width() / 2);
        }
    };
    set_timeout(show, SHOWN_AFTER);
}

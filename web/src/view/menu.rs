//! Menus: what opens below a button, and closes by itself.

use leptos::{html, prelude::*};
use wasm_bindgen::JsCast;
use web_sys::{HtmlElement, KeyboardEvent, Node};

/// A menu.
pub type Details = NodeRef<html::Details>;

/// Closes a menu.
pub fn close(menu: Details) {
    if let Some(menu) = menu.get_untracked() {
        menu.set_open(false);
    }
}

/// Closes a menu on a click elsewhere and on Escape, which gives the focus back to what opened it.
pub fn close_by_itself(menu: Details) {
    window_event_listener_untyped("click", move |event| {
        let target = event
            .target()
            .and_then(|target| target.dyn_into::<Node>().ok());
        let is_inside = menu
            .get_untracked()
            .is_some_and(|menu| menu.contains(target.as_ref()));
        if !is_inside {
            close(menu);
        }
    });
    window_event_listener_untyped("keydown", move |event| {
        let is_escape = event
            .dyn_ref::<KeyboardEvent>()
            .is_some_and(|event| event.key() == "Escape");
        let Some(open) = menu.get_untracked().filter(|menu| is_escape && menu.open()) else {
            return;
        };
        close(menu);
        let summary = open.query_selector("summary").ok().flatten();
        if let Some(summary) = summary.and_then(|summary| summary.dyn_into::<HtmlElement>().ok()) {
            // Where it cannot have it, the focus stays.
            let _ = summary.focus();
        }
    });
}

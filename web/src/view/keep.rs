//! Pictures to keep: a part of the page as SVG, as PNG, its numbers as CSV.

use leptos::prelude::*;

use crate::{
    page_state::{Action, Format, PageState},
    session::kept::Kept,
};

const FORMATS: [(Format, &str, &str); 3] = [
    (Format::Svg, "SVG", "The picture as a drawing that scales"),
    (Format::Png, "PNG", "The picture in three times the pixels"),
    (Format::Csv, "CSV", "Its numbers, with all digits"),
];

/// One click each.
#[component]
pub fn Keep(
    /// State and actions.
    page: PageState,
    /// Which part of the page.
    kept: Kept,
    /// Its element, as a selector.
    of: &'static str,
) -> impl IntoView {
    let button = move |(format, label, title): (Format, &'static str, &'static str)| {
        view! {
            <button
                class="quiet"
                title=title
                on:click=move |_| page.act(Action::Keep(kept, of, format))
            >
                {label}
            </button>
        }
    };
    view! {
        <span class="keep" role="group" aria-label="Keep this picture">
            {FORMATS.map(button).collect_view()}
        </span>
    }
}

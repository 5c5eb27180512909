//! What the colours and marks of the picture mean.

use leptos::prelude::*;

use crate::{
    page_state::PageState,
    session::{Picture, Shown},
};

/// One sentence, and the marks.
#[component]
pub fn Legend(
    /// State and actions.
    page: PageState,
) -> impl IntoView {
    let text = move || {
        page.session.with(|session| match (session.picture, session.shown) {
            (Picture::Lens, Shown::Difference) => {
                "How much the swap moves what each layer would answer, in nats towards the source's answer."
            }
            (Picture::Lens, _) => {
                "What each layer would answer if it were the last: blue leans to the base's answer, orange to the source's."
            }
            (Picture::Map, _) => {
                "How far the operation at that one cell moves the answer: orange towards the source, blue away from it."
            }
            (Picture::Attention, _) => {
                "Where each head looks from the chosen token, 0 to 1. Click a column to look from there."
            }
            (Picture::Learned(_), _) => {
                "How often a swap of that cell gives the right answer, 0 to 1; the further above chance, the stronger the colour. Click a cell to switch it on alone, again to remove it."
            }
        })
    };
    let is_learned = move || page.session.with(|s| s.learned().is_some());
    view! {
        <p class="legend">
            {text} " "
            <Show when=move || page.session.with(|s| s.picture != Picture::Attention)>
                <span class="sample armed"></span>
                " switched on "
                <Show
                    when=is_learned
                    fallback=|| view! { <span class="sample cone"></span> " can change" }
                >
                    <span class="sample best"></span>
                    "\u{a0}best"
                </Show>
            </Show>
        </p>
    }
}

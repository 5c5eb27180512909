//! Inside the model: a layers x tokens picture of the logit lens, of the interchange map, of attention, or of a sweep result.

mod attention;
mod cell;
pub mod choices;
mod detail;
mod grid;
mod learned;
mod legend;
mod lens;
mod map;
mod paint;
mod value;

use leptos::prelude::*;

use self::{
    attention::LayerChoice,
    choices::{Choice, PictureChoice},
    detail::Detail,
    grid::Grid,
    learned::{LearnedControls, LearnedDetail, LearnedTable, LearnedWarnings},
    legend::Legend,
    map::{MapControls, MapTable},
};
use super::keep::Keep;
use crate::{
    page_state::PageState,
    session::{Picture, Shown, kept::Kept},
};

const SHOWN: [(Shown, &str); 3] = [
    (Shown::Base, "base"),
    (Shown::Intervened, "intervened"),
    (Shown::Difference, "difference"),
];

/// The picture and its controls.
#[component]
pub fn Inside(
    /// State and actions.
    page: PageState,
) -> impl IntoView {
    let picture = move || page.session.with(|session| session.picture);
    let show = move |value: Picture| {
        page.edit(move |session| session.picture = value);
    };
    let is_table = RwSignal::new(false);
    view! {
        <section class="inside" aria-label="Inside the model">
            <h2>"Inside" <Keep page kept=Kept::Inside of=".inside" /></h2>
            <div class="bar">
                <PictureChoice page choose=show />
                <Show when=move || matches!(picture(), Picture::Lens | Picture::Attention)>
                    <Choice
                        name="shown"
                        values=&SHOWN
                        current=Signal::derive(move || page.session.with(|session| session.shown))
                        choose=move |shown| page.edit(move |session| session.shown = shown)
                    />
                </Show>
                <Show when=move || picture() == Picture::Map>
                    <MapControls page is_table />
                </Show>
                <Show when=move || matches!(picture(), Picture::Learned(_))>
                    <LearnedControls page is_table />
                </Show>
                <Show when=move || picture() == Picture::Attention>
                    <LayerChoice page />
                </Show>
            </div>
            <LearnedWarnings page />
            // What stays in sight at the window's end stays beside the picture.
            <div>
            <Show
                when=move || is_table.get() && matches!(picture(), Picture::Map | Picture::Learned(_))
                fallback=move || view! { <Grid page /> }
            >
                <Show
                    when=move || picture() == Picture::Map
                    fallback=move || view! { <LearnedTable page /> }
                >
                    <MapTable page />
                </Show>
            </Show>
            <Legend page />
            <Show
                when=move || matches!(picture(), Picture::Learned(_))
                fallback=move || view! { <Detail page /> }
            >
                <LearnedDetail page />
            </Show>
            </div>
        </section>
    }
}

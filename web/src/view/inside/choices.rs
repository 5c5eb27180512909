//! One of several, as buttons: the pictures, and what else has few values.

use leptos::prelude::*;

use crate::{
    page_state::PageState,
    session::{Picture, Session},
};

const PICTURES: [(Picture, &str); 3] = [
    (Picture::Lens, "Logit lens"),
    (Picture::Map, "Interchange map"),
    (Picture::Attention, "Attention"),
];

/// The pictures: three that are always there, and the sweep results that were opened.
#[component]
pub fn PictureChoice(
    /// State and actions.
    page: PageState,
    /// Hears of the one that is chosen.
    choose: impl Fn(Picture) + Copy + Send + Sync + 'static,
) -> impl IntoView {
    let tabs = Memo::new(move |_| page.session.with(tabs));
    let button = move |picture: Picture, id: String, label: String| {
        let is_shown = move || page.session.with(|session| session.picture == picture);
        let title = label.clone();
        view! {
            <button
                id=id
                title=title
                aria-pressed=move || is_shown().to_string()
                on:click=move |_| choose(picture)
            >
                {label}
            </button>
        }
    };
    view! {
        <div class="choices" role="group" aria-label="picture">
            {PICTURES
                .iter()
                .map(|(picture, label)| {
                    button(*picture, format!("picture-{}", id_of(label)), (*label).to_owned())
                })
                .collect_view()}
        </div>
        <Show when=move || tabs.with(|tabs| !tabs.is_empty())>
            <div class="choices maps" role="group" aria-label="opened sweep results">
                {move || {
                    tabs.get()
                        .into_iter()
                        .map(|(idx, label)| {
                            button(Picture::Learned(idx), format!("picture-learned-{idx}"), label)
                        })
                        .collect_view()
                }}
            </div>
        </Show>
    }
}

/// The sweep results that are open, by their index, as buttons say them.
fn tabs(session: &Session) -> Vec<(usize, String)> {
    let maps = session.sweeps.iter().enumerate();
    let open = maps.filter(|(_, map)| !map.is_closed);
    open.map(|(idx, map)| (idx, map.title())).collect()
}

/// One of several values, as buttons.
#[component]
pub fn Choice<T: Copy + PartialEq + Send + Sync + 'static>(
    /// What is chosen; ids begin with it.
    name: &'static str,
    /// The values, with their labels.
    values: &'static [(T, &'static str)],
    /// The one that is chosen.
    current: Signal<T>,
    /// Hears of another.
    choose: impl Fn(T) + Copy + 'static,
) -> impl IntoView {
    view! {
        <div class="choices" role="group" aria-label=name>
            {values
                .iter()
                .map(|(value, label)| {
                    let value = *value;
                    view! {
                        <button
                            id=format!("{name}-{}", id_of(label))
                            aria-pressed=move || (current.get() == value).to_string()
                            on:click=move |_| choose(value)
                        >
                            {*label}
                        </button>
                    }
                })
                .collect_view()}
        </div>
    }
}

/// The first word of a label, as ids have it.
fn id_of(label: &str) -> String {
    label
        .split([' ', ','])
        .next()
        .unwrap_or(label)
        .to_lowercase()
}

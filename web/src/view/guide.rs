//! The guide: four steps on the live page.

use leptos::prelude::*;

use crate::{
    app::App,
    browser::window,
    session::{Picture, Session},
};

/// Four steps, each with a button that does it.
#[component]
pub fn Guide(
    /// State and actions.
    app: App,
    /// True if it is open.
    open: RwSignal<bool>,
) -> impl IntoView {
    let toggle = move |_| {
        app.edit(|session: &mut Session| {
            session.change(|choices| {
                if let Some(card) = choices.cards.first_mut() {
                    card.is_on = !card.is_on;
                }
            });
        });
    };
    let scan = move |_| {
        app.edit(|session| {
            session.picture = Picture::Map;
            let at = (app.component.get_untracked(), app.head.get_untracked());
            session.start_map(app.operation.get_untracked(), at, window::now());
        });
    };
    view! {
        <Show when=move || open.get()>
            <section class="guide" aria-label="Guide">
                <ol>
                    <li>
                        <h3>"Type"</h3>
                        <p>
                            "The model reads two prompts, token by token. The base run will be changed; the source run lends a value. Each prompt asks for a program's answer, True or False."
                        </p>
                        <button on:click=move |_| app.try_edit(|s| s.new_pair(window::seed()))>
                            "Another pair"
                        </button>
                    </li>
                    <li>
                        <h3>"Toggle"</h3>
                        <p>
                            "A direction is one line through a layer's values at one token. Switch it on: the base run gets the source's number along that line, and nothing else. If the answer flips, the model keeps its decision there."
                        </p>
                        <button on:click=toggle>"Switch the first direction"</button>
                    </li>
                    <li>
                        <h3>"Scan"</h3>
                        <p>
                            "Swap every layer at every token, one at a time, and see where the answer follows the source. Click a cell to read it; the button below the map swaps there."
                        </p>
                        <button on:click=scan>"Scan this pair"</button>
                    </li>
                    <li>
                        <h3>"Share"</h3>
                        <p>
                            "The link holds prompts, positions and directions; whoever opens it sees the same numbers. “Copy as code” gives a Python script that does it with pyvene."
                        </p>
                        <button on:click=move |_| app.share()>"Copy the link"</button>
                    </li>
                </ol>
            </section>
        </Show>
    }
}

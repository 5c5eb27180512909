//! The guide: what can be done on the live page, step by step.

use leptos::prelude::*;
use swivel_core::plan::Operation;

use crate::{
    page_state::{Action, PageState},
    session::Picture,
};

/// Every operation on a whole value, and what becomes of the value.
fn operations() -> String {
    let texts: Vec<String> = Operation::of_whole_values()
        .map(|operation| format!("{} ({})", operation.verb, operation.about))
        .collect();
    texts.join(", ")
}

/// The steps, with buttons that do them.
#[component]
pub fn Guide(
    /// State and actions.
    page: PageState,
    /// True if it is open.
    open: RwSignal<bool>,
) -> impl IntoView {
    let scan = move |_| {
        page.edit(|session| session.picture = Picture::Map);
        page.scan();
    };
    view! {
        <Show when=move || open.get()>
            <section class="guide" aria-label="Guide">
                <ol>
                    <li>
                        <h3>"Type"</h3>
                        <p>
                            "The model reads two prompts, token by token (a token is a word or a part of one), and says which comes next. The base run will be changed; the source run lends a value. “The keys near the window” goes on with “are”, “The key near the window” with “is”. Choose other words from the menus, or type a sentence of your own."
                        </p>
                        <button on:click=move |_| page.act(Action::NewPair)>"Another pair"</button>
                    </li>
                    <li>
                        <h3>"Toggle"</h3>
                        <p>
                            "Inside, each layer writes a list of numbers for each token. A direction is one line through them at one place; a subspace has several. Switch one on: the base run gets the source's number along each line, and nothing else. If the answer flips, the model keeps its decision there. Click a token to have it act there."
                        </p>
                        <button on:click=move |_| page.edit(|session| session.toggle_card(0))>
                            "Switch the first direction"
                        </button>
                    </li>
                    <li>
                        <h3>"Count"</h3>
                        <p>
                            "One flip may be luck. “How often does it work?” tries the direction in a hundred pairs that were not seen before, beside everything that the model has there, which should work, and a random line, which must fail."
                        </p>
                        <button on:click=move |_| page.act(Action::TryPairs)>"Try a hundred pairs"</button>
                    </li>
                    <li>
                        <h3>"Arm"</h3>
                        <p>
                            "An operation says what becomes of a whole value: "
                            {operations()}
                            ". Click a cell, a layer at a token, and choose the operation below the picture, with any component, in one head or in all: the button there arms the cell with it."
                        </p>
                        <button on:click=move |_| page.arm()>"Arm the cell at the cursor"</button>
                    </li>
                    <li>
                        <h3>"Scan"</h3>
                        <p>
                            "Do the chosen operation at every layer and token, one cell at a time, and see where the answer follows the source: the recovered share of a cell is 0 where the answer stays the base's and 1 where it becomes the source's."
                        </p>
                        <button on:click=scan>"Scan this pair"</button>
                    </li>
                    <li>
                        <h3>"Share"</h3>
                        <p>
                            "Each picture can be kept: SVG, PNG, or its numbers as CSV. "
                            "The link holds the prompts, what is switched on, and the view; whoever opens it sees the same numbers. “Copy as code” gives a Python script that does it with pyvene."
                        </p>
                        <button on:click=move |_| page.act(Action::Share)>"Copy the link"</button>
                    </li>
                    <li>
                        <h3>"Run"</h3>
                        <p>
                            "“Runs on” shows and sets where the model computes: in this tab, on the CPU or WebGPU, whichever is faster there; or on the machine that serves the page, if it is “swivel serve”."
                        </p>
                    </li>
                </ol>
            </section>
        </Show>
    }
}

//! The gallery: questions, each with a flip that shows before its model is there.

use leptos::prelude::*;

use crate::{
    offered::Offered,
    page_state::{Action, PageState},
    session::{Session, recorded::QUESTIONS},
};

/// The questions as buttons.
#[component]
pub fn Questions(
    /// State and actions.
    page: PageState,
) -> impl IntoView {
    let current = Memo::new(move |_| page.session.with(|session| session.question));
    let button = move |idx: usize| {
        let question = &QUESTIONS[idx];
        view! {
            <button
                id=format!("question-{}", question.name)
                aria-pressed=move || (current.get() == idx).to_string()
                on:click=move |_| page.act(Action::OpenQuestion(idx))
            >
                {question.title}
            </button>
        }
    };
    view! {
        <nav class="choices" id="gallery" aria-label="Questions">
            {(0..QUESTIONS.len()).map(button).collect_view()}
        </nav>
    }
}

/// What the open question asks, and how often its swap works.
#[component]
pub fn Asked(
    /// State and actions.
    page: PageState,
) -> impl IntoView {
    let question = Memo::new(move |_| page.session.with(|session| session.question));
    let is_shown = move || page.session.with(Session::is_of_question);
    view! {
        <Show when=is_shown>
            <p class="asked" id="asked">
                {move || QUESTIONS[question.get()].asks} " "
                <span class="how-often">{move || page.session.with(Session::how_often)}</span>
            </p>
        </Show>
    }
}

/// What fetches the model of the open question where that has to be fetched.
#[component]
pub fn FetchModel(
    /// State and actions.
    page: PageState,
) -> impl IntoView {
    let question = Memo::new(move |_| page.session.with(|session| session.question));
    let fetch = move || {
        let model = QUESTIONS[question.get()].model;
        let own = Offered::of_id(model)?;
        let label = format!(
            "Fetch {}, {} MB, to go on yourself",
            own.name, own.megabytes
        );
        Some(view! {
            <button
                id="fetch-model"
                class="strong"
                on:click=move |_| page.act(Action::OpenAddress(model.to_owned()))
            >
                {label}
            </button>
        })
    };
    view! { {fetch} }
}

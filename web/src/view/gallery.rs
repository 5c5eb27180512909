//! The gallery: questions, each with a flip that shows before its model is there.

use leptos::prelude::*;

use crate::{
    offered::Offered,
    page_state::{Action, Loading, PageState},
    session::recorded::QUESTIONS,
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

/// What the open question asks, and what fetches its model where that has to be fetched.
#[component]
pub fn Asked(
    /// State and actions.
    page: PageState,
) -> impl IntoView {
    let question = Memo::new(move |_| page.session.with(|session| session.question));
    let is_waiting = move || {
        let is_idle = page.loading.with(|loading| *loading == Loading::Waiting);
        is_idle && page.session.with(|session| session.model.is_none())
    };
    let fetch = move || {
        let model = QUESTIONS[question.get()].model;
        let label = Offered::of_id(model).map(|own| {
            let (name, megabytes) = (own.name, own.megabytes);
            format!("Fetch {name}, {megabytes} MB, to go on yourself")
        });
        view! {
            <button
                id="fetch-model"
                class="strong"
                on:click=move |_| page.act(Action::OpenAddress(model.to_owned()))
            >
                {label}
            </button>
        }
    };
    view! {
        <span>{move || QUESTIONS[question.get()].asks}</span>
        {move || is_waiting().then(fetch)}
    }
}

//! The whole page.

use leptos::prelude::*;
use web_sys::DragEvent;

use super::{
    answer::AnswerPanel, directions::Directions, files::files_of, flips::FlipPanel, guide::Guide,
    header::Header, inside::Inside, program::ProgramPanel, prompts::Prompts, text::TextPanel,
};
use crate::{
    device::Device,
    page_state::{Action, PageState},
};

/// The page, as it is mounted.
pub fn page(page: PageState) -> impl IntoView {
    let guide = RwSignal::new(false);
    let is_over = RwSignal::new(false);
    let on_drop = move |event: DragEvent| {
        event.prevent_default();
        is_over.set(false);
        if let Some(list) = event.data_transfer().and_then(|data| data.files()) {
            page.act(Action::OpenFiles(files_of(&list)));
        }
    };
    view! {
        <div
            class="page"
            class:over=is_over
            on:dragover=move |event: DragEvent| {
                event.prevent_default();
                is_over.set(true);
            }
            on:dragleave=move |_| is_over.set(false)
            on:drop=on_drop
        >
            <Header page guide />
            <NoticeLine page />
            <main>
                <Guide page open=guide />
                <Prompts page />
                <div class="columns">
                    <Directions page />
                    <AnswerPanel page />
                </div>
                <Inside page />
                <TextPanel page />
                <FlipPanel page />
                <ProgramPanel page />
            </main>
            <footer>
                <p>
                    {move || match page.devices.with(|devices| devices.current) {
                        Device::Machine => {
                            "The model runs on the machine that serves this page; nothing is sent elsewhere."
                        }
                        Device::Cpu | Device::WebGpu => {
                            "Everything runs in this browser; nothing is sent anywhere."
                        }
                    }}
                    " The method is distributed alignment search: "
                    <a href="https://arxiv.org/abs/2303.02536">"Geiger et al. 2023"</a>
                    "."
                </p>
            </footer>
        </div>
    }
}

/// What just happened or went wrong.
#[component]
fn NoticeLine(page: PageState) -> impl IntoView {
    view! {
        <div class="notice-line" role="status" aria-live="polite">
            {move || {
                page.notice
                    .get()
                    .map(|notice| {
                        view! {
                            <p class="notice" class:problem=notice.is_problem>
                                <span>{notice.text}</span>
                                <button class="quiet" on:click=move |_| page.notice.set(None)>
                                    "Close"
                                </button>
                            </p>
                        }
                    })
            }}
        </div>
    }
}

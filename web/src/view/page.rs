//! The whole page.

use leptos::prelude::*;
use wasm_bindgen::JsCast;
use web_sys::{DragEvent, File};

use super::{
    answer::AnswerPanel, directions::Directions, guide::Guide, header::Header, inside::Inside,
    program::ProgramPanel, prompts::Prompts,
};
use crate::{app::App, browser::worker::Device};

/// The page, as `main` mounts it.
pub fn page(app: App) -> impl IntoView {
    let guide = RwSignal::new(false);
    let is_over = RwSignal::new(false);
    let on_drop = move |event: DragEvent| {
        event.prevent_default();
        is_over.set(false);
        if let Some(list) = event.data_transfer().and_then(|data| data.files()) {
            app.open_files(files_of(&list));
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
            <Header app guide />
            <NoticeLine app />
            <main>
                <Guide app open=guide />
                <Prompts app />
                <div class="columns">
                    <Directions app />
                    <AnswerPanel app />
                </div>
                <Inside app />
                <ProgramPanel app />
            </main>
            <footer>
                <p>
                    {move || match app.devices.with(|devices| devices.current) {
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

/// Files of a list.
pub fn files_of(list: &web_sys::FileList) -> Vec<File> {
    (0..list.length()).filter_map(|idx| list.get(idx)).collect()
}

/// Files that an input has taken; the input is emptied, so that the same file can be chosen again.
pub fn chosen_files(event: &web_sys::Event) -> Vec<File> {
    let input = event
        .target()
        .and_then(|target| target.dyn_into::<web_sys::HtmlInputElement>().ok());
    let Some(input) = input else {
        return Vec::new();
    };
    let files = input.files().map(|list| files_of(&list));
    input.set_value("");
    files.unwrap_or_default()
}

/// What just happened or went wrong.
#[component]
fn NoticeLine(app: App) -> impl IntoView {
    view! {
        <div class="notice-line" role="status" aria-live="polite">
            {move || {
                app.notice
                    .get()
                    .map(|notice| {
                        view! {
                            <p class="notice" class:problem=notice.is_problem>
                                <span>{notice.text}</span>
                                <button class="quiet" on:click=move |_| app.notice.set(None)>
                                    "Close"
                                </button>
                            </p>
                        }
                    })
            }}
        </div>
    }
}

//! Name, model, device, and what is done with the whole view.

use leptos::{html, prelude::*};
use wasm_bindgen::JsCast;
use web_sys::{HtmlElement, KeyboardEvent, Node};

use super::files::chosen_files;
use crate::{
    device::{Device, DeviceState},
    page_state::{Action, Loading, PageState},
    session::{
        Session,
        numbers::{bytes, milliseconds},
    },
};

/// The head of the page.
#[component]
pub fn Header(
    /// State and actions.
    page: PageState,
    /// True if the guide is open.
    guide: RwSignal<bool>,
) -> impl IntoView {
    let history = move || page.session.with(Session::has_history);
    view! {
        <header>
            <div class="name">
                <h1>"Swivel"</h1>
                <p>"Swap one number inside the model. Did it change its mind?"</p>
            </div>
            <div class="bar">
                <ModelMenu page />
                <DeviceMenu page />
                <span class="space"></span>
                <button
                    on:click=move |_| page.edit(Session::undo)
                    disabled=move || !history()[0]
                    title="Ctrl-Z"
                >
                    "Undo"
                </button>
                <button
                    on:click=move |_| page.edit(Session::redo)
                    disabled=move || !history()[1]
                    title="Ctrl-Shift-Z"
                >
                    "Redo"
                </button>
                <button id="share" on:click=move |_| page.act(Action::Share)>
                    "Share"
                </button>
                <button id="copy-code" on:click=move |_| page.act(Action::CopyCode)>
                    "Copy as code"
                </button>
                <button
                    id="guide-button"
                    aria-expanded=move || guide.get().to_string()
                    on:click=move |_| guide.update(|open| *open = !*open)
                >
                    "Guide"
                </button>
                <button
                    id="theme"
                    on:click=move |_| page.act(Action::TurnTheme)
                    title="Light, dark, or as the system says"
                >
                    {move || format!("Theme: {}", page.theme.get().name())}
                </button>
            </div>
            <LoadingLine page />
        </header>
    }
}

/// What is being loaded, how much of it, how long it will take.
#[component]
fn LoadingLine(page: PageState) -> impl IntoView {
    view! {
        <div class="loading" role="status" aria-live="off">
            {move || match page.loading.get() {
                Loading::Live => ().into_any(),
                Loading::Preparing => {
                    view! {
                        <progress aria-label="loading"></progress>
                        <span>"Recorded example below; the engine starts …"</span>
                    }
                        .into_any()
                }
                Loading::Fetching { name, done, total, seconds_left } => {
                    let of = total.map(|total| format!(" of {}", bytes(total))).unwrap_or_default();
                    let left = seconds_left
                        .filter(|secs| *secs >= 1.0)
                        .map(|secs| format!(", {secs:.0} s left"))
                        .unwrap_or_default();
                    view! {
                        <progress aria-label="loading" max=total.unwrap_or(1.0) value=done></progress>
                        <span>{format!("{name}: {}{of}{left}", bytes(done))}</span>
                    }
                        .into_any()
                }
                Loading::Failed(cause) => {
                    view! {
                        <p class="notice problem" role="alert" id="failure">
                            <span>{format!("The model was not opened: {cause}.")}</span>
                            <button on:click=move |_| page.act(Action::LoadAgain)>"Try again"</button>
                            <button on:click=move |_| page.act(Action::OpenBuiltIn)>"Open the built-in solver"</button>
                        </p>
                    }
                        .into_any()
                }
            }}
        </div>
    }
}

type Details = NodeRef<html::Details>;

fn close(menu: Details) {
    if let Some(menu) = menu.get_untracked() {
        menu.set_open(false);
    }
}

/// Closes a menu on a click elsewhere and on Escape, which gives the focus back to what opened it.
fn close_by_itself(menu: Details) {
    window_event_listener_untyped("click", move |event| {
        let target = event
            .target()
            .and_then(|target| target.dyn_into::<Node>().ok());
        let is_inside = menu
            .get_untracked()
            .is_some_and(|menu| menu.contains(target.as_ref()));
        if !is_inside {
            close(menu);
        }
    });
    window_event_listener_untyped("keydown", move |event| {
        let is_escape = event
            .dyn_ref::<KeyboardEvent>()
            .is_some_and(|event| event.key() == "Escape");
        let Some(open) = menu.get_untracked().filter(|menu| is_escape && menu.open()) else {
            return;
        };
        close(menu);
        let summary = open.query_selector("summary").ok().flatten();
        if let Some(summary) = summary.and_then(|summary| summary.dyn_into::<HtmlElement>().ok()) {
            // Where it cannot have it, the focus stays.
            let _ = summary.focus();
        }
    });
}

/// The models beside the built-in one that the page's host lists.
#[component]
fn ListedModels(page: PageState, menu: Details) -> impl IntoView {
    let button = move |name: String| {
        let label = name.clone();
        view! {
            <button on:click=move |_| {
                page.act(Action::OpenListed(name.clone()));
                close(menu);
            }>{label}</button>
        }
    };
    view! {
        <Show when=move || page.models.with(|names| !names.is_empty())>
            <p class="label">"Served with this page"</p>
            <div class="bar" id="listed-models">
                {move || page.models.get().into_iter().map(button).collect_view()}
            </div>
        </Show>
    }
}

#[component]
fn ModelMenu(page: PageState) -> impl IntoView {
    let address = RwSignal::new(String::new());
    let menu = Details::new();
    close_by_itself(menu);
    // Asked for when a person looks, since a host may have no such list, and what is missing shows as an error.
    let look = move |_| {
        if menu.get_untracked().is_some_and(|menu| menu.open()) {
            page.act(Action::ListModels);
        }
    };
    let name = move || {
        page.session.with(|session| match &session.model {
            Some(model) => model.name.clone(),
            None => "solver".to_owned(),
        })
    };
    let sizes = move || {
        page.session.with(|session| {
            let sizes = session.model.as_ref().map(|model| model.sizes.clone())?;
            Some(format!(
                "{} layers, width {}, {} heads, {} tokens in the vocabulary, prompts of up to {}",
                sizes.n_layers, sizes.d_model, sizes.n_heads, sizes.d_vocab, sizes.n_ctx
            ))
        })
    };
    view! {
        <details class="menu" id="model-menu" name="menu" node_ref=menu on:toggle=look>
            <summary>
                <span class="label">"Model "</span>
                {name}
            </summary>
            <div class="sheet">
                <p>{sizes}</p>
                <ListedModels page menu />
                <p class="label">"Another model: its folder, with config.json, tokenizer.json and model.safetensors"</p>
                <label class="button">
                    "Choose a folder"
                    <input
                        id="model-folder"
                        type="file"
                        prop:webkitdirectory=true
                        on:change=move |event| page.act(Action::OpenFiles(chosen_files(&event)))
                    />
                </label>
                <label class="button">
                    "Choose its files"
                    <input
                        id="model-files"
                        type="file"
                        multiple
                        on:change=move |event| page.act(Action::OpenFiles(chosen_files(&event)))
                    />
                </label>
                <form
                    class="row"
                    on:submit=move |event| {
                        event.prevent_default();
                        page.act(Action::OpenAddress(address.get()));
                    }
                >
                    <input
                        id="address"
                        type="text"
                        aria-label="Address of a model folder or a direction file"
                        placeholder="or the address of a folder or of a direction"
                        prop:value=address
                        on:input=move |event| address.set(event_target_value(&event))
                    />
                    <button>"Open"</button>
                </form>
                <button on:click=move |_| page.act(Action::OpenBuiltIn)>"Back to the built-in solver"</button>
            </div>
        </details>
    }
}

/// One line about a device.
fn describe(state: &DeviceState) -> String {
    match state {
        DeviceState::Untried => "not tried".to_owned(),
        DeviceState::Testing => "being tested …".to_owned(),
        DeviceState::Unavailable(cause) => cause.clone(),
        DeviceState::Ready { adapter, error, ms } => {
            let mut text = adapter.clone();
            if let Some(error) = error {
                text += &format!(", checked: off by {error:.0e} nats");
            }
            if let Some(ms) = ms {
                text += &format!(", {} for a new pair", milliseconds(*ms));
            }
            text
        }
    }
}

#[component]
fn DeviceMenu(page: PageState) -> impl IntoView {
    let menu = Details::new();
    close_by_itself(menu);
    let badge = move || {
        let devices = page.devices.get();
        let is_recorded = page.session.with(|session| session.is_recorded);
        if is_recorded {
            return "recorded".to_owned();
        }
        let name = match devices.current {
            Device::Cpu => "CPU",
            Device::WebGpu => "WebGPU",
            Device::Machine => "machine",
        };
        match devices.state() {
            Some(DeviceState::Ready { ms: Some(ms), .. }) => {
                format!("{name} {}", milliseconds(*ms))
            }
            Some(DeviceState::Ready { adapter, .. }) if devices.current == Device::Machine => {
                format!("{name}, {adapter}")
            }
            _ => name.to_owned(),
        }
    };
    let choice = move |device: Option<Device>, label: &'static str| {
        view! {
            <label class="choice">
                <input
                    type="radio"
                    name="device"
                    prop:checked=move || page.devices.with(|devices| devices.wish == device)
                    on:change=move |_| page.act(Action::Wish(device))
                />
                {label}
            </label>
        }
    };
    view! {
        <details class="menu" id="device-menu" name="menu" node_ref=menu>
            <summary>
                <span class="label">"Runs on "</span>
                <span id="badge" data-device=move || {
                    match page.session.with(|session| session.is_recorded) {
                        true => "recorded",
                        false => page.devices.with(|devices| devices.current).name(),
                    }
                }>{badge}</span>
            </summary>
            <div class="sheet">
                <p class="label">"In this tab"</p>
                {choice(None, "the faster one")}
                {choice(Some(Device::Cpu), "CPU")}
                <p class="fact" id="cpu-state">{move || page.devices.with(|devices| describe(&devices.cpu))}</p>
                {choice(Some(Device::WebGpu), "WebGPU")}
                <p class="fact" id="gpu-state">
                    {move || page.devices.with(|devices| describe(&devices.web_gpu))}
                </p>
                <Show when=move || page.devices.with(|devices| devices.machine.is_some())>
                    <p class="label">"On the machine that serves this page"</p>
                    {choice(Some(Device::Machine), "this machine")}
                    <p class="fact" id="machine-state">
                        {move || {
                            let state = page.devices.with(|devices| devices.machine.clone());
                            state.map(|state| describe(&state))
                        }}
                    </p>
                </Show>
                <p
                    class="fact"
                    id="memory"
                    data-bytes=move || page.memory.get().engine
                    data-page-bytes=move || page.memory.get().page
                >
                    {move || format!("the engine holds {} of memory", bytes(page.memory.get().engine))}
                </p>
                <p class="label">
                    "Before WebGPU is used, an answer and a swap are compared with recorded values, and both devices are timed."
                </p>
            </div>
        </details>
    }
}

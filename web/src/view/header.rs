//! Name, model, device, and what is done with the whole view.

use leptos::prelude::*;

use super::{
    gallery::{Asked, FetchModel, Questions},
    menu::{Details, close_by_itself},
    models::ModelMenu,
};
use crate::{
    device::{Device, DeviceState},
    page_state::{Action, Loading, PageState},
    session::{
        Session,
        numbers::{bytes, duration, milliseconds},
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
                <span class="space"></span>
                <Questions page />
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
            <Asked page />
            {move || match page.loading.get() {
                Loading::Live => ().into_any(),
                Loading::Waiting => view! { <FetchModel page /> }.into_any(),
                Loading::Preparing => {
                    view! {
                        <progress aria-label="loading"></progress>
                        <span>
                            {match page.session.with(|session| session.is_recorded) {
                                true => "Recorded example below; the engine starts …",
                                false => "The model is prepared …",
                            }}
                        </span>
                    }
                        .into_any()
                }
                Loading::Fetching { name, done, total, speed } => {
                    let of = total.map(|total| format!(" of {}", bytes(total))).unwrap_or_default();
                    let pace = speed.map(|speed| format!(", {} a second", bytes(speed)));
                    let left = total.zip(speed).map(|(total, speed)| (total - done) / speed);
                    let left = left
                        .filter(|secs| *secs >= 1.0)
                        .map(|secs| format!(", {} left", duration(secs)));
                    let text = format!(
                        "{name}: {}{of}{}{}",
                        bytes(done),
                        pace.unwrap_or_default(),
                        left.unwrap_or_default(),
                    );
                    view! {
                        <progress aria-label="loading" max=total.unwrap_or(1.0) value=done></progress>
                        <span>{text}</span>
                        <button id="cancel-loading" on:click=move |_| page.act(Action::CancelLoading)>
                            "Cancel"
                        </button>
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

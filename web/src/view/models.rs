//! The menu of models: what is offered, kept, served with the page, and a person's own.

use leptos::prelude::*;

use super::{
    files::chosen_files,
    menu::{Details, close, close_by_itself},
};
use crate::{
    offered::{OFFERED, Offered},
    page_state::{Action, KeptModel, PageState},
    session::{numbers::bytes, recorded::QUESTIONS},
};

/// The button that says which model is there, and the menu below it.
#[component]
pub fn ModelMenu(
    /// State and actions.
    page: PageState,
) -> impl IntoView {
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
            None => name_of(QUESTIONS[session.question].model),
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
            <div class="sheet models">
                <p>{sizes}</p>
                <KeptModels page menu />
                <ListedModels page menu />
                <OfferedModels page menu />
                <OwnModel page menu />
                <button on:click=move |_| {
                    page.act(Action::OpenBuiltIn);
                    close(menu);
                }>"Back to the built-in solver"</button>
            </div>
        </details>
    }
}

/// What people call a model that a question is about.
fn name_of(model: &str) -> String {
    Offered::of_id(model)
        .map_or("solver", |own| own.name)
        .to_owned()
}

/// The models that the browser keeps.
#[component]
fn KeptModels(page: PageState, menu: Details) -> impl IntoView {
    let row = move |kept: KeptModel| {
        let KeptModel {
            name,
            address,
            n_bytes,
            is_whole,
        } = kept;
        let size = match is_whole {
            true => bytes(n_bytes),
            false => format!("a part of {}", bytes(n_bytes)),
        };
        let verb = match is_whole {
            true => "Open",
            false => "Go on",
        };
        let (label, title) = (short(&name), name.clone());
        view! {
            <li>
                <span class="grow" title=title>{label.clone()}</span>
                <span class="fact">{size}</span>
                <button
                    aria-label=format!("{verb} {label}")
                    on:click=move |_| {
                        page.act(Action::OpenAddress(name.clone()));
                        close(menu);
                    }
                >
                    {verb}
                </button>
                <button
                    class="quiet"
                    aria-label=format!("Delete {label} from this browser")
                    on:click=move |_| page.act(Action::ForgetKept(address.clone()))
                >
                    "Delete"
                </button>
            </li>
        }
    };
    view! {
        <Show when=move || page.kept.with(|kept| !kept.is_empty())>
            <p class="label">"Kept in this browser: opened without a network"</p>
            <ul class="rows" id="kept-models">
                {move || page.kept.get().into_iter().map(row).collect_view()}
            </ul>
        </Show>
    }
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

/// Models of the Hub, by one click.
#[component]
fn OfferedModels(page: PageState, menu: Details) -> impl IntoView {
    let row = move |offered: &Offered| {
        let Offered {
            name,
            id,
            megabytes,
            licence,
            ..
        } = *offered;
        view! {
            <li>
                <span class="grow" title=id>{name}</span>
                <span class="fact">{format!("{megabytes} MB, {licence}")}</span>
                <button
                    aria-label=format!("Fetch {name}")
                    on:click=move |_| {
                        page.act(Action::OpenAddress(id.to_owned()));
                        close(menu);
                    }
                >
                    "Fetch"
                </button>
            </li>
        }
    };
    view! {
        <p class="label">"From the Hugging Face Hub"</p>
        <ul class="rows" id="offered-models">{OFFERED.iter().map(row).collect_view()}</ul>
    }
}

/// A model by its name or address, or as files.
#[component]
fn OwnModel(page: PageState, menu: Details) -> impl IntoView {
    let address = RwSignal::new(String::new());
    view! {
        <form
            class="row"
            on:submit=move |event| {
                event.prevent_default();
                page.act(Action::OpenAddress(address.get()));
                close(menu);
            }
        >
            <input
                id="address"
                type="text"
                aria-label="A model of the Hub, or the address of a model or of a direction"
                placeholder="owner/model, or an address"
                prop:value=address
                on:input=move |event| address.set(event_target_value(&event))
            />
            <button>"Open"</button>
        </form>
        <p class="label">
            "Or from this machine: a GGUF file, or a folder with config.json, tokenizer.json and weights. Dropping it on the page does the same."
        </p>
        <div class="bar">
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
                "Choose files"
                <input
                    id="model-files"
                    type="file"
                    multiple
                    on:change=move |event| page.act(Action::OpenFiles(chosen_files(&event)))
                />
            </label>
        </div>
    }
}

/// The end of a name of the Hub or of an address: what tells it from others.
fn short(name: &str) -> String {
    let end = name.rsplit(['/', ':']).next().unwrap_or(name);
    end.trim_end_matches(".gguf").to_owned()
}

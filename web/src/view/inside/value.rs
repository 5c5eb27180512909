//! What is done at a cell: an operation, to which value, in which head.

use leptos::prelude::*;
use swivel_core::{Component, plan::Operation};

use crate::page_state::PageState;

/// Components that are looked for most, by the names that people have for them; the others follow by their own.
const COMMON: [(Component, &str); 3] = [
    (Component::BlockOutput, "residual stream"),
    (Component::AttentionOutput, "attention output"),
    (Component::MlpOutput, "MLP output"),
];

/// What people call a component.
pub fn component_name(component: Component) -> &'static str {
    let common = COMMON.iter().find(|(own, _)| *own == component);
    common.map_or(component.name(), |(_, name)| name)
}

/// Components whose values can be changed, the common ones first.
fn components() -> impl Iterator<Item = Component> {
    let is_common = |component: &Component| COMMON.iter().any(|(own, _)| own == component);
    let others = Component::ALL.into_iter().map(|(component, ..)| component);
    let common = COMMON.into_iter().map(|(component, _)| component);
    common.chain(others.filter(move |component| !is_common(component)))
}

/// What is done, to which value, in which head.
#[component]
pub fn ValueChoice(
    /// State and actions.
    page: PageState,
) -> impl IntoView {
    let is_per_head = move || page.component.get().is_per_head();
    // Lists are made anew only where they change: what an option listens to is not let go before the signal changes.
    let present = Memo::new(move |_| {
        let operation = page.operation.get();
        page.session.with(|session| {
            let present = components().filter(|component| session.has(*component));
            let present = present.filter(|component| operation.acts_at(component.at(0)));
            present.collect::<Vec<_>>()
        })
    });
    let n_heads = Memo::new(move |_| {
        let component = page.component.get();
        page.session.with(|session| session.n_heads_at(component))
    });
    view! {
        <span class="value-choice">
            <select
                class="operation"
                aria-label="operation"
                on:change=move |event| {
                    if let Ok(operation) = event_target_value(&event).parse::<&Operation>() {
                        // A value that it cannot be done to is not left chosen.
                        let component = page.component.get_untracked();
                        if !operation.acts_at(component.at(0)) {
                            page.component.set(Component::BlockOutput);
                            page.head.set(None);
                        }
                        page.operation.set(operation);
                    }
                }
            >
                {Operation::of_whole_values()
                    .map(|operation| {
                        view! {
                            <option
                                value=operation.name
                                title=operation.about
                                prop:selected=move || page.operation.get() == operation
                            >
                                {operation.verb}
                            </option>
                        }
                    })
                    .collect_view()}
            </select>
            " the "
            <select
                class="component"
                aria-label="component"
                on:change=move |event| {
                    if let Ok(component) = event_target_value(&event).parse::<Component>() {
                        page.component.set(component);
                        page.head.set(None);
                    }
                }
            >
                {move || present.get()
                    .into_iter()
                    .map(|component| {
                        view! {
                            <option
                                value=component.name()
                                prop:selected=move || page.component.get() == component
                            >
                                {component_name(component)}
                            </option>
                        }
                    })
                    .collect_view()}
            </select>
            <Show when=is_per_head>
                " of "
                <select
                    class="head"
                    aria-label="head"
                    on:change=move |event| page.head.set(event_target_value(&event).parse().ok())
                >
                    <option value="" prop:selected=move || page.head.get().is_none()>
                        "all heads"
                    </option>
                    {move || (0..n_heads.get())
                        .map(|head| {
                            view! {
                                <option
                                    value=head
                                    prop:selected=move || page.head.get() == Some(head)
                                >
                                    {format!("head {head}")}
                                </option>
                            }
                        })
                        .collect_view()}
                </select>
            </Show>
        </span>
    }
}

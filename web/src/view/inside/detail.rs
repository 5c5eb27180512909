//! The cell at the cursor: what stands there, and what can be done there.

use leptos::prelude::*;
use swivel_core::plan::Operation;

use super::{
    cell::capitalized,
    paint::describe,
    value::{ValueChoice, component_name},
};
use crate::{
    page_state::PageState,
    session::{Cursor, Picture, Side},
};

/// What stands at the cursor, and what can be done there.
#[component]
pub fn Detail(
    /// State and actions.
    page: PageState,
) -> impl IntoView {
    let text = move || {
        page.session.with(|session| {
            let Cursor { layer, position } = session.cursor;
            let row = match session.picture {
                Picture::Attention => session.head,
                _ => layer,
            };
            let token = session.look_at(Side::Base, position)?.quoted();
            let title = describe(session, row, position, page.metric.get()).title;
            Some((format!("layer {layer}, token {position} {token}"), title))
        })
    };
    let movable = Memo::new(move |_| {
        page.session.with(|session| {
            let cards = session.choices.cards.iter().enumerate();
            cards
                .filter(|(_, card)| {
                    card.direction.is_some() && card.place.site.layer == session.cursor.layer
                })
                .map(|(idx, card)| (idx, session.card_title(card)))
                .collect::<Vec<_>>()
        })
    });
    let action = move || {
        let operation = page.operation.get();
        let whole = if operation == Operation::INTERCHANGE {
            " whole"
        } else {
            ""
        };
        let head = page.head.get().map(|head| format!(" of head {head}"));
        format!(
            "{} the{whole} {}{}",
            capitalized(operation.verb),
            component_name(page.component.get()),
            head.unwrap_or_default()
        )
    };
    view! {
        <div class="detail" id="detail">
            <p aria-live="polite">
                {move || text().map(|(place, title)| view! { <strong>{place}</strong> " " {title} })}
            </p>
            <ValueChoice page />
            <button id="arm" on:click=move |_| page.arm()>
                {move || format!("{} here", action())}
            </button>

            {move || {
                movable
                    .get()
                    .into_iter()
                    .map(|(idx, title)| {
                        view! {
                            <button on:click=move |_| {
                                page.edit(move |session| session.move_card(idx, session.cursor.position));
                            }>{format!("Move “{title}” here")}</button>
                        }
                    })
                    .collect_view()
            }}
        </div>
    }
}

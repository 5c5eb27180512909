//! Attention: where the heads of a layer look from the chosen token.

use leptos::prelude::*;

use super::cell::{Painted, unknown};
use crate::{
    page_state::PageState,
    session::{
        Session, Shown,
        numbers::{probability, signed_share},
    },
};

/// Whose heads are shown.
#[component]
pub fn LayerChoice(
    /// State and actions.
    page: PageState,
) -> impl IntoView {
    let n_layers = Memo::new(move |_| page.session.with(Session::n_layers));
    view! {
        <label>
            "layer "
            <select
                id="attention-layer"
                on:change=move |event| {
                    let layer = event_target_value(&event).parse().unwrap_or(0);
                    page.edit(move |session| session.cursor.layer = layer);
                }
            >
                {move || (0..n_layers.get())
                    .map(|layer| {
                        view! {
                            <option
                                value=layer
                                prop:selected=move || {
                                    page.session.with(|s| s.cursor.layer == layer)
                                }
                            >
                                {layer}
                            </option>
                        }
                    })
                    .collect_view()}
            </select>
        </label>
    }
}

/// A head's cell as it is painted.
pub fn paint(session: &Session, head: usize, position: usize) -> Painted {
    let Some((from, rows)) = &session.attention else {
        return unknown("not computed yet");
    };
    let base = rows.base.get(head).and_then(|row| row.get(position));
    let Some(base) = base.copied() else {
        return unknown("a later token: attention looks back only");
    };
    let intervened = rows
        .intervened
        .as_ref()
        .and_then(|rows| rows.get(head)?.get(position).copied())
        .unwrap_or(base);
    let (text, value) = match session.shown {
        Shown::Base => (probability(base), base),
        Shown::Intervened => (probability(intervened), intervened),
        Shown::Difference => (signed_share(intervened - base), intervened - base),
    };
    Painted {
        text: match text.trim_start_matches(['+', '−']) {
            ".00" => "·".to_owned(),
            _ => text,
        },
        title: format!(
            "head {head} looks here from token {}: base {}, intervened {}",
            from.position,
            probability(base),
            probability(intervened)
        ),
        value,
        is_armed: position == from.position && head == session.head,
        is_cursor: head == session.head && position == from.position,
        ..Painted::default()
    }
}

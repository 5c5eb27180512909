//! The cells as a table with a cursor: layers, or heads, by tokens.

use leptos::{ev::KeyboardEvent, html, prelude::*};

use super::{
    cell::cell_view,
    learned::pick as pick_learned,
    paint::{paint, written},
};
use crate::{
    page_state::PageState,
    session::{
        Cursor, Look, Picture, Session, Shown, Side,
        fit::{Columns, Fit},
    },
    view::scroll::show_inside,
};

/// Cells that a page can hold without becoming slow; of longer prompts the last tokens are shown.
const MOST_CELLS: usize = 6000;

/// Rows of the picture from the top, each with its name and its number.
fn rows(session: &Session) -> Vec<(String, usize)> {
    match session.picture {
        Picture::Attention => (0..session.n_heads())
            .map(|head| (format!("head {head}"), head))
            .collect(),
        Picture::Learned(_) => {
            let layers = session
                .learned()
                .map(|(_, map)| session.learned_layers(map));
            (layers.unwrap_or_default().into_iter())
                .map(|layer| (format!("layer {layer}"), layer))
                .collect()
        }
        _ => (0..session.n_layers())
            .rev()
            .map(|layer| (format!("layer {layer}"), layer))
            .collect(),
    }
}

/// Tokens of the picture, and how many before them are not shown.
fn positions(session: &Session) -> (Vec<usize>, usize) {
    let mut positions = match session.learned() {
        Some((_, map)) => map.positions(),
        None => (0..session.choices.base.ids.len()).collect(),
    };
    let n_hidden = (positions.len()).saturating_sub(MOST_CELLS / rows(session).len().max(1));
    positions.drain(..n_hidden);
    (positions, n_hidden)
}

/// Row and token of the cell under the cursor.
fn cursor(session: &Session) -> (usize, usize) {
    let Cursor { layer, position } = match session.learned() {
        Some((_, map)) => map.cursor,
        None => session.cursor,
    };
    match session.picture {
        Picture::Attention => (session.head, position),
        _ => (layer, position),
    }
}

/// Columns of the picture: the tokens that stand below them.
fn columns(session: &Session) -> Vec<(usize, Look)> {
    let look = |position: usize| match session.learned() {
        Some((_, map)) => session.learned_token(map, position),
        None => session.look_at(Side::Base, position).unwrap_or_default(),
    };
    let (positions, _) = positions(session);
    (positions.into_iter())
        .map(|position| (position, look(position)))
        .collect()
}

/// The picture.
#[component]
pub fn Grid(
    /// State and actions.
    page: PageState,
) -> impl IntoView {
    let row_names = Memo::new(move |_| page.session.with(rows));
    // One for all rows: a card is checked as a plan each time it is asked for.
    let written = Memo::new(move |_| page.session.with(written));
    let columns = Memo::new(move |_| page.session.with(columns));
    let n_columns = Memo::new(move |_| columns.with(Vec::len));
    let fit = Memo::new(move |_| Fit::of(row_names.with(Vec::len), n_columns.get()));
    let is_signed = move || {
        page.session
            .with(|s| s.picture != Picture::Attention || s.shown == Shown::Difference)
    };
    let active = move || {
        let (row, position) = page.session.with(cursor);
        format!("cell-{row}-{position}")
    };
    let pick = move |row: usize, position: usize| {
        if page
            .session
            .with_untracked(|session| session.learned().is_some())
        {
            let layer = row;
            pick_learned(page, Cursor { layer, position });
            return;
        }
        page.edit(move |session| {
            session.cursor.position = position;
            match session.picture {
                Picture::Attention => session.head = row,
                _ => session.cursor.layer = row,
            }
        });
    };
    let on_key = move |event: KeyboardEvent| on_key(page, &event);
    let hidden = move || page.session.with(|session| positions(session).1);
    let frame = NodeRef::<html::Div>::new();
    let place = Memo::new(move |_| page.session.with(|s| (cursor(s), s.choices.base.ids.len())));
    Effect::new(move |_| {
        // Read, not only tracked: a memo that nobody reads is never computed.
        place.get();
        if let Some(frame) = frame.get() {
            show_inside(&frame, ".cursor");
        }
    });
    view! {
        {move || {
            (hidden() > 0)
                .then(|| view! { <p class="hint">{format!("the first {} tokens are not shown", hidden())}</p> })
        }}
        <div class="scroll" class:low=move || fit.get().is_low node_ref=frame>
            <table
                class="grid"
                class:plain=move || !is_signed()
                class:even=move || fit.get().columns != Columns::Roomy
                class:narrow=move || fit.get().columns == Columns::Narrow
                style:--columns=move || n_columns.get().to_string()
                role="grid"
                id="grid"
                tabindex="0"
                aria-label="layers and tokens; arrow keys move, Enter swaps there"
                aria-activedescendant=active
                on:keydown=on_key
            >
                <tbody>
                    {move || {
                        row_names
                            .get()
                            .into_iter()
                            .map(|(name, row)| {
                                let cells = Memo::new(move |_| {
                                    let metric = page.metric.get();
                                    page.session
                                        .with(|session| {
                                            let (positions, _) = positions(session);
                                            written.with(|written| {
                                                (positions.into_iter())
                                                    .map(|position| (position, paint(session, written, row, position, metric)))
                                                    .collect::<Vec<_>>()
                                            })
                                        })
                                });
                                view! {
                                    <tr>
                                        <th scope="row">{name}</th>
                                        {move || {
                                            let fit = fit.get();
                                            cells
                                                .get()
                                                .into_iter()
                                                .map(|(position, painted)| cell_view(row, position, painted, fit, pick))
                                                .collect_view()
                                        }}
                                    </tr>
                                }
                            })
                            .collect_view()
                    }}
                </tbody>
                <tfoot>
                    <tr>
                        <th></th>
                        {move || {
                            columns
                                .get()
                                .into_iter()
                                .map(|(position, look)| {
                                    let title = format!("token {position}, {}", look.quoted());
                                    view! {
                                        <th scope="col" title=title>
                                            <span>
                                                <code>{fit.get().shown(&look.text)}</code>
                                                <span class="at">{position}</span>
                                            </span>
                                        </th>
                                    }
                                })
                                .collect_view()
                        }}
                    </tr>
                </tfoot>
            </table>
        </div>
    }
}

fn on_key(page: PageState, event: &KeyboardEvent) {
    let (rows, columns) = match event.key().as_str() {
        "ArrowUp" => (1, 0),
        "ArrowDown" => (-1, 0),
        "ArrowLeft" => (0, -1),
        "ArrowRight" => (0, 1),
        "Home" => (0, isize::MIN / 2),
        "End" => (0, isize::MAX / 2),
        "Enter" | " " => {
            event.prevent_default();
            let learned = |session: &Session| Some(session.learned()?.1.cursor);
            match page.session.with_untracked(learned) {
                Some(place) => pick_learned(page, place),
                None => page.arm(),
            }
            return;
        }
        _ => return,
    };
    event.prevent_default();
    let moved = |from: usize, by: isize, n: usize| {
        let to = (from as isize).saturating_add(by);
        to.clamp(0, n as isize - 1) as usize
    };
    page.edit(move |session| {
        if session.learned().is_some() {
            session.move_in_map(rows, columns);
            return;
        }
        let n_tokens = session.choices.base.ids.len().max(1);
        session.cursor.position = moved(session.cursor.position, columns, n_tokens);
        match session.picture {
            // Heads are listed downwards, layers upwards.
            Picture::Attention => session.head = moved(session.head, -rows, session.n_heads()),
            _ => session.cursor.layer = moved(session.cursor.layer, rows, session.n_layers()),
        }
    });
}

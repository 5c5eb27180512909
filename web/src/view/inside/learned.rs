//! A sweep result: how well each of its cells works; a click switches a cell on.

use leptos::prelude::*;
use swivel_core::sweep::{Cell, Method};

use super::cell::{Painted, capitalized, unknown};
use crate::{
    page_state::PageState,
    session::{
        Cursor, Session,
        learned::{FacetChoice, OpenedSweep},
        numbers::score,
    },
    view::directions::SUSPECT,
};

/// What the table's columns hold.
const COLUMNS: [&str; 9] = [
    "layer",
    "token",
    "text",
    "how often it works",
    "a random one does",
    "shuffled labels",
    "whole vector",
    "label's probability",
    "switch",
];

/// Puts the cursor on a cell and switches it on or off.
pub fn pick(page: PageState, place: Cursor) {
    page.try_edit(move |session| session.toggle_learned(place));
}

/// A cell as it is painted.
pub fn paint(session: &Session, place: Cursor) -> Painted {
    let Some((map_idx, map)) = session.learned() else {
        return Painted::default();
    };
    let is_cursor = map.cursor == place;
    let Some((idx, cell)) = map.find(place).zip(map.cell(place)) else {
        return Painted {
            is_cursor,
            ..unknown("not computed")
        };
    };
    let is_best = map.best() == Some(idx);
    let flag = if cell.beats_whole_vector() { "!" } else { "" };
    Painted {
        text: format!("{}{flag}", score(cell.iia)),
        title: describe(session, map, cell, is_best),
        value: map.share(cell),
        is_armed: session.is_learned_on(map_idx, idx),
        is_best,
        is_cursor,
        ..Painted::default()
    }
}

/// What the cell's learned basis spans.
fn subspace(cell: &Cell) -> &'static str {
    match &cell.basis {
        Some(basis) if basis.rank() > 1 => "subspace",
        _ => "direction",
    }
}

/// A cell in words.
fn describe(session: &Session, map: &OpenedSweep, cell: &Cell, is_best: bool) -> String {
    let what = match map.result.facts().method {
        Method::Das => format!("a learned {}", subspace(cell)),
        Method::Interchange => "the whole value of the source".to_owned(),
        Method::Zero => "zero".to_owned(),
        Method::Mean => "the mean of the source runs".to_owned(),
    };
    let mut text = format!(
        "{what} works on {} of {} pairs",
        score(cell.iia),
        map.result.facts().test_pairs
    );
    if let Some(controls) = &cell.controls {
        let [random, full] = [controls.random, controls.full].map(score);
        text += &format!("; a random one on {random}, the whole vector on {full}");
        if let Some(shuffled) = controls.shuffled {
            text += &format!(", one of shuffled labels on {}", score(shuffled));
        }
    }
    if cell.beats_whole_vector() {
        text += &format!("; it {SUSPECT}");
    }
    if is_best {
        text += "; the best cell";
    }
    match session.learned_problem(map, cell) {
        Some(problem) => format!("{text}. Cannot be switched on: {problem}"),
        None => text,
    }
}

/// What is shown of it, and how much of it there is.
#[component]
pub fn LearnedControls(
    /// State and actions.
    page: PageState,
    /// True if the numbers stand in a table.
    is_table: RwSignal<bool>,
) -> impl IntoView {
    let facets = Memo::new(move |_| {
        let facets = page
            .session
            .with(|s| s.learned().map(|(_, map)| map.facets()));
        facets.unwrap_or_default()
    });
    let caption = Memo::new(move |_| page.session.with(|s| Some(s.learned()?.1.caption())));
    let has_other_prompts = Memo::new(move |_| {
        let other = |s: &Session| Some(s.has_other_prompts(s.learned()?.1));
        page.session.with(|s| other(s) == Some(true))
    });
    view! {
        {move || {
            facets.get().into_iter().map(|choice| view! { <FacetSelect page choice /> }).collect_view()
        }}
        <span class="fact" id="map-caption">
            {caption}
        </span>
        <Show when=move || has_other_prompts.get()>
            <button id="example-pair" on:click=move |_| page.try_edit(Session::load_example_pair)>
                "Load its example pair"
            </button>
        </Show>
        <button
            id="learned-table"
            aria-pressed=move || is_table.get().to_string()
            on:click=move |_| is_table.update(|on| *on = !*on)
        >
            "As a table"
        </button>
        <button id="close-map" on:click=move |_| page.edit(Session::close_map)>
            "Close this sweep result"
        </button>
    }
}

/// What should be known about it, above its cells.
#[component]
pub fn LearnedWarnings(
    /// State and actions.
    page: PageState,
) -> impl IntoView {
    let warnings = Memo::new(move |_| {
        page.session
            .with(|s| Some(s.learned_warnings(s.learned()?.1)))
            .unwrap_or_default()
    });
    view! {
        <div id="map-warnings">
            {move || {
                warnings
                    .get()
                    .into_iter()
                    .map(|text| view! { <p class="hint">"△ " {text}</p> })
                    .collect_view()
            }}
        </div>
    }
}

#[component]
fn FacetSelect(page: PageState, choice: FacetChoice) -> impl IntoView {
    let FacetChoice {
        facet,
        name,
        values,
        current,
    } = choice;
    view! {
        <label>
            {name} " "
            <select
                id=format!("map-{name}")
                on:change=move |event| {
                    let value = event_target_value(&event).parse().unwrap_or(0);
                    page.edit(move |session| session.choose_facet(facet, value));
                }
            >
                {values
                    .into_iter()
                    .enumerate()
                    .map(|(idx, text)| {
                        view! {
                            <option value=idx selected=idx == current>
                                {text}
                            </option>
                        }
                    })
                    .collect_view()}
            </select>
        </label>
    }
}

/// What stands at the cursor, and its switch.
#[component]
pub fn LearnedDetail(
    /// State and actions.
    page: PageState,
) -> impl IntoView {
    let text = move || {
        page.session.with(|session| {
            let (_, map) = session.learned()?;
            let Cursor { layer, position } = map.cursor;
            let token = session.learned_token(map, position).quoted();
            Some((
                format!("layer {layer}, token {position} {token}"),
                paint(session, map.cursor).title,
            ))
        })
    };
    // What the switch does, where the cell can be switched.
    let switch = Memo::new(move |_| {
        page.session.with(|session| {
            let (map_idx, map) = session.learned()?;
            let idx = map.find(map.cursor)?;
            let cell = map.cell(map.cursor)?;
            if session.learned_problem(map, cell).is_some() {
                return None;
            }
            Some(match (session.is_learned_on(map_idx, idx), &cell.basis) {
                (true, _) => "Remove it".to_owned(),
                (false, Some(_)) => format!("Swap this {}", subspace(cell)),
                (false, None) => {
                    format!("{} the whole value here", capitalized(map.operation().verb))
                }
            })
        })
    });
    view! {
        <div class="detail" id="detail">
            <p aria-live="polite">
                {move || text().map(|(place, title)| view! { <strong>{place}</strong> " " {title} })}
            </p>
            {move || {
                switch
                    .get()
                    .map(|text| {
                        view! {
                            <button
                                id="arm"
                                on:click=move |_| {
                                    let place = page.session.with(|s| Some(s.learned()?.1.cursor));
                                    if let Some(place) = place {
                                        pick(page, place);
                                    }
                                }
                            >
                                {text}
                            </button>
                        }
                    })
            }}
        </div>
    }
}

/// Its numbers, for reading and copying.
#[component]
pub fn LearnedTable(
    /// State and actions.
    page: PageState,
) -> impl IntoView {
    let lines = Memo::new(move |_| page.session.with(lines));
    view! {
        <div class="scroll">
            <table class="numbers" id="learned-numbers">
                <thead>
                    <tr>{COLUMNS.map(|name| view! { <th scope="col">{name}</th> })}</tr>
                </thead>
                <tbody>
                    {move || {
                        lines
                            .get()
                            .into_iter()
                            .map(|(place, texts, mark)| {
                                view! {
                                    <tr>
                                        {texts.map(|text| view! { <td>{text}</td> })}
                                        <td>
                                            {match mark {
                                                None => view! { <span></span> }.into_any(),
                                                Some(mark) => {
                                                    view! {
                                                        <button class="quiet" on:click=move |_| pick(page, place)>
                                                            {mark}
                                                        </button>
                                                    }
                                                        .into_any()
                                                }
                                            }}
                                        </td>
                                    </tr>
                                }
                            })
                            .collect_view()
                    }}
                </tbody>
            </table>
        </div>
    }
}

/// Place, texts and button of each row.
fn lines(session: &Session) -> Vec<(Cursor, [String; 8], Option<&'static str>)> {
    let Some((map_idx, map)) = session.learned() else {
        return Vec::new();
    };
    let dash = || "–".to_owned();
    let mut lines = Vec::new();
    for layer in session.learned_layers(map) {
        for position in map.positions() {
            let place = Cursor { layer, position };
            let token = session.learned_token(map, position).text;
            let found = map.find(place).zip(map.cell(place));
            let score_of = |value: Option<f64>| value.map_or_else(dash, score);
            let controls = found.and_then(|(_, cell)| cell.controls.as_ref());
            let texts = [
                layer.to_string(),
                position.to_string(),
                token,
                found.map_or("not computed".to_owned(), |(idx, cell)| {
                    match map.best() == Some(idx) {
                        true => format!("{} best", score(cell.iia)),
                        false => score(cell.iia),
                    }
                }),
                score_of(controls.map(|controls| controls.random)),
                score_of(controls.and_then(|controls| controls.shuffled)),
                score_of(controls.map(|controls| controls.full)),
                found.map_or_else(dash, |(_, cell)| {
                    let [before, after] = cell.metrics.probability.map(score);
                    format!("{before} → {after}")
                }),
            ];
            let mark = found.and_then(|(idx, cell)| {
                let is_possible = session.learned_problem(map, cell).is_none();
                is_possible.then(|| match session.is_learned_on(map_idx, idx) {
                    true => "Remove",
                    false => "Swap",
                })
            });
            lines.push((place, texts, mark));
        }
    }
    lines
}

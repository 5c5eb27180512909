//! The map of an operation at every cell: its controls, its cells, and its numbers as a table.

use leptos::prelude::*;

use super::{
    cell::{Painted, unknown},
    choices::Choice,
    value::ValueChoice,
};
use crate::{
    page_state::PageState,
    session::{
        Cursor, Session,
        map::Metric,
        numbers::{probability, signed_share},
    },
};

const METRICS: [(Metric, &str); 3] = [
    (Metric::Recovered, "recovered share"),
    (Metric::Difference, "logit difference, nats"),
    (Metric::Probability, "probability"),
];

/// What is scanned, how far it is, and what the cells say.
#[component]
pub fn MapControls(
    /// State and actions.
    page: PageState,
    /// True if the numbers stand in a table.
    is_table: RwSignal<bool>,
) -> impl IntoView {
    let is_running = move || {
        page.session
            .with(|session| session.map.as_ref().is_some_and(|map| map.is_running))
    };
    let progress = move || {
        let left = page.seconds_left.get()?;
        page.session.with(|session| {
            let map = session.map.as_ref()?;
            let percent = 100.0 * map.progress();
            Some(match map.is_running {
                true => format!("{percent:.0} %, {left:.0} s left"),
                false if percent >= 100.0 => "done".to_owned(),
                false => format!("stopped at {percent:.0} %"),
            })
        })
    };
    // What takes no time needs no click.
    Effect::new(move |_| {
        let at = (page.component.get(), page.head.get());
        let operation = page.operation.get();
        if page
            .session
            .with(|session| session.wants_small_map(operation, at))
        {
            page.scan();
        }
    });
    let scan = move |_| match is_running() {
        true => page.edit(Session::stop_map),
        false => page.scan(),
    };
    view! {
        <ValueChoice page />
        <button id="scan" class="strong" on:click=scan>
            {move || if is_running() { "Stop" } else { "Scan" }}
        </button>
        <span class="fact" id="scan-progress">{progress}</span>
        <Choice
            name="metric"
            values=&METRICS
            current=page.metric.into()
            choose=move |metric| page.metric.set(metric)
        />
        <button
            id="map-table"
            aria-pressed=move || is_table.get().to_string()
            on:click=move |_| is_table.update(|on| *on = !*on)
        >
            "As a table"
        </button>
    }
}

/// A cell as it is painted.
pub fn paint(session: &Session, cell: Cursor, metric: Metric) -> Painted {
    let Some(map) = &session.map else {
        return unknown("press Scan");
    };
    if !session.reaches_the_answer(map.component.at(cell.layer), cell.position) {
        return unknown("the answer does not depend on it");
    }
    match map.cell(cell.layer, cell.position) {
        None => unknown("not computed"),
        Some(found) => {
            let value = map.value(found, metric);
            Painted {
                text: metric.text(value),
                title: format!(
                    "recovered share {}, answer {} {}",
                    signed_share(map.value(found, Metric::Recovered)),
                    session.look(found.top).text,
                    probability(found.probability)
                ),
                value: (value / map.full_scale(metric)).clamp(-1.0, 1.0),
                ..Painted::default()
            }
        }
    }
}

/// The numbers of the map, for reading and copying.
#[component]
pub fn MapTable(
    /// State and actions.
    page: PageState,
) -> impl IntoView {
    let lines = Memo::new(move |_| {
        let metric = page.metric.get();
        page.session.with(|session| {
            let n_tokens = session.choices.base.ids.len();
            let all = (0..session.n_layers()).rev();
            all.flat_map(|layer| (0..n_tokens).map(move |position| (layer, position)))
                .filter_map(|(layer, position)| {
                    let map = session.map.as_ref()?;
                    let cell = map.cell(layer, position)?;
                    Some([
                        layer.to_string(),
                        position.to_string(),
                        session.look(session.choices.base.ids[position]).text,
                        metric.text(map.value(cell, metric)),
                        session.look(cell.top).text,
                        probability(cell.probability),
                    ])
                })
                .collect::<Vec<_>>()
        })
    });
    view! {
        <div class="scroll">
            <table class="numbers" id="map-numbers">
                <thead>
                    <tr>
                        {["layer", "token", "text", "value", "answer", "probability"]
                            .map(|name| view! { <th scope="col">{name}</th> })}
                    </tr>
                </thead>
                <tbody>
                    {move || {
                        lines
                            .get()
                            .into_iter()
                            .map(|line| view! { <tr>{line.map(|text| view! { <td>{text}</td> })}</tr> })
                            .collect_view()
                    }}
                </tbody>
            </table>
        </div>
    }
}

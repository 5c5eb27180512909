//! The flip table: what the direction that is on does in many pairs.

use leptos::prelude::*;

use super::{directions::SUSPECT, keep::Keep};
use crate::{
    page_state::{Action, PageState},
    session::{
        Session,
        flips::{FlipTable, N_PAIRS, Swap},
        kept::Kept,
        numbers::{duration, nats, probability},
    },
};

/// What each swap is called, and what it must do.
const SHARES: [(Swap, &str, &str); 3] = [
    (
        Swap::Direction,
        "the direction",
        "answered as they should be, once its number is swapped",
    ),
    (
        Swap::Whole,
        "the whole vector",
        "control: everything that the model has there; should work",
    ),
    (
        Swap::Random,
        "a random one",
        "control: a random subspace of the same rank; must fail",
    ),
];

/// A row as it is shown.
#[derive(Clone, PartialEq)]
struct Row {
    idx: usize,
    is_right: bool,
    should_turn: bool,
    base: String,
    source: String,
    before: String,
    after: String,
    wanted: String,
    margin: String,
}

fn rows(session: &Session) -> Vec<Row> {
    let Some(flips) = &session.flips else {
        return Vec::new();
    };
    let row = |idx: usize| {
        let row = &flips.rows[idx];
        let [before, after] = row.answers?;
        let margin = row.margins[0]?;
        Some(Row {
            idx,
            is_right: margin > 0.0,
            should_turn: row.should_turn(),
            base: session.text_of(&row.prompts.base),
            source: session.text_of(&row.prompts.source),
            before: session.look(before).quoted(),
            after: session.look(after).quoted(),
            wanted: session.look(row.label).quoted(),
            margin: nats(margin),
        })
    };
    flips.sorted().into_iter().filter_map(row).collect()
}

/// A share above the table.
#[derive(Clone, PartialEq)]
struct Head {
    name: &'static str,
    about: &'static str,
    share: String,
    interval: String,
}

fn heads(flips: &FlipTable) -> Vec<Head> {
    let head = |(swap, name, about): (Swap, &'static str, &'static str)| {
        let count = flips.count(swap);
        let [low, high] = count.bounds().map(|value| probability(value as f32));
        Head {
            name,
            about,
            share: format!("{} of {}", count.n_right, count.n),
            interval: format!("{} ({low} to {high})", probability(count.share() as f32)),
        }
    };
    SHARES.map(head).to_vec()
}

/// The button, the shares, the pairs.
#[component]
pub fn FlipPanel(
    /// State and actions.
    page: PageState,
) -> impl IntoView {
    let with = move |of: fn(&FlipTable) -> bool| {
        page.session
            .with(|session| session.flips.as_ref().is_some_and(of))
    };
    let is_running = move || with(|flips| flips.is_running);
    let has_table = Memo::new(move |_| with(|_| true));
    let can_try = move || {
        page.session
            .with(|session| session.direction_to_try().is_some())
    };
    let rows = Memo::new(move |_| page.session.with(rows));
    let shares = Memo::new(move |_| page.session.with(|s| s.flips.as_ref().map(heads)));
    let progress = move || {
        let [done, unknown, all] = page.session.with(|session| {
            let flips = session.flips.as_ref()?;
            let [done, unknown] = flips.n_done();
            Some([done, unknown, flips.rows.len()])
        })?;
        let left = page.table_seconds_left.get().filter(|_| is_running());
        let left = left.map_or(String::new(), |secs| {
            format!(", {} left", duration(secs.max(1.0)))
        });
        let unknown = match unknown {
            0 => String::new(),
            n => format!(
                "; {n} left out, since the model answers one of the two prompts wrong by itself"
            ),
        };
        Some(format!("{done} of {all} pairs{left}{unknown}"))
    };
    let go = move |_| match is_running() {
        true => page.edit(Session::stop_flips),
        false => page.act(Action::TryPairs),
    };
    let title = move || {
        page.session
            .with(|session| session.flips.as_ref().map(|flips| flips.title.clone()))
    };
    view! {
        <section class="flips" id="flips" aria-labelledby="flips-title">
            <h2 id="flips-title">
                "How often does it work?"
                <Show when=move || has_table.get()>
                    <Keep page kept=Kept::Flips of="#flips" />
                </Show>
            </h2>
            <div class="bar">
                <button
                    id="try-pairs"
                    class="strong"
                    disabled=move || !is_running() && !can_try()
                    on:click=go
                >
                    {move || match (is_running(), has_table.get()) {
                        (true, _) => "Stop".to_owned(),
                        (false, false) => format!("Try it on {N_PAIRS} pairs"),
                        (false, true) => format!("Try it on {N_PAIRS} others"),
                    }}
                </button>
                <span class="fact" id="flips-progress" role="status">
                    {move || match has_table.get() {
                        true => progress(),
                        false => {
                            Some(
                                "New sentences of the question, the direction that is on swapped in each, beside its controls."
                                    .to_owned(),
                            )
                        }
                    }}
                </span>
            </div>
            <Show when=move || has_table.get()>
                <dl class="scores" id="flips-shares">
                    {move || {
                        shares
                            .get()
                            .unwrap_or_default()
                            .into_iter()
                            .map(|head| {
                                view! {
                                    <div title=head.about>
                                        <dt>{head.name}</dt>
                                        <dd>{head.share}</dd>
                                        <dd class="fact">{head.interval}</dd>
                                    </div>
                                }
                            })
                            .collect_view()
                    }}
                </dl>
                <Show when=move || with(FlipTable::is_suspect)>
                    <p class="hint">"△ " {title} " " {SUSPECT}</p>
                </Show>
                <div class="scroll flips-rows">
                    <table>
                        <thead>
                            <tr>
                                <th scope="col">"right?"</th>
                                <th scope="col">"base"</th>
                                <th scope="col">"source"</th>
                                <th scope="col">"answer"</th>
                                <th
                                    scope="col"
                                    title="logit of the answer that is wanted less that of the likeliest other: how clearly it went right"
                                >
                                    "by, nats"
                                </th>
                            </tr>
                        </thead>
                        <tbody>
                            <For
                                each=move || rows.get()
                                key=|row| row.idx
                                children=move |row| row_view(page, row)
                            />
                        </tbody>
                    </table>
                </div>
            </Show>
        </section>
    }
}

fn row_view(page: PageState, row: Row) -> impl IntoView {
    let idx = row.idx;
    let open = move |_| page.try_edit(move |session| session.open_flip(idx));
    let (mark, said) = match (row.is_right, row.should_turn) {
        (true, true) => ("✓", "turned"),
        (true, false) => ("✓", "stayed, as it should"),
        (false, true) => ("✕", "did not turn"),
        (false, false) => ("✕", "turned, and should not"),
    };
    let title = format!("{said}; wanted: {}", row.wanted);
    view! {
        <tr class:wrong=!row.is_right title=title>
            <td>
                {mark} <span class="for-readers">{said}</span>
            </td>
            <th scope="row">
                <button class="quiet" on:click=open title="Show this pair on the page">
                    {row.base}
                </button>
            </th>
            <td>{row.source}</td>
            <td>{format!("{} → {}", row.before, row.after)}</td>
            <td class="number">{row.margin}</td>
        </tr>
    }
}

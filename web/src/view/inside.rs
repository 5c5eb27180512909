//! Inside the model: a layers x tokens picture of the logit lens, of the interchange map, of attention, or of a learned map.

use leptos::{ev::KeyboardEvent, html, prelude::*};
use swivel_core::{
    Component, Site,
    plan::{OPERATIONS, Operation},
};
use swivel_engine::protocol::Cell;

use super::{
    learned::{self, LearnedControls, LearnedDetail, LearnedTable, LearnedWarnings},
    probability,
};
use crate::{
    app::App,
    browser::window,
    session::{
        Cursor, Picture, Session, Shown,
        map::{Metric, nats, signed, signed_share},
        visible,
    },
};

/// Cells that a page can hold without becoming slow; of longer prompts the last tokens are shown.
const MOST_CELLS: usize = 6000;
/// Nats at which the colour of the lens is nearly full.
const LENS_SCALE: f32 = 4.0;
/// Components that are looked for most, by the names that people have for them; the others follow by their own.
const COMMON: [(Component, &str); 3] = [
    (Component::BlockOutput, "residual stream"),
    (Component::AttentionOutput, "attention output"),
    (Component::MlpOutput, "MLP output"),
];
const PICTURES: [(Picture, &str); 3] = [
    (Picture::Lens, "Logit lens"),
    (Picture::Map, "Interchange map"),
    (Picture::Attention, "Attention"),
];
const SHOWN: [(Shown, &str); 3] = [
    (Shown::Base, "base"),
    (Shown::Intervened, "intervened"),
    (Shown::Difference, "difference"),
];
const METRICS: [(Metric, &str); 3] = [
    (Metric::Recovered, "recovered share"),
    (Metric::Difference, "logit difference, nats"),
    (Metric::Probability, "probability"),
];

/// The picture and its controls.
#[component]
pub fn Inside(
    /// State and actions.
    app: App,
) -> impl IntoView {
    let picture = move || app.session.with(|session| session.picture);
    let show = move |value: Picture| {
        app.edit(|session| session.picture = value);
    };
    let is_table = RwSignal::new(false);
    view! {
        <section class="inside" aria-label="Inside the model">
            <h2>"Inside"</h2>
            <div class="bar">
                <PictureChoice app choose=show />
                <Show when=move || matches!(picture(), Picture::Lens | Picture::Attention)>
                    <Choice
                        name="shown"
                        values=&SHOWN
                        current=Signal::derive(move || app.session.with(|session| session.shown))
                        choose=move |shown| app.edit(|session| session.shown = shown)
                    />
                </Show>
                <Show when=move || picture() == Picture::Map>
                    <MapControls app is_table />
                </Show>
                <Show when=move || matches!(picture(), Picture::Learned(_))>
                    <LearnedControls app is_table />
                </Show>
                <Show when=move || picture() == Picture::Attention>
                    <label>
                        "layer "
                        <select
                            id="attention-layer"
                            on:change=move |event| {
                                let layer = event_target_value(&event).parse().unwrap_or(0);
                                app.edit(|session| session.cursor.layer = layer);
                            }
                        >
                            {move || {
                                (0..app.session.with(Session::n_layers))
                                    .map(|layer| {
                                        view! {
                                            <option
                                                value=layer
                                                prop:selected=move || {
                                                    app.session.with(|s| s.cursor.layer == layer)
                                                }
                                            >
                                                {layer}
                                            </option>
                                        }
                                    })
                                    .collect_view()
                            }}
                        </select>
                    </label>
                </Show>
            </div>
            <LearnedWarnings app />
            <Show
                when=move || is_table.get() && matches!(picture(), Picture::Map | Picture::Learned(_))
                fallback=move || view! { <Grid app /> }
            >
                <Show
                    when=move || picture() == Picture::Map
                    fallback=move || view! { <LearnedTable app /> }
                >
                    <MapTable app />
                </Show>
            </Show>
            <Legend app />
            <Show
                when=move || matches!(picture(), Picture::Learned(_))
                fallback=move || view! { <Detail app /> }
            >
                <LearnedDetail app />
            </Show>
        </section>
    }
}

/// The pictures: three that are always there, and the maps that were opened.
#[component]
fn PictureChoice(
    app: App,
    choose: impl Fn(Picture) + Copy + Send + Sync + 'static,
) -> impl IntoView {
    let tabs = Memo::new(move |_| app.session.with(learned::tabs));
    let button = move |picture: Picture, id: String, label: String| {
        let is_shown = move || app.session.with(|session| session.picture == picture);
        let title = label.clone();
        view! {
            <button
                id=id
                title=title
                aria-pressed=move || is_shown().to_string()
                on:click=move |_| choose(picture)
            >
                {label}
            </button>
        }
    };
    view! {
        <div class="choices" role="group" aria-label="picture">
            {PICTURES
                .iter()
                .map(|(picture, label)| {
                    button(*picture, format!("picture-{}", id_of(label)), (*label).to_owned())
                })
                .collect_view()}
        </div>
        <Show when=move || tabs.with(|tabs| !tabs.is_empty())>
            <div class="choices maps" role="group" aria-label="opened maps">
                {move || {
                    tabs.get()
                        .into_iter()
                        .map(|(idx, label)| {
                            button(Picture::Learned(idx), format!("picture-learned-{idx}"), label)
                        })
                        .collect_view()
                }}
            </div>
        </Show>
    }
}

/// The first word of a label, as ids have it.
fn id_of(label: &str) -> String {
    label
        .split([' ', ','])
        .next()
        .unwrap_or(label)
        .to_lowercase()
}

/// One of several values, as buttons.
#[component]
fn Choice<T: Copy + PartialEq + Send + Sync + 'static>(
    name: &'static str,
    values: &'static [(T, &'static str)],
    current: Signal<T>,
    choose: impl Fn(T) + Copy + 'static,
) -> impl IntoView {
    view! {
        <div class="choices" role="group" aria-label=name>
            {values
                .iter()
                .map(|(value, label)| {
                    let value = *value;
                    view! {
                        <button
                            id=format!("{name}-{}", id_of(label))
                            aria-pressed=move || (current.get() == value).to_string()
                            on:click=move |_| choose(value)
                        >
                            {*label}
                        </button>
                    }
                })
                .collect_view()}
        </div>
    }
}

/// What people call a component.
fn component_name(component: Component) -> &'static str {
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

/// Does what is chosen at the cell under the cursor.
fn arm(app: App) {
    let operation = app.operation.get_untracked();
    let at = (app.component.get_untracked(), app.head.get_untracked());
    app.edit(|session| session.arm_cell(operation, at, session.cursor));
}

/// What is done, to which value, in which head.
#[component]
fn ValueChoice(app: App) -> impl IntoView {
    let of_whole_values = || OPERATIONS.iter().filter(|operation| !operation.is_learned);
    let is_per_head = move || app.component.get().is_per_head();
    view! {
        <span class="value-choice">
            <select
                class="operation"
                aria-label="operation"
                on:change=move |event| {
                    if let Ok(operation) = event_target_value(&event).parse() {
                        app.operation.set(operation);
                    }
                }
            >
                {of_whole_values()
                    .map(|operation| {
                        view! {
                            <option
                                value=operation.name
                                title=operation.about
                                prop:selected=move || app.operation.get() == operation
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
                        app.component.set(component);
                        app.head.set(None);
                    }
                }
            >
                {components()
                    .map(|component| {
                        view! {
                            <option
                                value=component.name()
                                prop:selected=move || app.component.get() == component
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
                    on:change=move |event| app.head.set(event_target_value(&event).parse().ok())
                >
                    <option value="" prop:selected=move || app.head.get().is_none()>
                        "all heads"
                    </option>
                    {move || {
                        (0..app.session.with(Session::n_heads))
                            .map(|head| {
                                view! {
                                    <option
                                        value=head
                                        prop:selected=move || app.head.get() == Some(head)
                                    >
                                        {format!("head {head}")}
                                    </option>
                                }
                            })
                            .collect_view()
                    }}
                </select>
            </Show>
        </span>
    }
}

#[component]
fn MapControls(app: App, is_table: RwSignal<bool>) -> impl IntoView {
    let is_running = move || {
        app.session
            .with(|session| session.map.as_ref().is_some_and(|map| map.is_running))
    };
    let progress = move || {
        app.session.with(|session| {
            let map = session.map.as_ref()?;
            let left = map.seconds_left(window::now())?;
            let percent = 100.0 * map.progress();
            Some(match map.is_running {
                true => format!("{percent:.0} %, {left:.0} s left"),
                false if percent >= 100.0 => "done".to_owned(),
                false => format!("stopped at {percent:.0} %"),
            })
        })
    };
    let scan = move |_| {
        app.edit(|session| match &mut session.map {
            Some(map) if map.is_running => map.is_running = false,
            _ => {
                let at = (app.component.get_untracked(), app.head.get_untracked());
                session.start_map(app.operation.get_untracked(), at, window::now());
            }
        });
    };
    view! {
        <ValueChoice app />
        <button id="scan" class="strong" on:click=scan>
            {move || if is_running() { "Stop" } else { "Scan" }}
        </button>
        <span class="fact" id="scan-progress">{progress}</span>
        <Choice
            name="metric"
            values=&METRICS
            current=app.metric.into()
            choose=move |metric| app.metric.set(metric)
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
#[derive(Clone, PartialEq, Default)]
pub struct Painted {
    /// What stands in it.
    pub text: String,
    /// What it says when pointed at.
    pub title: String,
    /// −1..1 on the signed scale, 0..1 on the plain one.
    pub value: f32,
    /// Not a number.
    pub is_unknown: bool,
    /// Switched on.
    pub is_armed: bool,
    /// Can be changed by what is switched on.
    pub is_in_cone: bool,
    /// Works best.
    pub is_best: bool,
    /// Under the cursor.
    pub is_cursor: bool,
}

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

/// Sites and base tokens that the cards that are on write to.
fn written(session: &Session) -> Vec<(Site, usize)> {
    let n_tokens = session.choices.base.ids.len();
    let places = session.active().map(|card| card.place);
    places
        .filter_map(|place| Some((place.site, place.position.resolve(n_tokens).ok()?)))
        .collect()
}

fn paint(
    session: &Session,
    written: &[(Site, usize)],
    row: usize,
    position: usize,
    metric: Metric,
) -> Painted {
    let cell = Cursor {
        layer: row,
        position,
    };
    let painted = describe(session, row, position, metric);
    if matches!(session.picture, Picture::Attention | Picture::Learned(_)) {
        return painted;
    }
    let is_here = |(site, at): &(Site, usize)| (site.layer, *at) == (row, position);
    let is_reached = |(site, at): &(Site, usize)| site.reaches(*at, row, position);
    Painted {
        is_armed: written.iter().any(is_here),
        is_in_cone: written.iter().any(is_reached),
        is_cursor: session.cursor == cell,
        ..painted
    }
}

/// A cell without its marks.
fn describe(session: &Session, row: usize, position: usize, metric: Metric) -> Painted {
    let cell = Cursor {
        layer: row,
        position,
    };
    match session.picture {
        Picture::Attention => paint_attention(session, row, position),
        Picture::Map => paint_map(session, cell, metric),
        Picture::Lens => paint_lens(session, cell),
        Picture::Learned(_) => learned::paint(session, cell),
    }
}

fn paint_lens(session: &Session, cell: Cursor) -> Painted {
    let Some((base, intervened)) = session.lens_cell(cell) else {
        return unknown("not computed yet");
    };
    let likeliest = |name: &str, cell: &Cell| {
        format!(
            "{name}: {} {} ({} nats towards the source's answer)",
            visible(&session.token(cell.top)),
            probability(cell.probability),
            nats(cell.difference)
        )
    };
    let title = format!(
        "{}. {}",
        likeliest("base", &base),
        likeliest("intervened", &intervened)
    );
    let leaning = |cell: &Cell| (cell.difference / LENS_SCALE).tanh();
    let top = |cell: &Cell| visible(&session.token(cell.top));
    let (text, value) = match session.shown {
        Shown::Base => (top(&base), leaning(&base)),
        Shown::Intervened => (top(&intervened), leaning(&intervened)),
        Shown::Difference => {
            let change = intervened.difference - base.difference;
            let text = match change.abs() < 0.05 {
                true => "·".to_owned(),
                false => nats(change),
            };
            (text, (change / LENS_SCALE).tanh())
        }
    };
    Painted {
        text,
        title,
        value,
        ..Painted::default()
    }
}

fn paint_map(session: &Session, cell: Cursor, metric: Metric) -> Painted {
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
                text: signed(value, metric),
                title: format!(
                    "recovers {} of the difference, answer {} {}",
                    signed_share(map.value(found, Metric::Recovered)),
                    visible(&session.token(found.top)),
                    probability(found.probability)
                ),
                value: (value / map.full_scale(metric)).clamp(-1.0, 1.0),
                ..Painted::default()
            }
        }
    }
}

fn paint_attention(session: &Session, head: usize, position: usize) -> Painted {
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

/// A cell without a number, and why.
pub fn unknown(title: &str) -> Painted {
    Painted {
        text: String::new(),
        title: title.to_owned(),
        is_unknown: true,
        ..Painted::default()
    }
}

/// Columns of the picture: what stands below them.
fn columns(session: &Session) -> Vec<(usize, String)> {
    let text = |position: usize| match session.learned() {
        Some((_, map)) => session.learned_token(map, position),
        None => visible(&session.choices.base.pieces[position]),
    };
    let (positions, _) = positions(session);
    (positions.into_iter())
        .map(|position| (position, text(position)))
        .collect()
}

#[component]
fn Grid(app: App) -> impl IntoView {
    let row_names = Memo::new(move |_| app.session.with(rows));
    // One for all rows: a card is checked as a plan each time it is asked for.
    let written = Memo::new(move |_| app.session.with(written));
    let columns = Memo::new(move |_| app.session.with(columns));
    let is_signed = move || {
        app.session
            .with(|s| s.picture != Picture::Attention || s.shown == Shown::Difference)
    };
    let active = move || {
        let (row, position) = app.session.with(cursor);
        format!("cell-{row}-{position}")
    };
    let pick = move |row: usize, position: usize| {
        if app
            .session
            .with_untracked(|session| session.learned().is_some())
        {
            let layer = row;
            learned::pick(app, Cursor { layer, position });
            return;
        }
        app.edit(|session| {
            session.cursor.position = position;
            match session.picture {
                Picture::Attention => session.head = row,
                _ => session.cursor.layer = row,
            }
        });
    };
    let on_key = move |event: KeyboardEvent| on_key(app, &event);
    let hidden = move || app.session.with(|session| positions(session).1);
    let frame = NodeRef::<html::Div>::new();
    let place = Memo::new(move |_| app.session.with(|s| (cursor(s), s.choices.base.ids.len())));
    Effect::new(move |_| {
        // Read, not only tracked: a memo that nobody reads is never computed.
        place.get();
        if let Some(frame) = frame.get() {
            window::show_inside(&frame, ".cursor");
        }
    });
    view! {
        {move || {
            (hidden() > 0)
                .then(|| view! { <p class="hint">{format!("the first {} tokens are not shown", hidden())}</p> })
        }}
        <div class="scroll" node_ref=frame>
            <table
                class="grid"
                class:plain=move || !is_signed()
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
                                    let metric = app.metric.get();
                                    app.session
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
                                            cells
                                                .get()
                                                .into_iter()
                                                .map(|(position, painted)| cell_view(row, position, painted, pick))
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
                                .map(|(position, piece)| {
                                    view! {
                                        <th scope="col" title=format!("token {position}")>
                                            <code>{piece}</code>
                                            <span class="at">{position}</span>
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

fn cell_view(
    row: usize,
    position: usize,
    painted: Painted,
    pick: impl Fn(usize, usize) + Copy + 'static,
) -> impl IntoView {
    let Painted {
        text,
        title,
        value,
        is_unknown,
        is_armed,
        is_in_cone,
        is_best,
        is_cursor,
    } = painted;
    let share = format!("{:.0}%", 100.0 * value.abs().min(1.0));
    view! {
        <td
            role="gridcell"
            id=format!("cell-{row}-{position}")
            class:unknown=is_unknown
            class:negative=value < 0.0
            class:armed=is_armed
            class:cone=is_in_cone
            class:best=is_best
            class:cursor=is_cursor
            style:--share=share
            title=title
            on:click=move |_| pick(row, position)
        >
            {text}
        </td>
    }
}

fn on_key(app: App, event: &KeyboardEvent) {
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
            match app.session.with_untracked(learned) {
                Some(place) => learned::pick(app, place),
                None => arm(app),
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
    app.edit(|session| {
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

#[component]
fn Legend(app: App) -> impl IntoView {
    let text = move || {
        app.session.with(|session| match (session.picture, session.shown) {
            (Picture::Lens, Shown::Difference) => {
                "How much the swap moves what each layer would answer, in nats towards the source's answer."
            }
            (Picture::Lens, _) => {
                "What each layer would answer if it were the last: blue leans to the base's answer, orange to the source's."
            }
            (Picture::Map, _) => {
                "How far the operation at that one cell moves the answer: orange towards the source, blue away from it."
            }
            (Picture::Attention, _) => {
                "Where each head looks from the chosen token, 0 to 1. Click a column to look from there."
            }
            (Picture::Learned(_), _) => {
                "How often a swap of that cell gives the right answer, 0 to 1; the further above chance, the stronger the colour. Click a cell to switch it on alone, again to remove it."
            }
        })
    };
    let is_learned = move || app.session.with(|s| s.learned().is_some());
    view! {
        <p class="legend">
            {text} " "
            <Show when=move || app.session.with(|s| s.picture != Picture::Attention)>
                <span class="sample armed"></span>
                " switched on "
                <Show
                    when=is_learned
                    fallback=|| view! { <span class="sample cone"></span> " can change" }
                >
                    <span class="sample best"></span>
                    "\u{a0}best"
                </Show>
            </Show>
        </p>
    }
}

/// What stands at the cursor, and what can be done there.
#[component]
fn Detail(app: App) -> impl IntoView {
    let text = move || {
        app.session.with(|session| {
            let Cursor { layer, position } = session.cursor;
            let row = match session.picture {
                Picture::Attention => session.head,
                _ => layer,
            };
            let piece = session.choices.base.pieces.get(position)?;
            let title = describe(session, row, position, app.metric.get()).title;
            Some((
                format!("layer {layer}, token {position} “{}”", visible(piece)),
                title,
            ))
        })
    };
    let movable = Memo::new(move |_| {
        app.session.with(|session| {
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
        let operation = app.operation.get();
        let whole = if operation == Operation::INTERCHANGE {
            " whole"
        } else {
            ""
        };
        let (first, rest) = operation.verb.split_at(1);
        let head = app.head.get().map(|head| format!(" of head {head}"));
        format!(
            "{}{rest} the{whole} {}{}",
            first.to_uppercase(),
            component_name(app.component.get()),
            head.unwrap_or_default()
        )
    };
    view! {
        <div class="detail" id="detail">
            <p aria-live="polite">
                {move || text().map(|(place, title)| view! { <strong>{place}</strong> " " {title} })}
            </p>
            <ValueChoice app />
            <button
                id="arm"
                on:click=move |_| arm(app)
            >
                {move || format!("{} here", action())}
            </button>

            {move || {
                movable
                    .get()
                    .into_iter()
                    .map(|(idx, title)| {
                        view! {
                            <button on:click=move |_| {
                                app.edit(|session| session.move_card(idx, session.cursor.position));
                            }>{format!("Move “{title}” here")}</button>
                        }
                    })
                    .collect_view()
            }}
        </div>
    }
}

/// The numbers of the map, for reading and copying.
#[component]
fn MapTable(app: App) -> impl IntoView {
    let lines = Memo::new(move |_| {
        let metric = app.metric.get();
        app.session.with(|session| {
            let n_tokens = session.choices.base.ids.len();
            let all = (0..session.n_layers()).rev();
            all.flat_map(|layer| (0..n_tokens).map(move |position| (layer, position)))
                .filter_map(|(layer, position)| {
                    let map = session.map.as_ref()?;
                    let cell = map.cell(layer, position)?;
                    Some([
                        layer.to_string(),
                        position.to_string(),
                        visible(&session.choices.base.pieces[position]),
                        signed(map.value(cell, metric), metric),
                        visible(&session.token(cell.top)),
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

//! The two prompts: text, tokens, remarks.

use leptos::{html, prelude::*};
use swivel_core::question::{Piece, programs::EXAMPLES};

use super::scroll::show_inside;
use crate::{
    page_state::{Action, PageState},
    session::{
        Look, Session, Side,
        lint::{Level, Note},
    },
};

/// Characters of a token that its chip shows.
const MOST_CHARS: usize = 24;
/// Demonstrations that a new pair can have.
const SHOTS: [usize; 5] = [0, 1, 3, 5, 10];

/// Both prompts and what is done with them.
#[component]
pub fn Prompts(
    /// State and actions.
    page: PageState,
) -> impl IntoView {
    let notes = Memo::new(move |_| page.session.with(Session::notes));
    let has_task = move || page.session.with(Session::has_task);
    let has_program = move || page.session.with(Session::has_program);
    let is_live = move || page.session.with(|session| session.model.is_some());
    view! {
        <section class="prompts" aria-label="Prompts">
            <div class="pair">
                <PromptBox page side=Side::Base />
                <PromptBox page side=Side::Source />
            </div>
            <div class="bar">
                <Show when=has_task>
                    <button
                        id="new-pair"
                        disabled=move || !is_live()
                        on:click=move |_| page.act(Action::NewPair)
                    >
                        "New pair"
                    </button>
                </Show>
                <Show when=has_program>
                    <label>
                        "with "
                        <select
                            id="shots"
                            on:change=move |event| {
                                let shots = event_target_value(&event).parse().unwrap_or(0);
                                page.edit(move |session| session.shots = shots);
                            }
                        >
                            {SHOTS
                                .map(|shots| {
                                    view! {
                                        <option
                                            value=shots
                                            prop:selected=move || page.session.with(|s| s.shots == shots)
                                        >
                                            {shots}
                                        </option>
                                    }
                                })}
                        </select>
                        " demonstrations"
                    </label>
                    <label>
                        "Examples "
                        <select
                            id="examples"
                            disabled=move || !is_live()
                            on:change=move |event| {
                                let idx: Option<usize> = event_target_value(&event).parse().ok();
                                if let Some(example) = idx.and_then(|idx| EXAMPLES.get(idx)) {
                                    page.try_edit(|session| session.open_example(example));
                                }
                            }
                        >
                            <option value="">"choose …"</option>
                            {EXAMPLES
                                .iter()
                                .enumerate()
                                .map(|(idx, example)| {
                                    view! { <option value=idx>{example.title}</option> }
                                })
                                .collect_view()}
                        </select>
                    </label>
                </Show>
                <button
                    id="swap"
                    on:click=move |_| page.edit(Session::swap_prompts)
                >
                    "Swap base and source"
                </button>
                <ul class="notes" id="notes">
                    {move || notes.get().into_iter().map(|note| note_view(page, note)).collect_view()}
                </ul>
            </div>
        </section>
    }
}

fn note_view(page: PageState, note: Note) -> impl IntoView {
    let (class, mark) = match note.level {
        Level::Good => ("good", "✓ "),
        Level::Hint => ("hint", "△ "),
        Level::Problem => ("bad", "✕ "),
    };
    let fix = note.fix.map(|fix| {
        let mend = move |_| {
            let text = fix.text.clone();
            page.try_edit(move |session| session.type_prompt(fix.side, &text));
        };
        view! {
            <button class="quiet" on:click=mend>
                {fix.label}
            </button>
        }
    });
    view! {
        <li class=class>
            {mark} {note.text} {fix}
        </li>
    }
}

/// A token as the strip shows it.
#[derive(Clone, PartialEq)]
struct Chip {
    look: Look,
    id: u32,
    position: usize,
    /// The tokenizer put it there, nobody typed it.
    is_added: bool,
    /// The slot of the task that wrote it.
    slot: Option<String>,
    /// What is done at it, and by which cards; nothing where nothing is.
    marks: Vec<[String; 2]>,
}

/// A prompt with its tokens.
#[component]
fn PromptBox(page: PageState, side: Side) -> impl IntoView {
    let text = Memo::new(move |_| page.session.with(|s| s.choices.prompt(side).text.clone()));
    let chips = Memo::new(move |_| page.session.with(|session| chips(session, side)));
    let label = match side {
        Side::Base => "Base: the run that is changed",
        Side::Source => "Source: the run that values come from",
    };
    let rows = move || text.with(|text| text.split('\n').count().clamp(1, 12));
    let can_point = move || page.session.with(|session| session.can_point(side));
    let strip = NodeRef::<html::Ol>::new();
    Effect::new(move |_| {
        chips.track();
        if let Some(strip) = strip.get() {
            show_inside(&strip, ".marked");
        }
    });
    view! {
        <div class=format!("prompt {}", side.name())>
            <label for=side.name()>{label}</label>
            <textarea
                id=side.name()
                spellcheck="false"
                autocomplete="off"
                autocapitalize="off"
                rows=rows
                prop:value=text
                on:input=move |event| {
                    let text = event_target_value(&event);
                    page.try_edit(move |session| session.type_prompt(side, &text));
                }
            ></textarea>
            <Slots page side />
            <ol
                node_ref=strip
                class="tokens"
                class:can-point=can_point
                id=format!("{}-tokens", side.name())
                aria-label=format!("{} tokens", side.name())
            >
                {move || {
                    chips
                        .get()
                        .into_iter()
                        .map(|chip| {
                            let mut title = title(&chip);
                            let mut done: Vec<String> = Vec::new();
                            for [what, by] in chip.marks {
                                title += &format!("; {what}: {by}");
                                if !done.contains(&what) {
                                    done.push(what);
                                }
                            }
                            let is_marked = !done.is_empty();
                            let position = chip.position;
                            view! {
                                <li
                                    class:marked=is_marked
                                    title=title
                                    on:click=move |_| page.edit(move |session| session.point_at(side, position))
                                >
                                    <span class="at">{position}</span>
                                    <span class=format!("piece {}", chip.look.sort.name())>{chip.look.shortened(MOST_CHARS)}</span>
                                    {chip.is_added.then(|| view! { <span class="at">"added"</span> })}
                                    {chip.slot.map(|slot| view! { <span class="at slot">{slot}</span> })}
                                    {is_marked.then(|| view! { <span class="mark">{done.join(" + ")}</span> })}
                                </li>
                            }
                        })
                        .collect_view()
                }}
            </ol>
        </div>
    }
}

/// What else the slots of a prompt of the task may say.
#[component]
fn Slots(page: PageState, side: Side) -> impl IntoView {
    let pieces = Memo::new(move |_| page.session.with(|session| session.pieces(side)));
    let is_live = move || page.session.with(|session| session.model.is_some());
    let menu = move |(slot, piece): (usize, Piece)| {
        let current = piece.text.clone();
        let options = piece.choices.into_iter().map(move |word| {
            let is_current = word == current;
            view! {
                <option value=word.clone() selected=is_current>
                    {word.clone()}
                </option>
            }
        });
        view! {
            <label>
                <span class="at">{piece.slot}</span>
                <select
                    id=format!("{}-slot-{slot}", side.name())
                    disabled=move || !is_live()
                    on:change=move |event| {
                        let word = event_target_value(&event);
                        page.try_edit(move |session| session.choose_word(side, slot, &word));
                    }
                >
                    {options.collect_view()}
                </select>
            </label>
        }
    };
    view! {
        <Show when=move || pieces.with(|pieces| !pieces.is_empty())>
            <div class="slots" role="group" aria-label=format!("Words of the {}", side.name())>
                {move || {
                    let slots = pieces.get().into_iter().filter(|piece| !piece.slot.is_empty());
                    slots.enumerate().map(menu).collect_view()
                }}
            </div>
        </Show>
    }
}

/// What a chip says when it is pointed at, before its marks.
fn title(chip: &Chip) -> String {
    let mut title = format!("token {}, id {}", chip.position, chip.id);
    if chip.look.shortened(MOST_CHARS) != chip.look.text {
        title += &format!(": {}", chip.look.text);
    }
    if !chip.look.about.is_empty() {
        title += &format!("; {}", chip.look.about);
    }
    if chip.is_added {
        title += "; the tokenizer puts it before every text";
    }
    title
}

fn chips(session: &Session, side: Side) -> Vec<Chip> {
    let prompt = session.choices.prompt(side);
    let mut marks = vec![Vec::new(); prompt.ids.len()];
    for card in session.active() {
        let (position, what) = match side {
            Side::Base => (card.place.position, card.operation.verb),
            Side::Source if card.operation.reads_token() => (card.source_position, "read"),
            Side::Source => continue,
        };
        if let Ok(position) = position.resolve(prompt.ids.len()) {
            let by = format!("{}, {}", session.card_title(card), card.place.site);
            marks[position].push([what.to_owned(), by]);
        }
    }
    let is_added = session.is_added(side);
    let slots = session.slot_names(side);
    let tokens = prompt.ids.iter().zip(marks).zip(slots).enumerate();
    tokens
        .map(|(position, ((id, marks), slot))| Chip {
            look: session.look_at(side, position).unwrap_or_default(),
            id: *id,
            position,
            is_added: is_added && position == 0,
            slot,
            marks,
        })
        .collect()
}

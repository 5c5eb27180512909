//! The text that the model goes on with, by itself and under interventions.

use leptos::prelude::*;
use swivel_core::generate::{Acts, Sampling};
use swivel_engine::protocol::NextToken;

use super::inside::choices::Choice;
use crate::{
    page_state::PageState,
    session::{
        Session,
        numbers::probability,
        text::{N_TOKENS, Wish},
    },
};

const ACTS: [(Acts, &str); 3] = [
    (Acts::Prompt, "in the prompt"),
    (Acts::New, "at new tokens"),
    (Acts::Every, "everywhere"),
];
const CHOICES: [(bool, &str); 2] = [(false, "likeliest token"), (true, "drawn at random")];
/// Of tokens that are drawn.
const TEMPERATURE: f32 = 0.8;

/// A token of a text as it is shown.
#[derive(Clone, PartialEq)]
struct Piece {
    text: String,
    /// What else was likely.
    title: String,
}

/// A run of a text as it is shown.
#[derive(Clone, PartialEq)]
struct Run {
    pieces: Vec<Piece>,
    has_ended: bool,
}

fn run_of(session: &Session, run: usize) -> Option<Run> {
    let (tokens, has_ended) = session.run_of_text(run)?;
    let piece = |token: &NextToken| {
        let likeliest = token.likeliest.iter().map(|(id, p)| {
            let look = session.look(*id);
            format!("{} {}", look.quoted(), probability(*p))
        });
        Piece {
            text: session.token(token.id),
            title: likeliest.collect::<Vec<_>>().join("\n"),
        }
    };
    Some(Run {
        pieces: tokens.iter().map(piece).collect(),
        has_ended,
    })
}

/// How far the text is.
fn progress(session: &Session) -> Option<String> {
    let text = session.text.as_ref()?;
    let n = text.n_tokens();
    let rate = match text.ms > 0.0 {
        true => format!(", {:.1} tokens a second", n as f64 / text.ms * 1e3),
        false => String::new(),
    };
    Some(match text.is_running {
        true => format!("{n} of {N_TOKENS} tokens{rate}"),
        false => format!("{n} tokens{rate}"),
    })
}

/// Base and intervened text side by side.
#[component]
pub fn TextPanel(
    /// State and actions.
    page: PageState,
) -> impl IntoView {
    let acts = RwSignal::new(Acts::Prompt);
    let is_drawn = RwSignal::new(false);
    // Each drawn text is another one.
    let seed = StoredValue::new(0u64);
    let is_running = move || {
        page.session
            .with(|session| session.text.as_ref().is_some_and(|text| text.is_running))
    };
    let is_live = move || page.session.with(|session| session.model.is_some());
    let go = move |_| {
        if is_running() {
            return page.edit(Session::stop_text);
        }
        let sampling = match is_drawn.get_untracked() {
            true => Sampling::new(TEMPERATURE, None, None).unwrap_or(Sampling::GREEDY),
            false => Sampling::GREEDY,
        };
        let wish = Wish {
            acts: acts.get_untracked(),
            sampling,
            seed: seed.get_value(),
        };
        seed.update_value(|seed| *seed += 1);
        page.edit(move |session| session.start_text(wish));
    };
    let runs =
        [0, 1].map(|run| Memo::new(move |_| page.session.with(|session| run_of(session, run))));
    let has_text = move || runs[0].with(Option::is_some);
    let prompt = move || {
        page.session
            .with(|session| session.choices.base.text.clone())
    };
    let column = move |run: usize, name: &'static str| {
        view! {
            <div>
                <h3 class=name>{name}</h3>
                <p class="generated" id=format!("text-{name}")>
                    <span class="fact">{prompt}</span>
                    {move || {
                        let Run { pieces, has_ended } = runs[run].get()?;
                        let pieces = pieces
                            .into_iter()
                            .map(|piece| view! { <span title=piece.title>{piece.text}</span> })
                            .collect_view();
                        let end = has_ended.then(|| view! { <span class="fact">" (the end)"</span> });
                        Some(view! { {pieces} {end} })
                    }}
                </p>
            </div>
        }
    };
    view! {
        <section class="text" id="text" aria-labelledby="text-title">
            <h2 id="text-title">"Text"</h2>
            <div class="bar">
                <button id="go-on" class="strong" on:click=go disabled=move || !is_live()>
                    {move || match is_running() {
                        true => "Stop".to_owned(),
                        false => format!("Go on by {N_TOKENS} tokens"),
                    }}
                </button>
                <Choice
                    name="acts"
                    values=&ACTS
                    current=acts.into()
                    choose=move |own| acts.set(own)
                />
                <Choice
                    name="next"
                    values=&CHOICES
                    current=is_drawn.into()
                    choose=move |own| is_drawn.set(own)
                />
                <span class="fact" id="text-progress">
                    {move || page.session.with(progress)}
                </span>
            </div>
            <Show when=has_text>
                <div class="pair">
                    {column(0, "base")}
                    <Show when=move || {
                        runs[1].with(Option::is_some)
                    }>{column(1, "intervened")}</Show>
                </div>
            </Show>
        </section>
    }
}

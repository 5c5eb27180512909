//! The text that the model goes on with, by itself and under interventions.

use leptos::prelude::*;
use swivel_core::generate::{Acts, Sampling};
use swivel_engine::protocol::NextToken;

use super::{inside::choices::Choice, keep::Keep};
use crate::{
    page_state::PageState,
    session::{
        Session,
        kept::Kept,
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
/// How tokens are drawn: temperature, top-k, top-p; the first of each stands for what is usual.
const TEMPERATURES: [f32; 5] = [0.8, 0.3, 0.6, 1.0, 1.5];
const TOP_K: [Option<usize>; 5] = [None, Some(3), Some(10), Some(40), Some(100)];
const TOP_P: [Option<f32>; 5] = [None, Some(0.5), Some(0.8), Some(0.9), Some(0.95)];

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
    let chosen = [(); 3].map(|()| RwSignal::new(0));
    // Each drawn text is another one, unless a person says which.
    let seed = RwSignal::new(0u64);
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
            true => {
                let [temperature, k, p] = chosen.map(|own| own.get_untracked());
                let sampling = Sampling::new(TEMPERATURES[temperature], TOP_K[k], TOP_P[p]);
                sampling.unwrap_or(Sampling::GREEDY)
            }
            false => Sampling::GREEDY,
        };
        let wish = Wish {
            acts: acts.get_untracked(),
            sampling,
            seed: seed.get_untracked(),
        };
        if is_drawn.get_untracked() {
            seed.update(|seed| *seed = seed.wrapping_add(1));
        }
        page.edit(move |session| session.start_text(wish));
    };
    let runs =
        [0, 1].map(|run| Memo::new(move |_| page.session.with(|session| run_of(session, run))));
    let has_text = move || runs[0].with(Option::is_some);
    let prompt = move || {
        page.session
            .with(|session| session.choices.base.text.clone())
    };
    // New tokens at which the interventions act.
    let acts_at_new = move |run: usize| {
        let acts = page
            .session
            .with(|session| session.text.as_ref().map(|text| text.wish.acts));
        run == 1 && matches!(acts, Some(Acts::New | Acts::Every))
    };
    let column = move |run: usize, name: &'static str| {
        view! {
            <div>
                <h3 class=name>{name}</h3>
                <p class="generated" class:acting=move || acts_at_new(run) id=format!("text-{name}")>
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
            <h2 id="text-title">
                "Text" <Show when=has_text><Keep page kept=Kept::Text of="#text" /></Show>
            </h2>
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
                <Show when=move || is_drawn.get()>
                    <span class="draws">
                        {select("temperature", chosen[0], TEMPERATURES.map(|own| own.to_string()))}
                        {select("top-k", chosen[1], TOP_K.map(all_or))}
                        {select("top-p", chosen[2], TOP_P.map(all_or))} <label>
                            "seed "
                            <input
                                id="seed"
                                type="number"
                                min="0"
                                prop:value=move || seed.get().to_string()
                                on:change=move |event| {
                                    seed.set(event_target_value(&event).parse().unwrap_or(0));
                                }
                            />
                        </label>
                    </span>
                </Show>
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

/// A limit as a menu says it.
fn all_or<T: ToString>(limit: Option<T>) -> String {
    limit.map_or_else(|| "all".to_owned(), |limit| limit.to_string())
}

/// One of a few numbers.
fn select(name: &'static str, chosen: RwSignal<usize>, values: [String; 5]) -> impl IntoView {
    let options = values.into_iter().enumerate().map(|(idx, text)| {
        view! {
            <option value=idx selected=idx == chosen.get_untracked()>
                {text}
            </option>
        }
    });
    view! {
        <label>
            {name} " "
            <select
                id=name
                on:change=move |event| chosen.set(event_target_value(&event).parse().unwrap_or(0))
            >
                {options.collect_view()}
            </select>
        </label>
    }
}

//! One card an intervention: what it is, how well it works, a switch, a strength.

use leptos::prelude::*;
use swivel_core::{Place, Position, plan::Reads};

use super::files::chosen_files;
use crate::{
    page_state::{Action, PageState},
    session::{Card, Choices, Opened, Probe, Session, numbers::score},
};

/// Strengths of the slider's ends and its steps.
const STRENGTHS: [f32; 3] = [0.0, 2.0, 0.05];

/// What a direction is suspected of that does clearly better than the whole vector (Makelov et al. 2023,
/// <https://arxiv.org/abs/2311.17030>).
pub const SUSPECT: &str = "does clearly better than the whole vector: it may act through parts that the model does not use there";

/// The cards.
#[component]
pub fn Directions(
    /// State and actions.
    page: PageState,
) -> impl IntoView {
    let n_cards = Memo::new(move |_| page.session.with(|session| session.choices.cards.len()));
    view! {
        <section class="directions" aria-label="Directions">
            <h2>"Directions"</h2>
            {move || {
                (0..n_cards.get()).map(|idx| view! { <CardView page idx /> }).collect_view()
            }}
            <label class="button drop">
                "Open a direction, a subspace or a sweep result, or drop one on the page"
                <input
                    id="direction-file"
                    type="file"
                    accept=".safetensors"
                    multiple
                    on:change=move |event| page.act(Action::OpenFiles(chosen_files(&event)))
                />
            </label>
        </section>
    }
}

/// What a card says.
#[derive(Clone, PartialEq)]
struct Facts {
    title: String,
    place: String,
    /// How it came there.
    way: Option<String>,
    scores: Option<[String; 3]>,
    shuffled: Option<String>,
    unseen: Option<String>,
    /// True if it does clearly better than the whole vector.
    is_suspect: bool,
    learned: Option<String>,
    problem: Option<String>,
    warning: Option<String>,
    /// What opens the model that it was learned on, where that is another one.
    model_to_open: Option<String>,
    is_removable: bool,
}

fn facts(session: &Session, card: &Card) -> Facts {
    let direction = card.direction.and_then(|idx| session.directions.get(idx));
    let known = direction.map(|opened| &*opened.direction);
    let rank = known.map_or(String::new(), |known| {
        format!(", {}", known.size_in_words())
    });
    let reads = card.operation.reads_token();
    let place = match !reads || card.place.position == card.source_position {
        true => card.place.to_string(),
        false => match card.source_position {
            Position::LAST => format!("{} from the source's last", card.place),
            position => format!("{} from source {position}", card.place),
        },
    };
    let named = session.token_name(card);
    let named = named.map_or(String::new(), |name| format!(" (`{name}`)"));
    let learned = |opened: &Opened| {
        let facts = &opened.direction.facts;
        let pairs = facts.train_pairs.map(|n| format!(", {n} pairs"));
        let epochs = facts.epochs.map(|n| format!(", {n} epochs"));
        let probe = match opened.probe {
            Probe::Unknown => "not run again here yet",
            Probe::Same => "run again here: same answer",
            Probe::Different => "run again here: another answer",
        };
        let [pairs, epochs] = [pairs, epochs].map(Option::unwrap_or_default);
        let own = session.model.as_ref().map(|model| &model.sha256);
        let is_other = own != Some(&facts.model_sha256) && opened.probe == Probe::Same;
        let format = match is_other {
            true => ", there in another format",
            false => "",
        };
        format!("learned on {}{format}{pairs}{epochs}; {probe}", facts.model)
    };
    let problem = session.card_problem(card);
    Facts {
        title: session.card_title(card),
        place: format!("{place}{named}{rank}"),
        way: card.is_on.then(|| session.said_of_placing(card)).flatten(),
        scores: known.map(|known| {
            let controls = &known.facts.controls;
            [known.facts.iia, controls.random, controls.full].map(score)
        }),
        shuffled: known.and_then(|known| known.facts.controls.shuffled.map(score)),
        unseen: known.and_then(|known| Some(score(known.facts.measured.unseen.as_ref()?.iia))),
        is_suspect: known.is_some_and(|known| {
            let facts = &known.facts;
            facts.controls.are_beaten_by(facts.iia)
        }),
        learned: direction.map(learned),
        warning: match &problem {
            Some(_) => None,
            None => session
                .card_warning(card)
                .or_else(|| no_effect(session, card)),
        },
        problem,
        model_to_open: session.model_to_open(card),
        is_removable: direction.is_none_or(|opened| opened.origin.is_some()),
    }
}

/// The only card that is on, and nothing moves.
fn no_effect(session: &Session, card: &Card) -> Option<String> {
    if !card.is_on {
        return None;
    }
    let Place { site, position, .. } = card.place;
    let position = position.resolve(session.choices.base.ids.len());
    if position.is_ok_and(|position| !session.reaches_the_answer(site, position)) {
        return Some(format!(
            "has no effect: the answer does not depend on {site} there"
        ));
    }
    let (answer, _) = session.answer.as_ref().filter(|_| session.is_current)?;
    (session.active().count() == 1 && answer.kl.abs() < 1e-6)
        .then(|| "has no effect on this pair: base and source agree on what it swaps".to_owned())
}

#[component]
fn CardView(page: PageState, idx: usize) -> impl IntoView {
    let card = Memo::new(move |_| page.session.with(|s| s.choices.cards.get(idx).cloned()));
    let facts = Memo::new(move |_| {
        page.session.with(|session| {
            session
                .choices
                .cards
                .get(idx)
                .map(|card| facts(session, card))
        })
    });
    let is_on = move || card.with(|card| card.as_ref().is_some_and(|card| card.is_on));
    let strength = move || card.with(|card| card.as_ref().map_or(1.0, |card| card.strength));
    let factor = move || card.with(|card| card.as_ref().and_then(|card| card.factor));
    let is_random = move || {
        card.with(|card| {
            card.as_ref()
                .is_some_and(|card| card.operation.reads == Reads::Noise)
        })
    };
    let change = move |set: fn(&mut Card, f64), value: f64| {
        page.edit(move |session| {
            session.change(move |choices| {
                if let Some(card) = choices.cards.get_mut(idx) {
                    set(card, value);
                }
            });
        });
    };
    // What is no number goes, and what the card has comes back.
    let number = move |event: &web_sys::Event, shown: String| {
        let value = event_target_value(event).parse::<f64>().ok();
        let value = value.filter(|value| (*value as f32).is_finite());
        if value.is_none() {
            event_target::<web_sys::HtmlInputElement>(event).set_value(&shown);
        }
        value
    };
    let shown_factor = move || factor().map_or(String::new(), |factor| factor.to_string());
    let set_factor = move |event: web_sys::Event| {
        if let Some(value) = number(&event, shown_factor()) {
            change(|card, value| card.factor = Some(value as f32), value);
        }
    };
    let shown_seed = move || {
        let seed = card.with(|card| card.as_ref().map(|card| card.seed.to_string()));
        seed.unwrap_or_default()
    };
    let set_seed = move |event: web_sys::Event| {
        if let Some(value) = number(&event, shown_seed()) {
            change(|card, value| card.seed = value as u64, value);
        }
    };
    let text = move |get: fn(&Facts) -> String| {
        facts.with(|facts| facts.as_ref().map(get).unwrap_or_default())
    };
    let toggle = move |_| page.edit(move |session| session.toggle_card(idx));
    // The first movement is the change that undo takes back, the rest of the drag amends it.
    let is_dragging = StoredValue::new(false);
    let slide = move |event: web_sys::Event| {
        let value: f32 = event_target_value(&event).parse().unwrap_or(1.0);
        let set = move |choices: &mut Choices| {
            if let Some(card) = choices.cards.get_mut(idx) {
                card.strength = value;
            }
        };
        page.edit(move |session| match is_dragging.get_value() {
            true => session.amend(set),
            false => session.change(set),
        });
        is_dragging.set_value(true);
    };
    view! {
        <article class="card" class:on=is_on>
            <div class="card-head">
                <button
                    role="switch"
                    class="switch"
                    id=format!("switch-{idx}")
                    aria-checked=move || is_on().to_string()
                    aria-label=move || format!("swap {}", text(|facts| facts.title.clone()))
                    on:click=toggle
                >
                    <span class="knob"></span>
                </button>
                <div class="card-title">
                    <h3>{move || text(|facts| facts.title.clone())}</h3>
                    <p class="fact">{move || text(|facts| facts.place.clone())}</p>
                </div>
                <Show when=move || facts.with(|f| f.as_ref().is_some_and(|f| f.is_removable))>
                    <button class="quiet" on:click=move |_| page.edit(move |s| s.remove_card(idx))>
                        "Remove"
                    </button>
                </Show>
            </div>
            {move || {
                facts
                    .with(|facts| facts.as_ref().and_then(|f| f.way.clone()))
                    .map(|way| view! { <p class="fact way">{way}</p> })
            }}
            {move || {
                facts
                    .with(|facts| facts.as_ref().and_then(|facts| Some((facts.scores.clone()?, facts.shuffled.clone(), facts.unseen.clone()))))
                    .map(|([iia, random, full], shuffled, unseen)| {
                        view! {
                            <dl class="scores">
                                <div title="interchange intervention accuracy (IIA) on held-out pairs, 0..1">
                                    <dt>"how often it works"</dt>
                                    <dd>{iia}</dd>
                                </div>
                                {unseen
                                    .map(|unseen| {
                                        view! {
                                            <div title="on words that training did not see">
                                                <dt>"on unseen words"</dt>
                                                <dd>{unseen}</dd>
                                            </div>
                                        }
                                    })}
                                <div title="control: a random subspace of the same rank; must fail">
                                    <dt>"a random one does"</dt>
                                    <dd>{random}</dd>
                                </div>
                                {shuffled
                                    .map(|shuffled| {
                                        view! {
                                            <div title="control: learned on shuffled labels; must be worse">
                                                <dt>"shuffled labels"</dt>
                                                <dd>{shuffled}</dd>
                                            </div>
                                        }
                                    })}
                                <div title="control: the whole vector at the site; should work">
                                    <dt>"whole vector"</dt>
                                    <dd>{full}</dd>
                                </div>
                            </dl>
                        }
                    })
            }}
            <label class="slider">
                <span>"strength"</span>
                <input
                    type="range"
                    id=format!("strength-{idx}")
                    min=STRENGTHS[0]
                    max=STRENGTHS[1]
                    step=STRENGTHS[2]
                    list="strengths"
                    aria-label=move || format!("strength of {}", text(|facts| facts.title.clone()))
                    prop:value=move || strength().to_string()
                    on:input=slide
                    on:change=move |_| is_dragging.set_value(false)
                />
                <output>{move || format!("{:.2}", strength())}</output>
            </label>
            <Show when=move || factor().is_some()>
                <label class="number">
                    <span>"times"</span>
                    <input
                        type="number"
                        class="factor"
                        step="any"
                        aria-label=move || format!("factor of {}", text(|facts| facts.title.clone()))
                        prop:value=shown_factor
                        on:change=set_factor
                    />
                </label>
            </Show>
            <Show when=is_random>
                <label class="number">
                    <span>"seed"</span>
                    <input
                        type="number"
                        class="seed"
                        min="0"
                        step="1"
                        aria-label=move || format!("seed of {}", text(|facts| facts.title.clone()))
                        prop:value=shown_seed
                        on:change=set_seed
                    />
                </label>
            </Show>
            <p class="fact">{move || text(|facts| facts.learned.clone().unwrap_or_default())}</p>
            <Show when=move || facts.with(|f| f.as_ref().is_some_and(|f| f.is_suspect))>
                <p class="hint">"△ " {SUSPECT}</p>
            </Show>
            {move || {
                facts
                    .with(|facts| facts.as_ref().and_then(|f| f.problem.clone()))
                    .map(|text| view! { <p class="bad" role="alert">{text}</p> })
            }}
            {move || {
                facts
                    .with(|facts| facts.as_ref().and_then(|f| f.warning.clone()))
                    .map(|text| view! { <p class="hint">"△ " {text}</p> })
            }}
            {move || {
                facts
                    .with(|facts| facts.as_ref().and_then(|f| f.model_to_open.clone()))
                    .map(|model| {
                        let open = model.clone();
                        view! {
                            <button
                                class="own-model"
                                title=model
                                on:click=move |_| page.act(Action::OpenAddress(open.clone()))
                            >
                                "Open the model that it was learned on"
                            </button>
                        }
                    })
            }}
        </article>
    }
}

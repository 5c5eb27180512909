//! What the model says: the next token after base, intervened and source run.

use leptos::prelude::*;
use swivel_engine::protocol::{Answer, AnswerRow};

use super::keep::Keep;
use crate::{
    page_state::PageState,
    session::{
        Look, Session,
        kept::Kept,
        numbers::{milliseconds, nats, probability, signed_share},
    },
};

const RUNS: [&str; 3] = ["base", "intervened", "source"];
/// Probability from which a token has a row: below it, every digit that is shown is 0.
const SEEN: f32 = 0.005;

/// Characters of a token in its row, and in the sentence below the rows.
const MOST_CHARS: usize = 14;
const MOST_SAID: usize = 40;

/// What the panel shows.
#[derive(Clone, PartialEq)]
struct Said {
    rows: Vec<Row>,
    /// Base's, intervened's and source's answer.
    tops: [String; 3],
    is_flipped: bool,
    is_armed: bool,
    /// Another token is likelier than what counts as an answer.
    is_among_few: bool,
    /// It is known what a swap should do here.
    is_on_task: bool,
    moved: f32,
    /// Normalised logit difference; none where base and source answer alike.
    recovered: Option<f32>,
    kl: f32,
    cost: Option<String>,
    /// What a swap should answer, and whether it does.
    agrees: Option<(String, bool)>,
    /// Who says so.
    who: &'static str,
}

#[derive(Clone, PartialEq)]
struct Row {
    id: u32,
    look: Look,
    /// Another row shows the same text.
    is_twin: bool,
    logits: [f32; 3],
    probabilities: [f32; 3],
    is_top: [bool; 3],
    change: f32,
}

fn said(session: &Session) -> Option<Said> {
    let (answer, ms) = session.answer.as_ref()?;
    let is_armed = match session.is_recorded {
        // Before the model is there, its direction can be switched off, too.
        true => session.choices.cards.first().is_some_and(|card| card.is_on),
        false => session.active().next().is_some(),
    };
    let untouched = (session.is_recorded && !is_armed).then(|| answer.untouched());
    let answer = untouched.as_ref().unwrap_or(answer);
    let Answer {
        rows,
        top,
        differences: [base, intervened, source],
        kl,
        computed: [computed, whole],
        new_runs,
        ..
    } = answer;
    let is_seen = |row: &&AnswerRow| {
        let is_top = top.contains(&row.id);
        is_top || row.scores.iter().any(|score| score.probability >= SEEN)
    };
    let looks = (rows.iter().filter(is_seen)).map(|row| (row, session.look(row.id)));
    let looks: Vec<_> = looks.collect();
    let rows = looks.iter().map(|(row, look)| {
        let shown = look.shortened(MOST_CHARS);
        let twins = looks
            .iter()
            .filter(|(_, other)| other.shortened(MOST_CHARS) == shown);
        let [before, after, _] = row.scores.map(|score| score.probability);
        Row {
            id: row.id,
            logits: row.scores.map(|score| score.logit),
            look: look.clone(),
            is_twin: twins.count() > 1,
            probabilities: row.scores.map(|score| score.probability),
            is_top: top.map(|top| top == row.id),
            change: after - before,
        }
    });
    let is_whole = session.is_current || session.is_recorded;
    let agrees = session.is_as_expected(top[1]).filter(|_| is_whole);
    let agrees = agrees.and_then(|agrees| Some((session.expected()?, agrees)));
    Some(Said {
        rows: rows.collect(),
        tops: top.map(|id| session.look(id).shortened(MOST_SAID)),
        is_flipped: answer.is_flipped(),
        is_armed,
        is_among_few: (0..2).any(|run| {
            let probability = |row: &AnswerRow| row.scores[run].probability;
            let own = answer.rows.iter().find(|row| row.id == top[run]);
            let own = own.map_or(0.0, probability);
            answer.rows.iter().any(|row| probability(row) > own)
        }),
        is_on_task: session.is_on_task(),
        moved: intervened - base,
        recovered: ((source - base).abs() > 1e-3).then(|| (intervened - base) / (source - base)),
        kl: *kl,
        cost: is_armed.then(|| {
            if session.is_recorded {
                return "recorded from the model itself; once it is here, it answers anew".to_owned();
            }
            let runs = match new_runs {
                0 => "",
                1 => "one prompt was run, then ",
                _ => "both prompts were run, then ",
            };
            format!(
                "computed in {}: {runs}{computed} of {whole} layer × token cells again, since an intervention changes nothing before it",
                milliseconds(*ms)
            )
        }),
        agrees,
        who: match session.task() {
            Some(_) => "the rule of the question",
            None => "the program",
        },
    })
}

/// The table of answers and the sentence below it.
#[component]
pub fn AnswerPanel(
    /// State and actions.
    page: PageState,
) -> impl IntoView {
    let said = Memo::new(move |_| page.session.with(said));
    let refusal = move || page.session.with(|session| session.refusal.clone());
    view! {
        <section
            class="answer"
            id="answer"
            aria-label="What the model says"
            data-ms=move || {
                let ms = |session: &Session| session.answer.as_ref().map(|(_, ms)| *ms);
                page.session.with(|session| ms(session).filter(|_| session.is_current))
            }
        >
            <h2>"What the model says" <Keep page kept=Kept::Answer of="#answer" /></h2>
            {move || refusal().map(|cause| view! { <p class="bad" role="alert">{cause}</p> })}
            {move || match said.get() {
                Some(said) => table(said).into_any(),
                None => view! { <p id="verdict" role="status">"No answer: mend the prompts first."</p> }.into_any(),
            }}
        </section>
    }
}

fn table(said: Said) -> impl IntoView {
    let Said {
        rows,
        tops,
        is_flipped,
        is_armed,
        is_among_few,
        is_on_task,
        moved,
        recovered,
        kl,
        cost,
        agrees,
        who,
    } = said;
    let [base, intervened, _] = tops;
    let is_flip = is_armed && is_flipped && is_on_task;
    let sentence = match (is_armed, is_flipped) {
        (false, _) => {
            format!("The answer is {base}. Switch a direction on, or swap at a cell below.")
        }
        (true, true) if is_flip => format!("The answer flipped from {base} to {intervened}."),
        (true, true) => format!("The answer changed from {base} to {intervened}."),
        (true, false) => format!("The answer stays {base}."),
    };
    let recovered = recovered.map(|share| format!(": recovered share {}", signed_share(share)));
    let numbers = is_armed.then(|| {
        view! {
            <p
                class="fact"
                title="change of the logit of the source's answer minus that of the base's answer; its recovered share (normalised logit difference) is 0 in the base run and 1 in the source run"
            >
                {format!("{} nats towards the source's answer{}", nats(moved), recovered.unwrap_or_default())}
            </p>
            <p class="fact" title="Kullback-Leibler divergence of the intervened from the base distribution over all tokens">
                {format!("KL {kl:.2} nats: how far all probabilities together moved, 0 is not at all")}
            </p>
        }
    });
    let program = agrees.map(|(token, agrees)| {
        let text = match agrees {
            true => format!("✓ {who} says the same: {token}"),
            false => format!("✕ {who} says {token}"),
        };
        view! { <p class="fact" class:bad=!agrees>{text}</p> }
    });
    view! {
        <table class="answers">
            <thead>
                <tr>
                    <th scope="col">"next token"</th>
                    {RUNS.map(|run| view! { <th scope="col" class=run>{run}</th> })}
                </tr>
            </thead>
            <tbody>
                {rows.into_iter().map(|row| row_view(row, is_armed)).collect_view()}
            </tbody>
        </table>
        <div class="verdict" class:flipped=is_flip>
            <p id="verdict" role="status" aria-live="polite">
                {is_flip.then(|| view! { <strong>"FLIPPED "</strong> })}
                <span>{sentence}</span>
                {is_among_few
                    .then(|| {
                        view! {
                            <span
                                class="fact"
                                title="The question asks which of its answers is the likeliest; another token may be likelier still."
                            >
                                " Of its own answers; another token is likelier."
                            </span>
                        }
                    })}
            </p>
            {numbers}
            {program}
            {cost.map(|cost| view! { <p class="fact" id="cost">{cost}</p> })}
        </div>
    }
}

fn row_view(row: Row, is_armed: bool) -> impl IntoView {
    let cells = RUNS.into_iter().enumerate().map(move |(run, name)| {
        let value = row.probabilities[run];
        let change = (run == 1 && is_armed && row.change.abs() >= 0.005).then(|| {
            let arrow = if row.change > 0.0 { "▲" } else { "▼" };
            view! { <span class="change">{arrow} {probability(row.change.abs())}</span> }
        });
        view! {
            <td class=name class:top=row.is_top[run]>
                <span class="bar-box">
                    <span class="bar-fill" style:width=format!("{:.1}%", 100.0 * value)></span>
                </span>
                <span class="number">{probability(value)}</span>
                {change}
            </td>
        }
    });
    // With all digits, for whoever compares.
    let logits = row.logits.map(|logit| logit.to_string()).join(" ");
    let Look { text, sort, about } = &row.look;
    let title = format!("“{text}”, id {} {about}", row.id);
    let id = row
        .is_twin
        .then(|| view! { <span class="at">{row.id}</span> });
    view! {
        <tr data-id=row.id data-logits=logits>
            <th scope="row" title=title>
                <code class=sort.name()>{row.look.shortened(MOST_CHARS)}</code>
                {id}
            </th>
            {cells.collect_view()}
        </tr>
    }
}

//! The causal model of the program or task as a picture: its variables, what follows from what, their values for base and source.

use leptos::prelude::*;
use swivel_core::question::Variable;

use super::keep::Keep;
use crate::{
    page_state::PageState,
    session::{Session, Side, kept::Kept},
};

/// Size of a node and the distance between rows and columns, in units of the picture.
const NODE: [f32; 2] = [172.0, 48.0];
const STEP: [f32; 2] = [186.0, 88.0];
/// Between base and source value; plain spaces are lost in SVG.
const SEPARATOR: &str = "\u{a0}·\u{a0}";
/// Middle of the picture.
const MIDDLE: f32 = 2.0 * STEP[0] + NODE[0] / 2.0;
/// Characters that fit into a node; of a longer equation its table has all.
const MOST_CHARS: usize = 24;

/// A variable.
#[derive(Clone, PartialEq)]
struct Node {
    name: String,
    equation: String,
    base: String,
    source: String,
    x: f32,
    y: f32,
    parents: Vec<usize>,
    is_armed: bool,
}

/// Of each variable, on which row it stands: one above all that it is computed from.
fn rows(variables: &[Variable]) -> Vec<usize> {
    let mut rows: Vec<usize> = Vec::new();
    for variable in variables {
        let below = variable.parents.iter().map(|parent| rows[*parent] + 1);
        rows.push(below.max().unwrap_or(0));
    }
    rows
}

fn nodes(session: &Session) -> Option<Vec<Node>> {
    let [base, source] = Side::BOTH.map(|side| session.variables(side));
    let (base, source) = (base?, source?);
    let armed = session.armed_variable();
    let rows = rows(&base);
    let top = rows.iter().copied().max()?;
    let mut nodes: Vec<Node> = Vec::new();
    for (idx, (variable, source)) in base.into_iter().zip(source).enumerate() {
        let row = rows[idx];
        let own = rows.iter().filter(|other| **other == row).count();
        let before = rows[..idx].iter().filter(|other| **other == row).count();
        let middles = variable.parents.iter().map(|parent| nodes[*parent].x);
        let x = match own {
            // Alone it stands above what it is computed from; the last of all in the middle.
            1 if row == top => MIDDLE - NODE[0] / 2.0,
            1 => middles.sum::<f32>() / variable.parents.len().max(1) as f32,
            _ => {
                let step = STEP[0] * if own <= 3 { 1.5 } else { 1.0 };
                let from_middle = before as f32 - (own - 1) as f32 / 2.0;
                MIDDLE - NODE[0] / 2.0 + from_middle * step
            }
        };
        let is_armed = |armed: &str| {
            let rest = armed.strip_prefix(variable.name.as_str());
            // A column of what a slot is belongs to it.
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        nodes.push(Node {
            is_armed: armed.is_some_and(is_armed),
            name: variable.name,
            equation: variable.equation.unwrap_or_default(),
            base: variable.value,
            source: source.value,
            x,
            y: (top - row) as f32 * STEP[1],
            parents: variable.parents,
        });
    }
    Some(nodes)
}

/// The picture, and the same as a table for who cannot see it.
#[component]
pub fn ProgramPanel(
    /// State and actions.
    page: PageState,
) -> impl IntoView {
    let nodes = Memo::new(move |_| page.session.with(nodes));
    let name = move || page.session.with(Session::task_name);
    let is_program = move || page.session.with(|session| session.task().is_none());
    let has_task = move || {
        page.session
            .with(|session| session.knows_task() && session.has_task())
    };
    let title = move || match is_program() {
        true => "The program that the model was trained on, ",
        false => "What the answer follows from, in the question ",
    };
    let hint = move || match is_program() {
        true => {
            "Shown when both prompts end in a line of the task: five of its words with commas, then “=”."
        }
        false => {
            "Shown when both prompts are sentences of the question: take a new pair, or choose words."
        }
    };
    view! {
        <Show when=has_task>
            <section class="program" id="program" aria-label="The causal model">
                <h2>{title} {name} <Keep page kept=Kept::Program of="#program" /></h2>
                {move || match nodes.get() {
                    None => view! { <p class="fact">{hint}</p> }.into_any(),
                    Some(nodes) => picture(nodes).into_any(),
                }}
                <p class="legend">
                    <span class="base">"base"</span>
                    " and "
                    <span class="source">"source"</span>
                    " value of each variable. The framed one is what the direction that is on stands for."
                </p>
            </section>
        </Show>
    }
}

fn picture(nodes: Vec<Node>) -> impl IntoView {
    let ends = |of: fn(&Node) -> f32| {
        let all = || nodes.iter().map(of);
        [
            all().fold(f32::INFINITY, f32::min),
            all().fold(f32::NEG_INFINITY, f32::max),
        ]
    };
    let ([left, right], [_, bottom]) = (ends(|node| node.x), ends(|node| node.y));
    // As large as that of a program, where it has less.
    let (left, right) = (left.min(0.0), right.max(4.0 * STEP[0]));
    let (width, height) = (right - left + NODE[0], bottom + NODE[1]);
    let lines: Vec<_> = nodes
        .iter()
        .flat_map(|node| {
            let all = &nodes;
            node.parents.iter().map(move |parent| {
                let parent = &all[*parent];
                view! {
                    <line
                        x1=parent.x + NODE[0] / 2.0
                        y1=parent.y
                        x2=node.x + NODE[0] / 2.0
                        y2=node.y + NODE[1]
                    ></line>
                }
            })
        })
        .collect();
    let table = nodes
        .iter()
        .map(|node| {
            let Node {
                name,
                equation,
                base,
                source,
                ..
            } = node.clone();
            view! {
                <tr>
                    <th scope="row">{name}</th>
                    <td>{equation}</td>
                    <td>{base}</td>
                    <td>{source}</td>
                </tr>
            }
        })
        .collect_view();
    let boxes = nodes
        .into_iter()
        .map(|node| {
            let (x, y, middle) = (node.x, node.y, node.x + NODE[0] / 2.0);
            let title = format!("{} = {}", node.name, node.equation);
            let title = match node.equation.is_empty() || title.chars().count() > MOST_CHARS {
                true => node.name.clone(),
                false => title,
            };
            view! {
                <g class:armed=node.is_armed>
                    <rect x=x y=y width=NODE[0] height=NODE[1] rx="6"></rect>
                    <text x=middle y=y + 19.0>{title}</text>
                    <text x=middle y=y + 38.0 class="value">
                        <tspan class="base">{node.base}</tspan>
                        <tspan>{SEPARATOR}</tspan>
                        <tspan class="source">{node.source}</tspan>
                    </text>
                </g>
            }
        })
        .collect_view();
    view! {
        <div class="scroll">
            <svg
                class="program-picture"
                viewBox=format!("{} -2 {} {}", left - 2.0, width + 4.0, height + 4.0)
                aria-hidden="true"
            >
                {lines}
                {boxes}
            </svg>
        </div>
        <div class="for-readers"><table>
            <thead>
                <tr>
                    {["variable", "computed as", "base", "source"]
                        .map(|name| view! { <th scope="col">{name}</th> })}
                </tr>
            </thead>
            <tbody>{table}</tbody>
        </table></div>
    }
}

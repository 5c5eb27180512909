//! The program as a picture: five words, five operations, their values for base and source.

use leptos::prelude::*;
use swivel_core::question::programs::VARIABLES;

use crate::{
    page_state::PageState,
    session::{Session, Side},
};

/// Size of a node and the distance between rows and columns, in units of the picture.
const NODE: [f32; 2] = [172.0, 48.0];
const STEP: [f32; 2] = [186.0, 88.0];
/// Between base and source value; plain spaces are lost in SVG.
const SEPARATOR: &str = "\u{a0}·\u{a0}";
/// Middle of the picture.
const MIDDLE: f32 = 2.0 * STEP[0] + NODE[0] / 2.0;

/// A variable of the program.
#[derive(Clone, PartialEq)]
struct Node {
    name: &'static str,
    equation: String,
    base: String,
    source: String,
    x: f32,
    y: f32,
    parents: Vec<usize>,
    is_armed: bool,
}

fn nodes(session: &Session) -> Option<Vec<Node>> {
    let program = session.program()?;
    let (words, ops) = (
        Side::BOTH.map(|side| session.query_texts(side)),
        Side::BOTH.map(|side| session.ops(side)),
    );
    let ([Some(base), Some(source)], [Some(base_ops), Some(source_ops)]) = (words, ops) else {
        return None;
    };
    let armed = session.armed_variable();
    let truth = |value: bool| if value { "True" } else { "False" }.to_owned();
    let mut nodes: Vec<Node> = base
        .into_iter()
        .zip(source)
        .enumerate()
        .map(|(idx, (base, source))| Node {
            name: VARIABLES[idx],
            equation: String::new(),
            base,
            source,
            x: idx as f32 * STEP[0],
            y: 3.0 * STEP[1],
            parents: Vec::new(),
            is_armed: armed == Some(VARIABLES[idx]),
        })
        .collect();
    let equations = program.equations().into_iter().zip(program.parents());
    for (op, (equation, parents)) in equations.enumerate() {
        // op1..op3 stand above the words, op4 above op1 and op2, op5 on top.
        let (x, y) = match op {
            3 => (MIDDLE - NODE[0] / 2.0 - 0.75 * STEP[0], STEP[1]),
            4 => (MIDDLE - NODE[0] / 2.0, 0.0),
            op => (
                MIDDLE - NODE[0] / 2.0 + (op as f32 - 1.0) * 1.5 * STEP[0],
                2.0 * STEP[1],
            ),
        };
        nodes.push(Node {
            name: VARIABLES[5 + op],
            equation,
            base: truth(base_ops[op]),
            source: truth(source_ops[op]),
            x,
            y,
            parents: parents.to_vec(),
            is_armed: armed == Some(VARIABLES[5 + op]),
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
    let name = move || {
        page.session
            .with(|session| session.program().map(|program| program.id.clone()))
    };
    let has_task = move || page.session.with(Session::knows_task);
    view! {
        <Show when=has_task>
            <section class="program" aria-label="The program">
                <h2>"The program that the model was trained on, " {name}</h2>
                {move || match nodes.get() {
                    None => {
                        view! {
                            <p class="fact">
                                "Shown when both prompts end in a line of the task: five of its words with commas, then “=”."
                            </p>
                        }
                            .into_any()
                    }
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
    let width = 4.0 * STEP[0] + NODE[0];
    let height = 3.0 * STEP[1] + NODE[1];
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
            let title = match node.equation.is_empty() {
                true => node.name.to_owned(),
                false => format!("{} = {}", node.name, node.equation),
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
                viewBox=format!("-2 -2 {} {}", width + 4.0, height + 4.0)
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

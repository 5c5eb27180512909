//! A cell of a picture: what it shows, and how it is drawn.

use leptos::prelude::*;

use crate::session::fit::Fit;

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

/// A cell without a number, and why.
pub fn unknown(title: &str) -> Painted {
    Painted {
        text: String::new(),
        title: title.to_owned(),
        is_unknown: true,
        ..Painted::default()
    }
}

/// The cell of a row at a token; `pick` hears of a click.
pub fn cell_view(
    row: usize,
    position: usize,
    painted: Painted,
    fit: Fit,
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
            {fit.shown(&text)}
        </td>
    }
}

/// A word that begins a label.
pub fn capitalized(word: &str) -> String {
    let (first, rest) = word.split_at(1);
    format!("{}{rest}", first.to_uppercase())
}

//! The page, claim by claim, each tried as a person would.

mod broken;
mod cells;
mod fetched;
mod files;
mod flips;
mod folder;
mod gallery;
mod inside;
mod kept;
mod large;
mod machine;
mod maps;
mod measured;
mod numbers;
mod opening;
mod real;
mod sharing;
mod sweep;
mod switching;
mod text;
mod typing;
mod webgpu;

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use swivel_e2e::{Overlay, Page, Server};

/// For what the page does at once.
const SOON: Duration = Duration::from_secs(5);
/// For what takes a model or long prompts, also where other work slows the machine down.
const LONG: Duration = Duration::from_secs(30);

const SOLVER: &str = "/models/solver";
const WEIGHTS: &str = "/models/solver/model.safetensors";
/// The solver on the CPU, whatever else there is.
const CPU: &str = "/?device=cpu&question=programs";
/// The solver on WebGPU.
const WEBGPU: &str = "/?device=webgpu&question=programs";

/// The answer belongs to what is on the page, and was computed here.
const IS_CURRENT: &str = "document.querySelector('#answer')?.dataset.ms";

/// The built page's server, without directions that were learned on this machine, and with one model.
fn server() -> Server {
    let server = Server::start();
    for (path, list) in [
        ("/directions/index.json", "[]"),
        ("/models/index.json", r#"["solver"]"#),
    ] {
        server.replace(path, Overlay::Bytes(list.into()));
    }
    server
}

/// Opens the page and waits for its first live answer.
#[track_caller]
fn open_live(page: &Page<'_>, path_and_fragment: &str) {
    page.open(path_and_fragment);
    page.wait_script(IS_CURRENT, LONG);
}

/// The line below the answers.
#[track_caller]
fn wait_verdict(page: &Page<'_>, part: &str) -> String {
    page.wait_script(IS_CURRENT, LONG);
    page.wait_text("#verdict", SOON, |text| text.contains(part))
}

/// Waits for a notice with all these parts.
#[track_caller]
fn wait_notice(page: &Page<'_>, parts: &[&str]) -> String {
    page.wait_text(".notice-line", LONG, |text| {
        parts.iter().all(|part| text.contains(part))
    })
}

/// Waits until the model was not opened, for a reason with all these parts.
#[track_caller]
fn wait_failure(page: &Page<'_>, parts: &[&str]) {
    page.wait_text("#failure", LONG, |text| {
        parts.iter().all(|part| text.contains(part))
    });
}

/// Nothing of the page lies beside the window.
#[track_caller]
fn assert_fits_width(page: &Page<'_>, what: &str) {
    let js = "return document.documentElement.scrollWidth - innerWidth;";
    assert!(page.script(js, &[]).as_i64().unwrap() <= 0, "{what}");
}

/// Has the map that is chosen filled: a small one fills itself.
#[track_caller]
fn scan(page: &Page<'_>, timeout: Duration) {
    let click = "const [button, progress] = ['#scan', '#scan-progress'].map((css) => document.querySelector(css));
         if (progress.textContent === '' && button.textContent === 'Scan') button.click();
         return progress.textContent === 'done';";
    page.wait_until("a map", timeout, || {
        (page.script(click, &[]) == json!(true)).then_some(())
    });
}

/// Clicks the first visible button inside `within` whose text has `part`.
#[track_caller]
fn click_button(page: &Page<'_>, within: &str, part: &str) {
    let find = "for (const old of document.querySelectorAll('[data-wanted]')) delete old.dataset.wanted;
         const all = [...document.querySelectorAll(`${arguments[0]} button`)];
         const button = all.find((b) => b.checkVisibility() && b.textContent.includes(arguments[1]));
         if (!button) return false;
         button.dataset.wanted = '';
         return true;";
    page.wait_until(
        &format!("a button “{part}” in `{within}`"),
        SOON,
        || (page.script(find, &[json!(within), json!(part)]) == json!(true)).then_some(()),
    );
    page.click("[data-wanted]");
}

/// Text of all elements that match, visible or not.
#[track_caller]
fn texts(page: &Page<'_>, css: &str) -> Vec<String> {
    let js =
        "return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent.trim());";
    let Value::Array(all) = page.script(js, &[json!(css)]) else {
        return Vec::new();
    };
    let all = all.into_iter();
    all.map(|text| text.as_str().unwrap_or_default().to_owned())
        .collect()
}

/// The cells of a row of the picture, from the first token.
fn row(page: &Page<'_>, row: usize) -> Vec<String> {
    texts(page, &format!("#grid td[id^='cell-{row}-']"))
}

/// Positions that a strip marks.
fn marked(page: &Page<'_>, side: &str) -> Vec<String> {
    texts(page, &format!("#{side}-tokens li.marked .at"))
}

/// Text of the first element that matches, visible or not.
#[track_caller]
fn hidden_text(page: &Page<'_>, css: &str) -> String {
    let all = texts(page, css);
    match all.into_iter().next() {
        Some(text) => text,
        None => page.fail(&format!("there is no `{css}`")),
    }
}

/// Token, and logits of base, intervened and source, of each row of the answers; nats.
#[track_caller]
fn logits(page: &Page<'_>) -> Vec<(u32, [f64; 3])> {
    page.wait_script(IS_CURRENT, LONG);
    let rows = page.script(
        "return [...document.querySelectorAll('table.answers tbody tr')].map((row) => [
           Number(row.dataset.id), ...(row.dataset.logits ?? '').split(' ').map(Number)]);",
        &[],
    );
    let rows: Vec<_> = (rows.as_array().into_iter().flatten())
        .filter_map(|row| {
            let id = u32::try_from(row.get(0)?.as_u64()?).ok()?;
            let logit = |run: usize| row.get(1 + run)?.as_f64();
            Some((id, [logit(0)?, logit(1)?, logit(2)?]))
        })
        .collect();
    if rows.is_empty() {
        page.fail("the answers have no row with logits");
    }
    rows
}

/// The largest difference between the same rows of two answers, nats.
fn largest_difference(left: &[(u32, [f64; 3])], right: &[(u32, [f64; 3])]) -> f64 {
    let ids = |rows: &[(u32, [f64; 3])]| rows.iter().map(|row| row.0).collect::<Vec<_>>();
    assert_eq!(ids(left), ids(right));
    left.iter()
        .zip(right)
        .flat_map(|((_, left), (_, right))| left.iter().zip(right))
        .map(|(left, right)| (left - right).abs())
        .fold(0.0, f64::max)
}

/// The fragment of a link to these prompts with the page's own direction of the output switched on.
fn fragment(base: &[u32], source: &[u32]) -> String {
    let positions = |ids: &[u32]| json!([[ids.len() - 1]]);
    fragment_of(&json!({
        "version": 1,
        "base": { "ids": [base] },
        "sources": [{ "ids": [source] }],
        "interventions": [{
            "layer": 2,
            "component": "block_output",
            "source": 0,
            "base_positions": positions(base),
            "source_positions": positions(source),
            "op": { "type": "low_rank", "direction": "op5.safetensors" },
        }],
    }))
}

/// The fragment of a link that holds this plan.
fn fragment_of(plan: &Value) -> String {
    format!("#plan={}", URL_SAFE_NO_PAD.encode(plan.to_string()))
}

/// A direction file as the page's own for the output, but changed: its header, and its values.
fn direction_file(change: impl FnOnce(&mut Value, &mut Vec<u8>)) -> Vec<u8> {
    let own = include_bytes!("../../web/examples/op5.safetensors");
    let (length, rest) = own.split_at(8);
    let length = length
        .iter()
        .rev()
        .fold(0, |n, byte| n << 8 | usize::from(*byte));
    let (header, values) = rest.split_at(length);
    let mut header: Value = serde_json::from_slice(header).unwrap_or_default();
    let mut values = values.to_vec();
    change(&mut header, &mut values);
    let header = header.to_string().into_bytes();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header);
    file.extend(values);
    file
}

/// The page's own direction with the other sign: another file, the same swap.
fn negated() -> Vec<u8> {
    direction_file(|_, values| {
        for value in values.chunks_exact_mut(4) {
            value[3] ^= 0x80;
        }
    })
}

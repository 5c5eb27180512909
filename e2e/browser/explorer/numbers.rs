//! The numbers are the native program's, on both devices.

use std::{collections::BTreeMap, time::Instant};

use serde_json::Value;
use swivel_e2e::{Browser, Gpu, Page};

use super::{CPU, IS_CURRENT, LONG, WEBGPU, fragment, logits, open_live, server, wait_verdict};

/// Nats.
const TOLERANCE: f64 = 1e-3;

/// A pair and what the native program computes for it; `make_logits.py` writes them.
struct Case {
    base: Vec<u32>,
    source: Vec<u32>,
    /// Logits of base, intervened and source by token, nats.
    logits: BTreeMap<u32, [f64; 3]>,
}

fn cases() -> Vec<Case> {
    let Value::Array(cases) = serde_json::from_str(include_str!("../logits.json")).unwrap() else {
        panic!("logits.json is no list");
    };
    let ids = |ids: &Value| -> Vec<u32> { serde_json::from_value(ids.clone()).unwrap() };
    let cases = cases.into_iter().map(|case| Case {
        base: ids(&case["base"]),
        source: ids(&case["source"]),
        logits: serde_json::from_value(case["logits"].clone()).unwrap(),
    });
    cases.collect()
}

/// Opens the case by its link and compares every row that is shown.
fn compare(page: &Page<'_>, path: &str, case: &Case) {
    let n_tokens = case.base.len();
    page.open(&format!("{path}{}", fragment(&case.base, &case.source)));
    let ids = |ids: &[u32]| ids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let shown = "[...document.querySelectorAll('#base-tokens li')].map((li) => li.title.match(/id (\\d+)/)[1]).join()";
    page.wait_script(&format!("{shown} === '{}'", ids(&case.base)), LONG);
    let started = Instant::now();
    page.wait_script(IS_CURRENT, LONG);
    let rows = logits(page);
    let mut largest: f64 = 0.0;
    for (id, found) in &rows {
        let Some(expected) = case.logits.get(id) else {
            panic!("token {id} leads in the browser only, at {n_tokens} tokens");
        };
        for (found, expected) in found.iter().zip(expected) {
            largest = largest.max((found - expected).abs());
        }
    }
    println!(
        "{n_tokens} tokens, {} rows: off by at most {largest:.1e} nats, {:.1?}",
        rows.len(),
        started.elapsed()
    );
    assert!(
        largest <= TOLERANCE,
        "off by {largest} nats at {n_tokens} tokens"
    );
}

#[test]
fn logits_are_the_native_ones_on_the_cpu() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    for case in cases() {
        compare(&page, CPU, &case);
    }
    page.assert_clean_console();
}

#[test]
fn logits_are_the_native_ones_on_webgpu() {
    let server = server();
    let browser = Browser::start(Gpu::Software);
    let page = browser.page(&server);
    open_live(&page, WEBGPU);
    page.wait_for("#badge[data-device=webgpu]", 4 * LONG);
    for case in cases() {
        compare(&page, WEBGPU, &case);
        page.wait_for("#badge[data-device=webgpu]", LONG);
    }
    page.assert_clean_console();
}

#[test]
fn recorded_example_is_what_the_page_computes() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    wait_verdict(&page, "flipped");
    let recorded: Value =
        serde_json::from_str(include_str!("../../../web/examples/programs.json")).unwrap();
    let rows = recorded["answer"]["rows"].as_array().unwrap();
    for (id, found) in logits(&page) {
        let row = rows.iter().find(|row| row["id"] == id).unwrap();
        for (found, expected) in found.iter().zip(row["scores"].as_array().unwrap()) {
            assert!((found - expected["logit"].as_f64().unwrap()).abs() <= TOLERANCE);
        }
    }
}

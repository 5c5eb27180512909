//! What toggling costs.

use serde_json::json;
use swivel_e2e::{Browser, Gpu, Page};

use super::{CPU, IS_CURRENT, LONG, SOON, open_live, server, webgpu::wait_webgpu};

/// A toggle on, at most; full forward passes.
const MOST_PASSES: f64 = 0.2;

/// Switches so many times, each after the answer to the last one; of each, whether it switched on, and milliseconds in the engine
/// and from the click until the answer was on the page.
fn switch(page: &Page<'_>, times: usize) -> Vec<(bool, [f64; 2])> {
    let found = page.script(
        "const [answer, knob] = ['#answer', '.switch'].map((css) => document.querySelector(css));
         const all = [];
         for (let i = 0; i < arguments[0]; i++) {
           const answered = new Promise((done) => {
             const observer = new MutationObserver(() => {
               if (answer.dataset.ms === undefined) return;
               observer.disconnect();
               done();
             });
             observer.observe(answer, { attributes: true, attributeFilter: ['data-ms'] });
           });
           const start = performance.now();
           knob.click();
           await answered;
           const seen = performance.now() - start;
           all.push([knob.ariaChecked === 'true', [Number(answer.dataset.ms), seen]]);
         }
         return all;",
        &[json!(times)],
    );
    serde_json::from_value(found).unwrap()
}

/// The engine's milliseconds of the switches on, of so many switches.
pub fn toggle(page: &Page<'_>, times: usize) -> Vec<f64> {
    let switched = switch(page, times).into_iter();
    let on = switched.filter(|(is_on, _)| *is_on);
    on.map(|(_, [in_engine, _])| in_engine).collect()
}

/// Milliseconds from a click on the first switch until its answer is on the page, the median of so many.
pub fn seen_toggle(page: &Page<'_>, times: usize) -> f64 {
    let switched = switch(page, times).into_iter();
    median(switched.map(|(_, [_, seen])| seen).collect())
}

/// The middle one.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[test]
fn toggle_of_the_last_layer_costs_a_fifth_of_a_pass_at_most() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    check_toggle(&page);
}

#[test]
fn toggle_of_the_last_layer_costs_a_fifth_of_a_pass_at_most_on_webgpu() {
    let server = server();
    let browser = Browser::start(Gpu::Software);
    let page = browser.page(&server);
    wait_webgpu(&page);
    check_toggle(&page);
}

fn check_toggle(page: &Page<'_>) {
    page.set_value("#shots", "10");
    page.click("#picture-interchange");
    page.click("#switch-0");
    let mut passes = Vec::new();
    let mut toggles = Vec::new();
    for _ in 0..7 {
        let before = page.prop("#base", "value");
        page.click("#new-pair");
        page.wait_until("another pair", SOON, || {
            (page.prop("#base", "value") != before).then_some(())
        });
        let ms = page.wait_script(IS_CURRENT, LONG);
        // Base and source.
        passes.push(ms.as_str().unwrap().parse::<f64>().unwrap() / 2.0);
        toggles.extend(toggle(page, 6));
    }
    assert!(page.count("#base-tokens li") >= 120);
    let (pass, toggle) = (median(passes), median(toggles));
    println!(
        "a pass takes {pass:.2} ms, a toggle {toggle:.2} ms: {:.3}",
        toggle / pass
    );
    assert!(toggle > 0.0, "nothing was measured");
    assert!(
        toggle <= MOST_PASSES * pass,
        "a pass takes {pass} ms, a toggle {toggle} ms"
    );
    page.assert_clean_console();
}

#[test]
fn thousand_toggles_leave_memory_flat() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    page.click("#picture-interchange");
    let memory = || {
        let bytes = |name| page.attr("#memory", name).unwrap().parse::<f64>().unwrap();
        // Of the engine, of the page, and of what JavaScript holds for both views.
        [
            bytes("data-bytes"),
            bytes("data-page-bytes"),
            page.js_heap_bytes(),
        ]
    };
    // The first hundred fill the history of undo.
    toggle(&page, 110);
    let before = memory();
    toggle(&page, 1000);
    let after = memory();
    println!("engine, page, JavaScript: {before:?} B, then {after:?} B");
    assert!(
        before.iter().all(|bytes| *bytes > 1e6),
        "that cannot be all"
    );
    let [before, after] = [before, after].map(|bytes| bytes.iter().sum::<f64>());
    assert!(
        after <= 1.02 * before,
        "memory grew from {before} to {after} bytes"
    );
    page.assert_clean_console();
}

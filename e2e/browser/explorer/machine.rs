//! The engine of the program that serves the page.

use std::time::Instant;

use serde_json::json;
use swivel_e2e::{Browser, Gpu, Page, Program};

use super::{
    CPU, IS_CURRENT, LONG, SOON, largest_difference, logits, measured, open_live, wait_notice,
};

const MACHINE: &str = "#badge[data-device=machine]";

/// A program, and a page on its engine in a browser.
#[track_caller]
fn open_on_machine(page: &Page<'_>, program: &Program) {
    page.open(&format!(
        "{}/?device=machine&question=programs",
        program.address()
    ));
    page.wait_for(MACHINE, LONG);
    page.wait_script(IS_CURRENT, LONG);
}

#[test]
fn default_example_flips_on_the_engine_of_the_machine() {
    let (program, browser) = (Program::start(), Browser::start(Gpu::Off));
    let page = browser.page_at(program.address());
    open_live(&page, CPU);
    let in_tab = logits(&page);
    page.click("#device-menu > summary");
    page.wait_text("#machine-state", SOON, |text| text.contains("flex"));
    page.screenshot("machine-menu");
    page.script(
        "document.querySelector('#machine-state').previousElementSibling.querySelector('input').click();",
        &[],
    );
    page.wait_for(MACHINE, LONG);
    // The answer is the machine's after something was asked of it.
    page.click("#switch-0");
    page.wait_script(IS_CURRENT, LONG);
    page.click("#switch-0");
    page.wait_script(IS_CURRENT, LONG);
    page.wait_text("#verdict", SOON, |text| text.contains("flipped"));
    let on_machine = logits(&page);
    assert!(largest_difference(&in_tab, &on_machine) < 1e-3);
    page.screenshot("machine");
    page.assert_clean_console();
}

#[test]
fn machine_is_sent_no_weights_for() {
    let (program, browser) = (Program::start(), Browser::start(Gpu::Off));
    let page = browser.page_at(program.address());
    open_on_machine(&page, &program);
    let weights = page.script(
        "return performance.getEntriesByType('resource').filter((e) => e.name.includes('safetensors')).length;",
        &[],
    );
    assert_eq!(weights, json!(0));
    page.assert_clean_console();
}

#[test]
fn page_goes_on_in_the_tab_when_the_machine_is_gone() {
    let (mut program, browser) = (Program::start(), Browser::start(Gpu::Off));
    let page = browser.page_at(program.address());
    open_on_machine(&page, &program);
    program.kill();
    page.click("#new-pair");
    // Whoever notices first, the change that was made does not take the sentence away.
    wait_notice(&page, &["machine", "go on in this tab"]);
}

/// First answer, toggle and map, in the tab and on the machine.
#[test]
fn tab_and_machine_side_by_side() {
    let (program, browser) = (Program::start(), Browser::start(Gpu::Off));
    for device in ["cpu", "machine"] {
        let page = browser.page_at(program.address());
        let started = Instant::now();
        page.open(&format!("/?device={device}&question=programs"));
        page.wait_for(&format!("#badge[data-device={device}]"), LONG);
        page.wait_script(IS_CURRENT, LONG);
        let first = started.elapsed().as_secs_f64();
        page.click("#picture-interchange");
        page.click("#switch-0");
        let engine_ms = measured::median(measured::toggle(&page, 50));
        let seen_ms = measured::seen_toggle(&page, 50);
        let started = Instant::now();
        page.click("#scan");
        page.wait_text("#scan-progress", LONG, |text| text == "done");
        let map = started.elapsed().as_secs_f64();
        println!(
            "{device}: first answer {first:.2} s, toggle {engine_ms:.2} ms in the engine and {seen_ms:.2} ms to the page, map of the solver {map:.2} s"
        );
        assert!(engine_ms > 0.0 && seen_ms < 1000.0);
        page.assert_clean_console();
    }
}

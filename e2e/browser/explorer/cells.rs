//! A person arms cells, and scans all of them.

use serde_json::{Value, json};
use swivel_e2e::{Browser, Gpu, Key};

use super::{
    CPU, IS_CURRENT, LONG, SOON, click_button, hidden_text, largest_difference, logits, marked,
    open_live, row, server, texts, wait_verdict,
};

#[test]
fn cell_takes_a_whole_vector_or_a_direction() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    page.click("#switch-0");
    page.click("#cell-1-4");
    page.wait_text("#detail", SOON, |text| {
        text.contains("layer 1, token 4 “sugar”")
    });
    page.click("#arm");
    page.wait_for("#switch-2[aria-checked=true]", SOON);
    page.wait_text(".card:nth-of-type(3)", SOON, |text| {
        text.contains("whole residual vector") && text.contains("token 4")
    });
    wait_verdict(&page, "The answer");
    assert_eq!(marked(&page, "base"), ["4"]);
    page.wait_for("#cell-1-4.armed", SOON);
    // What the swap can change: that very cell, and in the layer above all tokens from it on.
    page.wait_script(
        "document.querySelectorAll('#grid td.cone').length === 1 + 6",
        SOON,
    );
    click_button(&page, ".card", "Remove");
    page.wait_gone("#switch-2", SOON);

    page.click("#switch-0");
    page.click("#cell-2-3");
    click_button(&page, "#detail", "Move “op5, the output of 07065a” here");
    page.wait_until("the mark", SOON, || {
        (marked(&page, "base") == ["3"]).then_some(())
    });
    page.wait_text(".card:nth-of-type(1)", SOON, |text| {
        text.contains("token 3")
    });
    wait_verdict(&page, "The answer stays False.");
    page.wait_text(".card:nth-of-type(1)", SOON, |text| {
        text.contains("no effect")
    });

    page.type_into("#base", "sugar");
    page.wait_text(".card:nth-of-type(1) .bad", SOON, |text| {
        text.contains("position 3")
    });
    page.wait_text("#notes .bad", SOON, |text| {
        text.contains("output of 07065a")
    });
    page.assert_clean_console();
}

#[test]
fn scan_fills_the_map_and_the_table_has_its_numbers() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    page.click("#picture-interchange");
    // A small one fills itself.
    page.wait_text("#scan-progress", LONG, |text| text == "done");
    // Of the last layer only the last token is ever read.
    page.wait_script(
        "document.querySelectorAll('#grid td.unknown').length === 9",
        SOON,
    );
    assert_eq!(hidden_text(&page, "#cell-2-9"), "+1.00");
    page.viewport(1280, 1400);
    page.screenshot("3-scan");
    let shares = [row(&page, 1), row(&page, 0)].concat();
    page.click("#metric-logit");
    page.wait_until("nats", SOON, || {
        (row(&page, 1) != shares[..10]).then_some(())
    });
    page.screenshot("scan-nats");
    page.click("#metric-recovered");

    page.click("#map-table");
    page.wait_for("#map-numbers", SOON);
    let lines = texts(&page, "#map-numbers tbody tr");
    assert_eq!(lines.len(), 21);
    let values = texts(&page, "#map-numbers tbody td:nth-child(4)");
    assert_eq!(values[0], "+1.00");
    assert_eq!(values[1..], shares);
    page.screenshot("scan-table");
    page.click("#map-table");
    page.wait_for("#grid", SOON);

    // A finished scan stays while directions are toggled, and goes with the prompts.
    page.click("#switch-0");
    wait_verdict(&page, "Switch a direction on");
    page.wait_text("#scan-progress", SOON, |text| text == "done");
    page.click("#new-pair");
    page.wait_until("another map", SOON, || {
        (row(&page, 1) != shares[..10]).then_some(())
    });
    page.assert_clean_console();
}

#[test]
fn any_operation_on_any_value_in_any_head_is_armed_at_a_cell_and_shared() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    page.click("#switch-0");
    page.click("#cell-1-8");
    page.set_value("#detail select.component", "head_value_output");
    page.set_value("#detail select.head", "1");
    page.set_value("#detail select.operation", "subtract");
    page.click("#arm");
    page.wait_for("#switch-2", SOON);
    let places = texts(&page, ".card.on .card-title");
    assert_eq!(
        places,
        ["subtract the head_value_outputlayer 1 head_value_output, head 1, token 8"]
    );
    assert_eq!(texts(&page, "#base-tokens .mark"), ["subtract"]);
    assert_eq!(texts(&page, "#source-tokens .mark"), ["read"]);
    page.set_value("#detail select.component", "mlp_activation");
    page.set_value("#detail select.operation", "zero");
    page.click("#arm");
    page.wait_text("#base-tokens .mark", SOON, |text| text == "subtract + zero");
    page.set_value("#strength-2", "2");
    let expected = logits(&page);
    let moved = expected
        .iter()
        .map(|(_, [base, done, _])| (base - done).abs());
    assert!(moved.fold(0.0, f64::max) > 0.01, "{expected:?}");
    page.viewport(1280, 1400);
    page.screenshot("operations");

    let link = page.url();
    let fragment = link.split_once('#').unwrap().1;
    // Another path: the page is loaded anew.
    open_live(&page, &format!("/index.html?device=cpu#{fragment}"));
    page.wait_text("#base-tokens .mark", LONG, |text| text == "subtract + zero");
    assert!(largest_difference(&expected, &logits(&page)) < 1e-4);

    // A map of another operation, in one head.
    page.click("#picture-interchange");
    page.set_value(".bar select.component", "head_attention_value_output");
    page.set_value(".bar select.head", "2");
    page.set_value(".bar select.operation", "zero");
    page.wait_text("#scan-progress", LONG, |text| text == "done");
}

/// What an operation needs stands on its card, and is in the link: a factor, a seed; a value that no module makes is not offered.
#[test]
fn a_value_is_multiplied_skipped_and_blurred() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    page.click("#switch-0");
    page.click("#cell-1-9");
    let arm = |operation: &str| {
        page.set_value("#detail select.operation", operation);
        page.click("#arm");
        page.wait_for(".card.on", SOON);
        page.wait_script(IS_CURRENT, LONG);
    };
    arm("zero");
    let zeroed = logits(&page);
    page.click("#switch-2");
    arm("scale");
    page.wait_script(
        "document.querySelector('.card.on input.factor').value === '2'",
        SOON,
    );
    let doubled = logits(&page);
    page.set_value(".card.on input.factor", "0");
    page.wait_script(IS_CURRENT, LONG);
    assert!(largest_difference(&zeroed, &logits(&page)) < 1e-4);
    // What is no number leaves it as it was.
    page.set_value(".card.on input.factor", "");
    assert!(largest_difference(&zeroed, &logits(&page)) < 1e-4);
    assert!(largest_difference(&zeroed, &doubled) > 1e-2);
    page.click("#switch-3");

    arm("noise");
    let noisy = logits(&page);
    page.set_value(".card.on input.seed", "5");
    page.wait_script(IS_CURRENT, LONG);
    let other = logits(&page);
    assert!(largest_difference(&noisy, &other) > 1e-3);
    page.viewport(1280, 1400);
    page.screenshot("noise");
    let link = page.url();
    let fragment = link.split_once('#').unwrap().1;
    open_live(&page, &format!("/index.html?device=cpu#{fragment}"));
    page.wait_script(IS_CURRENT, LONG);
    assert!(largest_difference(&other, &logits(&page)) < 1e-4);

    page.click("#cell-1-9");
    page.set_value("#detail select.component", "mlp_activation");
    page.set_value("#detail select.operation", "skip");
    let offered = texts(&page, "#detail select.component option");
    assert_eq!(
        offered,
        ["residual stream", "attention output", "MLP output"]
    );
    page.click("#picture-interchange");
    page.wait_text("#scan-progress", LONG, |text| text == "done");
    page.set_value(".bar select.operation", "mean");
    page.wait_text("#scan-progress", LONG, |text| text == "done");
    page.assert_clean_console();
}

#[test]
fn scan_stops_in_the_middle() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    page.click("#picture-interchange");
    page.set_value("#shots", "10");
    page.click("#new-pair");
    page.wait_script(
        "document.querySelectorAll('#base-tokens li').length > 120",
        SOON,
    );
    page.wait_script(IS_CURRENT, LONG);
    page.script(
        "const progress = () => document.querySelector('#scan-progress').textContent;
         const scan = document.querySelector('#scan');
         scan.click();
         while (!/^[1-9]\\d* %, \\d+ s left$/.test(progress())) await new Promise((done) => setTimeout(done));
         scan.click();",
        &[],
    );
    page.wait_text("#scan-progress", SOON, |text| {
        text.starts_with("stopped at ")
    });
    let n_done = || {
        page.script(
            "return document.querySelectorAll('#grid td:not(.unknown)').length;",
            &[],
        )
    };
    let wait = "return new Promise((done) => setTimeout(done, 300));";
    page.script(wait, &[]);
    let before = n_done();
    assert_ne!(before, json!(0));
    page.viewport(1280, 1400);
    page.screenshot("scan-stopped");
    page.script(wait, &[]);
    assert_eq!(n_done(), before);
    page.wait_text("#scan", SOON, |text| text == "Scan");
    page.assert_clean_console();
}

#[test]
fn keys_move_the_cursor_and_enter_swaps_there() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    page.click("#switch-0");
    page.click("#picture-interchange");
    page.focus("#grid");
    let at = |cell: &str| {
        let active = format!("#grid[aria-activedescendant='{cell}']");
        page.wait_for(&active, SOON);
        page.wait_for(&format!("#{cell}.cursor"), SOON);
    };
    at("cell-2-9");
    page.press(Key::Left);
    at("cell-2-8");
    page.press(Key::Down);
    at("cell-1-8");
    page.press(Key::Home);
    at("cell-1-0");
    page.press(Key::Left);
    at("cell-1-0");
    page.press(Key::Up + Key::Up);
    at("cell-2-0");
    page.press(Key::End);
    at("cell-2-9");
    page.press(Key::Enter);
    page.wait_for("#switch-2[aria-checked=true]", SOON);
    wait_verdict(&page, "The answer flipped from False to True.");
    let focused: Value = page.script("return document.activeElement.id;", &[]);
    assert_eq!(focused, json!("grid"));
    page.assert_clean_console();
}

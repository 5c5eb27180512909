//! A person types prompts.

use serde_json::json;
use swivel_e2e::{Browser, Gpu, Page};

use super::{CPU, IS_CURRENT, LONG, SOON, click_button, open_live, server, texts, wait_verdict};

/// The chips of a strip, joined, with what was made visible made invisible again.
fn joined(page: &Page<'_>, side: &str) -> String {
    let pieces = texts(page, &format!("#{side}-tokens .piece")).concat();
    pieces.replace('␣', " ").replace('⏎', "\n")
}

#[test]
fn tokens_show_positions_ids_spaces_and_lines_and_nothing_is_trimmed() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    let text = "  sugar, lady\n\nscarf=  \n";
    page.type_into("#base", text);
    page.wait_until("the strip to hold the text", SOON, || {
        (joined(&page, "base") == text).then_some(())
    });
    assert_eq!(page.prop("#base", "value").as_deref(), Some(text));
    let shown = texts(&page, "#base-tokens .piece").concat();
    assert!(shown.contains('␣') && shown.contains('⏎'), "{shown}");

    let positions: Vec<usize> = texts(&page, "#base-tokens .at")
        .iter()
        .map(|at| at.parse().unwrap())
        .collect();
    assert_eq!(positions, (0..positions.len()).collect::<Vec<_>>());
    let title = page.attr("#base-tokens li:first-child", "title").unwrap();
    assert!(title.starts_with("token 0, id "), "{title}");
    page.wait_script(IS_CURRENT, LONG);
    page.screenshot("typed-spaces");

    page.wait_text("#notes", SOON, |text| {
        text.contains("base ends with a space or a new line")
    });
    click_button(&page, "#notes", "remove it");
    let kept = text.trim_end();
    page.wait_until("the end to be gone", SOON, || {
        (page.prop("#base", "value").as_deref() == Some(kept)).then_some(())
    });
    assert_eq!(joined(&page, "base"), kept);
    page.assert_clean_console();
}

#[test]
fn linter_says_what_is_wrong_and_mends_it() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    let has_note = |part: &str| {
        page.wait_text("#notes", SOON, |text| text.contains(part));
    };
    let value = |wanted: &str| {
        page.wait_until(wanted, SOON, || {
            (page.prop("#base", "value").as_deref() == Some(wanted)).then_some(())
        });
    };
    has_note("same length");
    has_note("answers differ");

    page.type_into("#base", "sugar,lady,sugar,scarfz,sugar=");
    has_note("base has “scarfz”, which the model never saw");
    click_button(&page, "#notes", "use “scarf”");
    value("sugar,lady,sugar,scarf,sugar=");
    has_note("same length");

    page.type_into("#base", "sugar,lady,sugar,scarf,sugar");
    has_note("and 10 tokens: tokens are matched from the end");
    click_button(&page, "#notes", "add “=”");
    value("sugar,lady,sugar,scarf,sugar=");

    page.type_into("#base", &"sugar,".repeat(150));
    has_note("base has 300 tokens, the model reads at most 256");
    page.screenshot("too-long");
    click_button(&page, "#notes", "keep the last 256");
    value(&"sugar,".repeat(128));
    page.wait_script(IS_CURRENT, LONG);

    page.type_into("#base", "");
    has_note("base is empty: type at least one token");
    page.type_into("#base", "sugar,lady,sugar,scarf,sugar=");
    wait_verdict(&page, "flipped");
    page.assert_clean_console();
}

#[test]
fn prompt_that_cannot_be_read_has_no_answer() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    wait_verdict(&page, "flipped");
    for text in [String::new(), "sugar,".repeat(150)] {
        page.type_into("#base", &text);
        page.wait_text("#notes", SOON, |notes| {
            notes.contains("base is empty") || notes.contains("300 tokens")
        });
        // What was computed for another prompt is not said of this one.
        page.wait_until("the old verdict to go", SOON, || {
            (!page.text("#answer").to_lowercase().contains("flipped")).then_some(())
        });
        assert!(!page.text("#notes").contains("answers differ"));
    }
    page.assert_clean_console();
}

#[test]
fn field_shows_every_line() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    for text in ["sugar,lady\n\nsugar=\n".to_owned(), "sugar,".repeat(40)] {
        page.type_into("#base", &text);
        page.wait_until("the strip", SOON, || {
            (joined(&page, "base") == text).then_some(())
        });
        page.wait_script(
            "(() => { const e = document.querySelector('#base'); return e.scrollHeight <= e.clientHeight + 2 && e.scrollWidth <= e.clientWidth + 2; })()",
            SOON,
        );
    }
}

#[test]
fn typing_changes_the_answer() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    page.type_into("#source", "");
    // Key by key, as hands do; answers that are out of date on the way are dropped.
    page.focus("#source");
    page.press("sugar,lady,sugar,scarf,sugar=");
    assert_eq!(
        page.prop("#source", "value").as_deref(),
        Some("sugar,lady,sugar,scarf,sugar=")
    );
    wait_verdict(&page, "The answer stays False.");
    page.wait_text("#notes", SOON, |text| {
        text.contains("base and source are the same")
    });
    page.wait_text(".card.on", SOON, |text| {
        text.contains("has no effect on this pair")
    });
    page.assert_clean_console();
}

#[test]
fn new_pairs_swaps_and_examples_are_one_click() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    let text = |side: &str| page.prop(&format!("#{side}"), "value").unwrap();
    let (base, source) = (text("base"), text("source"));
    page.click("#swap");
    assert_eq!(
        (text("base"), text("source")),
        (source.clone(), base.clone())
    );
    wait_verdict(&page, "The answer flipped from True to False.");

    page.click("#new-pair");
    page.wait_until("another pair", SOON, || {
        (text("base") != source).then_some(())
    });
    wait_verdict(&page, "The answer");
    page.set_value("#shots", "3");
    page.click("#new-pair");
    page.wait_until("three lines above the query", SOON, || {
        (text("base").lines().count() == 4).then_some(())
    });
    wait_verdict(&page, "The answer");

    for idx in 0..4 {
        page.set_value("#examples", &idx.to_string());
        page.script("return new Promise((done) => setTimeout(done));", &[]);
        wait_verdict(&page, "flipped");
    }
    assert_eq!(text("base").lines().count(), 11);
    page.wait_text("#verdict", SOON, |text| text.contains("flipped"));
    page.screenshot("ten-demonstrations");
    page.assert_clean_console();
}

#[test]
fn typed_html_is_text() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    let text = "<img src=x onerror=\"window.hacked=1\"><script>window.hacked=1</script>";
    page.type_into("#base", text);
    page.type_into("#source", text);
    page.wait_until("the strip", SOON, || {
        (joined(&page, "base") == text).then_some(())
    });
    page.wait_script(IS_CURRENT, LONG);
    assert_eq!(page.count("#app img, #app script"), 0);
    assert_eq!(
        page.script("return window.hacked ?? null;", &[]),
        json!(null)
    );
    page.assert_clean_console();
}

#[test]
fn off_the_task_the_verdict_is_sober() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    wait_verdict(&page, "FLIPPED");
    page.wait_text(".card:nth-of-type(1)", SOON, |text| !text.contains("△"));
    // Four words are no line of it.
    page.type_into("#base", "sugar,lady,sugar,scarf=");
    page.type_into("#source", "lemon,probable,wool,likely=");
    page.wait_text(".card:nth-of-type(1)", SOON, |text| {
        text.contains(".999 was measured on other prompts than these")
    });
    page.click("#switch-0");
    // All of the source's last token: its answer.
    page.click("#cell-2-7");
    page.click("#arm");
    page.wait_for("#switch-2[aria-checked=true]", SOON);
    let verdict = wait_verdict(&page, "The answer changed from ");
    assert!(!verdict.contains("FLIPPED"), "{verdict}");
    assert_eq!(page.count(".verdict.flipped"), 0);
    page.screenshot("off-the-task");
    page.assert_clean_console();
}

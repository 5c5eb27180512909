//! A person switches directions on and off, and takes changes back.

use serde_json::json;
use swivel_e2e::{Browser, Gpu, Key};

use super::{
    CPU, SOON, click_button, largest_difference, logits, marked, open_live, server, wait_verdict,
};

#[test]
fn switch_flips_the_answer_and_flips_it_back() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    let first = wait_verdict(&page, "FLIPPED The answer flipped from False to True.");
    assert_eq!(
        page.attr("#switch-0", "aria-checked").as_deref(),
        Some("true")
    );
    assert_eq!(
        (marked(&page, "base"), marked(&page, "source")),
        (vec!["9".into()], vec!["9".into()])
    );
    page.wait_for(".verdict.flipped", SOON);
    page.wait_for(".answers .change", SOON);
    page.wait_text(".verdict", SOON, |text| {
        text.contains("✓ the program says the same: True")
            && text.contains("nats towards the source's answer: recovered share +.98")
            && text.contains("nats: how far all probabilities together moved")
    });
    page.wait_text("#cost", SOON, |text| {
        text.contains("computed in ") && text.contains("0 of 30 layer × token cells again")
    });

    page.click("#switch-0");
    wait_verdict(&page, "The answer is False. Switch a direction on");
    assert_eq!(
        page.attr("#switch-0", "aria-checked").as_deref(),
        Some("false")
    );
    for (_, [base, intervened, _]) in logits(&page) {
        assert_eq!(base, intervened);
    }
    assert_eq!(
        page.count(".verdict.flipped, .answers .change, .tokens li.marked"),
        0
    );
    page.screenshot("off");

    page.click("#switch-0");
    let again = wait_verdict(&page, "FLIPPED");
    assert_eq!(first, again);
    page.assert_clean_console();
}

#[test]
fn screen_reader_hears_of_a_flip() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    page.click("#switch-0");
    wait_verdict(&page, "Switch a direction on");
    // What is announced is a change inside a live region that stays.
    page.script("window.region = document.querySelector('#verdict');", &[]);
    page.click("#switch-0");
    wait_verdict(&page, "The answer flipped from False to True.");
    page.wait_script(
        "region.isConnected && region === document.querySelector('#verdict')",
        SOON,
    );
    assert_eq!(
        page.attr("#verdict", "aria-live").as_deref(),
        Some("polite")
    );
    assert_eq!(page.attr("#verdict", "role").as_deref(), Some("status"));
    let label = page.attr("#switch-0", "aria-label").unwrap();
    assert!(label.contains("op5, the output of 07065a"), "{label}");
    let unnamed = page.script(
        "return [...document.querySelectorAll('button, input, select, textarea, [tabindex]')]
           .filter((e) => e.checkVisibility())
           .filter((e) => !(e.ariaLabel || e.labels?.length || e.textContent.trim()))
           .map((e) => e.outerHTML);",
        &[],
    );
    assert_eq!(unnamed, json!([]));
}

#[test]
fn tab_reaches_a_switch_and_space_toggles_it() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    for _ in 0..40 {
        page.press(Key::Tab);
        if page.script("return document.activeElement.id;", &[]) == json!("switch-0") {
            break;
        }
    }
    page.wait_script(
        "document.activeElement.matches('#switch-0:focus-visible')",
        SOON,
    );
    let outline = page.script(
        "return getComputedStyle(document.activeElement).outlineStyle;",
        &[],
    );
    assert_ne!(outline, json!("none"));
    page.press(" ");
    wait_verdict(&page, "Switch a direction on");
    page.press(" ");
    wait_verdict(&page, "flipped");
    page.press(Key::Tab);
    page.wait_script("document.activeElement.id === 'strength-0'", SOON);
    page.press(Key::Home);
    wait_verdict(&page, "The answer stays False.");
    page.assert_clean_console();
}

#[test]
fn strength_0_is_the_base_and_beyond_1_overshoots() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    let at = |strength: &str| {
        page.set_value("#strength-0", strength);
        // The answer to the last strength is out of date at once, not only at the next turn.
        page.script("return new Promise((done) => setTimeout(done));", &[]);
        logits(&page)
    };
    let one = at("1");
    let zero = at("0");
    wait_verdict(&page, "The answer stays False.");
    page.wait_text("#notes", SOON, |text| {
        text.contains("strength 0 leaves the base as it is")
    });
    for (_, [base, intervened, _]) in &zero {
        assert!((base - intervened).abs() < 1e-5, "{base} {intervened}");
    }
    let two = at("2");
    let lead = |rows: &[(u32, [f64; 3])]| {
        let of = |id: u32| {
            rows.iter()
                .find(|row| row.0 == id)
                .map_or(f64::NAN, |row| row.1[1])
        };
        of(258) - of(262)
    };
    assert!(lead(&two) > lead(&one) && lead(&one) > lead(&zero));
    // A drag is one change.
    page.press(Key::Control + "z");
    page.press(Key::Control + "z");
    assert!(largest_difference(&at("1"), &one) < 1e-6);
    page.assert_clean_console();
}

#[test]
fn several_directions_work_at_once() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    let only_first = logits(&page);
    page.click("#switch-1");
    page.wait_text("#verdict", SOON, |text| text.contains("The answer"));
    let both = logits(&page);
    page.click("#switch-0");
    page.wait_for("#switch-0[aria-checked=false]", SOON);
    let only_second = logits(&page);
    assert_eq!(page.count(".card.on"), 1);
    for (name, other) in [("first", &only_first), ("second", &only_second)] {
        let same = both.iter().all(|row| other.contains(row));
        assert!(!same, "both directions answer as the {name} alone");
    }
    page.assert_clean_console();
}

#[test]
fn every_change_is_undone_and_redone() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    let base = || page.prop("#base", "value").unwrap();
    let before = base();
    page.wait_script("[...document.querySelectorAll('header button')].find((b) => b.textContent === 'Undo').disabled", SOON);

    page.click("#switch-0");
    wait_verdict(&page, "Switch a direction on");
    page.press(Key::Control + "z");
    wait_verdict(&page, "flipped");
    page.press(Key::Control + Key::Shift + "z");
    wait_verdict(&page, "Switch a direction on");
    click_button(&page, "header", "Undo");
    wait_verdict(&page, "flipped");
    click_button(&page, "header", "Redo");
    wait_verdict(&page, "Switch a direction on");

    page.type_into("#base", "lady");
    page.click("#swap");
    let swapped = base();
    assert_ne!(swapped, "lady");
    click_button(&page, "header", "Undo");
    page.wait_until("the prompt of before", SOON, || {
        (base() == "lady").then_some(())
    });
    click_button(&page, "header", "Undo");
    page.wait_until("the first prompt", SOON, || {
        (base() == before).then_some(())
    });
    click_button(&page, "header", "Undo");
    wait_verdict(&page, "flipped");
    for _ in 0..3 {
        click_button(&page, "header", "Redo");
    }
    page.wait_until("the last prompt", SOON, || {
        (base() == swapped).then_some(())
    });
    page.assert_clean_console();
}

//! A person toggles, looks inside, and scans.

use serde_json::{Value, json};
use swivel_e2e::{Browser, Gpu, Key, Page};

use super::{
    CPU, IS_CURRENT, LONG, SOON, click_button, hidden_text, largest_difference, logits, open_live,
    server, texts, wait_verdict,
};

/// The cells of a row of the picture, from the first token.
fn row(page: &Page<'_>, row: usize) -> Vec<String> {
    texts(page, &format!("#grid td[id^='cell-{row}-']"))
}

/// Positions that a strip marks.
fn marked(page: &Page<'_>, side: &str) -> Vec<String> {
    texts(page, &format!("#{side}-tokens li.marked .at"))
}

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

#[test]
fn program_shows_both_values_and_frames_the_armed_variable() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    assert_eq!(texts(&page, ".program-picture > g").len(), 10);
    let armed = || texts(&page, ".program-picture g.armed");
    let [op5] = &armed()[..] else {
        panic!("{:?}", armed())
    };
    assert!(
        op5.starts_with("op5 = ") && op5.contains("False\u{a0}·\u{a0}True"),
        "{op5}"
    );
    page.click("#switch-0");
    page.wait_until("no frame", SOON, || armed().is_empty().then_some(()));
    page.click("#switch-1");
    page.wait_until("op3's frame", SOON, || {
        matches!(&armed()[..], [op3] if op3.starts_with("op3 = ")).then_some(())
    });
    let first = hidden_text(&page, ".program-picture g .base");
    assert_eq!(first, "sugar");
    page.viewport(1280, 1400);
    page.screenshot("program");
    page.assert_clean_console();
    // Inside a text, SVG draws text only.
    assert_eq!(
        page.count(".program-picture text :not(tspan)"),
        0,
        "what stands between the values is not drawn"
    );
}

#[test]
fn lens_shows_base_intervened_and_their_difference() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    page.wait_script(
        "document.querySelectorAll('#grid td.unknown').length === 0",
        LONG,
    );
    let last = || hidden_text(&page, "#cell-2-9");
    page.click("#shown-base");
    page.wait_until("the base's answer", SOON, || {
        (last() == "False").then_some(())
    });
    page.click("#shown-intervened");
    page.wait_until("the intervened answer", SOON, || {
        (last() == "True").then_some(())
    });
    page.click("#shown-difference");
    page.wait_until("a signed number", SOON, || {
        last().starts_with('+').then_some(())
    });
    let change: f64 = last().parse().unwrap();
    let moved = page.text(".verdict");
    assert!(
        moved.contains(&format!("{change:+.1} nats")),
        "{change} {moved}"
    );
    // Nothing before the last layer's last token changes.
    let others = [row(&page, 0), row(&page, 1), row(&page, 2)[..9].to_vec()].concat();
    assert!(others.iter().all(|text| text == "·"), "{others:?}");
    assert_eq!(page.count("#grid td.armed, #grid td.cone"), 1);
    page.wait_for("#cell-2-9.armed.cone", SOON);
    page.viewport(1280, 1400);
    page.screenshot("lens-difference");
    page.assert_clean_console();
}

#[test]
fn attention_of_every_head_adds_up() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    page.click("#picture-attention");
    for layer in 0..3 {
        page.set_value("#attention-layer", &layer.to_string());
        page.wait_script(
            "document.querySelectorAll('#grid td.unknown').length === 0",
            LONG,
        );
        for head in 0..4 {
            let sum: f64 = row(&page, head)
                .iter()
                .map(|text| text.parse().unwrap_or(0.0))
                .sum();
            assert!((sum - 1.0).abs() < 0.06, "layer {layer} head {head}: {sum}");
        }
    }
    page.click("#cell-1-4");
    page.wait_script(
        "document.querySelectorAll('#grid td.unknown').length === 4 * 5",
        LONG,
    );
    page.wait_text("#detail", SOON, |text| {
        text.contains("head 1") && text.contains("token 4")
    });
    page.viewport(1280, 1400);
    page.screenshot("attention");
    page.assert_clean_console();
}

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
    page.wait_script(
        "document.querySelectorAll('#grid td.unknown').length === 30",
        SOON,
    );
    page.click("#scan");
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
    page.wait_script(
        "document.querySelectorAll('#grid td.unknown').length === 30",
        SOON,
    );
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
    page.click("#scan");
    page.wait_text("#scan-progress", LONG, |text| text == "done");
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

#[test]
fn armed_token_of_a_long_prompt_is_in_sight() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    page.set_value("#examples", "3");
    page.wait_script(
        "document.querySelectorAll('#base-tokens li').length > 120",
        LONG,
    );
    wait_verdict(&page, "flipped");
    // Each in what it scrolls in: the strip, and the picture.
    for css in [
        "#base-tokens li.marked",
        "#source-tokens li.marked",
        "#grid td.armed",
    ] {
        page.wait_script(
            &format!(
                "(() => {{
                   const wanted = document.querySelector('{css}');
                   const frame = wanted.closest('.tokens, .scroll').getBoundingClientRect();
                   const box = wanted.getBoundingClientRect();
                   return box.left >= frame.left - 1 && box.right <= frame.right + 1
                     && box.top >= frame.top - 1 && box.bottom <= frame.bottom + 1;
                 }})()"
            ),
            SOON,
        );
    }
    // The rows' names stay in sight and cover no cell.
    page.script(
        "const [label, cell] = ['#grid th[scope=row]', '#grid td.armed'].map((css) => document.querySelector(css));
         const [left, right] = [label, cell].map((e) => e.getBoundingClientRect());
         const frame = label.closest('.scroll');
         if (frame.scrollLeft < 500) throw Error(`it is not scrolled: ${frame.scrollLeft}`);
         const start = frame.getBoundingClientRect().left;
         if (Math.abs(left.left - start) > 6) throw Error(`the row's name is at ${left.left}, the frame at ${start}`);
         if (right.left < left.right) throw Error(`the cell at ${right.left} is under the name, to ${left.right}`);",
        &[],
    );
    page.screenshot("long-prompt");
    // The cursor that moves to the left edge is not under them.
    page.focus("#grid");
    for _ in 0..30 {
        page.press(Key::Left);
    }
    page.wait_script(
        "(() => {
           const box = document.querySelector('#grid td.cursor').getBoundingClientRect();
           const at = document.elementFromPoint(box.left + 3, box.top + box.height / 2);
           return at?.classList.contains('cursor');
         })()",
        SOON,
    );
}

//! A person looks inside: the program, the lens, attention, a long prompt.

use swivel_e2e::{Browser, Gpu, Key};

use super::{CPU, LONG, SOON, hidden_text, open_live, row, server, texts, wait_verdict};

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

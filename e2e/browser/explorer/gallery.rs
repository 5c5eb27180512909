//! The gallery: flips that show before their models are there.

use serde_json::json;
use swivel_e2e::{Browser, Gpu, Key, Page};

use super::{IS_CURRENT, LONG, SOON, assert_fits_width, server, wait_verdict};

#[test]
fn a_question_flips_before_its_model_is_there() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    // The first of them is what the page begins with.
    page.open("/?device=cpu");
    for (idx, (name, verdict, model)) in [
        ("agreement", "from ␣are to ␣is", "Gemma 3 270M, 253 MB"),
        (
            "ioi",
            "from ␣Brian to ␣Steven",
            "SmolLM2 135M Instruct, 98 MB",
        ),
        ("gender", "from ␣she to ␣he", "Gemma 3 270M, 253 MB"),
        ("capitals", "from ␣Tokyo to ␣Rome", "Gemma 3 270M, 253 MB"),
    ]
    .into_iter()
    .enumerate()
    {
        if idx > 0 {
            page.click(&format!("#question-{name}"));
        }
        page.wait_text("#verdict", SOON, |text| text.contains(verdict));
        page.wait_for("#badge[data-device=recorded]", SOON);
        page.wait_text("#fetch-model", SOON, |text| text.contains(model));
        page.wait_text("#asked", SOON, |text| text.contains("of new pairs"));
        assert_eq!(page.count(".card"), 1);
        // The recorded answer has both: switched off, the base stays as it is.
        page.click("#switch-0");
        page.wait_text("#verdict", SOON, |text| text.contains("The answer is"));
        page.click("#switch-0");
        page.wait_text("#verdict", SOON, |text| text.contains(verdict));
        page.screenshot(&format!("question-{name}"));
    }
    // The built-in model comes by itself.
    page.click("#question-programs");
    page.wait_script(IS_CURRENT, LONG);
    page.wait_for("#badge[data-device=cpu]", LONG);
    page.wait_gone("#fetch-model", SOON);
    wait_verdict(&page, "The answer flipped from False to True.");
    page.assert_clean_console();
}

#[test]
fn questions_fit_a_phone_and_the_dark() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    page.phone();
    page.emulate_dark();
    page.open("/?device=cpu");
    for name in ["agreement", "ioi", "gender", "capitals"] {
        page.click(&format!("#question-{name}"));
        page.wait_for("#fetch-model", SOON);
        assert_fits_width(&page, name);
        page.screenshot(&format!("question-{name}-phone"));
    }
}

/// From an empty profile, milliseconds after navigation; the best of three visits, since other work on the machine only adds.
#[test]
fn first_flip_is_visible_below_a_second() {
    let server = server();
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        let browser = Browser::start(Gpu::Off);
        let page = browser.page(&server);
        page.before_load(
            "new MutationObserver(() => {
               const verdict = document.querySelector('#verdict')?.textContent ?? '';
               if (verdict.includes('FLIPPED')) window.flipped ??= performance.now();
             }).observe(document, { subtree: true, childList: true });",
        );
        page.open("/");
        let found = page.wait_script("window.flipped", SOON).as_f64().unwrap();
        println!("first flip: {found:.0} ms");
        best = best.min(found);
        if best < 1000.0 {
            return;
        }
    }
    panic!("first flip after {best:.0} ms; 1000 are allowed");
}

/// Without a mouse: from the questions to a flip.
#[test]
fn keyboard_alone_walks_from_the_gallery_to_a_flip() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    page.open("/?device=cpu");
    page.wait_for("#fetch-model", SOON);
    tab_to(&page, "#question-programs");
    page.press(Key::Enter);
    page.wait_script(IS_CURRENT, LONG);
    wait_verdict(&page, "The answer flipped from False to True.");
    tab_to(&page, "#switch-0");
    page.press(" ");
    wait_verdict(&page, "The answer is False.");
    page.press(" ");
    wait_verdict(&page, "The answer flipped from False to True.");
    tab_to(&page, "#try-pairs");
    page.press(Key::Enter);
    page.wait_text("#flips-progress", LONG, |text| {
        text.starts_with("100 of 100")
    });
}

/// Presses the tabulator until an element has the focus, which can then be seen.
fn tab_to(page: &Page<'_>, css: &str) {
    for _ in 0..80 {
        // A field for files takes no keys of the driver.
        for kind in ["rawKeyDown", "keyUp"] {
            page.cdp(
                "Input.dispatchKeyEvent",
                json!({ "type": kind, "key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9 }),
            );
        }
        let js = "const own = document.activeElement;
            return own.matches(arguments[0]) && own.matches(':focus-visible');";
        if page.script(js, &[json!(css)]) == json!(true) {
            return;
        }
    }
    panic!("{css} is not reached by the tabulator");
}

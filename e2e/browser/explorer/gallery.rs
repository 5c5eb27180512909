//! The gallery: flips that show before their models are there.

use swivel_e2e::{Browser, Gpu};

use super::{CPU, IS_CURRENT, LONG, SOON, open_live, server, wait_verdict};

#[test]
fn a_question_flips_before_its_model_is_there() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    for (name, verdict, model) in [
        ("agreement", "from ␣are to ␣is", "Gemma 3 270M, 253 MB"),
        (
            "ioi",
            "from ␣Brian to ␣Steven",
            "SmolLM2 135M Instruct, 98 MB",
        ),
    ] {
        page.click(&format!("#question-{name}"));
        page.wait_text("#verdict", SOON, |text| text.contains(verdict));
        page.wait_for("#badge[data-device=recorded]", SOON);
        page.wait_text("#fetch-model", SOON, |text| text.contains(model));
        assert_eq!(page.count(".card"), 1);
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
    open_live(&page, CPU);
    for name in ["agreement", "ioi"] {
        page.click(&format!("#question-{name}"));
        page.wait_for("#fetch-model", SOON);
        let js = "return document.documentElement.scrollWidth - innerWidth;";
        assert!(page.script(js, &[]).as_i64().unwrap() <= 0, "{name}");
        page.screenshot(&format!("question-{name}-phone"));
    }
}

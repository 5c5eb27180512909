//! Text that is generated on the page.

use swivel_e2e::{Browser, Gpu};

use super::{CPU, LONG, SOON, open_live, server, texts, wait_verdict};

#[test]
fn both_texts_go_on_and_stop_where_a_person_says() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    wait_verdict(&page, "flipped");
    page.click("#go-on");
    page.wait_text("#text-progress", LONG, |text| {
        text.starts_with("40 tokens, ")
    });
    let tokens = |run: &str| page.count(&format!("#text-{run} span[title]"));
    assert_eq!(["base", "intervened"].map(tokens), [40, 40]);
    // What was likely stands behind each token.
    let title = page.attr("#text-base span[title]", "title").unwrap();
    assert_eq!(title.lines().count(), 5, "{title}");
    assert!(title.starts_with('“'), "{title}");
    let first = |run: &str| texts(&page, &format!("#text-{run} span[title]"))[0].clone();
    assert_eq!(["base", "intervened"].map(first), ["False", "True"]);
    page.screenshot("text");
    // Other interventions, another text.
    page.click("#switch-0");
    page.wait_gone("#text-base", SOON);
    page.click("#acts-everywhere");
    page.click("#next-drawn");
    page.click("#go-on");
    page.wait_for("#text-base", LONG);
    page.wait_gone("#text-intervened", SOON);
    page.assert_clean_console();
}

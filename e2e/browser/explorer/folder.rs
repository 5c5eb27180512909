//! What the host has: directions that are learned while the page is open, and models.

use std::{fs, time::Duration};

use serde_json::json;
use swivel_e2e::{Browser, Gpu, Overlay, Page};

use super::{
    CPU, LONG, SOLVER, SOON, click_button, direction_file, hidden_text, negated, open_live, server,
    texts, wait_notice, wait_verdict,
};

/// The page asks every two seconds.
const TWO_LOOKS: Duration = Duration::from_secs(5);

fn lists(page: &Page<'_>) -> usize {
    let entries = "performance.getEntriesByType('resource').filter((e) => e.name.endsWith('/directions/index.json'))";
    let found = page.script(&format!("return {entries}.length;"), &[]);
    found.as_u64().unwrap_or(0) as usize
}

#[test]
fn direction_that_is_learned_while_the_page_is_open_appears() {
    let server = server();
    let folder = tempfile::tempdir().unwrap();
    // What the page brings itself, as another program wrote it, is no second card.
    let copy = direction_file(|header, _| {
        header["__metadata__"]["created_by"] = json!("swivel 9.9.9");
        header["__metadata__"]["controls"] = json!(r#"{"random":0.5,"full":1.0,"shuffled":0.5}"#);
    });
    fs::write(folder.path().join("copy.safetensors"), copy).unwrap();
    server.serve_live("/directions", folder.path());
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    assert_eq!(page.count(".card"), 2);

    let mine = folder.path().join("my #1 direction.safetensors");
    fs::write(&mine, negated()).unwrap();
    page.wait_for("#switch-2", TWO_LOOKS);
    wait_notice(&page, &["New: my #1 direction.safetensors", "op5"]);
    page.screenshot("folder-new");
    page.click("#switch-0");
    wait_verdict(&page, "Switch a direction on");
    page.click("#switch-2");
    wait_verdict(&page, "The answer flipped from False to True.");
    // It was asked for once, however often the list was.
    let n_asked = || {
        let all = server.requests().into_iter();
        all.filter(|request| request.path.contains("my%20%231"))
            .count()
    };
    let before = lists(&page);
    page.wait_until("another look", TWO_LOOKS, || {
        (lists(&page) > before).then_some(())
    });
    assert_eq!(n_asked(), 1);

    // What was opened stays when its file goes, and is the same card when it comes back.
    click_button(&page, ".notice-line", "Close");
    fs::remove_file(&mine).unwrap();
    let before = lists(&page);
    page.wait_until("another look", TWO_LOOKS, || {
        (lists(&page) > before).then_some(())
    });
    fs::write(&mine, negated()).unwrap();
    fs::write(folder.path().join("letter.safetensors"), "Dear page,").unwrap();
    let before = lists(&page);
    page.wait_until("two looks", 2 * TWO_LOOKS, || {
        (lists(&page) > before + 1).then_some(())
    });
    assert_eq!(page.count(".card"), 3);
    assert_eq!(texts(&page, ".notice"), [""; 0]);
    wait_verdict(&page, "flipped");
    page.assert_clean_console();
}

#[test]
fn folder_of_a_static_host_is_read_once() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    page.script("return new Promise((done) => setTimeout(done, 4500));", &[]);
    assert_eq!(lists(&page), 1);
}

#[test]
fn hidden_page_asks_nothing_and_asks_at_once_when_it_is_seen() {
    let server = server();
    let folder = tempfile::tempdir().unwrap();
    server.serve_live("/directions", folder.path());
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    page.before_load(
        "Object.defineProperty(document, 'hidden', { get: () => window.isAway ?? false });",
    );
    open_live(&page, CPU);
    page.wait_until("a look", TWO_LOOKS, || (lists(&page) > 1).then_some(()));
    page.script("window.isAway = true;", &[]);
    // One look may be under way.
    page.script("return new Promise((done) => setTimeout(done, 500));", &[]);
    let before = lists(&page);
    page.script("return new Promise((done) => setTimeout(done, 4500));", &[]);
    assert_eq!(lists(&page), before);
    let at_once = page.script(
        "window.isAway = false;
         const list = new Promise((done) => new PerformanceObserver((all) => {
           if (all.getEntries().some((e) => e.name.endsWith('/directions/index.json'))) done(performance.now());
         }).observe({ type: 'resource' }));
         const start = performance.now();
         document.dispatchEvent(new Event('visibilitychange', { bubbles: true }));
         return await list - start;",
        &[],
    );
    let ms = at_once.as_f64().unwrap();
    assert!(ms < 1000.0, "{ms} ms");
}

#[test]
fn host_that_is_gone_is_asked_more_and_more_rarely() {
    let server = server();
    let folder = tempfile::tempdir().unwrap();
    server.serve_live("/directions", folder.path());
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    page.wait_until("a look", TWO_LOOKS, || (lists(&page) > 1).then_some(()));
    server.replace("/directions/index.json", Overlay::Status(503));
    let before = lists(&page);
    page.script(
        "return new Promise((done) => setTimeout(done, 11_000));",
        &[],
    );
    // Of five turns the 1st, the 2nd or 3rd, and no more.
    let n_looks = lists(&page) - before;
    assert!((1..=3).contains(&n_looks), "{n_looks}");
    page.click("#switch-0");
    wait_verdict(&page, "Switch a direction on");
}

#[test]
fn models_of_the_host_are_offered() {
    let server = server();
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        let bytes = server.file(&format!("{SOLVER}/{name}"));
        server.replace(&format!("/models/my%20model/{name}"), Overlay::Bytes(bytes));
    }
    server.replace(
        "/models/index.json",
        Overlay::Bytes(br#"["my model", "solver"]"#.to_vec()),
    );
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    page.click("#model-menu summary");
    page.wait_for("#listed-models", SOON);
    assert_eq!(texts(&page, "#listed-models button"), ["my model"]);
    page.screenshot("model-menu");
    click_button(&page, "#listed-models", "my model");
    page.wait_script(
        "performance.getEntriesByName('swivel-model').length === 2",
        LONG,
    );
    wait_verdict(&page, "flipped");
    assert!(!page.is_visible("#model-menu .sheet"));
    assert!(hidden_text(&page, "#model-menu summary").contains("my model"));
    page.assert_clean_console();
}

#[test]
fn host_without_a_list_offers_nothing_and_is_asked_once() {
    let server = server();
    server.replace("/models/index.json", Overlay::Status(404));
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    page.assert_clean_console();
    for _ in 0..2 {
        page.click("#model-menu summary");
        page.wait_for("#address", SOON);
        page.click("#model-menu summary");
        page.wait_gone("#address", SOON);
    }
    page.wait_until("the question", SOON, || {
        let asked = server.requests().into_iter();
        let n_asked = asked
            .filter(|request| request.path == "/models/index.json")
            .count();
        (n_asked == 1).then_some(())
    });
    assert_eq!(page.count("#listed-models, .notice"), 0);
}

#[test]
fn menus_close_on_a_click_elsewhere_and_on_escape() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    for menu in ["#model-menu", "#device-menu"] {
        let (summary, sheet) = (format!("{menu} summary"), format!("{menu} .sheet"));
        page.click(&summary);
        page.wait_for(&sheet, SOON);
        // Inside, it stays.
        page.click(&format!("{menu} .sheet > p"));
        assert!(page.is_visible(&sheet), "{menu}");
        page.click("h1");
        page.wait_gone(&sheet, SOON);

        page.click(&summary);
        page.wait_for(&sheet, SOON);
        page.press(swivel_e2e::Key::Escape + "");
        page.wait_gone(&sheet, SOON);
        page.wait_script(
            &format!("document.activeElement === document.querySelector('{summary}')"),
            SOON,
        );
    }
    page.assert_clean_console();
}

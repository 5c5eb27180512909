//! What the tests lean on, tried on a page of its own: a helper that does nothing would let any test pass.

use std::{fs, panic, time::Duration};

use serde_json::json;
use swivel_e2e::{Browser, Gpu, Key, Overlay, Server};

const SOON: Duration = Duration::from_secs(5);

/// The built page's server, with the page of this module at `/harness.html`.
fn server() -> Server {
    let server = Server::start();
    for (path, text) in [
        ("/harness.html", include_str!("harness.html")),
        ("/harness.js", include_str!("harness.js")),
        ("/worker.js", include_str!("worker.js")),
    ] {
        server.replace(path, Overlay::Bytes(text.into()));
    }
    server
}

#[test]
fn hands_reach_the_page() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    page.open("/harness.html#plan");
    assert!(page.url().ends_with("/harness.html#plan"));
    let heard = |wanted: &str| {
        page.wait_text("#heard", SOON, |text| text == wanted);
    };

    page.type_into("#prompt", "milk, lemon 🍋");
    heard("input milk, lemon 🍋");
    page.type_into("#prompt", "");
    heard("input");
    page.press("ab");
    page.press(Key::Control + "a");
    page.press("c");
    heard("input c");
    assert_eq!(page.prop("#prompt", "value").as_deref(), Some("c"));
    page.set_value("#strength", "7");
    heard("change 7");
    page.focus("#target");
    page.press(Key::Right);
    heard("keydown ArrowRight");
    page.click("#late");
    heard("late");

    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    fs::write(&one, "1").unwrap();
    fs::write(&two, "22").unwrap();
    page.upload("#files", &[&one, &two]);
    heard("change one:1 two:2");
    page.upload("#folder", &[folder.path()]);
    heard("change one:1 two:2");
    page.drop_files("#target", &[&one, &two]);
    heard("drop one:1 two:2");
}

#[test]
fn surroundings_reach_the_page() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    page.before_load("window.wasFirst = true");
    page.open("/harness.html");
    let yes = |expression: &str| page.wait_script(expression, SOON);

    yes("wasFirst");
    yes("innerWidth === 1280 && innerHeight === 800 && devicePixelRatio === 1");
    yes("matchMedia('(prefers-color-scheme: light)').matches");
    page.emulate_dark();
    yes("matchMedia('(prefers-color-scheme: dark)').matches");
    page.phone();
    yes("innerWidth === 390 && innerHeight === 844 && matchMedia('(pointer: coarse)').matches");
    yes("fetch('/harness.js').then((answer) => answer.ok)");
    page.go_offline();
    yes("!navigator.onLine && fetch('/harness.js').then(() => false, () => true)");

    assert!(page.first_contentful_paint_ms() > 0.0);
    assert!(page.js_heap_bytes() > 0.0);
}

#[test]
fn console_has_what_went_wrong() {
    let server = server();
    let source = b"console.error('from a worker'); fetch('http://127.0.0.1:1/worker');";
    server.replace("/worker.js", Overlay::Bytes(source.to_vec()));
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    page.open("/harness.html");
    page.assert_clean_console();

    page.script(
        "console.error('from the page');
         setTimeout(() => { throw Error('thrown'); });
         fetch('/missing');
         fetch('http://127.0.0.1:1/policy').catch(() => {});
         new Worker('/worker.js');",
        &[],
    );
    for wanted in [
        "from the page",
        "thrown",
        "/missing",
        "Content Security Policy",
        "from a worker",
    ] {
        page.wait_until(wanted, SOON, || {
            let errors = page.console_errors();
            errors
                .iter()
                .any(|error| error.contains(wanted))
                .then_some(())
        });
    }
}

#[test]
fn webgpu_computes_until_it_is_lost() {
    let server = server();
    let browser = Browser::start(Gpu::Software);
    let page = browser.page(&server);
    page.open("/harness.html");
    page.script(
        "window.said = [];
         window.worker = new Worker('/worker.js');
         worker.onmessage = (event) => said.push(event.data);",
        &[],
    );
    page.wait_script("said[0] === 'device'", SOON);
    page.script(
        "return (async () => {
           const adapter = await navigator.gpu.requestAdapter();
           window.device = await adapter.requestDevice();
           device.lost.then((info) => said.push(`page lost: ${info.reason}`));
         })();",
        &[],
    );
    page.lose_gpu();
    page.wait_script(
        "said.includes('lost: unknown') && said.includes('page lost: unknown')",
        SOON,
    );
}

#[test]
fn webgpu_is_absent_where_it_is_off() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    page.open("/harness.html");
    let adapter = page.script(
        "return navigator.gpu?.requestAdapter().then((a) => a !== null);",
        &[],
    );
    assert!(
        adapter == json!(null) || adapter == json!(false),
        "{adapter}"
    );
}

#[test]
fn failure_says_what_was_not_there() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    page.open("/harness.html");
    page.script("console.warn('a warning')", &[]);
    let wait = || page.wait_for("#nowhere", Duration::from_millis(100));
    let payload = panic::catch_unwind(panic::AssertUnwindSafe(wait)).unwrap_err();
    let message = payload.downcast_ref::<String>().unwrap();
    for wanted in ["`#nowhere`", "/harness.html", ".png", "a warning"] {
        assert!(message.contains(wanted), "{message}");
    }
}

//! The page as it is so far.

use std::time::Duration;

use swivel_e2e::{Browser, Gpu, Server};

#[test]
fn page_loads_without_an_error() {
    let server = Server::start();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);

    page.open("/");
    page.wait_text("h1", Duration::from_secs(10), |text| text == "Swivel");
    page.wait_text("li:first-child", Duration::from_secs(1), |name| {
        name == "embedding"
    });
    page.assert_clean_console();
    page.screenshot("stub");

    page.emulate_dark();
    page.phone();
    page.screenshot("stub-dark-phone");
}

#[test]
fn missing_wasm_is_in_the_console() {
    let server = Server::start();
    let wasm = server.path_ending("_bg.wasm");
    server.replace(&wasm, swivel_e2e::Overlay::Status(404));
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);

    page.open("/");
    page.wait_until("an error", Duration::from_secs(10), || {
        let errors = page.console_errors();
        errors
            .iter()
            .any(|error| error.contains("404"))
            .then_some(())
    });
}

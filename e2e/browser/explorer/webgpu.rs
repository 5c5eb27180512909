//! The page on a graphics device, which here computes on the CPU.

use std::time::Duration;

use swivel_e2e::{Browser, Gpu, Page};

use super::{LONG, SOON, WEBGPU, hidden_text, open_live, server, wait_notice, wait_verdict};

/// For compiling shaders on the CPU.
const COMPILED: Duration = Duration::from_secs(100);

pub fn wait_webgpu(page: &Page<'_>) {
    open_live(page, WEBGPU);
    page.wait_for("#badge[data-device=webgpu]", COMPILED);
}

#[test]
fn webgpu_is_tested_and_then_predicts_and_toggles() {
    let server = server();
    let browser = Browser::start(Gpu::Software);
    let page = browser.page(&server);
    wait_webgpu(&page);
    let state = hidden_text(&page, "#gpu-state");
    assert!(
        state.contains("checked: off by ") && state.contains(" nats"),
        "{state}"
    );
    assert!(state.contains(" for a new pair"), "{state}");
    let cpu = hidden_text(&page, "#cpu-state");
    assert!(cpu.contains(" for a new pair"), "{cpu}");
    page.wait_text("#badge", SOON, |text| {
        text.contains("WebGPU") && text.contains("s")
    });
    wait_verdict(&page, "flipped");
    page.click("#switch-0");
    wait_verdict(&page, "Switch a direction on");
    page.click("#switch-0");
    wait_verdict(&page, "The answer flipped from False to True.");
    page.click("#new-pair");
    wait_verdict(&page, "The answer");
    page.wait_for("#badge[data-device=webgpu]", SOON);
    page.click("#device-menu summary");
    page.screenshot("webgpu");
    page.assert_clean_console();
}

#[test]
fn faster_device_is_chosen() {
    let server = server();
    let browser = Browser::start(Gpu::Software);
    let page = browser.page(&server);
    open_live(&page, "/");
    page.wait_script(
        "performance.getEntriesByName('swivel-tested').length",
        COMPILED,
    );
    // This adapter is slower than the CPU path.
    page.wait_for("#badge[data-device=cpu]", SOON);
    let state = hidden_text(&page, "#gpu-state");
    assert!(state.contains("checked: off by "), "{state}");
    page.assert_clean_console();
}

#[test]
fn lost_device_is_said_and_the_cpu_goes_on() {
    let server = server();
    let browser = Browser::start(Gpu::Software);
    let page = browser.page(&server);
    wait_webgpu(&page);
    wait_verdict(&page, "flipped");
    page.lose_gpu();
    page.click("#switch-0");
    wait_notice(&page, &["The graphics device failed", "goes on on the CPU"]);
    page.wait_for("#badge[data-device=cpu]", LONG);
    wait_verdict(&page, "The answer is False. Switch a direction on");
    page.click("#switch-0");
    wait_verdict(&page, "The answer flipped from False to True.");
    page.screenshot("lost-device");
}

#[test]
fn absent_webgpu_is_said_and_the_cpu_goes_on() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, WEBGPU);
    wait_notice(&page, &["WebGPU", "CPU goes on"]);
    page.wait_for("#badge[data-device=cpu]", SOON);
    wait_verdict(&page, "flipped");
    page.click("#device-menu summary");
    page.screenshot("no-webgpu");
}

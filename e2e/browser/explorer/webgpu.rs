//! The page on a graphics device, which here computes on the CPU.

use std::time::Duration;

use half::{bf16, f16};
use serde_json::Value;
use swivel_e2e::{Browser, Gpu, Overlay, Page};

use super::{
    LONG, SOLVER, SOON, WEBGPU, hidden_text, open_live, server, wait_notice, wait_verdict,
};

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
    // The solver's weights are stored so; the adapter has no such numbers.
    assert!(state.contains("weights in f16"), "{state}");
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
    open_live(&page, "/?question=programs");
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

/// A model that is stored in 16 bits, one of its numbers too large for f16, is held in f32.
#[test]
fn what_f16_cannot_hold_is_held_in_f32() {
    let server = server();
    let path = format!("{SOLVER}/model.safetensors");
    server.replace(
        &path,
        Overlay::Bytes(with_large_number(&server.file(&path))),
    );
    let browser = Browser::start(Gpu::Software);
    let page = browser.page(&server);
    wait_webgpu(&page);
    let state = hidden_text(&page, "#gpu-state");
    assert!(state.contains("checked: off by "), "{state}");
    assert!(!state.contains("f16"), "{state}");
    page.assert_clean_console();
}

/// The solver's position embedding in bf16, a number of its last position 1e5: no prompt here is that long.
fn with_large_number(weights: &[u8]) -> Vec<u8> {
    const NAME: &str = "transformer.wpe.weight";
    let n_header = u64::from_le_bytes(weights[..8].try_into().unwrap()) as usize;
    let (header, data) = weights[8..].split_at(n_header);
    let mut header: Value = serde_json::from_slice(header).unwrap();
    let mut data = data.to_vec();
    let tensor = &mut header[NAME];
    let [start, end] = [0, 1].map(|end| tensor["data_offsets"][end].as_u64().unwrap() as usize);
    tensor["dtype"] = "BF16".into();
    for value in data[start..end].chunks_exact_mut(2) {
        let wide = f16::from_le_bytes([value[0], value[1]]).to_f32();
        value.copy_from_slice(&bf16::from_f32(wide).to_le_bytes());
    }
    data[end - 2..end].copy_from_slice(&bf16::from_f32(1e5).to_le_bytes());
    let mut header = header.to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    let n_header = (header.len() as u64).to_le_bytes();
    [n_header.to_vec(), header, data].concat()
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

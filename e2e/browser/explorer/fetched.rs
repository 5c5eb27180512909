//! Models that come from elsewhere: by ranges, kept for the next visit, and all that a network does to them.

use std::{sync::Arc, thread, time::Duration};

use serde_json::{Value, json};
use swivel_e2e::{Browser, Gpu, Manners, Overlay, Page, Server, checkout};

use super::{
    CPU, IS_CURRENT, LONG, SOLVER, SOON, click_button, hidden_text, open_live, server, texts,
    wait_failure, wait_notice, wait_verdict,
};

/// Bytes of a part that the page asks for.
const PART: u64 = 1 << 22;
/// Where the model is on the other server.
const FAR: &str = "/far/model.safetensors";

/// The solver's weights in a file of so many bytes more: with a tensor that is no part of the model.
fn weights(n_more: usize) -> Arc<Vec<u8>> {
    let file = std::fs::read(checkout().join("models/solver/model.safetensors")).unwrap();
    let n_header = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&file[8..8 + n_header]).unwrap();
    let data = &file[8 + n_header..];
    let n_values = n_more / 4;
    header["padding"] = json!({
        "dtype": "F32",
        "shape": [n_values],
        "data_offsets": [data.len(), data.len() + 4 * n_values],
    });
    let mut header = header.to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header);
    bytes.extend(data);
    bytes.resize(bytes.len() + 4 * n_values, 0);
    Arc::new(bytes)
}

/// Another server, which has the solver with these weights in a folder.
fn far(weights: &Arc<Vec<u8>>, manners: Manners) -> Server {
    let far = Server::start();
    for name in ["config.json", "tokenizer.json"] {
        let file = far.file(&format!("{SOLVER}/{name}"));
        far.replace(&format!("/far/{name}"), Overlay::Bytes(file));
    }
    far.replace(FAR, Overlay::Parts(Arc::clone(weights), manners));
    far
}

fn address(far: &Server) -> String {
    format!("{CPU}&model={}/far", far.origin())
}

/// First bytes of the parts of the weights that were asked for, in order.
fn parts(far: &Server) -> Vec<u64> {
    let requests = far.requests().into_iter();
    let parts = requests.filter(|request| request.path == FAR && request.body_bytes > 0);
    let mut parts: Vec<u64> = parts.filter_map(|request| request.part).collect();
    parts.sort_unstable();
    parts
}

fn all_parts(weights: &[u8]) -> Vec<u64> {
    (0..weights.len() as u64).step_by(PART as usize).collect()
}

/// Waits until that model answers.
fn answers(page: &Page<'_>, name: &str) {
    page.wait_text("#model-menu summary", LONG, |text| text.contains(name));
    page.wait_script(IS_CURRENT, LONG);
    wait_verdict(page, "The answer");
}

/// A model of another server: each part is fetched once, also with a second device to come, and the next visit fetches none.
#[test]
fn each_part_is_fetched_once_and_kept() {
    let (weights, server) = (weights(3 * PART as usize), server());
    let far = far(&weights, Manners::Usual);
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    page.open(&address(&far));
    answers(&page, "far");
    assert_eq!(parts(&far), all_parts(&weights));
    page.assert_clean_console();
    // The second visit is without that server.
    let n_requests = far.requests().len();
    far.stop();
    page.reload();
    answers(&page, "far");
    assert_eq!(far.requests().len(), n_requests);
    page.assert_clean_console();

    page.click("#model-menu summary");
    page.wait_text("#kept-models", SOON, |text| text.contains("13.1 MB"));
    page.screenshot("kept-models");
    click_button(&page, "#kept-models", "Delete");
    page.wait_gone("#kept-models", SOON);
    page.reload();
    wait_failure(&page, &["/far/", "try again"]);
}

/// WebGPU's worker reads what the other one has fetched.
#[test]
fn the_other_device_fetches_nothing() {
    let (weights, server) = (weights(PART as usize), server());
    let far = far(&weights, Manners::Usual);
    let browser = Browser::start(Gpu::Software);
    let page = browser.page(&server);
    page.open(&format!("/?device=webgpu&model={}/far", far.origin()));
    page.wait_for("#badge[data-device=webgpu]", Duration::from_secs(100));
    answers(&page, "far");
    assert_eq!(parts(&far), all_parts(&weights));
    let small = far.requests().into_iter();
    assert_eq!(small.filter(|r| r.path.ends_with(".json")).count(), 2);
    page.assert_clean_console();
}

/// A graphics device that goes while it is given the model: the CPU, which has it already, goes on.
#[test]
fn a_device_that_is_lost_while_it_loads_is_said() {
    let (weights, server) = (weights(PART as usize), server());
    let far = far(&weights, Manners::Usual);
    let browser = Browser::start(Gpu::Software);
    let page = browser.page(&server);
    page.open(&format!("/?device=webgpu&model={}/far", far.origin()));
    let is_module = |path: &str| path.ends_with("-webgpu_bg.wasm");
    page.wait_until("the engine on WebGPU", LONG, || {
        let mut requests = server.requests().into_iter();
        requests.find(|request| is_module(&request.path))
    });
    // It takes some seconds to load; what is lost before it has a device is no loss.
    thread::sleep(Duration::from_secs(1));
    page.lose_gpu();
    page.wait_text(".notice-line", Duration::from_secs(100), |text| {
        text.contains("CPU")
    });
    page.wait_for("#badge[data-device=cpu]", SOON);
    answers(&page, "far");
    page.click("#new-pair");
    page.wait_script(IS_CURRENT, LONG);
}

#[test]
fn a_connection_that_breaks_is_gone_on_with() {
    let (weights, server) = (weights(3 * PART as usize), server());
    let far = far(&weights, Manners::BreaksAt(2 * PART));
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    page.open(&address(&far));
    wait_failure(
        &page,
        &["model.safetensors", "try again to go on from there"],
    );
    // What was recorded is still there.
    page.wait_for("#badge[data-device=recorded]", SOON);
    let before = parts(&far);
    assert_eq!(before, [0, PART]);
    far.replace(FAR, Overlay::Parts(Arc::clone(&weights), Manners::Usual));
    click_button(&page, "#failure", "Try again");
    answers(&page, "far");
    assert_eq!(parts(&far), all_parts(&weights));
}

#[test]
fn loading_is_cancelled_and_gone_on_with() {
    let (weights, server) = (weights(14 * PART as usize), server());
    let late = Manners::Late(Duration::from_secs(2));
    let far = far(&weights, late);
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    page.click("#model-menu summary");
    page.type_into("#address", &format!("{}/far", far.origin()));
    click_button(&page, "#model-menu form", "Open");
    page.wait_until("some parts", LONG, || (parts(&far).len() > 1).then_some(()));
    // The model from before goes on while the other one comes.
    page.click("#switch-0");
    wait_verdict(&page, "Switch a direction on");
    page.click("#cancel-loading");
    page.wait_gone("#cancel-loading", SOON);
    assert!(hidden_text(&page, "#model-menu summary").contains("solver"));
    page.click("#switch-0");
    wait_verdict(&page, "The answer flipped from False to True.");
    page.click("#model-menu summary");
    page.wait_text("#kept-models", SOON, |text| text.contains("a part of"));
    far.replace(FAR, Overlay::Parts(Arc::clone(&weights), Manners::Usual));
    let before = parts(&far).len();
    click_button(&page, "#kept-models", "Go on");
    answers(&page, "far");
    let after = parts(&far).len() - before;
    assert!(after < all_parts(&weights).len(), "{after} parts more");
    page.assert_clean_console();
}

#[test]
fn a_server_without_ranges_will_do() {
    for manners in [Manners::NoParts, Manners::NoLength] {
        let (weights, server) = (weights(2 * PART as usize), server());
        let far = far(&weights, manners);
        let browser = Browser::start(Gpu::Off);
        let page = browser.page(&server);
        page.open(&address(&far));
        answers(&page, "far");
        page.reload();
        answers(&page, "far");
        let whole = far.requests().into_iter().filter(|r| r.path == FAR);
        assert_eq!(whole.count(), 1, "{manners:?}");
        page.assert_clean_console();
    }
}

/// The page says what is wrong, and the model from before goes on.
fn is_refused(manners: Manners, parts: &[&str]) {
    let (weights, server) = (weights(PART as usize), server());
    let far = far(&weights, manners);
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    page.click("#model-menu summary");
    page.type_into("#address", &format!("{}/far", far.origin()));
    click_button(&page, "#model-menu form", "Open");
    wait_failure(&page, parts);
    page.click("#switch-0");
    wait_verdict(&page, "Switch a direction on");
    far.replace(FAR, Overlay::Parts(weights, Manners::Usual));
    click_button(&page, "#failure", "Try again");
    page.wait_gone("#failure", LONG);
    answers(&page, "far");
}

#[test]
fn a_server_that_sends_another_part_is_refused() {
    is_refused(Manners::OtherPart, &["bytes 0 to 4194303 were asked for"]);
}

#[test]
fn a_server_that_sends_less_than_it_says_is_refused() {
    is_refused(Manners::Short, &["model.safetensors", "try again"]);
}

#[test]
fn a_server_that_lies_about_the_length_is_refused() {
    is_refused(
        Manners::SaidToBe(7_000_000),
        &["7000000", "model.safetensors"],
    );
}

#[test]
fn a_web_page_in_place_of_weights_is_refused() {
    let server = server();
    let far = far(&weights(0), Manners::Usual);
    far.replace("/far/page.gguf", Overlay::Bytes(b"<html>Sign in".to_vec()));
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    page.open(&format!("{CPU}&model={}/far/page.gguf", far.origin()));
    wait_failure(&page, &["page.gguf", "a web page"]);
}

/// A model that no tab has room for is refused when its header is there.
#[test]
fn a_model_that_is_too_large_is_refused_before_it_is_fetched() {
    let server = server();
    let far = far(&weights(0), Manners::Usual);
    let config = far.file(&format!("{SOLVER}/config.json"));
    let mut config: Value = serde_json::from_slice(&config).unwrap();
    let file = weights(0);
    let n_header = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&file[8..8 + n_header]).unwrap();
    header.as_object_mut().unwrap().remove("padding");
    // The token embedding is as large as that of a vocabulary of 16 million.
    config["vocab_size"] = json!(16_000_000);
    let mut at = 0;
    let mut names: Vec<String> = header.as_object().unwrap().keys().cloned().collect();
    names.retain(|name| name != "__metadata__");
    for name in names {
        let tensor = &mut header[&name];
        assert_eq!(tensor["dtype"], "F16");
        if name.ends_with("wte.weight") {
            tensor["shape"][0] = json!(16_000_000);
        }
        let shape = tensor["shape"].as_array().unwrap().iter();
        let n_values: u64 = shape.map(|size| size.as_u64().unwrap()).product();
        tensor["data_offsets"] = json!([at, at + 2 * n_values]);
        at += 2 * n_values;
    }
    let header = header.to_string().into_bytes();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header);
    let n_bytes = bytes.len() as u64 + at;
    bytes.resize(PART as usize, 0);
    far.replace(
        "/far/config.json",
        Overlay::Bytes(config.to_string().into_bytes()),
    );
    far.replace(
        FAR,
        Overlay::Parts(Arc::new(bytes), Manners::SaidToBe(n_bytes)),
    );
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    page.open(&address(&far));
    wait_failure(
        &page,
        &[
            "4.1 GB of memory",
            "WebAssembly addresses 4 GiB",
            "swivel serve",
        ],
    );
    assert_eq!(parts(&far), [0]);
}

/// A disk that is full: the model works, and the page says that it is not kept.
#[test]
fn a_full_disk_is_said_and_the_model_works() {
    let (weights, server) = (weights(3 * PART as usize), server());
    let far = far(&weights, Manners::Usual);
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    page.open("/");
    page.limit_storage(&server.origin(), 6_000_000);
    page.open(&address(&far));
    answers(&page, "far");
    wait_notice(&page, &["The model works", "does not keep it"]);
    assert_eq!(parts(&far), all_parts(&weights));
}

/// A Hub with one model.
fn hub(weights: &Arc<Vec<u8>>, gated: &Value) -> Server {
    let hub = Server::start();
    let folder = "/owner/name/resolve/main";
    let files = [
        "README.md",
        "config.json",
        "tokenizer.json",
        "model.safetensors",
    ];
    let siblings: Vec<Value> = files
        .iter()
        .map(|name| json!({ "rfilename": name }))
        .collect();
    let listing = json!({ "siblings": siblings, "gated": gated }).to_string();
    hub.replace(
        "/api/models/owner/name/revision/main",
        Overlay::Bytes(listing.into_bytes()),
    );
    for name in ["config.json", "tokenizer.json"] {
        let file = hub.file(&format!("{SOLVER}/{name}"));
        hub.replace(&format!("{folder}/{name}"), Overlay::Bytes(file));
    }
    hub.replace(
        &format!("{folder}/model.safetensors"),
        Overlay::Parts(Arc::clone(weights), Manners::Usual),
    );
    hub
}

#[test]
fn a_model_of_the_hub_is_opened_by_its_name_and_kept() {
    let (weights, server) = (weights(PART as usize), server());
    let hub = hub(&weights, &json!(false));
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    page.open(&format!("{CPU}&hub={}", hub.origin()));
    page.wait_script(IS_CURRENT, LONG);
    page.click("#model-menu summary");
    assert_eq!(texts(&page, "#offered-models li").len(), 7);
    page.screenshot("models-menu");
    page.type_into("#address", "owner/name");
    click_button(&page, "#model-menu form", "Open");
    answers(&page, "name");
    // The address of the page names the model, so that a link to it opens it.
    assert!(page.url().contains("model=owner%2Fname"), "{}", page.url());
    hub.stop();
    page.reload();
    answers(&page, "name");
}

#[test]
fn a_model_that_is_not_on_the_hub_and_a_gated_one_are_said() {
    let server = server();
    let hub = hub(&weights(0), &json!("manual"));
    hub.replace("/api/models/no/model/revision/main", Overlay::Status(401));
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    let open = |model: &str| page.open(&format!("{CPU}&hub={}&model={model}", hub.origin()));
    open("no/model");
    wait_failure(
        &page,
        &["the Hub has no model no/model that everybody may read"],
    );
    open("owner/other");
    wait_failure(&page, &["the Hub has no model owner/other"]);
    open("owner/name");
    wait_failure(
        &page,
        &["owner/name is gated", "swivel serve --model owner/name"],
    );
    hub.replace("/owner/name/resolve/main/x.gguf", Overlay::Status(403));
    open("owner/name:x.gguf");
    wait_failure(&page, &["403", "A gated model"]);
}

//! What a person brings or a network does that is not as it should be.

use std::fs;

use serde_json::json;
use swivel_e2e::{Browser, Gpu, Overlay};

use super::{
    CPU, IS_CURRENT, LONG, SOLVER, SOON, WEIGHTS, click_button, direction_file, open_live, server,
    texts, wait_failure, wait_notice, wait_verdict,
};

/// The page with a model that cannot be had, and once it can.
fn fails_and_recovers(path: &str, overlay: Overlay, parts: &[&str]) {
    let server = server();
    server.replace(path, overlay);
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    page.open(CPU);
    wait_failure(&page, parts);
    // What was recorded is still there.
    page.wait_for("#badge[data-device=recorded]", SOON);
    page.wait_text("#verdict", SOON, |text| {
        text.contains("flipped from False to True")
    });
    click_button(&page, "#failure", "Try again");
    wait_failure(&page, parts);
    server.restore(path);
    click_button(&page, "#failure", "Try again");
    page.wait_script(IS_CURRENT, LONG);
    page.wait_gone("#failure", SOON);
    page.wait_for("#badge[data-device=cpu]", SOON);
    page.click("#switch-0");
    wait_verdict(&page, "Switch a direction on");
}

#[test]
fn truncated_weights_are_said() {
    fails_and_recovers(
        WEIGHTS,
        Overlay::Truncated(100_000),
        &["The model was not opened", "safetensors"],
    );
}

#[test]
fn weights_without_a_whole_header_are_said() {
    fails_and_recovers(
        WEIGHTS,
        Overlay::Truncated(100),
        &["The model was not opened", "safetensors"],
    );
}

#[test]
fn missing_weights_are_said() {
    fails_and_recovers(
        WEIGHTS,
        Overlay::Status(404),
        &["models/solver has no model.safetensors"],
    );
}

#[test]
fn refusing_server_is_said() {
    fails_and_recovers(WEIGHTS, Overlay::Status(503), &["model.safetensors: 503"]);
}

#[test]
fn broken_connection_is_said() {
    fails_and_recovers(WEIGHTS, Overlay::Broken(200_000), &["model.safetensors: "]);
}

#[test]
fn truncated_tokenizer_is_said() {
    fails_and_recovers(
        &format!("{SOLVER}/tokenizer.json"),
        Overlay::Truncated(20_000),
        &["The model was not opened", "tokenizer"],
    );
}

#[test]
fn config_that_lies_about_the_weights_is_said() {
    let config =
        br#"{"model_type":"gpt2","activation_function":"gelu_new","layer_norm_epsilon":1e-5,
        "n_embd":1000000,"n_head":4,"n_layer":1000000,"n_positions":256,"vocab_size":922}"#;
    fails_and_recovers(
        &format!("{SOLVER}/config.json"),
        Overlay::Bytes(config.to_vec()),
        &["The model was not opened"],
    );
}

/// Keeps the page's workers in `workers`, and counts in `takenBack` the messages that take another one back.
const WATCH_WORKERS: &str = "
    window.workers = [];
    window.takenBack = 0;
    window.Worker = class extends Worker {
      constructor(...given) {
        super(...given);
        workers.push(this);
      }
      postMessage(data, ...rest) {
        if (Array.isArray(data) && data.length === 1) takenBack++;
        super.postMessage(data, ...rest);
      }
    };";

/// A worker that died while nobody asked it anything: the next question is not waited for in vain.
#[test]
fn worker_that_died_unnoticed_is_said_at_the_next_question() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    page.before_load(WATCH_WORKERS);
    open_live(&page, CPU);
    wait_verdict(&page, "flipped");
    page.wait_script(
        "document.querySelectorAll('#grid td.unknown').length === 0",
        LONG,
    );
    page.script(
        "workers.at(-1).dispatchEvent(new ErrorEvent('error', { message: 'out of memory' }));",
        &[],
    );
    page.click("#switch-0");
    wait_failure(&page, &["The engine stopped: out of memory"]);
    click_button(&page, "#failure", "Try again");
    wait_verdict(&page, "Switch a direction on");
    page.click("#switch-0");
    wait_verdict(&page, "The answer flipped from False to True.");
    page.assert_clean_console();
}

#[test]
fn toggle_during_a_scan_takes_back_what_the_engine_is_at() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    page.before_load(WATCH_WORKERS);
    open_live(&page, CPU);
    page.set_value("#shots", "10");
    page.click("#new-pair");
    wait_verdict(&page, "The answer");
    page.click("#picture-interchange");
    page.script(
        "const progress = () => document.querySelector('#scan-progress').textContent;
         document.querySelector('#scan').click();
         while (!/^[1-9]\\d* %, \\d+ s left$/.test(progress())) await new Promise((done) => setTimeout(done));
         window.takenBack = 0;
         document.querySelector('#switch-0').click();",
        &[],
    );
    page.wait_script("takenBack === 1", SOON);
    wait_verdict(&page, "Switch a direction on");
    // The scan goes on where it was.
    page.wait_text("#scan-progress", LONG, |text| text == "done");
    assert_eq!(page.count("#grid tr:last-child td.unknown"), 0);
    assert_eq!(page.script("return takenBack;", &[]), json!(1));
    page.assert_clean_console();
}

#[test]
fn hostile_directions_are_refused_and_do_nothing() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    let of_width = |width: usize| {
        direction_file(|header, values| {
            header["basis"] =
                json!({ "dtype": "F32", "shape": [1, width], "data_offsets": [0, 4 * width] });
            values.resize(4 * width, 0);
            values.fill(0);
            values[..4].copy_from_slice(&1f32.to_le_bytes());
        })
    };
    let shape =
        |shape: serde_json::Value| direction_file(|header, _| header["basis"]["shape"] = shape);
    let value = |bytes: [u8; 4]| direction_file(|_, values| values[8..12].copy_from_slice(&bytes));
    let mut endless = u64::MAX.to_le_bytes().to_vec();
    endless.extend(b"{}");
    let mut longer = direction_file(|_, _| ());
    longer.extend([0; 1000]);
    let deep =
        |probe: String| direction_file(|header, _| header["__metadata__"]["probe"] = json!(probe));
    let cases: [(&str, Vec<u8>, &str); 11] = [
        ("narrow", of_width(48), "48"),
        ("million", of_width(1_000_000), "1000000"),
        ("claim", shape(json!([1, 1_000_000])), ""),
        ("claims", shape(json!([1_000_000, 1_000_000])), ""),
        ("overflow", shape(json!([u64::MAX, 3])), ""),
        ("nan", value(f32::NAN.to_le_bytes()), "NaN"),
        ("infinity", value(f32::INFINITY.to_le_bytes()), "inf"),
        ("endless", endless, ""),
        ("longer", longer, ""),
        ("brackets", deep("[".repeat(100_000)), ""),
        (
            "probe",
            deep(r#"{"base":[1],"source":[4294967295],"top_1":0,"logit":1e999}"#.to_owned()),
            "",
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes, part) in cases {
        let name = format!("{name}.safetensors");
        let path = folder.path().join(&name);
        fs::write(&path, bytes).unwrap();
        page.upload("#direction-file", &[&path]);
        wait_notice(&page, &[&name, "was not opened", part]);
        assert_eq!(page.count(".card"), 2, "{name}");
    }
    page.click("#switch-0");
    wait_verdict(&page, "Switch a direction on");
    page.assert_clean_console();
}

#[test]
fn probe_outside_the_vocabulary_is_no_reason_to_stop() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("probe.safetensors");
    let probe = r#"{"base":[1],"source":[4294967295],"top_1":4294967295,"logit":1.0}"#;
    fs::write(
        &path,
        direction_file(|header, values| {
            header["__metadata__"]["probe"] = json!(probe);
            values[3] ^= 0x80;
        }),
    )
    .unwrap();
    page.upload("#direction-file", &[&path]);
    wait_notice(&page, &["probe.safetensors"]);
    page.wait_for("#switch-2", SOON);
    page.click("#switch-0");
    wait_verdict(&page, "Switch a direction on");
    page.assert_clean_console();
}

#[test]
fn html_in_a_direction_is_text() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    let html = "<img src=x onerror=\"window.hacked=1\">";
    let bytes = direction_file(|header, _| {
        for name in ["task", "variable", "model", "created_by"] {
            header["__metadata__"][name] = json!(html);
        }
        header["__metadata__"]["model_sha256"] = json!("<b>other</b>");
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder
        .path()
        .join("<img src=x onerror=hacked=2>.safetensors");
    fs::write(&path, bytes).unwrap();
    page.upload("#direction-file", &[&path]);
    wait_notice(&page, &["<img src=x onerror=hacked=2>.safetensors", html]);
    page.click("#switch-0");
    page.click("#switch-2");
    wait_verdict(&page, "flipped");
    page.wait_text(".card:nth-of-type(3)", SOON, |text| {
        text.matches(html).count() >= 2
    });
    page.click("#cell-2-3");
    click_button(&page, "#detail", html);
    wait_verdict(&page, "The answer");
    assert_eq!(page.count("#app img, #app b"), 0);
    assert_eq!(
        page.script("return window.hacked ?? null;", &[]),
        json!(null)
    );
    assert!(texts(&page, ".card h3")[2].contains(html));
    page.screenshot("html-in-a-direction");
    page.assert_clean_console();
}

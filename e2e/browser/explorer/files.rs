//! A person brings directions and models.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};
use swivel_e2e::{Browser, Gpu, Key, Overlay, Page, checkout};
use tempfile::TempDir;

use super::{
    CPU, IS_CURRENT, LONG, SOLVER, SOON, direction_file, hidden_text, negated, open_live, server,
    wait_failure, wait_notice, wait_verdict,
};

/// A folder with this file.
pub(super) fn file(name: &str, bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn solver() -> PathBuf {
    checkout().join("models/solver")
}

fn tiny() -> PathBuf {
    checkout().join("tests/fixtures/tiny")
}

/// Letters and a little more: a token each, as many as the tiny model has.
fn letters() -> [(&'static str, String); 2] {
    let all = ('a'..='z')
        .chain('A'..='Z')
        .chain(",=.:;-".chars())
        .chain(['Ġ', 'Ċ', '!']);
    let vocab: serde_json::Map<_, _> = all
        .enumerate()
        .map(|(id, letter)| (letter.to_string(), json!(id)))
        .collect();
    assert_eq!(vocab.len(), 61);
    [
        ("vocab.json", Value::Object(vocab).to_string()),
        ("merges.txt", "#version: 0.2\n".to_owned()),
    ]
}

/// Waits until a model was put on the device for the `n`th time.
fn wait_model(page: &Page<'_>, n: usize) {
    page.wait_script(
        &format!("performance.getEntriesByName('swivel-model').length === {n}"),
        LONG,
    );
    page.wait_script(IS_CURRENT, LONG);
}

/// Switches the first direction off and the third on, which must do the same.
fn third_direction_flips(page: &Page<'_>) {
    page.click("#switch-0");
    wait_verdict(page, "Switch a direction on");
    page.click("#switch-2");
    wait_verdict(page, "The answer flipped from False to True.");
    page.wait_text(".card:nth-of-type(3)", LONG, |text| {
        text.contains("op5, the output of 07065a")
            && text.contains("how often it works")
            && text.contains(".999")
            && text.contains("run again here: same answer")
    });
}

#[test]
fn chosen_direction_works() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    let (_folder, path) = file("mine.safetensors", &negated());
    page.upload("#direction-file", &[&path]);
    wait_notice(
        &page,
        &["Opened mine.safetensors: op5, the output of 07065a."],
    );
    third_direction_flips(&page);
    // The same file again is the same card.
    page.upload("#direction-file", &[&path]);
    wait_notice(&page, &["Opened mine.safetensors"]);
    assert_eq!(page.count(".card"), 3);
    page.assert_clean_console();
}

#[test]
fn dropped_direction_works() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    let (_folder, path) = file("mine.safetensors", &negated());
    page.drop_files(".drop", &[&path]);
    wait_notice(
        &page,
        &["Opened mine.safetensors: op5, the output of 07065a."],
    );
    assert_eq!(page.count(".page.over"), 0);
    third_direction_flips(&page);
    page.assert_clean_console();
}

#[test]
fn direction_at_an_address_works() {
    let server = server();
    server.replace("/far/mine.safetensors", Overlay::Bytes(negated()));
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    page.click("#model-menu summary");
    page.type_into(
        "#address",
        &format!("{}/far/mine.safetensors", server.origin()),
    );
    page.press(Key::Enter);
    wait_notice(
        &page,
        &["Opened mine.safetensors: op5, the output of 07065a."],
    );
    third_direction_flips(&page);
    page.assert_clean_console();
}

#[test]
fn own_copy_of_the_solver_answers_the_same() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    page.upload("#model-folder", &[&solver()]);
    wait_model(&page, 2);
    wait_verdict(&page, "The answer flipped from False to True.");
    assert_eq!(page.count("#failure"), 0);
    let files =
        ["config.json", "tokenizer.json", "model.safetensors"].map(|name| solver().join(name));
    page.upload("#model-files", &files.each_ref().map(PathBuf::as_path));
    wait_model(&page, 3);
    wait_verdict(&page, "The answer flipped from False to True.");
    page.assert_clean_console();
    let name = hidden_text(&page, "#model-menu summary");
    assert!(
        !name.contains("solver"),
        "these are a person's files, not the page's: {name}"
    );
}

#[test]
fn other_weights_are_named_and_old_directions_are_warned_of() {
    let server = server();
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", "tokenizer.json"] {
        fs::copy(solver().join(name), folder.path().join(name)).unwrap();
    }
    let mut weights = fs::read(solver().join("model.safetensors")).unwrap();
    // The last number, a little different.
    let last = weights.len() - 4;
    weights[last] ^= 1;
    fs::write(folder.path().join("model.safetensors"), &weights).unwrap();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    page.upload("#model-folder", &[folder.path()]);
    wait_model(&page, 2);
    // The probe agrees: the same model, written otherwise.
    page.wait_text(".card:nth-of-type(1)", SOON, |text| {
        text.contains("there in another format") && text.contains("same answer")
    });
    assert!(hidden_text(&page, "#model-menu summary").contains("your files"));

    // Many numbers, by much: another model, and its own is one click away.
    weights[last - 20_000..].fill(0);
    fs::write(folder.path().join("model.safetensors"), &weights).unwrap();
    page.upload("#model-folder", &[folder.path()]);
    wait_model(&page, 3);
    page.wait_text(".card:nth-of-type(1)", SOON, |text| {
        text.contains("learned on another model (solver)")
    });
    page.screenshot("another-model");
    super::click_button(&page, ".card", "Open the model that it was learned on");
    wait_model(&page, 4);
    page.wait_text(".card:nth-of-type(1)", SOON, |text| {
        text.contains("same answer") && !text.contains("another")
    });
    page.assert_clean_console();
}

#[test]
fn any_gpt2_runs_from_a_folder_and_from_an_address_in_shards() {
    let server = server();
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(tiny().join(name), folder.path().join(name)).unwrap();
    }
    for (name, text) in letters() {
        fs::write(folder.path().join(name), &text).unwrap();
        server.replace(&format!("/tiny/{name}"), Overlay::Bytes(text.into()));
    }
    server.replace("/tiny/tokenizer.json", Overlay::Status(404));
    server.replace("/tiny/model.safetensors", Overlay::Status(404));
    for entry in fs::read_dir(tiny().with_file_name("tiny_sharded")).unwrap() {
        let entry = entry.unwrap();
        let path = format!("/tiny/{}", entry.file_name().display());
        server.replace(&path, Overlay::Bytes(fs::read(entry.path()).unwrap()));
    }
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);

    let tries = |n: usize| {
        page.wait_script(
            &format!("performance.getEntriesByName('swivel-model').length === {n}"),
            LONG,
        );
        page.wait_script(
            "document.querySelectorAll('#grid tbody tr').length === 2",
            SOON,
        );
        // The recorded source is a letter too long for it.
        page.wait_text("#notes", SOON, |text| {
            text.contains("source has 33 tokens, the model reads at most 32")
        });
        super::click_button(&page, "#notes", "keep the last 32");
        page.wait_script(IS_CURRENT, LONG);
        page.wait_text(".card:nth-of-type(1) .bad", SOON, |text| {
            text.contains("layer 2 is outside the model")
        });
        page.wait_text(".card:nth-of-type(2) .bad", SOON, |text| {
            text.contains("24") && text.contains("64")
        });
        page.wait_script(
            "document.querySelectorAll('#grid td.unknown').length === 0",
            LONG,
        );
        page.click("#cell-1-20");
        page.click("#arm");
        page.wait_for("#switch-2[aria-checked=true]", SOON);
        wait_verdict(&page, "The answer");
    };
    page.upload("#model-folder", &[folder.path()]);
    tries(2);
    page.assert_clean_console();
    page.screenshot("tiny");
    open_live(&page, CPU);

    page.click("#model-menu summary");
    page.type_into("#address", &format!("{}/tiny/", server.origin()));
    super::click_button(&page, "#model-menu", "Open");
    page.click("#model-menu summary");
    tries(2);
    assert!(hidden_text(&page, "#model-menu summary").contains("tiny"));
    // And back.
    page.click("#model-menu summary");
    super::click_button(&page, "#model-menu", "Back to the built-in solver");
    page.wait_script(
        "document.querySelectorAll('#grid tbody tr').length === 3",
        LONG,
    );
    page.wait_script(IS_CURRENT, LONG);
}

/// Ids mean other words there: the same numbers are impossible, and silence would be wrong.
#[test]
fn link_to_another_model_says_so() {
    let server = server();
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(tiny().join(name), folder.path().join(name)).unwrap();
    }
    for (name, text) in letters() {
        fs::write(folder.path().join(name), &text).unwrap();
    }
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    page.upload("#model-folder", &[folder.path()]);
    page.wait_script(
        "document.querySelectorAll('#grid tbody tr').length === 2",
        LONG,
    );
    page.type_into("#source", "milk");
    page.type_into("#base", "wool");
    page.wait_script(IS_CURRENT, LONG);
    page.click("#share");
    let address = page.url();
    let (_, link) = address.split_once('#').unwrap();
    open_live(&page, &format!("{CPU}&again#{link}"));
    wait_notice(&page, &["model"]);
}

#[test]
fn model_in_the_query_is_opened() {
    let server = server();
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        let bytes = server.file(&format!("{SOLVER}/{name}"));
        server.replace(&format!("/elsewhere/{name}"), Overlay::Bytes(bytes));
    }
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, "/?device=cpu&model=elsewhere");
    wait_verdict(&page, "flipped");
    assert!(hidden_text(&page, "#model-menu summary").contains("elsewhere"));
    assert!(
        !server
            .requests()
            .iter()
            .any(|request| request.path.starts_with(SOLVER))
    );
    page.assert_clean_console();
}

#[test]
fn what_does_not_fit_says_why() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    let layer = direction_file(|header, _| header["__metadata__"]["layer"] = json!("7"));
    let version = direction_file(|header, _| header["__metadata__"]["format_version"] = json!("2"));
    let slanted = direction_file(|_, values| values[3] ^= 0x01);
    let cases: [(&str, Vec<u8>, &[&str]); 6] = [
        ("layer.safetensors", layer, &["layer 7"]),
        ("version.safetensors", version, &["version"]),
        ("slanted.safetensors", slanted, &["orthonormal"]),
        ("empty.safetensors", Vec::new(), &["empty.safetensors"]),
        (
            "letter.safetensors",
            b"Dear model,".to_vec(),
            &["letter.safetensors"],
        ),
        (
            "weights.safetensors",
            fs::read(solver().join("model.safetensors")).unwrap(),
            &["config.json"],
        ),
    ];
    for (name, bytes, parts) in cases {
        let (_folder, path) = file(name, &bytes);
        page.upload("#direction-file", &[&path]);
        wait_notice(&page, &[&[name, "was not opened"], parts].concat());
        super::click_button(&page, ".notice-line", "Close");
    }
    assert_eq!(page.count(".card"), 2);
    wait_verdict(&page, "flipped");

    page.upload("#model-files", &[&solver().join("config.json")]);
    wait_failure(&page, &["tokenizer.json is missing"]);
    super::click_button(&page, "#failure", "Open the built-in solver");
    wait_model(&page, 2);
    let (_folder, config) = file("config.json", br#"{"model_type": "llama"}"#);
    page.upload("#model-files", &[&config]);
    wait_failure(&page, &["config.json", "num_hidden_layers"]);
    page.screenshot("failure");
    super::click_button(&page, "#failure", "Open the built-in solver");
    wait_model(&page, 3);
    page.click("#model-menu summary");
    page.type_into("#address", "/nowhere");
    page.press(Key::Enter);
    wait_failure(&page, &["/nowhere has no config.json"]);
    page.click("#model-menu summary");
    page.type_into("#address", "/nowhere/a.safetensors");
    page.press(Key::Enter);
    wait_notice(&page, &["/nowhere/a.safetensors: there is no such file"]);
}

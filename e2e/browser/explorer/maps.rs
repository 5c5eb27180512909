//! A person opens a sweep result, tables of learned directions, and switches its cells on.

use serde_json::{Value, json};
use swivel_e2e::{Browser, Gpu, Key, Overlay, Page};

use super::{
    CPU, LONG, SOON, direction_file,
    files::file,
    hidden_text, open_live, server,
    sweep::{Place, place, places, sweep_file},
    texts, wait_notice, wait_verdict,
};

/// Opens the page and a sweep result of all cells.
fn open_map(page: &Page<'_>) {
    open_live(page, CPU);
    let (_folder, path) = file("op5 sweep.safetensors", &sweep_file(&places(), |_| ()));
    page.upload("#direction-file", &[&path]);
    wait_notice(
        page,
        &[
            "Opened op5 sweep.safetensors: a sweep result",
            "30 cells",
            "layer 2 block_output, token 9 (0.999)",
        ],
    );
}

#[test]
fn cell_of_a_map_flips_the_answer_and_goes_again() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    page.viewport(1280, 1400);
    open_map(&page);
    page.click("#switch-0");
    wait_verdict(&page, "Switch a direction on");
    assert_eq!(
        hidden_text(&page, "#picture-learned-0"),
        "Sweep result: op5 sweep"
    );
    assert_eq!(
        page.attr("#picture-learned-0", "aria-pressed").as_deref(),
        Some("true")
    );
    assert_eq!(page.count("#grid td"), 30);
    assert_eq!(hidden_text(&page, "#cell-2-9"), ".999");
    assert_eq!(hidden_text(&page, "#cell-1-9"), ".874");
    assert_eq!(page.count("#grid td.best"), 1);
    let title = page.attr("#cell-1-9", "title").unwrap_or_default();
    for part in [
        ".874 of 1000 pairs",
        "random one on .502",
        "whole vector on .998",
    ] {
        assert!(title.contains(part), "{title}");
    }

    page.click("#cell-2-9");
    wait_verdict(&page, "The answer flipped from False to True.");
    page.wait_for("#cell-2-9.armed", SOON);
    page.wait_text(".card:nth-of-type(3)", LONG, |text| {
        text.contains("op5 · layer 2 block_output, token 9")
            && text.contains(".999")
            && text.contains("run again here: same answer")
    });
    page.screenshot("learned-map");
    // Another cell takes its place.
    page.click("#cell-0-3");
    wait_verdict(&page, "False");
    page.wait_text(".card:nth-of-type(3)", SOON, |text| {
        text.contains("layer 0")
    });
    assert_eq!((page.count(".card"), page.count("#grid td.armed")), (3, 1));
    // A second click removes it.
    page.click("#cell-0-3");
    wait_verdict(&page, "Switch a direction on");
    assert_eq!(page.count(".card"), 2);

    // The same by keyboard.
    page.focus("#grid");
    page.press(Key::End + Key::Up + Key::Up);
    page.press(Key::Enter);
    wait_verdict(&page, "The answer flipped from False to True.");
    page.press(Key::Enter);
    wait_verdict(&page, "Switch a direction on");
    page.press(Key::Control + "z");
    wait_verdict(&page, "The answer flipped from False to True.");

    page.click("#learned-table");
    page.wait_for("#learned-numbers", SOON);
    let lines = texts(&page, "#learned-numbers tbody tr");
    assert_eq!(lines.len(), 30);
    let numbers = texts(&page, "#learned-numbers tbody td:nth-child(4)");
    assert_eq!(
        (numbers[9].as_str(), numbers[19].as_str()),
        (".999 best", ".874")
    );
    super::click_button(&page, "#learned-numbers tr:nth-child(10)", "Remove");
    wait_verdict(&page, "Switch a direction on");
    page.screenshot("learned-table");

    // The other pictures are still there, and a link has the cell.
    page.click("#learned-table");
    page.click("#picture-logit");
    page.wait_for("#shown-intervened", SOON);
    page.click("#picture-learned-0");
    page.click("#cell-2-9");
    wait_verdict(&page, "flipped");
    page.click("#share");
    let address = page.url();
    let (_, link) = address.split_once('#').unwrap();
    open_live(&page, &format!("{CPU}&again#{link}"));
    wait_verdict(&page, "The answer flipped from False to True.");
    page.wait_for("#switch-2[aria-checked=true]", SOON);
    page.assert_clean_console();
}

#[test]
fn map_is_closed_and_opened_again() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_map(&page);
    page.click("#cell-2-9");
    page.wait_for("#switch-2[aria-checked=true]", SOON);
    page.click("#close-map");
    page.wait_gone("#picture-learned-0", SOON);
    assert_eq!(
        page.attr("#picture-logit", "aria-pressed").as_deref(),
        Some("true")
    );
    page.wait_for("#switch-2[aria-checked=true]", SOON);
    let (_folder, path) = file("op5 sweep.safetensors", &sweep_file(&places(), |_| ()));
    page.upload("#direction-file", &[&path]);
    page.wait_for("#picture-learned-0[aria-pressed=true]", SOON);
    page.wait_for("#cell-2-9.armed", SOON);
    page.assert_clean_console();
}

#[test]
fn map_is_legible_in_the_dark_and_on_a_phone() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    page.viewport(1280, 1400);
    page.emulate_dark();
    open_map(&page);
    page.click("#cell-2-9");
    wait_verdict(&page, "flipped");
    page.screenshot("learned-dark");
    page.emulate_preference("prefers-color-scheme", "light");
    page.phone();
    open_map(&page);
    page.click("#cell-2-9");
    wait_verdict(&page, "flipped");
    page.script("document.querySelector('.inside').scrollIntoView();", &[]);
    page.screenshot("learned-phone");
    page.wait_script("document.documentElement.scrollWidth <= 390", SOON);
    page.assert_clean_console();
}

#[test]
fn map_of_longer_prompts_brings_its_pair() {
    let server = server();
    let mut probe = Value::Null;
    direction_file(|header, _| {
        let text = header["__metadata__"]["probe"].as_str().unwrap();
        probe = serde_json::from_str(text).unwrap();
    });
    let last = probe["base"].as_array().unwrap().len() - 1;
    let mut places: Vec<Place> = (0..3)
        .rev()
        .flat_map(|layer| [last - 12, last - 1, last].map(|position| place(layer, position, 0.51)))
        .collect();
    places[2].iia = 0.999;
    places[2].is_own = true;
    places.push(Place {
        variable: "op3",
        ..place(1, last, 0.7)
    });
    let long = sweep_file(&places[1..], |header| {
        let metadata = &mut header["__metadata__"];
        metadata["base"] = json!(probe["base"].to_string());
        metadata["source"] = json!(probe["source"].to_string());
        metadata["n_planned"] = json!("18");
    });
    // It is one of the files that were learned on this machine.
    server.replace(
        "/directions/index.json",
        Overlay::Bytes(br#"["long.safetensors"]"#.to_vec()),
    );
    server.replace("/directions/long.safetensors", Overlay::Bytes(long));
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    page.viewport(1280, 1400);
    open_live(&page, CPU);
    page.wait_for("#picture-learned-0", SOON);
    assert_eq!(
        page.attr("#picture-logit", "aria-pressed").as_deref(),
        Some("true"),
        "a map that nobody opened waits"
    );
    page.click("#picture-learned-0");
    page.wait_text("#map-caption", SOON, |text| {
        text == "op5 · block_output, rank 1 · 9 of 18 cells: the sweep was interrupted"
    });
    page.wait_text("#map-warnings", SOON, |text| {
        text.contains("130 tokens, your prompts have 10")
    });
    let cell = format!("#cell-2-{last}");
    page.wait_for(&format!("#cell-2-{}.unknown", last - 12), SOON);
    page.click(&cell);
    wait_notice(&page, &["cannot be switched on", "load its example pair"]);
    page.screenshot("learned-other-length");
    page.click("#example-pair");
    page.wait_text("#map-warnings", SOON, str::is_empty);
    page.click("#switch-0");
    wait_verdict(&page, "Switch a direction on");
    page.click(&cell);
    wait_verdict(&page, "flipped");
    page.wait_text(".card:nth-of-type(3)", LONG, |text| {
        text.contains(&format!("token {last}"))
    });
    page.set_value("#map-variable", "0");
    page.wait_text(&format!("#cell-1-{last}"), SOON, |text| {
        text.starts_with(".700")
    });
    assert_eq!(page.count("#grid td.unknown"), 8);
    page.screenshot("learned-op3");
    page.assert_clean_console();
}

#[test]
fn map_that_is_wrong_says_why() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    let of = |change: &dyn Fn(&mut Value)| {
        sweep_file(&places(), |header| change(&mut header["__metadata__"]))
    };
    let cut = sweep_file(&places(), |_| ());
    let cases: [(&str, Vec<u8>, &str); 7] = [
        (
            "version.safetensors",
            of(&|m| m["format_version"] = json!("2")),
            "format_version",
        ),
        (
            "method.safetensors",
            of(&|m| m["method"] = json!("magic")),
            "magic",
        ),
        (
            "planned.safetensors",
            of(&|m| m["n_planned"] = json!("3")),
            "4 cells",
        ),
        (
            "empty.safetensors",
            of(&|m| m["base"] = json!("[]")),
            "empty",
        ),
        (
            "short.safetensors",
            of(&|m| m["base"] = json!("[1,2]")),
            "position",
        ),
        (
            "ids.safetensors",
            of(&|m| m["base"] = json!(json!(vec![9999; 10]).to_string())),
            "9999",
        ),
        (
            "cut.safetensors",
            cut[..cut.len() - 9].to_vec(),
            "safetensors",
        ),
    ];
    for (name, bytes, part) in cases {
        let (_folder, path) = file(name, &bytes);
        page.upload("#direction-file", &[&path]);
        wait_notice(&page, &[name, "was not opened", part]);
        super::click_button(&page, ".notice-line", "Close");
    }
    let mut slanted = places();
    slanted.truncate(1);
    let slanted = sweep_file(&slanted, |header| {
        let cells = &mut header["__metadata__"]["cells"];
        *cells = json!(cells.as_str().unwrap().replace("0.497", "1.497"));
    });
    let (_folder, path) = file("score.safetensors", &slanted);
    page.upload("#direction-file", &[&path]);
    wait_notice(&page, &["score.safetensors", "was not opened", "1.497"]);
    assert_eq!(page.count("#picture-learned-0"), 0);
    wait_verdict(&page, "flipped");
    page.assert_clean_console();

    // Other weights are a warning, as for a direction.
    let (_folder, path) = file(
        "other.safetensors",
        &of(&|m| m["model_sha256"] = json!("00ff")),
    );
    page.upload("#direction-file", &[&path]);
    page.wait_text("#map-warnings", SOON, |text| {
        text.contains("other weights (solver)")
    });
}

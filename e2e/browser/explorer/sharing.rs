//! A person passes on what is on the page.

use serde_json::{Value, json};
use swivel_e2e::{Browser, Gpu, Page, Server};

use super::{
    CPU, LONG, SOON, fragment, fragment_of, largest_difference, logits, negated, open_live, server,
    texts, wait_notice, wait_verdict,
};

/// Lets the page use the clipboard, as a person who is asked does.
fn allow_clipboard(page: &Page<'_>, server: &Server) {
    page.cdp(
        "Browser.grantPermissions",
        json!({ "origin": server.origin(), "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"] }),
    );
}

fn clipboard(page: &Page<'_>) -> String {
    let text = page.script(
        "window.focus(); return navigator.clipboard.readText();",
        &[],
    );
    text.as_str().unwrap_or_default().to_owned()
}

/// All that must be the same where the link is opened.
#[derive(Debug, PartialEq)]
struct View {
    verdict: String,
    prompts: [String; 2],
    cards: Vec<String>,
    pressed: Vec<String>,
}

fn view(page: &Page<'_>) -> View {
    View {
        verdict: wait_verdict(page, "The answer"),
        prompts: ["#base", "#source"].map(|css| page.prop(css, "value").unwrap_or_default()),
        cards: texts(page, ".card.on output, .card.on .card-title"),
        pressed: texts(page, ".inside .choices button[aria-pressed=true]"),
    }
}

#[test]
fn link_opened_elsewhere_gives_the_same_numbers() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    allow_clipboard(&page, &server);
    open_live(&page, CPU);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mine.safetensors");
    std::fs::write(&file, negated()).unwrap();
    page.upload("#direction-file", &[&file]);
    wait_notice(&page, &["Opened mine.safetensors"]);

    page.set_value("#shots", "1");
    page.click("#new-pair");
    page.set_value("#strength-0", "1.3");
    page.click("#switch-2");
    page.set_value("#strength-2", "0.35");
    page.click("#cell-0-5");
    page.click("#arm");
    page.wait_for("#switch-3", SOON);
    page.click("#shown-difference");
    let (sent, numbers) = (view(&page), logits(&page));
    page.click("#share");
    wait_notice(&page, &["Link copied"]);
    let link = clipboard(&page);
    let (_, fragment) = link.split_once('#').unwrap();
    assert_eq!(page.url(), link);
    page.assert_clean_console();
    drop(browser);

    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, &format!("{CPU}#{fragment}"));
    page.wait_until("the same prompts", LONG, || {
        (page.prop("#base", "value").as_deref() == Some(&sent.prompts[0])).then_some(())
    });
    assert_eq!(view(&page), sent);
    assert!(largest_difference(&logits(&page), &numbers) < 1e-4);
    page.assert_clean_console();
}

#[test]
fn address_follows_what_is_done_and_a_reload_keeps_it() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    page.click("#new-pair");
    page.click("#switch-0");
    let before = view(&page);
    page.wait_script("location.hash.startsWith('#plan=')", SOON);
    page.reload();
    page.wait_until("the same prompts", LONG, || {
        (page.prop("#base", "value").as_deref() == Some(&before.prompts[0])).then_some(())
    });
    assert_eq!(view(&page), before);
    page.assert_clean_console();
}

#[test]
fn code_is_a_pyvene_script() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    allow_clipboard(&page, &server);
    open_live(&page, CPU);
    page.click("#copy-code");
    wait_notice(&page, &["Copied", "pyvene"]);
    let code = clipboard(&page);
    for wanted in ["import pyvene", "681", "640", "LowRank", "block_output"] {
        assert!(code.contains(wanted), "no {wanted}:\n{code}");
    }
    page.assert_clean_console();
}

#[test]
fn garbage_in_a_link_is_said_and_the_page_goes_on() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    let good = fragment(&[681], &[640]);
    let cut = &good[..good.len() - 30];
    let of = |change: fn(&mut Value)| {
        let mut plan = json!({ "version": 1, "base": { "ids": [[681]] } });
        change(&mut plan);
        fragment_of(&plan)
    };
    let links = [
        ("#plan=%%%".to_owned(), "its plan was cut or changed"),
        (cut.to_owned(), "plan"),
        (of(|plan| plan["version"] = json!(99)), "version"),
        (
            of(|plan| plan["base"]["ids"] = json!([[1_000_000]])),
            "1000000",
        ),
        (of(|plan| plan["base"]["ids"] = json!([[]])), "empty"),
        (
            of(|plan| plan["base"]["ids"] = json!([vec![1; 257]])),
            "257",
        ),
        (
            of(|plan| plan["<img src=x onerror=hacked=1>"] = json!(1)),
            "unknown",
        ),
        ("#hello".to_owned(), "unknown part `hello`"),
        (format!("{}&source=x", of(|_| ())), "`x` is no token id"),
        ("#plan=".to_owned(), "This link cannot be opened"),
        (
            format!("#{}", "%F0%9F%8D%8B".repeat(10_000)),
            "unknown part",
        ),
    ];
    for (idx, (link, cause)) in links.iter().enumerate() {
        if idx == 0 {
            open_live(&page, &format!("{CPU}{link}"));
        } else {
            page.open(&format!("{CPU}{link}"));
        }
        wait_notice(&page, &["This link cannot be opened", cause]);
        wait_verdict(&page, "The answer flipped from False to True.");
        assert_eq!(
            page.prop("#base", "value").as_deref(),
            Some("sugar,lady,sugar,scarf,sugar=")
        );
        super::click_button(&page, ".notice-line", "Close");
        page.wait_gone(".notice", SOON);
    }
    page.click("#switch-0");
    wait_verdict(&page, "Switch a direction on");
    assert_eq!(
        page.script("return window.hacked ?? null;", &[]),
        json!(null)
    );
    page.assert_clean_console();
}

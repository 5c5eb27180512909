//! A person opens the page, for the first time and again.

use std::{fs, time::Duration};

use serde_json::json;
use swivel_e2e::{Browser, Gpu, Overlay, dist};

use super::{CPU, IS_CURRENT, LONG, SOLVER, SOON, WEIGHTS, open_live, scan, server, wait_verdict};

/// Everything of the page but models, compressed as static hosts do; bytes.
const MOST_COMPRESSED_BYTES: usize = 1_600_000;

#[test]
fn recorded_example_stands_until_the_model_is_there() {
    let server = server();
    server.replace(WEIGHTS, Overlay::Delayed(Duration::from_secs(3)));
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    page.open(CPU);

    page.wait_for("#badge[data-device=recorded]", SOON);
    page.wait_text("#verdict", SOON, |text| {
        text.contains("The answer flipped from False to True.")
    });
    page.wait_text(".loading", SOON, |text| {
        let is_named = text.contains(".json:") || text.contains(".safetensors:");
        is_named && text.contains(" KB")
    });
    for wanted in ["#base", "#source", "#switch-0", "#grid", "#scan, #arm"] {
        page.wait_for(wanted, SOON);
    }
    page.screenshot("1-recorded");

    page.wait_for("#badge[data-device=cpu]", LONG);
    wait_verdict(&page, "The answer flipped from False to True.");
    page.wait_gone(".loading progress", SOON);
    page.assert_clean_console();
    page.screenshot("2-live-flipped");
}

#[test]
fn nothing_jumps_when_the_model_comes() {
    let server = server();
    server.replace(WEIGHTS, Overlay::Delayed(Duration::from_secs(2)));
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    page.open(CPU);
    page.wait_for("#badge[data-device=recorded]", SOON);
    let tops = || {
        page.script(
            "return ['.prompts', '.directions', '.answer', '.inside', '.program'].map((css) =>
               `${css} at ${Math.round(document.querySelector(css).getBoundingClientRect().top)}`);",
            &[],
        )
    };
    let before = tops();
    page.wait_script(IS_CURRENT, LONG);
    // The directions' probes come after the answer.
    page.wait_text(".card:nth-of-type(2)", SOON, |text| {
        text.contains("run again here: same answer")
    });
    assert_eq!(before, tops());
}

#[test]
fn picture_of_the_inside_begins_above_the_fold() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    page.wait_text(".card:nth-of-type(2)", SOON, |text| {
        text.contains("run again here: same answer")
    });
    // Its first row, at 1280 x 800.
    page.wait_script(
        "innerHeight === 800 && scrollY === 0
           && document.querySelector('#grid tr').getBoundingClientRect().bottom <= innerHeight",
        SOON,
    );
}

#[test]
fn loading_says_which_file_is_awaited() {
    let server = server();
    server.replace(WEIGHTS, Overlay::Delayed(Duration::from_secs(3)));
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    page.open(CPU);
    page.wait_text(".loading", Duration::from_millis(2500), |text| {
        text.contains("model.safetensors")
    });
}

/// The first paint, the page, and the first answer, milliseconds after navigation; the best of three visits, since other
/// work on the machine only adds.
#[test]
fn first_paint_is_below_a_second_and_the_first_answer_below_three() {
    let server = server();
    let mut best = [f64::INFINITY; 3];
    for _ in 0..3 {
        let browser = Browser::start(Gpu::Off);
        let page = browser.page(&server);
        page.before_load(
            "new MutationObserver(() => {
               if (document.querySelector('#answer')?.dataset.ms && !window.answered) window.answered = performance.now();
             }).observe(document, { subtree: true, childList: true, attributes: true, attributeFilter: ['data-ms'] });",
        );
        page.open("/?question=programs");
        let mark = "performance.getEntriesByName('swivel-painted')[0]?.startTime";
        let found = [
            page.first_contentful_paint_ms(),
            page.wait_script(mark, SOON).as_f64().unwrap(),
            page.wait_script("window.answered", LONG).as_f64().unwrap(),
        ];
        println!("first paint, page, answer: {found:.0?} ms");
        for (best, found) in best.iter_mut().zip(found) {
            *best = best.min(found);
        }
        if best[0] < 1000.0 && best[1] < 1000.0 && best[2] <= 3000.0 {
            return;
        }
    }
    panic!("first paint, page, answer: {best:.0?} ms; 1000, 1000, 3000 are allowed");
}

#[test]
fn page_is_small() {
    let mut total = 0;
    for entry in fs::read_dir(dist()).unwrap() {
        let path = entry.unwrap().path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        // The engine on WebGPU comes later, where there is one.
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let is_first = !name.contains("-webgpu");
        if !is_first || !matches!(extension, Some("wasm" | "js" | "css" | "html")) {
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        let mut compressed = Vec::new();
        let parameters = brotli::enc::BrotliEncoderParams {
            quality: 9,
            lgwin: 24,
            ..Default::default()
        };
        brotli::BrotliCompress(&mut &bytes[..], &mut compressed, &parameters).unwrap();
        println!("{} {} {}", path.display(), bytes.len(), compressed.len());
        total += compressed.len();
    }
    assert!(total > 100_000, "nothing there?");
    assert!(total <= MOST_COMPRESSED_BYTES, "{total} bytes");
}

#[test]
fn second_visit_works_offline() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    let kept = [
        server.path_ending("-webgpu_bg.wasm").replace("-webgpu", ""),
        "/worker.js".to_owned(),
        format!("{SOLVER}/config.json"),
        format!("{SOLVER}/tokenizer.json"),
        WEIGHTS.to_owned(),
    ];
    for path in kept {
        page.wait_script(
            &format!("caches.match('{path}').then((kept) => !!kept)"),
            LONG,
        );
    }
    page.go_offline();
    page.reload();
    page.wait_script(IS_CURRENT, LONG);
    wait_verdict(&page, "flipped");
    page.click("#switch-0");
    wait_verdict(&page, "Switch a direction on");
}

#[test]
fn dark_page_is_dark() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    page.emulate_dark();
    open_live(&page, CPU);
    let lightness = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)";
    page.wait_script(&format!("{lightness}.every((part) => part < 60)"), SOON);
    page.screenshot("dark");

    // The button goes from what the system says to dark and to light.
    page.click("#theme");
    page.wait_text("#theme", SOON, |text| text.contains("dark"));
    page.click("#theme");
    page.wait_script(&format!("{lightness}.every((part) => part > 200)"), SOON);
    page.reload();
    page.wait_text("#theme", SOON, |text| text.contains("light"));
    page.assert_clean_console();
}

#[test]
fn phone_scrolls_in_one_direction_only() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    page.phone();
    open_live(&page, CPU);
    let fits = |what: &str| {
        let widths = page.script(
            "scrollTo(100, 0);
             return [document.documentElement.scrollWidth, innerWidth, scrollX];",
            &[],
        );
        assert_eq!(widths, json!([390, 390, 0]), "{what}");
    };
    fits("the first look");
    page.screenshot("phone");
    page.click("#guide-button");
    page.wait_for(".guide", SOON);
    fits("with the guide");
    page.click("#guide-button");
    page.click("#model-menu summary");
    fits("with the model's menu");
    page.screenshot("phone-menu");
    page.click("#model-menu summary");
    page.set_value("#shots", "10");
    page.click("#new-pair");
    wait_verdict(&page, "The answer");
    fits("with ten demonstrations");
    page.click("#picture-interchange");
    fits("with the map");
    page.click("#picture-attention");
    fits("with attention");
    page.assert_clean_console();
}

#[test]
fn answer_is_in_sight_while_toggling_on_a_phone() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    page.phone();
    open_live(&page, CPU);
    page.script(
        "document.querySelector('#switch-0').scrollIntoView({ block: 'center' });",
        &[],
    );
    page.click("#switch-0");
    wait_verdict(&page, "Switch a direction on");
    page.click("#switch-0");
    wait_verdict(&page, "flipped");
    page.screenshot("phone-toggled");
    page.wait_script(
        "['#verdict', '#switch-0'].every((css) => {
           const box = document.querySelector(css).getBoundingClientRect();
           return box.top >= 0 && box.bottom <= innerHeight;
         })",
        SOON,
    );
}

#[test]
fn focus_is_never_under_the_answer_on_a_phone() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    page.phone();
    open_live(&page, CPU);
    for css in [
        "#switch-0",
        "#strength-0",
        "#switch-1",
        "#strength-1",
        "#grid",
    ] {
        page.script(
            "document.querySelector(arguments[0]).focus();",
            &[json!(css)],
        );
        let covering = page.script(
            "const wanted = document.activeElement;
             const box = wanted.getBoundingClientRect();
             const top = document.elementFromPoint(box.x + box.width / 2, box.y + Math.min(box.height / 2, 20));
             return wanted.contains(top) ? null : top?.outerHTML ?? 'outside the window';",
            &[],
        );
        assert_eq!(covering, json!(null), "{css}");
    }
}

/// Ratio of contrast as in WCAG 2.2.
#[test]
fn text_has_contrast_in_light_and_dark() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    page.click("#picture-interchange");
    scan(&page, LONG);
    let faint = || {
        page.script(
            "const canvas = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
             const over = (colors) => {
               canvas.clearRect(0, 0, 1, 1);
               for (const color of colors) { canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1); }
               return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
             };
             const light = (rgb) => {
               const [r, g, b] = rgb.map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
               return 0.2126 * r + 0.7152 * g + 0.0722 * b;
             };
             const found = [];
             for (const e of document.querySelectorAll('body *')) {
               const own = [...e.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
               if (!own || e.closest('svg, :disabled, option, noscript') || !e.checkVisibility()) continue;
               const grounds = [];
               for (let at = e; at; at = at.parentElement) grounds.unshift(getComputedStyle(at).backgroundColor);
               const [text, ground] = [light(over([...grounds, getComputedStyle(e).color])), light(over(grounds))];
               const ratio = (Math.max(text, ground) + 0.05) / (Math.min(text, ground) + 0.05);
               if (ratio < 4.5) found.push(`${e.tagName} ${e.id || e.className} “${e.textContent.trim().slice(0, 30)}” ${ratio.toFixed(2)}`);
             }
             return found;",
            &[],
        )
    };
    let mut found = Vec::new();
    for theme in ["light", "dark"] {
        if theme == "dark" {
            page.emulate_dark();
        }
        for picture in ["interchange", "logit", "attention"] {
            page.click(&format!("#picture-{picture}"));
            page.wait_script("!!document.querySelector('#grid td:not(.unknown)')", LONG);
            for line in faint().as_array().into_iter().flatten() {
                found.push(format!("{theme} {picture}: {line}"));
            }
        }
    }
    assert!(found.is_empty(), "below 4.5:\n{}", found.join("\n"));
}

#[test]
fn guide_walks_through_the_page() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    page.click("#guide-button");
    page.wait_text(".guide", SOON, |text| {
        ["Type", "Toggle", "Arm", "Scan", "Share", "Run"]
            .iter()
            .all(|step| text.contains(step))
    });
    // What an operation is, at which values, and where the model computes.
    page.wait_text(".guide", SOON, |text| {
        [
            "swap (the source's value takes its place)",
            "zero (it becomes zero)",
            "any component, in one head or in all",
            "in this tab",
            "on the machine that serves the page",
        ]
        .iter()
        .all(|part| text.contains(part))
    });
    page.screenshot("guide");
    super::click_button(&page, ".guide", "Switch the first direction");
    wait_verdict(&page, "Switch a direction on");
    super::click_button(&page, ".guide", "Arm the cell at the cursor");
    page.wait_for("#switch-2[aria-checked=true]", SOON);
    wait_verdict(&page, "The answer flipped from False to True.");
    super::click_button(&page, ".guide", "Scan this pair");
    page.wait_text("#scan-progress", LONG, |text| text == "done");
    page.click("#guide-button");
    page.wait_gone(".guide", SOON);
    page.assert_clean_console();
}

//! Pictures that a person keeps.

use std::fs;

use serde_json::{Value, json};
use swivel_e2e::{Browser, Gpu, Page};

use super::{CPU, LONG, SOON, click_button, open_live, scan, server, wait_verdict};

/// Catches what would be downloaded: its name, and the file.
const CATCH: &str = "window.caught = [];
    const files = new Map();
    const make = URL.createObjectURL;
    URL.createObjectURL = (blob) => { const url = make.call(URL, blob); files.set(url, blob); return url; };
    HTMLAnchorElement.prototype.click = function () {
      if (this.download) window.caught.push([this.download, files.get(this.href)]);
    };";

/// The file that a click on a button of a part of the page gives: its name and what it says; of pixels, their size.
fn kept(page: &Page<'_>, of: &str, format: &str) -> (String, Value) {
    page.script("window.caught = [];", &[]);
    click_button(page, &format!("{of} .keep"), format);
    page.wait_script("caught.length === 1", LONG);
    let found = page.script(
        "const [name, file] = window.caught[0];
         if (!file.type.startsWith('image/png')) return [name, await file.text()];
         const pixels = await createImageBitmap(file);
         return [name, [pixels.width, pixels.height]];",
        &[],
    );
    serde_json::from_value(found).unwrap()
}

#[test]
fn every_picture_is_kept_as_a_drawing_as_pixels_and_as_numbers() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    page.before_load(CATCH);
    open_live(&page, CPU);
    wait_verdict(&page, "flipped");
    page.click("#go-on");
    page.wait_text("#text-progress", LONG, |text| text.starts_with("40 tokens"));
    page.click("#try-pairs");
    page.wait_text("#flips-progress", LONG, |text| {
        text.starts_with("100 of 100")
    });
    for (picture, of, name, wanted) in [
        ("logit", "#answer", "answers", "FLIPPED"),
        ("logit", ".inside", "logit-lens", "layer 2"),
        ("interchange", ".inside", "map", "layer 1"),
        ("attention", ".inside", "attention", "head 3"),
        ("logit", "#text", "text", "intervened"),
        ("logit", "#flips", "pairs", "100 of 100"),
        ("logit", "#program", "causal-model", "op5"),
    ] {
        page.click(&format!("#picture-{picture}"));
        if picture == "interchange" {
            scan(&page, LONG);
        }
        page.wait_until("a picture", SOON, || {
            (page.count("#grid td:not(.unknown)") > 0).then_some(())
        });
        let (file, svg) = kept(&page, of, "SVG");
        assert_eq!(file, format!("solver-{name}.svg"));
        let svg = svg.as_str().unwrap();
        // Well formed, with what is seen, and with what it is of.
        let js = "const read = new DOMParser().parseFromString(arguments[0], 'image/svg+xml');
            const root = read.documentElement;
            if (read.querySelector('parsererror')) return null;
            return [Number(root.getAttribute('width')), Number(root.getAttribute('height')), root.textContent];";
        let (width, height, text): (f64, f64, String) =
            serde_json::from_value(page.script(js, &[json!(svg)])).unwrap();
        for part in [
            wanted,
            "model solver",
            "base: ",
            "op5, the output of 07065a",
        ] {
            assert!(text.contains(part), "{name}: no `{part}` in {text}");
        }
        assert!(!text.contains("SVG"), "{name}: buttons are no part of it");
        let (file, size) = kept(&page, of, "PNG");
        assert_eq!(file, format!("solver-{name}.png"));
        let size: [f64; 2] = serde_json::from_value(size).unwrap();
        let expected = [width, height].map(|side| 3.0 * side);
        let apart = |(found, expected): (f64, f64)| (found - expected).abs() < 3.0;
        assert!(
            size.into_iter().zip(expected).all(apart),
            "{name}: {size:?}, {expected:?}"
        );
        let (file, csv) = kept(&page, of, "CSV");
        assert_eq!(file, format!("solver-{name}.csv"));
        let csv = csv.as_str().unwrap();
        assert!(csv.starts_with("# Swivel; model solver"), "{csv}");
        assert!(csv.lines().count() > 5, "{csv}");
        let path = page.screenshot(&format!("kept-{name}"));
        fs::write(path.with_extension("svg"), svg).unwrap();
    }
    page.wait_text(".notice-line", SOON, |text| text.contains("Saved solver-"));
    page.assert_clean_console();
}

//! SmolLM2 135M and Gemma 3 270M in the tab, from their GGUF files: `SWIVEL_REAL` names the folder that has them.

use std::{
    env,
    path::PathBuf,
    time::{Duration, Instant},
};

use swivel_e2e::{Browser, Gpu, Page, Program};

use super::{
    IS_CURRENT, assert_fits_width, click_button, largest_difference, logits,
    measured::{median, seen_toggle, toggle},
};

/// For what a real model takes in the tab.
const VERY_LONG: Duration = Duration::from_secs(100);
/// Largest difference of a logit from the native one, nats.
const TOLERANCE: f64 = 2e-3;
/// A toggle in a late layer, at most; forward passes.
const MOST_PASSES: f64 = 0.1;
/// Memory at most, as a multiple of the weights.
const MOST_MEMORY: f64 = 1.3;
/// From opening the page until the first answer, with a model that the browser keeps.
const FIRST_ANSWER: Duration = Duration::from_secs(12);

const PROMPTS: [&str; 10] = [
    "The capital of France is",
    "The keys near the window",
    "After Brian and Steven came back from the store, Steven handed a ball to",
    "Once upon a time there was a",
    "1, 2, 3, 4,",
    "def add(a, b):\n    return",
    "Hello",
    "The doctor said that she",
    "Ein Satz auf Deutsch, der",
    "To be, or not to be, that is the",
];

/// The file of a model; `None` where there is none, which the table of skipped tests says.
fn real(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env::var_os("SWIVEL_REAL")?).join(name);
    assert!(
        path.is_file(),
        "SWIVEL_REAL: {} is not there",
        path.display()
    );
    Some(path)
}

/// The program with a model, and a browser; `None` where there is no such model.
fn started(name: &str) -> Option<(Program, Browser)> {
    let program = Program::start_with(&[&real(name)?]);
    Some((program, Browser::start(Gpu::Off)))
}

/// Opens the model on a device, in a new document, and waits for its first answer.
fn open(page: &Page<'_>, program: &Program, device: &str, file: &str) -> Duration {
    let start = Instant::now();
    let address = program.address();
    page.open(&format!("{address}/?device={device}&model=models/{file}"));
    page.wait_for(&format!("#badge[data-device={device}]"), VERY_LONG);
    page.wait_script(IS_CURRENT, VERY_LONG);
    start.elapsed()
}

fn ask(page: &Page<'_>, base: &str, source: &str) {
    page.type_into("#base", base);
    page.type_into("#source", source);
    page.wait_script(IS_CURRENT, VERY_LONG);
}

/// The engine's memory, bytes.
fn memory(page: &Page<'_>) -> f64 {
    let bytes = page.attr("#memory", "data-bytes");
    bytes.and_then(|bytes| bytes.parse().ok()).unwrap_or(0.0)
}

/// Answers in the tab equal the machine's, in memory that hardly exceeds the weights; a second visit answers soon.
fn check(file: &str, n_values: f64) {
    let Some((program, browser)) = started(file) else {
        return;
    };
    let page = browser.page_at(program.address());
    open(&page, &program, "machine", file);
    let pairs = || PROMPTS.iter().zip(PROMPTS.iter().cycle().skip(1));
    let answer = |(base, source): (&&str, &&str)| {
        ask(&page, base, source);
        logits(&page)
    };
    let expected: Vec<_> = pairs().map(answer).collect();
    let first = open(&page, &program, "cpu", file);
    let found: Vec<_> = pairs().map(answer).collect();
    let differences = expected.iter().zip(&found);
    let largest = differences
        .map(|(expected, found)| largest_difference(expected, found))
        .fold(0.0, f64::max);
    let share = memory(&page) / (4.0 * n_values);
    let second = open(&page, &program, "cpu", file);
    println!(
        "{file}: logits off by {largest:.1e} nats, memory {share:.2} x weights, first answer {first:.1?}, kept {second:.1?}"
    );
    assert!(largest <= TOLERANCE, "off by {largest} nats");
    assert!(share <= MOST_MEMORY, "{share} times the weights");
    if file.starts_with("smollm2") {
        assert!(second < FIRST_ANSWER, "{second:?}");
    }
    page.assert_clean_console();
}

#[test]
fn smollm2_in_the_tab_answers_as_the_machine() {
    check("smollm2.gguf", 134_515_008.0);
}

#[test]
fn gemma3_in_the_tab_answers_as_the_machine() {
    check("gemma3.gguf", 268_098_176.0);
}

/// A whole value at the noun, in an early layer: what a person clicks.
#[test]
fn gemma3_turns_from_are_to_is_in_the_tab() {
    let Some((program, browser)) = started("gemma3.gguf") else {
        return;
    };
    let page = browser.page_at(program.address());
    open(&page, &program, "cpu", "gemma3.gguf");
    ask(&page, "The keys near the window", "The key near the window");
    page.wait_text("#verdict", VERY_LONG, |text| text.contains("are"));
    // `<bos>`, `The`, `keys`; the whole picture is in sight.
    page.viewport(1280, 1400);
    page.click("#cell-6-2");
    page.click("#arm");
    page.wait_text("#verdict", VERY_LONG, |text| {
        text.contains("from ␣are to ␣is")
    });
    page.screenshot("gemma-are-is");
    page.assert_clean_console();
}

/// Opens a question of the gallery, and its model from this machine, which has the same weights as what would be fetched.
fn open_question(page: &Page<'_>, program: &Program, name: &str, file: &str) {
    page.open(&format!(
        "{}/?device=cpu&question={name}",
        program.address()
    ));
    page.wait_for("#fetch-model", VERY_LONG);
    page.click("#model-menu > summary");
    click_button(page, "#listed-models", file);
    page.wait_for("#badge[data-device=cpu]", VERY_LONG);
    page.wait_script(IS_CURRENT, VERY_LONG);
}

/// A question of the gallery goes on with a sentence of one's own once its model is there.
#[test]
fn a_sentence_of_ones_own_flips_on_gemma3() {
    let Some((program, browser)) = started("gemma3.gguf") else {
        return;
    };
    let page = browser.page_at(program.address());
    open_question(&page, &program, "agreement", "gemma3.gguf");
    let flips = |text: &str| text.contains("from ␣are to ␣is");
    page.wait_text("#verdict", VERY_LONG, flips);
    ask(
        &page,
        "The windows behind the house",
        "The key near the window",
    );
    page.wait_text("#verdict", VERY_LONG, flips);
    page.screenshot("own-sentence");
    // Another noun by its menu, in the sentence as it was; the verb follows.
    page.click("#new-pair");
    page.wait_script(IS_CURRENT, VERY_LONG);
    page.set_value("#base-slot-0", "dogs");
    page.wait_script(IS_CURRENT, VERY_LONG);
    page.set_value("#source-slot-0", "cat");
    page.wait_text("#verdict", VERY_LONG, flips);
    page.screenshot("own-words");
    // Long tokens, and text from right to left: nothing overflows, on a phone either.
    ask(
        &page,
        "الولايات المتحدة الأمريكية responsabilidades internacionalmente",
        "Rechtsschutzversicherungsgesellschaften عشرون",
    );
    page.screenshot("long-tokens");
    page.phone();
    assert_fits_width(&page, "long tokens");
    let js = "const chips = [...document.querySelectorAll('.tokens li, .answers th, .answers td')];
        return Math.max(...chips.map((chip) => chip.scrollWidth - chip.clientWidth));";
    assert!(page.script(js, &[]).as_i64().unwrap() <= 0);
    page.screenshot("long-tokens-phone");
    page.assert_clean_console();
}

/// A sentence of another form: the direction finds the giver by the name that stands twice, and says so.
#[test]
fn a_sentence_of_another_form_flips_on_smollm2() {
    let Some((program, browser)) = started("smollm2.gguf") else {
        return;
    };
    let page = browser.page_at(program.address());
    open_question(&page, &program, "ioi", "smollm2.gguf");
    let own = "When Peter and Anna left the bar, Anna handed the keys to";
    page.type_into("#base", own);
    let flips = |text: &str| text.contains("FLIPPED") || text.contains("from ␣Peter to ␣Anna");
    page.wait_text("#verdict", VERY_LONG, flips);
    page.wait_text(".card .way", VERY_LONG, |text| {
        text.contains("“␣Anna”, by its word")
    });
    page.screenshot("another-form");
    // A click puts it elsewhere, where nothing flips; undo takes that back.
    page.click("#base-tokens li:nth-child(4)");
    page.wait_text("#verdict", VERY_LONG, |text| text.contains("stays ␣Peter"));
    page.wait_text(".card .way", VERY_LONG, |text| {
        text.contains("as it was set")
    });
    click_button(&page, "header", "Undo");
    page.wait_text("#verdict", VERY_LONG, flips);
    page.click("#switch-0");
    page.wait_script(IS_CURRENT, VERY_LONG);
    page.click("#go-on");
    let progress = page.wait_text("#text-progress", VERY_LONG, |text| {
        text.starts_with("40 tokens, ")
    });
    println!("smollm2.gguf: {progress}");
    page.click("#switch-0");
    // Prompts of two lengths are matched by the places of the sentence.
    page.type_into(
        "#base",
        "When Mary Ann Lee and John went to the store, John gave a drink to",
    );
    page.type_into(
        "#source",
        "When Mary and John went to the store, Mary gave a drink to",
    );
    page.wait_text("#notes", VERY_LONG, |text| {
        text.contains("matched by the places of the sentence")
    });
    page.assert_clean_console();
}

/// Many pairs take a minute at most, and a person who toggles meanwhile does not wait for them.
#[test]
fn hundred_pairs_of_gemma3_take_a_minute_while_toggles_are_answered() {
    let Some((program, browser)) = started("gemma3.gguf") else {
        return;
    };
    let page = browser.page_at(program.address());
    open_question(&page, &program, "agreement", "gemma3.gguf");
    let run = || {
        let start = Instant::now();
        page.click("#try-pairs");
        page.wait_for(".flips-rows tbody tr", VERY_LONG);
        start
    };
    let is_done = |start: Instant| {
        page.wait_text("#flips-progress", VERY_LONG, |text| {
            text.starts_with("100 of 100 pairs")
        });
        start.elapsed()
    };
    let start = run();
    let alone = is_done(start);
    page.screenshot("gemma-flips");
    let start = run();
    let seen = seen_toggle(&page, 40);
    let toggled = is_done(start);
    println!(
        "gemma3.gguf: 100 pairs in {alone:.1?}, {toggled:.1?} with 40 toggles, which took {seen:.0} ms, the median"
    );
    assert!(alone <= Duration::from_secs(60), "{alone:?}");
    assert!(seen <= 150.0, "{seen} ms");
    page.assert_clean_console();
}

/// What the causal cone saves in a real model: the whole value at the last of 18 tokens, in the last layer but two.
#[test]
fn late_toggle_of_smollm2_costs_a_tenth_of_a_pass_at_most() {
    let Some((program, browser)) = started("smollm2.gguf") else {
        return;
    };
    let page = browser.page_at(program.address());
    open(&page, &program, "cpu", "smollm2.gguf");
    page.viewport(1280, 1800); // the whole picture is in sight
    let prompt = |name: &str| {
        format!(
            "After {name} and Steven came back from the old store, {name} handed a new red ball to"
        )
    };
    // The fastest of each, since other work on the machine only adds.
    let mut fastest = [f64::INFINITY; 2];
    for [base, source] in [["Brian", "Anna"], ["Mary", "John"], ["Paul", "Emma"]] {
        ask(&page, &prompt(base), "Hello");
        page.type_into("#source", &prompt(source));
        let ms = page.wait_script(IS_CURRENT, VERY_LONG);
        let pass: f64 = ms.as_str().unwrap().parse().unwrap(); // of the source alone
        assert_eq!(page.count("#base-tokens li"), 18);
        page.click("#cell-27-17");
        page.click("#arm");
        page.wait_for(".switch[aria-checked=true]", VERY_LONG);
        page.wait_script(IS_CURRENT, VERY_LONG);
        let toggles = toggle(&page, 20);
        fastest[0] = toggles.into_iter().fold(fastest[0], f64::min);
        fastest[1] = fastest[1].min(pass);
        click_button(&page, ".card", "Remove");
        page.wait_script(IS_CURRENT, VERY_LONG);
    }
    let [toggle, pass] = fastest;
    println!(
        "smollm2.gguf: a late toggle {toggle:.1} ms, a pass {pass:.0} ms: {:.3}",
        toggle / pass
    );
    assert!(toggle <= MOST_PASSES * pass, "{toggle} ms of {pass} ms");
    page.assert_clean_console();
}

/// One model after the other: what an unloaded one held is given back.
#[test]
fn smollm2_comes_and_goes_twenty_times_without_growth() {
    let Some((program, browser)) = started("smollm2.gguf") else {
        return;
    };
    let page = browser.page_at(program.address());
    open(&page, &program, "cpu", "smollm2.gguf");
    let loads = "performance.getEntriesByName('swivel-model').length";
    let mut held = Vec::new();
    for turn in 1..=20 {
        page.click("#model-menu > summary");
        click_button(&page, "#model-menu", "Back to the built-in solver");
        page.wait_script(&format!("{loads} === {}", 2 * turn), VERY_LONG);
        page.click("#model-menu > summary");
        click_button(&page, "#listed-models", "smollm2.gguf");
        page.wait_script(&format!("{loads} === {}", 2 * turn + 1), VERY_LONG);
        page.wait_script(IS_CURRENT, VERY_LONG);
        held.extend(browser.memory_bytes().map(|bytes| bytes as f64 / 1e6));
    }
    println!("memory of the browser after each load, MB: {held:.0?}");
    if held.is_empty() {
        return; // the system does not say
    }
    let [early, late] = [&held[2..7], &held[15..20]].map(|part| median(part.to_vec()));
    assert!(late < 1.1 * early, "{early} MB, then {late} MB");
}

//! A model of many layers, and tokens of all sorts: everything has its place on the page.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use swivel_e2e::{Browser, Gpu, Overlay, Page, Server};

use super::{CPU, IS_CURRENT, LONG, SOON, scan, server, texts};

const N_LAYERS: usize = 30;
const N_TOKENS: usize = 40;
const N_HEADS: usize = 8;
const WIDTH: usize = 16;
/// Tokens of the vocabulary, which has a part of Gemma's.
const VOCABULARY: usize = 551;
const TOKENIZER: &[u8] = include_bytes!("../../../tests/fixtures/tokenizers/gemma.json");

/// Random numbers between -1 and 1, the same each time.
struct Random(u32);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// `config.json` and weights of a Llama of many layers, which says nothing.
fn deep() -> (Value, Vec<u8>) {
    let config = json!({
        "model_type": "llama", "hidden_act": "silu", "hidden_size": WIDTH, "intermediate_size": 24,
        "num_hidden_layers": N_LAYERS, "num_attention_heads": N_HEADS, "num_key_value_heads": 1, "head_dim": 4,
        "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "rope_theta": 1000.0, "tie_word_embeddings": true,
        "vocab_size": VOCABULARY,
    });
    let mut tensors = vec![
        (
            "model.embed_tokens.weight".to_owned(),
            vec![VOCABULARY, WIDTH],
        ),
        ("model.norm.weight".to_owned(), vec![WIDTH]),
    ];
    let heads = N_HEADS * 4;
    for layer in 0..N_LAYERS {
        let parts = [
            ("input_layernorm", vec![WIDTH]),
            ("self_attn.q_proj", vec![heads, WIDTH]),
            ("self_attn.k_proj", vec![4, WIDTH]),
            ("self_attn.v_proj", vec![4, WIDTH]),
            ("self_attn.o_proj", vec![WIDTH, heads]),
            ("post_attention_layernorm", vec![WIDTH]),
            ("mlp.gate_proj", vec![24, WIDTH]),
            ("mlp.up_proj", vec![24, WIDTH]),
            ("mlp.down_proj", vec![WIDTH, 24]),
        ];
        let named = |(part, shape)| (format!("model.layers.{layer}.{part}.weight"), shape);
        tensors.extend(parts.map(named));
    }
    let mut random = Random(1);
    let (mut header, mut values) = (serde_json::Map::new(), Vec::new());
    for (name, shape) in tensors {
        let start = values.len();
        let is_norm = shape.len() == 1;
        for _ in 0..shape.iter().product() {
            let value = if is_norm { 1.0 } else { random.next() / 2.0 };
            values.extend(value.to_le_bytes());
        }
        let about =
            json!({ "dtype": "F32", "shape": shape, "data_offsets": [start, values.len()] });
        header.insert(name, about);
    }
    let header = Value::Object(header).to_string();
    let length = (header.len() as u64).to_le_bytes();
    (config, [&length[..], header.as_bytes(), &values].concat())
}

/// The page's server, which has the model too.
fn server_of_deep() -> Server {
    let server = server();
    let (config, weights) = deep();
    for (name, bytes) in [
        ("config.json", config.to_string().into_bytes()),
        ("tokenizer.json", TOKENIZER.to_vec()),
        ("model.safetensors", weights),
    ] {
        server.replace(&format!("/models/deep/{name}"), Overlay::Bytes(bytes));
    }
    server
}

/// Opens the page with the model, and types.
fn open_deep(page: &Page<'_>, base: &str, source: &str) {
    page.open(&format!("{CPU}&model=models/deep"));
    page.wait_script(
        "performance.getEntriesByName('swivel-model').length === 1",
        LONG,
    );
    page.type_into("#base", base);
    page.type_into("#source", source);
    page.wait_script(IS_CURRENT, LONG);
}

/// A text of as many tokens as the pictures should have room for, with the one before it.
fn sentence(first: &str) -> String {
    let words = "the river gave that they there over still wind and".split(' ');
    let rest: Vec<_> = words.cycle().take(N_TOKENS - 2).collect();
    format!(" {first} {}", rest.join(" "))
}

const IS_COMPUTED: &str = "document.querySelectorAll('#grid td').length > 0
     && document.querySelectorAll('#grid td.unknown').length === 0";

/// Neither the page nor the picture is wider than what it stands in, and cells can be hit.
#[track_caller]
fn assert_fits(page: &Page<'_>, n_cells: usize) {
    assert_eq!(page.count("#grid td"), n_cells);
    let sizes = page.script(
        "const frame = document.querySelector('.inside .scroll');
         const cells = [...document.querySelectorAll('#grid td')].map((cell) => cell.getBoundingClientRect());
         return [
           document.documentElement.scrollWidth - innerWidth, frame.scrollWidth - frame.clientWidth,
           Math.min(...cells.map((cell) => cell.width)), Math.min(...cells.map((cell) => cell.height)),
         ];",
        &[],
    );
    let [beyond, hidden, width, height] = [0, 1, 2, 3].map(|idx| sizes[idx].as_f64().unwrap());
    assert!(beyond <= 0.0, "the page is {beyond} px too wide");
    assert!(hidden <= 0.0, "the picture is {hidden} px too wide");
    assert!(width >= 20.0 && height >= 20.0, "{width} x {height} px");
}

#[test]
fn pictures_of_a_large_model_fit_the_page() {
    let server = server_of_deep();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_deep(&page, &sentence("John"), &sentence("Mary"));
    assert_eq!(page.count("#base-tokens li"), N_TOKENS);
    page.wait_script(IS_COMPUTED, LONG);
    assert_fits(&page, N_LAYERS * N_TOKENS);
    page.viewport(1280, 1900);
    page.screenshot("large-lens");

    // A cell shows a part, the rest is where it is pointed at and below.
    page.click("#cell-7-31");
    page.wait_for("#cell-7-31.cursor", SOON);
    let title = page.attr("#cell-7-31", "title").unwrap();
    page.wait_text("#detail", SOON, |text| {
        text.contains("layer 7, token 31 “␣") && text.contains(&title)
    });
    assert!(
        title.contains("nats towards the source's answer"),
        "{title}"
    );
    page.click("#arm");
    page.wait_for("#cell-7-31.armed", SOON);
    page.wait_script(IS_CURRENT, LONG);
    page.click("#shown-difference");
    page.wait_script(IS_COMPUTED, LONG);
    assert_fits(&page, N_LAYERS * N_TOKENS);

    page.click("#picture-attention");
    page.wait_until("attention", LONG, || {
        (page.count("#grid td:not(.unknown)") == N_HEADS * 32).then_some(())
    });
    assert_fits(&page, N_HEADS * N_TOKENS);
    page.screenshot("large-attention");

    page.click("#picture-interchange");
    scan(&page, 2 * LONG);
    assert_fits(&page, N_LAYERS * N_TOKENS);
    page.screenshot("large-map");

    // On a phone the picture scrolls, and the page does not.
    page.phone();
    page.wait_script("document.documentElement.scrollWidth <= 390", SOON);
    page.script("document.querySelector('.inside').scrollIntoView();", &[]);
    page.screenshot("large-phone");
    page.assert_clean_console();
}

#[test]
fn pictures_of_a_small_model_have_room() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    super::open_live(&page, CPU);
    page.wait_script(IS_COMPUTED, LONG);
    assert_eq!(page.count("#grid.even, .low"), 0);
    let sizes = page.script(
        "const cell = document.querySelector('#cell-0-0').getBoundingClientRect();
         const head = document.querySelector('#grid tfoot code');
         return [cell.width, cell.height, getComputedStyle(head).writingMode];",
        &[],
    );
    assert!(sizes[0].as_f64() >= Some(54.0), "{sizes}");
    assert_eq!(sizes[1], 32, "{sizes}");
    assert_eq!(sizes[2], "horizontal-tb");
}

#[test]
fn tokens_that_are_no_text_are_told_apart() {
    let server = server_of_deep();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    // Line breaks, and many spaces, have tokens of their own; x has none and is a byte.
    let text = "<start_of_turn>\n\n     and\tx é";
    open_deep(&page, text, "the river");
    let chips = || {
        let found = page.script(
            "return [...document.querySelectorAll('#base-tokens li')].map((li) => [
               li.querySelector('.piece').textContent, li.querySelector('.piece').className, li.title]);",
            &[],
        );
        let found: Vec<[String; 3]> = serde_json::from_value(found).unwrap();
        found
    };
    let chips = chips();
    let has = |text: &str, sort: &str, part: &str| {
        let is_it = |[own, class, title]: &[String; 3]| {
            own == text && class.ends_with(sort) && title.contains(part)
        };
        assert!(
            chips.iter().any(is_it),
            "no {text} with {part:?}: {chips:?}"
        );
    };
    has("<bos>", "special", "a special token: a text begins");
    has(
        "<bos>",
        "special",
        "the tokenizer puts it before every text",
    );
    has(
        "<start_of_turn>",
        "special",
        "a turn of a conversation begins",
    );
    has("⏎⏎", "blank", "nothing but 2 line breaks");
    has("⇥", "blank", "nothing but a tab");
    has("‹0x78›", "bytes", "a byte, not a character");
    has("é", "text", "U+00E9");
    let [first, ..] = &texts(&page, "#base-tokens li")[..] else {
        panic!("no tokens")
    };
    assert_eq!(first, "0<bos>added");
    // A special token is drawn as something else than text.
    let looks = page.script(
        "return ['special', 'blank', 'bytes', 'text'].map((sort) => {
           const { borderRadius, borderStyle, backgroundColor } =
             getComputedStyle(document.querySelector(`#base-tokens .${sort}`));
           return [borderRadius, borderStyle, backgroundColor].join();
         });",
        &[],
    );
    let looks: Vec<String> = serde_json::from_value(looks).unwrap();
    assert!(looks[0] != looks[1] && looks[1] != looks[3], "{looks:?}");
    page.screenshot("special-tokens");
    // What is typed is not added.
    page.type_into("#base", "<bos>the river");
    page.wait_until("the strip", SOON, || {
        (texts(&page, "#base-tokens li").first()? == "0<bos>").then_some(())
    });
    page.assert_clean_console();
}

#[test]
fn answers_of_any_token_keep_their_columns() {
    let server = server_of_deep();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_deep(&page, " there", " wind");
    let mut sorts = BTreeSet::new();
    for word in [
        "and", "the", "river", "gave", "that", "they", "over", "still",
    ] {
        page.type_into("#base", &format!(" {word} wind"));
        page.type_into("#source", &format!(" wind {word}"));
        page.wait_script(IS_CURRENT, LONG);
        let found = page.script(
            "const rows = [...document.querySelectorAll('table.answers tbody tr')];
             const box = (e) => e.getBoundingClientRect();
             const panel = box(document.querySelector('#answer'));
             for (const row of rows) {
               const [head, token] = [row.querySelector('th'), row.querySelector('th code')];
               if (!head.title.includes(`id ${row.dataset.id}`)) throw Error(head.title);
               if (box(row).right > panel.right + 1) throw Error('a row is wider than the panel');
               if (Math.abs(box(row).height - box(rows[0]).height) > 2) throw Error(`${token.textContent} is higher`);
             }
             // Points stand below each other.
             for (const run of ['base', 'intervened', 'source']) {
               const ends = rows.map((row) => Math.round(box(row.querySelector(`td.${run} .number`)).right));
               if (new Set(ends).size > 1) throw Error(`${run}: ${ends}`);
             }
             return rows.map((row) => [row.querySelector('th').textContent.trim(), row.querySelector('th code').className]);",
            &[],
        );
        let found: Vec<[String; 2]> = serde_json::from_value(found).unwrap();
        let shown: BTreeSet<_> = found.iter().map(|[text, _]| text).collect();
        assert_eq!(shown.len(), found.len(), "two rows look alike: {found:?}");
        assert!(shown.iter().all(|text| !text.is_empty()), "{found:?}");
        sorts.extend(found.into_iter().map(|[_, sort]| sort));
    }
    assert!(
        sorts.contains("bytes") && sorts.contains("text"),
        "{sorts:?}"
    );
    page.wait_script("document.documentElement.scrollWidth <= 1280", SOON);
    page.screenshot("odd-answers");
    page.assert_clean_console();
}

/// Lists what the engine is asked, and clicks on `window.wanted` right after it is asked for layer 20 of the lens.
const LISTENING: &str = "
    window.asked = [];
    window.painted = [];
    const post = Worker.prototype.postMessage;
    Worker.prototype.postMessage = function (message, ...rest) {
      if (Array.isArray(message)) {
        const read = message.length > 1 && JSON.parse(message[1]).Engine?.Ask?.read;
        const kind = message.length === 1 ? 'taken back' : read && Object.keys(read)[0] + (read.Lens?.layer ?? '');
        window.asked.push(kind || 'other');
        if (read?.Lens) window.painted.push(document.querySelectorAll('#grid td:not(.unknown)').length);
        if (kind === 'Lens20' && window.wanted) {
          const wanted = document.querySelector(window.wanted);
          window.wanted = null;
          queueMicrotask(() => wanted.click());
        }
      }
      return post.call(this, message, ...rest);
    };";

#[test]
fn answer_comes_first_and_a_toggle_before_the_rest_of_the_lens() {
    let server = server_of_deep();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    page.before_load(LISTENING);
    page.viewport(1280, 1900);
    open_deep(&page, &sentence("John"), &sentence("Mary"));
    page.wait_script(IS_COMPUTED, LONG);
    page.click("#cell-0-12");
    page.click("#arm");
    page.wait_script(IS_COMPUTED, LONG);
    let asked = || -> Vec<String> {
        let asked = page.script("return window.asked.splice(0);", &[]);
        serde_json::from_value(asked).unwrap()
    };
    let lens = |layers: std::ops::Range<usize>| -> Vec<String> {
        let layers = layers.rev();
        layers.map(|layer| format!("Lens{layer}")).collect()
    };
    let all = [vec!["Answer".to_owned()], lens(0..N_LAYERS)].concat();
    let mut before = asked();
    assert_eq!(before.split_off(before.len() - all.len()), all);

    // Rows are painted while others are computed.
    let painted = page.script("return window.painted.slice(-30);", &[]);
    let painted: Vec<usize> = serde_json::from_value(painted).unwrap();
    assert!(painted[0] < 2 * N_TOKENS, "{painted:?}");
    let is_behind = |(n, painted): (usize, &usize)| painted + 3 * N_TOKENS < n * N_TOKENS;
    assert!(!painted.iter().enumerate().any(is_behind), "{painted:?}");

    // In the middle of it the switch is pressed.
    page.script("window.wanted = '#switch-2';", &[]);
    page.click("#switch-2");
    page.wait_for("#switch-2[aria-checked=true]", SOON);
    page.wait_script(IS_COMPUTED, LONG);
    let expected = [
        &all[..1],
        &lens(20..N_LAYERS),
        &["taken back".to_owned()],
        &all,
    ];
    assert_eq!(asked(), expected.concat());
    page.assert_clean_console();
}

//! Ids equal transformers', from every file that a tokenizer is read from; `fixtures/tokenizers/README.md` says what is compared.

mod real;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use serde_json::Value as Json;
use swivel_core::{
    Sizes, Tokenizer, Tokens,
    direction::Direction,
    gguf::Value,
    plan::Plan,
    question::programs::{Lexicon, program},
};

/// Texts and ids of `fixtures/tokenizers`.
pub fn rows(file: &str) -> Vec<(String, Vec<u32>)> {
    let rows = file.lines().map(serde_json::from_str);
    rows.collect::<Result<_, _>>().unwrap()
}

/// 2,000 strings in which tokenizers go wrong, and GPT-2's ids.
pub const NASTY: &str = include_str!("../fixtures/tokenizers/gpt2_ids.jsonl");

macro_rules! family {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("../fixtures/tokenizers/", $name, ".json")),
            include_str!(concat!("../fixtures/tokenizers/", $name, "_ids.jsonl")),
        )
    };
}

const FAMILIES: [(&str, &str, &str); 4] = [
    family!("llama3"),
    family!("qwen2"),
    family!("llama2"),
    family!("gemma"),
];

/// Entries of a GGUF file's metadata.
fn metadata<const N: usize>(entries: [(&str, Value); N]) -> BTreeMap<String, Value> {
    let named = entries.map(|(key, value)| (format!("tokenizer.ggml.{key}"), value));
    named.into_iter().collect()
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

#[track_caller]
fn check_ids(name: &str, tokenizer: &Tokenizer, rows: &[(String, Vec<u32>)]) {
    for (text, ids) in rows {
        assert_eq!(&tokenizer.encode(text).unwrap(), ids, "{name}: {text:?}");
    }
}

/// The text of a prompt's ids is the text that it was, behind the first token's own.
#[track_caller]
fn check_text_back(name: &str, tokenizer: &Tokenizer, text: &str) {
    let ids = tokenizer.encode(text).unwrap();
    let back = tokenizer.decode(&ids);
    let first = tokenizer.first_token();
    let first = first.map_or(String::new(), |id| tokenizer.token(id));
    let said = back.strip_prefix(&first).unwrap();
    // The first token's own text is not given twice.
    let text = text.strip_prefix(&first).unwrap_or(text);
    assert_eq!(said, text, "{name}: {ids:?}");
    assert_eq!(tokenizer.encode(&back).unwrap(), ids, "{name}: {back:?}");
    check_last_token(name, tokenizer, text);
}

/// The last character of a text is of the last token, whether the prompt is given as text, with the first token's own or without,
/// or as ids.
#[track_caller]
fn check_last_token(name: &str, tokenizer: &Tokenizer, text: &str) {
    // What bytes of no character become is not told from the same in the text.
    let end = text.chars().last();
    let Some(end) = end.filter(|end| *end != char::REPLACEMENT_CHARACTER) else {
        return;
    };
    let ids = tokenizer.encode(text).unwrap();
    let said = tokenizer.decode(&ids);
    for tokens in [
        Tokens::of(text, tokenizer).unwrap(),
        Tokens::of(&said, tokenizer).unwrap(),
        Tokens::of_ids(&ids, tokenizer),
    ] {
        assert_eq!(tokens.ids, ids, "{name}: {text:?}");
        let last = tokens.of_text(&end.to_string()).unwrap();
        assert_eq!(last, ids.len() - 1, "{name}: {text:?}");
    }
}

/// GPT-2's bytes as characters, in the order of their ids: `bytes_to_unicode` of transformers.
fn byte_alphabet() -> Vec<char> {
    let is_seen = |byte: &u32| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let seen = (0..256).filter(is_seen);
    let hidden = (0..256).filter(|byte| !is_seen(byte)).count() as u32;
    let hidden = (0..hidden).map(|n| 256 + n);
    seen.chain(hidden)
        .map(|c| char::from_u32(c).unwrap())
        .collect()
}

const GPT2_MERGES: &str = include_str!("../fixtures/tokenizers/gpt2_merges.txt");

/// GPT-2's real vocabulary, in the order of its ids.
fn gpt2_tokens() -> Vec<String> {
    let tokens = byte_alphabet().into_iter().map(String::from);
    let merged = GPT2_MERGES.lines().skip(1);
    let tokens = tokens.chain(merged.map(|line| line.replace(' ', "")));
    tokens.chain(["<|endoftext|>".to_owned()]).collect()
}

/// GPT-2's real tokenizer.
pub fn gpt2() -> Tokenizer {
    let tokens = gpt2_tokens();
    let vocab: HashMap<&String, usize> = tokens.iter().zip(0..).collect();
    let vocab = serde_json::to_vec(&vocab).unwrap();
    Tokenizer::from_vocab_and_merges(&vocab, GPT2_MERGES).unwrap()
}

#[test]
fn gpt2_reads_nasty_strings_as_transformers_does() {
    let (tokens, from_files) = (gpt2_tokens(), gpt2());
    let lines: Vec<&str> = GPT2_MERGES.lines().skip(1).collect();
    let mut kinds = vec![1; tokens.len()];
    kinds[50256] = 3;
    let from_gguf = Tokenizer::from_gguf(&metadata([
        ("model", text("gpt2")),
        ("pre", text("gpt-2")),
        ("tokens", Value::Texts(tokens)),
        ("token_type", Value::Ints(kinds)),
        (
            "merges",
            Value::Texts(lines.iter().map(ToString::to_string).collect()),
        ),
        ("bos_token_id", Value::Int(50256)),
    ]))
    .unwrap();

    let rows = rows(NASTY);
    assert_eq!(rows.len(), 2000);
    for (name, tokenizer) in [("files", from_files), ("GGUF", from_gguf)] {
        assert_eq!(tokenizer.n_tokens(), 50257);
        assert_eq!(tokenizer.first_token(), None);
        check_ids(name, &tokenizer, &rows);
        for (text, _) in &rows {
            check_text_back(name, &tokenizer, text);
        }
    }
}

/// What a GGUF file of this `tokenizer.json` says.
fn as_gguf(name: &str, json: &Json) -> BTreeMap<String, Value> {
    let vocab = json["model"]["vocab"].as_object().unwrap();
    let mut tokens: BTreeMap<u64, &str> = BTreeMap::new();
    tokens.extend(
        vocab
            .iter()
            .map(|(token, id)| (id.as_u64().unwrap(), token.as_str())),
    );
    let mut kinds: HashMap<&str, i64> = HashMap::new();
    for added in json["added_tokens"].as_array().unwrap() {
        let content = added["content"].as_str().unwrap();
        tokens.insert(added["id"].as_u64().unwrap(), content);
        kinds.insert(content, if added["special"] == true { 3 } else { 4 });
    }
    let is_pieced = !["llama3", "qwen2"].contains(&name);
    let is_byte = |token: &str| is_pieced && token.starts_with("<0x");
    let kind = |token: &&str| match kinds.get(token) {
        Some(kind) => *kind,
        None if is_byte(token) => 6,
        None => 1,
    };
    let merges = json["model"]["merges"].as_array().unwrap();
    let side = |pair: &Json, idx: usize| pair[idx].as_str().unwrap().to_owned();
    let merges = merges
        .iter()
        .map(|pair| format!("{} {}", side(pair, 0), side(pair, 1)));
    let kinds = Value::Ints(tokens.values().map(kind).collect());
    let scores = Value::Floats(tokens.keys().map(|id| -(*id as f64)).collect());
    let id = |token: &str| {
        tokens
            .iter()
            .find(|(_, own)| **own == token)
            .map(|(id, _)| *id)
    };
    let bos = match name {
        "llama3" => "<|begin_of_text|>",
        "qwen2" => "<|endoftext|>",
        "llama2" => "<s>",
        _ => "<bos>",
    };
    let bos = ("bos_token_id", Value::Int(id(bos).unwrap().into()));
    let unknown = id("<unk>").unwrap_or_default().into();
    let unknown = ("unknown_token_id", Value::Int(unknown));
    let tokens = Value::Texts(tokens.values().map(ToString::to_string).collect());
    let common = metadata([("tokens", tokens), ("token_type", kinds), bos]);
    let own = match is_pieced {
        true => metadata([("model", text("llama")), ("scores", scores), unknown]),
        false => {
            let merges = Value::Texts(merges.collect());
            let pre = match name {
                "llama3" => "llama-bpe",
                name => name,
            };
            metadata([
                ("model", text("gpt2")),
                ("pre", text(pre)),
                ("merges", merges),
            ])
        }
    };
    let gemma = match name {
        "gemma" => metadata([("add_space_prefix", Value::Bool(false))]),
        _ => BTreeMap::new(),
    };
    [common, own, gemma].into_iter().flatten().collect()
}

#[test]
fn small_tokenizers_of_each_family_read_as_transformers_does() {
    for (name, json, ids) in FAMILIES {
        let rows = rows(ids);
        let first = match name {
            "qwen2" => None,
            _ => Some(rows[0].1[0]),
        };
        let from_json = Tokenizer::from_json(json.as_bytes()).unwrap();
        let from_gguf = as_gguf(name, &serde_json::from_str(json).unwrap());
        let from_gguf = Tokenizer::from_gguf(&from_gguf).unwrap();
        let again = Tokenizer::from_json(from_gguf.to_json().unwrap().as_bytes()).unwrap();
        for (format, tokenizer) in [("json", from_json), ("GGUF", from_gguf), ("again", again)] {
            let name = format!("{name} from {format}");
            assert_eq!(tokenizer.first_token(), first, "{name}");
            check_ids(&name, &tokenizer, &rows);
            for (text, _) in &rows {
                // Qwen's tokenizer composes letters and their marks first: that text is another.
                if !(name.starts_with("qwen2") && text.chars().any(is_changed_by_nfc)) {
                    check_text_back(&name, &tokenizer, text);
                }
            }
        }
    }
}

/// True for what the strings have of characters that Unicode's form NFC replaces.
fn is_changed_by_nfc(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}' | '\u{1100}'..='\u{11ff}' | '\u{212b}' | '\u{f900}'..='\u{faff}')
}

/// Pieces of text that are joined are what the whole is, wherever a family puts spaces and first tokens of its own.
#[test]
fn text_inside_a_prompt_is_given_nothing() {
    for (name, json, _) in FAMILIES {
        let tokenizer = Tokenizer::from_json(json.as_bytes()).unwrap();
        let whole = tokenizer.encode("the keys\n the store").unwrap();
        let parts = [
            tokenizer.encode("the keys").unwrap(),
            tokenizer.encode_inside("\n").unwrap(),
            tokenizer.encode_inside(" the store").unwrap(),
        ];
        assert_eq!(parts.concat(), whole, "{name}");
        let key = tokenizer.single("key");
        assert_eq!(
            key.map(|id| tokenizer.token(id)).as_deref(),
            Some("key"),
            "{name}"
        );
        let spaced = tokenizer.single(" key");
        assert_ne!(spaced, key, "{name}");
        let shown = spaced.map(|id| tokenizer.token(id));
        assert_eq!(shown.as_deref(), Some(" key"), "{name}");
        assert_eq!(tokenizer.token(9999), "<9999>", "{name}");
        assert_eq!(tokenizer.decode(&[9999]), "<9999>", "{name}");
    }
}

/// A plan of texts means the ids that its author had, or it is refused.
#[test]
fn a_plan_may_say_what_stands_before_its_texts() {
    let config = Sizes::gpt2(1, 4, 1, 32, 1000);
    let check = |name: &str, prompts: &str, first: &str| {
        let (_, json, _) = FAMILIES.into_iter().find(|(own, ..)| *own == name).unwrap();
        let tokenizer = Tokenizer::from_json(json.as_bytes()).unwrap();
        let plan = format!(
            r#"{{ "version": 1, "base": {prompts}, "first_token": {first}, "record": [] }}"#
        );
        let plan = Plan::from_json(plan.as_bytes()).unwrap();
        let read = |_: &str| Err::<Arc<Direction>, _>("no files here");
        plan.check(&config, Some(&tokenizer), read)
            .map(|checked| checked.base()[0][0])
            .map_err(|error| error.to_string())
    };
    let text = r#"{ "text": ["the keys"] }"#;
    assert_eq!(check("gemma", text, r#""<bos>""#), Ok(2));
    assert_eq!(check("gemma", text, "null"), Ok(2));
    assert!(check("qwen2", text, r#""""#).is_ok());
    for (name, prompts, first, part) in [
        ("gemma", text, r#""""#, r#"expected "<bos>""#),
        ("gemma", text, r#""<s>""#, r#"found "<s>""#),
        ("qwen2", text, r#""<bos>""#, r#"expected """#),
        ("gemma", r#"{ "ids": [[2, 5]] }"#, r#""<bos>""#, "`ids`"),
    ] {
        let error = check(name, prompts, first).unwrap_err();
        assert!(error.contains("`first_token`"), "{error}");
        assert!(error.contains(part), "{error}");
    }
}

/// The task joins its prompts from words; they are what their text is, with a first token, too.
#[test]
fn programs_begin_with_what_the_tokenizer_puts_first() {
    let mut json: Json =
        serde_json::from_slice(include_bytes!("../../models/solver/tokenizer.json")).unwrap();
    json["post_processor"] = serde_json::json!({
        "type": "TemplateProcessing",
        "single": [
            { "SpecialToken": { "id": "!", "type_id": 0 } },
            { "Sequence": { "id": "A", "type_id": 0 } },
        ],
        "pair": [],
        "special_tokens": { "!": { "id": "!", "ids": [0], "tokens": ["!"] } },
    });
    let tokenizer = Tokenizer::from_json(json.to_string().as_bytes()).unwrap();
    assert_eq!(tokenizer.first_token(), Some(0));
    let lexicon = Lexicon::embedded(&tokenizer).unwrap();
    let program = program("07065a").unwrap();
    let lines = [[0, 1, 2, 3, 4], [5, 1, 0, 3, 5]];
    let [.., answer] = program.ops(&lexicon.words, &lines[0]);
    let answer = if answer { "True" } else { "False" };
    let text = format!(
        "{}{answer}\n{}",
        lexicon.text(&lines[0]),
        lexicon.text(&lines[1])
    );
    let ids = lexicon.prompt(&program, &lines[..1], &lines[1]);
    assert_eq!(ids, tokenizer.encode(&text).unwrap());
    assert_eq!(tokenizer.decode(&ids), format!("!{text}"));
}

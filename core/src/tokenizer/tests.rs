//! What a GGUF file may leave out, and what is refused; ids of real vocabularies are compared in `tests/integration/tokenizers.rs`.

use crate::Sizes;

use super::{
    pieces::{Piece, merges},
    *,
};

type Metadata = BTreeMap<String, Value>;

fn texts<const N: usize>(texts: [&str; N]) -> Value {
    Value::Texts(texts.map(str::to_owned).to_vec())
}

fn set(metadata: &mut Metadata, key: &str, value: Value) {
    metadata.insert(format!("tokenizer.ggml.{key}"), value);
}

/// SentencePiece's pieces: `<unk>`, `<s>`, a user's `▁▁`, `a`, `b`, `ab`, `▁`, `▁a`.
fn pieced() -> Metadata {
    let mut metadata = Metadata::new();
    let tokens = ["<unk>", "<s>", "▁▁", "a", "b", "ab", "▁", "▁a"];
    set(&mut metadata, "model", Value::Text("llama".to_owned()));
    set(&mut metadata, "tokens", texts(tokens));
    set(
        &mut metadata,
        "token_type",
        Value::Ints(vec![2, 3, 4, 1, 1, 1, 1, 1]),
    );
    let scores = [0.0, 0.0, 0.0, -9.0, -9.0, -1.0, -9.0, -2.0];
    set(&mut metadata, "scores", Value::Floats(scores.to_vec()));
    metadata
}

/// Bytes `a` and `b`, and their merge.
fn byte_level() -> Metadata {
    let mut metadata = Metadata::new();
    set(&mut metadata, "model", Value::Text("gpt2".to_owned()));
    set(&mut metadata, "pre", Value::Text("gpt-2".to_owned()));
    set(&mut metadata, "tokens", texts(["a", "b", "ab", "<|end|>"]));
    set(&mut metadata, "token_type", Value::Ints(vec![1, 1, 1, 3]));
    set(&mut metadata, "merges", texts(["a b"]));
    metadata
}

#[test]
fn pieces_are_joined_best_first() {
    let tokenizer = Tokenizer::from_gguf(&pieced()).unwrap();
    // `ab` is better than ` a`; the space before the text is the tokenizer's own.
    assert_eq!(tokenizer.encode("ab").unwrap(), [1, 6, 5]);
    assert_eq!(tokenizer.encode("aab").unwrap(), [1, 7, 5]);
    assert_eq!(tokenizer.encode("<s>ab").unwrap(), [1, 6, 5]);
    assert_eq!(tokenizer.encode("a  b").unwrap(), [1, 7, 2, 6, 4]);
    assert_eq!(tokenizer.decode(&[1, 6, 5, 1, 7, 99]), "<s>ab<s>a<99>");
    assert_eq!(tokenizer.token(7), " a");
    assert_eq!(tokenizer.token(6), " ");
    let mut no_space = pieced();
    set(&mut no_space, "add_space_prefix", Value::Bool(false));
    let tokenizer = Tokenizer::from_gguf(&no_space).unwrap();
    assert_eq!(tokenizer.encode("ab").unwrap(), [1, 5]);
    assert_eq!(tokenizer.encode_inside(" ab").unwrap(), [6, 5]);
}

#[test]
fn of_splits_of_one_score_the_longer_left_side_is_first() {
    let piece = |text, score, id| Piece { text, score, id };
    let pieces = [
        piece("a", -1.0, 0),
        piece("aa", -3.0, 1),
        piece("aaa", -3.0, 2),
        piece("é", -1.0, 3),
        piece("éa", -2.0, 4),
    ];
    let found = merges(&pieces);
    let found: Vec<[&str; 2]> = found
        .iter()
        .map(|(left, right)| [&left[..], right])
        .collect();
    assert_eq!(found, [["é", "a"], ["aa", "a"], ["a", "aa"], ["a", "a"]]);
}

#[test]
fn first_token_is_what_the_file_says_or_llama_cpp_takes_it_to_be() {
    let first = |metadata: &Metadata| Tokenizer::from_gguf(metadata).unwrap().first_token();
    let mut metadata = pieced();
    assert_eq!(first(&metadata), Some(1));
    set(&mut metadata, "bos_token_id", Value::Int(5));
    assert_eq!(first(&metadata), Some(5));
    set(&mut metadata, "add_bos_token", Value::Bool(false));
    assert_eq!(first(&metadata), None);

    let mut metadata = byte_level();
    set(&mut metadata, "bos_token_id", Value::Int(3));
    assert_eq!(first(&metadata), None);
    for pre in ["llama-bpe", "tekken"] {
        set(&mut metadata, "pre", Value::Text(pre.to_owned()));
        assert_eq!(first(&metadata), Some(3), "{pre}");
    }
    set(&mut metadata, "pre", Value::Text("qwen2".to_owned()));
    assert_eq!(first(&metadata), None);
    set(&mut metadata, "add_bos_token", Value::Bool(true));
    assert_eq!(first(&metadata), Some(3));
}

#[test]
fn files_of_gpt2_that_do_not_name_their_cuts_are_cut_as_gpt2() {
    let mut metadata = byte_level();
    metadata.remove("tokenizer.ggml.pre");
    metadata.insert(
        "general.architecture".to_owned(),
        Value::Text("gpt2".to_owned()),
    );
    let tokenizer = Tokenizer::from_gguf(&metadata).unwrap();
    assert_eq!(tokenizer.encode("ab<|end|>b").unwrap(), [2, 3, 1]);
    set(&mut metadata, "pre", Value::Text("default".to_owned()));
    assert!(Tokenizer::from_gguf(&metadata).is_ok());
}

#[test]
fn what_is_not_known_is_refused_by_name() {
    #[track_caller]
    fn check(mut metadata: Metadata, key: &str, value: Option<Value>, parts: [&str; 2]) {
        match value {
            Some(value) => set(&mut metadata, key, value),
            None => drop(metadata.remove(&format!("tokenizer.ggml.{key}"))),
        }
        let error = Tokenizer::from_gguf(&metadata)
            .map(|_| ())
            .unwrap_err()
            .to_string();
        assert!(error.contains(key), "{error}");
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }
    let text = |text: &str| Some(Value::Text(text.to_owned()));
    for name in ["bert", "t5", "rwkv"] {
        check(pieced(), "model", text(name), [name, "`gpt2` or `llama`"]);
    }
    check(pieced(), "model", None, ["nothing", "expected"]);
    check(pieced(), "model", Some(Value::Int(3)), ["a text", "3"]);
    for name in ["default", "qwen99", "deepseek-llm"] {
        check(byte_level(), "pre", text(name), [name, "`llama-bpe`"]);
    }
    check(byte_level(), "pre", None, ["nothing", "`smollm`"]);
    check(byte_level(), "tokens", None, ["a list of texts", "nothing"]);
    check(
        byte_level(),
        "token_type",
        Some(Value::Ints(vec![1])),
        ["4 integers", "1"],
    );
    check(byte_level(), "merges", Some(texts(["ab"])), ["pairs", "ab"]);
    check(
        byte_level(),
        "add_bos_token",
        Some(Value::Int(1)),
        ["true or false", "1"],
    );
    check(
        byte_level(),
        "add_space_prefix",
        Some(Value::Bool(true)),
        ["false", "true"],
    );
    check(pieced(), "scores", None, ["8 numbers", "nothing"]);
    check(
        pieced(),
        "bos_token_id",
        Some(Value::Int(8)),
        ["below 8", "8"],
    );
    check(
        pieced(),
        "bos_token_id",
        Some(Value::Int(-1)),
        ["a token id", "-1"],
    );
    check(
        pieced(),
        "unknown_token_id",
        Some(Value::Int(9)),
        ["below 8", "9"],
    );
    let long = "a".repeat(2000);
    let tokens = texts(["<unk>", "<s>", "▁▁", "a", "b", &long, "▁", "▁a"]);
    check(pieced(), "tokens", Some(tokens), ["1024 bytes", "2000"]);

    let mut metadata = byte_level();
    set(&mut metadata, "add_bos_token", Value::Bool(true));
    check(
        metadata,
        "bos_token_id",
        None,
        ["the token to put first", "nothing"],
    );
    let mut metadata = byte_level();
    set(&mut metadata, "merges", texts(["a c"]));
    let error = Tokenizer::from_gguf(&metadata).map(|_| ());
    assert!(matches!(error, Err(TokenizerError::Invalid { .. })));
}

/// A `tokenizer.json` of the tokens `a` and `b`, with a post-processor of these tokens before and after a text.
fn json(before: &[&str], after: &[&str]) -> String {
    let special =
        |token: &&str| serde_json::json!({ "SpecialToken": { "id": token, "type_id": 0 } });
    let text = serde_json::json!({ "Sequence": { "id": "A", "type_id": 0 } });
    let before = before.iter().map(special);
    let single: Vec<_> = before
        .chain([text])
        .chain(after.iter().map(special))
        .collect();
    let ids = |token, id| serde_json::json!({ "id": token, "ids": [id], "tokens": [token] });
    serde_json::json!({
        "version": "1.0",
        "truncation": { "direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0 },
        "padding": {
            "strategy": { "Fixed": 8 }, "direction": "Right", "pad_to_multiple_of": null,
            "pad_id": 2, "pad_type_id": 0, "pad_token": "<s>",
        },
        "added_tokens": [],
        "normalizer": null,
        "pre_tokenizer": null,
        "post_processor": {
            "type": "TemplateProcessing", "single": single, "pair": [],
            "special_tokens": { "<s>": ids("<s>", 2), "</s>": ids("</s>", 3) },
        },
        "decoder": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "vocab": { "a": 0, "b": 1, "<s>": 2, "</s>": 3 }, "merges": [],
        },
    })
    .to_string()
}

#[test]
fn only_what_stands_before_a_text_is_added_and_nothing_is_cut() {
    let read =
        |before: &[&str], after: &[&str]| Tokenizer::from_json(json(before, after).as_bytes());
    let tokenizer = read(&["<s>"], &["</s>"]).unwrap();
    assert_eq!(tokenizer.first_token(), Some(2));
    assert_eq!(tokenizer.encode("abab").unwrap(), [2, 0, 1, 0, 1]);
    assert_eq!(tokenizer.encode_inside("abab").unwrap(), [0, 1, 0, 1]);
    assert_eq!(tokenizer.encode("").unwrap(), [2]);
    assert_eq!(tokenizer.single("a"), Some(0));
    assert_eq!(read(&[], &["</s>"]).unwrap().first_token(), None);
    let two = read(&["<s>", "<s>"], &[]).map(|_| ());
    assert!(matches!(two, Err(TokenizerError::Prefix { n_tokens: 2 })));
}

#[test]
fn a_token_without_an_embedding_is_named() {
    let tokenizer = Tokenizer::from_json(json(&[], &[]).as_bytes()).unwrap();
    let config = |d_vocab| Sizes::gpt2(1, 4, 1, 8, d_vocab);
    assert!(tokenizer.check(&config(4)).is_ok());
    let error = tokenizer.check(&config(3)).unwrap_err().to_string();
    assert!(error.contains("`</s>` has id 3"), "{error}");
}

#[test]
fn bytes_and_special_tokens_are_told_from_text() {
    let gemma = include_bytes!("../../../tests/fixtures/tokenizers/gemma.json");
    let qwen2 = include_bytes!("../../../tests/fixtures/tokenizers/qwen2.json");
    let [gemma, qwen2] = [&gemma[..], qwen2].map(|file| Tokenizer::from_json(file).unwrap());
    let bytes = |bytes: &[u8]| TokenKind::Bytes(bytes.to_vec());
    let id = |tokenizer: &Tokenizer, written: &str| tokenizer.library.token_to_id(written).unwrap();
    for (tokenizer, written, kind) in [
        (&gemma, "<bos>", TokenKind::Special),
        (&gemma, "\n", TokenKind::Text),
        (&gemma, "<0x0A>", bytes(&[0x0A])),
        (&gemma, "<0xE2>", bytes(&[0xE2])),
        (&gemma, "▁", TokenKind::Text),
        (&qwen2, "<|im_start|>", TokenKind::Special),
        // As byte-level BPE writes a space, a line break, and three bytes that begin characters or are inside one.
        (&qwen2, "Ġ", TokenKind::Text),
        (&qwen2, "Ċ", TokenKind::Text),
        (&qwen2, "â", bytes(&[0xE2])),
        (&qwen2, "Ģ", bytes(&[0x80])),
        (&qwen2, "Ń", bytes(&[0xAD])),
    ] {
        assert_eq!(tokenizer.kind(id(tokenizer, written)), kind, "{written}");
    }
    assert_eq!(gemma.kind(99_999), TokenKind::Missing);
}

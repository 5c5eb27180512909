//! What GGUF says of a tokenizer, `tokenizer.ggml.*`, for the library.
//!
//! Keys and token types: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>; what holds where a key is missing:
//! `llama_vocab::impl::load` of <https://github.com/ggml-org/llama.cpp/blob/master/src/llama-vocab.cpp>.
//! What a file wants added at the end of a text is left out.

use std::{collections::BTreeMap, fmt};

use serde_json::json;
use tokenizers::{
    AddedToken, PostProcessorWrapper,
    decoders::{
        byte_fallback::ByteFallback, fuse::Fuse, sequence::Sequence as Decoders, strip::Strip,
    },
    models::bpe::{BPE, Vocab},
    normalizers::{prepend::Prepend, replace::Replace, utils::Sequence as Normalizers},
    pre_tokenizers::byte_level::ByteLevel,
};

use super::{
    TokenizerError, pair,
    pieces::{Piece, merges},
    pre::Pre,
};
use crate::gguf::Value;

/// SentencePiece's space.
const SPACE: &str = "▁";
/// Bytes that a piece may have: a split costs its length, and a hostile piece could be as long as the file.
const MAX_PIECE_BYTES: usize = 1024;
/// Numbers of `token_type`.
const NORMAL: i64 = 1;
const UNKNOWN: i64 = 2;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

type Library = tokenizers::Tokenizer;

/// The tokenizer that the metadata describe.
pub(super) fn tokenizer(metadata: &BTreeMap<String, Value>) -> Result<Library, TokenizerError> {
    let entries = Entries(metadata);
    let (mut library, tokens, first) = match entries.text("model")? {
        Some("gpt2") => byte_level(&entries)?,
        Some("llama") => pieced(&entries)?,
        _ => {
            let found = described(entries.get("model"));
            return Err(wrong("model", "`gpt2` or `llama`", found));
        }
    };
    library
        .add_tokens(tokens.added())
        .map_err(TokenizerError::invalid)?;
    if let Some(id) = first {
        let text = tokens.text(id, "bos_token_id")?;
        library.with_post_processor(Some(putting_first(id, text)?));
    }
    Ok(library)
}

/// Byte-level BPE, its tokens, and what it puts first.
fn byte_level(entries: &Entries<'_>) -> Result<(Library, Tokens, Option<u32>), TokenizerError> {
    let named = entries.text("pre")?.filter(|name| *name != "default");
    let pre = match (named, entries.0.get("general.architecture")) {
        (Some(name), _) => Pre::of(name),
        // Files of GPT-2 are older than the key; llama.cpp's default for other models is none that a model was trained with.
        (None, Some(Value::Text(family))) if family == "gpt2" => Some(Pre::Gpt2),
        (None, _) => None,
    };
    let pre = pre.ok_or_else(|| {
        let known = Pre::NAMES.map(|(name, _)| format!("`{name}`")).join(", ");
        wrong(
            "pre",
            format!("one of {known}"),
            described(entries.get("pre")),
        )
    })?;
    if entries.flag("add_space_prefix")? == Some(true) {
        return Err(wrong("add_space_prefix", "false in byte-level BPE", "true"));
    }
    let tokens = Tokens::read(entries)?;
    let lines = entries.texts("merges")?;
    let pairs = lines.iter().map(|line| {
        pair(line).ok_or_else(|| wrong("merges", "pairs such as `a b`", format!("{line:?}")))
    });
    let bpe = BPE::builder()
        .vocab_and_merges(tokens.vocab(), pairs.collect::<Result<Vec<_>, _>>()?)
        .ignore_merges(pre.is_whole_first())
        .build()
        .map_err(TokenizerError::invalid)?;
    let mut library = Library::new(bpe);
    library
        .with_normalizer(pre.normalizer())
        .map_err(TokenizerError::invalid)?
        .with_pre_tokenizer(Some(pre.cuts().map_err(TokenizerError::invalid)?))
        .with_decoder(Some(ByteLevel::default()));
    let first = entries.first(pre.is_whole_first(), None)?;
    Ok((library, tokens, first))
}

/// SentencePiece's pieces as BPE, as transformers' `LlamaConverter` and `GemmaConverter` make it; its tokens, and what it puts first.
fn pieced(entries: &Entries<'_>) -> Result<(Library, Tokens, Option<u32>), TokenizerError> {
    let mut tokens = Tokens::read(entries)?;
    let n_tokens = tokens.texts.len();
    let scores = match entries.get("scores") {
        Some(Value::Floats(scores)) if scores.len() == n_tokens => scores,
        found => {
            let expected = format!("{n_tokens} numbers");
            return Err(wrong("scores", expected, described(found)));
        }
    };
    // Files differ in how they write the spaces of a piece that stands in text as it is.
    for (text, kind) in tokens.texts.iter_mut().zip(&tokens.kinds) {
        if *kind == USER_DEFINED {
            *text = text.replace(SPACE, " ");
        }
    }
    let all = tokens.texts.iter().zip(&tokens.kinds).zip(scores).zip(0..);
    let normal = all.filter(|(((_, kind), _), _)| **kind == NORMAL);
    let pieces = normal.map(|(((text, _), score), id)| match text.len() {
        0..=MAX_PIECE_BYTES => Ok(Piece {
            text,
            score: *score,
            id,
        }),
        n_bytes => {
            let expected = format!("pieces of at most {MAX_PIECE_BYTES} bytes");
            Err(wrong("tokens", expected, format!("one of {n_bytes}")))
        }
    });
    let pieces = pieces.collect::<Result<Vec<_>, _>>()?;
    let unknown = entries.id("unknown_token_id")?.unwrap_or(0);
    let unknown = tokens.text(unknown, "unknown_token_id")?;
    let bpe = BPE::builder()
        .vocab_and_merges(tokens.vocab(), merges(&pieces))
        .unk_token(unknown.to_owned())
        .fuse_unk(true)
        .byte_fallback(true)
        .build()
        .map_err(TokenizerError::invalid)?;
    let mut library = Library::new(bpe);

    let to_space = Replace::new(SPACE, " ").map_err(TokenizerError::invalid)?;
    let from_space = Replace::new(" ", SPACE).map_err(TokenizerError::invalid)?;
    let mut normalizers = vec![from_space.into()];
    let mut decoders = vec![
        to_space.into(),
        ByteFallback::default().into(),
        Fuse::default().into(),
    ];
    if entries.flag("add_space_prefix")?.unwrap_or(true) {
        normalizers.insert(0, Prepend::new(SPACE.to_owned()).into());
        decoders.push(Strip::new(' ', 1, 0).into());
    }
    library
        .with_normalizer(Some(Normalizers::new(normalizers)))
        .map_err(TokenizerError::invalid)?
        .with_decoder(Some(Decoders::new(decoders)));
    let first = entries.first(true, Some(1))?;
    Ok((library, tokens, first))
}

/// The post-processor that puts a token first, as `tokenizer.json` writes it.
fn putting_first(id: u32, text: &str) -> Result<PostProcessorWrapper, TokenizerError> {
    let special = |side: u32| json!({ "SpecialToken": { "id": text, "type_id": side } });
    let sequence = |name: &str, side: u32| json!({ "Sequence": { "id": name, "type_id": side } });
    let template = json!({
        "type": "TemplateProcessing",
        "single": [special(0), sequence("A", 0)],
        "pair": [special(0), sequence("A", 0), special(1), sequence("B", 1)],
        "special_tokens": { text: { "id": text, "ids": [id], "tokens": [text] } },
    });
    serde_json::from_value(template).map_err(TokenizerError::invalid)
}

/// Texts of tokens by id, and their types.
struct Tokens {
    texts: Vec<String>,
    kinds: Vec<i64>,
}

impl Tokens {
    fn read(entries: &Entries<'_>) -> Result<Self, TokenizerError> {
        let texts = entries.texts("tokens")?.to_vec();
        let kinds = match entries.get("token_type") {
            None => vec![NORMAL; texts.len()],
            Some(Value::Ints(kinds)) if kinds.len() == texts.len() => kinds.clone(),
            found => {
                let expected = format!("{} integers", texts.len());
                return Err(wrong("token_type", expected, described(found)));
            }
        };
        Ok(Self { texts, kinds })
    }

    fn vocab(&self) -> Vocab {
        self.texts.iter().cloned().zip(0..).collect()
    }

    /// Tokens that are one id wherever their text stands.
    fn added(&self) -> impl Iterator<Item = AddedToken> {
        let all = self.texts.iter().zip(&self.kinds);
        all.filter_map(|(text, kind)| {
            let is_special = match *kind {
                UNKNOWN | CONTROL => true,
                USER_DEFINED => false,
                _ => return None,
            };
            Some(AddedToken::from(text, is_special).normalized(false))
        })
    }

    fn text(&self, id: u32, key: &str) -> Result<&str, TokenizerError> {
        let text = self.texts.get(id as usize);
        text.map(String::as_str)
            .ok_or_else(|| wrong(key, format!("an id below {}", self.texts.len()), id))
    }
}

/// The metadata of a file; keys without `tokenizer.ggml.`.
struct Entries<'a>(&'a BTreeMap<String, Value>);

impl<'a> Entries<'a> {
    fn get(&self, key: &str) -> Option<&'a Value> {
        self.0.get(&full(key))
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>, TokenizerError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            found => Err(wrong(key, "a text", described(found))),
        }
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, TokenizerError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            found => Err(wrong(key, "true or false", described(found))),
        }
    }

    fn id(&self, key: &str) -> Result<Option<u32>, TokenizerError> {
        let found = self.get(key);
        let id = match found {
            None => return Ok(None),
            Some(Value::Int(id)) => u32::try_from(*id).ok(),
            Some(_) => None,
        };
        id.map(Some)
            .ok_or_else(|| wrong(key, "a token id", described(found)))
    }

    fn texts(&self, key: &str) -> Result<&'a [String], TokenizerError> {
        match self.get(key) {
            Some(Value::Texts(texts)) => Ok(texts),
            found => Err(wrong(key, "a list of texts", described(found))),
        }
    }

    /// The token that is put first; `is_default` and `id` hold where the file says nothing of it.
    fn first(&self, is_default: bool, id: Option<u32>) -> Result<Option<u32>, TokenizerError> {
        if !self.flag("add_bos_token")?.unwrap_or(is_default) {
            return Ok(None);
        }
        match self.id("bos_token_id")?.or(id) {
            Some(id) => Ok(Some(id)),
            None => Err(wrong("bos_token_id", "the token to put first", "nothing")),
        }
    }
}

fn full(key: &str) -> String {
    format!("tokenizer.ggml.{key}")
}

fn wrong(key: &str, expected: impl fmt::Display, found: impl fmt::Display) -> TokenizerError {
    TokenizerError::Gguf {
        key: full(key),
        expected: expected.to_string(),
        found: found.to_string(),
    }
}

/// A value in a message.
fn described(value: Option<&Value>) -> String {
    match value {
        None => "nothing".to_owned(),
        Some(Value::Int(value)) => value.to_string(),
        Some(Value::Float(value)) => value.to_string(),
        Some(Value::Bool(value)) => value.to_string(),
        Some(Value::Text(text)) => format!("`{}`", text.escape_debug()),
        Some(Value::Ints(values)) => format!("{} integers", values.len()),
        Some(Value::Floats(values)) => format!("{} numbers", values.len()),
        Some(Value::Texts(texts)) => format!("{} texts", texts.len()),
    }
}

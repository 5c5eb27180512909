//! SmolLM2 and Gemma 3 from their GGUF files: `SWIVEL_REAL` names the folder of `smollm2.gguf` and `gemma3.gguf`.

use std::{env, fs::File, io::Read, path::PathBuf};

use swivel_core::{
    Tokenizer,
    gguf::{Gguf, Header},
};

use super::{NASTY, check_ids, check_text_back, rows};

/// The tokenizer of a file; nothing where there are no files, which `tests/SKIPS.md` says.
fn tokenizer(file: &str) -> Option<Tokenizer> {
    let path = PathBuf::from(env::var_os("SWIVEL_REAL")?).join(file);
    let mut file = File::open(path).unwrap();
    let n_bytes = file.metadata().unwrap().len();
    let mut start = Vec::new();
    let gguf = loop {
        match Gguf::read(&start, n_bytes).unwrap() {
            Header::Ready(gguf) => break gguf,
            Header::Needs(needed) => {
                let rest = needed - start.len() as u64;
                file.by_ref().take(rest).read_to_end(&mut start).unwrap();
            }
        }
    };
    Some(Tokenizer::from_gguf(&gguf.metadata).unwrap())
}

/// Checks everything; `has_no_token` is true for characters that the vocabulary cannot say, and which transformers drops, too.
#[track_caller]
fn check(name: &str, tokenizer: &Tokenizer, sentences: &str, has_no_token: fn(char) -> bool) {
    for (text, _) in rows(NASTY) {
        let text: String = text.chars().filter(|c| !has_no_token(*c)).collect();
        check_text_back(name, tokenizer, &text);
    }
    let sentences = rows(sentences);
    assert_eq!(sentences.len(), 50);
    check_ids(name, tokenizer, &sentences);
}

#[test]
fn smollm2_reads_text_as_it_was_trained_to() {
    let Some(tokenizer) = tokenizer("smollm2.gguf") else {
        return;
    };
    assert_eq!(tokenizer.n_tokens(), 49_152);
    assert_eq!(tokenizer.first_token(), None);
    let sentences = include_str!("../../fixtures/tokenizers/smollm2_sentences.jsonl");
    // Six control characters, and the first byte of what is in the planes 4 to 11, which are empty.
    let has_no_token = |c| {
        matches!(
            c,
            '\x04' | '\x06' | '\x13' | '\x14' | '\x16' | '\x1d' | '\u{40000}'..='\u{bffff}'
        )
    };
    check("smollm2", &tokenizer, sentences, has_no_token);
}

#[test]
fn gemma3_reads_text_as_it_was_trained_to() {
    let Some(tokenizer) = tokenizer("gemma3.gguf") else {
        return;
    };
    assert_eq!(tokenizer.n_tokens(), 262_144);
    let first = tokenizer.first_token();
    assert_eq!(
        first.map(|id| tokenizer.token(id)).as_deref(),
        Some("<bos>")
    );
    let sentences = include_str!("../../fixtures/tokenizers/gemma3_sentences.jsonl");
    check("gemma3", &tokenizer, sentences, |_| false);
}

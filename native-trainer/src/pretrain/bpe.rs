//! A small byte-level BPE vocabulary in which every given word is one token.

use std::collections::HashMap;

use anyhow::Result;
use swivel_core::Tokenizer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

/// All 256 bytes, then for each word the merges that it still needs, in the order of the words.
///
/// Later merges rank lower and so never change how an earlier word is read.
pub fn tokenizer_of<'a>(words: impl Iterator<Item = &'a str>) -> Result<Tokenizer> {
    let mut bytes: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    bytes.sort_unstable();
    let mut vocab: HashMap<String, u32> = bytes
        .iter()
        .zip(0..)
        .map(|(byte, id)| (byte.to_string(), id))
        .collect();
    let mut merges: Vec<(String, String)> = Vec::new();
    let mut ranks: HashMap<(String, String), usize> = HashMap::new();
    for word in words {
        let mut pieces: Vec<String> = word.chars().map(String::from).collect();
        while pieces.len() > 1 {
            let best = pieces
                .windows(2)
                .enumerate()
                .filter_map(|(at, pair)| {
                    Some((*ranks.get(&(pair[0].clone(), pair[1].clone()))?, at))
                })
                .min();
            let at = match best {
                Some((_, at)) => at,
                None => {
                    let pair = (pieces[0].clone(), pieces[1].clone());
                    let id = vocab.len() as u32;
                    vocab.entry(format!("{}{}", pair.0, pair.1)).or_insert(id);
                    ranks.insert(pair.clone(), merges.len());
                    merges.push(pair);
                    0
                }
            };
            let right = pieces.remove(at + 1);
            pieces[at].push_str(&right);
        }
    }
    Ok(Tokenizer::byte_level(vocab, merges)?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_one_token_and_any_text_round_trips() {
        let words = ["True", "False", "banana", "band", "bandana", "nab", "a"];
        let tokenizer = tokenizer_of(words.into_iter()).unwrap();
        for word in words {
            assert!(tokenizer.single(word).is_some(), "{word}");
        }
        for text in [
            "banana,band=True\n",
            "  two  spaces ",
            "tab\tand é 漢字 🦀",
            "bananas",
            "",
            "\n\n x",
        ] {
            assert_eq!(tokenizer.decode(&tokenizer.encode(text).unwrap()), text);
        }
    }
}

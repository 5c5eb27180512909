//! How text is cut before byte-level BPE merges, by the name that GGUF has for it.
//!
//! Names as in llama.cpp's `llama-vocab.cpp`, which reads several as one; patterns as in the `tokenizer.json` of the models, which
//! llama.cpp writes in other words. A model that is cut otherwise gets other ids, so a name that is not known here is refused.

use tokenizers::{
    Result, SplitDelimiterBehavior,
    normalizers::unicode::NFC,
    pre_tokenizers::{
        PreTokenizerWrapper,
        byte_level::ByteLevel,
        digits::Digits,
        sequence::Sequence,
        split::{Split, SplitPattern},
    },
};

/// A way to cut text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pre {
    /// GPT-2's pattern.
    Gpt2,
    /// Each digit alone, then GPT-2's pattern.
    SmolLm,
    /// Up to three digits together.
    Llama3,
    /// Each digit alone, and text in Unicode's form NFC.
    Qwen2,
    /// Mistral's, from NeMo on: cut where small letters turn into capitals.
    Tekken,
}

/// <https://huggingface.co/meta-llama/Meta-Llama-3-8B/blob/main/tokenizer.json>
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// <https://huggingface.co/Qwen/Qwen2-0.5B/blob/main/tokenizer.json>
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// <https://huggingface.co/mistralai/Mistral-Nemo-Base-2407/blob/main/tokenizer.json>
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

impl Pre {
    /// Every name, and what it means.
    pub(super) const NAMES: [(&str, Self); 7] = [
        ("gpt-2", Self::Gpt2),
        ("smollm", Self::SmolLm),
        ("llama-bpe", Self::Llama3),
        ("llama3", Self::Llama3),
        ("llama-v3", Self::Llama3),
        ("qwen2", Self::Qwen2),
        ("tekken", Self::Tekken),
    ];

    /// The way with this name.
    pub(super) fn of(name: &str) -> Option<Self> {
        let found = Self::NAMES.iter().find(|(own, _)| *own == name);
        found.map(|(_, pre)| *pre)
    }

    /// True if a piece of text that is a token stays whole, whatever the merges say; and if a first token is added where a file
    /// does not say so: llama.cpp has both for the same ones.
    pub(super) fn is_whole_first(self) -> bool {
        matches!(self, Self::Llama3 | Self::Tekken)
    }

    /// What is done to text before it is cut.
    pub(super) fn normalizer(self) -> Option<NFC> {
        (self == Self::Qwen2).then_some(NFC)
    }

    /// The cuts, for the library.
    pub(super) fn cuts(self) -> Result<PreTokenizerWrapper> {
        let gpt2 = ByteLevel::new(false, true, true);
        let pattern = match self {
            Self::Gpt2 => return Ok(gpt2.into()),
            Self::SmolLm => {
                let cuts = vec![Digits::new(true).into(), gpt2.into()];
                return Ok(Sequence::new(cuts).into());
            }
            Self::Llama3 => LLAMA3,
            Self::Qwen2 => QWEN2,
            Self::Tekken => TEKKEN,
        };
        let pattern = SplitPattern::Regex(pattern.to_owned());
        let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false)?;
        let bytes = ByteLevel::new(false, true, false);
        Ok(Sequence::new(vec![split.into(), bytes.into()]).into())
    }
}

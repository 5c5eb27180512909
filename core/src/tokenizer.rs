//! Text to token ids and back, without loss; the ids, never the text, are what a run starts from.

use std::{collections::HashMap, fmt};

use tokenizers::{AddedToken, models::bpe::BPE, pre_tokenizers::byte_level::ByteLevel};

use crate::Sizes;

/// A byte-level BPE tokenizer, as GPT-2's.
#[derive(Clone)]
pub struct Tokenizer(tokenizers::Tokenizer);

impl Tokenizer {
    /// Reads `tokenizer.json`.
    ///
    /// # Errors
    /// - [`TokenizerError::Invalid`] if it is no tokenizer file.
    pub fn from_json(bytes: &[u8]) -> Result<Self, TokenizerError> {
        tokenizers::Tokenizer::from_bytes(bytes)
            .map(Self)
            .map_err(TokenizerError::invalid)
    }

    /// Reads GPT-2's older pair of files, `vocab.json` and `merges.txt`.
    ///
    /// # Errors
    /// - [`TokenizerError::Invalid`] if a file cannot be parsed, or a merge is not in the vocabulary.
    pub fn from_vocab_and_merges(vocab: &[u8], merges: &str) -> Result<Self, TokenizerError> {
        let vocab: HashMap<String, u32> = serde_json::from_slice(vocab)
            .map_err(|source| TokenizerError::invalid(format!("vocab.json: {source}")))?;
        let merges = merges
            .lines()
            .enumerate()
            .filter(|(idx, line)| !(line.is_empty() || *idx == 0 && line.starts_with("#version")))
            .map(|(idx, line)| {
                let no_pair = || format!("merges.txt, line {}: no pair", idx + 1);
                let (left, right) = line
                    .split_once(' ')
                    .ok_or_else(|| TokenizerError::invalid(no_pair()))?;
                Ok((left.to_owned(), right.to_owned()))
            })
            .collect::<Result<Vec<_>, _>>()?;
        Self::byte_level(vocab, merges)
    }

    /// A byte-level BPE of this vocabulary and these merges, best merge first.
    ///
    /// # Errors
    /// - [`TokenizerError::Invalid`] if a merge is not in the vocabulary.
    pub fn byte_level(
        vocab: HashMap<String, u32>,
        merges: Vec<(String, String)>,
    ) -> Result<Self, TokenizerError> {
        let special = vocab.contains_key("<|endoftext|>");
        let bpe = BPE::builder()
            .vocab_and_merges(
                vocab
                    .into_iter()
                    .collect::<tokenizers::models::bpe::Vocab>(),
                merges,
            )
            .build()
            .map_err(TokenizerError::invalid)?;
        let mut tokenizer = tokenizers::Tokenizer::new(bpe);
        tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
        tokenizer.with_decoder(Some(ByteLevel::default()));
        if special {
            tokenizer
                .add_special_tokens([AddedToken::from("<|endoftext|>", true)])
                .map_err(TokenizerError::invalid)?;
        }
        Ok(Self(tokenizer))
    }

    /// The tokenizer as `tokenizer.json`.
    ///
    /// # Errors
    /// - [`TokenizerError::Invalid`] if it cannot be written as JSON.
    pub fn to_json(&self) -> Result<String, TokenizerError> {
        self.0.to_string(true).map_err(TokenizerError::invalid)
    }

    /// Ids of a text; nothing is trimmed, nothing is added.
    ///
    /// # Errors
    /// - [`TokenizerError::Invalid`] if the library cannot encode the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        match self.0.encode(text, false) {
            Ok(encoding) => Ok(encoding.get_ids().to_vec()),
            Err(error) => Err(TokenizerError::invalid(error)),
        }
    }

    /// Text of ids; ids without a token become `<id>`.
    pub fn decode(&self, ids: &[u32]) -> String {
        match self.0.decode(ids, false) {
            Ok(text) if ids.iter().all(|id| self.0.id_to_token(*id).is_some()) => text,
            _ => ids
                .iter()
                .map(|id| {
                    self.0
                        .decode(&[*id], false)
                        .ok()
                        .filter(|text| !text.is_empty())
                        .unwrap_or_else(|| format!("<{id}>"))
                })
                .collect(),
        }
    }

    /// Id of a text that is one token; `None` where it is several or none.
    pub fn single(&self, text: &str) -> Option<u32> {
        match self.encode(text).as_deref() {
            Ok(&[id]) => Some(id),
            _ => None,
        }
    }

    /// Number of tokens, special ones included.
    pub fn n_tokens(&self) -> usize {
        self.0.get_vocab_size(true)
    }

    /// Checks that the model has an embedding for every token.
    ///
    /// # Errors
    /// - [`TokenizerError::TooLarge`] if it has not.
    pub fn check(&self, sizes: &Sizes) -> Result<(), TokenizerError> {
        match self.0.get_vocab(true).into_iter().max_by_key(|(_, id)| *id) {
            Some((token, id)) if id as usize >= sizes.d_vocab => Err(TokenizerError::TooLarge {
                token,
                id,
                d_vocab: sizes.d_vocab,
            }),
            _ => Ok(()),
        }
    }
}

/// Why a tokenizer was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// Its files cannot be read, or its library cannot do what is asked.
    #[error("tokenizer: {reason}")]
    Invalid {
        /// What the tokenizer library says.
        reason: String,
    },
    /// It has ids that the model has no embedding for.
    #[error(
        "the tokenizer does not fit the model: token `{token}` has id {id}, the model's vocabulary ends at {d_vocab}"
    )]
    TooLarge {
        /// The token with the largest id.
        token: String,
        /// Its id.
        id: u32,
        /// Number of tokens of the model.
        d_vocab: usize,
    },
}

impl TokenizerError {
    fn invalid(reason: impl fmt::Display) -> Self {
        Self::Invalid {
            reason: reason.to_string(),
        }
    }
}

//! Text to token ids and back, without loss where the vocabulary has every byte; the ids, never the text, are what a run starts from.
//!
//! What stands before every prompt, such as Gemma's `<bos>`, is read from the tokenizer's own data: the post-processor of
//! `tokenizer.json`, the metadata of a GGUF file. Special tokens are text like any other, in both ways.

mod gguf;
mod kind;
mod pieces;
mod pre;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
};

use tokenizers::{AddedToken, models::bpe::BPE, pre_tokenizers::byte_level::ByteLevel};

use crate::{Sizes, gguf::Value};

pub use kind::TokenKind;

/// A tokenizer of a language model; a copy shares its vocabulary.
#[derive(Clone)]
pub struct Tokenizer {
    library: Arc<tokenizers::Tokenizer>,
    first: Option<u32>,
    space: Space,
    /// The largest id, and its token.
    last: Option<(String, u32)>,
}

/// Where the tokenizer puts a space of its own in front of text, as SentencePiece does: `a` is read as ` a`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Space {
    /// Nowhere.
    None,
    /// Before the text.
    AtStart,
    /// Before the text, and before what follows a special token.
    EachRun,
}

impl Tokenizer {
    /// Reads `tokenizer.json`.
    ///
    /// # Errors
    /// - [`TokenizerError::Invalid`] if it is no tokenizer file.
    /// - [`TokenizerError::Prefix`] if it puts several tokens before a text.
    pub fn from_json(bytes: &[u8]) -> Result<Self, TokenizerError> {
        let mut library =
            tokenizers::Tokenizer::from_bytes(bytes).map_err(TokenizerError::invalid)?;
        // Some files still have the lengths that somebody trained with: a prompt is never cut nor filled up.
        library
            .with_truncation(None)
            .map_err(TokenizerError::invalid)?;
        library.with_padding(None);
        Self::new(library)
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
                pair(line).ok_or_else(|| TokenizerError::invalid(no_pair()))
            })
            .collect::<Result<Vec<_>, _>>()?;
        Self::byte_level(vocab, merges)
    }

    /// Reads what a GGUF file says of its tokenizer, `tokenizer.ggml.*`: byte-level BPE, or SentencePiece's pieces.
    ///
    /// # Errors
    /// - [`TokenizerError::Gguf`] if an entry is missing, or has what is not known.
    /// - [`TokenizerError::Invalid`] if a merge is not in the vocabulary.
    pub fn from_gguf(metadata: &BTreeMap<String, Value>) -> Result<Self, TokenizerError> {
        Self::new(gguf::tokenizer(metadata)?)
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
        let mut library = tokenizers::Tokenizer::new(bpe);
        library.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
        library.with_decoder(Some(ByteLevel::default()));
        if special {
            library
                .add_special_tokens([AddedToken::from("<|endoftext|>", true)])
                .map_err(TokenizerError::invalid)?;
        }
        Self::new(library)
    }

    fn new(library: tokenizers::Tokenizer) -> Result<Self, TokenizerError> {
        let last = library
            .get_vocab(true)
            .into_iter()
            .max_by_key(|(_, id)| *id);
        let mut tokenizer = Self {
            library: Arc::new(library),
            first: None,
            space: Space::None,
            last,
        };
        tokenizer.first = tokenizer.find_first()?;
        tokenizer.space = tokenizer.find_space()?;
        Ok(tokenizer)
    }

    /// What the post-processor puts before a text; what it puts behind one is not for prompts.
    fn find_first(&self) -> Result<Option<u32>, TokenizerError> {
        let encoding = self.library.encode("a", true);
        let encoding = encoding.map_err(TokenizerError::invalid)?;
        let is_added = encoding.get_special_tokens_mask().iter();
        match is_added.take_while(|is_added| **is_added == 1).count() {
            0 => Ok(None),
            1 => Ok(encoding.get_ids().first().copied()),
            n_tokens => Err(TokenizerError::Prefix { n_tokens }),
        }
    }

    fn find_space(&self) -> Result<Space, TokenizerError> {
        let alone = self.ids("a")?;
        let token = alone.first().and_then(|id| self.library.id_to_token(*id));
        // A space as SentencePiece writes it, and as byte-level BPE does.
        if !token.is_some_and(|token| token.starts_with(['▁', 'Ġ'])) {
            return Ok(Space::None);
        }
        let added = self
            .library
            .get_added_vocabulary()
            .get_added_tokens_decoder();
        let Some((id, token)) = added.iter().next() else {
            return Ok(Space::AtStart);
        };
        let behind = self.ids(&format!("{}a", token.content))?;
        Ok(match behind.split_first() {
            Some((first, rest)) if first == id && rest == alone => Space::EachRun,
            _ => Space::AtStart,
        })
    }

    /// The tokenizer as `tokenizer.json`.
    ///
    /// # Errors
    /// - [`TokenizerError::Invalid`] if it cannot be written as JSON.
    pub fn to_json(&self) -> Result<String, TokenizerError> {
        self.library
            .to_string(true)
            .map_err(TokenizerError::invalid)
    }

    /// The token that stands before every prompt, where the tokenizer has one.
    pub fn first_token(&self) -> Option<u32> {
        self.first
    }

    /// Its text.
    pub fn first_text(&self) -> Option<String> {
        self.first.map(|id| self.token(id))
    }

    /// Text of the token before each of these prompts, where it is what the tokenizer puts there.
    pub fn first_text_of<'a>(
        &self,
        mut prompts: impl Iterator<Item = &'a Vec<u32>>,
    ) -> Option<String> {
        let is_there = prompts.all(|ids| ids.first() == self.first.as_ref());
        self.first_text().filter(|_| is_there)
    }

    /// Ids of a whole prompt, [`Tokenizer::first_token`] before them.
    ///
    /// A text that begins with that token's own text is not given it twice, so that a decoded prompt has the same ids again.
    ///
    /// # Errors
    /// - [`TokenizerError::Invalid`] if the library cannot encode the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = self.ids(text)?;
        if let Some(first) = self.first.filter(|first| ids.first() != Some(first)) {
            ids.insert(0, first);
        }
        Ok(ids)
    }

    /// Ids of a text inside a prompt: nothing is put before it, neither a token nor a space.
    ///
    /// # Errors
    /// - [`TokenizerError::Invalid`] if the library cannot encode the text, or joins it to a line break before it.
    pub fn encode_inside(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        if self.space == Space::None {
            return self.ids(text);
        }
        // The library's space cannot be switched off; here it stands before a line break, which words do not join.
        let before = self.ids("\n")?;
        let ids = self.ids(&format!("\n{text}"))?;
        let inside = ids.strip_prefix(&before[..]).map(<[u32]>::to_vec);
        inside.ok_or_else(|| {
            TokenizerError::invalid(format!("{text:?} and a line break are one token"))
        })
    }

    /// What the library reads in a text.
    fn ids(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        match self.library.encode(text, false) {
            Ok(encoding) => Ok(encoding.get_ids().to_vec()),
            Err(error) => Err(TokenizerError::invalid(error)),
        }
    }

    /// Ids without the token that is put in front of every text, where it is there.
    pub fn without_first<'a>(&self, ids: &'a [u32]) -> &'a [u32] {
        match ids.split_first() {
            Some((first, rest)) if Some(*first) == self.first => rest,
            _ => ids,
        }
    }

    /// Text of a prompt's ids, special tokens as they are written; ids without a token become `<id>`.
    pub fn decode(&self, ids: &[u32]) -> String {
        // A run between special tokens has lost nothing but its own space, if each has one.
        let is_alone = |id: &u32| match self.space {
            Space::AtStart => self.library.id_to_token(*id).is_none(),
            Space::None | Space::EachRun => self.own_text(*id).is_some(),
        };
        let runs = ids.chunk_by(|left, right| !is_alone(left) && !is_alone(right));
        let text = |run: &[u32]| match run {
            [id] if is_alone(id) => self.token(*id),
            run => self.library.decode(run, false).unwrap_or_default(),
        };
        runs.map(text).collect()
    }

    /// Text of one token as it stands inside a prompt; an id without a token becomes `<id>`.
    pub fn token(&self, id: u32) -> String {
        if let Some(text) = self.own_text(id) {
            return text;
        }
        let text = |ids: &[u32]| self.library.decode(ids, false).unwrap_or_default();
        match self.space {
            Space::None => text(&[id]),
            Space::AtStart | Space::EachRun => {
                // The library takes the space from the first of them only.
                let twice = text(&[id, id]);
                let start = twice.len() / 2;
                twice.get(start..).map_or(twice.clone(), str::to_owned)
            }
        }
    }

    /// Text of an id that the library's decoder must not see: a special token's, or that of an id without a token.
    fn own_text(&self, id: u32) -> Option<String> {
        let added = self
            .library
            .get_added_vocabulary()
            .get_added_tokens_decoder();
        match added.get(&id) {
            Some(token) => Some(token.content.clone()),
            None if self.library.id_to_token(id).is_none() => Some(format!("<{id}>")),
            None => None,
        }
    }

    /// Id of a text that is one token inside a prompt; `None` where it is several or none.
    pub fn single(&self, text: &str) -> Option<u32> {
        match self.encode_inside(text).as_deref() {
            Ok(&[id]) => Some(id),
            _ => None,
        }
    }

    /// Number of tokens, special ones included.
    pub fn n_tokens(&self) -> usize {
        self.library.get_vocab_size(true)
    }

    /// Checks that the model has an embedding for every token.
    ///
    /// # Errors
    /// - [`TokenizerError::TooLarge`] if it has not.
    pub fn check(&self, sizes: &Sizes) -> Result<(), TokenizerError> {
        match &self.last {
            Some((token, id)) if *id as usize >= sizes.d_vocab => Err(TokenizerError::TooLarge {
                token: token.clone(),
                id: *id,
                d_vocab: sizes.d_vocab,
            }),
            _ => Ok(()),
        }
    }
}

/// The two sides of a merge, as files write them: `a b`.
fn pair(line: &str) -> Option<(String, String)> {
    let (left, right) = line.split_once(' ')?;
    Some((left.to_owned(), right.to_owned()))
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
    /// A GGUF file says of it what is not known, or not enough.
    #[error("tokenizer: metadata `{key}`: expected {expected}, found {found}")]
    Gguf {
        /// The entry.
        key: String,
        /// What it may be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// It puts several tokens before a text.
    #[error("tokenizer: expected at most one token before a text, found {n_tokens}")]
    Prefix {
        /// How many.
        n_tokens: usize,
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

#[cfg(test)]
mod tests;

//! What a token is, beside its text: special tokens, and bytes that are no whole characters, have texts that tell too little.

use super::Tokenizer;

/// What a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// Whole characters.
    Text,
    /// Bytes that are no whole characters, or a byte that stands for what has no piece, as SentencePiece's `<0x0A>`.
    Bytes(Vec<u8>),
    /// No text but a mark, such as `<bos>`.
    Special,
    /// The model has the id, the vocabulary has not.
    Missing,
}

impl Tokenizer {
    /// What the token with this id is.
    pub fn kind(&self, id: u32) -> TokenKind {
        let added = self.library.get_added_vocabulary();
        if let Some(token) = added.get_added_tokens_decoder().get(&id) {
            return match token.special {
                true => TokenKind::Special,
                false => TokenKind::Text,
            };
        }
        let Some(written) = self.library.id_to_token(id) else {
            return TokenKind::Missing;
        };
        let text = self.token(id);
        let bytes = match fallback_byte(&written).filter(|_| text != written) {
            Some(byte) => Some(vec![byte]),
            None if text.contains(char::REPLACEMENT_CHARACTER) => {
                written.chars().map(byte_of).collect()
            }
            None => None,
        };
        bytes.map_or(TokenKind::Text, TokenKind::Bytes)
    }
}

/// The byte that SentencePiece writes as `<0x0A>`.
fn fallback_byte(written: &str) -> Option<u8> {
    let digits = written.strip_prefix("<0x")?.strip_suffix('>')?;
    u8::from_str_radix(digits, 16).ok()
}

/// The byte that byte-level BPE writes as this character: visible ones as themselves, the others from U+0100 on. See
/// `bytes_to_unicode` of <https://github.com/openai/gpt-2/blob/master/src/encoder.py>.
fn byte_of(c: char) -> Option<u8> {
    let is_visible = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    match u32::from(c) {
        code @ ..0x100 => u8::try_from(code).ok().filter(is_visible),
        code => (0..=u8::MAX)
            .filter(|byte| !is_visible(byte))
            .nth((code - 0x100) as usize),
    }
}

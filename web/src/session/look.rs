//! How a token looks: everything in it can be seen, two tokens are told apart, and it is said what is no text.

use swivel_core::TokenKind;

/// The same blank so often, or oftener, is counted instead of repeated.
const COUNTED: usize = 4;
/// Characters of a token up to which its title spells them out.
const SPELLED: usize = 4;

/// What a token is to who reads it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// Text with something to read in it.
    #[default]
    Text,
    /// Spaces, tabs and line breaks only.
    Blank,
    /// Bytes that are no whole characters.
    Bytes,
    /// No text but a mark.
    Special,
}

impl Sort {
    /// As styles name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Blank => "blank",
            Self::Bytes => "bytes",
            Self::Special => "special",
        }
    }
}

/// How a token looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// All of it, with what cannot be seen made visible.
    pub text: String,
    /// What it is.
    pub sort: Sort,
    /// What it is in words, and its characters where few of them are not ASCII; empty where the text says all.
    pub about: String,
}

impl Look {
    /// The look of a token of this kind and text.
    pub fn of(piece: &str, kind: &TokenKind) -> Self {
        match kind {
            TokenKind::Bytes(bytes) => Self {
                text: bytes_as_text(bytes),
                sort: Sort::Bytes,
                about: match bytes.len() {
                    1 => "a byte, not a character".to_owned(),
                    _ => "bytes, not whole characters".to_owned(),
                },
            },
            TokenKind::Special => Self {
                text: visible(piece),
                sort: Sort::Special,
                about: format!("a special token{}", meaning(piece)),
            },
            TokenKind::Missing => Self {
                text: piece.to_owned(),
                sort: Sort::Special,
                about: "an id without a token".to_owned(),
            },
            TokenKind::Text if is_blank(piece) => Self {
                text: visible(piece),
                sort: Sort::Blank,
                about: format!("nothing but {}", blanks(piece)),
            },
            TokenKind::Text => Self {
                text: visible(piece),
                sort: Sort::Text,
                about: spelled(piece),
            },
        }
    }

    /// Its text, and what it is where that is no text.
    pub fn quoted(&self) -> String {
        match self.sort {
            Sort::Text => format!("“{}”", self.text),
            _ => format!("“{}” ({})", self.text, self.about),
        }
    }

    /// At most so many characters of it: the middle of a longer one is left out, since ends tell tokens apart.
    pub fn shortened(&self, most: usize) -> String {
        shortened(&self.text, most)
    }
}

/// Text with what cannot be seen made visible.
pub fn visible(piece: &str) -> String {
    let mut text = String::with_capacity(piece.len() + 2);
    let mut rest = piece.chars().peekable();
    while let Some(c) = rest.next() {
        let mut n = 1;
        while is_blank_char(c) && rest.next_if_eq(&c).is_some() {
            n += 1;
        }
        let is_first = text.is_empty();
        if n >= COUNTED {
            push(&mut text, c, is_first);
            text += &format!("×{n}");
        } else {
            (0..n).for_each(|_| push(&mut text, c, is_first));
        }
    }
    // What is written from right to left turns nothing around it.
    match piece.chars().any(is_right_to_left) {
        true => format!("\u{2068}{text}\u{2069}"),
        false => text,
    }
}

fn push(text: &mut String, c: char, is_first: bool) {
    match c {
        ' ' => text.push('␣'),
        '\n' => text.push('⏎'),
        '\t' => text.push('⇥'),
        '\r' => text.push('␍'),
        // Selectors of a variant cannot be seen, though they are marks.
        '\u{fe00}'..='\u{fe0f}' => text.push_str(&named(c)),
        char::REPLACEMENT_CHARACTER => text.push(c),
        c if is_unseen(c) => text.push_str(&named(c)),
        c => {
            // A mark needs something to stand on.
            if is_first && is_mark(c) {
                text.push('◌');
            }
            text.push(c);
        }
    }
}

/// A character by its number.
fn named(c: char) -> String {
    format!("‹U+{:02X}›", u32::from(c))
}

/// True if nothing is drawn for it: beyond ASCII, Rust's own table of what is printed, where marks behind a character are.
fn is_unseen(c: char) -> bool {
    match c.is_ascii() {
        true => c.is_ascii_control(),
        false => String::from_iter(['a', c]).escape_debug().nth(1) == Some('\\'),
    }
}

/// True if it is drawn onto the character before it.
fn is_mark(c: char) -> bool {
    !c.is_ascii() && c.escape_debug().count() > 1
}

fn is_right_to_left(c: char) -> bool {
    matches!(c, '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{fefe}' | '\u{10800}'..='\u{10fff}' | '\u{1e800}'..='\u{1efff}')
}

fn is_blank_char(c: char) -> bool {
    matches!(c, ' ' | '\n' | '\t' | '\r')
}

fn is_blank(piece: &str) -> bool {
    !piece.is_empty() && piece.chars().all(char::is_whitespace)
}

/// Bytes with the whole characters among them.
fn bytes_as_text(bytes: &[u8]) -> String {
    // A byte of its own is none of the text's characters, even where it could be.
    if let [byte] = bytes {
        return format!("‹0x{byte:02X}›");
    }
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text += &visible(chunk.valid());
        let digits: Vec<_> = (chunk.invalid().iter())
            .map(|byte| format!("{byte:02X}"))
            .collect();
        if !digits.is_empty() {
            text += &format!("‹0x{}›", digits.join(" "));
        }
    }
    text
}

/// What a special token is for, where its name is one that many models have.
fn meaning(piece: &str) -> &'static str {
    match piece {
        "<bos>" | "<s>" | "<|begin_of_text|>" | "<|startoftext|>" => ": a text begins",
        "<eos>" | "</s>" | "<|end_of_text|>" | "<|endoftext|>" => ": a text ends",
        "<|im_start|>" | "<start_of_turn>" | "<|start_header_id|>" => {
            ": a turn of a conversation begins"
        }
        "<|im_end|>" | "<end_of_turn>" | "<|eot_id|>" => ": a turn of a conversation ends",
        "<pad>" | "<|pad|>" => ": it fills short texts up",
        "<unk>" => ": it stands for what the vocabulary lacks",
        name if name.starts_with("<unused") => ", kept free: no text has it",
        _ => ", not text",
    }
}

/// Blanks in words: `2 line breaks, 4 spaces`.
fn blanks(piece: &str) -> String {
    let name = |c: char| match c {
        ' ' => "space".to_owned(),
        '\n' => "line break".to_owned(),
        '\t' => "tab".to_owned(),
        '\r' => "carriage return".to_owned(),
        c => format!("blank {}", named(c)),
    };
    let chars: Vec<char> = piece.chars().collect();
    let runs = chars.chunk_by(|left, right| left == right);
    let runs = runs.map(|run| match run.len() {
        1 => format!("a {}", name(run[0])),
        n => format!("{n} {}s", name(run[0])),
    });
    runs.collect::<Vec<_>>().join(", ")
}

/// The numbers of a few characters that are not ASCII: some look like others.
fn spelled(piece: &str) -> String {
    let few = piece.chars().count() <= SPELLED && !piece.is_ascii();
    let numbers = piece.trim().chars().filter(|_| few);
    let numbers: Vec<_> = numbers.map(|c| format!("U+{:04X}", u32::from(c))).collect();
    numbers.join(" ")
}

/// At most so many characters of a text, the middle of a longer one left out.
fn shortened(text: &str, most: usize) -> String {
    let n = text.chars().count();
    if n <= most {
        return text.to_owned();
    }
    let n_end = (most - 1) / 3;
    let start = text.chars().take(most - 1 - n_end);
    let end = text.chars().skip(n - n_end);
    start.chain(['…']).chain(end).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(piece: &str, text: &str, sort: Sort, about: &str) {
        let look = Look::of(piece, &TokenKind::Text);
        assert_eq!((&look.text[..], look.sort), (text, sort), "{piece:?}");
        assert_eq!(look.about, about, "{piece:?}");
    }

    #[test]
    fn everything_in_a_token_can_be_seen() {
        check("is", "is", Sort::Text, "");
        check(" is", "␣is", Sort::Text, "");
        check(" don't \"\\", "␣don't␣\"\\", Sort::Text, "");
        check("\r\n\tx", "␍⏎⇥x", Sort::Text, "");
        check("a\0b", "a‹U+00›b", Sort::Text, "");
        check("\u{7f}x", "‹U+7F›x", Sort::Text, "");
        check("a\u{200b}", "a‹U+200B›", Sort::Text, "U+0061 U+200B");
        check("\u{301}", "◌\u{301}", Sort::Text, "U+0301");
        check("e\u{301}", "e\u{301}", Sort::Text, "U+0065 U+0301");
        check("❤\u{fe0f}", "❤‹U+FE0F›", Sort::Text, "U+2764 U+FE0F");
        check("né", "né", Sort::Text, "U+006E U+00E9");
        check("漢字かな交じり", "漢字かな交じり", Sort::Text, "");
        // Cyrillic, and Latin.
        check("А", "А", Sort::Text, "U+0410");
        check("A", "A", Sort::Text, "");
        check(" שלום־", "\u{2068}␣שלום־\u{2069}", Sort::Text, "");
    }

    #[test]
    fn blanks_are_counted() {
        check(" ", "␣", Sort::Blank, "nothing but a space");
        check("   ", "␣␣␣", Sort::Blank, "nothing but 3 spaces");
        check(
            "\n\n        ",
            "⏎⏎␣×8",
            Sort::Blank,
            "nothing but 2 line breaks, 8 spaces",
        );
        check(
            "\u{a0}",
            "‹U+A0›",
            Sort::Blank,
            "nothing but a blank ‹U+A0›",
        );
        check(
            &" ".repeat(31),
            "␣×31",
            Sort::Blank,
            "nothing but 31 spaces",
        );
        check("        return", "␣×8return", Sort::Text, "");
    }

    #[test]
    fn what_is_no_text_says_so() {
        let look = |piece: &str, kind: TokenKind| {
            let look = Look::of(piece, &kind);
            (look.text, look.sort.name(), look.about)
        };
        let bytes = |bytes: &[u8]| look("�", TokenKind::Bytes(bytes.to_vec()));
        assert_eq!(bytes(&[0x0A]).0, "‹0x0A›");
        assert_eq!(bytes(b" \xE2\x80").0, "␣‹0xE2 80›");
        assert_eq!(bytes(&[0x9F, 0x98]).1, "bytes");
        let (text, sort, about) = look("<bos>", TokenKind::Special);
        assert_eq!((&text[..], sort), ("<bos>", "special"));
        assert_eq!(about, "a special token: a text begins");
        let (_, sort, about) = look("<99999>", TokenKind::Missing);
        assert_eq!((sort, &about[..]), ("special", "an id without a token"));
        assert_eq!(
            look("<|fim|>", TokenKind::Special).2,
            "a special token, not text"
        );
    }

    #[test]
    fn long_tokens_keep_both_ends() {
        assert_eq!(shortened("answer", 6), "answer");
        assert_eq!(shortened("answering", 6), "answ…g");
        let long = shortened(" internationalization", 12);
        assert_eq!((long.chars().count(), &long[..]), (12, " interna…ion"));
        assert_ne!(
            shortened("Donaudampfschifffahrtsgesellschaft", 12),
            shortened("Donaudampfschifffahrtskapitän", 12)
        );
    }
}

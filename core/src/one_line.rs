//! Messages about names from outside, which may be long, and have lines.

use std::fmt::Display;

/// Bytes of the longest message that is said whole: one that lists all components is.
const LONGEST: usize = 600;

/// A message in one line: control characters are written as in code, and of a long message the middle is left out.
pub(crate) fn one_line(message: impl Display) -> String {
    let mut line = String::new();
    for c in message.to_string().chars() {
        match c {
            '\u{2028}' | '\u{2029}' => line.extend(c.escape_default()),
            c if c.is_control() => line.extend(c.escape_default()),
            c => line.push(c),
        }
    }
    if line.len() <= LONGEST {
        return line;
    }
    let begin = line.floor_char_boundary(LONGEST / 2);
    let end = line.ceil_char_boundary(line.len() - LONGEST / 2);
    format!("{} … {}", &line[..begin], &line[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_is_one_short_line() {
        assert_eq!(one_line("as \"it\" is, é"), "as \"it\" is, é");
        assert_eq!(one_line("two\nlines\u{2028}"), r"two\nlines\u{2028}");
        let long = format!("begin {} end", "🍋".repeat(1000));
        let line = one_line(&long);
        assert!(line.len() < LONGEST + 10, "{line}");
        assert!(line.starts_with("begin 🍋") && line.ends_with("🍋 end"));
    }
}

//! Text, numbers and lists as Python reads them.

/// Columns of a line of numbers.
const N_COLUMNS: usize = 100;
/// Characters of a prompt that are shown beside its ids.
const N_SHOWN: usize = 72;

/// The end of a prompt, which says most about it.
pub fn end_of(text: &str) -> String {
    let n_chars = text.chars().count();
    match n_chars.checked_sub(N_SHOWN) {
        None | Some(0) => python_string(text),
        Some(n_cut) => {
            let end: String = text.chars().skip(n_cut).collect();
            format!("... {}", python_string(&end))
        }
    }
}

/// Items with commas in lines of at most [`N_COLUMNS`].
pub fn wrapped(items: impl Iterator<Item = String>, indent: usize) -> String {
    let mut lines = String::new();
    let mut line = String::new();
    for item in items {
        if !line.is_empty() && indent + line.len() + item.len() + 2 > N_COLUMNS {
            lines.push_str(&format!("{:indent$}{line}\n", ""));
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&item);
        line.push(',');
    }
    if !line.is_empty() {
        lines.push_str(&format!("{:indent$}{line}\n", ""));
    }
    lines
}

/// A number that Python reads as exactly this f32: Python reads an f64, which is then rounded.
pub fn python_float(value: f32) -> String {
    let short = format!("{value:?}");
    match short.parse::<f64>() {
        Ok(read) if read.is_finite() && read as f32 == value => short,
        _ if value.is_finite() => format!("{:?}", f64::from(value)),
        _ => format!("float(\"{value}\")"),
    }
}

/// A string literal of Python on one line; what could be taken for something else is escaped.
pub fn python_string(text: &str) -> String {
    let mut literal = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => literal.extend(['\\', c]),
            '\n' => literal.push_str("\\n"),
            '\r' => literal.push_str("\\r"),
            '\t' => literal.push_str("\\t"),
            ' ' => literal.push(c),
            c if c.is_ascii_graphic() || c.is_alphanumeric() => literal.push(c),
            c if u32::from(c) < 0x100 => literal.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if u32::from(c) < 0x10000 => literal.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => literal.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    literal.push('"');
    literal
}

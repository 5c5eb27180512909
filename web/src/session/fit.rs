//! How much room a cell of a picture has, and what is shown in little of it.

use super::numbers;

/// Columns up to which each may be as wide as its words.
const ROOMY_COLUMNS: usize = 14;
/// Columns up to which there is room for a word where all are equally wide.
const EVEN_COLUMNS: usize = 20;
/// Rows up to which they are as high as what is pressed.
const ROOMY_ROWS: usize = 12;
/// Characters of a number in a narrow cell.
const NARROW: usize = 4;

/// How wide columns are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Columns {
    /// As wide as their words.
    #[default]
    Roomy,
    /// They share the width of the page, and have room for a word.
    Even,
    /// They share it, and have room for some letters.
    Narrow,
}

/// The room of a picture's cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fit {
    /// How wide they are.
    pub columns: Columns,
    /// Rows are low, so that many can be seen at once.
    pub is_low: bool,
}

impl Fit {
    /// The room in a picture of so many cells.
    pub fn of(n_rows: usize, n_columns: usize) -> Self {
        Self {
            columns: match n_columns {
                n if n <= ROOMY_COLUMNS => Columns::Roomy,
                n if n <= EVEN_COLUMNS => Columns::Even,
                _ => Columns::Narrow,
            },
            is_low: n_rows > ROOMY_ROWS,
        }
    }

    /// What a cell shows of its text: in a narrow one a number has fewer digits or is a dot where all are 0, and a word stands
    /// without the space before it.
    pub fn shown(self, text: &str) -> String {
        if self.columns != Columns::Narrow {
            return text.to_owned();
        }
        if text == ".00" {
            return "·".to_owned();
        }
        let number = text.trim_end_matches('!');
        let flag = &text[number.len()..];
        if let Some(number) = numbers::within(number, NARROW - flag.len().min(1)) {
            return number + flag;
        }
        let text = match text.strip_prefix('␣') {
            Some(word) if !word.is_empty() && !word.starts_with(['␣', '×']) => word,
            _ => text,
        };
        text.replace("‹0x", "‹").replace("‹U+", "‹")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pictures_have_room() {
        // The solver with ten tokens, GPT-2 with a sentence, SmolLM2 with a long one.
        let fits = [(3, 10), (12, 18), (30, 10), (9, 40), (30, 40)].map(|(rows, columns)| {
            let Fit { columns, is_low } = Fit::of(rows, columns);
            (columns, is_low)
        });
        let expected = [
            (Columns::Roomy, false),
            (Columns::Even, false),
            (Columns::Roomy, true),
            (Columns::Narrow, false),
            (Columns::Narrow, true),
        ];
        assert_eq!(fits, expected);
    }

    #[test]
    fn narrow_cells_show_less() {
        let [roomy, narrow] = [Fit::of(3, 10), Fit::of(3, 40)];
        for (text, shown) in [
            ("␣Steven", "Steven"),
            ("is", "is"),
            ("␣", "␣"),
            ("␣␣␣", "␣␣␣"),
            ("␣×8", "␣×8"),
            ("·", "·"),
            ("", ""),
            (".00", "·"),
            ("‹0x0A›", "‹0A›"),
            ("+.97", "+.97"),
            ("+1.02", "+1.0"),
            ("−12.36", "−12"),
            ("1.000", "1.00"),
            (".874!", ".87!"),
        ] {
            assert_eq!(narrow.shown(text), shown);
            assert_eq!(roomy.shown(text), text);
        }
    }
}

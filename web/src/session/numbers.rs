//! Numbers as the page writes them: in a fixed form, signed where a change is meant.

/// A share without the zero before its point: `.97`, `1.00`.
fn without_zero(text: String) -> String {
    text.strip_prefix('0').map(str::to_owned).unwrap_or(text)
}

/// A score with three digits and without its zero: `.999`.
pub fn score(value: f64) -> String {
    without_zero(format!("{value:.3}"))
}

/// A share in hundredths: `97 %`.
pub fn percent(value: f64) -> String {
    format!("{:.0}\u{a0}%", 100.0 * value)
}

/// Nats with their sign: `+5.1`, `−0.3`.
pub fn nats(value: f32) -> String {
    format!("{value:+.1}").replace('-', "−")
}

/// A share with its sign and without its zero: `+.97`, `−1.02`.
pub fn signed_share(value: f32) -> String {
    let text = without_zero(format!("{:.2}", value.abs()));
    match value {
        _ if text == ".00" => text,
        value if value < 0.0 => format!("−{text}"),
        _ => format!("+{text}"),
    }
}

/// A probability with two digits and without its zero: `.97`, `1.00`.
pub fn probability(value: f32) -> String {
    without_zero(format!("{value:.2}"))
}

/// Milliseconds with a digit below ten.
pub fn milliseconds(ms: f64) -> String {
    match ms {
        ms if ms < 10.0 => format!("{ms:.1} ms"),
        ms if ms < 1000.0 => format!("{ms:.0} ms"),
        ms => format!("{:.1} s", ms / 1000.0),
    }
}

/// Bytes as KB, MB or GB.
pub fn bytes(bytes: f64) -> String {
    match bytes {
        bytes if bytes < 1e6 => format!("{:.0} KB", bytes / 1e3),
        bytes if bytes < 1e9 => format!("{:.1} MB", bytes / 1e6),
        bytes => format!("{:.2} GB", bytes / 1e9),
    }
}

/// Seconds until something is done of which this share, 0..1, took so many milliseconds; `None` as long as there is none.
pub fn seconds_left(ms: f64, done: f64) -> Option<f64> {
    (done > 0.0).then(|| ms / 1000.0 * (1.0 - done) / done)
}

/// Seconds as such, or as minutes.
pub fn duration(secs: f64) -> String {
    match secs {
        secs if secs < 99.5 => format!("{secs:.0} s"),
        secs => format!("{:.0} min", secs / 60.0),
    }
}

/// A number in at most so many characters, rounded to fewer digits where it has more; `None` if it is no number as this module
/// writes them.
pub fn within(text: &str, most: usize) -> Option<String> {
    let digits = text.strip_prefix(['+', '−']).unwrap_or(text);
    let sign = text.strip_suffix(digits)?;
    let (_, fraction) = digits.split_once('.')?;
    let value: f64 = digits.parse().ok()?;
    let forms = (0..=fraction.len()).rev();
    let mut forms = forms.map(|n| {
        let digits = format!("{value:.n$}");
        let digits = if n > 0 { without_zero(digits) } else { digits };
        format!("{sign}{digits}")
    });
    let fits = |form: &String| form.chars().count() <= most;
    Some(forms.find(fits).unwrap_or_else(|| text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_have_units_that_fit() {
        let sizes = [12_300.0, 98_362_432.0, 1_072_000_000.0].map(bytes);
        assert_eq!(sizes, ["12 KB", "98.4 MB", "1.07 GB"]);
        assert_eq!([7.4, 99.0, 150.0].map(duration), ["7 s", "99 s", "2 min"]);
    }

    #[test]
    fn numbers_have_a_fixed_form() {
        for (value, text) in [
            (0.97, "+.97"),
            (-1.023, "−1.02"),
            (0.001, ".00"),
            (1.0, "+1.00"),
        ] {
            assert_eq!(signed_share(value), text);
        }
    }

    #[test]
    fn numbers_lose_digits_where_there_is_no_room() {
        for (text, most, shorter) in [
            ("+.97", 4, "+.97"),
            ("+.97", 3, "+1"),
            ("+1.09", 4, "+1.1"),
            ("−12.3", 4, "−12"),
            (".999", 3, "1.0"),
            ("+1234.5", 4, "+1234.5"),
        ] {
            assert_eq!(within(text, most).as_deref(), Some(shorter));
        }
        for text in ["·", "is", "v1.0", "1", ""] {
            assert_eq!(within(text, 4), None);
        }
    }
}

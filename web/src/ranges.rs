//! A file by ranges: the chunks that it is fetched and kept in, and what a server's answer to a request for one means.

use std::ops::Range;

/// Bytes of a chunk.
pub const CHUNK: u64 = 1 << 22;

/// A file in chunks of [`CHUNK`] bytes; the last one is shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunks {
    /// Bytes of the file.
    pub n_bytes: u64,
}

impl Chunks {
    /// How many there are.
    pub fn count(self) -> usize {
        self.n_bytes.div_ceil(CHUNK) as usize
    }

    /// Bytes of the file that a chunk has; none behind the last one.
    pub fn range(self, idx: usize) -> Range<u64> {
        let start = (idx as u64 * CHUNK).min(self.n_bytes);
        start..self.n_bytes.min(start + CHUNK)
    }

    /// The chunks that have these bytes of the file, and which of each one's own bytes they are.
    pub fn of(self, bytes: &Range<u64>) -> impl Iterator<Item = (usize, Range<u32>)> + use<> {
        let bytes = bytes.start..bytes.end.min(self.n_bytes);
        let first = (bytes.start / CHUNK) as usize;
        let behind = bytes.end.div_ceil(CHUNK) as usize;
        (first..behind.max(first)).map(move |idx| {
            let chunk = self.range(idx);
            let start = bytes.start.max(chunk.start) - chunk.start;
            let end = bytes.end.min(chunk.end) - chunk.start;
            (idx, start as u32..end as u32)
        })
    }
}

/// What a server says before the bytes.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// Its status.
    pub status: u16,
    /// `Content-Range`, where it is said and may be read.
    pub range: Option<String>,
    /// `Content-Length`.
    pub length: Option<String>,
    /// `Content-Type`.
    pub kind: Option<String>,
    /// True if the bytes are compressed on their way: then their length says nothing.
    pub is_compressed: bool,
}

/// What is about to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coming {
    /// The bytes that were asked for, of a file of so many bytes, where that is said.
    Part(Option<u64>),
    /// All bytes of the file, so many where that is said: the server knows no ranges.
    Whole(Option<u64>),
    /// Nothing: the server has no such file.
    Nothing,
}

/// Why it did not come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It may come when it is asked for again.
    Passing(String),
    /// It will not.
    Lasting(String),
}

impl Head {
    /// What comes in answer to a request for these bytes.
    ///
    /// # Errors
    /// - [`Trouble::Passing`] if the server cannot answer now.
    /// - [`Trouble::Lasting`] if it will not, or answers something else.
    pub fn coming(&self, wanted: &Range<u64>) -> Result<Coming, Trouble> {
        let lasting = |text: String| Err(Trouble::Lasting(text));
        match self.status {
            206 => self.part(wanted),
            200 => Ok(Coming::Whole(self.n_bytes())),
            404 | 410 => Ok(Coming::Nothing),
            401 | 403 => lasting(format!(
                "{}: the server gives it to those alone whom it knows. A gated model: accept its terms, download the file and drop it here, or use `swivel serve`, which has your token",
                self.status
            )),
            408 | 425 | 429 | 500..=599 => {
                let text = match self.status {
                    429 => "too many requests; wait a little",
                    408 => "the server waited too long",
                    _ => "the server cannot answer now",
                };
                Err(Trouble::Passing(format!("{}: {text}", self.status)))
            }
            416 => lasting("416: the file is shorter than it was said to be".to_owned()),
            status => lasting(format!(
                "{status}: that is no answer to a request for a file"
            )),
        }
    }

    fn part(&self, wanted: &Range<u64>) -> Result<Coming, Trouble> {
        // Servers need not let a page of another origin read it.
        let Some(text) = &self.range else {
            return Ok(Coming::Part(None));
        };
        let lie = || {
            Trouble::Lasting(format!(
                "bytes {} to {} were asked for, the server says that it sends `{text}`",
                wanted.start,
                wanted.end - 1
            ))
        };
        let (range, total) = text
            .strip_prefix("bytes ")
            .and_then(|text| text.split_once('/'))
            .ok_or_else(lie)?;
        let (first, last) = range.split_once('-').ok_or_else(lie)?;
        let [first, last] = [first, last].map(|number| number.trim().parse::<u64>().ok());
        let total = match total.trim() {
            "*" => None,
            number => Some(number.parse::<u64>().map_err(|_| lie())?),
        };
        let end = total.map_or(wanted.end, |total| wanted.end.min(total));
        if first != Some(wanted.start) || last.and_then(|last| last.checked_add(1)) != Some(end) {
            return Err(lie());
        }
        Ok(Coming::Part(total))
    }

    /// Bytes of the answer, where that is said.
    fn n_bytes(&self) -> Option<u64> {
        let length = self.length.as_deref().filter(|_| !self.is_compressed);
        length.and_then(|length| length.trim().parse().ok())
    }

    /// True if it is a web page, which is what many servers send instead of an error.
    pub fn is_web_page(&self) -> bool {
        let kind = self.kind.as_deref().unwrap_or_default();
        kind.trim_start()
            .to_ascii_lowercase()
            .starts_with("text/html")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_have_every_byte_once() {
        for n_bytes in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7] {
            let chunks = Chunks { n_bytes };
            let mut at = 0;
            for idx in 0..chunks.count() {
                let range = chunks.range(idx);
                assert_eq!(range.start, at);
                assert!(range.end > range.start && range.end - range.start <= CHUNK);
                at = range.end;
            }
            assert_eq!(at, n_bytes);
            assert!(chunks.range(chunks.count()).is_empty());
        }
    }

    #[test]
    fn a_range_is_cut_into_parts_of_chunks() {
        let chunks = Chunks {
            n_bytes: 2 * CHUNK + 10,
        };
        let parts = |range: Range<u64>| chunks.of(&range).collect::<Vec<_>>();
        assert_eq!(parts(0..8), [(0, 0..8)]);
        let chunk = CHUNK as u32;
        assert_eq!(
            parts(CHUNK - 2..2 * CHUNK + 3),
            [(0, chunk - 2..chunk), (1, 0..chunk), (2, 0..3)]
        );
        assert_eq!(parts(CHUNK..CHUNK), []);
        // What lies behind the file is not there.
        assert_eq!(parts(2 * CHUNK + 8..3 * CHUNK), [(2, 8..10)]);
    }

    fn head(status: u16) -> Head {
        Head {
            status,
            ..Head::default()
        }
    }

    fn part(range: &str) -> Result<Coming, Trouble> {
        let range = Some(range.to_owned());
        Head { range, ..head(206) }.coming(&(100..200))
    }

    #[test]
    fn a_part_is_the_one_that_was_asked_for() {
        assert_eq!(part("bytes 100-199/1000"), Ok(Coming::Part(Some(1000))));
        assert_eq!(part("bytes 100-199/*"), Ok(Coming::Part(None)));
        // The file ends before.
        assert_eq!(part("bytes 100-149/150"), Ok(Coming::Part(Some(150))));
        assert_eq!(head(206).coming(&(0..5)), Ok(Coming::Part(None)));
        for lie in [
            "bytes 0-99/1000",
            "bytes 100-198/1000",
            "bytes 100-18446744073709551615/1000",
            "bytes 100-199/-1",
            "items 100-199/1000",
            "",
        ] {
            let answer = part(lie);
            assert!(
                matches!(&answer, Err(Trouble::Lasting(text)) if text.contains("100 to 199")),
                "{lie}: {answer:?}"
            );
        }
    }

    #[test]
    fn a_whole_file_has_a_length_unless_it_is_compressed() {
        let mut whole = head(200);
        assert_eq!(whole.coming(&(0..5)), Ok(Coming::Whole(None)));
        whole.length = Some("77".to_owned());
        assert_eq!(whole.coming(&(0..5)), Ok(Coming::Whole(Some(77))));
        whole.is_compressed = true;
        assert_eq!(whole.coming(&(0..5)), Ok(Coming::Whole(None)));
    }

    #[test]
    fn what_may_pass_is_told_from_what_will_not() {
        assert_eq!(head(404).coming(&(0..5)), Ok(Coming::Nothing));
        for status in [408, 429, 500, 503] {
            let answer = head(status).coming(&(0..5));
            assert!(matches!(answer, Err(Trouble::Passing(_))), "{answer:?}");
        }
        for status in [400, 401, 403, 416, 418] {
            let answer = head(status).coming(&(0..5));
            assert!(
                matches!(&answer, Err(Trouble::Lasting(text)) if text.contains(&status.to_string())),
                "{answer:?}"
            );
        }
    }

    #[test]
    fn a_web_page_is_known_by_its_type() {
        let mut page = head(200);
        assert!(!page.is_web_page());
        page.kind = Some("Text/HTML; charset=utf-8".to_owned());
        assert!(page.is_web_page());
        page.kind = Some("application/octet-stream".to_owned());
        assert!(!page.is_web_page());
    }
}

//! Zip: where the entries of an archive lie.
//!
//! <https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT>, sections 4.3 and 4.5.3: an archive ends with a record that says
//! where the directory of its entries is (in a second record, where numbers take 64 bits); the directory says where the local
//! header of each entry is, and the entry's bytes follow that header.

use std::ops::Range;

use super::wrong;
use crate::load::{
    TensorError,
    bytes::{Bytes, Short},
};

/// Bytes that the end of an archive may take: its record, a comment, and what says where the 64-bit record is.
pub const MAX_END_BYTES: u64 = N_END + u16::MAX as u64 + N_LOCATOR;
/// Bytes that a directory may take: a thousand tensors take a tenth of one million.
const MAX_DIRECTORY_BYTES: u64 = 1 << 23;

const N_END: u64 = 22;
const N_LOCATOR: u64 = 20;
const N_END_64: u64 = 56;
const N_LOCAL: u64 = 30;

/// What the end of an archive says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Where the directory is.
    Directory(Range<u64>),
    /// Where the record is that says it.
    Record(Range<u64>),
}

/// A file in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name, folders and all.
    pub name: String,
    /// How many bytes it has.
    pub n_bytes: u64,
    local: u64,
    method: u16,
    flags: u16,
}

/// Reads the last bytes of a file of `n_bytes`.
///
/// # Errors
/// - [`TensorError::Torch`] if they are not an archive's, or name a directory outside the file.
pub fn end(last: &[u8], n_bytes: u64) -> Result<End, TensorError> {
    let found = (0..last.len().saturating_sub(N_END as usize - 1)).rev();
    let mut found = found.filter_map(|at| Some((at, end_at(&last[at..]).ok()??)));
    let Some((at, directory)) = found.next() else {
        let expected = "a zip archive's record at the end";
        return Err(wrong("file", expected, "none: it was cut"));
    };
    let locator = at.checked_sub(N_LOCATOR as usize);
    let record = locator.and_then(|at| locator_at(&last[at..]).ok()?);
    match record {
        Some(at) => Ok(End::Record(inside(
            "end record",
            at,
            N_END_64,
            n_bytes,
            n_bytes,
        )?)),
        None => directory_range(directory, n_bytes).map(End::Directory),
    }
}

/// Offset and bytes of the directory, if an end record begins here.
fn end_at(bytes: &[u8]) -> Result<Option<[u64; 2]>, Short> {
    let mut bytes = Bytes::new(bytes);
    let is_one = bytes.take(4)? == b"PK\x05\x06";
    bytes.take(8)?; // numbers of disks and entries
    let [n_bytes, offset] = [bytes.u32()?, bytes.u32()?];
    let n_comment = bytes.u16()?;
    let is_whole = bytes.take(n_comment.into()).is_ok() && bytes.is_empty();
    Ok((is_one && is_whole).then_some([offset.into(), n_bytes.into()]))
}

/// Offset of the 64-bit record, if one is named here.
fn locator_at(bytes: &[u8]) -> Result<Option<u64>, Short> {
    let mut bytes = Bytes::new(bytes);
    let is_one = bytes.take(4)? == b"PK\x06\x07";
    bytes.take(4)?; // number of a disk
    let offset = bytes.u64()?;
    Ok(is_one.then_some(offset))
}

/// Where the directory is, by the 64-bit record.
///
/// # Errors
/// - [`TensorError::Torch`] if it is no such record, or names a directory outside the file.
pub fn directory(record: &[u8], n_bytes: u64) -> Result<Range<u64>, TensorError> {
    let mut bytes = Bytes::new(record);
    let mut read = || {
        let is_one = bytes.take(4)? == b"PK\x06\x06";
        bytes.take(36)?; // its length, versions, disks, numbers of entries
        let [n_bytes, offset] = [bytes.u64()?, bytes.u64()?];
        Ok::<_, Short>(is_one.then_some([offset, n_bytes]))
    };
    match read() {
        Ok(Some(directory)) => directory_range(directory, n_bytes),
        _ => Err(wrong("end record", "a zip archive's", "other bytes")),
    }
}

fn directory_range([offset, n_bytes]: [u64; 2], n_file: u64) -> Result<Range<u64>, TensorError> {
    match n_bytes {
        0 => Err(wrong("directory", "entries", "none")),
        _ => inside("directory", offset, n_bytes, MAX_DIRECTORY_BYTES, n_file),
    }
}

/// `n_bytes` bytes from `offset` on, if they are at most `most` and lie in the file.
fn inside(
    what: &str,
    offset: u64,
    n_bytes: u64,
    most: u64,
    n_file: u64,
) -> Result<Range<u64>, TensorError> {
    match offset.checked_add(n_bytes) {
        Some(end) if end <= n_file && n_bytes <= most => Ok(offset..end),
        _ => Err(wrong(
            what,
            format!("at most {most} bytes inside a file of {n_file}"),
            format!("{n_bytes} bytes from {offset} on"),
        )),
    }
}

/// The entries of a directory; each lies in front of `end`, where the directory begins.
///
/// # Errors
/// - [`TensorError::Torch`] if an entry is cut, lies elsewhere, or has a name that is no UTF-8.
pub fn entries(directory: &[u8], end: u64) -> Result<Vec<Entry>, TensorError> {
    let mut bytes = Bytes::new(directory);
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        let Ok(Some((name, entry))) = entry(&mut bytes) else {
            let what = format!("entry {} of the directory", entries.len());
            return Err(wrong(what, "one of a zip archive", "other bytes"));
        };
        let what = format!("entry `{}`", entry.name);
        if name != entry.name.as_bytes() {
            return Err(wrong(what, "a name in UTF-8", "other bytes"));
        }
        let n_head = N_LOCAL + name.len() as u64;
        inside(
            &what,
            entry.local,
            n_head.saturating_add(entry.n_bytes),
            end,
            end,
        )?;
        entries.push(entry);
    }
    Ok(entries)
}

/// The next entry, and its name as it is.
fn entry<'a>(bytes: &mut Bytes<'a>) -> Result<Option<(&'a [u8], Entry)>, Short> {
    if bytes.take(4)? != b"PK\x01\x02" {
        return Ok(None);
    }
    bytes.take(4)?; // versions
    let [flags, method] = [bytes.u16()?, bytes.u16()?];
    bytes.take(8)?; // time, checksum
    let [packed, n_bytes] = [bytes.u32()?, bytes.u32()?];
    let [n_name, n_extra, n_comment] = [bytes.u16()?, bytes.u16()?, bytes.u16()?];
    bytes.take(8)?; // disk, attributes
    let local = bytes.u32()?;
    let name = bytes.take(n_name.into())?;
    let extra = bytes.take(n_extra.into())?;
    bytes.take(n_comment.into())?;
    // Numbers that need 64 bits are in a field of their own, in this order, and only those.
    let mut long = Bytes::new(long_numbers(extra)?);
    let mut number = |short: u32| match short {
        u32::MAX => long.u64(),
        short => Ok(short.into()),
    };
    let n_bytes = number(n_bytes)?;
    number(packed)?;
    let local = number(local)?;
    let entry = Entry {
        name: String::from_utf8_lossy(name).into_owned(),
        n_bytes,
        local,
        method,
        flags,
    };
    Ok(Some((name, entry)))
}

/// The field of an entry that has its long numbers; without one, no bytes.
fn long_numbers(extra: &[u8]) -> Result<&[u8], Short> {
    let mut bytes = Bytes::new(extra);
    while !bytes.is_empty() {
        let [kind, n_bytes] = [bytes.u16()?, bytes.u16()?];
        let field = bytes.take(n_bytes.into())?;
        if kind == 1 {
            return Ok(field);
        }
    }
    Ok(&[])
}

impl Entry {
    /// Where its local header is, as far as its name.
    pub fn head(&self) -> Range<u64> {
        self.local..self.local + N_LOCAL + self.name.len() as u64
    }

    /// Its bytes and all in front of them, however long the local header is; `end` is where the directory begins.
    pub fn whole(&self, end: u64) -> Range<u64> {
        let most = (self.head().end)
            .saturating_add(u16::MAX.into())
            .saturating_add(self.n_bytes);
        self.local..most.min(end)
    }

    /// Where its bytes are, by its local header; `end` is where the directory begins.
    ///
    /// # Errors
    /// - [`TensorError::Torch`] if it is compressed or encrypted, or the header is another's.
    pub fn bytes(&self, head: &[u8], end: u64) -> Result<Range<u64>, TensorError> {
        let what = || format!("entry `{}`", self.name);
        if self.method != 0 || self.flags & 1 != 0 {
            let found = format!(
                "them packed by method {}, flags {}",
                self.method, self.flags
            );
            return Err(wrong(what(), "bytes as they are", found));
        }
        let mut bytes = Bytes::new(head);
        let mut read = || {
            let is_one = bytes.take(4)? == b"PK\x03\x04";
            bytes.take(22)?; // versions, time, checksum, lengths
            let [n_name, n_extra] = [bytes.u16()?, bytes.u16()?];
            let is_its = bytes.take(n_name.into())? == self.name.as_bytes();
            Ok::<_, Short>((is_one && is_its).then_some(n_extra))
        };
        let Ok(Some(n_extra)) = read() else {
            return Err(wrong(what(), "its name where it begins", "other bytes"));
        };
        let start = self.head().end + u64::from(n_extra);
        inside(&what(), start, self.n_bytes, end, end)
    }
}

//! Bytes that are read from their start on, numbers little-endian.

/// The bytes end within what is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Short;

/// What is left of some bytes.
#[derive(Clone, Debug)]
pub(super) struct Bytes<'a> {
    rest: &'a [u8],
    n_read: u64,
}

impl<'a> Bytes<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            n_read: 0,
        }
    }

    /// How many were read.
    pub(super) fn n_read(&self) -> u64 {
        self.n_read
    }

    /// True if all were read.
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `n`; nothing is read if there are fewer.
    pub(super) fn take(&mut self, n: u64) -> Result<&'a [u8], Short> {
        let n_here = usize::try_from(n).map_err(|_| Short)?;
        let (taken, rest) = self.rest.split_at_checked(n_here).ok_or(Short)?;
        self.rest = rest;
        self.n_read += n;
        Ok(taken)
    }

    /// The bytes before the next line feed, which is read, too.
    pub(super) fn line(&mut self) -> Result<&'a [u8], Short> {
        let n = self.rest.iter().position(|byte| *byte == b'\n');
        let line = self.take(n.ok_or(Short)? as u64)?;
        self.take(1)?;
        Ok(line)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Short> {
        self.take(N as u64)?.try_into().map_err(|_| Short)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Short> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Short> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Short> {
        self.array().map(u64::from_le_bytes)
    }
}

//! A file that is read by ranges: a chunk at a time is in memory, outside of wasm, and a few are on their way.

use std::{cell::RefCell, collections::BTreeMap, ops::Range, pin::Pin, rc::Rc};

use futures_util::{Stream, StreamExt, stream};
use js_sys::Uint8Array;
use web_sys::Blob;

use super::{download::Download, store::bytes_of};
use crate::{browser::error_text, ranges::Chunks};

/// Chunks that are on their way at once.
const N_AHEAD: usize = 4;

/// Where the bytes are.
pub enum Origin {
    /// In a file that a person chose, or that the browser keeps.
    Blob(Blob),
    /// On a server.
    Download(Download),
}

type Held = Rc<RefCell<BTreeMap<usize, Uint8Array>>>;
/// Chunks, each with its number.
type Coming = Pin<Box<dyn Stream<Item = Result<(usize, Uint8Array), String>>>>;

/// A file, and what of it is in memory.
pub struct Bytes {
    origin: Rc<Origin>,
    chunks: Chunks,
    /// The chunks one after the other.
    coming: Coming,
    /// Number of the next one that comes.
    next: usize,
    held: Held,
    /// True if what was read is not read again.
    is_passing: bool,
}

impl Origin {
    /// Bytes of the file.
    fn n_bytes(&self) -> u64 {
        match self {
            Self::Blob(blob) => blob.size() as u64,
            Self::Download(download) => download.n_bytes(),
        }
    }

    /// False if chunks come in their order alone.
    fn has_ranges(&self) -> bool {
        match self {
            Self::Blob(_) => true,
            Self::Download(download) => download.has_ranges(),
        }
    }

    async fn chunk(&self, idx: usize) -> Result<Uint8Array, String> {
        let blob = match self {
            Self::Download(download) => return download.chunk(idx).await,
            Self::Blob(blob) => blob,
        };
        let n_bytes = self.n_bytes();
        let range = Chunks { n_bytes }.range(idx);
        let part = blob.slice_with_f64_and_f64(range.start as f64, range.end as f64);
        let part = part.map_err(|error| error_text(&error))?;
        bytes_of(&part).await
    }
}

impl Bytes {
    /// A file; its first chunks are asked for when the first bytes are.
    pub fn new(origin: Origin) -> Self {
        let n_ahead = match origin.has_ranges() {
            true => N_AHEAD,
            false => 1,
        };
        let chunks = Chunks {
            n_bytes: origin.n_bytes(),
        };
        let origin = Rc::new(origin);
        let held = Held::default();
        let coming = stream::iter(0..chunks.count()).map({
            let (origin, held) = (Rc::clone(&origin), Rc::clone(&held));
            move |idx| {
                let (origin, own) = (Rc::clone(&origin), held.borrow().get(&idx).cloned());
                async move {
                    match own {
                        Some(bytes) => Ok((idx, bytes)),
                        None => Ok((idx, origin.chunk(idx).await?)),
                    }
                }
            }
        });
        Self {
            origin,
            chunks,
            coming: Box::pin(coming.buffered(n_ahead)),
            next: 0,
            held,
            is_passing: false,
        }
    }

    /// Bytes of the file.
    pub fn n_bytes(&self) -> u64 {
        self.chunks.n_bytes
    }

    /// From now on the file is read once, from its start to its end.
    pub fn pass(&mut self) {
        self.is_passing = true;
    }

    /// Reads some bytes into `to`, which has nothing else then.
    ///
    /// # Errors
    /// - if they cannot be had
    pub async fn read(&mut self, range: &Range<u64>, to: &mut Vec<u8>) -> Result<(), String> {
        to.clear();
        to.resize((range.end - range.start) as usize, 0);
        let mut at = 0;
        for (idx, own) in self.chunks.of(range) {
            let chunk = self.chunk(idx).await?;
            let part = chunk.subarray(own.start, own.end);
            let end = at + part.length() as usize;
            part.copy_to(&mut to[at..end]);
            at = end;
        }
        match at == to.len() {
            true => Ok(()),
            false => Err(format!("the file ends before byte {}", range.end)),
        }
    }

    /// All bytes.
    ///
    /// # Errors
    /// - if they cannot be had
    pub async fn all(&mut self) -> Result<Vec<u8>, String> {
        let mut all = Vec::new();
        self.read(&(0..self.n_bytes()), &mut all).await?;
        Ok(all)
    }

    async fn chunk(&mut self, idx: usize) -> Result<Uint8Array, String> {
        if self.is_passing {
            // What lies before is not read again.
            let kept = self.held.borrow_mut().split_off(&idx);
            *self.held.borrow_mut() = kept;
        }
        loop {
            if let Some(bytes) = self.held.borrow().get(&idx) {
                return Ok(bytes.clone());
            }
            if idx >= self.next + N_AHEAD && self.origin.has_ranges() {
                let bytes = self.origin.chunk(idx).await?;
                self.held.borrow_mut().insert(idx, bytes);
                continue;
            }
            let Some(next) = self.coming.next().await else {
                return Err("it is read a second time".to_owned());
            };
            let (own, bytes) = next?;
            self.next = own + 1;
            self.held.borrow_mut().insert(own, bytes);
        }
    }

    /// Why a part of it could not be kept.
    pub fn trouble(&self) -> Option<String> {
        match &*self.origin {
            Origin::Blob(_) => None,
            Origin::Download(download) => download.trouble(),
        }
    }

    /// The whole file as the browser keeps it, so that another worker reads it without fetching it; all of it was read.
    ///
    /// # Errors
    /// - if the browser has thrown a part of it away
    pub async fn blob(&self) -> Result<Blob, String> {
        match &*self.origin {
            Origin::Blob(blob) => Ok(blob.clone()),
            Origin::Download(download) => download.blob().await,
        }
    }
}

//! A file on a server, chunk by chunk, kept as it comes; where the server knows no ranges, in one piece.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    ops::Range,
};

use js_sys::{Array, Uint8Array};
use wasm_bindgen::JsValue;
use web_sys::{Blob, Headers, RequestCache, RequestInit, Response};

use super::{
    body::{Body, Progress},
    store::{Folder, bytes_of},
};
use crate::{
    browser::{error_text, fetch, window},
    ranges::{CHUNK, Chunks, Coming, Head, Trouble},
};

/// How often a chunk is asked for before it is given up.
const ATTEMPTS: u32 = 4;
/// Milliseconds after the first time in vain; each time twice as long.
const FIRST_PAUSE: f64 = 500.0;

/// A file on a server.
pub struct Download {
    address: String,
    chunks: Chunks,
    tag: Option<String>,
    way: Way,
    keeper: Keeper,
    progress: Progress,
    /// Bytes that are there.
    done: Cell<u64>,
}

/// How its bytes come.
enum Way {
    /// By ranges.
    Ranges,
    /// In one piece, of which the rest is still to come.
    Stream(RefCell<Body>),
}

/// Where chunks are kept.
struct Keeper {
    /// The model's folder, and the file's number there.
    folder: Option<(Folder, usize)>,
    /// Chunks that are not in it, since it could not take them.
    others: RefCell<BTreeMap<usize, Blob>>,
    /// Why it could not.
    trouble: RefCell<Option<String>>,
}

/// What a server knows of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// Bytes, where that is said.
    pub n_bytes: Option<u64>,
    /// What tells its versions apart.
    pub tag: Option<String>,
}

/// Asks a server what it knows of a file; `None` if it has none.
///
/// # Errors
/// - if there is no answer, or another one
pub async fn facts(address: &str) -> Result<Option<Facts>, Trouble> {
    let init = RequestInit::new();
    init.set_method("HEAD");
    let response = request(address, &init).await?;
    let head = head_of(&response);
    match head.coming(&(0..CHUNK))? {
        Coming::Nothing => Ok(None),
        Coming::Part(n_bytes) | Coming::Whole(n_bytes) => Ok(Some(Facts {
            n_bytes,
            tag: tag_of(&response),
        })),
    }
}

impl Download {
    /// Starts to fetch a file; `None` if the server has none. Its first chunk is there then.
    ///
    /// # Errors
    /// - if there is no answer, or another one than the file
    pub async fn start(
        address: &str,
        is_small: bool,
        folder: Option<(Folder, usize)>,
        progress: Progress,
    ) -> Result<Option<Self>, String> {
        let first = 0..CHUNK;
        let wanted = (!is_small).then_some(&first);
        let started = patiently(async || {
            let response = ranged(address, wanted).await?;
            let head = head_of(&response);
            let coming = head.coming(&first)?;
            if coming != Coming::Nothing && head.is_web_page() {
                let text = "the server sends a web page in place of the file";
                return Err(Trouble::Lasting(text.to_owned()));
            }
            Ok((response, coming))
        });
        let failed = |trouble| told(address, trouble);
        let (response, coming) = started.await.map_err(failed)?;
        let (way, n_bytes) = match coming {
            Coming::Nothing => return Ok(None),
            Coming::Part(Some(n_bytes)) => (Way::Ranges, n_bytes),
            Coming::Part(None) => {
                let facts = facts(address).await.map_err(failed)?;
                let n_bytes = facts.and_then(|facts| facts.n_bytes);
                (Way::Ranges, n_bytes.ok_or_else(|| failed(no_length()))?)
            }
            Coming::Whole(n_bytes) => {
                let mut body = Body::of(&response);
                let n_bytes = match n_bytes {
                    Some(n_bytes) => n_bytes,
                    None => body.read_all(&progress).await.map_err(failed)?,
                };
                (Way::Stream(RefCell::new(body)), n_bytes)
            }
        };
        let tag = tag_of(&response);
        let download = Self::known(address, n_bytes, tag, way, folder, progress);
        if let Way::Ranges = download.way {
            let bytes = download.body(&response, download.chunks.range(0)).await;
            match bytes {
                Ok(bytes) => download.keeper.keep(0, &bytes).await,
                // It is asked for again when it is needed.
                Err(Trouble::Passing(_)) => {}
                Err(trouble) => return Err(failed(trouble)),
            }
            // It is counted when it is read, as every other one.
            download.done.set(0);
        }
        Ok(Some(download))
    }

    /// Goes on with a file of which a part may be kept.
    pub fn resumed(
        address: &str,
        n_bytes: u64,
        tag: Option<String>,
        folder: (Folder, usize),
        progress: Progress,
    ) -> Self {
        Self::known(address, n_bytes, tag, Way::Ranges, Some(folder), progress)
    }

    fn known(
        address: &str,
        n_bytes: u64,
        tag: Option<String>,
        way: Way,
        folder: Option<(Folder, usize)>,
        progress: Progress,
    ) -> Self {
        Self {
            address: address.to_owned(),
            chunks: Chunks { n_bytes },
            tag,
            way,
            keeper: Keeper {
                folder,
                others: RefCell::default(),
                trouble: RefCell::default(),
            },
            progress,
            done: Cell::new(0),
        }
    }

    /// Bytes of the file.
    pub fn n_bytes(&self) -> u64 {
        self.chunks.n_bytes
    }

    /// What tells the file's versions apart.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Why a part of it could not be kept.
    pub fn trouble(&self) -> Option<String> {
        self.keeper.trouble.borrow().clone()
    }

    /// False if chunks come in their order alone.
    pub fn has_ranges(&self) -> bool {
        matches!(self.way, Way::Ranges)
    }

    /// A chunk: kept, or fetched and kept.
    ///
    /// # Errors
    /// - if it cannot be had
    pub async fn chunk(&self, idx: usize) -> Result<Uint8Array, String> {
        if let Some(blob) = self.keeper.chunk(self.chunks, idx).await {
            let bytes = bytes_of(&blob).await?;
            self.count(u64::from(bytes.length()));
            return Ok(bytes);
        }
        let range = self.chunks.range(idx);
        let bytes = match &self.way {
            Way::Ranges => patiently(async || self.fetch(range.clone()).await).await,
            Way::Stream(body) => self.next_of(body, &range).await,
        };
        let bytes = bytes.map_err(|trouble| told(&self.address, trouble))?;
        self.keeper.keep(idx, &bytes).await;
        Ok(bytes)
    }

    fn count(&self, n_bytes: u64) {
        self.done.set(self.done.get() + n_bytes);
        (self.progress)(
            self.done.get().min(self.n_bytes()),
            Some(self.chunks.n_bytes),
        );
    }

    async fn fetch(&self, range: Range<u64>) -> Result<Uint8Array, Trouble> {
        let response = ranged(&self.address, Some(&range)).await?;
        let coming = head_of(&response).coming(&range)?;
        let has_changed = self.tag.is_some() && tag_of(&response) != self.tag;
        match coming {
            Coming::Part(n_bytes)
                if !has_changed && n_bytes.is_none_or(|n| n == self.n_bytes()) =>
            {
                self.body(&response, range).await
            }
            Coming::Whole(_) => Err(Trouble::Lasting(
                "the server sends the whole file in place of a part of it".to_owned(),
            )),
            Coming::Part(_) | Coming::Nothing => {
                if let Some((folder, _)) = &self.keeper.folder {
                    folder.remove().await;
                }
                Err(Trouble::Lasting(
                    "the file has become another one on the server; try again to fetch that"
                        .to_owned(),
                ))
            }
        }
    }

    /// The bytes of an answer, which are these of the file.
    async fn body(&self, response: &Response, range: Range<u64>) -> Result<Uint8Array, Trouble> {
        let mut body = Body::of(response);
        let start = self.done.get();
        let bytes = self.next_of_body(&mut body, &range).await;
        if bytes.is_err() {
            // They come again.
            self.done.set(start.min(self.done.get()));
        }
        bytes
    }

    async fn next_of(
        &self,
        body: &RefCell<Body>,
        range: &Range<u64>,
    ) -> Result<Uint8Array, Trouble> {
        // Chunks of a stream are asked for one after the other.
        let mut own = body.replace(Body::default());
        let bytes = self.next_of_body(&mut own, range).await;
        body.replace(own);
        bytes
    }

    async fn next_of_body(
        &self,
        body: &mut Body,
        range: &Range<u64>,
    ) -> Result<Uint8Array, Trouble> {
        let n_wanted = (range.end - range.start) as u32;
        let bytes = body.take(n_wanted, |n| self.count(u64::from(n))).await?;
        match bytes.length() == n_wanted {
            true => Ok(bytes),
            false => Err(Trouble::Passing(format!(
                "the connection ended after {} of {n_wanted} bytes",
                bytes.length()
            ))),
        }
    }

    /// The whole file as the browser keeps it.
    ///
    /// # Errors
    /// - if a part of it is gone
    pub async fn blob(&self) -> Result<Blob, String> {
        let parts = Array::new();
        for idx in 0..self.chunks.count() {
            let part = self.keeper.chunk(self.chunks, idx).await;
            let part: JsValue = part
                .ok_or("the browser has thrown a part of it away")?
                .into();
            parts.push(&part);
        }
        Blob::new_with_blob_sequence(&parts).map_err(|error| error_text(&error))
    }
}

impl Keeper {
    async fn chunk(&self, chunks: Chunks, idx: usize) -> Option<Blob> {
        let own = self.others.borrow().get(&idx).cloned();
        match (own, &self.folder) {
            (Some(blob), _) => Some(blob),
            (None, Some((folder, file))) => folder.chunk(*file, chunks, idx).await,
            (None, None) => None,
        }
    }

    async fn keep(&self, idx: usize, bytes: &Uint8Array) {
        let is_full = self.trouble.borrow().is_some();
        if let Some((folder, file)) = self.folder.as_ref().filter(|_| !is_full) {
            match folder.set_chunk(*file, idx, bytes).await {
                Ok(()) => return,
                Err(cause) => *self.trouble.borrow_mut() = Some(cause),
            }
        }
        // The browser has it where it has other blobs, which is not this program's memory.
        let blob = Blob::new_with_u8_array_sequence(&Array::of1(bytes));
        if let Ok(blob) = blob {
            self.others.borrow_mut().insert(idx, blob);
        }
    }
}

/// Does it again where it failed by what may pass, a few times.
async fn patiently<T>(attempt: impl AsyncFn() -> Result<T, Trouble>) -> Result<T, Trouble> {
    let mut pause = FIRST_PAUSE;
    for _ in 1..ATTEMPTS {
        match attempt().await {
            Err(Trouble::Passing(_)) => window::sleep(pause).await,
            other => return other,
        }
        pause *= 2.0;
    }
    attempt().await
}

fn told(address: &str, trouble: Trouble) -> String {
    match trouble {
        Trouble::Passing(text) => {
            format!("{address}: {text}. What came is kept: try again to go on from there")
        }
        Trouble::Lasting(text) => format!("{address}: {text}"),
    }
}

fn no_length() -> Trouble {
    Trouble::Lasting("the server does not say how long the file is".to_owned())
}

async fn ranged(address: &str, range: Option<&Range<u64>>) -> Result<Response, Trouble> {
    let init = RequestInit::new();
    if let Some(range) = range {
        // The browser's own cache holds up requests for parts of one file, and would have a second copy.
        init.set_cache(RequestCache::NoStore);
        let headers = Headers::new().map_err(|error| Trouble::Lasting(error_text(&error)))?;
        let value = format!("bytes={}-{}", range.start, range.end - 1);
        let set = headers.set("Range", &value);
        set.map_err(|error| Trouble::Lasting(error_text(&error)))?;
        init.set_headers(&headers);
    }
    request(address, &init).await
}

async fn request(address: &str, init: &RequestInit) -> Result<Response, Trouble> {
    let response = fetch::request(address, init).await;
    response.map_err(|error| Trouble::Passing(error_text(&error)))
}

fn head_of(response: &Response) -> Head {
    let headers = response.headers();
    let get = |name: &str| headers.get(name).ok().flatten();
    Head {
        status: response.status(),
        range: get("content-range"),
        length: get("content-length"),
        kind: get("content-type"),
        is_compressed: get("content-encoding").is_some(),
    }
}

fn tag_of(response: &Response) -> Option<String> {
    let headers = response.headers();
    let get = |name: &str| headers.get(name).ok().flatten();
    get("etag").or_else(|| get("last-modified"))
}

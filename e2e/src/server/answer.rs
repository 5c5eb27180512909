//! From a request to its answer: what is sent for a path, whole, replaced or broken.

use std::{
    io::{self, BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{Arc, atomic::Ordering},
    thread,
    time::Duration,
};

use super::{Manners, Overlay, Request, Shared, folder, lock};

impl Shared {
    pub(super) fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for stream in listener.incoming() {
            if self.stopped.load(Ordering::SeqCst) {
                return;
            }
            let Ok(stream) = stream else { continue };
            let shared = Arc::clone(self);
            // A browser that goes away in the middle of an answer is nobody's failure.
            thread::spawn(move || drop(shared.answer(stream)));
        }
    }

    /// Reads one request, answers it, and closes the connection.
    fn answer(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut lines = BufReader::new(&stream).lines();
        // A browser also opens connections in advance and sends nothing.
        let Some(start) = lines.next().transpose()? else {
            return Ok(());
        };
        let mut range = None;
        for line in lines {
            let line = line?;
            if line.is_empty() {
                break;
            }
            range = range_of(&line).or(range);
        }
        let mut words = start.split(' ');
        let method = words.next().unwrap_or_default();
        let target = words.next().unwrap_or_default();
        let path = target.split(['?', '#']).next().unwrap_or_default();
        let path = if path.ends_with('/') {
            format!("{path}index.html")
        } else {
            path.to_owned()
        };

        let overlay = lock(&self.overlays).get(&path).cloned();
        if let Some(Overlay::Delayed(delay)) = overlay {
            thread::sleep(delay);
        }
        let live = self.live(&path);
        let live_header = match live {
            Some(_) => "swivel-serve: 0.1.0\r\n",
            None => "",
        };
        if let Some(Overlay::Parts(bytes, manners)) = &overlay {
            return self.answer_in_parts(&stream, &path, method, (bytes, *manners), range);
        }
        let file = || live.or_else(|| self.file(&path));
        let (mut status, mut body) = match (method, &overlay) {
            ("GET" | "HEAD", Some(Overlay::Bytes(bytes))) => (200, bytes.clone()),
            ("GET" | "HEAD", Some(Overlay::Status(status))) => (*status, Vec::new()),
            ("GET" | "HEAD", _) => file().map_or((404, Vec::new()), |bytes| (200, bytes)),
            _ => (405, Vec::new()),
        };
        if let Some(Overlay::Truncated(n_bytes)) = overlay {
            body.truncate(n_bytes);
        }
        let mut part_header = String::new();
        if let (200, Some((first, last))) = (status, range) {
            let n_bytes = body.len() as u64;
            let end = last.saturating_add(1).min(n_bytes);
            if first < end {
                status = 206;
                part_header = format!("Content-Range: bytes {first}-{}/{n_bytes}\r\n", end - 1);
                body = body[first as usize..end as usize].to_vec();
            } else {
                (status, body) = (416, Vec::new());
            }
        }
        let content_length = body.len();
        if let Some(Overlay::Broken(n_bytes)) = overlay {
            body.truncate(n_bytes);
        }
        if method == "HEAD" {
            body.clear();
        }

        // Known before the browser can act on the answer.
        lock(&self.requests).push(Request {
            path: path.clone(),
            status,
            body_bytes: body.len(),
            part: range.map(|(first, _)| first),
        });
        let mut stream = &stream;
        write!(
            stream,
            "HTTP/1.1 {status} \r\n\
             Content-Type: {}\r\n\
             Content-Length: {content_length}\r\n\
             Cache-Control: no-cache\r\n\
             {OPEN}\
             {part_header}{live_header}\
             Connection: close\r\n\r\n",
            content_type(&path)
        )?;
        stream.write_all(&body)?;
        stream.flush()
    }

    fn answer_in_parts(
        &self,
        mut stream: &TcpStream,
        path: &str,
        method: &str,
        (bytes, manners): (&[u8], Manners),
        range: Option<(u64, u64)>,
    ) -> io::Result<()> {
        if let Manners::Late(delay) = manners {
            thread::sleep(delay);
        }
        let is_whole = matches!(manners, Manners::NoParts | Manners::NoLength);
        let range = range.filter(|_| !is_whole);
        let n_bytes = bytes.len() as u64;
        let (first, end) = match range {
            None => (0, n_bytes),
            Some((first, last)) => (first, last.saturating_add(1).min(n_bytes)),
        };
        let is_broken = matches!(manners, Manners::BreaksAt(at) if first >= at);
        if is_broken {
            return Ok(()); // nothing comes
        }
        let (first, end) = match manners {
            Manners::OtherPart => ((first + 1).min(n_bytes), (end + 1).min(n_bytes)),
            _ => (first, end),
        };
        let mut body = bytes.get(first as usize..end as usize).unwrap_or_default();
        let content_length = body.len();
        if manners == Manners::Short {
            body = &body[..body.len() / 2];
        }
        if method == "HEAD" {
            body = &[];
        }
        let status = if range.is_some() { 206 } else { 200 };
        lock(&self.requests).push(Request {
            path: path.to_owned(),
            status,
            body_bytes: body.len(),
            part: range.map(|_| first),
        });
        let total = match manners {
            Manners::SaidToBe(total) => total,
            _ => n_bytes,
        };
        let said = match (manners, range) {
            (Manners::NoLength, _) => String::new(),
            (_, None) => format!("Content-Length: {content_length}\r\n"),
            (_, Some(_)) => format!(
                "Content-Length: {content_length}\r\nContent-Range: bytes {first}-{}/{total}\r\n",
                end.saturating_sub(1)
            ),
        };
        write!(
            stream,
            "HTTP/1.1 {status} \r\nContent-Type: {}\r\n{said}{OPEN}Connection: close\r\n\r\n",
            content_type(path)
        )?;
        stream.write_all(body)?;
        stream.flush()
    }

    /// The bytes of the file at `path`, if there is one in the folder.
    pub(super) fn file(&self, path: &str) -> Option<Vec<u8>> {
        folder::file(&self.dist, path.strip_prefix('/')?)
    }

    /// What a folder answers that is served live.
    fn live(&self, path: &str) -> Option<Vec<u8>> {
        lock(&self.live).iter().find_map(|(prefix, folder)| {
            match path.strip_prefix(prefix)?.strip_prefix('/')? {
                "index.json" => folder::names(folder).ok(),
                rest => folder::file(folder, rest),
            }
        })
    }
}

/// Pages of other servers may ask, and read what is said of parts.
const OPEN: &str =
    "Access-Control-Allow-Origin: *\r\nAccess-Control-Expose-Headers: Content-Range\r\n";

/// First and last byte of what a line of a request's head asks for, if it does.
fn range_of(line: &str) -> Option<(u64, u64)> {
    let (name, value) = line.split_once(':')?;
    let range = value.trim().strip_prefix("bytes=")?;
    let (first, last) = range.split_once('-')?;
    let is_range = name.eq_ignore_ascii_case("range");
    is_range.then_some((first.parse().ok()?, last.parse().unwrap_or(u64::MAX)))
}

fn content_type(path: &str) -> &'static str {
    let extension = Path::new(path).extension().and_then(|e| e.to_str());
    match extension.unwrap_or_default() {
        "css" => "text/css; charset=utf-8",
        "html" => "text/html; charset=utf-8",
        "ico" => "image/x-icon",
        "jpg" | "jpeg" => "image/jpeg",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "json" | "map" => "application/json",
        "png" => "image/png",
        "svg" => "image/svg+xml",
        "txt" | "md" => "text/plain; charset=utf-8",
        "wasm" => "application/wasm",
        "webmanifest" => "application/manifest+json",
        "webp" => "image/webp",
        _ => "application/octet-stream",
    }
}

//! From a request to its answer: what is sent for a path, whole, replaced or broken.

use std::{
    io::{self, BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{Arc, atomic::Ordering},
    thread,
    time::Duration,
};

use super::{Overlay, Request, Shared, folder, lock};

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
        for line in lines {
            if line?.is_empty() {
                break;
            }
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
        let file = || live.or_else(|| self.file(&path));
        let (status, mut body) = match (method, &overlay) {
            ("GET" | "HEAD", Some(Overlay::Bytes(bytes))) => (200, bytes.clone()),
            ("GET" | "HEAD", Some(Overlay::Status(status))) => (*status, Vec::new()),
            ("GET" | "HEAD", _) => file().map_or((404, Vec::new()), |bytes| (200, bytes)),
            _ => (405, Vec::new()),
        };
        if let Some(Overlay::Truncated(n_bytes)) = overlay {
            body.truncate(n_bytes);
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
        });
        let mut stream = &stream;
        write!(
            stream,
            "HTTP/1.1 {status} \r\n\
             Content-Type: {}\r\n\
             Content-Length: {content_length}\r\n\
             Cache-Control: no-cache\r\n\
             Access-Control-Allow-Origin: *\r\n\
             {live_header}\
             Connection: close\r\n\r\n",
            content_type(&path)
        )?;
        stream.write_all(&body)?;
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

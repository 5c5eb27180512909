//! A server with the Hub's layout of addresses: a list of files, files by revision, large ones on another server that knows ranges.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use serde_json::json;

/// The commit of every revision.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What the server does to who asks for files of a repository.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// As the Hub.
    Usual,
    /// Says so and so to everybody who asks for anything.
    Refuses(u16),
    /// Says what there is, and refuses the files.
    Gates,
    /// Breaks the connection after so many bytes of a large file, and goes on from where it is asked to.
    Breaks(usize),
    /// Breaks it once, and then sends all from the beginning, whatever is asked for.
    BreaksAndForgets(usize),
    /// Sends a page in place of large files.
    Pages,
    /// Breaks the connection of the first request for each address, before it says anything.
    IsSilent,
}

#[derive(Default)]
struct State {
    repositories: BTreeMap<String, (Manner, BTreeMap<String, Vec<u8>>)>,
    /// Every request: method and address, range, and who asks.
    requests: Vec<Request>,
}

/// What was asked.
#[derive(Clone, Debug)]
pub struct Request {
    pub path: String,
    pub range: Option<(usize, Option<usize>)>,
    pub token: Option<String>,
}

/// The server; it ends with the test's process.
pub struct Server {
    /// Its address.
    pub address: String,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        let own = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, state) = (stream.unwrap(), own.clone());
                thread::spawn(move || answer(stream, &state));
            }
        });
        Self { address, state }
    }

    /// Puts a repository on it.
    pub fn add(&self, name: &str, manner: Manner, files: &[(&str, Vec<u8>)]) {
        let files = files.iter();
        let files = files.map(|(name, bytes)| ((*name).to_owned(), bytes.clone()));
        let mut state = self.state.lock().unwrap();
        state
            .repositories
            .insert(name.to_owned(), (manner, files.collect()));
    }

    /// What was asked since the last time.
    pub fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.state.lock().unwrap().requests)
    }
}

/// Files from this size on lie on another server.
const LARGE: usize = 100_000;

fn answer(mut stream: TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    // A connection is used again for the next request.
    while let Some(request) = read(&mut reader) {
        let (is_first, manner, reply) = {
            let mut state = state.lock().unwrap();
            let is_first = state.requests.iter().all(|own| own.path != request.path);
            state.requests.push(request.clone());
            let (manner, reply) = reply(&request, &state);
            (is_first, manner, reply)
        };
        if manner == Manner::IsSilent && is_first {
            return;
        }
        if !send(&mut stream, manner, &request, reply) {
            return;
        }
    }
}

fn read(reader: &mut impl BufRead) -> Option<Request> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let header = |name: &str| {
        let found = lines.iter().skip(1).find_map(|line| {
            let (own, value) = line.split_once(':')?;
            own.eq_ignore_ascii_case(name).then(|| value.trim())
        });
        found.map(str::to_owned)
    };
    let range = header("range").map(|range| {
        let range = range.strip_prefix("bytes=").unwrap().to_owned();
        let (start, end) = range.split_once('-').unwrap();
        (start.parse().unwrap(), end.parse().ok())
    });
    Some(Request {
        path: lines[0].split(' ').nth(1).unwrap().to_owned(),
        range,
        token: header("authorization"),
    })
}

struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    is_large: bool,
}

impl Reply {
    fn of(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
            is_large: false,
        }
    }
}

fn reply(request: &Request, state: &State) -> (Manner, Reply) {
    let path = request.path.split('?').next().unwrap();
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let (repository, what) = match parts[..] {
        ["api", "models", owner, name, ..] => (format!("{owner}/{name}"), None),
        ["cdn", owner, name, ref file @ ..] => {
            (format!("{owner}/{name}"), Some((true, file.join("/"))))
        }
        [owner, name, "resolve", _, ref file @ ..] => {
            (format!("{owner}/{name}"), Some((false, file.join("/"))))
        }
        _ => return (Manner::Usual, Reply::of(404, "")),
    };
    let Some((manner, files)) = state.repositories.get(&repository) else {
        return (
            Manner::Usual,
            Reply::of(401, r#"{"error":"Repository not found"}"#),
        );
    };
    if let Manner::Refuses(status) = *manner {
        return (*manner, Reply::of(status, ""));
    }
    let Some((is_cdn, file)) = what else {
        let siblings: Vec<_> = files
            .keys()
            .map(|name| json!({ "rfilename": name }))
            .collect();
        let info =
            json!({ "sha": COMMIT, "siblings": siblings, "gated": *manner == Manner::Gates });
        return (*manner, Reply::of(200, info.to_string()));
    };
    if *manner == Manner::Gates {
        return (*manner, Reply::of(403, "gated"));
    }
    let Some(bytes) = files.get(&file) else {
        return (*manner, Reply::of(404, "Entry not found"));
    };
    let etag = format!("\"{:x}{}\"", bytes.len(), file.replace(['/', '.'], "-"));
    let is_large = bytes.len() >= LARGE;
    let mut reply = match is_large && !is_cdn {
        true => {
            let mut reply = Reply::of(302, "");
            reply
                .headers
                .push(("Location", format!("/cdn/{repository}/{file}")));
            reply.headers.push(("X-Linked-ETag", etag));
            reply
                .headers
                .push(("X-Linked-Size", bytes.len().to_string()));
            reply
        }
        false if is_large && *manner == Manner::Pages => Reply::of(200, "<html>try again</html>"),
        false => {
            let mut reply = Reply::of(200, bytes.clone());
            reply.headers.push(("ETag", etag));
            reply
        }
    };
    reply.headers.push(("X-Repo-Commit", COMMIT.to_owned()));
    reply.is_large = is_cdn;
    (*manner, reply)
}

/// False if the connection is broken.
fn send(stream: &mut TcpStream, manner: Manner, request: &Request, reply: Reply) -> bool {
    let Reply {
        mut status,
        mut headers,
        body,
        is_large,
    } = reply;
    let n_bytes = body.len();
    let forgets = matches!(manner, Manner::BreaksAndForgets(_));
    let is_probe = request.range == Some((0, Some(0)));
    let mut part = &body[..];
    if let (200, Some((start, end)), false) = (status, request.range, forgets && !is_probe) {
        let end = end.map_or(n_bytes, |end| n_bytes.min(end + 1));
        if start >= end {
            status = 416;
            part = &[];
        } else {
            status = 206;
            part = &body[start..end];
            headers.push((
                "Content-Range",
                format!("bytes {start}-{}/{n_bytes}", end - 1),
            ));
        }
    }
    let mut head = format!("HTTP/1.1 {status} It\r\nContent-Length: {}\r\n", part.len());
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += "\r\n";
    let is_first = request.range.is_none_or(|(start, _)| start == 0);
    let sent = match manner {
        _ if !is_large || is_probe => part.len(),
        Manner::Breaks(n) => part.len().min(n),
        Manner::BreaksAndForgets(n) if is_first => part.len().min(n),
        _ => part.len(),
    };
    let is_sent = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(&part[..sent]));
    is_sent.is_ok() && sent == part.len()
}

//! A folder with a page, a server on it, and its answers.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

#[cfg(unix)]
use crate::support::press_ctrl_c;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_swivel");

/// What the page's weights hold in these tests: every byte says where it is.
pub fn weights() -> Vec<u8> {
    (0..100_000_u32).map(|idx| (idx % 251) as u8).collect()
}

/// A folder as `cargo xtask page` leaves it, with directions beside it, and a file that is nobody's business.
pub struct Place {
    pub folder: TempDir,
}

impl Place {
    pub fn new() -> Self {
        let place = Self {
            folder: TempDir::new().unwrap(),
        };
        let wasm = b"\0asm a program ".repeat(1000);
        place.write("dist/index.html", b"<!doctype html>the page");
        place.write("dist/swivel-0123.js", b"export default 1;");
        place.write("dist/swivel-0123_bg.wasm", &wasm);
        place.write("dist/style-0123.css", b"body {}");
        place.write("dist/.hidden", b"secret");
        place.write("dist/models/solver/config.json", b"{}");
        place.write("dist/models/solver/model.safetensors", &weights());
        // A host that lists no folder has a list here; this one makes its own.
        place.write(
            "dist/directions/index.json",
            b"[\"of-the-build.safetensors\"]",
        );
        place.write("dist/directions/of-the-build.safetensors", b"of the build");
        place.write("directions/op5.safetensors", b"learned");
        place.write("secret.safetensors", b"secret");
        place
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    pub fn text(&self, path: &str) -> String {
        self.path(path).to_str().unwrap().to_owned()
    }

    pub fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// The embedded solver as a folder of this name.
    pub fn model(&self, name: &str) -> String {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/solver");
        for file in ["config.json", "tokenizer.json", "model.safetensors"] {
            self.write(
                &format!("{name}/{file}"),
                &fs::read(from.join(file)).unwrap(),
            );
        }
        self.text(name)
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .arg("serve")
            .args(args)
            .current_dir(self.folder.path())
            // Not the one of this machine.
            .env("HF_HUB_CACHE", self.path("hub"))
            .env("HF_HUB_OFFLINE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Serves the page of this place, also where the program has one of its own.
    pub fn serve(&self, args: &[&str]) -> Server {
        self.start(&[&["--page", "dist"], args].concat())
    }

    pub fn start(&self, args: &[&str]) -> Server {
        let usual = ["--port", "0", "--no-open", "--json"];
        let mut process = self.command(&[&usual, args].concat()).spawn().unwrap();
        let line = first_line(&mut process);
        let started: Value = serde_json::from_str(&line).unwrap_or_else(|_| {
            let mut stderr = String::new();
            let mut pipe = process.stderr.take().unwrap();
            pipe.read_to_string(&mut stderr).unwrap();
            panic!("{stderr}")
        });
        let port = started["port"].as_u64().unwrap() as u16;
        Server {
            process,
            started,
            port,
        }
    }

    /// Status 2 and one error line that holds every text.
    #[track_caller]
    pub fn check_refused(&self, args: &[&str], expected: &[&str]) {
        let mut process = self.command(args).arg("--no-open").spawn().unwrap();
        // One that serves where it should refuse is ended, and then fails below.
        let deadline = Instant::now() + Duration::from_secs(20);
        while process.try_wait().unwrap().is_none() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(20));
        }
        let _ = process.kill();
        let Output { status, stderr, .. } = process.wait_with_output().unwrap();
        let stderr = String::from_utf8(stderr).unwrap();
        assert_eq!(status.code(), Some(2), "{args:?}\n{stderr}");
        let error = stderr.lines().last().unwrap();
        assert!(error.starts_with("error: "), "{args:?}\n{stderr}");
        for text in expected {
            assert!(
                error.contains(text),
                "{args:?}: `{text}` is not in\n{error}"
            );
        }
    }
}

/// A server on a free port, until it is dropped.
pub struct Server {
    pub process: Child,
    pub started: Value,
    pub port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a header, whose name is lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl Server {
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        let patience = Some(Duration::from_secs(30));
        stream.set_read_timeout(patience).unwrap();
        stream.set_write_timeout(patience).unwrap();
        stream
    }

    /// What comes back for these bytes until the server closes the connection; `None` if it is no answer.
    pub fn send(&self, bytes: &[u8]) -> Option<Answer> {
        let mut stream = self.connect();
        // A server that has heard enough closes, and need not hear the rest.
        let _ = stream.write_all(bytes);
        answer(&mut stream)
    }

    /// One request, its path as it is, with headers instead of or beside the usual ones.
    #[track_caller]
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        let host = format!("127.0.0.1:{}", self.port);
        if !headers.iter().any(|(name, _)| *name == "Host") {
            request += &format!("Host: {host}\r\n");
        }
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        self.send(format!("{request}\r\n").as_bytes())
            .expect("no answer")
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[])
    }

    /// It serves the page, as before.
    #[track_caller]
    pub fn check_alive(&self) {
        let page = self.get("/");
        assert_eq!(
            (page.status, &page.body[..]),
            (200, &b"<!doctype html>the page"[..])
        );
    }

    #[track_caller]
    pub fn check_status(&self, path: &str, status: u16) {
        let answer = self.get(path);
        let body = String::from_utf8_lossy(&answer.body);
        assert_eq!(answer.status, status, "{path}: {body}");
        assert!(
            !body.contains("secret") && !body.contains("root:"),
            "{path}: {body}"
        );
    }

    /// Ends it as Ctrl-C does, and says how it ended and how long that took.
    #[cfg(unix)]
    pub fn interrupt(&mut self) -> (Option<i32>, Duration) {
        let started = Instant::now();
        press_ctrl_c(&self.process);
        let status = self.process.wait().unwrap();
        (status.code(), started.elapsed())
    }
}

/// An answer, read to the end of the connection.
pub fn answer(stream: &mut TcpStream) -> Option<Answer> {
    let mut bytes = Vec::new();
    // What was said before a connection broke still counts.
    let _ = stream.read_to_end(&mut bytes);
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let body = bytes[end + 4..].to_vec();
    Some(Answer { status, head, body })
}

/// What the process says first.
pub fn first_line(process: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    line
}

/// By this header the page knows that lists change, and asks again.
#[track_caller]
pub fn check_list_headers(list: &Answer) {
    assert_eq!(list.status, 200);
    assert_eq!(list.header("swivel-serve"), Some(env!("CARGO_PKG_VERSION")));
    assert_eq!(list.header("cache-control"), Some("no-store"));
    assert_eq!(list.header("content-type"), Some("application/json"));
}

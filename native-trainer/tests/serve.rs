//! `serve` as a browser meets it, and as one who means harm does.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "serve/engine.rs"]
mod engine;
#[cfg(unix)]
mod support;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

#[cfg(unix)]
use support::press_ctrl_c;

const PROGRAM: &str = env!("CARGO_BIN_EXE_swivel");

/// What the page's weights hold in these tests: every byte says where it is.
fn weights() -> Vec<u8> {
    (0..100_000_u32).map(|idx| (idx % 251) as u8).collect()
}

/// A folder as `cargo xtask page` leaves it, with directions beside it, and a file that is nobody's business.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
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

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn text(&self, path: &str) -> String {
        self.path(path).to_str().unwrap().to_owned()
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// The embedded solver as a folder of this name.
    fn model(&self, name: &str) -> String {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/solver");
        for file in ["config.json", "tokenizer.json", "model.safetensors"] {
            self.write(
                &format!("{name}/{file}"),
                &fs::read(from.join(file)).unwrap(),
            );
        }
        self.text(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .arg("serve")
            .args(args)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Serves the page of this place, also where the program has one of its own.
    fn serve(&self, args: &[&str]) -> Server {
        self.start(&[&["--page", "dist"], args].concat())
    }

    fn start(&self, args: &[&str]) -> Server {
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
    fn check_refused(&self, args: &[&str], expected: &[&str]) {
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
struct Server {
    process: Child,
    started: Value,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    /// The value of a header, whose name is lower case.
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl Server {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        let patience = Some(Duration::from_secs(30));
        stream.set_read_timeout(patience).unwrap();
        stream.set_write_timeout(patience).unwrap();
        stream
    }

    /// What comes back for these bytes until the server closes the connection; `None` if it is no answer.
    fn send(&self, bytes: &[u8]) -> Option<Answer> {
        let mut stream = self.connect();
        // A server that has heard enough closes, and need not hear the rest.
        let _ = stream.write_all(bytes);
        answer(&mut stream)
    }

    /// One request, its path as it is, with headers instead of or beside the usual ones.
    #[track_caller]
    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
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
    fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[])
    }

    /// It serves the page, as before.
    #[track_caller]
    fn check_alive(&self) {
        let page = self.get("/");
        assert_eq!(
            (page.status, &page.body[..]),
            (200, &b"<!doctype html>the page"[..])
        );
    }

    #[track_caller]
    fn check_status(&self, path: &str, status: u16) {
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
    fn interrupt(&mut self) -> (Option<i32>, Duration) {
        let started = Instant::now();
        press_ctrl_c(&self.process);
        let status = self.process.wait().unwrap();
        (status.code(), started.elapsed())
    }
}

/// An answer, read to the end of the connection.
fn answer(stream: &mut TcpStream) -> Option<Answer> {
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
fn first_line(process: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    line
}

#[test]
fn files_have_types_and_tags_and_are_compressed_where_it_pays() {
    let place = Place::new();
    let server = place.serve(&[]);
    let weights_path = "/models/solver/model.safetensors";
    for (path, expected) in [
        ("/", "text/html"),
        ("/index.html", "text/html"),
        ("/swivel-0123.js", "text/javascript"),
        ("/swivel-0123_bg.wasm", "application/wasm"),
        ("/style-0123.css", "text/css"),
        ("/models/solver/config.json", "application/json"),
        (weights_path, "application/octet-stream"),
        ("/directions/op5.safetensors", "application/octet-stream"),
    ] {
        let answer = server.get(path);
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("content-type"), Some(expected), "{path}");
        assert_eq!(answer.header("cache-control"), Some("no-cache"), "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(
            answer.header("cross-origin-resource-policy"),
            Some("same-origin")
        );
        let length = answer.header("content-length").unwrap();
        assert_eq!(length.parse(), Ok(answer.body.len()), "{path}");

        // What did not change is not sent again; what did is.
        let tag = answer.header("etag").unwrap();
        let again = server.ask("GET", path, &[("If-None-Match", tag)]);
        assert_eq!((again.status, again.body.len()), (304, 0), "{path}");
        let date = answer.header("last-modified").unwrap();
        let again = server.ask("GET", path, &[("If-Modified-Since", date)]);
        assert_eq!(again.status, 304, "{path}");
    }
    let tag = server.get("/").header("etag").unwrap().to_owned();
    place.write("dist/index.html", b"<!doctype html>the same length!");
    place.write("dist/index.html", b"<!doctype html>PAGE two");
    let rebuilt = server.ask("GET", "/", &[("If-None-Match", &tag)]);
    assert_eq!(
        (rebuilt.status, &rebuilt.body[..]),
        (200, &b"<!doctype html>PAGE two"[..])
    );

    let zipped = [("Accept-Encoding", "gzip, br")];
    let wasm = server.ask("GET", "/swivel-0123_bg.wasm", &zipped);
    assert_eq!(wasm.header("content-encoding"), Some("gzip"));
    assert_eq!(wasm.header("vary"), Some("accept-encoding"));
    assert!(wasm.body.len() < 1500, "{}", wasm.body.len());
    // Weights and small files stay as they are, and a part of a file is always a part of the file itself.
    for path in [weights_path, "/swivel-0123.js", "/index.html"] {
        let answer = server.ask("GET", path, &zipped);
        assert_eq!(answer.header("content-encoding"), None, "{path}");
        assert!(answer.header("content-length").is_some(), "{path}");
    }
    // A browser that keeps the compressed file asks with its tag, which must not pass for the file's:
    // then it would cut the part out of what is compressed.
    let tag = wasm.header("etag").unwrap();
    let plain = server.get("/swivel-0123_bg.wasm");
    assert_ne!(Some(tag), plain.header("etag"));
    let known = ("If-None-Match", tag);
    let again = server.ask("GET", "/swivel-0123_bg.wasm", &[zipped[0], known]);
    assert_eq!((again.status, again.header("etag")), (304, Some(tag)));
    let unzipped = ("Accept-Encoding", "identity");
    let part = [unzipped, known, ("Range", "bytes=0-3")];
    let part = server.ask("GET", "/swivel-0123_bg.wasm", &part);
    assert_eq!((part.status, &part.body[..]), (206, &b"\0asm"[..]));
    let whole = server.ask("GET", "/swivel-0123_bg.wasm", &[unzipped, known]);
    assert_eq!((whole.status, &whole.body), (200, &plain.body));
    assert_eq!(whole.header("etag"), plain.header("etag"));
    let part = [zipped[0], ("Range", "bytes=16-31")];
    let part = server.ask("GET", "/swivel-0123_bg.wasm", &part);
    assert_eq!((part.status, part.header("content-encoding")), (206, None));
    assert_eq!(
        part.body,
        fs::read(place.path("dist/swivel-0123_bg.wasm")).unwrap()[16..32]
    );
}

#[test]
#[cfg(not(feature = "page"))]
fn the_page_comes_from_dist() {
    let place = Place::new();
    let server = place.start(&[]);
    server.check_alive();
    assert_eq!(server.started["page"], "dist");
}

#[test]
fn a_page_that_was_named_comes_before_dist() {
    let place = Place::new();
    place.write("other/index.html", b"the other page");
    let server = place.start(&["--page", "other"]);
    assert_eq!(server.get("/").body, b"the other page");
    assert_eq!(server.started["page"], "other");
    assert_eq!(server.get("/models/index.json").json(), json!([]));
    server.check_status("/swivel-0123.js", 404);
}

#[test]
#[cfg(not(feature = "page"))]
fn without_a_page_the_error_names_the_command_that_builds_it() {
    let place = Place::new();
    let expected = ["there is no page", "cargo xtask page", "--page"];
    fs::remove_file(place.path("dist/index.html")).unwrap();
    place.check_refused(&[], &expected);
    fs::remove_dir_all(place.path("dist")).unwrap();
    place.check_refused(&[], &expected);
}

#[test]
fn a_named_folder_without_a_page_is_refused() {
    let place = Place::new();
    let expected = ["empty has no index.html", "cargo xtask page"];
    place.check_refused(&["--page", "empty"], &expected);
    fs::create_dir(place.path("empty")).unwrap();
    place.check_refused(&["--page", "empty"], &expected);
}

/// The page in the program needs no folder, and a folder that is named still comes first.
#[test]
#[cfg(feature = "page")]
fn the_embedded_page_is_served_from_anywhere() {
    let place = Place::new();
    let server = place.start(&[]);
    let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist");
    for (path, file) in [
        ("/", "index.html"),
        ("/models/solver/config.json", "models/solver/config.json"),
        (
            "/models/solver/model.safetensors",
            "models/solver/model.safetensors",
        ),
    ] {
        let answer = server.get(path);
        assert!(answer.body == fs::read(dist.join(file)).unwrap(), "{path}");
        let tag = answer.header("etag").unwrap();
        let again = server.ask("GET", path, &[("If-None-Match", tag)]);
        assert_eq!(again.status, 304, "{path}");
        let part = server.ask("GET", path, &[("Range", "bytes=5-8")]);
        assert_eq!(
            (part.status, &part.body[..]),
            (206, &answer.body[5..9]),
            "{path}"
        );
    }
    assert_eq!(server.get("/models/index.json").json(), json!(["solver"]));
    server.check_status("/../Cargo.toml", 404);
    place.serve(&[]).check_alive();
}

#[test]
fn models_are_offered_by_name_and_served_in_parts() {
    let place = Place::new();
    let [one, two] = ["one", "below/two"].map(|name| place.model(name));
    place.write("one/notes.txt", b"secret");
    let server = place.serve(&["--model", &one, "--model", &format!("{two}/")]);
    let list = server.get("/models/index.json");
    assert_eq!(list.json(), json!(["solver", "one", "two"]));
    check_list_headers(&list);
    assert_eq!(server.started["models"], list.json());

    let file = "model.safetensors";
    let all = fs::read(place.path("one/model.safetensors")).unwrap();
    for (path, all) in [
        (format!("/models/one/{file}"), &all),
        (format!("/models/two/{file}"), &all),
        (format!("/models/solver/{file}"), &weights()),
    ] {
        let whole = server.get(&path);
        assert!((whole.status, &whole.body) == (200, all), "{path}");
        assert_eq!(whole.header("accept-ranges"), Some("bytes"));
        let n = all.len();
        for (range, from, to) in [
            ("0-0", 0, 1),
            ("1000-1999", 1000, 2000),
            ("-5", n - 5, n),
            (&format!("{}-", n - 7), n - 7, n),
            ("10-99999999999", 10, n),
        ] {
            let range_header = [("Range", &*format!("bytes={range}"))];
            let part = server.ask("GET", &path, &range_header);
            assert_eq!(part.status, 206, "{path} {range}");
            assert!(part.body == all[from..to], "{path} {range}");
            let expected = format!("bytes {from}-{}/{n}", to - 1);
            assert_eq!(part.header("content-range"), Some(&*expected));
            let head = server.ask("HEAD", &path, &range_header);
            assert_eq!((head.status, head.body.len()), (206, 0));
            assert_eq!(head.header("content-length"), part.header("content-length"));
        }
        // Who goes on with a file that is another one now gets the new one whole.
        let headers = [("Range", "bytes=5-9"), ("If-Range", "\"of-before\"")];
        let answer = server.ask("GET", &path, &headers);
        assert_eq!((answer.status, answer.body.len()), (200, n), "{path}");
    }
    server.check_status("/models/one/config.json", 200);
    server.check_status("/models/one/tokenizer.json", 200);
    // What is no part of the model is not served with it.
    for path in [
        "/models/one/notes.txt",
        "/models/one/",
        "/models/one",
        "/models/three/config.json",
    ] {
        server.check_status(path, 404);
    }
}

/// A model of the Hub's cache is a folder of links to files beside it.
#[test]
#[cfg(unix)]
fn a_model_of_links_is_served() {
    let place = Place::new();
    place.model("blobs");
    fs::create_dir(place.path("linked")).unwrap();
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        std::os::unix::fs::symlink(
            place.path(&format!("blobs/{file}")),
            place.path(&format!("linked/{file}")),
        )
        .unwrap();
    }
    let server = place.serve(&["--model", "linked"]);
    let weights = server.get("/models/linked/model.safetensors");
    let expected = fs::read(place.path("blobs/model.safetensors")).unwrap();
    assert!((weights.status, weights.body) == (200, expected));
}

#[test]
fn models_that_are_none_or_not_told_apart_are_refused() {
    let place = Place::new();
    let model = place.model("below/one");
    let other = place.model("one");
    let both = ["--model", &model, "--model", &other];
    place.check_refused(&both, &["two models are called `one`", &model, &other]);
    let solver = place.model("solver");
    let expected = ["two models are called `solver`", "the page's own"];
    place.check_refused(&["--model", &solver], &expected);

    place.check_refused(
        &["--model", "nowhere"],
        &["nowhere: it is no model", "no such folder"],
    );
    place.check_refused(&["--model", "dist"], &["config.json"]);
    let weights = place.path("one/model.safetensors");
    let whole = fs::read(&weights).unwrap();
    for (bytes, expected) in [
        (&whole[..whole.len() - 1], "it was cut"),
        (&whole[..100], "was cut"),
        (&whole[..4], "too short"),
        (
            &b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"[..],
            "no safetensors file",
        ),
    ] {
        fs::write(&weights, bytes).unwrap();
        place.check_refused(&["--model", &other], &["one/model.safetensors", expected]);
    }
    fs::remove_file(&weights).unwrap();
    place.check_refused(&["--model", &other], &["there is no model.safetensors"]);
}

/// By this header the page knows that lists change, and asks again.
#[track_caller]
fn check_list_headers(list: &Answer) {
    assert_eq!(list.status, 200);
    assert_eq!(list.header("swivel-serve"), Some(env!("CARGO_PKG_VERSION")));
    assert_eq!(list.header("cache-control"), Some("no-store"));
    assert_eq!(list.header("content-type"), Some("application/json"));
}

#[test]
fn a_direction_that_is_written_meanwhile_is_in_the_list_and_served() {
    let place = Place::new();
    let server = place.serve(&[]);
    let list = || server.get("/directions/index.json");
    check_list_headers(&list());
    assert_eq!(list().json(), json!(["op5.safetensors"]));
    assert_eq!(server.get("/directions/op5.safetensors").body, b"learned");

    place.write("directions/.swivel-half.part", b"secret");
    place.write("directions/.half.safetensors", b"secret");
    place.write("directions/map.svg", b"<svg/>");
    place.write("directions/folder.safetensors/inner", b"inner");
    place.write("directions/a \"name\".safetensors", b"odd");
    assert_eq!(
        list().json(),
        json!(["a \"name\".safetensors", "op5.safetensors"])
    );
    assert_eq!(
        server.get("/directions/a%20%22name%22.safetensors").body,
        b"odd"
    );
    for hidden in [
        ".swivel-half.part",
        ".half.safetensors",
        "map.svg",
        "folder.safetensors",
        "folder.safetensors/inner",
        "of-the-build.safetensors",
        "",
    ] {
        server.check_status(&format!("/directions/{hidden}"), 404);
    }
    fs::rename(
        place.path("directions/.swivel-half.part"),
        place.path("directions/op3.safetensors"),
    )
    .unwrap();
    let names = [
        "a \"name\".safetensors",
        "op3.safetensors",
        "op5.safetensors",
    ];
    assert_eq!(list().json(), json!(names));

    // A folder that comes later, as when nothing was learned yet.
    let server = place.serve(&["--directions", "later"]);
    assert_eq!(server.get("/directions/index.json").json(), json!([]));
    place.write("later/first.safetensors", b"first");
    assert_eq!(
        server.get("/directions/index.json").json(),
        json!(["first.safetensors"])
    );
    place.check_refused(
        &["--directions", "secret.safetensors"],
        &["it is no folder"],
    );
}

/// `train` writes into the folder of a server that runs, and the list has its file, whole.
#[test]
fn what_train_writes_appears() {
    let place = Place::new();
    let server = place.serve(&[]);
    let trained = Command::new(PROGRAM)
        .args([
            "train",
            "--train-pairs",
            "64",
            "--test-pairs",
            "20",
            "--epochs",
            "1",
        ])
        .args(["--device", "flex", "--out", "directions/new.safetensors"])
        .current_dir(place.folder.path())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&trained.stderr);
    assert_ne!(trained.status.code(), Some(2), "{stderr}");
    let list = server.get("/directions/index.json").json();
    assert_eq!(list, json!(["new.safetensors", "op5.safetensors"]));
    let served = server.get("/directions/new.safetensors").body;
    assert!(swivel_core::direction::Direction::from_bytes(&served).is_ok());
}

#[test]
fn only_names_of_this_machine_are_answered() {
    let place = Place::new();
    let server = place.serve(&[]);
    let port = server.port;
    let status = |host: &str| server.ask("GET", "/", &[("Host", host)]).status;
    for host in ["localhost", "127.0.0.1", "[::1]", "LocalHost"] {
        assert_eq!(status(&format!("{host}:{port}")), 200, "{host}");
    }
    for host in [
        "evil.example".to_owned(),
        format!("evil.example:{port}"),
        format!("localhost.evil.example:{port}"),
        format!("127.0.0.1.evil.example:{port}"),
        format!("evil@localhost:{port}"),
        format!("localhost:{port}@evil.example"),
        format!("localhost:{port}, evil.example"),
        format!("localhost:{}", port.wrapping_add(1)),
        format!("0.0.0.0:{port}"),
        "localhost".to_owned(),
        String::new(),
    ] {
        assert_eq!(status(&host), 421, "{host}");
    }
    let refused = server.ask("GET", "/", &[("Host", "evil.example")]);
    let why = String::from_utf8(refused.body).unwrap();
    assert!(why.contains(&format!("localhost:{port}")), "{why}");

    let here = format!("localhost:{port}");
    let raw = |text: String| server.send(text.as_bytes()).map(|answer| answer.status);
    // None, two, and another one in the request line.
    assert_eq!(
        raw("GET / HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned()),
        Some(421)
    );
    assert_eq!(raw("GET / HTTP/1.0\r\n\r\n".to_owned()), Some(421));
    for [first, second] in [[&*here, "evil.example"], ["evil.example", &here]] {
        let text = format!(
            "GET / HTTP/1.1\r\nHost: {first}\r\nHost: {second}\r\nConnection: close\r\n\r\n"
        );
        assert!(matches!(raw(text), Some(400 | 421)));
    }
    for (target, expected) in [("evil.example", 421), (&*here, 200)] {
        let text =
            format!("GET http://{target}/ HTTP/1.1\r\nHost: {here}\r\nConnection: close\r\n\r\n");
        assert_eq!(raw(text), Some(expected), "{target}");
    }
}

#[test]
fn pages_of_others_are_refused() {
    let place = Place::new();
    let server = place.serve(&[]);
    let port = server.port;
    let list = "/directions/index.json";
    let status = |origin: &str| server.ask("GET", list, &[("Origin", origin)]).status;
    for host in ["localhost", "127.0.0.1", "[::1]"] {
        assert_eq!(status(&format!("http://{host}:{port}")), 200, "{host}");
    }
    for origin in [
        "https://evil.example".to_owned(),
        "null".to_owned(),
        String::new(),
        format!("https://localhost:{port}"),
        format!("http://localhost:{}", port.wrapping_add(1)),
        format!("http://localhost:{port}.evil.example"),
        format!("http://evil.example/?http://localhost:{port}"),
        "http://localhost".to_owned(),
    ] {
        let answer = server.ask("GET", list, &[("Origin", &origin)]);
        assert_eq!(answer.status, 403, "{origin}");
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    let here = format!("http://localhost:{port}");
    let both = [("Origin", &*here), ("Origin", "https://evil.example")];
    assert_eq!(server.ask("GET", list, &both).status, 403);
}

#[test]
fn no_path_leaves_its_folders() {
    let place = Place::new();
    let model = place.model("one");
    #[cfg(unix)]
    {
        use std::os::unix::fs::symlink;
        let passwd = "/etc/passwd";
        symlink(passwd, place.path("directions/linked.safetensors")).unwrap();
        symlink(
            "../secret.safetensors",
            place.path("directions/up.safetensors"),
        )
        .unwrap();
        symlink(passwd, place.path("dist/linked.txt")).unwrap();
        symlink("/etc", place.path("dist/etc")).unwrap();
        symlink(passwd, place.path("one/vocab.json")).unwrap();
        symlink(place.path("directions"), place.path("linked-directions")).unwrap();
        symlink("op5.safetensors", place.path("directions/same.safetensors")).unwrap();
        let pipe = place.path("directions/pipe.safetensors");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    }
    let server = place.serve(&["--model", &model]);
    let base = [
        "",
        "/directions",
        "/models",
        "/models/one",
        "/models/solver",
    ];
    let ups = [
        "..",
        "%2e%2e",
        "%2E.",
        "%252e%252e",
        "..%2f..",
        "%2e%2e%2f%2e%2e",
        "%252e%252e%252f",
        "..\\..",
        "..%5c..",
        "%c0%ae%c0%ae",
        "..;",
        "./..",
    ];
    let files = [
        "secret.safetensors",
        "etc/passwd",
        "%2fetc%2fpasswd",
        "/etc/passwd",
    ];
    for base in base {
        for up in ups {
            for file in files {
                for path in [
                    format!("{base}/{up}/{file}"),
                    format!("{base}/{up}/{up}/{up}/{up}/{up}/{up}/{file}"),
                ] {
                    server.check_status(&path, 404);
                }
            }
        }
    }
    for path in [
        "//etc/passwd",
        "/%2fetc/passwd",
        "/%00",
        "/index.html%00.txt",
        "/.hidden",
        "/%2ehidden",
        "/directions/linked.safetensors",
        "/directions/up.safetensors",
        "/directions/pipe.safetensors",
        "/directions/../secret.safetensors",
        "/directions/%2e%2e%2fsecret.safetensors",
        "/directions/..%5csecret.safetensors",
        "/linked.txt",
        "/etc/passwd",
        "/models/one/vocab.json",
        "/models/one/..%2f..%2fsecret.safetensors",
        "/dist/index.html",
    ] {
        server.check_status(path, 404);
        assert_eq!(server.ask("HEAD", path, &[]).status, 404, "{path}");
    }
    #[cfg(unix)]
    {
        let expected = json!(["op5.safetensors", "same.safetensors"]);
        assert_eq!(server.get("/directions/index.json").json(), expected);
        // A link within the folder leads nowhere else, and the folder itself may be one.
        let server = place.serve(&["--directions", "linked-directions"]);
        assert_eq!(server.get("/directions/index.json").json(), expected);
        assert_eq!(server.get("/directions/same.safetensors").body, b"learned");
    }
    server.check_alive();
}

#[test]
fn ranges_that_lie_are_refused() {
    let place = Place::new();
    let server = place.serve(&[]);
    let path = "/models/solver/model.safetensors";
    let n = weights().len();
    let many = format!("bytes={}", "0-0,".repeat(2000));
    for range in [
        &*format!("bytes={n}-"),
        &format!("bytes={n}-{}", n + 10),
        "bytes=10-5",
        "bytes=18446744073709551615-",
        "bytes=0-0,2-3",
        "bytes=99999999999999999999999999999999-",
        "bytes=-99999999999999999999999999999999",
        "bytes=0-1,0-1,0-1",
        "bytes=-0",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "lines=0-1",
        &many,
    ] {
        let answer = server.ask("GET", path, &[("Range", range)]);
        // A range that is none may also be ignored.
        match answer.status {
            416 => {
                let expected = format!("bytes */{n}");
                assert_eq!(answer.header("content-range"), Some(&*expected), "{range}");
                assert!(answer.body.len() < 100, "{range}");
            }
            200 => assert_eq!(answer.body.len(), n, "{range}"),
            status => panic!("{range}: {status}"),
        }
    }
    for range in [&*format!("bytes={n}-"), "bytes=10-5", "bytes=0-0,2-3"] {
        assert_eq!(
            server.ask("GET", path, &[("Range", range)]).status,
            416,
            "{range}"
        );
    }
    server.check_alive();
}

#[test]
fn requests_that_do_not_fit_are_refused() {
    let place = Place::new();
    let server = place.serve(&[]);
    let host = format!("Host: 127.0.0.1:{}\r\n", server.port);
    let line = format!("GET /{} HTTP/1.1\r\n{host}\r\n", "a".repeat(1 << 20));
    let header = format!("GET / HTTP/1.1\r\n{host}A: {}\r\n\r\n", "a".repeat(1 << 20));
    let headers = format!("GET / HTTP/1.1\r\n{host}{}\r\n", "A: b\r\n".repeat(100_000));
    for (what, text) in [("line", line), ("header", header), ("headers", headers)] {
        // The answer is lost where the connection breaks before it was read.
        let status = server.send(text.as_bytes()).map(|answer| answer.status);
        assert!(
            matches!(status, None | Some(400..500)),
            "{what}: {status:?}"
        );
        server.check_alive();
    }
    // Just above what is read at once, the answer does arrive.
    let long = format!("/{}", "a".repeat(70_000));
    let text = format!("GET {long} HTTP/1.1\r\n{host}\r\n");
    let status = server.send(text.as_bytes()).map(|answer| answer.status);
    assert!(matches!(status, Some(414 | 431)), "{status:?}");
    for nonsense in [
        &b"nonsense\r\n\r\n"[..],
        b"\0\0\0\0\r\n\r\n",
        b"\x16\x03\x01\x02\0\x01\0\r\n\r\n",
    ] {
        let status = server.send(nonsense).map(|answer| answer.status);
        assert!(matches!(status, None | Some(400..500)), "{status:?}");
    }
    server.check_alive();
}

/// Headers for ever, slow or fast, end: in time or in size.
#[test]
fn slow_requests_are_cut_off_and_slow_downloads_are_not() {
    let place = Place::new();
    let n_bytes: usize = 32 << 20;
    place.write("dist/large.bin", &vec![7; n_bytes]);
    let server = place.serve(&[]);
    let start = format!("GET / HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n", server.port);

    let mut silent = server.connect();
    let mut half = server.connect();
    half.write_all(start.as_bytes()).unwrap();
    let mut slow = server.connect();
    slow.write_all(start.as_bytes()).unwrap();
    let mut download = server.connect();
    let request = start.replace("/ ", "/large.bin ") + "Connection: close\r\n\r\n";
    download.write_all(request.as_bytes()).unwrap();

    let started = Instant::now();
    let mut is_open = true;
    while is_open && started.elapsed() < Duration::from_secs(25) {
        thread::sleep(Duration::from_millis(250));
        // The connection is closed once a write fails; the first one after that may still go through.
        is_open = slow.write_all(b"A: b\r\n").is_ok();
    }
    assert!(
        !is_open,
        "a request without end was read for {:?}",
        started.elapsed()
    );
    for stream in [&mut silent, &mut half] {
        let answer = answer(stream);
        assert!(answer.is_none_or(|answer| answer.status == 408));
        assert!(started.elapsed() < Duration::from_secs(25));
    }
    // Longer than a request may take, nothing was read of this one: then all of it is there.
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match download.read(&mut buffer).unwrap() {
            0 => break,
            n => bytes.extend_from_slice(&buffer[..n]),
        }
    }
    let head = bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap()
        + 4;
    assert_eq!(bytes.len() - head, n_bytes);
    server.check_alive();
}

#[test]
fn two_hundred_idle_connections_keep_nobody_out() {
    let place = Place::new();
    let server = place.serve(&[]);
    let idle: Vec<TcpStream> = (0..200).map(|_| server.connect()).collect();
    let started = Instant::now();
    server.check_alive();
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    drop(idle);
    server.check_alive();
}

#[test]
fn only_reading_is_allowed() {
    let place = Place::new();
    let server = place.serve(&[]);
    for path in [
        "/",
        "/index.html",
        "/directions/index.json",
        "/directions/op5.safetensors",
        "/models/index.json",
        "/models/solver/model.safetensors",
    ] {
        let [get, head] = ["GET", "HEAD"].map(|method| server.ask(method, path, &[]));
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
        for name in ["content-length", "content-type", "etag", "swivel-serve"] {
            assert_eq!(head.header(name), get.header(name), "{path}");
        }
        for method in [
            "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW",
        ] {
            let answer = server.ask(method, path, &[]);
            assert_eq!(answer.status, 405, "{method} {path}");
        }
    }
    assert!(place.path("directions/op5.safetensors").is_file());
}

#[test]
fn a_port_that_is_taken_is_an_error_that_says_so() {
    let place = Place::new();
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = other.local_addr().unwrap().port().to_string();
    let expected = [&*format!("port {port} is taken"), "--port"];
    place.check_refused(&["--port", &port], &expected);
}

#[test]
fn it_listens_at_localhost_alone() {
    let place = Place::new();
    let server = place.serve(&[]);
    let address = format!("http://127.0.0.1:{}/", server.port);
    assert_eq!(server.started["address"], address);
    // Another address of this machine, where nothing listens.
    assert!(TcpStream::connect((Ipv4Addr::new(127, 0, 0, 2), server.port)).is_err());
}

#[test]
fn people_read_the_address_in_the_first_line() {
    let place = Place::new();
    let mut process = place
        .command(&["--port", "0", "--no-open"])
        .spawn()
        .unwrap();
    let line = first_line(&mut process);
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(line.starts_with("Serving http://127.0.0.1:"), "{line}");
}

#[test]
#[cfg(unix)]
fn ctrl_c_ends_it_with_status_0() {
    let place = Place::new();
    place.write("dist/large.bin", &vec![7; 64 << 20]);
    let mut server = place.serve(&[]);
    // Neither one who says nothing nor one who does not read holds it up.
    let _idle = server.connect();
    let mut stalled = server.connect();
    let request = format!(
        "GET /large.bin HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n\r\n",
        server.port
    );
    stalled.write_all(request.as_bytes()).unwrap();
    server.check_alive();
    let (status, took) = server.interrupt();
    assert_eq!(status, Some(0));
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, server.port)).is_err());
    let mut server = place.serve(&[]);
    server.check_alive();
    let (status, took) = server.interrupt();
    assert_eq!(status, Some(0));
    assert!(took < Duration::from_millis(900), "{took:?}");
}

/// The browser is opened by the desktop's own opener, where there is a desktop.
#[test]
#[cfg(target_os = "linux")]
fn the_browser_is_opened_where_there_is_a_desktop() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let opened = place.path("opened");
    let script = format!("#!/bin/sh\nprintf %s \"$1\" > {}\n", opened.display());
    place.write("bin/xdg-open", script.as_bytes());
    let script = place.path("bin/xdg-open");
    fs::set_permissions(script, fs::Permissions::from_mode(0o755)).unwrap();
    let start = |args: &[&str], display: &str, path: &str| {
        let mut process = place
            .command(&[&["--port", "0"], args].concat())
            .env("PATH", path)
            .env("DISPLAY", display)
            .env_remove("WAYLAND_DISPLAY")
            .env_remove("WSL_DISTRO_NAME")
            .spawn()
            .unwrap();
        let line = first_line(&mut process);
        (process, line)
    };
    let bin = place.text("bin");
    let (mut process, line) = start(&[], ":7", &bin);
    let deadline = Instant::now() + Duration::from_secs(10);
    let read = || fs::read_to_string(&opened).unwrap_or_default();
    while read().is_empty() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(20));
    }
    process.kill().unwrap();
    process.wait().unwrap();
    let address = read();
    assert!(
        !address.is_empty() && line.contains(&address),
        "{line}{address}"
    );
    fs::remove_file(&opened).unwrap();

    // No desktop, no opener, or not wanted: it serves all the same.
    let nowhere = place.text("nowhere");
    for (args, display, path) in [
        (&[][..], "", &bin),
        (&["--no-open"][..], ":7", &bin),
        (&[][..], ":7", &nowhere),
    ] {
        let (mut process, line) = start(args, display, path);
        assert!(line.starts_with("Serving "), "{line}");
        thread::sleep(Duration::from_millis(300));
        assert!(process.try_wait().unwrap().is_none());
        process.kill().unwrap();
        process.wait().unwrap();
        assert!(!opened.exists());
    }
}

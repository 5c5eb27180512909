//! The static host of a test: the built page on 127.0.0.1, with single paths replaced where a test wants it.

mod answer;
mod folder;

use std::{
    collections::BTreeMap,
    env,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

/// What a server answers for one path instead of the file.
#[derive(Clone, Debug)]
pub enum Overlay {
    /// These bytes.
    Bytes(Vec<u8>),
    /// The first bytes of the file, as if the file ended there.
    Truncated(usize),
    /// The length of the whole file and then only its first bytes: a connection that breaks.
    Broken(usize),
    /// This status and no file, as with `404`.
    Status(u16),
    /// The file, so much later.
    Delayed(Duration),
    /// These bytes, whole and in parts, with manners of their own.
    Parts(Arc<Vec<u8>>, Manners),
}

/// How a server answers requests for parts of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manners {
    /// As asked.
    Usual,
    /// With the whole file.
    NoParts,
    /// With the whole file, without saying how long that is.
    NoLength,
    /// With another part than is asked for, as it says.
    OtherPart,
    /// With fewer bytes than it says.
    Short,
    /// With the file's bytes, said to be so many.
    SaidToBe(u64),
    /// As asked, but only parts that begin before this byte; then with a connection that breaks.
    BreaksAt(u64),
    /// As asked, so much later.
    Late(Duration),
}

/// One request that a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The path without query, from `/`.
    pub path: String,
    /// The status of the answer.
    pub status: u16,
    /// Bytes of the answer's body that were sent.
    pub body_bytes: usize,
    /// The first byte of the part that was asked for, where it was one.
    pub part: Option<u64>,
}

/// Serves the built page until it is dropped.
///
/// The folder is `$SWIVEL_DIST`, by default `dist` of this checkout.
/// It answers as plain static hosts do, without compression, and asks the browser to keep nothing:
/// what a page has on a second visit is what it stored itself.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    dist: PathBuf,
    overlays: Mutex<BTreeMap<String, Overlay>>,
    live: Mutex<BTreeMap<String, PathBuf>>,
    requests: Mutex<Vec<Request>>,
    stopped: AtomicBool,
}

/// The root of the checkout that cargo runs the tests of, which another may share its target folder with.
#[must_use]
pub fn checkout() -> PathBuf {
    let own = env::var_os("CARGO_MANIFEST_DIR");
    let own = own.map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    own.join("..")
}

/// The built page: `$SWIVEL_DIST`, by default `dist` of this checkout.
#[must_use]
pub fn dist() -> PathBuf {
    env::var_os("SWIVEL_DIST").map_or_else(|| checkout().join("dist"), PathBuf::from)
}

impl Server {
    /// Serves the built page on a port that the system chose.
    ///
    /// # Panics
    /// - if the page was not built, or there is no port
    #[track_caller]
    #[must_use]
    pub fn start() -> Server {
        Server::try_start().unwrap_or_else(|error| panic!("{error:#}"))
    }

    fn try_start() -> Result<Server> {
        let dist = dist();
        ensure!(
            dist.join("index.html").is_file(),
            "{} has no index.html: run `cargo xtask page` first, or set SWIVEL_DIST",
            dist.display()
        );
        Server::of_folder(dist)
    }

    fn of_folder(dist: PathBuf) -> Result<Server> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            dist,
            overlays: Mutex::default(),
            live: Mutex::default(),
            requests: Mutex::default(),
            stopped: AtomicBool::new(false),
        });
        let acceptor = thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.accept(&listener)
        });
        Ok(Server {
            address,
            shared,
            acceptor: Mutex::new(Some(acceptor)),
        })
    }

    /// `http://127.0.0.1:PORT`, without a slash at the end.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers requests of `path`, which starts with `/`, with `overlay` from now on.
    /// A path without a file is fine: so a test serves a page of its own.
    pub fn replace(&self, path: &str, overlay: Overlay) {
        lock(&self.shared.overlays).insert(path.to_owned(), overlay);
    }

    /// Answers requests of `path` with its file again.
    pub fn restore(&self, path: &str) {
        lock(&self.shared.overlays).remove(path);
    }

    /// Answers requests below `path`, as `/directions`, from `folder` from now on, as `swivel serve` does: `index.json` there
    /// is the list of the names in the folder at that moment, and a header says so. Overlays come first.
    pub fn serve_live(&self, path: &str, folder: &Path) {
        self.restore(&format!("{path}/index.json"));
        lock(&self.shared.live).insert(path.to_owned(), folder.to_owned());
    }

    /// The one path of the folder that ends with `suffix`: names change with the content.
    ///
    /// # Panics
    /// - if no path or more than one ends so
    #[track_caller]
    #[must_use]
    pub fn path_ending(&self, suffix: &str) -> String {
        let mut paths = Vec::new();
        if let Err(error) = folder::list(&self.shared.dist, "", &mut paths) {
            panic!("reading {}: {error}", self.shared.dist.display());
        }
        paths.retain(|path| path.ends_with(suffix));
        match <[String; 1]>::try_from(paths) {
            Ok([path]) => path,
            Err(paths) => panic!("one path should end with `{suffix}`, found {paths:?}"),
        }
    }

    /// The bytes of a file of the folder, without overlay.
    ///
    /// # Panics
    /// - if there is no such file
    #[track_caller]
    #[must_use]
    pub fn file(&self, path: &str) -> Vec<u8> {
        match self.shared.file(path) {
            Some(bytes) => bytes,
            None => panic!("{} has no file `{path}`", self.shared.dist.display()),
        }
    }

    /// What was answered so far, in the order in which the answers ended.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.shared.requests).clone()
    }

    /// Bytes of all bodies sent so far.
    #[must_use]
    pub fn bytes_sent(&self) -> usize {
        lock(&self.shared.requests)
            .iter()
            .map(|request| request.body_bytes)
            .sum()
    }

    /// Refuses every connection from now on, as a host that is gone.
    pub fn stop(&self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        if let Some(acceptor) = lock(&self.acceptor).take() {
            // Wakes the thread, which then closes the port. If it is gone already, so much the better.
            let _ = TcpStream::connect(self.address);
            let _ = acceptor.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Another thread's panic is that thread's failure; what is behind the lock is whole at any time.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::{Read, Write},
    };

    use super::*;

    fn served() -> (Server, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("index.html"), "<p>Hello").unwrap();
        fs::create_dir(folder.path().join("a b")).unwrap();
        fs::write(folder.path().join("a b/x-1234.wasm"), "0123456789").unwrap();
        (Server::of_folder(folder.path().to_owned()).unwrap(), folder)
    }

    /// Head and body of the answer.
    fn get(server: &Server, path: &str) -> (String, String) {
        let mut stream = TcpStream::connect(server.address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    #[test]
    fn files_are_served_with_their_types_and_counted() {
        let (server, _folder) = served();
        let (head, body) = get(&server, "/?a=b");
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(head.contains("text/html"), "{head}");
        assert_eq!(body, "<p>Hello");

        let path = server.path_ending(".wasm");
        assert_eq!(path, "/a b/x-1234.wasm");
        let (head, body) = get(&server, &path.replace(' ', "%20"));
        assert!(head.contains("application/wasm"), "{head}");
        assert_eq!(body, "0123456789");

        assert_eq!(server.bytes_sent(), 18);
        assert_eq!(server.requests()[0].path, "/index.html");
    }

    #[test]
    fn nothing_outside_the_folder_is_served() {
        let (server, _folder) = served();
        for path in [
            "/../Cargo.toml",
            "/%2e%2e/Cargo.toml",
            "//etc/passwd",
            "/none",
        ] {
            let (head, _) = get(&server, path);
            assert!(head.starts_with("HTTP/1.1 404"), "{path}: {head}");
        }
    }

    #[test]
    fn overlays_replace_and_go() {
        let (server, _folder) = served();
        let path = "/index.html";
        server.replace(path, Overlay::Bytes(b"other".to_vec()));
        assert_eq!(get(&server, "/").1, "other");
        server.replace(path, Overlay::Truncated(3));
        let (head, body) = get(&server, path);
        assert!(head.contains("Content-Length: 3"), "{head}");
        assert_eq!(body, "<p>");
        server.replace(path, Overlay::Broken(3));
        let (head, body) = get(&server, path);
        assert!(head.contains("Content-Length: 8"), "{head}");
        assert_eq!(body, "<p>");
        server.replace(path, Overlay::Status(503));
        assert!(get(&server, path).0.starts_with("HTTP/1.1 503"));
        server.restore(path);
        assert_eq!(get(&server, path).1, "<p>Hello");
    }

    fn ask(server: &Server, path: &str, range: &str) -> (String, String) {
        let mut stream = TcpStream::connect(server.address).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nrange: bytes={range}\r\n\r\n"
        )
        .unwrap();
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer));
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        (head.to_owned(), body.to_owned())
    }

    #[test]
    fn parts_come_as_asked_and_with_bad_manners() {
        let (server, _folder) = served();
        let (head, body) = ask(&server, "/index.html", "3-4");
        assert!(head.starts_with("HTTP/1.1 206"), "{head}");
        assert!(head.contains("Content-Range: bytes 3-4/8"), "{head}");
        assert_eq!(body, "He");
        assert_eq!(server.requests()[0].part, Some(3));
        // The file ends before.
        assert_eq!(ask(&server, "/index.html", "6-99").1, "lo");
        assert!(ask(&server, "/index.html", "8-9").0.contains("416"));

        let bytes = Arc::new(b"0123456789".to_vec());
        let with = |manners| {
            server.replace("/x", Overlay::Parts(Arc::clone(&bytes), manners));
            ask(&server, "/x", "2-3")
        };
        assert_eq!(with(Manners::Usual).1, "23");
        let (head, body) = with(Manners::NoParts);
        assert!(
            head.starts_with("HTTP/1.1 200") && body.len() == 10,
            "{head}"
        );
        let (head, body) = with(Manners::NoLength);
        assert!(
            !head.contains("Content-Length") && body.len() == 10,
            "{head}"
        );
        let (head, body) = with(Manners::OtherPart);
        assert!(head.contains("bytes 3-4/10"), "{head}");
        assert_eq!(body, "34");
        let (head, body) = with(Manners::Short);
        assert!(head.contains("bytes 2-3/10"), "{head}");
        assert_eq!(body, "2");
        assert!(with(Manners::SaidToBe(77)).0.contains("bytes 2-3/77"));
        assert_eq!(with(Manners::BreaksAt(3)).1, "23");
        assert_eq!(with(Manners::BreaksAt(2)).1, "");
    }

    #[test]
    fn live_folder_is_listed_as_it_is_now() {
        let (server, _folder) = served();
        let live = tempfile::tempdir().unwrap();
        fs::write(live.path().join("a b"), "new").unwrap();
        let list = "/directions/index.json";
        server.replace(list, Overlay::Bytes(b"[]".to_vec()));
        server.serve_live("/directions", live.path());
        let (head, body) = get(&server, list);
        assert!(head.contains("\r\nswivel-serve: "), "{head}");
        assert_eq!(body, r#"["a b"]"#);
        assert_eq!(get(&server, "/directions/a%20b").1, "new");
        fs::remove_file(live.path().join("a b")).unwrap();
        assert_eq!(get(&server, list).1, "[]");
        assert!(
            get(&server, "/directions/a%20b")
                .0
                .starts_with("HTTP/1.1 404")
        );
        assert!(!get(&server, "/").0.contains("swivel-serve"));
    }

    #[test]
    fn a_stopped_server_refuses() {
        let (server, _folder) = served();
        server.stop();
        assert!(TcpStream::connect(server.address).is_err());
    }
}

//! Models of the Hub, off a local server with its layout.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod server;
#[path = "../support/mod.rs"]
mod support;

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
};

use tempfile::TempDir;

use server::{COMMIT, Manner, Server};
use support::check_refused;

fn solver() -> Vec<(&'static str, Vec<u8>)> {
    let folder = format!("{}/../models/solver", env!("CARGO_MANIFEST_DIR"));
    [
        "README.md",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    .map(|name| (name, fs::read(format!("{folder}/{name}")).unwrap()))
    .into()
}

fn weights<'a>(files: &'a [(&str, Vec<u8>)]) -> &'a Vec<u8> {
    let found = files.iter().find(|(name, _)| *name == "model.safetensors");
    &found.unwrap().1
}

/// Weights of a model in the cache.
fn snapshot(home: &TempDir, name: &str) -> PathBuf {
    let folder = format!("hub/models--lab--{name}/snapshots/{COMMIT}/model.safetensors");
    home.path().join(folder)
}

/// The program with a cache of its own, and a Hub.
fn inspect(server: &Server, home: &TempDir, model: &str, more: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_swivel"));
    command.args(["inspect", model, "--json"]);
    for name in ["HF_TOKEN", "HF_HUB_CACHE", "HF_HUB_OFFLINE"] {
        command.env_remove(name);
    }
    command.env("HF_HOME", home.path());
    command.env("HF_ENDPOINT", &server.address);
    command.envs(more.iter().copied());
    command.output().unwrap()
}

#[track_caller]
fn text(output: Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// What belongs to the model is fetched, once; a revision is another model, whose files are not mixed with the first one's.
#[test]
fn model_is_fetched_once_and_is_there_without_network() {
    let (server, home) = (Server::start(), TempDir::new().unwrap());
    server.add("lab/solver", Manner::Usual, &solver());
    let first = text(inspect(
        &server,
        &home,
        "lab/solver",
        &[("HF_TOKEN", "secret")],
    ));
    let asked = server.requests();
    assert!(asked.iter().all(|request| !request.path.contains("README")));
    let is_of_hub = |path: &str| !path.starts_with("/cdn/");
    let hub = asked.iter().filter(|request| is_of_hub(&request.path));
    assert!(hub.clone().count() > 0);
    for request in hub {
        assert_eq!(
            request.token.as_deref(),
            Some("Bearer secret"),
            "{request:?}"
        );
    }
    let again = text(inspect(&server, &home, "lab/solver", &[]));
    assert_eq!(
        (first.as_str(), server.requests().len()),
        (again.as_str(), 0)
    );
    let offline = [
        ("HF_HUB_OFFLINE", "1"),
        ("HF_ENDPOINT", "http://127.0.0.1:1"),
    ];
    assert_eq!(text(inspect(&server, &home, "lab/solver", &offline)), first);
    text(inspect(&server, &home, "lab/solver@v2", &[]));
    let asked = server.requests();
    assert!(
        asked
            .iter()
            .any(|request| request.path.contains("/resolve/v2/"))
    );
    assert!(snapshot(&home, "solver").is_file());
}

/// A connection that breaks again and again costs no byte twice.
#[test]
fn broken_download_goes_on_where_it_stopped() {
    let (server, home) = (Server::start(), TempDir::new().unwrap());
    let files = solver();
    let weights = weights(&files);
    let n_bytes = weights.len();
    let piece = n_bytes / 3 + 1;
    server.add("lab/breaks", Manner::Breaks(piece), &files);
    text(inspect(&server, &home, "lab/breaks", &[]));
    assert_eq!(fs::read(snapshot(&home, "breaks")).unwrap(), *weights);
    let asked = server.requests();
    let starts = asked
        .iter()
        .filter(|request| request.path.starts_with("/cdn/"));
    let starts: Vec<usize> = starts
        .filter_map(|request| request.range)
        .filter(|range| *range != (0, Some(0)))
        .map(|(start, _)| start)
        .collect();
    assert_eq!(starts, [0, piece, 2 * piece]);
}

/// Who does not answer is asked again.
#[test]
fn silent_hub_is_asked_again() {
    let (server, home) = (Server::start(), TempDir::new().unwrap());
    let files = solver();
    server.add("lab/silent", Manner::IsSilent, &files);
    text(inspect(&server, &home, "lab/silent", &[]));
    let found = fs::read(snapshot(&home, "silent")).unwrap();
    assert_eq!(found, *weights(&files));
}

/// A disk without room; what has come stays, and the next try goes on.
#[cfg(target_os = "linux")]
#[test]
fn full_disk_is_said() {
    let (server, home) = (Server::start(), TempDir::new().unwrap());
    let files = solver();
    server.add("lab/solver", Manner::Breaks(1000), &files);
    drop(inspect(&server, &home, "lab/solver", &[]));
    // In place of what has come, a file that takes nothing more.
    let blobs = home.path().join("hub/models--lab--solver/blobs");
    let entries = fs::read_dir(&blobs).unwrap();
    let mut entries = entries.map(|entry| entry.unwrap().path());
    let part = entries
        .find(|path| path.extension().is_some_and(|end| end == "part"))
        .unwrap();
    fs::remove_file(&part).unwrap();
    std::os::unix::fs::symlink("/dev/full", &part).unwrap();
    server.add("lab/solver", Manner::Usual, &files);
    let output = inspect(&server, &home, "lab/solver", &[]);
    let expected = ["model.safetensors", "disk is full", "HF_HOME", "is kept"];
    check_refused(&output, "full", &expected);
    fs::remove_file(&part).unwrap();
    text(inspect(&server, &home, "lab/solver", &[]));
}

/// Ended in the middle, and begun again by another run.
#[test]
fn ended_download_goes_on_in_the_next_run() {
    let (server, home) = (Server::start(), TempDir::new().unwrap());
    let files = solver();
    server.add("lab/solver", Manner::Breaks(1000), &files);
    let output = inspect(&server, &home, "lab/solver", &[]);
    check_refused(
        &output,
        "breaks too often",
        &[
            "lab/solver",
            "model.safetensors",
            "the connection broke",
            "goes on where this one stopped",
        ],
    );
    server.add("lab/solver", Manner::Usual, &files);
    server.requests();
    text(inspect(&server, &home, "lab/solver", &[]));
    let asked = server.requests();
    let last = asked
        .iter()
        .rev()
        .find(|request| request.path.starts_with("/cdn/"))
        .unwrap();
    let (start, _) = last.range.unwrap();
    assert!(start >= 1000 && start % 1000 == 0, "{start}");
    assert_eq!(
        fs::read(snapshot(&home, "solver")).unwrap(),
        *weights(&files)
    );
}

/// What a Hub may say, each in words that say what to do; nothing is left that the next run would take for the model.
#[test]
fn what_the_hub_refuses_is_said_in_words() {
    let (server, home) = (Server::start(), TempDir::new().unwrap());
    let files = solver();
    let n_bytes = weights(&files).len();
    server.add("lab/gated", Manner::Gates, &files);
    server.add("lab/busy", Manner::Refuses(429), &files);
    server.add("lab/ill", Manner::Refuses(503), &files);
    server.add(
        "lab/forgets",
        Manner::BreaksAndForgets(n_bytes - 10),
        &files,
    );
    server.add("lab/page", Manner::Pages, &files);
    server.add(
        "lab/gguf",
        Manner::Usual,
        &[("small.gguf", vec![0; 10]), ("large.gguf", vec![0; 20])],
    );
    server.add(
        "lab/data",
        Manner::Usual,
        &[("README.md", b"hello".to_vec())],
    );
    server.add("lab/solver", Manner::Usual, &files);
    for (model, expected) in [
        ("lab/gated", &["gated", "HF_TOKEN", "/lab/gated"][..]),
        ("lab/none", &["no such model", "private"]),
        ("lab/busy", &["429", "wait"]),
        ("lab/ill", &["503", "later"]),
        (
            "lab/forgets",
            &["model.safetensors", "the server said", "try again"],
        ),
        ("lab/page", &["model.safetensors"]),
        ("lab/gguf", &["lab/gguf:large.gguf, lab/gguf:small.gguf"]),
        ("lab/data", &["no config.json"]),
        ("lab/solver:none.gguf", &["none.gguf", "no such file"]),
    ] {
        let output = inspect(&server, &home, model, &[]);
        check_refused(&output, model, expected);
    }
    let offline = [("HF_HUB_OFFLINE", "1")];
    check_refused(
        &inspect(&server, &home, "lab/solver", &offline),
        "offline",
        &["not in the cache", "HF_HUB_OFFLINE"],
    );
    // It is well again.
    server.add("lab/forgets", Manner::Usual, &files);
    text(inspect(&server, &home, "lab/forgets", &[]));
}

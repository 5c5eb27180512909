//! Devices on other machines, both ends on this one.

#![cfg(all(feature = "remote", feature = "flex"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_swivel");

/// A CPU that is served on a free port, until it is dropped.
struct Server {
    process: Child,
    url: String,
}

impl Server {
    fn start() -> Self {
        let mut process = Command::new(PROGRAM)
            .args(["serve-device", "--device", "flex", "--port", "0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let url = line
            .split_whitespace()
            .find(|word| word.starts_with("ws://"));
        let url = url.unwrap().trim_end_matches(',').to_owned();
        Self { process, url }
    }

    fn address(&self) -> &str {
        self.url.trim_start_matches("ws://")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// A small training run, which a test may wait for or not.
fn train(folder: &TempDir, device: &str, seed: &str) -> Command {
    let out = folder.path().join(format!("{seed}.safetensors"));
    let mut command = Command::new(PROGRAM);
    command
        .args([
            "train",
            "--json",
            "--train-pairs",
            "64",
            "--test-pairs",
            "50",
        ])
        .args(["--epochs", "2", "--device", device, "--seed", seed, "--out"])
        .arg(out)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Losses of the steps, and the IIA.
#[track_caller]
fn scores(output: &Output) -> (Vec<f64>, f64) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<Value> = stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let losses = lines.iter().filter(|line| line["step"].is_number());
    let losses = losses.map(|line| line["loss"].as_f64().unwrap()).collect();
    (losses, lines.last().unwrap()["test_iia"].as_f64().unwrap())
}

/// The order of sums is the device's; 1e-5 is what every device of the project is held to.
#[track_caller]
fn assert_same((losses, iia): &(Vec<f64>, f64), (expected, expected_iia): &(Vec<f64>, f64)) {
    assert_eq!(iia, expected_iia);
    assert_eq!(losses.len(), expected.len());
    for (loss, expected) in losses.iter().zip(expected) {
        assert!(
            (loss - expected).abs() <= 1e-5 * expected.abs(),
            "{loss} {expected}"
        );
    }
}

/// Status 2 and one error line that holds the text; no panic.
#[track_caller]
fn check_error(output: &Output, expected: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    let last = stderr.lines().last().unwrap();
    assert!(
        last.starts_with("error:") && last.contains(expected),
        "{stderr}"
    );
}

#[test]
fn clients_at_one_time_get_what_they_get_here() {
    let folder = TempDir::new().unwrap();
    let server = Server::start();
    let here = ["0", "1"].map(|seed| scores(&train(&folder, "flex", seed).output().unwrap()));
    let clients = ["0", "1"].map(|seed| train(&folder, &server.url, seed).spawn().unwrap());
    for (client, expected) in clients.into_iter().zip(here) {
        assert_same(&scores(&client.wait_with_output().unwrap()), &expected);
    }
}

#[test]
fn nobody_there_is_one_line() {
    let folder = TempDir::new().unwrap();
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let url = format!("ws://127.0.0.1:{port}");
    check_error(
        &train(&folder, &url, "0").output().unwrap(),
        &format!("device `{url}` does not answer"),
    );
}

#[test]
fn a_server_that_goes_is_one_line() {
    let folder = TempDir::new().unwrap();
    let server = Server::start();
    let mut client = Command::new(PROGRAM)
        .args([
            "train",
            "--json",
            "--epochs",
            "100000",
            "--device",
            &server.url,
            "--out",
        ])
        .arg(folder.path().join("long.safetensors"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The first epoch was read back: the client is at work.
    let mut stdout = BufReader::new(client.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("epoch\":1") {
        line.clear();
        assert!(stdout.read_line(&mut line).unwrap() > 0, "the client ended");
    }
    drop(server);
    check_error(&client.wait_with_output().unwrap(), "is lost");
}

#[test]
fn web_pages_and_nonsense_do_not_harm_a_server() {
    let folder = TempDir::new().unwrap();
    let server = Server::start();
    let mut page = TcpStream::connect(server.address()).unwrap();
    let request = "GET /request HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nOrigin: http://evil.example\r\n\r\n";
    page.write_all(request.as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::new(page).read_line(&mut line).unwrap();
    assert!(line.contains("403"), "{line}");
    TcpStream::connect(server.address())
        .unwrap()
        .write_all(b"nonsense\r\n\r\n")
        .unwrap();
    scores(&train(&folder, &server.url, "0").output().unwrap());
}

//! Requests that are too long, too slow, or too many.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use crate::server::{Place, answer};

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

//! The program: where it listens, what it says and opens, on which device, and how it ends.

use std::{
    io::Write,
    net::{Ipv4Addr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use crate::server::{Place, first_line};

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
fn a_device_that_is_not_there_is_an_error() {
    let place = Place::new();
    place.check_refused(&["--page", "dist", "--device", "cuda:93"], &["cuda"]);
    let process = place.command(&["--device", "gpu"]).output().unwrap();
    assert_eq!(process.status.code(), Some(2));
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
    use std::{fs, os::unix::fs::PermissionsExt};
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

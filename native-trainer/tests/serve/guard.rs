//! Who is answered, and who is not.

use crate::{
    server::Place,
    tab::{Tab, check_sound},
};

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
fn other_pages_and_other_names_reach_no_engine() {
    let place = Place::new();
    let server = place.serve(&[]);
    let port = server.port;
    for origin in [
        "https://evil.example".to_owned(),
        "null".to_owned(),
        format!("https://localhost:{port}"),
        format!("http://localhost:{}", port.wrapping_add(1)),
        format!("http://evil.example:{port}"),
    ] {
        let (status, why) = Tab::connect(&server, "model=solver", Some(&origin)).unwrap_err();
        assert!(
            status == 403 && why.contains("its own page"),
            "{origin}: {status} {why}"
        );
    }
    // A page of another name that was pointed here.
    for host in ["evil.example".to_owned(), format!("evil.example:{port}")] {
        let origin = format!("http://{host}");
        for path in ["/engine?model=solver", "/engines.json"] {
            let headers = [
                ("Host", &*host),
                ("Origin", &origin),
                ("Upgrade", "websocket"),
            ];
            assert_eq!(
                server.ask("GET", path, &headers).status,
                421,
                "{host}{path}"
            );
        }
    }
    for origin in [Some(format!("http://localhost:{port}")), None] {
        assert!(Tab::connect(&server, "model=solver", origin.as_deref()).is_ok());
    }
    assert!(server.get("/").header("set-cookie").is_none());
    check_sound(server);
}

#[test]
fn at_another_address_only_those_get_in_who_know_the_token() {
    let place = Place::new();
    let server = place.serve(&["--host", "0.0.0.0"]);
    let address = server.started["address"].as_str().unwrap().to_owned();
    let port = server.port;
    let root = format!("http://127.0.0.1:{port}/?token=");
    let token = address.strip_prefix(&root).expect(&address);
    assert!(token.len() >= 32 && token.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let other = place.serve(&["--host", "0.0.0.0"]);
    assert!(!other.started["address"].as_str().unwrap().ends_with(token));

    let last = if token.ends_with('0') { "1" } else { "0" };
    let near = format!("{}{last}", &token[..token.len() - 1]);
    let [cookie, near_cookie] = [token, &near].map(|token| format!("swivel-{port}={token}"));
    for path in [
        "/",
        "/engines.json",
        "/directions/index.json",
        "/engine?model=solver",
    ] {
        let mark = if path.contains('?') { '&' } else { '?' };
        for (query, cookie) in [
            (String::new(), ""),
            (format!("{mark}token="), ""),
            (format!("{mark}token={near}"), &near_cookie),
            (format!("{mark}token={}", &token[1..]), ""),
            (format!("{mark}token={token}0"), ""),
            (format!("{mark}Token={token}"), token),
            (String::new(), &cookie.replace("swivel", "other")),
        ] {
            let answer = server.ask("GET", &format!("{path}{query}"), &[("Cookie", cookie)]);
            let why = String::from_utf8(answer.body.clone()).unwrap();
            assert!(
                answer.status == 403 && why.contains("printed"),
                "{path}{query}: {why}"
            );
            assert_eq!(answer.header("set-cookie"), None);
        }
    }
    let first = server.get(&format!("/?token={token}"));
    assert_eq!(
        (first.status, &first.body[..]),
        (200, &b"<!doctype html>the page"[..])
    );
    let set = first.header("set-cookie").unwrap();
    assert_eq!(set, format!("{cookie}; Path=/; HttpOnly; SameSite=Strict"));
    let sent = format!("one=1; {cookie}; two=2");
    let answer = server.ask("GET", "/engines.json", &[("Cookie", &sent)]);
    assert_eq!((answer.status, answer.header("set-cookie")), (200, None));

    let with_token = format!("model=solver&token={token}");
    let origin = format!("http://127.0.0.1:{port}");
    assert!(Tab::connect(&server, &with_token, Some(&origin)).is_ok());
    for (query, origin) in [
        ("model=solver", Some(&*origin)),
        (&*with_token, None),
        (&*with_token, Some("https://evil.example")),
        (&*with_token, Some(&*format!("http://9.9.9.9:{port}"))),
    ] {
        let (status, _) = Tab::connect(&server, query, origin).unwrap_err();
        assert_eq!(status, 403, "{query} {origin:?}");
    }
    // Any address may be this machine's; a name is not.
    let status = |host: &str| {
        let headers = [("Host", host), ("Cookie", &*cookie)];
        server.ask("GET", "/", &headers).status
    };
    for host in ["127.0.0.1", "localhost", "192.0.2.7", "[2001:db8::1]"] {
        assert_eq!(status(&format!("{host}:{port}")), 200, "{host}");
    }
    for host in [
        format!("evil.example:{port}"),
        format!("192.0.2.7:{}", port.wrapping_add(1)),
        "192.0.2.7".to_owned(),
        format!("192.0.2.7.evil.example:{port}"),
    ] {
        assert_eq!(status(&host), 421, "{host}");
    }
}

#[test]
fn localhost_by_its_name_needs_no_token() {
    let place = Place::new();
    for (host, address) in [
        ("localhost", "http://127.0.0.1"),
        ("127.0.0.1", "http://127.0.0.1"),
    ] {
        let server = place.serve(&["--host", host]);
        let expected = format!("{address}:{}/", server.port);
        // A machine may mean ::1 by its name.
        if server.started["address"] == expected {
            server.check_alive();
            Tab::open(&server);
        }
    }
    place.check_refused(
        &["--page", "dist", "--host", "192.0.2.7"],
        &["--host 192.0.2.7"],
    );
}

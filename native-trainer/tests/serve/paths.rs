//! Paths that leave their folders, ranges that lie, and methods that write.

use serde_json::json;

use crate::server::{Place, weights};

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

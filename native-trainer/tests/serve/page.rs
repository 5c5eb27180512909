//! The page: where it comes from, its types, its tags, and what is compressed.

use std::fs;
#[cfg(feature = "page")]
use std::path::Path;

use serde_json::json;

use crate::server::Place;

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

//! Models: which are offered, by which names, and in parts.

use std::{fs, path::Path};

use serde_json::json;

use crate::{
    gguf,
    server::{Place, check_list_headers, weights},
};

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

fn gguf_file() -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/families/llama");
    gguf::of_folder(&folder, "llama").bytes()
}

/// A GGUF file is a model of its own, and an engine computes with it.
#[test]
fn a_gguf_file_is_offered_and_served() {
    let place = Place::new();
    let bytes = gguf_file();
    place.write("below/small.gguf", &bytes);
    place.write("below/other.gguf", &bytes[..1000]);
    let server = place.serve(&["--model", &place.text("below/small.gguf")]);
    let list = server.get("/models/index.json").json();
    assert_eq!(list, json!(["solver", "small.gguf"]));
    assert_eq!(
        server.get("/engines.json").json()["models"],
        json!(["small.gguf", "solver"])
    );
    let whole = server.get("/models/small.gguf");
    assert!((whole.status, &whole.body) == (200, &bytes));
    let part = server.ask("GET", "/models/small.gguf", &[("Range", "bytes=0-3")]);
    assert_eq!((part.status, &*part.body), (206, &b"GGUF"[..]));
    for path in [
        "/models/small.gguf/",
        "/models/small.gguf/config.json",
        "/models/small.gguf2",
        "/models/other.gguf",
    ] {
        server.check_status(path, 404);
    }
    place.check_refused(
        &["--model", &place.text("below/other.gguf")],
        &["other.gguf: it is no model", "GGUF"],
    );
}

/// What the Hub's cache has is offered by its names there, and nothing of which a part is missing.
#[test]
fn models_of_the_hubs_cache_are_offered() {
    let place = Place::new();
    let snapshot = |repository: &str| format!("hub/models--{repository}/snapshots/c0ffee");
    for repository in ["owner--whole", "owner--two--dashes"] {
        place.model(&snapshot(repository));
    }
    place.model(&snapshot("owner--part"));
    fs::remove_file(place.path(&format!("{}/model.safetensors", snapshot("owner--part")))).unwrap();
    place.write(&format!("{}/q/deep.gguf", snapshot("owner--files")), b"");
    place.write(
        &format!("{}/small.gguf", snapshot("owner--files")),
        &gguf_file(),
    );
    place.write(
        &format!("{}/broken.gguf", snapshot("owner--files")),
        b"GGUF",
    );
    for repository in [
        "owner--whole",
        "owner--two--dashes",
        "owner--part",
        "owner--files",
    ] {
        place.write(&format!("hub/models--{repository}/refs/main"), b"c0ffee");
    }
    let server = place.serve(&[]);
    let list = server.get("/models/index.json").json();
    let names = [
        "solver",
        "owner/files:small.gguf",
        "owner/two--dashes",
        "owner/whole",
    ];
    assert_eq!(list, json!(names));
    server.check_status("/models/owner/whole/config.json", 200);
    // As a browser asks for one name.
    server.check_status("/models/owner%2Fwhole/config.json", 200);
    server.check_status("/models/owner/two--dashes/model.safetensors", 200);
    server.check_status("/models/owner/files:small.gguf", 200);
    for path in [
        "/models/owner/whole",
        "/models/owner",
        "/models/owner/whole/../whole2/config.json",
        "/models/owner/part/config.json",
        "/models/owner/files/small.gguf",
    ] {
        server.check_status(path, 404);
    }
    // By its name, without a network.
    let server = place.serve(&["--model", "owner/whole"]);
    assert_eq!(server.started["models"][1], "owner/whole");
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
        &["nowhere: it is no model", "no such folder or file"],
    );
    place.check_refused(&["--model", "dist"], &["config.json"]);
    let weights = place.path("one/model.safetensors");
    let whole = fs::read(&weights).unwrap();
    for (bytes, expected) in [
        (&whole[..whole.len() - 1], "was it cut"),
        (&whole[..100], "was it cut"),
        (&whole[..4], "header too small"),
        (
            &b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"[..],
            "a pointer of Git LFS",
        ),
    ] {
        fs::write(&weights, bytes).unwrap();
        place.check_refused(&["--model", &other], &["one/model.safetensors", expected]);
    }
    fs::remove_file(&weights).unwrap();
    place.check_refused(&["--model", &other], &["there is no model.safetensors"]);
}

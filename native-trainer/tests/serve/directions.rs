//! The folder of directions, as it is at each moment.

use std::{fs, process::Command};

use serde_json::json;

use crate::server::{PROGRAM, Place, check_list_headers};

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

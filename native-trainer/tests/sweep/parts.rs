//! A map in parts: interrupted, put together, and what makes no map.

use std::fs;

use serde_json::Value;
use tempfile::TempDir;

use crate::{LEARNED, MEASURED, result, shorten, support::*, with};

/// The lines of a map's tables, and of its best cell.
fn tables(stderr: &str) -> Vec<&str> {
    let is_table = |line: &&str| {
        ["IIA of", "layer", "token", "Best:"]
            .iter()
            .any(|start| line.starts_with(start))
    };
    stderr.lines().filter(is_table).collect()
}

#[test]
#[cfg(unix)]
fn four_shards_of_which_one_was_interrupted_make_the_undivided_map() {
    use std::{
        io::{BufRead, BufReader},
        process::{Command, Stdio},
    };
    let folder = TempDir::new().unwrap();
    let [whole, merged] =
        ["whole.safetensors", "merged.safetensors"].map(|name| path_in(&folder, name));
    let undivided = swivel(&with(&LEARNED, &["--out", &whole]));
    assert!(undivided.status.success());
    let parts = [1, 2, 3, 4].map(|number| path_in(&folder, &format!("{number}.safetensors")));
    for (part, number) in parts.iter().zip(1..) {
        let shard = format!("{number}/4");
        let args = with(&LEARNED, &["--shard", &shard, "--out", part]);
        if number == 4 {
            let mut child = Command::new(env!("CARGO_BIN_EXE_swivel"))
                .args(&args)
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            assert!(lines.any(|line| line.unwrap().contains("\"iia\"")));
            press_ctrl_c(&child);
            assert_eq!(child.wait().unwrap().code(), Some(2));
            let begun = result(part);
            assert!(!begun.cells().is_empty() && !begun.is_complete());
            check_error(
                &with(
                    &["merge", "--out", &merged],
                    &parts.each_ref().map(String::as_str),
                ),
                &[part, "not finished", "--shard 4/4"],
            );
        }
        let done = ok_json(&args);
        assert_eq!(
            (&done["part"], &done["picture"]),
            (&shard.into(), &Value::Null)
        );
    }
    assert!(parts.iter().all(|part| result(part).cells().len() >= 2));

    // In whatever order they are given.
    let args = with(
        &["merge", "--json", "--out", &merged],
        &[&parts[2], &parts[0], &parts[3], &parts[1]],
    );
    let output = swivel(&args);
    let [merged_text, whole_text] =
        [&output, &undivided].map(|output| String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{merged_text}");
    assert_eq!(fs::read(&merged).unwrap(), fs::read(&whole).unwrap());
    let picture = |path: &str| fs::read_to_string(path.replace(".safetensors", ".svg")).unwrap();
    assert_eq!(picture(&merged), picture(&whole));
    assert_eq!(tables(&merged_text), tables(&whole_text));
    assert_eq!(tables(&merged_text).len(), 2 * 5 + 1);
    let event = |output: &std::process::Output| -> Value {
        let stdout = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(stdout.lines().last().unwrap()).unwrap()
    };
    let (merged_event, whole_event) = (event(&output), event(&undivided));
    for name in ["event", "cells", "best"] {
        assert_eq!(merged_event[name], whole_event[name]);
    }
    assert_eq!(merged_event["file"], merged.as_str());

    // A part is a map by itself.
    let inspected = ok_json(&["inspect", "--json", &parts[1]]);
    assert_eq!(inspected["part"], "2/4");
}

#[test]
fn parts_that_make_no_map_are_refused_with_their_file() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| path_in(&folder, name);
    let shard = |name: &str, more: &[&str]| {
        let path = path(name);
        ok(&with(&with(&MEASURED, more), &["--out", &path]));
        path
    };
    let [first, second] =
        [("a", "1/2"), ("b", "2/2")].map(|(name, part)| shard(name, &["--shard", part]));
    let third = shard("c", &["--shard", "2/3"]);
    let other_pairs = shard("d", &["--shard", "2/2", "--seed", "1"]);
    let other_cells = shard("e", &["--shard", "2/2", "--layers", "1-2"]);
    let whole = shard("whole", &[]);
    let tiny = fixture("tiny");
    let data = path("data.jsonl");
    fs::write(
        &data,
        r#"{"base": [1, 2, 3], "source": [4, 5, 6], "base_position": 2, "source_position": 2, "label": 7}"#,
    )
    .unwrap();
    let more = [
        "--model",
        tiny.to_str().unwrap(),
        "--test-data",
        &data,
        "--shard",
        "2/2",
    ];
    let other_model = path("f");
    // Without the number of pairs, which the file says.
    ok(&with(
        &with(&MEASURED[..8], &more),
        &["--out", &other_model],
    ));
    let map = path("map");
    let merge = |parts: &[&str]| {
        with(&["merge", "--out", &map], parts)
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let check = |parts: &[&str], expected: &[&str]| {
        let args = merge(parts);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        check_error(&args, expected);
        assert!(!fs::exists(&map).unwrap());
    };
    check(&[&first], &["part 2/2 of the map is missing", "--shard"]);
    check(
        &[&first, &second, &first],
        &[&first, "both part 1/2", "leave one out"],
    );
    check(
        &[&first, &third],
        &[&first, &third, "part 2/3", "divided in two ways"],
    );
    check(
        &[&first, &other_pairs],
        &[&first, &other_pairs, "another map", "pairs, seed"],
    );
    check(
        &[&first, &other_cells],
        &[&other_cells, "another map", "cells"],
    );
    check(
        &[&first, &other_model],
        &[&other_model, "another map", "model"],
    );
    check(&[&first, &whole], &[&whole, "is a whole map"]);
    shorten(&second, 1);
    check(
        &[&first, &second],
        &[&second, "not finished: 1 of its", "--shard 2/2"],
    );
    ok(&with(&MEASURED, &["--shard", "2/2", "--out", &second]));

    // What is there is kept, unless it is to be replaced.
    fs::write(&map, "mine").unwrap();
    let args = merge(&[&first, &second]);
    let mut args: Vec<&str> = args.iter().map(String::as_str).collect();
    check_error(&args, &[&map, "--force", "--out"]);
    assert_eq!(fs::read(&map).unwrap(), b"mine");
    args.push("--force");
    ok(&args);
    assert_eq!(fs::read(&map).unwrap(), fs::read(&whole).unwrap());
}

#[test]
fn shards_that_there_are_not_are_refused() {
    let folder = TempDir::new().unwrap();
    let out = path_in(&folder, "map");
    for (shard, expected) in [
        ("0/4", "I from 1 to N"),
        ("5/4", "I from 1 to N"),
        ("1", "as in 1/4"),
        ("1/4", "6 cells has at most 3 parts"),
    ] {
        let args = with(&MEASURED, &["--shard", shard, "--out", &out]);
        check_error(&args, &["--shard", shard, expected]);
        assert_no_files(folder.path());
    }
}

/// `examples/slurm.sh`, with programs in Slurm's stead that run each task at once.
#[test]
#[cfg(target_os = "linux")]
fn slurm_example_makes_the_undivided_map() {
    use std::{os::unix::fs::PermissionsExt, path::Path, process::Command};
    let folder = TempDir::new().unwrap();
    let bin = folder.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let sbatch = r#"#!/bin/sh
tasks=0
while [ $# -gt 0 ]; do
    case $1 in
    --array) tasks=$(seq -s ' ' "${2%-*}" "${2#*-}") ;;
    --wrap) wrap=$2 ;;
    esac
    shift
done
for task in $tasks; do
    SLURM_ARRAY_TASK_ID=$task sh -c "$wrap" >&2 || exit 1
done
echo "7;cluster"
"#;
    for (name, text) in [("sbatch", sbatch), ("srun", "#!/bin/sh\nexec \"$@\"\n")] {
        let file = bin.join(name);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let [whole, map] =
        ["whole.safetensors", "a map.safetensors"].map(|name| path_in(&folder, name));
    ok(&with(&MEASURED, &["--out", &whole]));
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/slurm.sh");
    // A cluster has bash and what belongs to it, wherever the tests are run.
    let own = std::env::var("PATH").unwrap();
    let path = format!("{}:{own}:/usr/bin:/bin", bin.display());
    let slurm = || {
        Command::new("bash")
            .arg(&example)
            .args(["3", &map])
            .args(&MEASURED[1..])
            .env("PATH", &path)
            .env("SWIVEL", env!("CARGO_BIN_EXE_swivel"))
            .output()
            .unwrap()
    };
    let output = slurm();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.starts_with("array job 7 computes 3 parts"), "{said}");
    assert_eq!(fs::read(&map).unwrap(), fs::read(&whole).unwrap());
    assert_eq!(
        slurm().status.code(),
        Some(2),
        "a map that is there is kept"
    );
}

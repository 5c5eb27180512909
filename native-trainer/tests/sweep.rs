//! Maps on the command line: divided and put together, gone on with, and taken apart.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::fs;

use serde_json::Value;
use support::*;
use swivel_core::{
    Component, Position,
    bundle::{Bundle, Method},
    direction::Direction,
};
use tempfile::TempDir;

/// A map in which directions are learned: two variables, three layers, seven tokens of which the last are learned together.
const LEARNED: [&str; 16] = [
    "sweep",
    "--json",
    "--device",
    "flex",
    "--variable",
    "op5,op3",
    "--positions",
    "120,122,124,126-129",
    "--train-pairs",
    "64",
    "--test-pairs",
    "20",
    "--epochs",
    "1",
    "--batch-size",
    "16",
];

/// A map that takes a moment.
const MEASURED: [&str; 10] = [
    "sweep",
    "--json",
    "--device",
    "flex",
    "--method",
    "interchange",
    "--positions",
    "last:2",
    "--test-pairs",
    "10",
];

fn with<'a>(args: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [args, more].concat()
}

fn bundle(path: &str) -> Bundle {
    Bundle::from_bytes(&fs::read(path).unwrap()).unwrap()
}

/// Leaves the first cells of a map only, as an interrupted sweep does.
fn shorten(path: &str, n_cells: usize) {
    let whole = bundle(path);
    let mut short = Bundle::new(whole.facts().clone()).unwrap();
    for cell in &whole.cells()[..n_cells] {
        short.push(cell.clone()).unwrap();
    }
    fs::write(path, short.to_bytes()).unwrap();
}

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
            let begun = bundle(part);
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
    assert!(parts.iter().all(|part| bundle(part).cells().len() >= 2));

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

/// A map knows its pairs by what they are, not by where they lie.
#[test]
fn edited_data_are_noticed_and_moved_data_are_not() {
    let folder = TempDir::new().unwrap();
    let [data, moved, map] =
        ["data.jsonl", "moved.jsonl", "map"].map(|name| path_in(&folder, name));
    ok(&["data", "--pairs", "10", "--out", &data]);
    let sweep = |data: &str| {
        let args = with(&MEASURED[..8], &["--test-data", data, "--out", &map]);
        args.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    fn as_str(args: &[String]) -> Vec<&str> {
        args.iter().map(String::as_str).collect()
    }
    ok(&as_str(&sweep(&data)));
    let whole = fs::read(&map).unwrap();
    for n_cells in [2, 6] {
        shorten(&map, n_cells);
        let begun = fs::read(&map).unwrap();
        // The label of the last pair is another one.
        let text = fs::read_to_string(&data).unwrap();
        let at = text.rfind("\"label\":").unwrap() + "\"label\":".len();
        let end = at + text[at..].find([',', '}']).unwrap();
        let label: u32 = text[at..end].trim().parse().unwrap();
        fs::rename(&data, &moved).unwrap();
        fs::write(
            &data,
            format!("{}{}{}", &text[..at], label ^ 1, &text[end..]),
        )
        .unwrap();
        check_error(
            &as_str(&sweep(&data)),
            &[&map, "another map", "pairs", "--force"],
        );
        assert_eq!(fs::read(&map).unwrap(), begun);
        ok(&as_str(&sweep(&moved)));
        assert_eq!(fs::read(&map).unwrap(), whole);
        fs::rename(&moved, &data).unwrap();
    }
}

#[test]
fn what_positions_mean_is_said_first() {
    let folder = TempDir::new().unwrap();
    for (idx, (positions, expected)) in [
        ("3", "layer 2 alone, token 3 alone"),
        ("last:3", "layer 2 alone, tokens 127 to 129"),
        ("3,120-129", "layer 2 alone, tokens 3, 120 to 129"),
    ]
    .into_iter()
    .enumerate()
    {
        let out = path_in(&folder, &format!("{idx}.safetensors"));
        let more = ["--positions", positions, "--layers", "2", "--out", &out];
        let args = with(
            &[
                "sweep",
                "--device",
                "flex",
                "--method",
                "zero",
                "--test-pairs",
                "2",
            ],
            &more,
        );
        let text = ok(&args);
        let first = text.lines().next().unwrap();
        assert!(first.ends_with(expected), "{first}");
    }
    let help = ok(&["sweep", "--help"]);
    let help: Vec<&str> = help.split_whitespace().collect(); // its lines are broken
    let help = help.join(" ");
    assert!(
        help.contains("token 3 alone") && help.contains("`last:3` (the last three)"),
        "{help}"
    );
}

/// Every cell of a map is a direction of its own, with a probe that it passes: of the second variable, too.
#[test]
fn cells_are_scored_and_taken_out_by_name() {
    let folder = TempDir::new().unwrap();
    let [map, cell, whole_values] = ["map.safetensors", "cell.safetensors", "values.safetensors"]
        .map(|name| path_in(&folder, name));
    // With this seed the first pairs of the two variables differ.
    let places = ["--layers", "1-2", "--positions", "last:2", "--seed", "3"];
    let learned: Vec<&str> = (LEARNED.iter().copied())
        .filter(|arg| !["--positions", "120,122,124,126-129"].contains(arg))
        .collect();
    ok(&with(&with(&learned, &places), &["--out", &map]));
    let bundle = bundle(&map);
    let best = &bundle.cells()[bundle.best().unwrap()];
    // So few pairs teach and tell little, so that controls fail; a probe that fails is another status.
    let eval = |more: &[&str]| {
        ran(&with(
            &["eval", "--device", "flex", "--test-pairs", "20", &map],
            more,
        ))
    };
    let text = eval(&[]);
    assert!(
        text.starts_with("Taking the best one of the map's 8 cells: "),
        "{text}"
    );
    assert!(text.contains(&best.place.site.to_string()), "{text}");
    let text = eval(&["--cell", "op3.best"]);
    assert!(text.contains("op3.layer"), "{text}");
    for name in ["op5.layer2@129", "op5.layer1@128", "op3.layer2@129"] {
        eval(&["--cell", name]);
    }

    ok(&["inspect", &map, "--cell", "op3.layer1@129", "--out", &cell]);
    let direction = Direction::from_bytes(&fs::read(&cell).unwrap()).unwrap();
    let facts = &direction.facts;
    assert_eq!(facts.place.site, Component::BlockOutput.at(1));
    assert_eq!(
        (facts.variable.as_deref(), facts.place.position),
        (Some("op3"), Position::Index(129))
    );
    ran(&["eval", &cell, "--device", "flex", "--test-pairs", "20"]);
    let again = ["inspect", &map, "--cell", "op3.best", "--out", &cell];
    check_error(&again, &[&cell, "--force"]);
    ok(&with(&again, &["--force"]));

    for (name, expected) in [
        (
            "layer2@129",
            [
                "2 cells",
                "op5.layer2.block_output.rank1@129",
                "op3.layer2.block_output.rank1@129",
            ],
        ),
        (
            "layer7@129",
            [
                "no cell `layer7@129`",
                "op5.layer2.block_output.rank1@129",
                "@128",
            ],
        ),
        (
            "op5",
            ["4 cells", "op5.layer1.block_output.rank1@128", "best"],
        ),
    ] {
        check_error(&["inspect", &map, "--cell", name], &expected);
    }
    for args in [
        &["inspect", &cell, "--cell", "best"][..],
        &["eval", &cell, "--cell", "best"],
    ] {
        check_error(args, &[&cell, "no map"]);
    }
    check_error(
        &["train", "--init", &map],
        &["is a map", "inspect MAP --cell"],
    );
    ok(&with(&MEASURED, &["--out", &whole_values]));
    for args in [
        &["inspect", &whole_values, "--cell", "best"][..],
        &["eval", &whole_values],
    ] {
        check_error(args, &[Method::Interchange.name(), "learns no directions"]);
    }
}

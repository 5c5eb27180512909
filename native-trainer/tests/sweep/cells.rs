//! The cells of a map: which pairs and places they are about, and each as a direction.

use std::fs;

use swivel_core::{Component, Position, direction::Direction, sweep::Method};
use tempfile::TempDir;

use crate::{LEARNED, MEASURED, result, shorten, support::*, with};

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
        let is_said = text.lines().take(2).any(|line| line.ends_with(expected));
        assert!(is_said, "{text}");
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
    let result = result(&map);
    let best = &result.cells()[result.best().unwrap()];
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

//! What every command says and writes: names, errors, the next command, help.

use std::{fs, path::Path, process::Command};

use swivel_core::Component;
use tempfile::TempDir;

use crate::{apply::PLAN, model::patch, support::*, train::SMALL};

#[test]
#[cfg(target_os = "linux")]
fn folder_that_cannot_be_written_is_known_before_the_work() {
    let folder = TempDir::new().unwrap();
    let file = path_in(&folder, "file");
    fs::write(&file, "").unwrap();
    check_error(
        &["train", "--out", "/proc/swivel/d.safetensors"],
        &["/proc/swivel", "--out"],
    );
    check_error(
        &["data", "--out", &format!("{file}/pairs.jsonl")],
        &["cannot write"],
    );
    let data = path_in(&folder, "07065a-op5.jsonl");
    fs::create_dir(&data).unwrap();
    check_error(
        &["data", "--out", folder.path().to_str().unwrap()],
        &["07065a-op5.jsonl", "is a folder"],
    );
    // A folder without write permission; root may write there all the same.
    use std::os::unix::fs::PermissionsExt;
    let locked = folder.path().join("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(locked.join("probe"), "").is_err() {
        check_error(
            &[
                "train",
                "--out",
                locked.join("d.safetensors").to_str().unwrap(),
            ],
            &["cannot write"],
        );
    }
}

/// A safetensors file that is no such file, a plan that is cut, a Hub that cannot be reached: `check_refused` says which causes
/// are said twice.
#[test]
fn causes_are_said_once_and_in_words() {
    let folder = TempDir::new().unwrap();
    let [direction, plan, data] =
        ["d.safetensors", "plan.json", "pairs.jsonl"].map(|name| path_in(&folder, name));
    fs::write(&direction, "<html>a page in place of the file</html>").unwrap();
    check_error(
        &["eval", &direction],
        &["not a valid safetensors file: header too large\n"],
    );
    fs::write(&plan, r#"{"version": 1, "base": {"text": ["#).unwrap();
    check_error(&["apply", &plan], &["plan: `base", "EOF while parsing"]);
    fs::write(&plan, "{").unwrap();
    check_error(&["apply", &plan], &["plan: EOF while parsing"]);
    let pair = |base: &str| {
        format!(r#"{{"base":{base},"source":[3],"base_position":0,"source_position":0,"label":5}}"#)
    };
    fs::write(&data, [pair("[1,2]"), pair("[1]")].join("\n")).unwrap();
    check_error(
        &["sweep", "--train-data", &data, "--test-data", &data],
        &["prompts of one length", "2 and 1 tokens"],
    );
    let output = Command::new(env!("CARGO_BIN_EXE_swivel"))
        .args(["train", "--model", "nobody/nothing"])
        .env("HF_HOME", folder.path())
        .env("HF_ENDPOINT", "http://127.0.0.1:1")
        .output()
        .unwrap();
    check_refused(
        &output,
        "a Hub without network",
        &["nobody/nothing", "cannot connect to http://127.0.0.1:1"],
    );
}

/// A file that is there is kept; the work is refused before it begins.
#[test]
fn files_are_replaced_by_force_only() {
    let folder = TempDir::new().unwrap();
    let [plan, out] = ["plan.json", "out"].map(|name| path_in(&folder, name));
    fs::write(&plan, PLAN).unwrap();
    let config = path_in(&folder, "config.json");
    let train = [&["train", "--out", &out], &SMALL[..]].concat();
    let data = ["data", "--pairs", "2", "--shots", "0", "--out", &out];
    let apply = ["apply", &plan, "--out", &out];
    let pretrain = ["pretrain", "--out", folder.path().to_str().unwrap()];
    for (args, file) in [
        (&train[..], &out),
        (&data[..], &out),
        (&apply[..], &out),
        (&pretrain[..], &config),
    ] {
        fs::write(file, "precious").unwrap();
        let output = swivel(args);
        check_refused(
            &output,
            args[0],
            &[file, "is there already", "--out", "--force"],
        );
        assert_eq!(output.stdout, b"", "{args:?}: refused before the work");
        assert_eq!(fs::read(file).unwrap(), b"precious");
        if file == &out {
            ran(&[args, &["--force"]].concat());
            assert_ne!(fs::read(file).unwrap(), b"precious", "{args:?}");
        }
    }
    let others = ["config.json", "out", "plan.json"];
    assert_eq!(files_in(folder.path()), others);
}

/// Settings that are not the default ones are in the name. The same command again gives the same bytes, which is said;
/// a file of this name that has other settings is kept.
#[test]
fn default_names_tell_runs_apart() {
    let folder = TempDir::new().unwrap();
    let run = |more: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_swivel"))
            .args([&SMALL[..], more].concat())
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert_ne!(output.status.code(), None);
        output
    };
    let names = || files_in(&folder.path().join("directions"));
    assert_eq!(run(&[]).status.code(), Some(1));
    let [name] = &names()[..] else {
        panic!("{:?}", names())
    };
    let settings = "pairs16-test40-shots0-epochs1-lr0.00001.safetensors";
    assert_eq!(*name, format!("solver-07065a-op5-layer2-rank1-{settings}"));
    let again = run(&[]);
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stdout).contains("is there already, with the same"));
    let place = ["--component", "value_output", "--position", "3"];
    run(&[
        &place[..],
        &["--seed", "5", "--no-shuffle", "--cache-dtype", "f16"],
    ]
    .concat());
    let other = "pairs16-test40-shots0-epochs1-lr0.00001-ordered-f16.safetensors";
    let other = format!("solver-07065a-op5-layer2-value_output-rank1-token3-seed5-{other}");
    assert_eq!(names(), [name.clone(), other]);

    let file = folder.path().join("directions").join(name);
    let whole = fs::read(&file).unwrap();
    let maker = format!("swivel {}", env!("CARGO_PKG_VERSION"));
    let at = whole
        .windows(maker.len())
        .position(|window| window == maker.as_bytes());
    patch(&file, at.unwrap(), b"SWIVEL");
    let refused = run(&[]);
    check_refused(&refused, "another maker", &["is there already", "--force"]);
    assert_eq!(refused.stdout, b"");
    // Other numbers of the same settings, as another device gives them: kept, and said.
    fs::write(&file, &whole).unwrap();
    let at = whole.len() - 4;
    patch(&file, at, &{
        let last = f32::from_le_bytes(whole[at..].try_into().unwrap());
        last.next_up().to_le_bytes()
    });
    let rounded = fs::read(&file).unwrap();
    let kept = run(&[]);
    assert_eq!(kept.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&kept.stdout).contains("was kept"));
    assert_eq!(fs::read(&file).unwrap(), rounded);
    run(&["--force"]);
    assert_eq!(fs::read(&file).unwrap(), whole);
}

#[test]
fn a_folder_that_is_there_gets_the_default_name() {
    let folder = TempDir::new().unwrap();
    let [plan, into] = [
        path_in(&folder, "my.plan.json"),
        folder.path().to_str().unwrap().to_owned(),
    ];
    fs::write(&plan, PLAN).unwrap();
    ran(&[&["train", "--out", &into], &SMALL[..]].concat());
    ok(&[
        "data",
        "--pairs",
        "2",
        "--seed",
        "4",
        "--variable",
        "op3",
        "--out",
        &into,
    ]);
    ok(&["apply", &plan, "--out", &into]);
    assert_eq!(
        files_in(folder.path()),
        [
            "07065a-op3-seed4-pairs2.jsonl",
            "my.plan.json",
            "my.plan.safetensors",
            "solver-07065a-op5-layer2-rank1-pairs16-test40-shots0-epochs1-lr0.00001.safetensors",
        ]
    );
}

/// What is printed as the next command is typed as it stands, and works.
#[test]
#[cfg(unix)]
fn next_command_works_as_printed() {
    let folder = TempDir::new().unwrap();
    let binary = Path::new(env!("CARGO_BIN_EXE_swivel"));
    let pair = |id: u32| {
        format!(
            r#"{{"base":[1,2,{id}],"source":[4,{id},6],"base_position":1,"source_position":2,"label":{id}}}"#
        )
    };
    let pairs = (7..27).map(pair).collect::<Vec<_>>().join("\n");
    fs::write(folder.path().join("my pairs.jsonl"), pairs).unwrap();
    let shell = |command: &str, cargo: Option<&str>| {
        let path = format!(
            "{}:{}",
            binary.parent().unwrap().display(),
            std::env::var("PATH").unwrap()
        );
        let mut shell = Command::new("sh");
        shell
            .args(["-c", command])
            .env("PATH", path)
            .env_remove("CARGO");
        if let Some(cargo) = cargo {
            shell.env("CARGO", cargo);
        }
        let output = shell.current_dir(folder.path()).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(matches!(output.status.code(), Some(0 | 1)), "{stderr}");
        String::from_utf8(output.stdout).unwrap()
    };
    let next = |text: String| text.lines().last().unwrap().trim().to_owned();
    let small = SMALL.join(" ");

    let first = next(shell(&format!("swivel --seed 1 {small}"), None));
    assert!(first.starts_with("swivel eval directions/"), "{first}");
    // Other pairs than those that it was scored on already.
    assert!(first.ends_with(" --seed 2 --shots 0"), "{first}");
    assert!(shell(&first, None).contains(" held-out pairs "));

    let model = fixture("tiny_sharded");
    let data = "--train-data 'my pairs.jsonl' --test-data 'my pairs.jsonl'";
    let second = next(shell(
        &format!(
            "{} train --model {}/ {data} --layer 0 --epochs 1 --device flex",
            binary.display(),
            model.display()
        ),
        None,
    ));
    assert!(second.starts_with(binary.to_str().unwrap()), "{second}");
    let name = "'directions/tiny_sharded-my pairs-layer0-";
    for option in [
        name,
        "--test-data 'my pairs.jsonl'",
        "--model",
        "--device flex",
    ] {
        assert!(second.contains(option), "{second}");
    }
    assert!(shell(&second, None).contains("IIA on 20 held-out pairs"));

    // Cargo says to what it runs that it runs it.
    let third = next(shell(&format!("swivel --rank 2 {small}"), Some("cargo")));
    let cargo = "cargo run --release -p native-trainer ";
    assert!(
        third.starts_with(cargo) && third.contains("-- eval directions/"),
        "{third}"
    );
}

#[test]
fn help_lists_components_and_groups_options() {
    let help = ok(&["train", "--help"]);
    let words: String = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for (_, name, _) in Component::ALL {
        assert!(words.contains(&format!("{name}, ")) || words.contains(&format!("{name}. ")));
    }
    let at = |text: &str| {
        help.find(text)
            .unwrap_or_else(|| panic!("`{text}` is not in\n{help}"))
    };
    let order = [
        "\nModel:",
        "--model ",
        "\nQuestion:",
        "--variable ",
        "\nPlace:",
        "--layer ",
        "\nLearning:",
        "--rank ",
        "\nOutput:",
        "--out ",
        "\nComponents:",
        "\nExamples:\n  swivel train",
    ];
    assert!(order.map(at).is_sorted(), "{help}");
    assert!(help.lines().all(|line| !line.contains("native-trainer")));
}

//! `generate`: texts behind prompts, with and without interventions, and bad ones.

use std::fs;

use serde_json::Value;
use tempfile::TempDir;

use crate::{apply::PLAN, support::*};

/// Events of a run: its tokens, then the summary.
fn events(args: &[&str]) -> (Vec<Value>, Value) {
    let args = [&["generate", "--json", "--device", "flex"], args].concat();
    let text = ok(&args);
    let mut events: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let done = events.pop().unwrap();
    (events, done)
}

/// Ids of a run's tokens.
fn tokens(events: &[Value], run: &str) -> Vec<u64> {
    let own = events.iter().filter(|event| event["run"] == run);
    own.map(|event| event["token"].as_u64().unwrap()).collect()
}

/// The plan of another test, in a file.
fn plan(folder: &TempDir) -> String {
    let path = path_in(folder, "plan.json");
    fs::write(&path, PLAN).unwrap();
    path
}

#[test]
fn both_runs_go_on_and_the_first_token_is_what_apply_says() {
    let folder = TempDir::new().unwrap();
    let plan = plan(&folder);
    let (events, done) = events(&["--plan", &plan, "--tokens", "6"]);
    assert_eq!(done["tokens"], 6);
    let applied = ok_json_line(&["apply", &plan, "--json", "--device", "flex"]);
    for run in ["before", "after"] {
        let found = tokens(&events, run);
        assert_eq!(found.len(), 6);
        assert_eq!(found[0], applied[run][0]["token"].as_u64().unwrap());
    }
    assert_ne!(tokens(&events, "before"), tokens(&events, "after"));
    let first = &events[0];
    assert_eq!(first["top"].as_array().unwrap().len(), 5);
    assert_eq!(first["top"][0][0], first["token"]);
}

/// The first event of a run.
fn ok_json_line(args: &[&str]) -> Value {
    serde_json::from_str(ok(args).lines().next().unwrap()).unwrap()
}

#[test]
fn where_interventions_act_is_a_choice() {
    let folder = TempDir::new().unwrap();
    let plan = plan(&folder);
    let of = |acts: &str| events(&["--plan", &plan, "--tokens", "4", "--acts", acts]).0;
    let all = ["prompt", "new", "every"].map(of);
    let before: Vec<_> = all.iter().map(|events| tokens(events, "before")).collect();
    assert!(before.iter().all(|own| *own == before[0]));
    // The prompt is left alone, and so is the first token.
    assert_eq!(tokens(&all[1], "after")[0], before[0][0]);
    let text = ok(&[
        "generate", "--plan", &plan, "--acts", "every", "--tokens", "2",
    ]);
    assert!(
        text.contains("at every token, of the prompt and new"),
        "{text}"
    );
    assert!(text.contains("before"), "{text}");
}

#[test]
fn draws_are_those_of_the_seed() {
    let of = |seed: &str| {
        let prompt = "clever,milk,clever,reply,clever=";
        let more = ["--temperature", "2", "--tokens", "12", "--seed", seed];
        let (events, _) = events(&[&[prompt], &more[..]].concat());
        assert!(tokens(&events, "after").is_empty());
        tokens(&events, "before")
    };
    assert_eq!(of("1"), of("1"));
    assert_ne!(of("1"), of("2"));
}

#[test]
fn text_ends_where_the_model_reads_no_more() {
    let (events, done) = events(&["clever,milk,clever,reply,clever=", "--tokens", "300"]);
    // It reads 256 tokens, 10 of which are the prompt's; what follows the last one is said, too.
    assert_eq!(done["tokens"], 247);
    assert_eq!(tokens(&events, "before").len(), 247);
}

#[test]
fn bad_texts_are_refused() {
    let folder = TempDir::new().unwrap();
    let plan = plan(&folder);
    let many = path_in(&folder, "many.json");
    fs::write(&many, PLAN.replace("[[9]]", "[[8, 9]]")).unwrap();
    for (args, expected) in [
        (&["x", "--tokens", "0"][..], &["--tokens", "at least 1"][..]),
        (&["x", "--temperature", "-1"], &["temperature"]),
        (&["x", "--temperature", "1", "--top-k", "0"], &["top-k"]),
        (&["x", "--temperature", "1", "--top-p", "2"], &["top-p"]),
        (&["x", "--top-k", "3"], &["--temperature 1"]),
        (
            &["--plan", &many, "--acts", "new"],
            &["one token", "2 tokens"],
        ),
        (&["--plan", "missing.json"], &["missing.json"]),
        (&["x", "--plan", &plan], &["--plan"]),
        (&[""], &["prompt"]),
    ] {
        check_error(&[&["generate"], args].concat(), expected);
    }
}

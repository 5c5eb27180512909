//! The engines behind the page: which there are, and what they answer.

use std::{fs, time::Instant};

use serde_json::json;

#[cfg(target_os = "linux")]
use crate::tab::threads;
use crate::{
    server::{Place, check_list_headers},
    tab::{Tab, check_equal, check_sound, recorded, recorded_question, table},
};

#[test]
fn the_example_flips_through_the_socket() {
    let place = Place::new();
    let server = place.serve(&[]);
    let mut tab = Tab::open(&server);
    let sha256 = &recorded()["model_sha256"];
    let loaded = json!({"sha256": sha256, "adapter": "flex", "is_software": true});
    assert_eq!(tab.loaded, json!({ "Loaded": loaded }));
    tab.give_op5();
    let (answer, _) = tab.ask(2, &recorded_question(true));
    let answer = table(&answer);
    assert!(answer.is_flipped() && answer.new_runs == 2, "{answer:?}");
    let expected = table(&json!({"Answer": recorded()["answer"]}));
    check_equal(&answer, &expected, 1e-3);
    assert_eq!(answer.computed, expected.computed);
    // Runs and directions are the engine's, for all of its tabs.
    let mut other = Tab::open(&server);
    let (answer, _) = other.ask(2, &recorded_question(true));
    assert_eq!(table(&answer).new_runs, 0);
    let (answer, _) = other.ask(3, &recorded_question(false));
    assert!(!table(&answer).is_flipped());
    check_sound(server);
}

#[test]
fn the_list_of_engines_makes_none() {
    let place = Place::new();
    let model = place.model("one model");
    let server = place.serve(&["--model", &model, "--device", "cpu"]);
    let list = server.get("/engines.json");
    check_list_headers(&list);
    let expected =
        json!({"device": "flex", "is_software": true, "models": ["one model", "solver"]});
    assert_eq!(list.json(), expected);
    assert_eq!(server.started["device"], "flex");
    #[cfg(target_os = "linux")]
    assert!(
        !threads(&server)
            .iter()
            .any(|name| name.starts_with("engine"))
    );

    let mut tab = Tab::of(&server, "model=one%20model");
    #[cfg(target_os = "linux")]
    assert!(
        threads(&server)
            .iter()
            .any(|name| name.starts_with("engine one"))
    );
    // The page's own solver is no model here; the embedded one is.
    assert_eq!(tab.loaded, Tab::open(&server).loaded);
    tab.give_op5();
    tab.ask(2, &recorded_question(true));
    check_sound(server);
}

#[test]
fn a_model_without_an_engine_is_refused() {
    let place = Place::new();
    let model = place.model("one");
    let server = place.serve(&["--model", &model]);
    for (query, expected) in [
        ("model=other", "`other`"),
        ("model=", "``"),
        ("model=../one", ".."),
    ] {
        let mut tab = Tab::of(&server, query);
        let why = tab.loaded["Refused"].as_str().unwrap().to_owned();
        assert!(why.contains(expected), "{why}");
        let (code, reason) = tab.closed();
        assert!(
            code == 1011 && reason.contains("no engine"),
            "{code} {reason}"
        );
    }
    // Files that broke since the server looked at them.
    let weights = place.path("one/model.safetensors");
    let whole = fs::read(&weights).unwrap();
    fs::write(&weights, &whole[..whole.len() - 1]).unwrap();
    let mut tab = Tab::of(&server, "model=one");
    assert!(tab.loaded["Refused"].is_string(), "{}", tab.loaded);
    assert_eq!(tab.closed().0, 1011);
    fs::write(&weights, &whole).unwrap();
    assert!(Tab::of(&server, "model=one").loaded["Loaded"].is_object());
    assert_eq!(server.get("/engine?model=solver").status, 400);
    assert_eq!(server.get("/engine").status, 400);
    check_sound(server);
}

#[test]
fn a_toggle_takes_little_longer_than_its_engine() {
    let place = Place::new();
    let server = place.serve(&[]);
    let mut tab = Tab::open(&server);
    tab.give_op5();
    let questions = [true, false].map(recorded_question);
    let mut times: Vec<(f64, f64)> = (0..200_u32)
        .map(|turn| {
            let started = Instant::now();
            let (_, ms) = tab.ask(turn + 2, &questions[turn as usize % 2]);
            (started.elapsed().as_secs_f64() * 1e3, ms)
        })
        .skip(20)
        .collect();
    let n = times.len();
    times.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (all, ms) = times[n / 2];
    let mut engine: Vec<f64> = times.iter().map(|(_, ms)| *ms).collect();
    engine.sort_by(f64::total_cmp);
    println!(
        "a toggle: round trip {all:.2} ms, of which {ms:.2} ms in the engine; nine of ten within {:.2} ms; engine's median {:.2} ms",
        times[n * 9 / 10].0,
        engine[n / 2]
    );
    assert!(all <= 1.5 * engine[n / 2] + 5.0);
}

//! Task files that are wrong, or were never written by anyone.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use rand::SeedableRng;
use serde_json::{Value, json};
use swivel_core::question::{Task, TaskError, TaskSampler};

use crate::tokenizers::gpt2;

/// A small task that is right.
fn file() -> Value {
    json!({
        "version": 1,
        "name": "who",
        "templates": ["{A} met {B}, and {S} waved at"],
        "tables": { "names": [{ "text": "Mary", "kind": "x" }, { "text": "John", "kind": "y" }, { "text": "Anna", "kind": "x" }] },
        "slots": {
            "A": { "table": "names" },
            "B": { "table": "names", "differs_from": ["A"] },
            "order": { "values": ["first", "second"] },
            "S": { "pick": ["A", "B"], "by": "order" },
            "O": { "pick": ["B", "A"], "by": "order" },
            "kind": { "pick": ["'one'", "'two'"], "by": "A.kind" },
        },
        "answer": " {O}",
    })
}

fn read(file: &Value) -> Result<Task, TaskError> {
    let none = |name: &str| Err(format!("there is no {name}"));
    Task::from_json(file.to_string().as_bytes(), none)
}

#[track_caller]
fn check_refused(change: impl FnOnce(&mut Value), place: &str, found: &str) {
    let mut file = file();
    change(&mut file);
    let message = read(&file).unwrap_err().to_string();
    assert!(
        message.contains(place) && message.contains(found),
        "{message}"
    );
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    read(&file()).unwrap();
    check_refused(
        |file| file["version"] = json!(2),
        "version",
        "`version`: expected 1, found 2",
    );
    check_refused(
        |file| file["templates"] = json!(["{A} met {Q}"]),
        "templates[0]",
        "`Q`",
    );
    check_refused(
        |file| file["templates"] = json!(["{A met"]),
        "templates[0]",
        "{A met",
    );
    check_refused(
        |file| file["templates"] = json!(["A} met"]),
        "templates[0]",
        "} met",
    );
    check_refused(|file| file["templates"] = json!([]), "templates", "none");
    check_refused(
        |file| file["templates"] = json!(["{A.size}"]),
        "templates[0]",
        "`A.size`",
    );
    check_refused(
        |file| file["templates"] = json!(["{order.kind}"]),
        "templates[0]",
        "order.kind",
    );
    check_refused(
        |file| file["slots"]["S"]["pick"] = json!(["A"]),
        "slots.S.pick",
        "found 1",
    );
    check_refused(
        |file| file["slots"]["S"]["by"] = json!("rank"),
        "slots.S.by",
        "`rank`",
    );
    check_refused(
        |file| file["slots"]["O"]["by"] = json!("O"),
        "slots",
        "circle",
    );
    check_refused(|file| file["slots"]["A"] = json!({}), "slots.A", "nothing");
    check_refused(
        |file| file["slots"]["A"]["values"] = json!(["x"]),
        "slots.A",
        "table, values",
    );
    check_refused(
        |file| file["slots"]["A"]["table"] = json!("people"),
        "slots.A.table",
        "people",
    );
    check_refused(
        |file| file["slots"]["order"]["values"] = json!([]),
        "slots.order.values",
        "none",
    );
    check_refused(
        |file| file["slots"]["order"]["values"] = json!(["x", "x"]),
        "slots.order.values",
        "twice",
    );
    check_refused(
        |file| file["slots"]["B"]["differs_from"] = json!(["order"]),
        "slots.B.differs_from",
        "order",
    );
    check_refused(
        |file| file["slots"]["last"] = json!({ "values": ["x"] }),
        "slots",
        "`last`",
    );
    check_refused(
        |file| file["tables"]["names"] = json!([{ "text": "Mary", "kind": "x" }]),
        "slots.B.differs_from",
        "has 1",
    );
    check_refused(
        |file| file["tables"]["names"][1] = json!({ "text": "John" }),
        "tables.names[1]",
        "found text",
    );
    check_refused(
        |file| file["tables"]["names"] = json!([{ "name": "Mary" }]),
        "tables.names",
        "column `text`",
    );
    check_refused(
        |file| file["tables"]["names"][1] = json!({ "text": "Mary", "kind": "x" }),
        "tables.names[1]",
        "twice",
    );
    check_refused(
        |file| file["tables"]["names"] = json!({ "file": "names.csv" }),
        "tables.names.file",
        "there is no names.csv",
    );
    check_refused(
        |file| file["source_keeps"] = json!(["S"]),
        "source_keeps[0]",
        "`S`",
    );
    check_refused(
        |file| file["answers"] = json!(" {O}"),
        "answers",
        "unknown field",
    );
    check_refused(|file| file["score"] = json!("best"), "score", "best");
    check_refused(
        |file| file["answer"] = json!("{A}{B}{S}{O}{A}{B}{S}{O}{A}{B}"),
        "answer",
        "more",
    );
    let long = vec!["x".repeat(1 << 10); 10 << 10];
    check_refused(
        |file| file["templates"] = json!(long),
        "bytes long",
        "1048576",
    );
}

#[test]
fn what_no_pair_can_be_made_of_is_said() {
    let tokenizer = gpt2();
    let of = |file: &Value, variable: &str| {
        let task = read(file).unwrap();
        let sampled = TaskSampler::new(&task, &tokenizer, variable);
        sampled
            .and_then(|mut sampler| sampler.pairs(10, 0))
            .unwrap_err()
            .to_string()
    };
    let message = of(&file(), "rank");
    assert!(message.contains("A, A.kind, B"), "{message}");
    // Nothing depends on it.
    let message = of(&file(), "kind");
    assert!(message.contains("`kind` changes the answer"), "{message}");
    let mut same = file();
    same["answer"] = json!(" John {O}");
    let message = of(&same, "order");
    assert!(
        message.contains("begin with the same token") && message.contains("\" John\""),
        "{message}"
    );
    let mut joined = file();
    joined["answer"] = json!("e{O}");
    joined["templates"] = json!(["{A} and {B}, {S} wav"]);
    assert!(!of(&joined, "order").is_empty());
    let mut empty = file();
    empty["answer"] = json!("");
    let message = of(&empty, "order");
    assert!(message.contains("no token of its own"), "{message}");
}

#[test]
fn tables_come_from_files() {
    let mut file = file();
    file["tables"]["names"] = json!({ "file": "names.csv" });
    let rows = |name: &str| {
        assert_eq!(name, "names.csv");
        let rows = [
            ["text", "kind"],
            ["Mary", "x"],
            ["John", "y"],
            ["Anna", "x"],
        ];
        Ok(rows.map(|row| row.map(str::to_owned).to_vec()).to_vec())
    };
    let task = Task::from_json(file.to_string().as_bytes(), rows).unwrap();
    assert_eq!(task.answers().unwrap(), [" Anna", " John", " Mary"]);
}

/// Texts of which many are names of the file above.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("A"),
        Just("B"),
        Just("S"),
        Just("O"),
        Just("order"),
        Just("A.kind"),
        Just("kind.kind"),
        Just("'x'"),
        Just("names"),
        Just("{A}"),
        Just("{S} {A.kind}"),
        Just("{"),
        Just(""),
        Just(" {O}")
    ]
    .prop_map(str::to_owned)
}

fn list() -> impl Strategy<Value = Value> {
    prop::collection::vec(text(), 0..5).prop_map(|texts| json!(texts))
}

fn slot() -> impl Strategy<Value = Value> {
    prop_oneof![
        (text(), list())
            .prop_map(|(table, other)| json!({ "table": table, "differs_from": other })),
        list().prop_map(|values| json!({ "values": values })),
        (list(), text()).prop_map(|(pick, by)| json!({ "pick": pick, "by": by })),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_files_are_read_or_refused_at_once(
        slots in prop::collection::vec((0..7_usize, slot()), 0..5),
        templates in list(),
        answer in text(),
        keeps in list(),
    ) {
        let mut file = file();
        for (idx, slot) in slots {
            let name = ["A", "B", "S", "O", "order", "kind", "more"][idx];
            file["slots"][name] = slot;
        }
        if templates != json!([]) {
            file["templates"] = templates;
        }
        file["answer"] = json!(answer);
        file["source_keeps"] = keeps;
        let started = Instant::now();
        if let Ok(task) = read(&file) {
            let mut rng = rand_chacha::ChaCha8Rng::from_seed([7; 32]);
            for variable in task.variables() {
                prop_assert_eq!(&task.variable(&task.entry_name(&variable)).unwrap(), &variable);
                if let Some(pair) = task.counterfactual(&variable, &mut rng) {
                    let known = task.answers().unwrap();
                    prop_assert!(known.contains(&pair.base_answer), "{:?}", pair.base_answer);
                    task.prompt(&pair.source);
                }
            }
        }
        prop_assert!(started.elapsed() < Duration::from_secs(1));
    }
}

//! `apply`: plans that are run, and bad ones.

use std::fs;

use serde_json::Value;
use swivel_core::Tokenizer;
use tempfile::TempDir;

use crate::{model::changed_solver, support::*};

/// A plan for the embedded solver: the whole last layer of one prompt from the other.
pub const PLAN: &str = r#"{
    "version": 1,
    "base": {"text": ["clever,milk,clever,reply,clever="]},
    "sources": [{"text": ["lemon,woman,clock,lady,help="]}],
    "interventions": [{"layer": 2, "component": "block_output", "source": 0, "base_positions": [[9]],
                       "op": {"type": "interchange"}}],
    "record": [{"layer": 1, "component": "pattern"}]
}"#;

/// Values that are collected are named by their intervention, as the others leave them.
#[test]
fn values_are_collected_and_said() {
    let folder = TempDir::new().unwrap();
    let [plan, out] = ["plan.json", "out.safetensors"].map(|name| path_in(&folder, name));
    let collecting = PLAN.replace(
        "\"interventions\": [",
        "\"interventions\": [
            {\"layer\": 2, \"component\": \"block_output\", \"base_positions\": [[8, 9]], \"op\": {\"type\": \"collect\"}},
            {\"layer\": 0, \"component\": \"z\", \"unit\": \"h.pos\", \"heads\": [1], \"base_positions\": [[9]],
             \"op\": {\"type\": \"scale\", \"factor\": 1}},",
    );
    fs::write(&plan, collecting).unwrap();
    let text = ok(&["apply", &plan, "--out", &out, "--device", "flex"]);
    assert!(
        text.contains("  1. scale layer 0 head_attention_value_output, head 1, token 9"),
        "{text}"
    );
    assert!(
        text.contains("collected.0  1 x 2 x 64 values, root mean square "),
        "{text}"
    );
    let bytes = fs::read(&out).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let collected: Vec<f32> = floats(file.tensor("collected.0").unwrap().data()).collect();
    assert_eq!(collected.len(), 2 * 64);
    // The last layer's value is the source's, which answers otherwise: its head gives the logits.
    let plain = PLAN.replace(
        "\"layer\": 1, \"component\": \"pattern\"",
        "\"layer\": 2, \"component\": \"block_output\"",
    );
    fs::write(&plan, plain).unwrap();
    ok(&["apply", &plan, "--out", &out, "--force", "--device", "flex"]);
    let bytes = fs::read(&out).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let recorded: Vec<f32> = floats(file.tensor("record.0").unwrap().data()).collect();
    let apart = collected
        .iter()
        .zip(&recorded[8 * 64..])
        .map(|(a, b)| (a - b).abs());
    assert!(apart.fold(0.0, f32::max) < 1e-4);
}

/// Two plans beside each other: what the second answers, and how far that is from what the first does.
#[test]
fn plans_are_compared() {
    let folder = TempDir::new().unwrap();
    let [plan, half] = ["plan.json", "half.json"].map(|name| path_in(&folder, name));
    fs::write(&plan, PLAN).unwrap();
    let half_way = PLAN.replace("\"interchange\"", "\"interchange\", \"strength\": 0.5");
    fs::write(&half, half_way).unwrap();
    let compared = |other: &str| {
        let text = ok(&[
            "apply",
            &plan,
            "--compare",
            other,
            "--json",
            "--device",
            "flex",
        ]);
        let row: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        row
    };
    let same = compared(&plan);
    assert_eq!(same["after"], same["other"]);
    assert!(same["kl"].as_f64().unwrap().abs() < 1e-6);
    assert_eq!(same["largest_difference"], 0.0);
    let row = compared(&half);
    assert!(row["kl"].as_f64().unwrap() > 1e-3, "{row}");
    let alone = ok(&["apply", &half, "--json", "--device", "flex"]);
    let alone: Value = serde_json::from_str(alone.lines().next().unwrap()).unwrap();
    assert_eq!(row["other"], alone["after"]);
    let text = ok(&["apply", &plan, "--compare", &half, "--device", "flex"]);
    assert!(text.contains("  other   "), "{text}");
    let two = PLAN.replace(
        "\"clever,milk,clever,reply,clever=\"",
        "\"clever,milk,clever,reply,clever=\", \"lemon,woman,clock,lady,help=\"",
    );
    let two = two.replace(
        "[\"lemon,woman,clock,lady,help=\"]",
        "[\"lemon,woman,clock,lady,help=\", \"lemon,woman,clock,lady,help=\"]",
    );
    fs::write(&half, two).unwrap();
    check_error(
        &["apply", &plan, "--compare", &half],
        &["2 base prompts; expected 1"],
    );
}

/// Prompts of a model without a tokenizer.
const IDS: &str = r#"{"ids": [[1, 2, 3]]}"#;

#[test]
fn half_precision_says_what_it_changes() {
    let folder = TempDir::new().unwrap();
    let plan = path_in(&folder, "plan.json");
    fs::write(&plan, PLAN).unwrap();
    let mut differences = Vec::new();
    for dtype in ["f16", "bf16"] {
        let args = [
            "apply", &plan, "--json", "--device", "flex", "--dtype", dtype,
        ];
        let text = ok(&args);
        let event: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(event["event"], "precision");
        assert_eq!(event["held_in"], dtype);
        differences.push(event["largest_difference"].as_f64().unwrap());
    }
    // The solver's weights are stored in f16; bf16 has three digits of fraction fewer.
    assert_eq!(differences[0], 0.0);
    assert!(
        0.0 < differences[1] && differences[1] < 2.0,
        "{differences:?}"
    );
}

#[test]
fn plan_is_run_and_what_comes_out_is_written() {
    let folder = TempDir::new().unwrap();
    let [plan, out] = ["plan.json", "out.safetensors"].map(|name| path_in(&folder, name));
    fs::write(&plan, PLAN).unwrap();
    let text = ok(&["apply", &plan, "--out", &out, "--json", "--device", "flex"]);
    let events: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let [row, done] = &events[..] else {
        panic!("a row and a summary: {text}");
    };
    assert_eq!(done["file"], out.as_str());
    assert_eq!(row["after"].as_array().unwrap().len(), 5);

    let bytes = fs::read(&out).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut names = file.names();
    names.sort();
    assert_eq!(names, ["logits.base", "logits.intervened", "record.0"]);
    let values = |name: &str| -> Vec<f32> { floats(file.tensor(name).unwrap().data()).collect() };
    let shape = |name: &str| file.tensor(name).unwrap().shape().to_vec();
    assert_eq!(shape("logits.intervened"), [1, 10, 922]);
    assert_eq!(shape("record.0")[2..], [10, 10]);
    let [base, intervened] = ["logits.base", "logits.intervened"].map(values);
    assert_eq!(base[..9 * 922], intervened[..9 * 922]);
    for (logits, shown) in [(&base, &row["before"]), (&intervened, &row["after"])] {
        let token = shown[0]["token"].as_u64().unwrap() as usize;
        let highest = logits[9 * 922..].iter().copied().fold(f32::MIN, f32::max);
        assert_eq!(logits[9 * 922 + token], highest);
    }

    // The whole last layer comes from the source: its answer, as a plain run of it gives it.
    let swapped = PLAN
        .replace(
            "clever,milk,clever,reply,clever=",
            "lemon,woman,clock,lady,help=",
        )
        .replace(
            "\"type\": \"interchange\"",
            "\"type\": \"interchange\", \"strength\": 0",
        );
    fs::write(&plan, swapped).unwrap();
    let plain = ok(&["apply", &plan, "--json", "--device", "flex"]);
    let plain: Value = serde_json::from_str(plain.lines().next().unwrap()).unwrap();
    // What is computed again from cached values may round differently.
    let [before, after] = ["before", "after"].map(|name| plain[name].as_array().unwrap());
    for (before, after) in before.iter().zip(after) {
        assert_eq!(before["token"], after["token"]);
        let apart = before["logit"].as_f64().unwrap() - after["logit"].as_f64().unwrap();
        assert!(apart.abs() < 1e-4, "{before}, {after}");
    }
    assert_eq!(plain["before"][0]["token"], row["after"][0]["token"]);

    // For people: a block a row.
    let text = ok(&["apply", &plan, "--device", "flex"]);
    assert!(
        text.contains("before") && text.contains("lemon,woman"),
        "{text}"
    );
    assert_eq!(files_in(folder.path()), ["out.safetensors", "plan.json"]);
}

#[test]
fn plan_with_a_direction_wants_the_weights_that_it_was_learned_on() {
    let folder = TempDir::new().unwrap();
    let [plan, direction] = ["plan.json", "d.safetensors"].map(|name| path_in(&folder, name));
    ran(&[
        "train",
        "--out",
        &direction,
        "--train-pairs",
        "16",
        "--test-pairs",
        "8",
        "--shots",
        "0",
        "--epochs",
        "1",
    ]);
    // The name is relative to the plan, not to where the command is run.
    let op = r#""type": "low_rank", "direction": "d.safetensors""#;
    fs::write(&plan, PLAN.replace(r#""type": "interchange""#, op)).unwrap();
    let warnings = |plan: &str| {
        let output = swivel(&["inspect", plan]);
        assert!(output.status.success());
        let inspected = output.stderr;
        let output = swivel(&["apply", plan]);
        assert_eq!(output.stderr, inspected);
        assert!(output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    assert_eq!(warnings(&plan), "");
    // Elsewhere than where it was learned: both places are named.
    let elsewhere = path_in(&folder, "elsewhere.json");
    let text = fs::read_to_string(&plan).unwrap();
    fs::write(&elsewhere, text.replace("block_output", "mlp_output")).unwrap();
    let warning = warnings(&elsewhere);
    for part in [
        "warning",
        "interventions[0]",
        "layer 2 block_output",
        "layer 2 mlp_output",
    ] {
        assert!(warning.contains(part), "{warning}");
    }
    fs::remove_file(&elsewhere).unwrap();

    let mut bytes = fs::read(&direction).unwrap();
    let header = String::from_utf8_lossy(&bytes).into_owned();
    let at = header.find("model_sha256\":\"").unwrap() + "model_sha256\":\"".len();
    bytes[at..at + 8].copy_from_slice(b"00000000");
    fs::write(&direction, bytes).unwrap();
    // Another hash, the same answer to its probe: the same model in another format.
    let output = swivel(&["apply", &plan]);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("another format"));
    let other = TempDir::new().unwrap();
    let other = ["--model", &changed_solver(other.path())].map(str::to_owned);
    let other = other.each_ref().map(String::as_str);
    let out = path_in(&folder, "out.safetensors");
    let refused = ["apply", &plan, "--out", &out];
    check_error(
        &[&refused[..], &other].concat(),
        &["other weights", "probe", "--any-model"],
    );
    assert_eq!(files_in(folder.path()), ["d.safetensors", "plan.json"]);
    let output = swivel(&[&["apply", &plan, "--any-model"], &other[..]].concat());
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("warning"));
}

/// Tokens by text, of prompts as text and as ids, are those that numbers name.
#[test]
fn plan_that_names_tokens_by_text_does_what_numbers_do() {
    let folder = TempDir::new().unwrap();
    let plan = path_in(&folder, "plan.json");
    let applied = |text: &str| {
        fs::write(&plan, text).unwrap();
        let applied = ok(&["apply", &plan, "--device", "flex"]);
        assert!(applied.contains("token 8 \"clever\""), "{applied}");
        let inspected = ok(&["inspect", &plan]);
        let mut lines = inspected.lines().skip(1);
        assert!(lines.all(|line| applied.contains(line)), "{inspected}");
        applied
    };
    let at = |base: &str, source: &str| {
        let positions = format!(r#"[{base}], "source_positions": [{source}]"#);
        PLAN.replace("[[9]]", &positions)
    };
    let by_number = applied(&at("8", "6"));
    let by_text = at(r#"{"text": "clever"}"#, r#"{"text": "lady"}"#);
    assert_eq!(applied(&by_text), by_number);
    let tokenizer = include_bytes!("../../../models/solver/tokenizer.json");
    let tokenizer = Tokenizer::from_json(tokenizer).unwrap();
    let text = "clever,milk,clever,reply,clever=";
    let ids = format!(r#"{{"ids": [{:?}]}}"#, tokenizer.encode(text).unwrap());
    let of_ids = by_text.replace(&format!(r#"{{"text": ["{text}"]}}"#), &ids);
    assert_ne!(of_ids, by_text);
    assert_eq!(applied(&of_ids), by_number);
}

#[test]
fn bad_plans_are_refused_with_the_field() {
    let folder = TempDir::new().unwrap();
    let [plan, out] = ["plan.json", "out/logits.safetensors"].map(|name| path_in(&folder, name));
    let cases: &[(&str, &str, &[&str])] = &[
        (
            r#""version": 1"#,
            r#""version": 9"#,
            &["`version`", "expected 1"],
        ),
        (
            r#""base": {"text""#,
            r#""base": {"txet""#,
            &["`base", "txet"],
        ),
        (
            "lemon,",
            "",
            &["`interventions[0].source_positions[0]`", "0 to 7"],
        ),
        (
            r#""layer": 2"#,
            r#""layer": 3"#,
            &["`interventions[0].layer`", "0 to 2"],
        ),
        (
            "block_output",
            "blok_output",
            &["`interventions[0].component`", "blok_output"],
        ),
        (
            "[[9]]",
            "[[10]]",
            &["`interventions[0].base_positions[0]`", "0 to 9", "10"],
        ),
        (
            "[[9]]",
            "[[]]",
            &["`interventions[0].base_positions[0]`", "none"],
        ),
        (
            "[[9]]",
            r#"[[{"text": "camera"}]]"#,
            &[
                "`interventions[0].base_positions[0]`",
                "\"camera\" is nowhere",
                "\"clever,milk,clever,reply,clever=\"",
            ],
        ),
        (
            "[[9]]",
            r#"[[{"text": "clever"}]]"#,
            &[
                "`interventions[0].source_positions[0]`",
                "\"lemon,woman,clock,lady,help=\"",
            ],
        ),
        (
            "[[9]]",
            r#"[[{"word": "clever"}]]"#,
            &["`interventions[0].base_positions`", r#"{"text":"#],
        ),
        (
            "interchange",
            "noize",
            &["`interventions[0].op.type`", "unknown operation"],
        ),
        (
            r#""interchange""#,
            r#""low_rank", "direction": "x.safetensors""#,
            &["`interventions[0].op.direction`", "x.safetensors"],
        ),
        (
            r#""source": 0"#,
            r#""source": 1"#,
            &["`interventions[0].source`", "0 to 0"],
        ),
        (r#""record""#, r#""rekord""#, &["`rekord`", "record"]),
        ("}", "", &["plan.json"]),
    ];
    for (from, to, expected) in cases {
        assert!(PLAN.contains(from), "{from}");
        fs::write(&plan, PLAN.replacen(from, to, 1)).unwrap();
        check_error(&["apply", &plan, "--out", &out], expected);
        check_error(&["inspect", &plan], expected);
        let output = swivel(&["apply", &plan, "--out", &out]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert_eq!(files_in(folder.path()), ["plan.json"]);
    }
    check_error(&["apply", "missing.json"], &["missing.json"]);
    let tiny = fixture("tiny");
    fs::write(&plan, PLAN).unwrap();
    check_error(
        &["apply", &plan, "--model", tiny.to_str().unwrap()],
        &["`base`", "no tokenizer"],
    );
    let ids = PLAN
        .replace(r#"{"text": ["clever,milk,clever,reply,clever="]}"#, IDS)
        .replace(r#"{"text": ["lemon,woman,clock,lady,help="]}"#, IDS)
        .replace(r#""layer": 2"#, r#""layer": 1"#);
    fs::write(&plan, ids.replace("[[9]]", r#"[[{"text": "="}]]"#)).unwrap();
    check_error(
        &["apply", &plan, "--model", tiny.to_str().unwrap()],
        &["`interventions[0].base_positions[0]`", "no tokenizer"],
    );
}

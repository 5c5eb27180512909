//! What is written is what is read, and checking it gives a plan that can be run; the mistakes are in `tests/refused.rs`.

mod refused;

use super::*;
use crate::direction::tests::facts;

const PLAN: &str = r#"{
    "version": 1,
    "base": {"ids": [[5, 9, 2, 7], [1, 2, 3, 4]]},
    "sources": [{"ids": [[5, 1, 2], [4, 3, 2]]}],
    "interventions": [
        {"layer": 1, "component": "block_output", "source": 0, "base_positions": [[2], [3]],
         "source_positions": [[1]], "op": {"type": "low_rank", "direction": "d.safetensors", "dims": [1]}},
        {"layer": 0, "component": "z", "unit": "h.pos", "heads": [1], "base_positions": [3], "op": {"type": "zero"}},
        {"layer": 0, "component": "mlp_output", "values": [[1, 0, 0, 0, 0, 0]], "base_positions": [[2, 3]],
         "op": {"type": "add", "dims": [0, 5], "strength": 0.5}}
    ],
    "record": [{"layer": 0, "component": "mlp_output"}]
}"#;

fn direction() -> Vec<u8> {
    let basis = [
        [0.6, 0.8, 0.0, 0.0, 0.0, 0.0],
        [0.0, 0.0, 1.0, 0.0, 0.0, 0.0],
    ];
    let direction = Direction::new(basis.concat(), 2, facts());
    direction.unwrap().to_bytes()
}

/// Two layers, width 6, two heads, 16 positions, 50 tokens.
fn check(plan: &Plan) -> Result<CheckedPlan, PlanError> {
    plan.check(&Sizes::gpt2(2, 6, 2, 16, 50), None, |name| match name {
        "d.safetensors" => Ok(Arc::new(Direction::from_bytes(&direction()).unwrap())),
        _ => Err("no such file"),
    })
}

#[test]
fn plan_is_read_and_checked() {
    let plan = Plan::from_json(PLAN.as_bytes()).unwrap();
    assert_eq!(
        plan.interventions[1].base_positions,
        Some(Positions::one(Position::Index(3)))
    );
    let checked = check(&plan).unwrap();
    assert_eq!(checked.base(), [[5, 9, 2, 7], [1, 2, 3, 4]]);
    assert_eq!(checked.directions().count(), 1);
    let sites: Vec<String> = checked.sites().map(|site| site.to_string()).collect();
    assert_eq!(sites[1], "layer 0 head_attention_value_output");
}

#[test]
fn example_of_the_text_above_is_a_plan() {
    let lines = include_str!("../plan.rs").lines();
    let lines = lines.map(|line| line.trim_start_matches("//!").trim());
    let example = lines.skip_while(|line| *line != "```json").skip(1);
    let example: String = example.take_while(|line| *line != "```").collect();
    let plan = Plan::from_json(example.as_bytes()).unwrap();
    assert_eq!(plan.interventions.len(), 3);
}

#[test]
fn direction_travels_in_the_plan() {
    let mut plan = Plan::from_json(PLAN.as_bytes()).unwrap();
    plan.interventions[0].op.direction = Some(data_url(&direction()));
    let plan = Plan::from_json(plan.to_json().as_bytes()).unwrap();
    let found = check(&plan)
        .unwrap()
        .directions()
        .next()
        .unwrap()
        .to_bytes();
    assert_eq!(found, direction());
}

#[test]
fn defaults_are_not_written() {
    let full = r#"{"version":1,"base":{"text":["a"]},"sources":[{"text":["b"]}],"mode":"parallel","interventions":[
        {"layer":0,"component":"resid_post","unit":"pos","source":0,"base_positions":[[0]],"source_positions":[[0]],
         "op":{"type":"interchange","strength":1.0}}],"record":[]}"#;
    let short = Plan::from_json(full.as_bytes()).unwrap().to_json();
    for name in [
        "mode",
        "unit",
        "source_positions",
        "strength",
        "record",
        "null",
    ] {
        assert!(!short.contains(name), "{short}");
    }
    assert!(short.contains("block_output"), "{short}");
}

//! Plans come out as pyvene's own runs of the same: every operation, in full runs and by the engine.

use std::collections::BTreeMap;

use burn::tensor::TensorData;
use futures_executor::block_on;
use serde::Deserialize;
use swivel_core::{
    Sizes,
    plan::{CheckedPlan, OPERATIONS, Outcome, Plan, Record},
};
use swivel_engine::{Engine, Limits, Logits};

use crate::support::{B, Reference, difference, fixture, model_in};

/// f32 rounding over three layers, in another order than torch's; of the largest value.
const TOLERANCE: f32 = 1e-5;
/// The reference holds the positions from here on.
const FIRST: usize = 2;
/// Folders of the models, by the names that the plans have for them.
const MODELS: [(&str, &str); 2] = [("gpt2", "pyvene/gpt2"), ("llama", "families/llama")];

#[derive(Deserialize)]
struct Case {
    name: String,
    model: String,
    plan: serde_json::Value,
}

/// Values that are pyvene's.
#[track_caller]
fn assert_equal(found: &TensorData, expected: &TensorData, what: &str) {
    let apart = difference(found, expected);
    assert!(apart <= TOLERANCE, "{what}: {apart:e} apart");
}

fn assert_is_pyvenes(outcome: &Outcome<B>, reference: &Reference, what: &str) {
    let logits = outcome.intervened.clone();
    let n_tokens = logits.dims()[1];
    let logits = logits.narrow(1, FIRST, n_tokens - FIRST).into_data();
    assert_equal(&logits, &reference.floats(what), what);
    for (idx, record) in outcome.records.iter().enumerate() {
        let name = format!("{what}.collected.{idx}");
        let found = match record {
            Record::Positions(x) => x.to_data(),
            Record::Heads(x) => x.to_data(),
        };
        assert_equal(&found, &reference.floats(&name), &name);
    }
}

#[test]
fn plans_come_out_as_in_pyvene() {
    let reference = Reference::open("pyvene/logits.safetensors");
    let cases: Vec<Case> = serde_json::from_slice(&fixture("pyvene/plans.json")).unwrap();
    let mut engines: BTreeMap<&str, (Sizes, Engine<B>)> = BTreeMap::new();
    for (name, folder) in MODELS {
        let (sizes, model) = model_in(folder);
        let engine = Engine::new(sizes.clone(), model, Limits::PAGE);
        engines.insert(name, (sizes, engine));
    }
    let mut n_collected = 0;
    for Case { name, model, plan } in &cases {
        let plan = Plan::from_json(plan.to_string().as_bytes()).unwrap();
        let (sizes, engine) = engines.get_mut(model.as_str()).unwrap();
        let none = |name: &str| Err(format!("{name} is not there"));
        let checked: CheckedPlan = plan
            .check(sizes, None, none)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let full = checked.run(engine.model()).unwrap();
        assert_is_pyvenes(&full, &reference, name);
        let outcome = block_on(engine.outcome(0, &checked, Logits::All, &async || true)).unwrap();
        // The engine has the logits that can change.
        assert_is_pyvenes(&outcome, &reference, name);
        n_collected += outcome.records.len();
    }
    let names = reference.names();
    assert_eq!(names.len(), cases.len() + n_collected);
    for operation in &OPERATIONS {
        let name = format!("\"type\":\"{operation}\"");
        let mut plans = cases.iter().map(|case| case.plan.to_string());
        assert!(
            plans.any(|plan| plan.contains(&name)),
            "{operation} is compared with nothing"
        );
    }
}

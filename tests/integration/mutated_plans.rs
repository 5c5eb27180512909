//! Plans of which most are wrong: each is read, or refused in one short line, at once and in memory of its own size;
//! what is read is written back the same.
//!
//! `SWIVEL_PLANS` is how many are tried, `SWIVEL_SEED` the seed of the first; each has one of its own, and is made again
//! from that alone.

mod mutator;

use std::{
    collections::BTreeMap,
    env,
    panic::{self, AssertUnwindSafe},
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use swivel_core::{
    Config, Sizes, Tokenizer,
    direction::Direction,
    plan::{Plan, PlanError, data_url},
};

use mutator::Mutator;

const OP5: &[u8] = include_bytes!("../../web/examples/op5.safetensors");

/// Bytes of a message.
const LONGEST: usize = 700;
/// Time for a plan, also where other tests keep the machine busy.
const SLOWEST: Duration = Duration::from_secs(2);
/// Bytes of memory for a plan of no length, and how many more for each byte of one: a dimension is a vector.
const MEMORY: [u64; 2] = [1 << 20, 500];
/// Bytes that may stay of all plans: the tokenizer remembers words.
const KEPT: i64 = 32 << 20;

/// The model that plans are checked against, and the direction that they can name.
struct Solver {
    sizes: Sizes,
    tokenizer: Tokenizer,
    direction: Arc<Direction>,
}

/// What becomes of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    NoPlan,
    Refused,
    Right,
}

impl Solver {
    fn new() -> Self {
        Self {
            sizes: Config::from_json(include_bytes!("../../models/solver/config.json"))
                .unwrap()
                .sizes,
            tokenizer: Tokenizer::from_json(include_bytes!("../../models/solver/tokenizer.json"))
                .unwrap(),
            direction: Arc::new(Direction::from_bytes(OP5).unwrap()),
        }
    }

    /// Reads a plan and checks it, with a tokenizer and without.
    fn read(&self, bytes: &[u8]) -> End {
        let plan = match Plan::from_json(bytes) {
            Ok(plan) => plan,
            Err(error) => {
                check_message(&error);
                return End::NoPlan;
            }
        };
        let mut end = End::Refused;
        for tokenizer in [None, Some(&self.tokenizer)] {
            let checked = plan.check(&self.sizes, tokenizer, |name| match name {
                "op5.safetensors" => Ok(Arc::clone(&self.direction)),
                _ => Err(format!("{name} is not there")),
            });
            match checked {
                Ok(checked) => {
                    end = End::Right;
                    assert!(!checked.in_words(tokenizer).is_empty());
                }
                Err(error) => check_message(&error),
            }
        }
        match is_finite(&plan) {
            true => check_written(&plan),
            false => assert_eq!(end, End::Refused, "{plan:?}"),
        }
        end
    }

    /// The same, within time and memory; also says how many bytes stay.
    fn read_within_bounds(&self, bytes: &[u8]) -> (End, i64) {
        let started = Instant::now();
        let mut end = End::NoPlan;
        let memory = allocation_counter::measure(|| end = self.read(bytes));
        let took = started.elapsed();
        assert!(took < SLOWEST, "{took:?}");
        let most = MEMORY[0] + MEMORY[1] * bytes.len() as u64;
        let (used, n_bytes) = (memory.bytes_max, bytes.len());
        assert!(used < most, "{used} bytes for a plan of {n_bytes}");
        (end, memory.bytes_current)
    }
}

#[track_caller]
fn check_message(error: &PlanError) {
    let message = error.to_string();
    assert!(!message.trim().is_empty(), "{error:?}");
    assert!(
        message.len() <= LONGEST,
        "{} bytes: {message}",
        message.len()
    );
    assert!(!message.chars().any(char::is_control), "{message:?}");
}

/// What is written is read as the same plan, and written the same.
#[track_caller]
fn check_written(plan: &Plan) {
    let json = plan.to_json();
    let read = Plan::from_json(json.as_bytes()).unwrap();
    assert_eq!(read, *plan, "{json}");
    assert_eq!(read.to_json(), json);
}

/// False if a number of the plan is too large for f32, which checking refuses.
fn is_finite(plan: &Plan) -> bool {
    plan.interventions.iter().all(|planned| {
        let mut values = planned.values.iter().flatten().flatten();
        planned.op.strength.is_finite() && values.all(|value| value.is_finite())
    })
}

/// Plans that are right, with every field.
fn real_plans() -> Vec<Value> {
    let ids = [[5, 9, 2, 7], [1, 2, 3, 4]];
    let other = [[8, 1, 30, 2], [7, 6, 5, 4]];
    let low_rank =
        json!({"type": "low_rank", "direction": "op5.safetensors", "dims": [0], "strength": 0.5});
    vec![
        json!({
            "version": 1,
            "base": {"ids": ids},
            "sources": [{"ids": other}],
            "interventions": [
                {"layer": 2, "component": "block_output", "source": 0, "base_positions": [[2], [3]],
                 "source_positions": [[1]], "op": low_rank},
                {"layer": 0, "component": "z", "unit": "h.pos", "heads": [1], "base_positions": [3], "op": {"type": "zero"}},
                {"layer": 0, "component": "mlp_output", "values": [vec![0.5; 64]], "base_positions": [[2, 3]],
                 "op": {"type": "add", "dims": [0, 5], "strength": -0.25}},
            ],
            "record": [{"layer": 0, "component": "mlp_output"}, {"layer": 1, "component": "pattern"}],
        }),
        json!({
            "version": 1,
            "base": {"text": ["woman,camera,woman,taxi,woman="]},
            "sources": [{"text": ["carpet,rug,carpet="]}],
            "interventions": [
                {"layer": 2, "component": "resid_post", "source": 0, "base_positions": ["last"], "token": "=",
                 "source_positions": [-1], "source_token": "=",
                 "op": {"type": "low_rank", "direction": data_url(OP5)}},
                {"layer": 1, "component": "block_output", "source": 0, "base_positions": [[-2, 1]],
                 "source_positions": [[2, -3]], "op": {"type": "interchange"}},
            ],
        }),
        json!({
            "version": 1,
            "base": {"text": ["woman,camera,woman,taxi,woman=", "lady,rug,lady,taxi,help="]},
            "sources": [{"ids": other}],
            "interventions": [
                {"layer": 1, "component": "block_output", "source": 0,
                 "base_positions": [{"text": "taxi"}, {"text": "="}], "source_positions": [[1, 2]],
                 "op": {"type": "interchange"}},
            ],
        }),
        json!({
            "version": 1,
            "mode": "serial",
            "base": {"ids": ids},
            "sources": [{"ids": other}, {"ids": ids}],
            "interventions": [
                {"layer": 0, "component": "block_output", "source": 0, "base_positions": [[2]], "op": {"type": "interchange"}},
                {"layer": 1, "component": "query_output", "source": 1, "base_positions": [[2]], "op": {"type": "subtract"}},
            ],
        }),
        json!({
            "version": 1,
            "base": {"ids": ids},
            "sources": [{"ids": other}],
            "interventions": [
                {"layer": 0, "component": "attention_weight", "unit": "h", "heads": [0, 2], "op": {"type": "zero"}},
                {"layer": 1, "component": "attention_score", "source": 0, "base_positions": [[1], [2]],
                 "source_positions": [[2], [3]], "op": {"type": "subtract", "strength": 0.5}},
                {"layer": 1, "component": "mlp_activation", "values": [vec![1.5; 256], vec![-1e30; 256]],
                 "base_positions": [[0, 3]], "op": {"type": "interchange"}},
            ],
        }),
    ]
}

/// A number from the environment, for runs that take longer.
fn setting(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[test]
fn mutated_plans_are_read_or_refused() {
    let first = setting("SWIVEL_SEED", 0);
    let n_plans = setting("SWIVEL_PLANS", 10_000);
    let solver = Solver::new();
    let real = real_plans();
    for plan in &real {
        assert_eq!(
            solver.read(plan.to_string().as_bytes()),
            End::Right,
            "{plan}"
        );
    }
    let mut ends: BTreeMap<End, u64> = BTreeMap::new();
    let mut kept = 0;
    for seed in first..first + n_plans {
        let bytes = Mutator::new(seed).plan(&real);
        let read = AssertUnwindSafe(|| solver.read_within_bounds(&bytes));
        let (end, bytes_kept) = panic::catch_unwind(read).unwrap_or_else(|cause| {
            let plan = String::from_utf8_lossy(&bytes);
            println!("SWIVEL_SEED={seed} SWIVEL_PLANS=1 makes this plan again:\n{plan}");
            panic::resume_unwind(cause)
        });
        *ends.entry(end).or_default() += 1;
        kept += bytes_kept;
    }
    println!("{ends:?}, {kept} bytes stay");
    assert!(kept < KEPT, "{kept} bytes stay");
    // Mutations that leave nothing right, or nothing wrong, would try little.
    for end in [End::NoPlan, End::Refused, End::Right] {
        let found = ends.get(&end).copied().unwrap_or_default();
        assert!(n_plans < 1000 || found > n_plans / 20, "{ends:?}");
    }
}

/// Rows, positions and interventions may each be as many as a plan is long, but not one for each of the others.
#[test]
fn long_plans_cost_no_more_than_their_length() {
    let plan = |n_rows: usize, n_positions: usize, n_interventions: usize| {
        let planned = json!({"layer": 0, "component": "z", "base_positions": [vec![0; n_positions]], "op": {"type": "zero"}});
        let plan = json!({"version": 1, "base": {"ids": vec![[1]; n_rows]}, "interventions": vec![planned; n_interventions]});
        plan.to_string()
    };
    let solver = Solver::new();
    for (plan, expected) in [
        (plan(20_000, 20_000, 1), End::Refused),
        (plan(20_000, 1, 2_000), End::Right),
    ] {
        assert_eq!(solver.read_within_bounds(plan.as_bytes()).0, expected);
    }
}

//! Every mistake in a plan is refused, and the message names the field.

use super::{PLAN, check};
use crate::plan::Plan;

#[test]
fn every_mistake_is_refused_with_its_field() {
    // What stands in the plan, what is put in its place, what the message says.
    let cases: &[(&str, &str, &[&str])] = &[
        (
            r#""version": 1"#,
            r#""version": 2"#,
            &["`version`", "2", "expected 1"],
        ),
        (r#""version": 1,"#, "", &["version"]),
        (r#""base": {"#, r#""bass": {"#, &["`bass`", "base"]),
        (r#""base": {"ids""#, r#""base": {"idz""#, &["`base", "ids"]),
        (
            "[1, 2, 3, 4]",
            "[1, 2, 3]",
            &["`base.ids`", "row 1 has 3 tokens"],
        ),
        ("[1, 2, 3, 4]", "[1, 2, 3, 50]", &["`base.ids`", "50"]),
        ("[1, 2, 3, 4]", "[1, 2, 3, -4]", &["`base", "-4"]),
        ("[5, 1, 2], ", "", &["`sources[0]`", "1 rows", "2 rows"]),
        (
            r#"{"ids": [[5, 1, 2], [4, 3, 2]]}"#,
            r#"{"text": ["a"]}"#,
            &["`sources[0]`", "tokenizer"],
        ),
        (
            r#"{"ids": [[5, 1, 2], [4, 3, 2]]}"#,
            "",
            &["`interventions[0].source`", "empty"],
        ),
        (
            r#"[4, 3, 2]]}]"#,
            r#"[4, 3, 2]]}, {"ids": [[1], [1]]}]"#,
            &["`sources[1]`", "none reads"],
        ),
        (
            r#""layer": 1"#,
            r#""layer": 2"#,
            &["`interventions[0].layer`", "0 to 1"],
        ),
        (
            r#""layer": 1"#,
            r#""layer": "x""#,
            &["`interventions[0].layer`", "x"],
        ),
        (r#""layer": 1,"#, "", &["`interventions[0]`", "layer"]),
        (
            "block_output",
            "block_outptu",
            &[
                "`interventions[0].component`",
                "block_outptu",
                "block_output",
            ],
        ),
        (
            "block_output",
            "attention_score",
            &["`interventions[0].op.dims`", "-inf"],
        ),
        (
            r#""z", "unit": "h.pos""#,
            r#""z", "unit": "head""#,
            &["`interventions[1].unit`", "`h.pos`"],
        ),
        (
            r#""z""#,
            r#""mlp_output""#,
            &["`interventions[1].unit`", "not per head"],
        ),
        (r#""heads": [1], "#, "", &["`interventions[1].heads`"]),
        (
            r#""heads": [1]"#,
            r#""heads": [2]"#,
            &["`interventions[1].heads`", "0 to 1", "2"],
        ),
        (
            r#""heads": [1]"#,
            r#""heads": []"#,
            &["`interventions[1].heads`", "none"],
        ),
        (
            r#""heads": [1]"#,
            r#""heads": [1, 1]"#,
            &["`interventions[1].heads`", "1 twice"],
        ),
        (
            r#""unit": "h.pos", "#,
            "",
            &["`interventions[1].heads`", "`h.pos`"],
        ),
        (
            r#""unit": "h.pos""#,
            r#""unit": "h""#,
            &["`interventions[1].base_positions`", "all positions"],
        ),
        (
            r#""source": 0"#,
            r#""source": 1"#,
            &["`interventions[0].source`", "0 to 0", "1"],
        ),
        (
            r#""op": {"type": "zero"}"#,
            r#""source": 0, "op": {"type": "zero"}"#,
            &["`interventions[1].source`", "zero"],
        ),
        (
            r#""values": [[1"#,
            r#""source": 0, "values": [[1"#,
            &["`interventions[2].values`", "either"],
        ),
        (
            r#""values": [[1, 0, 0, 0, 0, 0]], "#,
            "",
            &["`interventions[2].source`", "nothing"],
        ),
        (
            "[[1, 0, 0, 0, 0, 0]]",
            "[[1, 0, 0, 0, 0]]",
            &["`interventions[2].values[0]`", "6 numbers", "5"],
        ),
        (
            "[[1, 0, 0, 0, 0, 0]]",
            "[[1e39, 0, 0, 0, 0, 0]]",
            &["`interventions[2].values[0]`", "finite"],
        ),
        (
            "[[1, 0, 0, 0, 0, 0]]",
            "[]",
            &["`interventions[2].values`", "0 vectors"],
        ),
        (
            "[[2], [3]]",
            "[[2], []]",
            &["`interventions[0].base_positions[1]`", "none"],
        ),
        (
            "[[2], [3]]",
            "[]",
            &["`interventions[0].base_positions`", "2 lists"],
        ),
        (
            "[[2], [3]]",
            "[[2], [4]]",
            &["`interventions[0].base_positions[1]`", "0 to 3", "4"],
        ),
        (
            "[[2], [3]]",
            "[[2], [3], [1]]",
            &["`interventions[0].base_positions`", "3 lists"],
        ),
        (
            "[[2], [3]]",
            "[[2], [3, 3]]",
            &["`interventions[0].base_positions[1]`", "3 twice"],
        ),
        (
            "[[2], [3]]",
            "[[2], [-5]]",
            &["`interventions[0].base_positions[1]`", "-5", "0 to 3"],
        ),
        (
            "[[2], [3]]",
            "[[2], [3, 1]]",
            &["`interventions[0].source_positions[1]`", "2 positions"],
        ),
        (
            "[[2], [3]]",
            r#"[[2], [{"text": "keys"}]]"#,
            &[
                "`interventions[0].base_positions[1]`",
                "no tokenizer",
                "\"keys\"",
            ],
        ),
        (
            "[[2], [3]]",
            r#"[[2], [{"txet": "keys"}]]"#,
            &["`interventions[0].base_positions`", r#"{"text":"#],
        ),
        (
            "[[2], [3]]",
            "[[2, 3, 2, 3, 2]]",
            &["`interventions[0].base_positions[0]`", "one a token", "5"],
        ),
        (
            r#""source_positions": [[1]]"#,
            r#""source_positions": [[3]]"#,
            &["`interventions[0].source_positions[0]`", "0 to 2"],
        ),
        (
            r#""base_positions": [3], "#,
            "",
            &["`interventions[1].base_positions`", "[[2]]"],
        ),
        (
            r#""op": {"type": "zero"}"#,
            r#""source_positions": [[1]], "op": {"type": "zero"}"#,
            &["`interventions[1].source_positions`"],
        ),
        (
            r#""type": "zero""#,
            r#""type": "pca""#,
            &["`interventions[1].op.direction`", "a direction file"],
        ),
        (
            r#""type": "zero""#,
            r#""type": "zeros""#,
            &["`interventions[1].op.type`", "unknown operation", "zero"],
        ),
        (
            r#""type": "zero""#,
            r#""type": "zero", "direction": "d.safetensors""#,
            &["`interventions[1].op.direction`", "width 6", "has 3"],
        ),
        (
            r#""direction": "d.safetensors", "#,
            "",
            &["`interventions[0].op.direction`", "direction file"],
        ),
        (
            "d.safetensors",
            "e.safetensors",
            &[
                "`interventions[0].op.direction`",
                "e.safetensors",
                "no such file",
            ],
        ),
        (
            "d.safetensors",
            "data:text/plain,x",
            &["`interventions[0].op.direction`", "octet-stream"],
        ),
        (
            "d.safetensors",
            "data:application/octet-stream;base64,A",
            &["`interventions[0].op.direction`", "base64"],
        ),
        (
            "d.safetensors",
            "data:application/octet-stream;base64,AAAA",
            &["`interventions[0].op.direction`", "safetensors"],
        ),
        (
            r#""component": "block_output""#,
            r#""component": "mlp_activation""#,
            &["`interventions[0].op.direction`", "width 6", "24"],
        ),
        (
            r#""dims": [1]"#,
            r#""dims": [2]"#,
            &["`interventions[0].op.dims`", "0 to 1", "2"],
        ),
        (
            r#""dims": [1]"#,
            r#""dims": []"#,
            &["`interventions[0].op.dims`", "none"],
        ),
        (
            r#""dims": [0, 5]"#,
            r#""dims": [0, 6]"#,
            &["`interventions[2].op.dims`", "0 to 5", "6"],
        ),
        (
            r#""strength": 0.5"#,
            r#""strength": 1e39"#,
            &["`interventions[2].op.strength`", "finite"],
        ),
        (
            r#""strength": 0.5"#,
            r#""strenght": 0.5"#,
            &["`interventions[2].op.strenght`", "strength"],
        ),
        (
            r#""record": [{"layer": 0"#,
            r#""record": [{"layer": 7"#,
            &["`record[0].layer`", "0 to 1"],
        ),
        (
            r#""interventions""#,
            r#""mode": "both", "interventions""#,
            &["`mode`", "serial"],
        ),
        (
            r#""mlp_output"}]"#,
            r#""mlp_output"}], "mode": "serial""#,
            &[],
        ),
    ];
    for (from, to, expected) in cases {
        assert!(PLAN.contains(from), "{from}");
        let changed = PLAN.replacen(from, to, 1);
        let result = Plan::from_json(changed.as_bytes()).and_then(|plan| check(&plan));
        if expected.is_empty() {
            result.unwrap();
            continue;
        }
        let message = result.unwrap_err().to_string();
        let names_field = ["plan: `", "plan: missing field `"]
            .iter()
            .any(|start| message.starts_with(start));
        assert!(names_field, "{message}");
        assert!(!message.contains('\n'), "{message}");
        for text in *expected {
            assert!(
                message.contains(text),
                "{to}: `{text}` is not in: {message}"
            );
        }
    }
    for text in ["", "{", "[]", "null", &format!("{PLAN} x")] {
        assert!(Plan::from_json(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn whole_positions_need_sources_of_one_length() {
    let whole = PLAN.replacen(
        r#""source": 0, "base_positions": [[2], [3]],
         "source_positions": [[1]], "op": {"type": "low_rank", "direction": "d.safetensors", "dims": [1]}"#,
        r#""source": 0, "base_positions": [[2]], "op": {"type": "interchange"}"#,
        1,
    );
    for (from, to) in [
        (
            r#""component": "block_output""#,
            r#""component": "attention_weight""#,
        ),
        (
            r#""component": "block_output", "source": 0, "base_positions": [[2]]"#,
            r#""component": "z", "unit": "h", "heads": [0], "source": 0"#,
        ),
    ] {
        assert!(whole.contains(from), "{whole}");
        let plan = Plan::from_json(whole.replacen(from, to, 1).as_bytes()).unwrap();
        let message = check(&plan).unwrap_err().to_string();
        assert!(message.contains("`interventions[0].source`"), "{message}");
        assert!(message.contains("4 tokens"), "{message}");
    }
}

#[test]
fn scores_are_changed_as_whole_rows_that_reach_far_enough() {
    const SCORES: &str = r#"{
        "version": 1,
        "base": {"ids": [[5, 9, 2, 7]]},
        "sources": [{"ids": [[5, 1, 2, 8]]}],
        "interventions": [{"layer": 0, "component": "attention_score", "source": 0, "base_positions": [[1]],
                           "source_positions": [[2]], "op": {"type": "subtract", "strength": 0.5}}]
    }"#;
    let cases: &[(&str, &str, &[&str])] = &[
        ("[[2]]", "[[1]]", &[]),
        (
            "[[2]]",
            "[[0]]",
            &["`interventions[0].source_positions[0]`", "token 1 or"],
        ),
        (
            r#""subtract""#,
            r#""subtract", "dims": [0]"#,
            &["`interventions[0].op.dims`", "-inf"],
        ),
        (
            r#""subtract""#,
            r#""low_rank", "direction": "d.safetensors""#,
            &["`interventions[0].op.direction`", "-inf"],
        ),
    ];
    for (from, to, expected) in cases {
        assert!(SCORES.contains(from), "{from}");
        let plan = Plan::from_json(SCORES.replacen(from, to, 1).as_bytes()).unwrap();
        let message = check(&plan).map_or_else(|error| error.to_string(), |_| String::new());
        assert_eq!(message.is_empty(), expected.is_empty(), "{message}");
        for text in *expected {
            assert!(message.contains(text), "`{text}` is not in: {message}");
        }
    }
}

#[test]
fn as_many_tokens_are_collected_of_each_row() {
    const TWO: &str = r#"{
        "version": 1,
        "base": {"ids": [[5, 9, 2, 7], [1, 2, 3, 4]]},
        "interventions": [{"layer": 0, "component": "mlp_output", "base_positions": LIST, "op": {"type": "collect"}}]
    }"#;
    let checked = |list: &str| {
        let plan = Plan::from_json(TWO.replace("LIST", list).as_bytes()).unwrap();
        check(&plan).map(drop)
    };
    for list in ["[[1], [2]]", "[[1, 2], [3, 0]]", "[2]"] {
        checked(list).unwrap();
    }
    let message = checked("[[1], [2, 3]]").unwrap_err().to_string();
    assert!(
        message.contains("`interventions[0].base_positions`"),
        "{message}"
    );
    assert!(message.contains("1 tokens in each row"), "{message}");
}

#[test]
fn operations_take_what_is_theirs_and_nothing_else() {
    const ONE: &str = r#"{
        "version": 1,
        "base": {"ids": [[5, 9, 2, 7]]},
        "sources": [{"ids": [[5, 1, 2]]}],
        "interventions": [
            {"layer": 0, "component": "mlp_output", "source": 0, "base_positions": [[1]], "op": {"type": "add"}},
            {"layer": 0, "component": "COMPONENT", FIELDS "base_positions": [[1]], "op": {"type": OP}}
        ]
    }"#;
    // Component, fields, operation with its own, field of the message, what else it says; empty where it is right.
    let cases: &[(&str, &str, &str, &str, &[&str])] = &[
        ("mlp_output", "", r#""skip""#, "", &[]),
        ("mlp_output", "", r#""scale", "factor": -0.5"#, "", &[]),
        (
            "mlp_output",
            "",
            r#""noise", "seed": 7, "dims": [2]"#,
            "",
            &[],
        ),
        ("mlp_output", r#""source": 0,"#, r#""mean""#, "", &[]),
        (
            "mlp_output",
            r#""source": 0, "source_positions": [[0, 2]],"#,
            r#""mean""#,
            "",
            &[],
        ),
        ("attention_weight", "", r#""collect""#, "", &[]),
        (
            "mlp_output",
            "",
            r#""zero", "direction": "d.safetensors""#,
            "",
            &[],
        ),
        (
            "mlp_activation",
            "",
            r#""skip""#,
            "component",
            &[
                "attention_output, mlp_output, block_output",
                "mlp_activation",
            ],
        ),
        (
            "attention_weight",
            r#""source": 0,"#,
            r#""mean""#,
            "component",
            &["block_output", "attention_weight"],
        ),
        (
            "mlp_output",
            "",
            r#""mean""#,
            "source",
            &["0 to 0", "nothing"],
        ),
        (
            "mlp_output",
            r#""values": [[1]],"#,
            r#""mean""#,
            "values",
            &["source run"],
        ),
        (
            "mlp_output",
            r#""source": 0,"#,
            r#""noise""#,
            "source",
            &["no source"],
        ),
        (
            "mlp_output",
            r#""values": [[1]],"#,
            r#""skip""#,
            "values",
            &["no source"],
        ),
        ("mlp_output", "", r#""scale""#, "op.factor", &["such as 2"]),
        (
            "mlp_output",
            "",
            r#""scale", "factor": 1e39"#,
            "op.factor",
            &["finite"],
        ),
        (
            "mlp_output",
            "",
            r#""zero", "factor": 2"#,
            "op.factor",
            &["`zero`", "2"],
        ),
        (
            "mlp_output",
            "",
            r#""zero", "seed": 2"#,
            "op.seed",
            &["`zero`", "random"],
        ),
        (
            "mlp_output",
            "",
            r#""noise", "seed": -2"#,
            "op.seed",
            &["-2"],
        ),
        (
            "mlp_output",
            "",
            r#""collect", "strength": 0.5"#,
            "op.strength",
            &["changes nothing"],
        ),
        (
            "mlp_output",
            "",
            r#""collect", "dims": [0]"#,
            "op.dims",
            &["whole values"],
        ),
        (
            "mlp_output",
            "",
            r#""collect", "direction": "d.safetensors""#,
            "op.direction",
            &["whole values"],
        ),
        (
            "mlp_output",
            r#""source": 0,"#,
            r#""sigmoid_mask", "direction": "d.safetensors""#,
            "op.direction",
            &["a mask of the value's own numbers", "a subspace"],
        ),
        (
            "mlp_output",
            "",
            r#""zero", "drop_rest": true"#,
            "op.drop_rest",
            &["left out"],
        ),
        (
            "mlp_output",
            r#""source": 0,"#,
            r#""pca", "direction": "d.safetensors", "drop_rest": true, "dims": [1]"#,
            "",
            &[],
        ),
    ];
    for (component, fields, op, field, expected) in cases {
        let plan = ONE
            .replace("COMPONENT", component)
            .replace("FIELDS", fields);
        let plan = plan.replace("OP}", &format!("{op}}}"));
        let found = Plan::from_json(plan.as_bytes()).and_then(|plan| check(&plan));
        let message = found.map_or_else(|error| error.to_string(), |_| String::new());
        assert_eq!(message.is_empty(), field.is_empty(), "{plan}: {message}");
        for text in expected.iter().chain(&[*field]) {
            assert!(message.contains(text), "`{text}` is not in: {message}");
        }
    }
}

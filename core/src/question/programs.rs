//! Five-token programs: a boolean computed from five words by five operations, the task of pyvene's tutorial "Trainable
//! Interventions" (Wu et al. 2024, <https://arxiv.org/abs/2403.07809>).
//!
//! `op1 = C[i1] (== or !=) C[i2]`, `op2 = C[i2] (== or !=) C[i3]`, `op3 = synonyms(C[i4], C[i5])`,
//! `op4 = x (AND or OR) y` with x, y among op1..op3, `op5 = z (AND or OR) op4`; op5 is the output.

mod asked;
mod examples;
mod lexicon;
mod line;
mod pairs;
mod reading;
mod words;

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::Deserialize;

use super::{
    TaskError,
    causal::{CausalModel, Value},
};

pub use asked::AskedProgram;
pub use examples::{EXAMPLES, Example};
pub use lexicon::Lexicon;
pub use line::P_OPS;
pub use pairs::Sampler;
pub use words::Words;

/// Names of the variables in the order of a program's causal model.
pub const VARIABLES: [&str; 10] = [
    "C0", "C1", "C2", "C3", "C4", "op1", "op2", "op3", "op4", "op5",
];

/// The program that the embedded solver computes.
pub const SOLVED: &str = "07065a";
/// The variable that a program answers with.
pub const OUTPUT: &str = VARIABLES[9];
/// Demonstrations in front of each query, where it is not said how many.
pub const SHOTS: usize = 10;

/// How a truth value is answered.
pub fn answer(truth: bool) -> &'static str {
    if truth { "True" } else { "False" }
}

/// How two words are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum Relation {
    #[serde(rename = "==")]
    Equal,
    #[serde(rename = "!=")]
    Unequal,
}

/// How two truth values are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Gate {
    And,
    Or,
}

impl Gate {
    fn join(self, left: bool, right: bool) -> bool {
        match self {
            Self::And => left && right,
            Self::Or => left || right,
        }
    }
}

/// A program as `programs.json` holds it: words and relations, then the two gates; 5, 6, 7 stand for op1, op2, op3.
type Stored = (
    ([usize; 2], String, [usize; 3], [Relation; 2]),
    ([usize; 2], Gate),
    (usize, Gate),
);

/// One five-token program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its id, as in pyvene's data set.
    pub id: String,
    /// Words that op1 and op2 compare: op1 the first two, op2 the last two.
    compared: [usize; 3],
    relations: [Relation; 2],
    /// Words that op3 takes for synonyms.
    synonyms: [usize; 2],
    /// The two of op1..op3 (0..=2) that op4 joins.
    op4: ([usize; 2], Gate),
    /// The one of op1..op3 that op5 joins with op4.
    op5: (usize, Gate),
}

/// The 30 programs of pyvene's data set by id.
///
/// # Errors
/// - [`TaskError::Program`] if the embedded list is damaged.
pub fn programs() -> Result<BTreeMap<String, Program>, TaskError> {
    parse_programs(include_str!("programs.json"))
}

/// The program with this id.
///
/// # Errors
/// - [`TaskError::ProgramUnknown`] if there is none.
pub fn program(id: &str) -> Result<Program, TaskError> {
    let mut programs = programs()?;
    let expected = programs.keys().cloned().collect::<Vec<_>>().join(", ");
    programs.remove(id).ok_or(TaskError::ProgramUnknown {
        name: id.to_owned(),
        expected,
    })
}

fn parse_programs(json: &str) -> Result<BTreeMap<String, Program>, TaskError> {
    let stored: BTreeMap<String, Stored> =
        serde_json::from_str(json).map_err(|source| TaskError::Program {
            name: "programs.json".to_owned(),
            reason: source.to_string(),
        })?;
    stored
        .into_iter()
        .map(|(id, stored)| Ok((id.clone(), Program::from_stored(id, stored)?)))
        .collect()
}

impl Program {
    fn from_stored(
        id: String,
        ((synonyms, kind, compared, relations), op4, op5): Stored,
    ) -> Result<Self, TaskError> {
        let mut words = [synonyms.as_slice(), &compared].concat();
        words.sort_unstable();
        let ops_fit = op4.0.iter().chain([&op5.0]).all(|op| (5..=7).contains(op));
        if words != [0, 1, 2, 3, 4] || kind != "s" || !ops_fit {
            return Err(TaskError::Program {
                name: id,
                reason: "does not use each of the five words once".to_owned(),
            });
        }
        let op4 = (op4.0.map(|op| op - 5), op4.1);
        let op5 = (op5.0 - 5, op5.1);
        Ok(Self {
            id,
            compared,
            relations,
            synonyms,
            op4,
            op5,
        })
    }

    /// Truth values of op1..op5 for five words.
    pub fn ops(&self, words: &Words, line: &[usize; 5]) -> [bool; 5] {
        let [i1, i2, i3] = self.compared;
        let holds = |relation, left: usize, right: usize| {
            (line[left] == line[right]) == (relation == Relation::Equal)
        };
        let ops = [
            holds(self.relations[0], i1, i2),
            holds(self.relations[1], i2, i3),
            words.are_synonyms(line[self.synonyms[0]], line[self.synonyms[1]]),
        ];
        let op4 = self.op4.1.join(ops[self.op4.0[0]], ops[self.op4.0[1]]);
        let op5 = self.op5.1.join(ops[self.op5.0], op4);
        [ops[0], ops[1], ops[2], op4, op5]
    }

    /// What op1..op5 compute, in words: `C2==C4`, `C4!=C0`, `C1 synonym of C3`, `op1 AND op2`, `op4 OR op3`.
    pub fn equations(&self) -> [String; 5] {
        let relation = |relation| match relation {
            Relation::Equal => "==",
            Relation::Unequal => "!=",
        };
        let gate = |gate| match gate {
            Gate::And => "AND",
            Gate::Or => "OR",
        };
        let [i1, i2, i3] = self.compared;
        let [left, right] = self.synonyms;
        let ([x, y], gate4) = self.op4;
        let (z, gate5) = self.op5;
        [
            format!("C{i1}{}C{i2}", relation(self.relations[0])),
            format!("C{i2}{}C{i3}", relation(self.relations[1])),
            format!("C{left} synonym of C{right}"),
            format!("op{} {} op{}", x + 1, gate(gate4), y + 1),
            format!("op4 {} op{}", gate(gate5), z + 1),
        ]
    }

    /// For each of op1..op5 the two of [`VARIABLES`] that it is computed from, by index.
    pub fn parents(&self) -> [[usize; 2]; 5] {
        let [i1, i2, i3] = self.compared;
        [
            [i1, i2],
            [i2, i3],
            self.synonyms,
            self.op4.0.map(|op| 5 + op),
            [8, 5 + self.op5.0],
        ]
    }

    /// The program as a causal model with the variables [`VARIABLES`].
    pub fn causal_model(&self, words: &Arc<Words>) -> CausalModel {
        let truth = |value: &Value| *value == Value::Truth(true);
        let mut model = CausalModel::default();
        for name in &VARIABLES[..5] {
            model.input(name);
        }
        let parents = self.parents();
        for (idx, relation) in self.relations.into_iter().enumerate() {
            model.computed(VARIABLES[5 + idx], &parents[idx], move |parents| {
                Value::Truth((parents[0] == parents[1]) == (relation == Relation::Equal))
            });
        }
        let list = Arc::clone(words);
        model.computed(VARIABLES[7], &parents[2], move |parents| match parents {
            [Value::Word(left), Value::Word(right)] => {
                Value::Truth(list.are_synonyms(*left, *right))
            }
            _ => Value::Truth(false),
        });
        let join = move |gate: Gate| {
            move |parents: &[Value]| Value::Truth(gate.join(truth(&parents[0]), truth(&parents[1])))
        };
        model.computed(VARIABLES[8], &parents[3], join(self.op4.1));
        model.computed(VARIABLES[9], &parents[4], join(self.op5.1));
        model
    }
}

impl fmt::Display for Program {
    /// The program in one line: `C2==C4, C4!=C0, C1 synonym of C3; op4 = op1 AND op2; op5 = op4 OR op3`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [op1, op2, op3, op4, op5] = self.equations();
        write!(
            f,
            "op1 = {op1}, op2 = {op2}, op3 = {op3}, op4 = {op4}, op5 = {op5}"
        )
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn example_program_reads_as_in_the_tutorial() {
        let program = program("07065a").unwrap();
        let expected = "op1 = C2==C4, op2 = C4!=C0, op3 = C1 synonym of C3, op4 = op1 AND op2, op5 = op4 OR op3";
        assert_eq!(program.to_string(), expected);
        assert_eq!(programs().unwrap().len(), 30);
        assert!(
            super::program("nope")
                .unwrap_err()
                .to_string()
                .contains("07065a")
        );
    }

    #[test]
    fn causal_model_agrees_with_ops() {
        let words = Arc::new(Words::embedded().unwrap());
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for program in programs().unwrap().values() {
            let model = program.causal_model(&words);
            assert!(model.names().eq(VARIABLES));
            for _ in 0..50 {
                let line = program.sample_line(&words, P_OPS, &mut rng);
                let values = model.run(&line.map(Value::Word));
                assert_eq!(values[5..], program.ops(&words, &line).map(Value::Truth));
            }
        }
    }
}

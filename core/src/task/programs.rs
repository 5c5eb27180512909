//! Five-token programs: a boolean computed from five words by five operations, the task of pyvene's tutorial "Trainable
//! Interventions" (Wu et al. 2024, <https://arxiv.org/abs/2403.07809>).
//!
//! `op1 = C[i1] (== or !=) C[i2]`, `op2 = C[i2] (== or !=) C[i3]`, `op3 = synonyms(C[i4], C[i5])`,
//! `op4 = x (AND or OR) y` with x, y among op1..op3, `op5 = z (AND or OR) op4`; op5 is the output.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    sync::Arc,
};

use rand::{RngExt, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;

use super::Pair;
use crate::{
    Error, Result, Tokenizer,
    causal::{CausalModel, Value},
};

/// Probabilities with which op1, op2 and op3 are true in the task's lines.
pub const P_OPS: [f64; 3] = [0.5; 3];
/// Probability that an unequal word is a synonym of the one it is compared with.
const P_SYNONYM: f64 = 0.25;
/// Probability that an unequal word is one that the line already has.
const P_REPEATED: f64 = 0.25;
/// How often sampling may fail for each pair that is asked for, before it is given up.
const TRIES_PER_PAIR: usize = 2000;

/// Names of the variables in the order of a program's causal model.
pub const VARIABLES: [&str; 10] = [
    "C0", "C1", "C2", "C3", "C4", "op1", "op2", "op3", "op4", "op5",
];

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
/// - [`Error::Program`] if the embedded list is damaged.
pub fn programs() -> Result<BTreeMap<String, Program>> {
    parse_programs(include_str!("programs.json"))
}

/// The program with this id.
///
/// # Errors
/// - [`Error::ProgramUnknown`] if there is none.
pub fn program(id: &str) -> Result<Program> {
    let mut programs = programs()?;
    let expected = programs.keys().cloned().collect::<Vec<_>>().join(", ");
    programs.remove(id).ok_or(Error::ProgramUnknown {
        name: id.to_owned(),
        expected,
    })
}

fn parse_programs(json: &str) -> Result<BTreeMap<String, Program>> {
    let stored: BTreeMap<String, Stored> =
        serde_json::from_str(json).map_err(|source| Error::Program {
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
    ) -> Result<Self> {
        let mut words = [synonyms.as_slice(), &compared].concat();
        words.sort_unstable();
        let ops_fit = op4.0.iter().chain([&op5.0]).all(|op| (5..=7).contains(op));
        if words != [0, 1, 2, 3, 4] || kind != "s" || !ops_fit {
            return Err(Error::Program {
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

    /// Five words for which op1, op2 and op3 are true with these probabilities, independently; the task has 1/2 each.
    pub fn sample_line(&self, words: &Words, p_ops: [f64; 3], rng: &mut impl RngExt) -> [usize; 5] {
        let [op1, op2, op3] = p_ops.map(|p| rng.random_bool(p));
        let mut line: [Option<usize>; 5] = [None; 5];
        // Either group first, so that either can repeat a word of the other.
        if rng.random_bool(0.5) {
            self.sample_compared(words, &mut line, [op1, op2], rng);
            self.sample_synonyms(words, &mut line, op3, rng);
        } else {
            self.sample_synonyms(words, &mut line, op3, rng);
            self.sample_compared(words, &mut line, [op1, op2], rng);
        }
        line.map(|word| {
            word.unwrap_or_else(|| unreachable!("a program uses each of the five words"))
        })
    }

    fn sample_compared(
        &self,
        words: &Words,
        line: &mut [Option<usize>; 5],
        ops: [bool; 2],
        rng: &mut impl RngExt,
    ) {
        let [i1, i2, i3] = self.compared;
        let middle = words.repeated(line, rng).unwrap_or_else(|| words.any(rng));
        line[i2] = Some(middle);
        for ((idx, relation), op) in [i1, i3].into_iter().zip(self.relations).zip(ops) {
            let is_equal = op == (relation == Relation::Equal);
            line[idx] = Some(if is_equal {
                middle
            } else {
                words.unequal(middle, line, rng)
            });
        }
    }

    fn sample_synonyms(
        &self,
        words: &Words,
        line: &mut [Option<usize>; 5],
        op3: bool,
        rng: &mut impl RngExt,
    ) {
        let [left, right] = self.synonyms;
        if op3 {
            let word = words.any_with_synonym(rng);
            line[left] = Some(word);
            line[right] = Some(words.any_synonym(word, rng));
        } else {
            let word = words.repeated(line, rng).unwrap_or_else(|| words.any(rng));
            line[left] = Some(word);
            line[right] = Some(words.unrelated(word, line, rng));
        }
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

/// Words with a symmetric relation "synonym of".
#[derive(Clone, Debug)]
pub struct Words {
    words: Vec<String>,
    synonyms: Vec<Vec<usize>>,
    /// Words that have a synonym.
    paired: Vec<usize>,
}

impl Words {
    /// The words of the embedded solver.
    ///
    /// # Errors
    /// - [`Error::Words`] if the embedded list is damaged.
    pub fn embedded() -> Result<Self> {
        Self::parse(include_str!("words.txt"), |_| true)
    }

    /// Reads a list of lines `word - word` (synonyms) or `word`, and keeps the words that `is_usable`.
    ///
    /// # Errors
    /// - [`Error::Words`] if a line cannot be read, or fewer than two synonyms and eight words remain.
    pub fn parse(list: &str, is_usable: impl Fn(&str) -> bool) -> Result<Self> {
        let mut own = Self {
            words: Vec::new(),
            synonyms: Vec::new(),
            paired: Vec::new(),
        };
        let mut indices: HashMap<String, Option<usize>> = HashMap::new();
        for (idx, line) in list
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty())
        {
            let members: Vec<&str> = line.split(" - ").map(str::trim).collect();
            if members.len() > 2 || members.iter().any(|word| word.is_empty()) {
                let reason = format!(
                    "line {}: expected `word - word` or `word`, found `{line}`",
                    idx + 1
                );
                return Err(Error::Words { reason });
            }
            let mut add = |word: &str| {
                *indices.entry(word.to_owned()).or_insert_with(|| {
                    is_usable(word).then(|| {
                        own.words.push(word.to_owned());
                        own.synonyms.push(Vec::new());
                        own.words.len() - 1
                    })
                })
            };
            let members: Vec<Option<usize>> = members.into_iter().map(&mut add).collect();
            if let [Some(left), Some(right)] = members[..]
                && left != right
                && !own.synonyms[left].contains(&right)
            {
                own.synonyms[left].push(right);
                own.synonyms[right].push(left);
            }
        }
        own.paired = (0..own.words.len())
            .filter(|word| !own.synonyms[*word].is_empty())
            .collect();
        if own.words.len() < 8 || own.paired.len() < 2 {
            let reason = format!(
                "{} words and {} with a synonym are one token each; the task needs at least 8 and 2",
                own.words.len(),
                own.paired.len()
            );
            return Err(Error::Words { reason });
        }
        Ok(own)
    }

    /// Number of words.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// True if there are no words; never, for a list that was parsed.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The word with this index.
    pub fn word(&self, idx: usize) -> &str {
        &self.words[idx]
    }

    /// Index of a word.
    pub fn find(&self, word: &str) -> Option<usize> {
        self.words.iter().position(|own| own == word)
    }

    /// All words in the order of the list.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.words.iter().map(String::as_str)
    }

    /// Words that have a synonym, by index.
    pub fn paired(&self) -> &[usize] {
        &self.paired
    }

    /// True if the two are synonyms; a word is not its own synonym.
    pub fn are_synonyms(&self, left: usize, right: usize) -> bool {
        self.synonyms[left].contains(&right)
    }

    fn any(&self, rng: &mut impl RngExt) -> usize {
        rng.random_range(0..self.words.len())
    }

    fn any_with_synonym(&self, rng: &mut impl RngExt) -> usize {
        self.paired[rng.random_range(0..self.paired.len())]
    }

    fn any_synonym(&self, word: usize, rng: &mut impl RngExt) -> usize {
        self.synonyms[word].choose(rng).copied().unwrap_or(word)
    }

    /// With probability [`P_REPEATED`], a word that the line already has.
    fn repeated(&self, line: &[Option<usize>], rng: &mut impl RngExt) -> Option<usize> {
        let taken: Vec<usize> = line.iter().flatten().copied().collect();
        rng.random_bool(P_REPEATED)
            .then(|| taken.choose(rng).copied())
            .flatten()
    }

    fn unequal(&self, word: usize, line: &[Option<usize>], rng: &mut impl RngExt) -> usize {
        if !self.synonyms[word].is_empty() && rng.random_bool(P_SYNONYM) {
            return self.any_synonym(word, rng);
        }
        self.differing(line, rng, |candidate| candidate != word)
    }

    fn unrelated(&self, word: usize, line: &[Option<usize>], rng: &mut impl RngExt) -> usize {
        self.differing(line, rng, |candidate| {
            candidate != word && !self.are_synonyms(candidate, word)
        })
    }

    fn differing(
        &self,
        line: &[Option<usize>],
        rng: &mut impl RngExt,
        fits: impl Fn(usize) -> bool,
    ) -> usize {
        if let Some(word) = self
            .repeated(line, rng)
            .filter(|candidate| fits(*candidate))
        {
            return word;
        }
        loop {
            let word = self.any(rng);
            if fits(word) {
                return word;
            }
        }
    }
}

/// Words as tokens: every word, answer and mark of a line is one token.
#[derive(Clone, Debug)]
pub struct Lexicon {
    /// The words that are one token each.
    pub words: Arc<Words>,
    tokens: Vec<u32>,
    comma: u32,
    equals: u32,
    newline: u32,
    answers: [u32; 2],
}

impl Lexicon {
    /// The words of a list that the tokenizer holds as one token each.
    ///
    /// # Errors
    /// - [`Error::Words`] if too few words remain, or `True`, `False` or a mark is not one token.
    pub fn new(list: &str, tokenizer: &Tokenizer) -> Result<Self> {
        let words = Words::parse(list, |word| tokenizer.single(word).is_some())?;
        let single = |text: &str| {
            let reason = || {
                format!(
                    "`{}` is not one token of this tokenizer",
                    text.escape_debug()
                )
            };
            tokenizer
                .single(text)
                .ok_or_else(|| Error::Words { reason: reason() })
        };
        Ok(Self {
            tokens: words.iter().map(single).collect::<Result<_>>()?,
            words: Arc::new(words),
            comma: single(",")?,
            equals: single("=")?,
            newline: single("\n")?,
            answers: [single("False")?, single("True")?],
        })
    }

    /// The list of the embedded solver.
    ///
    /// # Errors
    /// As [`Lexicon::new`].
    pub fn embedded(tokenizer: &Tokenizer) -> Result<Self> {
        Self::new(include_str!("words.txt"), tokenizer)
    }

    /// Token id of an answer.
    pub fn answer(&self, truth: bool) -> u32 {
        self.answers[usize::from(truth)]
    }

    /// Token ids of `C0,C1,C2,C3,C4=`.
    pub fn query(&self, line: &[usize; 5]) -> impl Iterator<Item = u32> {
        let marks = [self.comma, self.comma, self.comma, self.comma, self.equals];
        line.map(|word| self.tokens[word])
            .into_iter()
            .zip(marks)
            .flat_map(|(word, mark)| [word, mark])
    }

    /// Token ids of a prompt: the demonstrations with their answers, one a line, then the query.
    pub fn prompt(
        &self,
        program: &Program,
        demonstrations: &[[usize; 5]],
        query: &[usize; 5],
    ) -> Vec<u32> {
        let mut ids = Vec::with_capacity(12 * demonstrations.len() + 10);
        for line in demonstrations {
            let [.., op5] = program.ops(&self.words, line);
            ids.extend(self.query(line));
            ids.extend([self.answer(op5), self.newline]);
        }
        ids.extend(self.query(query));
        ids
    }

    /// A query line and its answer as text, `debian,OSED,big,quick,debian=True`.
    pub fn text(&self, line: &[usize; 5]) -> String {
        let words: Vec<&str> = line.iter().map(|word| self.words.word(*word)).collect();
        format!("{}=", words.join(","))
    }
}

/// Counterfactual pairs of one program and one variable.
pub struct Sampler<'a> {
    program: &'a Program,
    lexicon: &'a Lexicon,
    causal_model: CausalModel,
    variable: usize,
    /// Demonstrations in front of each query.
    shots: usize,
    seen: HashSet<([usize; 5], [usize; 5])>,
}

impl<'a> Sampler<'a> {
    /// Pairs for `variable`, with `shots` demonstrations in front of each line.
    ///
    /// # Errors
    /// - [`Error::VariableUnknown`] if the program has no such variable.
    pub fn new(
        program: &'a Program,
        lexicon: &'a Lexicon,
        variable: &str,
        shots: usize,
    ) -> Result<Self> {
        let causal_model = program.causal_model(&lexicon.words);
        let variable = causal_model.variable(variable)?;
        Ok(Self {
            program,
            lexicon,
            causal_model,
            variable,
            shots,
            seen: HashSet::new(),
        })
    }

    /// `n_pairs` pairs that this sampler has not given before: in the first half the counterfactual label differs from the
    /// base's answer, in the second half it equals it. A function of the seed and of what was sampled before.
    ///
    /// # Errors
    /// - [`Error::PairsExhausted`] if there are not that many different pairs.
    pub fn pairs(&mut self, n_pairs: usize, seed: u64) -> Result<Vec<Pair>> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut pairs = Vec::with_capacity(n_pairs);
        let mut tries = TRIES_PER_PAIR * n_pairs;
        while pairs.len() < n_pairs {
            if tries == 0 {
                return Err(Error::PairsExhausted {
                    wanted: n_pairs,
                    found: pairs.len(),
                    variable: VARIABLES[self.variable].to_owned(),
                });
            }
            tries -= 1;
            let wants_change = pairs.len() < n_pairs / 2;
            pairs.extend(self.pair(wants_change, &mut rng));
        }
        Ok(pairs)
    }

    fn pair(&mut self, wants_change: bool, rng: &mut ChaCha8Rng) -> Option<Pair> {
        let Self {
            program, lexicon, ..
        } = *self;
        let words = &lexicon.words;
        let [base, source] = [(); 2].map(|()| program.sample_line(words, P_OPS, rng));
        let label = self.causal_model.interchange(
            &base.map(Value::Word),
            &source.map(Value::Word),
            self.variable,
        );
        let label = label[VARIABLES.len() - 1] == Value::Truth(true);
        let [.., answer] = program.ops(words, &base);
        if (label != answer) != wants_change || !self.seen.insert((base, source)) {
            return None;
        }
        let [base, source] = [base, source].map(|line| {
            let shots: Vec<[usize; 5]> = (0..self.shots)
                .map(|_| program.sample_line(words, P_OPS, rng))
                .collect();
            lexicon.prompt(program, &shots, &line)
        });
        Some(Pair {
            base_position: base.len() - 1,
            source_position: source.len() - 1,
            base,
            source,
            label: lexicon.answer(label),
            base_label: Some(lexicon.answer(answer)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words() -> Words {
        Words::embedded().unwrap()
    }

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
        let words = Arc::new(words());
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

    #[test]
    fn operations_are_true_half_of_the_time_and_independent() {
        let words = words();
        let program = program("07065a").unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let mut counts = [0; 8];
        for _ in 0..8000 {
            let line = program.sample_line(&words, P_OPS, &mut rng);
            let [op1, op2, op3, ..] = program.ops(&words, &line);
            counts[usize::from(op1) + 2 * usize::from(op2) + 4 * usize::from(op3)] += 1;
        }
        // Each of the 8 combinations is expected 1000 times with a standard deviation of 30.
        assert!(
            counts.iter().all(|count| (850..1150).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn word_lists_are_checked() {
        let error = |list: &str| Words::parse(list, |_| true).unwrap_err().to_string();
        assert!(error("a - b - c").contains("line 1"));
        assert!(error("a - b").contains("2 words"));
        let words = words();
        assert!(words.paired().len() * 2 == words.len());
    }
}

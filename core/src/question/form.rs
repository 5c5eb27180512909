//! The form of a question's prompts: what a text says where it is such a prompt, and where its named tokens are. No model here.

use std::{cell::RefCell, ops::Range, sync::Arc};

use super::{
    TaskError, TokenName,
    causal::Value,
    entry::Entry,
    programs::{self, AskedProgram, Program, VARIABLES, Words},
    remark::Remark,
    task::Task,
    template::{Spans, Template},
};
use crate::Tokens;

/// What the prompts of a question look like.
#[derive(Clone, Debug)]
pub struct Form(Kind);

#[derive(Clone, Debug)]
enum Kind {
    /// A line of a program, behind others with their answers.
    Program(Program, Arc<Words>),
    /// Templates, and the names of their slots.
    Templates(Vec<Template>, Vec<String>),
}

/// A variable and what it is in a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// What computes it, in words; none of what stands in the prompt.
    pub equation: Option<String>,
    /// What it is computed from, by number.
    pub parents: Vec<usize>,
    /// Its value.
    pub value: String,
}

impl Form {
    /// The program of the embedded solver, in all of its words.
    ///
    /// # Errors
    /// - [`TaskError::Program`], [`TaskError::Words`] if what is embedded is damaged.
    pub fn solver() -> Result<Self, TaskError> {
        let program = programs::program(programs::SOLVED)?;
        Ok(Self(Kind::Program(program, Arc::new(Words::embedded()?))))
    }

    /// A program, in the words that a tokenizer has.
    pub fn of_program(asked: &AskedProgram) -> Self {
        let words = Arc::clone(&asked.lexicon.words);
        Self(Kind::Program(asked.program.clone(), words))
    }

    /// Prompts as a direction file has them, slots in braces.
    ///
    /// # Errors
    /// - [`TaskError::File`] if a brace is open or stray.
    pub fn of_templates(templates: &[String]) -> Result<Self, TaskError> {
        let names = RefCell::new(Vec::<String>::new());
        let entry = |_: &str, name: &str| {
            let mut names = names.borrow_mut();
            Entry::parse(name, |slot| {
                let known = names.iter().position(|own| own == slot);
                Ok(known.unwrap_or_else(|| {
                    names.push(slot.to_owned());
                    names.len() - 1
                }))
            })
        };
        let parse = |(idx, text): (usize, &String)| {
            Template::parse(&format!("templates[{idx}]"), text, entry)
        };
        let templates = templates.iter().enumerate().map(parse);
        let templates = templates.collect::<Result<_, _>>()?;
        Ok(Self(Kind::Templates(templates, names.into_inner())))
    }

    /// The prompts of a task.
    pub fn of_task(task: &Task) -> Self {
        let names = task.slots.iter().map(|slot| slot.name.clone());
        Self(Kind::Templates(task.templates.clone(), names.collect()))
    }

    /// The program's id; templates have no name of their own.
    pub fn name(&self) -> Option<&str> {
        match &self.0 {
            Kind::Program(program, _) => Some(&program.id),
            Kind::Templates(..) => None,
        }
    }

    /// True if a text is such a prompt.
    pub fn is_of(&self, text: &str) -> bool {
        match &self.0 {
            Kind::Program(_, words) => words.query(text).is_some(),
            Kind::Templates(templates, _) => spans(templates, text).is_some(),
        }
    }

    /// The variables and what they are in a prompt, those that stand in it first; `None` of a text of another form.
    pub fn variables(&self, text: &str) -> Option<Vec<Variable>> {
        match &self.0 {
            Kind::Program(program, words) => {
                let line = words.query(text)?;
                let inputs = line.map(|word| (None, Vec::new(), words.word(word).to_owned()));
                let ops = program.ops(words, &line).map(programs::answer);
                let computed = program.equations().into_iter().zip(program.parents());
                let computed = computed.zip(ops).map(|((equation, parents), value)| {
                    (Some(equation), parents.to_vec(), value.to_owned())
                });
                let all = inputs.into_iter().chain(computed).zip(VARIABLES);
                let variable = |((equation, parents, value), name): (_, &str)| Variable {
                    name: name.to_owned(),
                    equation,
                    parents,
                    value,
                };
                Some(all.map(variable).collect())
            }
            Kind::Templates(templates, names) => {
                let mut all: Vec<Variable> = Vec::new();
                for (slot, bytes) in spans(templates, text)? {
                    if all.iter().all(|own| own.name != names[slot]) {
                        all.push(Variable {
                            name: names[slot].clone(),
                            equation: None,
                            parents: Vec::new(),
                            value: text[bytes].to_owned(),
                        });
                    }
                }
                Some(all)
            }
        }
    }

    /// What the base must be answered with if a variable had the source's value, as text; `None` where that does not follow from the
    /// prompts alone.
    pub fn counterfactual(
        &self,
        [base, source]: [&str; 2],
        variable: &str,
    ) -> Option<&'static str> {
        let Kind::Program(program, words) = &self.0 else {
            return None;
        };
        let [base, source] = [base, source].map(|text| words.query(text));
        let model = program.causal_model(words);
        let idx = model.variable(variable).ok()?;
        let values = model.interchange(&base?.map(Value::Word), &source?.map(Value::Word), idx);
        match values.last()? {
            Value::Truth(truth) => Some(programs::answer(*truth)),
            Value::Word(_) => None,
        }
    }

    /// The token of this name in a prompt; `None` of a text of another form, or without such a token.
    pub fn token(&self, name: &TokenName, tokens: &Tokens) -> Option<usize> {
        let token = match name {
            TokenName::Counted(position) => return position.resolve(tokens.ids.len()).ok(),
            TokenName::Slot(token) => token,
        };
        let Kind::Templates(templates, names) = &self.0 else {
            return None;
        };
        let known = names.iter().position(|own| *own == token.slot)?;
        token.find(&spans(templates, tokens.text())?, known, tokens)
    }

    /// What of a text is not as the prompts are, and how to mend it.
    pub fn remarks(&self, text: &str) -> Vec<Remark> {
        match &self.0 {
            Kind::Program(_, words) => words.remarks(text),
            Kind::Templates(..) => Vec::new(),
        }
    }
}

impl Form {
    /// Of each token, the slot that wrote it, by name: its last token has it; `None` of a text of another form.
    pub fn names(&self, tokens: &Tokens) -> Option<Vec<Option<&str>>> {
        let Kind::Templates(templates, slots) = &self.0 else {
            return None;
        };
        let mut names = vec![None; tokens.ids.len()];
        for (slot, bytes) in spans(templates, tokens.text())? {
            if let Some([_, last]) = tokens.of_bytes(&bytes) {
                names[last] = Some(slots[slot].as_str());
            }
        }
        Some(names)
    }

    /// Of each base token, the source token that stands at the same place of the same template: what slots wrote is matched from its
    /// end, as is what stands between them. `None` of a token that has no such partner, and of texts of another form.
    pub fn partners(&self, [base, source]: [&Tokens; 2]) -> Option<Vec<Option<usize>>> {
        let Kind::Templates(templates, _) = &self.0 else {
            return None;
        };
        let of_both = templates.iter().find_map(|template| {
            let spans = [base, source].map(|tokens| template.spans(tokens.text()));
            let [Some(base), Some(source)] = spans else {
                return None;
            };
            Some([base, source])
        })?;
        let [base_parts, source_parts] = [parts(&of_both[0], base)?, parts(&of_both[1], source)?];
        let mut partners = vec![None; base.ids.len()];
        for (own, other) in base_parts.into_iter().zip(source_parts) {
            let pairs = own.rev().zip(other.rev());
            pairs.for_each(|(own, other)| partners[own] = Some(other));
        }
        Some(partners)
    }
}

/// Tokens of a prompt by what wrote them: text between slots and slots in turn, text first and last; `None` where a token was written
/// by two slots.
fn parts(spans: &Spans, tokens: &Tokens) -> Option<Vec<Range<usize>>> {
    let (mut parts, mut at) = (Vec::new(), 0);
    for (_, bytes) in spans {
        let [first, last] = tokens.of_bytes(bytes)?;
        if first < at {
            return None;
        }
        parts.extend([at..first, first..last + 1]);
        at = last + 1;
    }
    parts.push(at..tokens.ids.len());
    Some(parts)
}

/// What the slots of the first template wrote that a text is.
fn spans(templates: &[Template], text: &str) -> Option<Spans> {
    templates.iter().find_map(|template| template.spans(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tokenizer;

    fn templates() -> Form {
        let templates = [
            "When {A} and {B} went to the {place}, {A} gave a {thing} to",
            "The {subject}",
        ];
        Form::of_templates(&templates.map(str::to_owned)).unwrap()
    }

    #[test]
    fn prompt_of_a_template_is_read_slot_by_slot() {
        let form = templates();
        let text = "When Mary Ann and John went to the store, Mary Ann gave a drink to";
        let variables = form.variables(text).unwrap();
        let said: Vec<[&str; 2]> = (variables.iter())
            .map(|variable| [variable.name.as_str(), &variable.value])
            .collect();
        let expected = [
            ["A", "Mary Ann"],
            ["B", "John"],
            ["place", "store"],
            ["thing", "drink"],
        ];
        assert_eq!(said, expected);
        assert_eq!(form.variables("The keys").unwrap()[0].value, "keys");
        for text in [
            "",
            "The ",
            "the keys",
            "When Mary and John went to the store, John gave a drink to",
            "When Mary and John went to the store, Mary gave a drink to Ann",
            "The keys\nThe keys",
        ] {
            assert!(!form.is_of(text), "{text}");
        }
        assert!(Form::of_templates(&["The {subject".to_owned()]).is_err());
    }

    #[test]
    fn named_token_is_found_in_a_prompt_of_the_form() {
        let tokenizer = include_bytes!("../../../models/solver/tokenizer.json");
        let tokenizer = Tokenizer::from_json(tokenizer).unwrap();
        let form = Form::of_templates(&["{A},{B},{A}=".to_owned()]).unwrap();
        let tokens = Tokens::of("woman,camera,woman=", &tokenizer).unwrap();
        let token = |name: &str| form.token(&name.parse().unwrap(), &tokens);
        for (name, expected) in [
            ("A", Some(0)),
            ("B", Some(2)),
            ("A#2", Some(4)),
            ("A#2+1", Some(5)),
            ("last", Some(5)),
            ("A#3", None),
            ("A-1", None),
            ("C", None),
        ] {
            assert_eq!(token(name), expected, "{name}");
        }
        let other = Tokens::of("woman,camera,taxi=", &tokenizer).unwrap();
        assert_eq!(form.token(&"B".parse().unwrap(), &other), None);
    }

    #[test]
    fn tokens_of_two_prompts_are_matched_place_by_place() {
        let tokenizer = include_bytes!("../../../models/solver/tokenizer.json");
        let tokenizer = Tokenizer::from_json(tokenizer).unwrap();
        let form = Form::of_templates(&["{A},{B}=".to_owned()]).unwrap();
        let tokens = |text: &str| Tokens::of(text, &tokenizer).unwrap();
        let [short, long] = ["woman,camera=", "taxi,camera,woman="].map(tokens);
        let partners = |pair: [&Tokens; 2]| form.partners(pair).unwrap();
        assert_eq!(
            partners([&short, &long]),
            [Some(0), Some(1), Some(4), Some(5)]
        );
        // Two tokens of the longer slot have no partner.
        assert_eq!(
            partners([&long, &short]),
            [Some(0), Some(1), None, None, Some(2), Some(3)]
        );
        assert_eq!(
            form.names(&long).unwrap(),
            [Some("A"), None, None, None, Some("B"), None]
        );
        let other = tokens("woman=");
        assert_eq!(form.partners([&short, &other]), None);
        assert_eq!(form.names(&other), None);
    }

    #[test]
    fn program_says_what_a_swap_must_answer() {
        let form = Form::solver().unwrap();
        let [base, source] = [
            "woman,camera,woman,taxi,woman=",
            "carpet,carpet,carpet,rug,carpet=",
        ];
        let variables = form.variables(base).unwrap();
        let output = variables.last().unwrap();
        assert_eq!(
            (output.name.as_str(), output.value.as_str()),
            (programs::OUTPUT, "False")
        );
        assert_eq!(
            form.counterfactual([base, source], &output.name),
            Some("True")
        );
        assert_eq!(form.counterfactual([base, "milk"], &output.name), None);
        assert_eq!(form.counterfactual([base, source], "nobody"), None);
        assert!(form.remarks(base).is_empty());
        let remarks = form.remarks("milk,milkk,milk,milk,milk=");
        let mended = remarks[0].mended.as_ref().unwrap();
        assert_eq!(mended.1, "milk,milk,milk,milk,milk=");
    }
}

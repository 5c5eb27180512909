//! High-level algorithms as causal models: variables, their parents and mechanisms (Geiger et al. 2021,
//! <https://arxiv.org/abs/2106.02997>). No tensors and no tokens here.

use super::TaskError;

/// What a variable can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    /// A word, by its index in a word list.
    Word(usize),
    /// A truth value.
    Truth(bool),
}

/// Computes a variable from the values of its parents, in their order.
type Mechanism = Box<dyn Fn(&[Value]) -> Value + Send + Sync>;

struct Variable {
    name: String,
    parents: Vec<usize>,
    mechanism: Option<Mechanism>,
}

/// Variables in an order in which parents come first; variables without a mechanism are inputs.
#[derive(Default)]
pub struct CausalModel {
    variables: Vec<Variable>,
}

impl CausalModel {
    /// Adds an input and returns its index.
    pub fn input(&mut self, name: &str) -> usize {
        self.variables.push(Variable {
            name: name.to_owned(),
            parents: Vec::new(),
            mechanism: None,
        });
        self.variables.len() - 1
    }

    /// Adds a computed variable and returns its index.
    ///
    /// # Panics
    /// If a parent was not added before.
    pub fn computed(
        &mut self,
        name: &str,
        parents: &[usize],
        mechanism: impl Fn(&[Value]) -> Value + Send + Sync + 'static,
    ) -> usize {
        let idx = self.variables.len();
        assert!(
            parents.iter().all(|parent| *parent < idx),
            "parents of {name} come first"
        );
        self.variables.push(Variable {
            name: name.to_owned(),
            parents: parents.to_vec(),
            mechanism: Some(Box::new(mechanism)),
        });
        idx
    }

    /// Names of all variables, inputs first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.variables.iter().map(|variable| variable.name.as_str())
    }

    /// Index of the variable with this name.
    ///
    /// # Errors
    /// - [`TaskError::VariableUnknown`] if there is none.
    pub fn variable(&self, name: &str) -> Result<usize, TaskError> {
        self.names()
            .position(|own| own == name)
            .ok_or_else(|| TaskError::VariableUnknown {
                name: name.to_owned(),
                expected: self.names().collect::<Vec<_>>().join(", "),
            })
    }

    /// Values of all variables for these inputs, given in the order in which the inputs were added.
    pub fn run(&self, inputs: &[Value]) -> Vec<Value> {
        self.run_with(inputs, None)
    }

    /// Interchange intervention: the values for the base's inputs with `variable` set to what it is for the source's.
    pub fn interchange(&self, base: &[Value], source: &[Value], variable: usize) -> Vec<Value> {
        self.run_with(base, Some((variable, self.run(source)[variable])))
    }

    fn run_with(&self, inputs: &[Value], fixed: Option<(usize, Value)>) -> Vec<Value> {
        let mut inputs = inputs.iter().copied();
        let mut values: Vec<Value> = Vec::with_capacity(self.variables.len());
        for (idx, variable) in self.variables.iter().enumerate() {
            let own = match &variable.mechanism {
                None => inputs.next().unwrap_or(Value::Truth(false)),
                Some(mechanism) => {
                    let parents: Vec<Value> = variable
                        .parents
                        .iter()
                        .map(|parent| values[*parent])
                        .collect();
                    mechanism(&parents)
                }
            };
            values.push(match fixed {
                Some((fixed, value)) if fixed == idx => value,
                _ => own,
            });
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn and_not() -> CausalModel {
        let truth = |value: &Value| *value == Value::Truth(true);
        let mut model = CausalModel::default();
        let a = model.input("a");
        let b = model.input("b");
        let not_b = model.computed("not_b", &[b], move |parents| {
            Value::Truth(!truth(&parents[0]))
        });
        model.computed("out", &[a, not_b], move |parents| {
            Value::Truth(truth(&parents[0]) && truth(&parents[1]))
        });
        model
    }

    #[test]
    fn run_follows_the_mechanisms() {
        let values = and_not().run(&[Value::Truth(true), Value::Truth(false)]);
        assert_eq!(values[2..], [Value::Truth(true), Value::Truth(true)]);
    }

    #[test]
    fn interchange_recomputes_what_depends_on_the_variable_only() {
        let model = and_not();
        let base = [Value::Truth(true), Value::Truth(true)];
        let source = [Value::Truth(false), Value::Truth(false)];
        let not_b = model.variable("not_b").unwrap();
        let values = model.interchange(&base, &source, not_b);
        assert_eq!(
            values,
            [
                Value::Truth(true),
                Value::Truth(true),
                Value::Truth(true),
                Value::Truth(true)
            ]
        );
        assert!(
            model
                .variable("c")
                .unwrap_err()
                .to_string()
                .contains("a, b, not_b, out")
        );
    }
}

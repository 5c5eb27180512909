//! Worked examples of the program that the embedded solver computes.

/// A pair that shows something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Example {
    /// What it shows.
    pub title: &'static str,
    /// The variable that is swapped.
    pub variable: &'static str,
    /// Demonstrations in front of the query.
    pub shots: usize,
    /// The pair is the first of those that belong to this seed.
    pub seed: u64,
}

/// The worked examples.
pub const EXAMPLES: [Example; 4] = [
    Example {
        title: "the output flips",
        variable: "op5",
        shots: 0,
        seed: 5,
    },
    Example {
        title: "one synonym decides",
        variable: "op3",
        shots: 0,
        seed: 3,
    },
    Example {
        title: "after three demonstrations",
        variable: "op5",
        shots: 3,
        seed: 7,
    },
    Example {
        title: "after ten demonstrations",
        variable: "op5",
        shots: 10,
        seed: 11,
    },
];

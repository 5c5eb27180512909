//! The columns of a map: which tokens of prompts that may differ in length, and where they are in the example pair.

use anyhow::{Context, Result, bail};
use burn::tensor::backend::AutodiffBackend;
use swivel_core::question::Placed;

use super::cells::{Column, Variable};
use crate::{device::Job, known, model_files::ModelFiles, report::Report};

/// Name of the token that stands for all that are at its place.
const LAST: &str = "last";

/// Tokens of the prompts, all of one length.
///
/// # Errors
/// - If they are of several lengths.
pub fn n_tokens(variables: &[Variable]) -> Result<usize> {
    let pairs = || variables.iter().flat_map(|variable| variable.sets.all());
    let first = pairs().next().context("there are no pairs")?;
    let n_tokens = first.pair.base.len();
    for Placed { pair, .. } in pairs() {
        let [base, source] = [pair.base.len(), pair.source.len()];
        if [base, source] != [n_tokens; 2] {
            bail!(
                "a map over positions needs prompts of one length, and there are some of {n_tokens} and {base} and {source} tokens"
            );
        }
    }
    Ok(n_tokens)
}

/// Leaves out columns whose token is another one's in every prompt; of the two, `last` stays, or the first.
pub fn drop_twins(variables: &mut [Variable], columns: &mut Vec<Column>) {
    let is_twin = |variables: &[Variable], a: usize, b: usize| {
        let mut pairs = variables.iter().flat_map(|variable| variable.sets.all());
        pairs.all(|placed| placed.tokens[a] == placed.tokens[b])
    };
    let mut idx = 0;
    while idx < columns.len() {
        let is_last = |column: &Column| column.token.as_deref() == Some(LAST);
        let twin = (0..columns.len()).find(|other| {
            let stays = is_last(&columns[*other]) || (*other < idx && !is_last(&columns[idx]));
            *other != idx && stays && is_twin(variables, idx, *other)
        });
        if twin.is_none() {
            idx += 1;
            continue;
        }
        columns.remove(idx);
        for variable in variables.iter_mut() {
            for placed in variable.sets.all_mut() {
                placed.tokens.remove(idx);
            }
        }
    }
}

/// The example pair: the first of the first variable's test pairs, each of whose tokens is at one place in base and source, and
/// apart from the others. Columns learn where they are in it, and are put in that order.
///
/// # Errors
/// - If there is no such pair.
pub fn probe(variables: &mut [Variable], columns: &mut Vec<Column>) -> Result<Placed> {
    let is_apart = |placed: &&Placed| {
        let mut tokens: Vec<usize> = placed.tokens.iter().map(|[base, _]| *base).collect();
        tokens.sort_unstable();
        tokens.dedup();
        let is_same = placed.tokens.iter().all(|[base, source]| base == source);
        is_same && tokens.len() == placed.tokens.len()
    };
    let test = variables.first().map(|variable| &variable.sets.test);
    let probe = test.and_then(|test| test.iter().find(is_apart));
    let mut probe = probe.cloned().context(
        "no test pair has each of these tokens at one place in base and source, apart from the others, and a map needs such an \
         example; name fewer with --positions, or ask for more --test-pairs",
    )?;
    let mut order: Vec<usize> = (0..columns.len()).collect();
    order.sort_by_key(|idx| probe.tokens[*idx]);
    let in_order = |placed: &mut Placed| {
        placed.tokens = order.iter().map(|idx| placed.tokens[*idx]).collect();
    };
    let pairs = variables
        .iter_mut()
        .flat_map(|variable| variable.sets.all_mut());
    pairs.for_each(in_order);
    in_order(&mut probe);
    let column = |(idx, [position, _]): (&usize, &[usize; 2])| Column {
        token: columns[*idx].token.clone(),
        position: *position,
    };
    *columns = order.iter().zip(&probe.tokens).map(column).collect();
    Ok(probe)
}

/// Leaves out the pairs that the model does not answer right by itself.
pub struct KeepKnown {
    /// The model.
    pub files: ModelFiles,
    /// Pairs.
    pub variables: Vec<Variable>,
    /// Tokens of which the likeliest is the answer, where it is not the likeliest of all.
    pub choices: Option<Vec<u32>>,
    /// Where text goes.
    pub report: Report,
}

/// What is left.
pub struct Kept {
    /// The model.
    pub files: ModelFiles,
    /// Pairs.
    pub variables: Vec<Variable>,
    /// Share of the pairs that were kept; `None` where no answer is known.
    pub known: Option<f64>,
}

impl Job for KeepKnown {
    type Output = Kept;

    fn run<A: AutodiffBackend>(self, device: A::Device, _: &str) -> Result<Kept> {
        let Self {
            files,
            mut variables,
            choices,
            report,
        } = self;
        let (model, _) = files.load::<A::InnerBackend>(&device, report)?;
        let mut sets: Vec<(&'static str, &mut Vec<Placed>)> = Vec::new();
        for variable in &mut variables {
            sets.extend(variable.sets.each_mut());
        }
        let known = known::keep(&model, files.sizes(), &mut sets, choices.as_deref(), report)?;
        Ok(Kept {
            files,
            variables,
            known,
        })
    }
}

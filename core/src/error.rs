//! What can be wrong with data from outside: one variant per cause, each with what was expected and what was found.
//!
//! A message is whole: it has the message of what caused it, and [`std::error::Error::source`] is `None`, so that whoever
//! prints a message, and whoever prints a chain of causes, says each cause once.

use crate::{Position, one_line::one_line};

/// Result of everything in this crate that takes data from outside.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why data from outside was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// `config.json` is not JSON, or a required field is missing or has the wrong type.
    #[error("config.json: {cause}")]
    Config {
        /// What the parser says, with the field and the line.
        cause: serde_json::Error,
    },
    /// A field of `config.json` has a value that this implementation cannot compute.
    #[error("config.json: `{name}` is {found}, expected {expected}")]
    ConfigValue {
        /// Name of the field.
        name: &'static str,
        /// What would be valid.
        expected: String,
        /// What the file says.
        found: String,
    },
    /// A safetensors file is truncated, longer than its header says, or no safetensors file at all.
    #[error("not a valid safetensors file: {cause}")]
    Safetensors {
        /// What the parser says.
        cause: safetensors::SafeTensorError,
    },
    /// A weight that the config calls for is in none of the files.
    #[error("tensor `{name}` is missing from the weights; is this a GPT-2 checkpoint?")]
    TensorMissing {
        /// Name without the `transformer.` prefix.
        name: String,
    },
    /// A tensor has another shape than expected.
    #[error("tensor `{name}`: expected shape {expected:?}, found {found:?}")]
    TensorShape {
        /// Name of the tensor.
        name: String,
        /// Shape by the config.
        expected: Vec<usize>,
        /// Shape in the file.
        found: Vec<usize>,
    },
    /// A tensor is stored in a number format that is not read.
    #[error("tensor `{name}`: expected f32, f16 or bf16, found {found}")]
    TensorDtype {
        /// Name of the tensor.
        name: String,
        /// Number format in the file.
        found: String,
    },
    /// A tensor holds a NaN or an infinity.
    #[error(
        "tensor `{name}` holds {found} at index {index}; the file is damaged or training diverged"
    )]
    TensorValue {
        /// Name of the tensor.
        name: String,
        /// First offending index, row-major.
        index: usize,
        /// The value.
        found: f32,
    },
    /// The tokenizer files cannot be read.
    #[error("tokenizer: {reason}")]
    Tokenizer {
        /// What the tokenizer library says.
        reason: String,
    },
    /// The tokenizer has ids that the model has no embedding for.
    #[error(
        "the tokenizer does not fit the model: token `{token}` has id {id}, the model's vocabulary ends at {d_vocab}"
    )]
    TokenizerTooLarge {
        /// The token with the largest id.
        token: String,
        /// Its id.
        id: u32,
        /// Number of tokens of the model.
        d_vocab: usize,
    },
    /// A prompt without tokens.
    #[error("the prompt is empty; it needs at least one token")]
    PromptEmpty,
    /// A prompt that is longer than the model's context.
    #[error("the prompt has {found} tokens, the model reads at most {n_ctx}")]
    PromptTooLong {
        /// Tokens of the prompt.
        found: usize,
        /// The model's context.
        n_ctx: usize,
    },
    /// A token id outside the vocabulary.
    #[error("token id {id} is outside the model's vocabulary of {d_vocab}")]
    TokenUnknown {
        /// The id.
        id: u32,
        /// Number of tokens of the model.
        d_vocab: usize,
    },
    /// Rows of one batch differ in length.
    #[error(
        "row {row} has {found} tokens, row 0 has {expected}; all rows of a batch need one length"
    )]
    RowLength {
        /// Index of the first row that differs.
        row: usize,
        /// Length of row 0.
        expected: usize,
        /// Length of this row.
        found: usize,
    },
    /// A component name that does not exist.
    #[error("unknown component `{name}`; expected one of {expected}")]
    ComponentUnknown {
        /// What was typed.
        name: String,
        /// The valid names.
        expected: String,
    },
    /// A component that exists but cannot be used in this place.
    #[error("component `{name}` is not supported here; expected {expected}")]
    ComponentUnsupported {
        /// The component.
        name: String,
        /// What would be valid.
        expected: String,
    },
    /// A layer that the model does not have.
    #[error("layer {layer} is outside the model, which has layers 0 to {last}")]
    LayerOutside {
        /// The layer.
        layer: usize,
        /// The model's last layer.
        last: usize,
    },
    /// A position that is neither a number nor `last`.
    #[error(
        "unknown position `{name}`; expected a token from 0, `last`, or -2 and so on from the end"
    )]
    PositionUnknown {
        /// What was typed.
        name: String,
    },
    /// A position outside the prompt.
    #[error("position {position} is outside the prompt, which has tokens 0 to {last}")]
    PositionOutside {
        /// The position.
        position: Position,
        /// Index of the prompt's last token.
        last: usize,
    },
    /// An intervention without positions.
    #[error("the intervention at {site} has no positions")]
    PositionsEmpty {
        /// The site.
        site: String,
    },
    /// A head that the model does not have.
    #[error("head {head} is outside the model, which has heads 0 to {last}")]
    HeadOutside {
        /// The head.
        head: usize,
        /// The model's last head.
        last: usize,
    },
    /// A source value that does not have the shape of what it replaces.
    #[error("the source value at {site}: expected shape {expected:?}, found {found:?}")]
    SourceShape {
        /// The site.
        site: String,
        /// Shape of the value that it replaces.
        expected: Vec<usize>,
        /// Shape of the source.
        found: Vec<usize>,
    },
    /// An intervention whose site the run never reached.
    #[error("the intervention at {site} was never applied")]
    InterventionUnapplied {
        /// The site.
        site: String,
    },
    /// A rank that a subspace of this width cannot have.
    #[error("rank {rank} is impossible here; expected 1 to {d_model}")]
    Rank {
        /// The rank.
        rank: usize,
        /// Width of the site.
        d_model: usize,
    },
    /// A program id that is not in the list.
    #[error("unknown program `{name}`; expected one of {expected}")]
    ProgramUnknown {
        /// What was typed.
        name: String,
        /// The valid ids.
        expected: String,
    },
    /// A variable that the causal model does not have.
    #[error("unknown variable `{name}`; expected one of {expected}")]
    VariableUnknown {
        /// What was typed.
        name: String,
        /// The valid names.
        expected: String,
    },
    /// A list of programs that does not have the expected form.
    #[error("program `{name}`: {reason}")]
    Program {
        /// Id of the program.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A word list without enough words to sample the task from.
    #[error("the word list: {reason}")]
    Words {
        /// What is wrong with it, with line or word.
        reason: String,
    },
    /// The task cannot give that many different counterfactual pairs.
    #[error(
        "only {found} of {wanted} different counterfactual pairs of `{variable}` could be sampled"
    )]
    PairsExhausted {
        /// Number that was asked for.
        wanted: usize,
        /// Number that was found.
        found: usize,
        /// The variable.
        variable: String,
    },
    /// Pairs of one set differ in length or position.
    #[error("pair {idx} has {found}, pair 0 has {expected}; all pairs of a set need one shape")]
    PairShape {
        /// Index of the first pair that differs.
        idx: usize,
        /// Shape of pair 0.
        expected: crate::task::PairShape,
        /// Shape of this pair.
        found: crate::task::PairShape,
    },
    /// A direction file or bundle without a field that a reader needs.
    #[error("{file}: field `{name}` is missing")]
    FileField {
        /// What it should be: `direction file` or `bundle`.
        file: &'static str,
        /// Name of the metadata field or tensor.
        name: &'static str,
    },
    /// A direction file or bundle whose field cannot be read.
    #[error("{file}: field `{name}` is `{found}`, expected {expected}")]
    FileValue {
        /// What it should be: `direction file` or `bundle`.
        file: &'static str,
        /// Name of the metadata field.
        name: &'static str,
        /// What would be valid.
        expected: String,
        /// What the file says.
        found: String,
    },
    /// A direction whose rows are not orthonormal.
    #[error(
        "the basis is not orthonormal, rows {row} and {other} have product {found} (expected {expected} to 1e-5)"
    )]
    DirectionBasis {
        /// First row.
        row: usize,
        /// Second row.
        other: usize,
        /// 1 for a row with itself, else 0.
        expected: f32,
        /// The product.
        found: f32,
    },
    /// A direction of another width than the model's.
    #[error("the direction has width {found}, the model has {expected} at {site}")]
    DirectionWidth {
        /// Where it belongs.
        site: String,
        /// Width of the model there.
        expected: usize,
        /// Width of the direction.
        found: usize,
    },
    /// A direction that was learned on other weights.
    #[error("the direction was learned on other weights ({found}), this model is {expected}")]
    DirectionModel {
        /// Hash of this model's weights.
        expected: String,
        /// Hash in the file.
        found: String,
    },
    /// A cell of a bundle that is wrong.
    #[error("bundle: cell {place}: {cause}")]
    BundleCell {
        /// Where it is.
        place: String,
        /// What is wrong with it.
        cause: Box<Error>,
    },
    /// A second cell at the place of another one.
    #[error("bundle: two cells at {place}")]
    BundleTwice {
        /// The place.
        place: String,
    },
    /// A part of a map that there is not.
    #[error("`{found}` is no part of a map; expected I/N with I from 1 to N, as in 1/4")]
    BundlePart {
        /// What was said.
        found: String,
    },
    /// More cells than the map has.
    #[error("bundle: {found} cells, but the finished map has {n_planned}")]
    BundleFull {
        /// Cells of the finished map.
        n_planned: usize,
        /// Cells that there are, or would be.
        found: usize,
    },
    /// A direction is asked of a map that has none: whole values were changed.
    #[error("bundle: method `{method}` learns no directions")]
    BundleMethod {
        /// The method.
        method: String,
    },
    /// A plan that is not JSON, or has a field that is unknown, missing or of another type.
    #[error("{}", one_line(format_args!("plan: {}{cause}", of_field(field))))]
    PlanJson {
        /// Path of the field, such as `interventions[0].layer`; empty where it is the whole.
        field: String,
        /// What the parser says, with the line.
        cause: serde_json::Error,
    },
    /// A field of a plan that is missing, has no effect, or does not fit another one.
    #[error("{}", one_line(format_args!("plan: `{field}`: expected {expected}, found {found}")))]
    PlanValue {
        /// Path of the field.
        field: String,
        /// What would be valid.
        expected: String,
        /// What the plan says.
        found: String,
    },
    /// A field of a plan that the model or a prompt does not have, or that holds a bad file.
    #[error("{}", one_line(format_args!("plan: `{field}`: {cause}")))]
    PlanField {
        /// Path of the field.
        field: String,
        /// What is wrong.
        cause: Box<Error>,
    },
    /// A file that a plan names and that cannot be read.
    #[error("{}", one_line(format_args!("plan: `{field}`: cannot read `{name}`: {reason}")))]
    PlanFile {
        /// Path of the field.
        field: String,
        /// Name of the file.
        name: String,
        /// Why it cannot be read.
        reason: String,
    },
    /// An operation that does not exist.
    #[error("unknown operation `{name}`; expected one of {expected}")]
    OpUnknown {
        /// What was typed.
        name: String,
        /// The valid names.
        expected: String,
    },
    /// An operation of the plan format that is not computed yet.
    #[error("operation `{name}` is not supported yet; supported: {expected}")]
    OpUnsupported {
        /// The operation.
        name: String,
        /// The valid names.
        expected: String,
    },
}

fn of_field(field: &str) -> String {
    match field {
        "" => String::new(),
        field => format!("`{field}`: "),
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use crate::{Gpt2Config, Weights, bundle::Bundle, direction::Direction, plan::Plan};

    /// What a parser says is in the message, and is no source beside it: a printed chain has each cause once.
    #[test]
    fn messages_are_whole() {
        let plan = r#"{"version": 1, "base": {"text": ["#;
        let wrong_layer =
            r#"{"version": 1, "base": {"ids": [[1]]}, "interventions": [{"layer": "x"}]}"#;
        for (error, cause) in [
            (Gpt2Config::from_json(b"{").err(), "config.json: EOF"),
            (Weights::new(&[b"<html>"]).err(), "file: header too"),
            (Direction::from_bytes(b"<html>").err(), "file: header too"),
            (Bundle::from_bytes(b"<html>").err(), "file: header too"),
            (Plan::from_json(b"{").err(), "plan: EOF"),
            (Plan::from_json(plan.as_bytes()).err(), "plan: `base"),
            (
                Plan::from_json(wrong_layer.as_bytes()).err(),
                "plan: `interventions[0].layer`: invalid type",
            ),
        ] {
            let error = error.unwrap();
            let message = error.to_string();
            assert!(
                message.contains(cause) && !message.contains('?'),
                "{message}"
            );
            assert!(error.source().is_none(), "{message}");
        }
    }
}

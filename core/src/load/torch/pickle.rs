//! Pickles of state dicts, read and never run.
//!
//! A pickle is a program for a small machine with a stack, <https://github.com/python/cpython/blob/3.13/Lib/pickletools.py> has
//! its instructions, which can name anything in Python and call it. This machine knows the few names that `torch.save` writes
//! for tensors ([`GLOBALS`]), and what a call of them would give; another name ends it with an error. It has no recursion, and
//! each instruction makes at most one value, so that its memory is in proportion to the bytes.
//!
//! Own code, since the crates that read such files load the whole file from a path (`burn-store`, `candle-core`), and those that
//! read pickles alone know no persistent ids, which tensors are (`serde-pickle`).

mod machine;

use std::collections::BTreeSet;

use self::machine::Machine;
use super::wrong;
use crate::load::{Dtype, TensorError};

/// How a tensor's numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// In a format that is read.
    Read(Dtype),
    /// In another one, of this name.
    Unread(&'static str),
}

/// A tensor as a pickle describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor<'a> {
    /// How its numbers are stored.
    pub numbers: Numbers,
    /// Which entry has its values.
    pub key: &'a str,
    /// How many values of the entry lie in front of its own.
    pub offset: u64,
    /// Its shape, from the outermost dimension on.
    pub shape: Vec<u64>,
    /// For each dimension how many values lie from one index to the next.
    pub strides: Vec<u64>,
}

/// What a pickle may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(Numbers),
}

/// Every name that is known: module, name, and what it is. Other storages are of numbers that no state dict of weights has.
const GLOBALS: [(&str, &str, Global); 14] = [
    ("collections", "OrderedDict", Global::OrderedDict),
    ("torch._utils", "_rebuild_tensor_v2", Global::RebuildTensor),
    (
        "torch._utils",
        "_rebuild_parameter",
        Global::RebuildParameter,
    ),
    ("torch", "FloatStorage", read(Dtype::F32)),
    ("torch", "HalfStorage", read(Dtype::F16)),
    ("torch", "BFloat16Storage", read(Dtype::BF16)),
    ("torch", "DoubleStorage", unread("F64")),
    ("torch", "LongStorage", unread("I64")),
    ("torch", "IntStorage", unread("I32")),
    ("torch", "ShortStorage", unread("I16")),
    ("torch", "CharStorage", unread("I8")),
    ("torch", "ByteStorage", unread("U8")),
    ("torch", "BoolStorage", unread("BOOL")),
    ("torch", "ComplexFloatStorage", unread("C64")),
];

const fn read(dtype: Dtype) -> Global {
    Global::Storage(Numbers::Read(dtype))
}

const fn unread(dtype: &'static str) -> Global {
    Global::Storage(Numbers::Unread(dtype))
}

/// A value, which others name by its place among all.
#[derive(Clone, Debug)]
enum Value<'a> {
    /// None, a truth value or a number with a fraction: nothing that a tensor is made of.
    Plain,
    Int(i64),
    Text(&'a str),
    /// A tuple or a list.
    List(Vec<usize>),
    Dict(Vec<[usize; 2]>),
    Global(Global),
    /// Numbers and key.
    Storage(Numbers, &'a str),
    Tensor(Box<Tensor<'a>>),
}

/// The tensors of a state dict, in its order; entries of other kinds, such as a count of steps, are left out.
///
/// # Errors
/// - [`TensorError::Global`] if the pickle names something that is no part of a state dict.
/// - [`TensorError::Nested`] if an entry is a table of its own.
/// - [`TensorError::Twice`] if a tensor is there twice.
/// - [`TensorError::Torch`] if it is damaged or has other instructions.
pub fn state_dict(pickle: &[u8]) -> Result<Vec<(&str, Tensor<'_>)>, TensorError> {
    let (values, top) = Machine::run(pickle)?;
    let Value::Dict(entries) = &values[top] else {
        return Err(unexpected("a table of tensors", "another value"));
    };
    let mut names = BTreeSet::new();
    let mut tensors = Vec::new();
    for [key, value] in entries {
        let Value::Text(name) = values[*key] else {
            return Err(unexpected("names of tensors as text", "other keys"));
        };
        if !names.insert(name) {
            let name = name.to_owned();
            return Err(TensorError::Twice { name });
        }
        match &values[*value] {
            Value::Tensor(tensor) => tensors.push((name, (**tensor).clone())),
            Value::Plain | Value::Int(_) | Value::Text(_) => {}
            Value::Dict(_) => {
                let name = name.to_owned();
                return Err(TensorError::Nested { name });
            }
            Value::List(_) | Value::Global(_) | Value::Storage(..) => {
                return Err(wrong(format!("`{name}`"), "a tensor", "another value"));
            }
        }
    }
    Ok(tensors)
}

fn unexpected(expected: impl Into<String>, found: impl Into<String>) -> TensorError {
    wrong("pickle", expected, found)
}
